"""Every entry's own signature is checked, in other processes, behind or before; progress is never lost."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys

import pytest

from coldseal.core.log.delivery.signatures import refute
from coldseal.core.log.record import frame, parse_frames
from coldseal.errors import UnavailableError
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service import verification
from coldseal.service.verification import Audit, Verifier
from tests.sealed import ORIGIN, SealedLog, new_keys
from tests.service.bench import Bench
from tests.service.conftest import OpenBench
from tests.waiting import until


def audit_of(bench: Bench) -> Audit:
    """Give an audit over a bench's parts."""
    return Audit(bench.ledger, bench.admission, bench.verifier, bench.metrics)


def refuted_count(bench: Bench) -> float:
    """Read the counter of refuted entries, which the module's pool shares."""
    name = "coldseal_service_refuted_total"
    return bench.verifier._metrics.registry.get_sample_value(name) or 0.0


async def verified(bench: Bench, origin: str = ORIGIN) -> int:
    """Say up to where signatures are checked."""
    summary, _ = await bench.ledger.summary(origin)
    return summary.verified


@pytest.mark.parametrize("chunk", [1, 3, 512])
async def test_a_bundle_spread_over_processes_gives_what_one_would(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """In order, with true seqs, wherever it is cut."""
    monkeypatch.setattr(verification, "CHUNK_ENTRIES", chunk)
    log = SealedLog().grow(4)
    log.forge_signature()
    log.grow(2)
    log.forge_entry(b"nonsense")
    frames = frame(log.entries)

    found = await verifier.refute(((0, log.keys.record.spki),), "record", 100, frames)

    assert found == refute([(0, log.keys.record.spki)], "record", 100, frames)
    assert [each.seq for each in found] == [105, 108]


async def test_an_empty_bundle_has_nothing_to_check(verifier: Verifier) -> None:
    """No process is asked."""
    assert await verifier.refute(((0, SealedLog().keys.record.spki),), "record", 0, b"") == []


@pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 1200])
def test_a_bundle_is_cut_between_entries_only(count: int) -> None:
    """All parts together are the bundle, and each is whole."""
    entries = [b"%d" % n for n in range(count)]

    parts = list(verification._split(frame(entries)))

    assert [entry for _, part in parts for entry in parse_frames(part)] == entries
    assert [first for first, _ in parts] == list(range(0, count, 512))


@pytest.mark.parametrize("counts", [(1, 1), (300, 300, 0, 600), (512, 512), (511, 2), (5,) * 300])
def test_bundles_that_follow_one_another_are_cut_as_one(counts: tuple[int, ...]) -> None:
    """Small ones share a part."""
    entries = iter([b"%d" % n for n in range(sum(counts))])
    bundles = [frame([next(entries) for _ in range(count)]) for count in counts]

    parts = list(verification._split(*bundles))

    assert b"".join(part for _, part in parts) == b"".join(bundles)
    assert [first for first, _ in parts] == list(range(0, sum(counts), 512))


async def test_the_audit_checks_what_is_stored_behind_the_receipts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some bundles of each log in turn; the progress is on disk."""
    monkeypatch.setattr(verification, "STEP_ENTRIES", 4)
    logs = [bench.admit(SealedLog(origin=f"{ORIGIN}/{n}", keys=new_keys())).grow(3) for n in range(2)]
    for log in logs:
        await bench.take(log.body())
        await bench.take(log.grow(2).body(4))
    audit = audit_of(bench)

    assert await audit.step()
    assert [await verified(bench, log.origin) for log in logs] == [4, 4]
    assert await audit.step()
    assert not await audit.step()

    assert [await verified(bench, log.origin) for log in logs] == [6, 6]
    assert bench.counted("verified") == 12


async def test_a_bad_entry_is_refuted_alarmed_and_stops_nothing(bench: Bench, lines: io.StringIO) -> None:
    """What stands behind it is checked too; the next receipt names it."""
    log = bench.admit(SealedLog()).grow(2)
    log.forge_signature()
    log.forge_signature()
    await bench.take(log.grow(2).body())
    before = refuted_count(bench)

    while await audit_of(bench).step():
        pass

    assert await verified(bench) == 7
    assert (await bench.take(log.grow(1).body(7))).refuted == (3, 4)
    assert (bench.counted("verified"), refuted_count(bench) - before) == (5, 2)
    told = [line for line in lines.getvalue().splitlines() if "verify.refuted" in line]
    assert len(told) == 1
    assert '"seq":3' in told[0]
    assert '"reason":"bad-signature"' in told[0]


async def test_an_entry_found_malformed_while_it_was_stored_is_told_once(
    bench: Bench, lines: io.StringIO
) -> None:
    """By the audit, with all others."""
    log = bench.admit(SealedLog())
    log.forge_entry(b"nonsense")
    await bench.take(log.body())

    while await audit_of(bench).step():
        pass

    assert lines.getvalue().count("verify.refuted") == 1
    assert len(await bench.ledger.refutations(ORIGIN, 0, 9)) == 1


async def test_the_audit_goes_on_after_a_restart_where_it_stopped(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is checked twice, nothing is left out."""
    monkeypatch.setattr(verification, "STEP_ENTRIES", 4)
    log = SealedLog().grow(3)
    async with open_bench() as bench:
        bench.admit(log)
        await bench.take(log.body())
        await bench.take(log.grow(2).body(4))
        await audit_of(bench).step()
    async with open_bench() as bench:
        assert await verified(bench) == 4
        while await audit_of(bench).step():
            pass
        assert (await verified(bench), bench.counted("verified")) == (6, 2)


async def test_a_stretch_begun_ahead_of_a_failure_is_begun_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress that could not be stored is made again, in order."""
    monkeypatch.setattr(verification, "STEP_ENTRIES", 4)
    log = bench.admit(SealedLog()).grow(3)
    await bench.take(log.body())
    await bench.take(log.grow(2).body(4))
    await bench.take(log.grow(2).body(6))
    plain = bench.ledger.mark_verified

    async def refuse(*_arguments: object) -> None:
        raise UnavailableError("the disk", "full")

    audit = audit_of(bench)
    monkeypatch.setattr(bench.ledger, "mark_verified", refuse)
    assert not await audit.step()
    monkeypatch.setattr(bench.ledger, "mark_verified", plain)
    while await audit.step():
        pass

    assert (await verified(bench), bench.counted("verified")) == (8, 8)


async def test_an_audit_that_is_stopped_leaves_nothing_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had begun ahead is dropped with it."""
    monkeypatch.setattr(verification, "STEP_ENTRIES", 4)
    log = bench.admit(SealedLog()).grow(3)
    await bench.take(log.body())
    await bench.take(log.grow(2).body(4))
    audit = audit_of(bench)
    assert await audit.step()
    assert audit._ahead

    async def wait() -> bool:
        return bool(await asyncio.Event().wait())

    monkeypatch.setattr(audit, "step", wait)
    running = asyncio.ensure_future(audit.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)

    assert all(stretch.findings.done() for stretch in audit._ahead.values())


async def test_a_log_whose_bundles_are_gone_is_no_progress(bench: Bench) -> None:
    """The head says that there are entries, the table has none: nothing is marked as checked."""
    log = bench.admit(SealedLog())
    await bench.take(log.body())
    bench.ledger._store._writer.execute("DELETE FROM bundles")

    assert not await audit_of(bench).step()
    assert await verified(bench) == 0


async def test_a_log_that_is_no_longer_admitted_is_left_alone(bench: Bench) -> None:
    """Its keys are not known any more; the others are checked."""
    log = bench.admit(SealedLog()).grow(3)
    await bench.take(log.body())
    for path in (bench.site.service / "data" / "logs").iterdir():
        path.unlink()
    bench.admission.refresh()

    assert not await audit_of(bench).step()
    assert await verified(bench) == 0


async def test_the_running_audit_wakes_when_something_was_stored(bench: Bench) -> None:
    """It waits for growth, not for time."""
    log = bench.admit(SealedLog()).grow(3)
    running = asyncio.ensure_future(audit_of(bench).run())
    await asyncio.sleep(0)

    await bench.take(log.body())

    await until(lambda: bench.counted("verified") == log.size)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_running_audit_looks_again_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be checked is tried again without anybody's word."""
    monkeypatch.setattr(verification, "LOOK_AGAIN_S", 0.01)
    looks = 0
    audit = audit_of(bench)
    plain = audit.step

    async def counted() -> bool:
        nonlocal looks
        looks += 1
        return await plain()

    monkeypatch.setattr(audit, "step", counted)
    running = asyncio.ensure_future(audit.run())
    await until(lambda: looks > 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def die(*_arguments: object) -> None:
    """Stand in a worker's place for something that kills it."""
    os._exit(1)


def workers_of(verifier: Verifier) -> list[int]:
    """Name the pool's processes."""
    return list(verifier._pool._processes)


async def test_a_killed_worker_is_replaced_and_its_work_done_again(lines: io.StringIO) -> None:
    """Nothing is lost, and the restart is told."""
    verifier = Verifier(1, ServiceMetrics())
    log = SealedLog().grow(3)
    try:
        assert await verifier.refute(((0, log.keys.record.spki),), "record", 0, frame(log.entries)) == []
        (worker,) = workers_of(verifier)
        os.kill(worker, signal.SIGKILL)

        assert await verifier.refute(((0, log.keys.record.spki),), "record", 0, frame(log.entries)) == []
        assert workers_of(verifier) != [worker]
    finally:
        verifier.close()
    assert "verify.restarted" in lines.getvalue()


async def test_processes_that_keep_dying_put_the_bundle_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts somebody else may have a turn."""
    monkeypatch.setattr(verification, "refute", die)
    verifier = Verifier(1, ServiceMetrics())
    try:
        with pytest.raises(UnavailableError, match="3 times"):
            await verifier.refute(((0, SealedLog().keys.record.spki),), "record", 0, frame([b"x"]))
    finally:
        verifier.close()


async def test_an_audit_survives_processes_that_keep_dying(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports no progress and tries again later."""
    log = bench.admit(SealedLog())
    await bench.take(log.body())
    monkeypatch.setattr(verification, "refute", die)
    broken = Verifier(1, ServiceMetrics())
    try:
        assert not await Audit(bench.ledger, bench.admission, broken, bench.metrics).step()
    finally:
        broken.close()


def test_workers_end_when_their_parent_is_killed() -> None:
    """No process is left behind by a SIGKILL of the service."""
    script = (
        "import asyncio, os, signal\n"
        "from coldseal.observe.metrics import ServiceMetrics\n"
        "from coldseal.service.verification import Verifier\n"
        "from tests.sealed import SealedLog\n"
        "from coldseal.core.log.record import frame\n"
        "if __name__ == '__main__':\n"
        "    log = SealedLog()\n"
        "    verifier = Verifier(1, ServiceMetrics())\n"
        "    asyncio.run(verifier.refute(((0, log.keys.record.spki),), 'record', 0, frame(log.entries)))\n"
        "    os.write(1, b'%d' % list(verifier._pool._processes)[0])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    # the worker holds both pipes open: that they came to their end says that it is gone
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)

    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0
