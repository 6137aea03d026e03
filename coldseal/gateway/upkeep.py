"""What sensors need of people: calibrations that are due, and maintenance that goes on.

Promise: looked at once a minute and at each question, from what is in force; shown by status and metrics.
Raises no alarm: that is `alarming`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.core.coldchain.standing import since

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coldseal.core.coldchain.register import Register
    from coldseal.gateway.clock import Clock
    from coldseal.observe.metrics import GatewayMetrics

LOOK_MS: Final = 60_000
"""Pause between looks."""

_DAY_MS: Final = 86_400_000


class Upkeep:
    """Looks.

    Args:
        register: gives what is in force.
        clock: gives the moment.
        metrics: where counts are shown.
        warning_days: a calibration that ends within so many days is due soon.
    """

    def __init__(
        self, register: Callable[[], Register], clock: Clock, metrics: GatewayMetrics, *, warning_days: int
    ) -> None:
        """Take the parts; the first tick looks."""
        self._register, self._clock, self._metrics = register, clock, metrics
        self._warning_ms = warning_days * _DAY_MS
        self._look_ms = 0

    def tick(self) -> None:
        """Look, if it is time."""
        now_ms = self._clock.now().mono_ms
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + LOOK_MS
            self.status()

    def status(self) -> Mapping[str, object]:
        """Name what is overdue or due soon, with the days left, and what is in maintenance for how long."""
        register, now_ms = self._register(), self._clock.now().t_ms
        due: dict[str, int] = {}
        maintenance: dict[str, float] = {}
        for (device, sensor), watched in register.sensors.items():
            for each in register.plan(device, sensor, now_ms).calibrations:
                if each.is_due(now_ms + self._warning_ms):
                    due[f"{device}/{sensor} {each.quantity}"] = (each.due_ms - now_ms) // _DAY_MS
            began_ms, why = since(watched.maintenance, now_ms, "")
            if why:
                maintenance[f"{device}/{sensor}"] = (now_ms - began_ms) / 1000
        overdue = sum(days < 0 for days in due.values())
        self._metrics.calibrations_overdue.set(overdue)
        self._metrics.calibrations_due_soon.set(len(due) - overdue)
        self._metrics.sensors_in_maintenance.set(len(maintenance))
        return {"calibrations_due_days": due, "maintenance_s": maintenance}
