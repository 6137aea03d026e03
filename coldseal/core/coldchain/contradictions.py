"""Where a product profile contradicts itself: what no reading could meet, or what could never decide.

Promise: each contradiction is told once, with the key that has to change and what would be right. Every
value by itself is well formed already; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.document import render_milli, render_span
from coldseal.core.coldchain.product import MILLI, Direction
from coldseal.core.coldchain.reading import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.core.coldchain.product import Limit, ProductProfile, QuantityRule

CELSIUS: Final = "Cel"
FREEZING: Final = 0
"""Where nothing is stored above it, it is frozen: mean kinetic temperature says nothing about it."""


class Contradiction(NamedTuple):
    """What is wrong: the key, its value, and what would be right."""

    field: str
    value: object
    expected: str

    def below(self, place: str) -> Contradiction:
        """Give the same with the key of the table that it stands in."""
        return self._replace(field=f"{place}.{self.field}" if self.field else place)


def contradictions(profile: ProductProfile) -> list[Contradiction]:
    """Give all of them, in the order of the document; where a range is wrong, not what follows from that."""
    found = []
    if profile.silence_s <= profile.interval_s:
        expected = f"longer than interval ({render_span(profile.interval_s)})"
        found.append(Contradiction("silence", render_span(profile.silence_s), expected))
    for rule in profile.quantities:
        wrong = [*_range(rule)] or [*_steadiness(rule), *_limits(rule), *_mkt(rule, profile.interval_s)]
        found += [each.below(f"quantities.{rule.quantity}") for each in wrong]
    return found


def _range(rule: QuantityRule) -> Iterator[Contradiction]:
    """Hold the range against itself, and against what a sensor can report."""
    if rule.low is None and rule.high is None:
        yield Contradiction("", "without low and high", "at least one of them")
    elif rule.low is not None and rule.high is not None and rule.low >= rule.high:
        yield Contradiction("low", render_milli(rule.low), f"less than high ({render_milli(rule.high)})")
    least, most = UNITS[rule.unit]
    for key, value in (("low", rule.low), ("high", rule.high)):
        if value is not None and not least <= value / MILLI <= most:
            expected = f"within {least:g} to {most:g} {rule.unit}, as a sensor reports it"
            yield Contradiction(key, render_milli(value), expected)


def _steadiness(rule: QuantityRule) -> Iterator[Contradiction]:
    """Hold what belongs to the edges of the range against it."""
    if rule.low is not None and rule.high is not None and 0 < rule.high - rule.low <= 2 * rule.hysteresis:
        half = render_milli((rule.high - rule.low) // 2)
        yield Contradiction(
            "hysteresis", render_milli(rule.hysteresis), f"less than half of the range ({half})"
        )
    for key, delay, bound in (
        ("alarm_delay_low", rule.alarm_delay_low_s, rule.low),
        ("alarm_delay_high", rule.alarm_delay_high_s, rule.high),
    ):
        if delay and bound is None:
            yield Contradiction(key, render_span(delay), f"no such key: there is no {key.rpartition('_')[2]}")
    shortest = [_shortest(rule, side) for side in Direction if _edge(rule, side) is not None]
    most = max((each for each in shortest if each is not None), default=0)
    if None not in shortest and rule.door_open_s > most:
        expected = (
            f"at most {render_span(most)}: what is longer is graver at once, on every side of the range"
        )
        yield Contradiction("door_open", render_span(rule.door_open_s), expected)


def _edge(rule: QuantityRule, side: Direction) -> int | None:
    """Give the bound of the range on one side."""
    return rule.high if side is Direction.HIGH else rule.low


def _shortest(rule: QuantityRule, side: Direction) -> int | None:
    """Give the shortest time of one excursion that the limits at an edge of the range leave; None for any."""
    edge = _edge(rule, side)
    spans = (each.single_s for each in rule.limits if each.direction is side and each.at == edge)
    return min((each for each in spans if each is not None), default=None)


def _limits(rule: QuantityRule) -> Iterator[Contradiction]:
    """Hold each limit against the range, against itself, and against those before it."""
    for at, limit in enumerate(rule.limits):
        wrong = [*_one_limit(rule, limit), *_order(rule.limits[:at], limit)]
        yield from (each.below(f"limits[{at}]") for each in wrong)


def _one_limit(rule: QuantityRule, limit: Limit) -> Iterator[Contradiction]:
    """Hold one limit against the range and itself."""
    is_high = limit.direction is Direction.HIGH
    edge, other = (rule.high, rule.low) if is_high else (rule.low, rule.high)
    if edge is None:
        expected = f"a side that has a bound: there is no {limit.direction.value}"
        yield Contradiction("direction", limit.direction.value, expected)
        return
    if other is not None and (limit.at <= other if is_high else limit.at >= other):
        expected = f"above low ({render_milli(other)})" if is_high else f"below high ({render_milli(other)})"
        yield Contradiction("at", render_milli(limit.at), expected)
    if limit.single_s is None and limit.cumulative_s is None:
        yield Contradiction("", "without single and cumulative", "at least one of them")
    if limit.cumulative_s == 0:
        yield Contradiction("cumulative", "0 s", 'more than nothing; what is never allowed is single = "0 s"')
    elif (
        limit.cumulative_s is not None and limit.single_s is not None and limit.cumulative_s < limit.single_s
    ):
        expected = f"at least single ({render_span(limit.single_s)})"
        yield Contradiction("cumulative", render_span(limit.cumulative_s), expected)


def _order(before: tuple[Limit, ...], limit: Limit) -> Iterator[Contradiction]:
    """Hold a limit against those before it on its side."""
    for other in before:
        if other.direction is not limit.direction:
            continue
        if (other.at, other.tier) == (limit.at, limit.tier):
            yield Contradiction(
                "", f"a second limit at {render_milli(limit.at)}", "one for each direction, value and tier"
            )
            return
        if other.tier.weight > limit.tier.weight:
            yield Contradiction(
                "tier", limit.tier.value, f"no lighter than {other.tier.value} before it: lightest first"
            )
            return
        if _is_moot(limit, other):
            expected = f"something that the one at {render_milli(other.at)} does not decide before"
            yield Contradiction("", f"a limit at {render_milli(limit.at)}", expected)
            return
        if _is_moot(other, limit):
            expected = f"more time than leaves the lighter one at {render_milli(other.at)} a use"
            yield Contradiction("", f"a limit at {render_milli(limit.at)}", expected)
            return


def _is_moot(limit: Limit, other: Limit) -> bool:
    """Whether another limit always decides before: nearer to the range, no lighter, and no longer."""
    is_nearer = other.at <= limit.at if limit.direction is Direction.HIGH else other.at >= limit.at
    spans = ((limit.single_s, other.single_s), (limit.cumulative_s, other.cumulative_s))
    is_shorter = all(own is None or (its is not None and its <= own) for own, its in spans)
    return is_nearer and other.tier.weight >= limit.tier.weight and is_shorter


def _mkt(rule: QuantityRule, interval_s: int) -> Iterator[Contradiction]:
    """Hold mean kinetic temperature against the range."""
    mkt = rule.mkt
    if mkt is None:
        return
    limit = render_milli(mkt.limit)
    if rule.unit != CELSIUS:
        yield Contradiction(
            "mkt", limit, f"no such table: it is of temperatures in {CELSIUS}, not of {rule.unit}"
        )
    elif rule.high is None:
        yield Contradiction("mkt", limit, "no such table, or a high: it is about warmth")
    elif rule.high <= FREEZING:
        yield Contradiction(
            "mkt", limit, f"no such table: frozen (up to {render_milli(rule.high)}) it is not applicable"
        )
    elif mkt.limit > rule.high or (rule.low is not None and mkt.limit <= rule.low):
        low = "" if rule.low is None else f"above low ({render_milli(rule.low)}) and "
        yield Contradiction("mkt.limit", limit, f"{low}at most high ({render_milli(rule.high)})")
    if mkt.window_s < 2 * interval_s:
        expected = f"at least twice the interval ({render_span(2 * interval_s)})"
        yield Contradiction("mkt.window", render_span(mkt.window_s), expected)
