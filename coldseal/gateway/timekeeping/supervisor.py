"""Looks after the time service of a running gateway: what it says goes to the clock, to the log, to people.

Promise: a change of source or of its authentication is a `clock` entry of the log, also where the clock's
state stays as it was; a change of state is one by the journal. An entry that finds no room is sealed when
there is some. Decides nothing of what time is worth.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.timekeeping import UNKNOWN_ERROR_MS
from coldseal.errors import UnavailableError
from coldseal.gateway.timekeeping.services import Services
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from coldseal.gateway.clock import Clock, ClockStatus
    from coldseal.gateway.tables.time import Time
    from coldseal.observe.metrics import GatewayMetrics

_log = Log("gateway.timekeeping")


class Timekeeper:
    """Asks the time service again and again.

    Args:
        settings: what the configuration says of time.
        clock: the gateway's, which hears what the service says.
        metrics: where it is shown.
        seal: seals an entry of a kind by itself.
    """

    def __init__(
        self,
        settings: Time,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        seal: Callable[[str, bytes], Awaitable[bytes]],
    ) -> None:
        """Take the parts; nobody was asked yet."""
        self._settings, self._clock, self._metrics, self._seal = settings, clock, metrics, seal
        self._services = Services(settings, lambda: clock.now().mono_ms / 1000)
        self._state = clock.status().state
        self._sealed: Mapping[str, str] = {}
        self._is_up = True
        self._is_doubted = False

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._settings.interval_s)

    async def look(self) -> None:
        """Ask once, and let everybody know who must."""
        report = await asyncio.to_thread(self._services.ask)
        if self._services.is_expected:
            self._clock.follow(report)
            self._tell_service(is_up=report is not None)
        await self._put_on_record()
        self.show()

    def show(self) -> None:
        """Show how time stands, and say when readings begin to be flagged, and when that ends."""
        status, metrics = self._clock.status(), self._metrics
        report, is_doubted = self._clock.report, bool(self._clock.doubts)
        is_known = status.error_ms != UNKNOWN_ERROR_MS
        metrics.clock_error_seconds.set(status.error_ms / 1000 if is_known else float("nan"))
        metrics.clock_doubted.set(is_doubted)
        metrics.time_service_up.set(report is not None)
        metrics.time_authenticated.set(report is not None and report.authentication != "none")
        if is_doubted != self._is_doubted:
            self._is_doubted = is_doubted
            _log.emit(
                events.TIME_DOUBTED if is_doubted else events.TIME_TRUSTED,
                state=status.state,
                offset_ms=status.offset_ms,
                error_ms=status.error_ms,
                reason=status.reason,
            )

    def status(self) -> Mapping[str, object]:
        """Say how time stands, for a person."""
        return describe(self._clock.status(), self._clock, self._services.fault)

    def _tell_service(self, *, is_up: bool) -> None:
        """Say once that the service is silent, and once that it is back."""
        if is_up == self._is_up:
            return
        self._is_up = is_up
        if is_up:
            _log.emit(events.TIME_SERVICE_BACK, service=self._clock.provenance["service"])
        else:
            _log.emit(events.TIME_SERVICE_LOST, fault=self._services.fault)

    async def _put_on_record(self) -> None:
        """Seal from whom time comes, where that changed and the journal has no other reason to say so."""
        status, provenance = self._clock.status(), self._clock.provenance
        state, self._state = self._state, status.state
        if provenance == self._sealed:
            return
        _log.emit(
            events.TIME_SOURCE_CHANGED,
            service=provenance["service"],
            source=provenance["source"],
            auth=provenance["auth"],
        )
        if state == status.state:
            data: dict[str, canonical.Value] = {
                **provenance,
                "err": status.error_ms,
                "from": state,
                "off": status.offset_ms,
                "step": 0,
                "to": state,
            }
            try:
                await self._seal("clock", canonical.encode(data))
            except UnavailableError:  # no room: the next look tries again
                return
        self._sealed = provenance


def describe(status: ClockStatus, clock: Clock, fault: str) -> dict[str, object]:
    """Describe time for a person: who keeps it, and how far it may be trusted."""
    report = clock.report
    return {
        "state": status.state,
        "reason": status.reason,
        "offset_ms": status.offset_ms,
        "error_ms": status.error_ms if status.error_ms != UNKNOWN_ERROR_MS else None,
        "service": "" if report is None else report.service,
        "source": "" if report is None else report.source,
        "authentication": "none" if report is None else report.authentication,
        "leap": "" if report is None else report.leap,
        "fault": fault,
        "flagged": bool(clock.doubts),
    }
