"""A profile made ready for judging: comparisons of whole numbers, one rule for each quantity and side.

Promise: says exactly what the profile says. Both sides of a range look alike here: on its own axis, what is
bad is more. The sensor's uncertainty is added on the bad side, so that a value is judged as the worst that it
may stand for. Judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.coldchain.document import render_milli
from coldseal.core.coldchain.mkt import Window, window_of
from coldseal.core.coldchain.product import Direction, Limit, ProductProfile, QuantityRule, Tier
from coldseal.core.coldchain.reading import UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.coldchain.calibration import Calibration

NEVER: Final = 2**62
"""A bound that no value reaches."""

SECOND: Final = 1000
LATE_MS: Final = 300_000
"""A reading that came in more than two intervals and this much after it was taken is marked as late."""


class Bound(NamedTuple):
    """A limit of time, on the axis of its side.

    Attributes:
        limit: as the profile has it.
        weight: of its tier.
        begins: least value that counts.
        single_ms: longest time in one excursion; `NEVER`: not bounded.
        all_ms: longest time in all.
        key: names it among all limits of a profile.
    """

    limit: Limit
    weight: int
    begins: int
    single_ms: int
    all_ms: int
    key: str


class Side(msgspec.Struct, frozen=True):
    """One side of a range.

    Args:
        direction: which one.
        sign: 1 for the high side, -1 for the low one: by it, values turn to this side's axis.
        guard: added to what is judged, thousandths.
        bound: largest good value.
        hysteresis: so far inside an excursion ends.
        watch: up to here nothing is counted.
        bounds: limits of time; the edge of the range, as a warning, is among them.
        first: place of the first of these among all of the quantity.
    """

    direction: Direction
    sign: int
    guard: int
    bound: int
    hysteresis: int
    watch: int
    bounds: tuple[Bound, ...]
    first: int


class Law(msgspec.Struct, frozen=True):
    """What is asked of one quantity by one version of a profile, for a sensor of a certain uncertainty.

    Args:
        profile: whose it is.
        guards: uncertainties used for all of its quantities, thousandths.
        place: which of its quantities it is.
        rule: as the profile has it.
        unit: of that.
        guard: uncertainty used.
        calm_low: from here...
        calm_high: ...to here nothing is counted.
        real_low: below this...
        real_high: ...and above this no working sensor measures: such a value is a lost reading.
        hold_ms: a reading holds so long at most.
        sides: low and high, where anything is asked there.
        keys: of all limits, in order of their places.
        window: of mean kinetic temperature; None: not applicable.
    """

    profile: ProductProfile
    guards: tuple[int, ...]
    place: int
    rule: QuantityRule
    unit: str
    guard: int
    calm_low: int
    calm_high: int
    real_low: int
    real_high: int
    hold_ms: int
    sides: tuple[Side, ...]
    keys: tuple[str, ...]
    window: Window | None


class Laws(msgspec.Struct, frozen=True):
    """A whole profile, for a sensor of certain uncertainties.

    Args:
        profile: as it was sealed.
        guards: uncertainty of each quantity, thousandths.
        each: one for each quantity.
        places: where a quantity's stands among them.
        late_ms: what is older than this when it comes in is late.
    """

    profile: ProductProfile
    guards: tuple[int, ...]
    each: tuple[Law, ...]
    places: dict[str, int]
    late_ms: int


def guards_of(profile: ProductProfile, calibrations: Sequence[Calibration]) -> tuple[int, ...]:
    """Give the uncertainty to be used for each quantity: none where the profile asks for no guard band."""
    known = {(each.quantity, each.unit): each.uncertainty for each in calibrations}
    return tuple(
        known.get((rule.quantity, rule.unit), 0) if profile.guard_band else 0 for rule in profile.quantities
    )


def laws_of(profile: ProductProfile, guards: tuple[int, ...]) -> Laws:
    """Make a profile ready."""
    each = tuple(_law_of(profile, guards, place) for place in range(len(guards)))
    places = {law.rule.quantity: place for place, law in enumerate(each)}
    return Laws(profile, guards, each, places, 2 * profile.interval_s * SECOND + LATE_MS)


def _law_of(profile: ProductProfile, guards: tuple[int, ...], place: int) -> Law:
    """Make one quantity's rule ready."""
    rule, guard = profile.quantities[place], guards[place]
    sides: list[Side] = []
    for direction in (Direction.LOW, Direction.HIGH):
        first = sum(len(side.bounds) for side in sides)
        side = _side_of(rule, direction, guard, first)
        if side is not None:
            sides.append(side)
    calm = {side.direction: side.sign * (side.watch - guard) for side in sides}
    low, high = UNITS[rule.unit]
    return Law(
        profile=profile,
        guards=guards,
        place=place,
        rule=rule,
        unit=rule.unit,
        guard=guard,
        calm_low=max(round(low * SECOND), calm.get(Direction.LOW, -NEVER)),
        calm_high=min(round(high * SECOND), calm.get(Direction.HIGH, NEVER)),
        real_low=round(low * SECOND),
        real_high=round(high * SECOND),
        hold_ms=2 * profile.interval_s * SECOND,
        sides=tuple(sides),
        keys=tuple(each.key for side in sides for each in side.bounds),
        window=None if rule.mkt is None else window_of(rule.mkt, rule.hysteresis),
    )


def _side_of(rule: QuantityRule, direction: Direction, guard: int, first: int) -> Side | None:
    """Make one side of it ready; without a bound nothing is asked there."""
    sign = 1 if direction is Direction.HIGH else -1
    given = rule.high if direction is Direction.HIGH else rule.low
    if given is None:
        return None  # and then it has no limits either
    limits = [limit for limit in rule.limits if limit.direction is direction]
    if not any(each.at == given and each.tier is Tier.WARNING for each in limits):
        limits.insert(0, Limit(direction=direction, at=given, tier=Tier.WARNING))
    bound = sign * given
    bounds = tuple(_bound_of(rule.quantity, limit, sign, bound) for limit in limits)
    return Side(
        direction=direction,
        sign=sign,
        guard=guard,
        bound=bound,
        hysteresis=rule.hysteresis,
        watch=min(bound, *(each.begins - 1 for each in bounds)),
        bounds=bounds,
        first=first,
    )


def _bound_of(quantity: str, limit: Limit, sign: int, bound: int) -> Bound:
    """Put a limit on its side's axis: at the edge of the range it counts what lies beyond the range."""
    at = sign * limit.at
    return Bound(
        limit=limit,
        weight=limit.tier.weight,
        begins=at + 1 if at == bound else at,
        single_ms=NEVER if limit.single_s is None else limit.single_s * SECOND,
        all_ms=NEVER if limit.cumulative_s is None else limit.cumulative_s * SECOND,
        key=f"{quantity}/{limit.direction}/{render_milli(limit.at)}/{limit.tier}",
    )
