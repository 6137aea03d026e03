"""Claim: a witness that nobody here wrote takes our checkpoints in order, and refuses forks and stale sizes.

It runs as its makers ship it, on loopback; requests and answers go through our end of the protocol.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest

from coldseal.core.log.checkpoint import (
    VerifierKey,
    add_signature,
    cosigned_at,
    open_checkpoint,
    parse_checkpoint_text,
    parse_note,
    parse_vkey,
)
from coldseal.core.log.cosigning import (
    Conflict,
    Cosignatures,
    Disproved,
    DisputedError,
    Nothing,
    Standing,
    Step,
    begin,
    parse_answer,
    settle,
)
from coldseal.core.log.delivery.sender import RetryPolicy
from coldseal.core.log.merkle import MerkleTree, consistency_proof, leaf_hash
from coldseal.core.log.witness import encode_request
from tests.sealed import new_keys
from tests.strangers.conftest import require
from tests.strangers.long_log import FORKED_AT, SIZE, SIZES, LongLog, Publication, forked
from tools.strangers import FOLDER

NAME = "stranger.example/w1"
HELD = 8_192
"""How far the witness is brought before somebody tries to deceive it."""


@dataclass(frozen=True)
class Witness:
    """A running witness."""

    config: Path
    port: int
    key: VerifierKey

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Ask it over HTTP."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, old: int, note: bytes, log: LongLog) -> tuple[int, bytes]:
        """Post a checkpoint with our proof that it extends an older one."""
        size = parse_checkpoint_text(parse_note(note).text).size
        proof = consistency_proof(old, size, _tree(log).nodes)
        return self.request("POST", "/add-checkpoint", encode_request(old, proof, note))


@cache
def _tree(log: LongLog) -> MerkleTree:
    """Give the tree of a log that does not grow any more."""
    return MerkleTree(map(leaf_hash, log.entries))


def _aics(*arguments: str | Path) -> str:
    """Run the witness's command line."""
    program = FOLDER / "witness" / "bin" / "aics-witness"
    require(program)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


@pytest.fixture
def witness(published: Publication, tmp_path: Path) -> Iterator[Witness]:
    """Set a witness up for the log, with its keys from before and after the change, and run it."""
    config = tmp_path / "witness.json"
    key = _aics("init", "--config", config, "--name", NAME, "--listen", "127.0.0.1:0")
    for vkey in sorted({keys[1].encode() for keys in published.keys.values()}):
        _aics("add-log", "--config", config, "--origin", published.log.origin, "--vkey", vkey)
    command = (FOLDER / "witness" / "bin" / "aics-witness", "serve", "--config", config)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = next(found for line in process.stderr if (found := re.search(r"listening on \S+:(\d+)", line)))
        yield Witness(config, int(port[1]), parse_vkey(key))
        process.kill()


def _settle(
    witness: Witness, standing: Standing, note: bytes, answer: tuple[int, bytes]
) -> tuple[Standing, Step]:
    """Let our end judge an answer."""
    sent = parse_checkpoint_text(parse_note(note).text)
    retry = RetryPolicy(initial_s=1, max_s=8)
    return settle(standing, sent, parse_answer(*answer), witness.key, retry, log_size=SIZE, chance=0.5)


def _bring(witness: Witness, published: Publication, size: int) -> None:
    """Have the witness cosign the log's checkpoint of a size as its first."""
    status, body = witness.post(0, published.log.notes[size], published.log)
    assert status == 200, body


def test_it_cosigns_every_checkpoint_in_order(witness: Witness, published: Publication) -> None:
    """Across restarts and changes of keys; our end verifies each cosignature and the note with it."""
    standing = begin(0)
    for size in SIZES:
        note = published.log.notes[size]
        standing, step = _settle(witness, standing, note, witness.post(standing.old, note, published.log))
        assert (standing.cosigned, step.alarm) == (size, None)
        assert step.line is not None
        cosigned = add_signature(note, step.line)
        checkpoint, found = open_checkpoint(cosigned, [*published.keys[size], witness.key])
        assert checkpoint.size == size
        assert cosigned_at(found, witness.key) == step.cosigned_s > 0


def test_what_it_shows_to_others_is_our_checkpoint(witness: Witness, published: Publication) -> None:
    """Who compares witnesses with the log finds the same root, cosigned."""
    _bring(witness, published, HELD)
    name = sha256(published.log.origin.encode()).hexdigest()
    status, shown = witness.request("GET", f"/{name}/checkpoint")
    assert status == 200
    checkpoint, _ = open_checkpoint(shown, [published.keys[HELD][1], witness.key])
    assert checkpoint.root == _tree(published.log).root(HELD)


def test_it_refuses_a_stale_size_and_says_where_it_is(witness: Witness, published: Publication) -> None:
    """Our end takes the size over and goes on from there."""
    _bring(witness, published, HELD)
    note = published.log.notes[10_000]
    answer = witness.post(5_201, note, published.log)
    assert parse_answer(*answer) == Conflict(HELD)
    standing, step = _settle(witness, begin(5_201), note, answer)
    assert (standing.old, step.alarm) == (HELD, None)
    standing, step = _settle(witness, standing, note, witness.post(standing.old, note, published.log))
    assert standing.cosigned == 10_000


def test_it_never_goes_back(witness: Witness, published: Publication) -> None:
    """An older checkpoint, as a gateway restored from an old copy would send it."""
    _bring(witness, published, HELD)
    answer = witness.post(5_200, published.log.notes[5_201], published.log)
    assert parse_answer(*answer) == Conflict(HELD)


@pytest.mark.parametrize("held", [10_000, SIZE])
def test_it_refuses_a_fork_and_keeps_it(witness: Witness, published: Publication, held: int) -> None:
    """Another history under the right signatures, longer than what it holds and of the same size."""
    assert held > FORKED_AT
    _bring(witness, published, held)
    other = forked(published.log)
    note = other.checkpoint()
    answer = witness.post(held, note, other)
    assert isinstance(parse_answer(*answer), Disproved)
    standing, step = _settle(witness, begin(held), note, answer)
    assert standing.is_held
    assert isinstance(step.alarm, DisputedError)
    kept = json.loads(_aics("evidence", "--config", witness.config))
    assert [(one["origin"], one["witness_size"]) for one in kept] == [(published.log.origin, held)]
    assert note.decode() in kept[0]["request"]


def test_it_refuses_a_proof_that_does_not_hold(witness: Witness, published: Publication) -> None:
    """The right checkpoint with one hash of the proof left out."""
    _bring(witness, published, HELD)
    proof = consistency_proof(HELD, SIZE, _tree(published.log).nodes)
    request = encode_request(HELD, proof[1:], published.log.notes[SIZE])
    assert isinstance(parse_answer(*witness.request("POST", "/add-checkpoint", request)), Disproved)


def test_it_refuses_whom_it_does_not_know(witness: Witness, published: Publication) -> None:
    """The log under other keys, and a log of another name."""
    stranger = published.log.copy()
    stranger.keys = new_keys()
    assert witness.post(0, stranger.checkpoint(), published.log)[0] == 403
    other = LongLog(origin="coldseal.example/site-8/gw-0001", keys=published.log.keys)
    status, body = witness.post(0, other.checkpoint(), other)
    assert status == 404
    assert isinstance(parse_answer(status, body), Nothing)


def test_a_repeated_request_is_answered_again(witness: Witness, published: Publication) -> None:
    """So an answer that was lost on the way costs nothing."""
    note = published.log.notes[HELD]
    first = parse_answer(*witness.post(0, note, published.log))
    again = parse_answer(*witness.post(HELD, note, published.log))
    assert isinstance(first, Cosignatures)
    assert isinstance(again, Cosignatures)
