"""Over real TLS: the service answers tlog-witness as C2SP has it, and never cosigns two histories."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from coldseal.core.log.checkpoint import (
    Checkpoint,
    NoteSignature,
    add_signature,
    cosigned_at,
    open_checkpoint,
    parse_note,
)
from coldseal.core.log.cosigning import Cosignatures, parse_answer
from coldseal.core.log.delivery.wire import BATCH_TYPE
from coldseal.core.log.merkle import MerkleTree, consistency_proof, leaf_hash
from coldseal.core.log.witness import MAX_REQUEST, encode_request
from coldseal.identity.peer import Role
from coldseal.service.admission import encode_log_file
from coldseal.service.app import Service
from coldseal.service.storage import sqlite
from coldseal.service.storage.values import KeptEvidence
from tests.sealed import ORIGIN, SealedLog, new_keys
from tests.trial import Site, url
from tests.waiting import until

PATH = "/v1/witness/add-checkpoint"


class Said(NamedTuple):
    """What came back."""

    status: int
    kind: str
    body: bytes


def watch(site: Site, log: SealedLog) -> None:
    """Let the service witness a log without taking it in."""
    folder = site.service / "data" / "witnessed"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{log.origin.replace('/', '_')}.json").write_bytes(encode_log_file(log.admitted))


def request(log: SealedLog, old: int, size: int) -> bytes:
    """Write what an honest log posts."""
    tree = MerkleTree(leaf_hash(entry) for entry in log.entries[:size])
    note = log.notes.get(size) or log.sign(Checkpoint(log.origin, size, tree.root()))
    return encode_request(old, consistency_proof(old, size, tree.nodes), note)


async def post(site: Site, service: Service, body: bytes, role: Role = "gateway", path: str = PATH) -> Said:
    """Post as a C2SP client does: the body, and no headers of ours."""
    async with (
        site.caller(role) as caller,
        caller.post(url(service, path), data=body) as response,
    ):
        return Said(response.status, response.headers["Content-Type"], await response.read())


def verify(site: Site, said: Said, log: SealedLog, size: int) -> NoteSignature:
    """Insist on this witness's cosignature over the log's own checkpoint."""
    assert (said.status, said.kind) == (200, "text/plain; charset=utf-8")
    answer = parse_answer(said.status, said.body)
    assert isinstance(answer, Cosignatures)
    (line,) = answer.lines
    tree = MerkleTree(leaf_hash(entry) for entry in log.entries[:size])
    note = add_signature(log.sign(Checkpoint(log.origin, size, tree.root())), line)
    open_checkpoint(note, [*log.admitted.checkpoint_keys, site.witness])
    return line


@pytest.fixture
def log() -> SealedLog:
    """Give a log of 20 entries."""
    return SealedLog().grow(19)


@pytest.fixture
async def witness(site: Site, log: SealedLog) -> AsyncIterator[Service]:
    """Give a service that only witnesses the log."""
    watch(site, log)
    async with site.running() as service:
        yield service


@pytest.fixture
async def first(site: Site, log: SealedLog) -> AsyncIterator[Service]:
    """Give a service that takes the log in, and holds 9 entries of it."""
    site.admit(log)
    log.notes[9] = log.sign(Checkpoint(ORIGIN, 9, log.chain_at(9).tree.root()))
    async with site.running() as service:
        async with site.caller() as caller:
            headers = {"Content-Type": BATCH_TYPE}
            body = log.body(0, 9)
            async with caller.post(url(service, "/v1/entries"), data=body, headers=headers) as response:
                assert response.status == 200
        yield service


async def kept(site: Site) -> list[KeptEvidence]:
    """Give what is kept against the log."""
    async with site.ledger() as ledger:
        return ledger.evidence(ORIGIN)


async def test_a_watched_log_is_cosigned_as_it_grows(site: Site, witness: Service, log: SealedLog) -> None:
    """From nothing, with a proof each time, and the same again."""
    for old, size in ((0, 5), (5, 5), (5, 16), (16, 20)):
        verify(site, await post(site, witness, request(log, old, size)), log, size)

    async with site.ledger() as ledger:
        row = ledger.witnessed(ORIGIN)
    assert row is not None
    assert row.size == 20
    assert cosigned_at(parse_note(row.note), site.witness) == row.t


async def test_what_was_cosigned_outlives_a_restart(site: Site, log: SealedLog) -> None:
    """It was on disk before the cosignature left."""
    watch(site, log)
    async with site.running() as service:
        verify(site, await post(site, service, request(log, 0, 9)), log, 9)
    async with site.running() as service:
        assert await post(site, service, request(log, 0, 20)) == (409, "text/x.tlog.size", b"9\n")
        verify(site, await post(site, service, request(log, 9, 20)), log, 20)


async def test_every_refusal_has_its_status(site: Site, witness: Service, log: SealedLog) -> None:
    """400, 403, 404, 409, 422; nothing of it moves the witness, and each is counted."""
    await post(site, witness, request(log, 0, 9))
    good = request(log, 9, 20)
    other = SealedLog(origin="coldseal.example/site-7/gw-0002").grow(3)
    forged = SealedLog(keys=new_keys()).grow(19)
    head, _, note = good.partition(b"\n\n")
    cut = head.rpartition(b"\n")[0] + b"\n\n" + note
    answers = {
        400: b"nonsense",
        403: request(forged, 9, 20),
        404: request(other, 0, 4),
        409: request(log, 8, 20),
        422: cut,
    }
    for status, body in answers.items():
        said = await post(site, witness, body)
        assert said.status == status
        kind = "text/x.tlog.size" if status == 409 else "text/plain; charset=utf-8"
        assert said.kind == kind
        assert said.body.endswith(b"\n")

    verify(site, await post(site, witness, good), log, 20)
    counted = witness._metrics.registry.get_sample_value
    for status in answers:
        assert counted("coldseal_service_checkpoints_total", {"status": str(status)}) == 1


async def test_two_roots_of_one_size_are_a_fork_and_kept(
    site: Site, witness: Service, log: SealedLog
) -> None:
    """409 with the size, as C2SP has it; both signed notes are the evidence."""
    fork = log.copy()
    verify(site, await post(site, witness, request(log, 0, 20)), log, 20)
    log.grow(4)
    fork.grow(4, text="probe-2")
    verify(site, await post(site, witness, request(log, 20, 24)), log, 24)

    for old in (20, 24):
        assert await post(site, witness, request(fork, old, 24)) == (409, "text/x.tlog.size", b"24\n")

    (found,) = await kept(site)
    assert (found.evidence.verdict, found.times) == ("fork", 2)
    ours, _ = open_checkpoint(found.evidence.held, [*log.admitted.checkpoint_keys, site.witness])
    theirs, _ = open_checkpoint(found.evidence.note, log.admitted.checkpoint_keys)
    assert (ours.size, theirs.size) == (24, 24)
    assert ours.root != theirs.root


async def test_a_history_without_proof_is_refused_and_kept(
    site: Site, witness: Service, log: SealedLog
) -> None:
    """The request is kept with its proof: from it a stranger sees the other root at the older size."""
    fork = SealedLog().grow(24, text="probe-2")
    verify(site, await post(site, witness, request(log, 0, 20)), log, 20)
    body = request(fork, 20, 25)

    assert (await post(site, witness, body)).status == 422

    (found,) = await kept(site)
    assert (found.evidence.verdict, found.evidence.entry) == ("inconsistent", body)
    verify(site, await post(site, witness, request(log, 20, 20)), log, 20)


async def test_no_more_evidence_than_there_is_room_for(
    site: Site, witness: Service, log: SealedLog, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    """The answer and the alarm are the same; the alarm says that nothing was kept."""
    monkeypatch.setattr(sqlite, "MAX_EVIDENCE", 0)
    verify(site, await post(site, witness, request(log, 0, 20)), log, 20)

    said = await post(site, witness, request(SealedLog().grow(24, text="probe-2"), 20, 20))

    assert said.status == 409
    assert await kept(site) == []
    (alarm,) = [line for line in lines.getvalue().splitlines() if "ingest.fork" in line]
    assert '"kept":false' in alarm


async def test_an_operator_sees_what_is_witnessed_and_what_is_kept(
    site: Site, witness: Service, log: SealedLog
) -> None:
    """Beside the logs that are taken in; one that is both is shown there alone."""
    other = SealedLog(origin="coldseal.example/site-7/gw-0002")
    site.admit(other)
    watch(site, other)
    watch(site, SealedLog(origin="coldseal.example/site-7/gw-0003"))
    await until(lambda: len(witness._witnessed) == 3)
    await post(site, witness, request(log, 0, 20))
    await post(site, witness, request(SealedLog().grow(24, text="probe-2"), 20, 20))

    async with site.caller("operator") as caller, caller.get(url(witness, "/v1/logs")) as response:
        shown = await response.json()

    assert [each["origin"] for each in shown["logs"]] == [other.origin]
    first, third = shown["witnessed"]
    assert (first["origin"], first["size"], third["size"]) == (ORIGIN, 20, 0)
    assert first["cosigned_t"] > 0
    assert [each["verdict"] for each in first["evidence"]] == ["fork"]
    assert (third["cosigned_t"], third["evidence"]) == (None, [])


async def test_a_race_is_won_by_one_and_the_other_is_told(
    site: Site, witness: Service, log: SealedLog
) -> None:
    """Check and record are one step: no checkpoint is cosigned behind a larger one."""
    await post(site, witness, request(log, 0, 5))
    bodies = [request(log, 5, size) for size in range(6, 21)]

    said = await asyncio.gather(*(post(site, witness, body) for body in bodies))

    assert [each.status for each in said].count(200) == 1
    won = 6 + [each.status for each in said].index(200)
    assert {each.body for each in said if each.status == 409} == {b"%d\n" % won}


async def test_a_log_that_is_taken_in_is_cosigned_as_far_as_it_is_held(
    site: Site, first: Service, log: SealedLog
) -> None:
    """With a fresh time; never beyond what is stored, never back, however good the proof."""
    verify(site, await post(site, first, request(log, 9, 9)), log, 9)

    said = await post(site, first, request(log, 9, 20))
    assert said.status == 503
    assert b"entries 9 to 20 must come first" in said.body
    for old, size in ((0, 9), (5, 5), (0, 20)):
        assert await post(site, first, request(log, old, size)) == (409, "text/x.tlog.size", b"9\n")
    assert await kept(site) == []


async def test_a_fork_of_a_log_that_is_taken_in_is_kept(site: Site, first: Service, log: SealedLog) -> None:
    """At the size of the newest receipt, of an older one, and beyond."""
    fork = SealedLog().grow(24, text="probe-2")
    async with site.caller() as caller:
        log.notes[20] = log.sign(Checkpoint(ORIGIN, 20, log.chain_at(20).tree.root()))
        headers = {"Content-Type": BATCH_TYPE}
        async with caller.post(url(first, "/v1/entries"), data=log.body(9, 20), headers=headers) as response:
            assert response.status == 200

    statuses = [
        (await post(site, first, request(fork, old, size))).status
        for old, size in ((20, 20), (9, 9), (20, 25))
    ]

    assert statuses == [409, 409, 422]
    found = await kept(site)
    assert [each.evidence.verdict for each in found] == ["fork", "fork", "inconsistent"]
    sizes = [open_checkpoint(each.evidence.held, [site.witness])[0].size for each in found]
    assert sizes == [20, 9, 20]


async def test_a_log_without_entries_yet_waits_for_them(site: Site, log: SealedLog) -> None:
    """Admitted, and nothing sent."""
    site.admit(log)
    async with site.running() as service:
        assert (await post(site, service, request(log, 0, 9))).status == 503
        assert (await post(site, service, request(log, 5, 9))).body == b"0\n"


async def test_rolled_over_keys_must_sign_what_lies_behind_their_entry(site: Site, log: SealedLog) -> None:
    """The service knows them from the entries that it holds."""
    site.admit(log)
    old = log.keys
    log.roll_over("checkpoint")
    log.checkpoint()
    async with site.running() as service:
        async with site.caller() as caller:
            headers = {"Content-Type": BATCH_TYPE}
            body = log.body(0, 21)
            async with caller.post(url(service, "/v1/entries"), data=body, headers=headers) as response:
                assert response.status == 200
        said = await post(site, service, request(log, 21, 21))
        assert said.status == 200
        log.keys, log.notes = old, {}
        assert (await post(site, service, request(log, 21, 21))).status == 403


async def test_admission_comes_before_watching(site: Site, log: SealedLog) -> None:
    """Where a log stands in both folders."""
    site.admit(log)
    watch(site, log)
    async with site.running() as service:
        assert (await post(site, service, request(log, 0, 9))).status == 503


async def test_a_log_can_be_watched_while_the_service_runs(site: Site, log: SealedLog) -> None:
    """As with admission, nobody restarts anything."""
    async with site.running() as service:
        assert (await post(site, service, request(log, 0, 9))).status == 404
        watch(site, log)
        await until(lambda: bool(len(service._witnessed)))
        verify(site, await post(site, service, request(log, 0, 9)), log, 9)


@pytest.mark.parametrize("role", ["device", "operator"])
async def test_only_gateways_ask(site: Site, witness: Service, log: SealedLog, role: Role) -> None:
    """The role stands in the certificate."""
    assert (await post(site, witness, request(log, 0, 9), role)).status == 403


async def test_a_request_is_read_only_if_its_length_fits(
    site: Site, witness: Service, log: SealedLog
) -> None:
    """Announced, and no longer than the longest one can be."""
    assert (await post(site, witness, bytes(MAX_REQUEST + 1))).status == 413

    async def parts() -> AsyncIterator[bytes]:
        yield request(log, 0, 9)

    async with site.caller() as caller, caller.post(url(witness, PATH), data=parts()) as response:
        assert response.status == 411
