"""Takes notices in: urgent entries that a gateway tells ahead of their order while a backlog drains.

Promises that only what a key of the log has signed is shown, as announced and never as delivered; that an
entry which comes otherwise in its order is a fork with proof; and that no gateway can fill the list or keep
this busy. Gives no receipt and moves no log: that is `ingest`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from coldseal.core.log.delivery.notices import Judged, Told, encode_told, judge, origin_of, parse_notices
from coldseal.core.log.delivery.receiver import ForkError
from coldseal.core.log.merkle import leaf_hash
from coldseal.errors import UnavailableError
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.callers import identify
from coldseal.service.storage.values import Announced, Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.observe.metrics import ServiceMetrics
    from coldseal.service.admission import Admission
    from coldseal.service.ledger import Ledger

PER_MINUTE: Final = 600
"""Notices of one log that are looked at in a minute."""
_MINUTE_S: Final = 60

_log = Log("service.notices")


class Notices:
    """What was announced and has not come in its order yet.

    Args:
        admission: which logs are taken from which gateways.
        ledger: holds the list, and the logs.
        now: wall time, Unix seconds.
        metrics: what is counted.
    """

    def __init__(
        self, admission: Admission, ledger: Ledger, *, now: Callable[[], int], metrics: ServiceMetrics
    ) -> None:
        """Take the parts."""
        self._admission, self._ledger, self._now, self._metrics = admission, ledger, now, metrics
        self._turn = asyncio.Lock()
        self._spent: dict[str, tuple[int, int]] = {}

    async def take(self, certificate: bytes | None, body: bytes) -> bytes:
        """Look at notices and put on the list those that hold; the answer's body.

        Raises:
            NotAdmittedError: the caller may not speak for this log.
            InputError: the request is malformed.
            ForkError: another entry is held, or was announced, at the place of one; kept as evidence.
            UnavailableError: not stored, or too many; the same again later is right.
        """
        request = parse_notices(body)
        log = identify(self._admission, certificate, origin_of(request))
        self._spend(log.origin, len(request.notices))
        judged = judge(log, await self._ledger.settings(log.origin), request)
        async with self._turn:
            return encode_told(await self._announce(log, judged))

    def _spend(self, origin: str, count: int) -> None:
        """Count what is looked at in this minute."""
        minute = self._now() // _MINUTE_S
        before, spent = self._spent.get(origin, (minute, 0))
        spent = count + (spent if before == minute else 0)
        if spent > PER_MINUTE:
            raise UnavailableError("the list of announced entries", f"{PER_MINUTE} in a minute are enough")
        self._spent[origin] = minute, spent

    async def _announce(self, log: AdmittedLog, judged: Sequence[Judged]) -> Told:
        """Compare with what is known, and put what is new on the list."""
        summary, _ = await self._ledger.summary(log.origin)
        known = {each.seq: each.entry for each in await self._ledger.announced(log.origin)}
        refused: dict[int, str] = {}
        fresh: dict[int, Announced] = {}
        for raw, entry, reason in judged:
            if reason:
                refused[entry.seq] = reason
                self._metrics.notices.labels("refused").inc()
                _log.emit(events.NOTICE_REFUSED, origin=log.origin, seq=entry.seq, reason=reason)
                continue
            if entry.seq < summary.size:
                (held,) = await self._ledger.entries(log.origin, entry.seq, entry.seq + 1)
            else:
                held = known.get(entry.seq, b"")
            if held and held != raw:
                raise await self._disprove(log.origin, entry.seq, held, raw)
            if held:
                self._metrics.notices.labels("repeated").inc()
            else:
                known[entry.seq] = raw
                fresh[entry.seq] = Announced(entry.seq, entry.kind, entry.t, self._now(), raw)
        if fresh:
            await self._ledger.announce(log.origin, list(fresh.values()))
        for seq, each in fresh.items():
            self._metrics.notices.labels("announced").inc()
            _log.emit(events.NOTICE_ANNOUNCED, origin=log.origin, seq=seq, kind=each.kind, t=each.t)
        return Told(frozenset(entry.seq for _, entry, reason in judged if not reason), refused)

    async def reconcile(self) -> None:
        """Compare what has come in its order since with what was announced of it; then it leaves the list."""
        for origin, size in await self._ledger.arrived():
            async with self._turn:
                for each in await self._ledger.announced(origin, below=size):
                    (held,) = await self._ledger.entries(origin, each.seq, each.seq + 1)
                    if held == each.entry:
                        self._metrics.notices.labels("confirmed").inc()
                        _log.emit(events.NOTICE_CONFIRMED, origin=origin, seq=each.seq, kind=each.kind)
                    else:
                        await self._disprove(origin, each.seq, held, each.entry)
                    await self._ledger.settle(origin, [each.seq])

    async def _disprove(self, origin: str, seq: int, held: bytes, found: bytes) -> ForkError:
        """Keep both entries of one place as evidence, and raise the alarm."""
        fault = ForkError(seq, leaf_hash(held), leaf_hash(found))
        newest = await self._ledger.receipt(origin)
        evidence = Evidence(
            origin=origin,
            verdict=fault.verdict,
            t=self._now(),
            detail=f"told ahead: {fault}",
            note=found,
            held=newest.note if newest else held,
            entry=found,
        )
        is_kept = await self._ledger.keep(evidence)
        self._metrics.notices.labels("forked").inc()
        _log.emit(events.FORK_FOUND, origin=origin, size=seq, kept=is_kept)
        return fault
