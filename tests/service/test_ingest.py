"""The main path: a receipt is given for what is verified and durable; everything else leaves evidence."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from coldseal.core.log.checkpoint import (
    Checkpoint,
    CheckpointSignatureError,
    cosigned_at,
    open_checkpoint,
    parse_note,
)
from coldseal.core.log.delivery.receiver import (
    BrokenChainError,
    ForkError,
    GapError,
    RootMismatchError,
    StaleError,
)
from coldseal.core.log.delivery.wire import encode_batch
from coldseal.core.log.record import frame
from coldseal.errors import InputError, UnavailableError
from coldseal.identity.peer import Role
from coldseal.service.callers import NotAdmittedError
from coldseal.service.storage import sqlite
from coldseal.service.verification import Audit
from tests.sealed import COSIGNED, ORIGIN, SealedLog, new_keys, witness_key
from tests.service.bench import Bench
from tests.service.conftest import OpenBench


async def test_a_batch_gets_a_receipt_over_exactly_its_checkpoint(bench: Bench) -> None:
    """The witness's cosignature stands on the note that the gateway signed."""
    log = bench.admit(SealedLog()).grow(9)

    receipt = await bench.take(log.body())

    checkpoint, note = open_checkpoint(receipt.note, [witness_key()])
    assert checkpoint == Checkpoint(ORIGIN, 10, log.chain.tree.root())
    assert (receipt.size, cosigned_at(note, witness_key())) == (10, COSIGNED)


async def test_what_has_a_receipt_is_stored_as_it_was_sealed(bench: Bench) -> None:
    """Byte by byte, across batches."""
    log = bench.admit(SealedLog()).grow(9)
    await bench.take(log.body())
    await bench.take(log.grow(20).body(10))

    assert await bench.entries() == log.entries
    assert await bench.ledger.entries(ORIGIN, 8, 13) == log.entries[8:13]
    assert (bench.counted("entries"), bench.counted("batches", result="stored")) == (30, 2)


async def test_the_same_batch_again_gets_the_same_receipt_and_changes_nothing(bench: Bench) -> None:
    """However often an answer was lost; the cosignature keeps its first time."""
    log = bench.admit(SealedLog()).grow(9)
    body = log.body()
    first = await bench.take(body)
    bench.now += 60

    again = [await bench.take(body) for _ in range(3)]

    assert [each.note for each in again] == [first.note] * 3
    assert await bench.entries() == log.entries
    assert (bench.counted("entries"), bench.counted("batches", result="repeated")) == (10, 3)


async def test_the_same_batch_at_the_same_time_is_stored_once(bench: Bench) -> None:
    """Concurrent copies wait for one another."""
    log = bench.admit(SealedLog()).grow(9)
    body = log.body()

    receipts = await asyncio.gather(*(bench.take(body) for _ in range(5)))

    assert len({receipt.note for receipt in receipts}) == 1
    assert await bench.entries() == log.entries


async def test_many_logs_at_the_same_time_keep_apart(bench: Bench) -> None:
    """Each has its own lock and head; their commits are shared."""
    logs = [bench.admit(SealedLog(origin=f"{ORIGIN}/{n}", keys=new_keys())).grow(n) for n in range(8)]

    receipts = await asyncio.gather(*(bench.take(log.body()) for log in logs))

    assert [receipt.size for receipt in receipts] == [log.size for log in logs]
    for log in logs:
        assert await bench.entries(log.origin) == log.entries


async def test_an_overlapping_batch_adds_only_what_is_new(bench: Bench) -> None:
    """Begun again after a lost answer."""
    log = bench.admit(SealedLog()).grow(9)
    await bench.take(log.body())

    receipt = await bench.take(log.grow(5).body(4))

    assert receipt.size == 15
    assert await bench.entries() == log.entries


async def test_stale_and_gap_name_the_size_and_leave_no_evidence(bench: Bench) -> None:
    """They are corrections, not faults."""
    log = bench.admit(SealedLog()).grow(3)
    early = log.body()
    await bench.take(log.grow(3).body())

    with pytest.raises(StaleError, match="7"):
        await bench.take(early)
    with pytest.raises(GapError, match="7"):
        await bench.take(log.grow(5).body(9))
    assert await bench.evidence() == []


async def test_a_restart_goes_on_where_the_ledger_ended(open_bench: OpenBench) -> None:
    """Head and receipts come from disk."""
    log = SealedLog()
    async with open_bench() as bench:
        bench.admit(log)
        body = log.grow(4).body()
        first = await bench.take(body)
    async with open_bench() as bench:
        assert await bench.take(body) == first
        await bench.take(log.grow(4).body(5))
        assert await bench.entries() == log.entries


async def test_a_fork_is_refused_kept_and_alarmed(bench: Bench) -> None:
    """Both signed checkpoints and the differing entry are the evidence; what was held stays."""
    log = bench.admit(SealedLog()).grow(3)
    copied = log.copy()
    receipt = await bench.take(log.grow(1).body())
    copied.grow(2, text="probe-2")

    with pytest.raises(ForkError):
        await bench.take(copied.body())

    (kept,) = await bench.evidence()
    assert kept.evidence.verdict == "fork"
    assert (kept.evidence.note, kept.evidence.held) == (copied.notes[6], receipt.note)
    assert kept.evidence.entry == copied.entries[4]
    assert await bench.entries() == log.entries
    assert bench.counted("evidence", error="fork") == 1
    assert bench.counted("batches", result="refused") == 1


async def test_the_honest_history_goes_on_behind_a_refused_fork(bench: Bench) -> None:
    """A fork stalls nobody but itself."""
    log = bench.admit(SealedLog()).grow(3)
    copied = log.copy()
    await bench.take(log.grow(1).body())
    with pytest.raises(ForkError):
        await bench.take(copied.grow(2, text="probe-2").body())

    assert (await bench.take(log.grow(3).body(5))).size == 8


async def test_the_same_fault_again_is_counted_not_kept_again(bench: Bench) -> None:
    """Evidence cannot fill the disk."""
    log = bench.admit(SealedLog()).grow(3)
    batch = log.batch()
    wrong = encode_batch(log.sign(Checkpoint(ORIGIN, 4, bytes(32))), 0, batch.frames)
    for bench.now in range(COSIGNED, COSIGNED + 3):
        with pytest.raises(RootMismatchError):
            await bench.take(wrong)

    (kept,) = await bench.evidence()
    assert (kept.times, kept.evidence.t, kept.last_t) == (3, COSIGNED, COSIGNED + 2)
    assert kept.evidence.held == b""


async def test_beyond_its_bound_evidence_is_refused_and_alarmed_but_not_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile gateway fills no disk."""
    monkeypatch.setattr(sqlite, "MAX_EVIDENCE", 2)
    log = bench.admit(SealedLog()).grow(3)
    frames = log.batch().frames
    for number in range(4):
        wrong = log.sign(Checkpoint(ORIGIN, 4, bytes([number]) * 32))
        with pytest.raises(RootMismatchError):
            await bench.take(encode_batch(wrong, 0, frames))

    assert len(await bench.evidence()) == 2
    assert bench.counted("refused", error="root-mismatch") == 4
    assert bench.counted("evidence", error="root-mismatch") == 2


async def test_a_broken_chain_is_refused_with_the_entry_that_breaks_it(bench: Bench) -> None:
    """Nothing of the batch is stored."""
    log = bench.admit(SealedLog()).grow(5)
    batch = log.batch()
    swapped = [*batch.entries[:2], batch.entries[3], batch.entries[2], *batch.entries[4:]]

    with pytest.raises(BrokenChainError):
        await bench.take(encode_batch(batch.note, 0, frame(swapped)))

    (kept,) = await bench.evidence()
    assert (kept.evidence.verdict, kept.evidence.entry) == ("broken-chain", batch.entries[3])
    assert await bench.entries() == []


async def test_a_bad_checkpoint_signature_is_refused_and_kept(bench: Bench) -> None:
    """Whoever sent it had the gateway's certificate, but not the log's keys."""
    log = bench.admit(SealedLog())
    note = parse_note(log.batch().note)
    half = replace(note, signatures=note.signatures[:1]).encode()

    with pytest.raises(CheckpointSignatureError):
        await bench.take(encode_batch(half, 0, log.batch().frames))

    (kept,) = await bench.evidence()
    assert kept.evidence.verdict == "signature-missing"


async def test_one_bad_entry_is_stored_named_and_stalls_nothing(bench: Bench) -> None:
    """The signed checkpoint covers it: it is evidence against itself, and the log goes on."""
    log = bench.admit(SealedLog()).grow(2)
    log.forge_entry(b'{"body":nonsense}')
    log.grow(2)

    receipt = await bench.take(log.body())

    assert receipt.refuted == (3,)
    assert await bench.entries() == log.entries
    (found,) = await bench.ledger.refutations(ORIGIN, 0, 10)
    assert (found.seq, found.reason) == (3, "malformed")
    assert (await bench.take(log.grow(2).body(6))).size == 8


async def test_signatures_checked_first_are_named_in_the_receipt(open_bench: OpenBench) -> None:
    """Then the receipt says that all of them are checked."""
    async with open_bench(is_verified_first=True) as bench:
        log = bench.admit(SealedLog()).grow(2)
        log.forge_signature()
        log.grow(2)

        receipt = await bench.take(log.body())

        assert (receipt.refuted, receipt.signatures_verified) == ((3,), 6)
        assert (bench.counted("verified"), await bench.entries()) == (5, log.entries)


async def test_signatures_checked_behind_are_not_claimed(bench: Bench) -> None:
    """The receipt says how far they are checked: not at all yet."""
    log = bench.admit(SealedLog()).grow(2)

    assert (await bench.take(log.body())).signatures_verified == 0


@pytest.mark.parametrize("role", ["device", "operator", "service"])
async def test_only_a_gateway_may_send(bench: Bench, role: Role) -> None:
    """A valid certificate of another role is turned away."""
    log = bench.admit(SealedLog())

    with pytest.raises(NotAdmittedError, match=role):
        await bench.take(log.body(), role)


async def test_only_its_own_gateway_may_send_a_log(bench: Bench) -> None:
    """Another gateway's log is as unknown as one that nobody admitted."""
    foreign = bench.admit(SealedLog(origin=f"{ORIGIN}/9", gateway="gw-0009"))
    unknown = SealedLog(origin=f"{ORIGIN}/8")

    for log in (foreign, unknown):
        with pytest.raises(NotAdmittedError, match="not admitted"):
            await bench.take(log.body())
    assert await bench.evidence(foreign.origin) == []


async def test_a_caller_without_a_certificate_is_turned_away(bench: Bench) -> None:
    """Not reachable over TLS, refused all the same."""
    log = bench.admit(SealedLog())

    with pytest.raises(NotAdmittedError):
        await bench.ingest.take(None, log.body())


async def test_a_malformed_batch_is_an_input_error_and_leaves_nothing(bench: Bench) -> None:
    """It proves nothing against anybody: it may have been cut on the way."""
    log = bench.admit(SealedLog()).grow(3)

    for length in (0, 1, 50, 300, -1):
        with pytest.raises(InputError):
            await bench.take(log.body()[:length])
    assert await bench.evidence() == []
    assert await bench.entries() == []


async def test_a_full_ledger_puts_batches_off(open_bench: OpenBench) -> None:
    """Nothing is stored, and the same batch is right once there is room."""
    log = SealedLog()
    async with open_bench(limit_bytes=1) as bench:
        bench.admit(log)
        with pytest.raises(UnavailableError, match="limit"):
            await bench.take(log.body())
        assert await bench.entries() == []
    async with open_bench() as bench:
        assert (await bench.take(log.body())).size == 1


async def test_every_batch_is_counted_as_running_and_finished(bench: Bench) -> None:
    """Health watches whether what runs also ends."""
    log = bench.admit(SealedLog())
    with pytest.raises(InputError):
        await bench.take(b"")
    await bench.take(log.body())

    assert (bench.ingest.running, bench.ingest.finished) == (0, 2)


@pytest.mark.parametrize("is_verified_first", [True, False])
async def test_a_log_that_changes_its_keys_goes_on_and_a_restart_knows_them(
    open_bench: OpenBench, *, is_verified_first: bool
) -> None:
    """Signatures are checked by the key of their place; the ledger keeps the log's own word for it."""
    log = SealedLog(keys=new_keys())
    async with open_bench(is_verified_first=is_verified_first) as bench:
        bench.admit(log).grow(3)
        await bench.take(log.body())
        for use in ("record", "checkpoint"):
            log.roll_over(use)
            await bench.take(log.grow(2).body(log.size - 3))
    async with open_bench(is_verified_first=is_verified_first) as bench:
        bench.admit(log)
        receipt = await bench.take(log.grow(4).body(10))
        await Audit(bench.ledger, bench.admission, bench.verifier, bench.metrics).step()
        summary, refuted = await bench.ledger.summary(ORIGIN)
    assert (receipt.size, refuted) == (14, ())
    assert (summary.size, summary.verified) == (14, 14)
