"""Writes what is put on record of excursions and silence: every figure of the moment, as canonical JSON.

Promise: times, values and spans have one form each; whole seconds are cut, never rounded up; a share of time
that readings cover is never said to be more than it is. Decides nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from coldseal.core.coldchain.document import render_milli
from coldseal.core.coldchain.mkt import mean
from coldseal.core.coldchain.product import Tier
from coldseal.core.coldchain.warmth import DIRECTION
from coldseal.core.log.canonical import Value, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.core.coldchain.excursion import Action, Run
    from coldseal.core.coldchain.laws import Law, Side
    from coldseal.core.coldchain.mkt import Kinetic, Window

_SECOND: Final = 1000
_MINUTE: Final = 60_000
_TIERS: Final = {tier.weight: tier.value for tier in Tier}

NOT_APPLICABLE: Final = "not applicable"
"""Stands in place of a mean kinetic temperature that the profile does not ask for."""


class Place(NamedTuple):
    """Where something was measured.

    Attributes:
        device: the device.
        sensor: its name below it.
        asset: what it watches.
    """

    device: str
    sensor: str
    asset: str


class Moment(NamedTuple):
    """What an entry says besides the excursion itself.

    Attributes:
        to_ms: time of the change.
        value: newest value, thousandths.
        totals: milliseconds of all limits of the quantity.
        carried: those of them that were carried in, by key.
        kinetic: sums of the window; None: not applicable.
        is_late: told by readings that came late.
        is_tolerated: no longer than a door may stand open.
    """

    to_ms: int
    value: int
    totals: Sequence[int]
    carried: Mapping[str, int]
    kinetic: Kinetic | None
    is_late: bool = False
    is_tolerated: bool = False


def render_time(t_ms: int) -> str:
    """Write UTC milliseconds in the form of `t`."""
    return f"{_render_second(t_ms // _SECOND)}{t_ms % _SECOND:03d}Z"


@lru_cache(maxsize=256)
def _render_second(seconds: int) -> str:
    """Write a whole second, with the point behind it."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="seconds").removesuffix("+00:00") + "."


def excursion_id(place: Place, law: Law, side: Side | None, run: Run) -> str:
    """Name an excursion: the same name in every entry about it."""
    parts = (place.device, place.sensor, law.rule.quantity, _direction(side), render_time(run.born_ms))
    return "/".join(parts)


def _direction(side: Side | None) -> str:
    """Say on which side it is."""
    return DIRECTION if side is None else side.direction.value


def excursion_data(
    action: Action, place: Place, law: Law, side: Side | None, run: Run, *, moment: Moment
) -> dict[str, Value]:
    """Give the data of an `excursion` entry; no side: it is about the mean."""
    rule, profile = law.rule, law.profile
    data: dict[str, Value] = {
        "action": action.value,
        "asset": place.asset,
        "device": place.device,
        "direction": _direction(side),
        "duration": run.duration_ms // _SECOND,
        "from": render_time(run.from_ms),
        "gap": run.gap_ms // _SECOND,
        "id": excursion_id(place, law, side, run),
        "mkt": kinetic_data(law, moment.kinetic, moment.value),
        "profile": {"name": profile.name, "sha256": profile.sha256, "version": profile.version},
        "quantity": rule.quantity,
        "sensor": place.sensor,
        "tier": _TIERS[run.weight],
        "to": render_time(moment.to_ms),
        "unit": rule.unit,
    }
    data |= _of_mean(law, run, data["mkt"]) if side is None else _of_values(law, side, run, moment)
    if moment.is_late:
        data["late"] = True
    if moment.is_tolerated:
        data["tolerated"] = True
    if run.is_maintained:
        data["maintenance"] = True
    return data


def _of_values(law: Law, side: Side, run: Run, moment: Moment) -> dict[str, Value]:
    """Give the figures of values on one side of their range."""
    data: dict[str, Value] = {
        "area": render_milli((run.area + _MINUTE // 2) // _MINUTE),
        "extreme": render_milli(run.extreme),
        "guard": render_milli(law.guard),
        "limit": _limit(side, run),
        "limits": _limits(side, run, moment.totals),
        "value": render_milli(moment.value),
    }
    if carried := _carried(side, moment.carried):
        data["carried"] = carried
    return data


def _of_mean(law: Law, run: Run, told: Value) -> dict[str, Value]:
    """Give the figures of a mean above its limit; areas and times at limits have no meaning there."""
    window, now = cast("Window", law.window), cast("dict[str, Value]", told)  # without, nothing is above
    extreme = mean(run.extreme, 1, window.delta_h)
    return {"extreme": render_milli(extreme), "limit": now["limit"], "value": now["v"]}


def _limit(side: Side, run: Run) -> str:
    """Give the limit that made it as grave as it is: of those reached, the gravest that lies farthest out."""
    reached = [
        bound
        for bound, spent in zip(side.bounds, run.singles, strict=True)
        if bound.weight <= run.weight and (spent or side.sign * run.extreme + side.guard >= bound.begins)
    ]
    gravest = max(reached, key=lambda bound: (bound.weight, bound.begins), default=side.bounds[0])
    return render_milli(gravest.limit.at)


def _limits(side: Side, run: Run, totals: Sequence[int]) -> list[Value]:
    """Give what is used up of each limit of a side, in whole seconds."""
    return [
        {
            "at": render_milli(bound.limit.at),
            "single": run.singles[place] // _SECOND,
            "tier": bound.limit.tier.value,
            "total": totals[side.first + place] // _SECOND,
        }
        for place, bound in enumerate(side.bounds)
    ]


def _carried(side: Side, carried: Mapping[str, int]) -> dict[str, Value]:
    """Give what of a side's limits came from earlier legs of custody, in whole seconds."""
    return {
        f"{render_milli(bound.limit.at)}/{bound.limit.tier}": carried[bound.key] // _SECOND
        for bound in side.bounds
        if carried.get(bound.key)
    }


def kinetic_data(law: Law, kinetic: Kinetic | None, value: int) -> Value:
    """Give the mean kinetic temperature now and of the worst window, or say that it is not applicable.

    A window that no time is covered of has the mean of its only value.
    """
    window = law.window
    if window is None or kinetic is None:
        return NOT_APPLICABLE
    now = mean(kinetic.total, kinetic.total_ms, window.delta_h) if kinetic.total_ms else value
    worst = mean(kinetic.worst, kinetic.worst_ms, window.delta_h) if kinetic.worst_ms else now
    covered = min(_SECOND, kinetic.total_ms * _SECOND // window.length_ms)
    return {
        "covered": render_milli(covered),
        "limit": render_milli(window.limit),
        "v": render_milli(now),
        "window": window.length_ms // _SECOND,
        "worst": render_milli(worst),
    }


def gap_data(place: Place, from_ms: int, to_ms: int, noticed_ms: int, *, is_over: bool) -> bytes:
    """Give the data of a `gap` entry about a sensor's silence: while it goes on, or when it is over."""
    data: dict[str, Value] = {
        "asset": place.asset,
        "cause": "silent",
        "device": place.device,
        "from": render_time(from_ms),
        "id": f"{place.device}/{place.sensor}/silent/{render_time(from_ms)}",
        "noticed": render_time(noticed_ms),
        "sensor": place.sensor,
        "to": render_time(to_ms),
    }
    if is_over:
        data["over"] = True
    return encode(data)
