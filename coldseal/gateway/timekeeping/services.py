"""Finds the time service of this machine, and opens the gateway's clock that listens to it.

Promise: a clock that is opened here holds time to what the configuration asks of it, from its first moment
on. Which service is followed is decided once in a run: a silent one is not exchanged for the next.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coldseal.core.timekeeping import Demands, Report
from coldseal.errors import UnavailableError
from coldseal.gateway.clock import Clock
from coldseal.gateway.timekeeping.chrony import ask_chrony
from coldseal.gateway.timekeeping.ntpsec import ask_ntpsec

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.tables.time import Time

ANSWER_S: Final = 1.0
"""Time for all answers of a service at one look."""

_NAMES: Final = {"auto": ("chrony", "ntpsec"), "chrony": ("chrony",), "ntpsec": ("ntpsec",), "kernel": ()}


class Services:
    """Asks the time service that a configuration names, or the first one that answers.

    Args:
        settings: what the configuration says.
        clock: seconds that count up.

    Attributes:
        is_expected: a service is followed, so that its silence counts.
        fault: why there was no answer at the last look; empty if there was one.
    """

    def __init__(self, settings: Time, clock: Callable[[], float]) -> None:
        """Nobody was asked yet."""
        self._ways: dict[str, Callable[..., Report]] = {
            "chrony": partial(ask_chrony, settings.chrony),
            "ntpsec": partial(ask_ntpsec, settings.ntpsec),
        }
        self._names: tuple[str, ...] = _NAMES[settings.source]
        self._clock = clock
        self.is_expected = settings.source in {"chrony", "ntpsec"}
        self.fault = ""

    def ask(self) -> Report | None:
        """Ask; blocks, but for each service no longer than `ANSWER_S`. None if nobody answers."""
        faults = []
        for name in self._names:
            try:
                report = self._ways[name](timeout_s=ANSWER_S, clock=self._clock)
            except UnavailableError as error:
                faults.append(str(error))
            else:
                self._names, self.is_expected, self.fault = (name,), True, ""
                return report
        self.fault = "; ".join(faults)
        return None


def demands_of(settings: Time) -> Demands:
    """Say what a configuration asks of time."""
    return Demands(
        is_authenticated=settings.require_authentication,
        is_kernel_asked=settings.kernel_must_agree,
        limit_ms=settings.limit_ms,
        max_age_ms=round(settings.max_age_s * 1000),
    )


def open_clock(settings: Time) -> Clock:
    """Open the gateway's clock: it has heard what the time service says, if there is one."""
    clock = Clock(demands=demands_of(settings))
    services = Services(settings, lambda: clock.now().mono_ms / 1000)
    report = services.ask()
    if services.is_expected:
        clock.follow(report)
    return clock
