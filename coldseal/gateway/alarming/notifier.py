"""Keeps the notifier's process running beside the intake, and gives it one notice a recipient at a time.

Promise: a notice counts as handed over when the recipient's service has taken it; before, it is tried again,
with longer and longer pauses, for as long as it is wanted: at least once, so perhaps twice. What comes while
one is on its way goes together in the next. Lost and back are said once each. Nobody waits for it.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.alarm import Alarm
from coldseal.gateway.alarming.wire import Answer, Order
from coldseal.gateway.alarming.words import compose
from coldseal.gateway.uplink.companion import end, environment
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.tables.alarms import Alarms as Settings
    from coldseal.observe.metrics import GatewayMetrics

FIRST_PAUSE_S: Final = 1.0
"""Before the first trial after a failure, and before a process that ended is started again; doubles."""

LONGEST_RESTART_S: Final = 30.0
GRACE: Final = 2.0
"""A notice that is on its way for so many times `timeout_s` is given up, with the process."""

_log = Log("alarms.notifier")


class Line(msgspec.Struct):
    """How it stands with one recipient.

    Args:
        under_way: alarms in the notice that is on its way, by the number of its order; None: there is none.
        order: its number.
        since_ms: when it left, monotonic milliseconds.
        failures: trials in a row that failed.
        retry_ms: before, nothing is tried, monotonic milliseconds.
        fault: why the last one failed; empty: it did not.
        lost_ms: when the first of these failed, monotonic milliseconds.
        handed: notices handed over since the start.
    """

    under_way: tuple[Alarm, ...] | None = None
    order: int = 0
    since_ms: int = 0
    failures: int = 0
    retry_ms: int = 0
    fault: str = ""
    lost_ms: int = 0
    handed: int = 0


class Notifier:
    """The process, and what is on its way.

    Args:
        arguments: configuration file and overrides.
        settings: who is told.
        site: the gateway's, for titles.
        clock: gives the moment.
        metrics: where it is counted.
        handed: told of each alarm and recipient once a notice was taken.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        settings: Settings,
        site: str,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        handed: Callable[[Alarm, str], None],
    ) -> None:
        """Take the parts; nothing runs yet."""
        self._command = (sys.executable, "-m", "coldseal.gateway.alarming.process", *arguments)
        self._environment = environment()
        self._settings, self._site, self._clock = settings, site, clock
        self._metrics, self._handed = metrics, handed
        self._lines = {each.name: Line() for each in settings.recipients}
        self._process: Process | None = None
        self._number = 0

    async def run(self) -> None:
        """Keep the process running until cancelled."""
        pause_s = FIRST_PAUSE_S
        while self._lines:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, env=self._environment
            )
            self._process = process
            try:
                has_answered = await self._listen(process)
                code = await process.wait()
            finally:
                self._process = None
                await end(process)
            for line in self._lines.values():
                if line.under_way is not None:
                    self._failed(line, "the notifier's process ended")
            _log.emit(events.PART_RESTARTED, process="alarms", cause=f"it ended with {code}")
            pause_s = FIRST_PAUSE_S if has_answered else min(2 * pause_s, LONGEST_RESTART_S)
            await asyncio.sleep(pause_s)

    async def _listen(self, process: Process) -> bool:
        """Take answers until there are no more; says whether there was one."""
        has_answered = False
        if process.stdout is not None:
            async for text in process.stdout:
                has_answered = True
                self._answered(msgspec.json.decode(text, type=Answer))
        return has_answered

    def offer(self, wanted: Mapping[str, Sequence[Alarm]]) -> None:
        """Send what recipients are to be told, to those who are free."""
        now_ms = self._clock.now().mono_ms
        for name in wanted.keys() & self.free():
            self._send(name, self._lines[name], tuple(wanted[name]), now_ms)

    def free(self) -> set[str]:
        """Name the recipients for whom nothing is on its way and no pause holds."""
        now_ms = self._clock.now().mono_ms
        if not self._is_there:
            return set()
        return {
            name for name, each in self._lines.items() if each.under_way is None and now_ms >= each.retry_ms
        }

    @property
    def _is_there(self) -> bool:
        """Whether there is a process that hears."""
        process = self._process
        return process is not None and process.returncode is None and process.stdin is not None

    def _send(self, name: str, line: Line, alarms: tuple[Alarm, ...], now_ms: int) -> None:
        """Send one notice."""
        self._number += 1
        title, body, weight = compose(alarms, self._site)
        order = Order(self._number, name, title, body, weight)
        line.under_way, line.order, line.since_ms = alarms, self._number, now_ms
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")

    def _answered(self, answer: Answer) -> None:
        """Take over what became of a notice; an answer that comes too late is not waited for any more."""
        if answer.to:
            self._failed(self._lines[answer.to], answer.error)
            return
        found = next(((n, each) for n, each in self._lines.items() if each.order == answer.id), None)
        if found is None or found[1].under_way is None:
            return
        name, line = found
        if answer.error:
            self._failed(line, answer.error)
            return
        alarms, line.under_way = line.under_way or (), None
        now = self._clock.now()
        if line.failures:
            seconds = (now.mono_ms - line.lost_ms) / 1000
            _log.emit(events.ALARMS_RECIPIENT_BACK, recipient=name, seconds=seconds)
        line.failures, line.fault, line.retry_ms = 0, "", 0
        line.handed += 1
        self._metrics.alarm_notices.labels("handed").inc()
        for each in alarms:
            self._metrics.alarm_seconds.observe(max(0, now.t_ms - each.told_ms) / 1000)
            self._handed(each, name)

    def _failed(self, line: Line, fault: str) -> None:
        """Try again later, and later each time."""
        now_ms = self._clock.now().mono_ms
        line.under_way = None
        if not line.failures:
            line.lost_ms = now_ms
            name = next(name for name, each in self._lines.items() if each is line)
            _log.emit(events.ALARMS_RECIPIENT_LOST, recipient=name, error=fault)
        line.failures += 1
        line.fault = fault
        pause_s = min(FIRST_PAUSE_S * 2 ** min(line.failures - 1, 20), self._settings.retry_max_s)
        line.retry_ms = now_ms + round(pause_s * 1000)
        self._metrics.alarm_notices.labels("failed").inc()

    def tick(self) -> None:
        """End a process in which a notice is stuck: it is started again."""
        now_ms, limit_ms = self._clock.now().mono_ms, GRACE * self._settings.timeout_s * 1000
        stuck = any(
            each.under_way is not None and now_ms - each.since_ms > limit_ms for each in self._lines.values()
        )
        if stuck and self._process is not None and self._process.returncode is None:
            self._process.kill()

    def status(self) -> Mapping[str, object]:
        """Say of each recipient how it stands."""
        return {
            name: {"handed": each.handed, "failures": each.failures, "fault": each.fault}
            for name, each in self._lines.items()
        }
