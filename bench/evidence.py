"""Rows about evidence: how fast a bundle is verified, and how fast one entry is proven out of many.

The log is sealed here, by the code that seals it in the gateway, with a key made for it. The verifier is the
command, started anew each time; its start counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.programs import coldseal
from bench.report import Row
from bench.yardsticks import verifying_rate_all_cores
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    Checkpoint,
    NoteSignature,
    VerifierKey,
    add_signature,
    checkpoint_note,
    cosignature_message,
    encode_cosignature,
)
from coldseal.core.log.evidence import Policy
from coldseal.core.log.layout import Layout
from coldseal.core.log.merkle import CompactRange, inclusion_proof, leaf_hash, verify_inclusion
from coldseal.core.log.proof import encode_proof
from coldseal.core.log.record import Chain
from coldseal.evidence.source import Blocks
from coldseal.evidence.writer import Contents, write_bundle
from coldseal.gateway.store.log import Group, Limits, Log
from coldseal.gateway.store.reader import LogReader
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer, generate_interop_key, generate_record_key

if TYPE_CHECKING:
    from bench.rows import Bench, Measure

ORIGIN = "coldseal.example/site-12/gw-0001"
WITNESS = "witness.example"
VERIFY_GOAL, CHECKPOINTS_GOAL = 0.85, 200_000.0
PROOF_GOAL_MS, APPEND_GOAL_US = 50.0, 10.0
_GROUP = 100
_KEY = hashlib.sha256(b"bench").digest()
_ROUNDS, _TURNS = 3, 5


@dataclass(frozen=True)
class Sealed:
    """A log in memory: its policy, its entries, and the cosigned checkpoint over them."""

    policy: Policy
    entries: Sequence[bytes]
    note: bytes


def body(seq: int) -> tuple[str, str, bytes, bytes, bytes]:
    """Give kind, time, time quality, source and data of a reading with two quantities."""
    moment = f"2026-01-{1 + seq // 864_000:02d}T{seq // 36_000 % 24:02d}:{seq // 600 % 60:02d}"
    t = f"{moment}:{seq // 10 % 60:02d}.{seq % 10}00Z"
    tq = b'{"boot":"5f3a9c01","err":12,"mono":%d,"off":-3,"s":"synchronised"}' % (seq * 100)
    src = (
        b'{"boot":"00c0ffee","dev":"sensor-%03d","fp":"6be2e62d35cf9311","seq":%d,"sha256":"%b","t":"%b"}'
        % (seq % 500, seq // 500, b"A" * 43 + b"=", t.encode())
    )
    q = b'[{"n":"temperature","u":"Cel","v":"4.%02d"},{"n":"humidity","u":"%%RH","v":"41.2"}]' % (seq % 100)
    return "reading", t, tq, src, b'{"q":%b,"sensor":"cold-room"}' % q


def seal(count: int) -> Sealed:
    """Seal a log, each entry signed, and have a checkpoint over it cosigned."""
    record, checkpoint = EcdsaSigner(generate_record_key()), EcdsaSigner(generate_record_key())
    interop, witness = Ed25519Signer(generate_interop_key()), Ed25519Signer(generate_interop_key())
    keys = (checkpoint.verifier_key(ORIGIN), interop.verifier_key(ORIGIN))
    seen_by = witness.verifier_key(WITNESS, cosigner=True)
    policy = Policy(ORIGIN, record.spki, keys, (seen_by,))
    genesis: dict[str, canonical.Value] = {
        "checkpoint_keys": [key.encode() for key in keys],
        "heartbeat": 300,
        "mode": "record",
        "record_key": canonical.encode_base64(record.spki),
    }
    chain = Chain(ORIGIN, record.kid)
    _, t, tq, _, _ = body(0)
    entries = [chain.seal("genesis", t, tq, b"", canonical.encode(genesis), record.sign)]
    entries += (chain.seal(*body(seq), record.sign) for seq in range(1, count))
    text = Checkpoint(ORIGIN, count, chain.tree.root()).text()
    lines = [_line(keys[0], checkpoint.sign(text)), _line(keys[1], interop.sign(text))]
    cosigned_at = 1_800_000_000
    cosigned = encode_cosignature(cosigned_at, witness.sign(cosignature_message(text, cosigned_at)))
    note = checkpoint_note(Checkpoint(ORIGIN, count, chain.tree.root()), lines)
    return Sealed(policy, entries, add_signature(note, _line(seen_by, cosigned)))


def _line(key: VerifierKey, signature: bytes) -> NoteSignature:
    """Put a signature under a key's name."""
    return NoteSignature(key.name, key.id, signature)


def verify(bench: Bench) -> Iterator[Row]:
    """Measure the verification of a whole log, with and without the entries' own signatures."""
    count = 30_000 if bench.is_quick else 1_000_000  # a year of ten sensors that report each five minutes
    sealed = seal(count)
    path = bench.place("verify")
    path.mkdir()
    bundle = path / "log.coldseal"
    layout = Layout(count, ((0, count),), ())
    contents = Contents(sealed.policy, layout, lambda first, end: sealed.entries[first:end], [sealed.note])
    write_bundle(bundle, contents)
    note = f"{count:,} signed entries in a bundle, read and judged by the command on {bench.cores} cores"
    alone = bench.verifying() * bench.cores
    rates = [verifying_rate_all_cores(bench.seconds / 2)]
    turns = []
    for _ in range(_TURNS):
        rate = count / _seconds(bundle)
        rates.append(verifying_rate_all_cores(bench.seconds / 2))
        turns.append((rate, (rates[-2] + rates[-1]) / 2))
    rate, against = sorted(turns, key=lambda turn: turn[0] / turn[1])[_TURNS // 2]
    yield Row(
        key="verify",
        figure="bundle verified, every signature checked",
        value=rate,
        unit="/s",
        yardstick="verifying on all cores at once",
        against=against,
        goal=VERIFY_GOAL,
        note=f"{note}; the middle one of {_TURNS}; the yardstick is taken around each, with a process"
        f" on each core: together they do {against / alone:.2f} of {bench.cores} times what one does alone",
    )
    yield Row(
        key="verify",
        figure="bundle verified, checkpoints only",
        value=count / min(_seconds(bundle, "--checkpoints-only") for _ in range(_ROUNDS)),
        unit="/s",
        goal=CHECKPOINTS_GOAL,
        note=f"{note}; the best of {_ROUNDS}",
    )


def _seconds(bundle: Path, *options: str) -> float:
    """Verify once, and say how long it took."""
    begun = time.perf_counter()
    coldseal("evidence", "verify", bundle, *options)
    return time.perf_counter() - begun


def proof(bench: Bench) -> Iterator[Row]:
    """Measure the proof of one entry out of a large log, and what an entry costs in the tree."""
    count = 1_000 * _GROUP if bench.is_quick else 10_000 * _GROUP
    folder = bench.place("proof")
    tree = asyncio.run(_fill(folder, count))
    reader = LogReader(folder, _KEY)
    try:
        taken = [prove(reader, count, tree.root(), seq) for seq in random.Random(1).sample(range(count), 50)]
    finally:
        reader.close()
    yield Row(
        key="proof",
        figure="proof of one entry out of a large log",
        value=statistics.median(taken) * 1000,
        unit="ms",
        goal=PROOF_GOAL_MS,
        sense="≤",
        note=f"out of {count:,}, from the store; the slowest of 50 took {max(taken) * 1000:.0f} ms",
    )
    leaves = [leaf_hash(b"%d" % number) for number in range(100_000)]
    spans = []
    for _ in range(_ROUNDS):
        found, begun = CompactRange(), time.perf_counter()
        for leaf in leaves:
            found.append(leaf)
        spans.append(time.perf_counter() - begun)
    yield Row(
        key="proof",
        figure="append to the tree",
        value=min(spans) / len(leaves) * 1e6,
        unit="µs",
        goal=APPEND_GOAL_US,
        sense="≤",
    )


async def _fill(folder: Path, count: int) -> CompactRange:
    """Write a log of unsigned entries, as the gateway's store does, and give its tree."""
    chain = Chain(ORIGIN, "0" * 16)
    limits = Limits(limit_mb=1 << 20, reserve_mb=1)
    log = Log.open(folder, _KEY, limits, new=chain.copy(), now_ms=1_767_225_600_000)
    try:
        for first in range(0, count, _GROUP):
            entries = [chain.seal(*body(seq), None) for seq in range(first, first + _GROUP)]
            await log.commit(Group(entries=entries, chain=chain.copy()))
    finally:
        await log.close()
    return chain.tree


class _Stored:
    """A log on disk, as much of it as a proof needs."""

    def __init__(self, reader: LogReader, size: int) -> None:
        """Take an open reader."""
        self.size, self.begin = size, 0
        self._reader = reader

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries."""
        return self._reader.read(first, max_entries=count, max_bytes=count * 65_537)

    def nodes(self, level: int, index: int) -> bytes:
        """Give a stored hash."""
        return self._reader.nodes(level, index)

    def settings(self) -> list[bytes]:
        """Give none."""
        return []


def prove(reader: LogReader, size: int, root: bytes, seq: int) -> float:
    """Prove one entry, check the proof, and say how long the making took."""
    begun = time.perf_counter()
    (raw,) = reader.read(seq, max_entries=1)
    hashes = inclusion_proof(seq, size, Blocks(_Stored(reader, size)).nodes)
    encode_proof(seq, hashes, b"", raw)
    taken = time.perf_counter() - begun
    verify_inclusion(leaf_hash(raw), seq, size, hashes, root)
    return taken


ROWS: dict[str, Measure] = {"verify": verify, "proof": proof}
"""These rows, by the name that ``--only`` takes."""
