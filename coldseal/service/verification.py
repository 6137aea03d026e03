"""Checks every entry's own signature, in processes of their own, before or behind the receipt.

Promises progress that survives a restart, and that one bad entry never stops it: that entry is refuted
and named, and stays stored. Workers get undecoded bundles and a key, nothing else.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import TYPE_CHECKING, Final

from coldseal.core.log.delivery.receiver import history_at
from coldseal.core.log.delivery.signatures import Refutation, refute
from coldseal.errors import UnavailableError
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.checking import prepare_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.observe.metrics import ServiceMetrics
    from coldseal.service.admission import Admission
    from coldseal.service.ledger import Ledger
    from coldseal.service.storage.values import Summary

    RecordKeys = tuple[tuple[int, bytes], ...]

CHUNK_ENTRIES: Final = 512
"""Entries handed to a worker at once: some tens of milliseconds of work."""
STEP_ENTRIES: Final = 8_192
"""Entries of one log that are checked before another log's turn, and before the progress is stored."""
ATTEMPTS: Final = 3
"""Pools that may break over one bundle before it is put off."""
LOOK_AGAIN_S: Final = 5.0
"""Pause before logs that could not be checked are looked at again."""
NICENESS: Final = 10
"""By how much checks behind the receipts give way to the process that takes batches in."""

_log = Log("service.verification")


class Verifier:
    """A pool of processes that check signatures."""

    def __init__(self, workers: int, metrics: ServiceMetrics, *, niceness: int = 0) -> None:
        """Prepare the pool; its processes start with the first bundle.

        Args:
            workers: how many processes; 0 stands for one for each processor.
            metrics: what is counted.
            niceness: how far they give way to others; `NICENESS` for what nobody waits for.
        """
        self._workers = workers or os.cpu_count() or 1
        self._niceness = niceness
        self._metrics = metrics
        self._pool = self._start()

    def close(self) -> None:
        """Stop the processes; what they were at is forgotten."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def refute(self, keys: RecordKeys, mode: str, first: int, *bundles: bytes) -> list[Refutation]:
        """Check the entries of bundles one by one, spread over the processes.

        Args:
            keys: each record key of the log with the first seq that it signs, in order.
            mode: the log's sealing mode.
            first: seq of the first entry.
            bundles: framed entries, one bundle behind the other.

        Raises:
            UnavailableError: the processes keep dying.
        """
        for _ in range(ATTEMPTS):
            pool = self._pool
            try:
                return await self._spread(pool, keys, mode, first, bundles)
            except BrokenExecutor as fault:
                cause = str(fault)
                if pool is self._pool:
                    _log.emit(events.VERIFIER_RESTARTED, cause=cause)
                    self._pool = self._start()
        raise UnavailableError("signature verification", f"its processes ended {ATTEMPTS} times")

    def report(self, origin: str, refuted: Sequence[Refutation]) -> None:
        """Raise the alarm over refuted entries: each is counted, each reason is told once a bundle."""
        self._metrics.refuted.inc(len(refuted))
        for each in {each.reason: each for each in reversed(refuted)}.values():
            _log.emit(events.SIGNATURE_REFUTED, origin=origin, seq=each.seq, reason=each.reason)

    async def _spread(
        self, pool: ProcessPoolExecutor, keys: RecordKeys, mode: str, first: int, bundles: Sequence[bytes]
    ) -> list[Refutation]:
        """Hand the bundles' parts to the pool and bring the findings back in order."""
        loop = asyncio.get_running_loop()
        parts = [
            loop.run_in_executor(pool, refute, keys, mode, first + at, part) for at, part in _split(*bundles)
        ]
        return [each for found in await asyncio.gather(*parts) for each in found]

    def _start(self) -> ProcessPoolExecutor:
        """Make a pool of fresh processes, which share nothing with this one."""
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=prepare_worker, initargs=(self._niceness,)
        )


class _Stretch:
    """Entries of one log that are being checked."""

    def __init__(
        self, verifier: Verifier, keys: RecordKeys, mode: str, bundles: list[tuple[int, int, bytes]]
    ) -> None:
        """Hand them to the processes."""
        self.first = bundles[0][0]
        self.end = self.first + sum(count for _, count, _ in bundles)
        frames = (part for _, _, part in bundles)
        self.findings = asyncio.ensure_future(verifier.refute(keys, mode, self.first, *frames))


class Audit:
    """Checks signatures behind the receipts, from where it stopped last time."""

    def __init__(
        self, ledger: Ledger, admission: Admission, verifier: Verifier, metrics: ServiceMetrics
    ) -> None:
        """Take the parts; nothing is checked yet."""
        self._ledger = ledger
        self._admission = admission
        self._verifier = verifier
        self._metrics = metrics
        self._ahead: dict[str, _Stretch] = {}

    async def run(self) -> None:
        """Check whatever is stored and not checked yet, for ever."""
        try:
            while True:
                self._ledger.grown.clear()
                if not await self.step():
                    try:
                        async with asyncio.timeout(LOOK_AGAIN_S):
                            await self._ledger.grown.wait()
                    except TimeoutError:
                        continue
        finally:
            for stretch in self._ahead.values():
                stretch.findings.cancel()

    async def step(self) -> bool:
        """Check a stretch of each log that has any; say whether there was something to do."""
        progress = False
        for origin in await self._ledger.unverified():
            log = self._admission.find(origin)
            if log is not None:
                try:
                    progress |= await self._check_next(log)
                except UnavailableError:  # the ledger or the pool, which has told so itself
                    continue
        return progress

    async def _check_next(self, log: AdmittedLog) -> bool:
        """Check the next stretch of one log and keep what was found; the one after it is begun before."""
        summary, _ = await self._ledger.summary(log.origin)
        current = self._ahead.pop(log.origin, None)
        if current is not None and current.first != summary.verified:  # the one before it failed
            current.findings.cancel()
            current = None
        current = current or await self._begin(log, summary, summary.verified)
        if current is None:
            return False
        following = await self._begin(log, summary, current.end)
        if following is not None:
            self._ahead[log.origin] = following
        refuted = await current.findings
        await self._ledger.mark_verified(log.origin, current.first, current.end, refuted)
        self._metrics.verified.inc(current.end - current.first - len(refuted))
        if refuted:
            self._verifier.report(log.origin, refuted)
        return True

    async def _begin(self, log: AdmittedLog, summary: Summary, first: int) -> _Stretch | None:
        """Read the next entries and hand them over; None if there are none."""
        bundles = await self._ledger.next_bundles(log.origin, first, STEP_ENTRIES)
        if not bundles:
            return None
        history = history_at(log, await self._ledger.settings(log.origin))
        return _Stretch(self._verifier, history.record_keys, summary.mode, bundles)


def _split(*bundles: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut bundles that follow one another between entries: the first place and the bytes of each part."""
    first = count = 0
    held: list[bytes] = []
    for frames in bundles:
        at, end = 0, len(frames)
        while at < end:
            start = at
            while at < end and count < CHUNK_ENTRIES:
                at += 2 + (frames[at] << 8 | frames[at + 1])
                count += 1
            held.append(frames[start:at])
            if count == CHUNK_ENTRIES:
                yield first, b"".join(held)
                first, count = first + CHUNK_ENTRIES, 0
                held.clear()
    if held:
        yield first, b"".join(held)
