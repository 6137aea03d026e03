"""How every drill goes: a fault is played, checks are made, an entry says so, a report shows it.

Promise: what was found goes into the log before anybody is told, be it good or bad; a drill that could not be
held leaves no entry. Holds no rule of a drill by itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import OperatorError
from coldseal.gateway.administration import place_of_control
from coldseal.gateway.clock import Clock, render_time
from coldseal.gateway.control import ask
from coldseal.gateway.records import Sealed, seal_record
from coldseal.gateway.writer import SOFTWARE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from coldseal.core.log.canonical import Value
    from coldseal.gateway.config import GatewayConfig

STEP_S: Final = 0.25
"""Pause between two looks at the gateway."""


class Check(NamedTuple):
    """What was looked at, what was found, what was expected, and whether that agrees."""

    check: str
    found: str
    expected: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a drill is held.

    Attributes:
        config: the gateway's configuration.
        seconds: how long the fault lasts, where it lasts.
        within_s: time that the gateway has to be well again.
        say: is told what happens, for a person who waits.
        clock: gives the moment.
        wait: lets seconds pass.
    """

    config: GatewayConfig
    seconds: float = 20.0
    within_s: float = 120.0
    say: Callable[[str], None] = lambda _text: None
    clock: Clock = field(default_factory=Clock)
    wait: Callable[[float], None] = time.sleep

    def status(self) -> Mapping[str, Any]:
        """Ask the running gateway how it is.

        Raises:
            OperatorError: none runs here.
        """
        answer = ask(place_of_control(self.config), {"do": "status"})
        if answer is None:
            what = f"no gateway runs on {self.config.gateway.data}"
            raise OperatorError(what, "Start it: a drill needs the live system")
        found: Mapping[str, Any] = answer["status"]
        return found

    def play(self, fault: str) -> None:
        """Have the gateway play a fault for this drill's seconds; it ends by itself."""
        request = {"do": "exercise", "fault": fault, "seconds": self.seconds, "why": f"the drill {fault}"}
        ask(place_of_control(self.config), request)

    def until(self, is_so: Callable[[], bool], within_s: float) -> float | None:
        """Look until something is so; gives the seconds that took, None if it did not come about."""
        began = self.clock.now().mono_ms
        while not is_so():
            passed = (self.clock.now().mono_ms - began) / 1000
            if passed > within_s:
                return None
            self.wait(STEP_S)
        return (self.clock.now().mono_ms - began) / 1000


class Record(NamedTuple):
    """A drill that was held.

    Attributes:
        data: what its entry says.
        sealed: where that entry is.
    """

    data: Mapping[str, Any]
    sealed: Sealed

    @property
    def is_good(self) -> bool:
        """Whether every check is as expected."""
        return bool(self.data["verdict"] == "good")


def hold(name: str, drill: Callable[[Stage], list[Check]], stage: Stage, *, who: str, why: str) -> Record:
    """Hold a drill, and put it on record.

    Args:
        name: the drill's.
        drill: plays the fault and makes the checks.
        stage: where.
        who: who holds it.
        why: what for, such as a quarter.

    Raises:
        OperatorError: it cannot be held here and now, and why; nothing is on record.
        UnavailableError: it was held, but is not on record.
    """
    began = stage.clock.now()
    checks = drill(stage)
    ended = stage.clock.now()
    found: list[Value] = [{**each._asdict()} for each in checks]
    data: dict[str, Value] = {
        "began": render_time(began.t_ms),
        "checks": found,
        "drill": name,
        "ended": render_time(ended.t_ms),
        "software": SOFTWARE,
        "verdict": "good" if all(each.ok for each in checks) else "bad",
        "who": who,
        "why": why,
    }
    stage.say("putting it on record")
    return Record(data, seal_record(stage.config, "drill", data))
