"""A profile tried on readings that are there: what it would have raised, by the same judging as at the edge.

Promise: the rules are those of `evaluation`, with one asset, one sensor and nothing before the first reading;
silence is noticed when it has lasted, as a running gateway does. Nothing is sealed and nobody is told.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain import mkt
from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.register import Plan
from coldseal.core.log import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.coldchain.effects import Effect
    from coldseal.core.coldchain.product import MktRule, ProductProfile
    from coldseal.core.coldchain.series import Row

ASSET: Final = "tried"
DEVICE: Final = "tried"
SENSOR: Final = "tried"
"""Names in what would have been sealed."""

_TICK_MS: Final = 1000


class Event(NamedTuple):
    """One entry that would have been sealed: when, its kind, and what it says."""

    at_ms: int
    kind: str
    data: Mapping[str, canonical.Value]


class Excursion(NamedTuple):
    """All that was said of one excursion.

    Attributes:
        id: its id.
        events: in order; the last one has the figures of all of it.
    """

    id: str
    events: tuple[Event, ...]

    @property
    def last(self) -> Mapping[str, canonical.Value]:
        """What the last entry says."""
        return self.events[-1].data

    @property
    def from_ms(self) -> int:
        """When it began."""
        return moment_ms(str(self.last["from"]))

    @property
    def to_ms(self) -> int:
        """When it ended, or how far it is known."""
        return moment_ms(str(self.last["to"]))

    @property
    def is_over(self) -> bool:
        """Whether readings have ended it."""
        return any(
            each.data["action"] != "opened" and each.data["action"] != "escalated" for each in self.events
        )


def rehearse(
    profile: ProductProfile, rows: Iterable[Row], calibrations: tuple[Calibration, ...] = ()
) -> list[Event]:
    """Judge rows in their order, and give what would have been sealed.

    Args:
        profile: what holds.
        rows: of one sensor.
        calibrations: of the sensor; their uncertainty is the guard band.
    """
    plan, evaluation = Plan(DEVICE, SENSOR, ASSET, profile, calibrations), Evaluation()
    found: list[Event] = []
    last_ms: int | None = None
    for row in rows:
        if last_ms is not None:
            noticed_ms = last_ms + profile.silence_s * 1000 + _TICK_MS
            if noticed_ms < row.received_ms:
                found += _events(evaluation.silent(noticed_ms, [plan]).effects, noticed_ms)
        judged = evaluation.judge(plan, row.measured, received_ms=row.received_ms)
        found += _events(judged.effects, row.received_ms)
        last_ms = row.received_ms
    return found


def excursions_of(events: Iterable[Event]) -> list[Excursion]:
    """Put together what was said of each excursion, in the order in which they began."""
    found: dict[str, list[Event]] = {}
    for each in events:
        if each.kind == "excursion":
            found.setdefault(str(each.data["id"]), []).append(each)
    return [Excursion(name, tuple(each)) for name, each in found.items()]


def silences_of(events: Iterable[Event]) -> list[Event]:
    """Give the gaps of silence, each as it was last told, in the order in which they began."""
    found: dict[str, Event] = {}
    for each in events:
        if each.kind == "gap":
            found[str(each.data["id"])] = each
    return [*found.values()]


class Warmth(NamedTuple):
    """Mean kinetic temperature at the end of some readings.

    Attributes:
        value: of the trailing window, thousandths of Cel.
        worst: of the worst window.
        covered: of the window by readings, thousandths.
    """

    value: int
    worst: int
    covered: int


def warmth_of(rule: MktRule, points: Sequence[tuple[int, int]], interval_s: int) -> Warmth:
    """Give the mean kinetic temperature, as judging has it: a reading holds for two intervals at most.

    Args:
        rule: window and activation energy.
        points: times, UTC milliseconds, and values, thousandths of Cel; in order, at least one.
        interval_s: in which readings are expected.
    """
    window = mkt.window_of(rule)
    kept = mkt.begin(window, points[0][0])
    for (t_ms, value), (next_ms, _) in pairwise(points):
        held_ms = min(next_ms - t_ms, 2000 * interval_s)
        kept = mkt.move(kept, window, value, from_ms=t_ms, held_ms=held_ms, now_ms=next_ms)
    value = mkt.mean(kept.total, kept.total_ms, window.delta_h) if kept.total_ms else points[-1][1]
    worst = mkt.mean(kept.worst, kept.worst_ms, window.delta_h) if kept.worst_ms else value
    return Warmth(value, worst, min(1000, kept.total_ms * 1000 // window.length_ms))


def _events(effects: Sequence[Effect], at_ms: int) -> list[Event]:
    """Read the entries."""
    return [Event(at_ms, each.kind, canonical.parse(each.data, where=each.kind)) for each in effects]
