"""What one version of a profile changes against another, and whether that is stricter or laxer.

Promise: every difference of the canonical forms is told once, by its key; stricter means that no reading is
judged more kindly than before. Judges no reading, and does not say which version is right.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.document import render_milli, render_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.core.coldchain.product import Limit, ProductProfile, QuantityRule


class Effect(StrEnum):
    """What a change does to those who are judged."""

    STRICTER = "stricter"
    LAXER = "laxer"
    OTHER = "other"


class Change(NamedTuple):
    """One difference.

    Attributes:
        key: what is different, as in the document; a limit is named by direction, value and tier.
        before: what it was, for people; empty: it was not there.
        after: what it is; empty: it is not there.
        effect: stricter, laxer, or neither.
    """

    key: str
    before: str
    after: str
    effect: Effect


_UP: Final = 1
_DOWN: Final = -1
_NEITHER: Final = 0

_WRITTEN: Final = {False: "false", True: "true"}
"""A choice as the document has it."""

_Row = tuple[str, int | None, int | None, int, str]
"""Key, before, after, in which direction it gets stricter, and the unit, or `_SPAN`."""

_SPAN: Final = "span"


def diff(old: ProductProfile, new: ProductProfile) -> list[Change]:
    """Give every difference, in the order of the document."""
    found = [
        Change(key, before, after, Effect.OTHER)
        for key, before, after in (
            ("name", old.name, new.name),
            ("version", str(old.version), str(new.version)),
            ("title", old.title, new.title),
        )
        if before != after
    ]
    found += _changes(
        ("interval", old.interval_s, new.interval_s, _NEITHER, _SPAN),  # less is held over, more is a gap
        ("silence", old.silence_s, new.silence_s, _DOWN, _SPAN),
    )
    if old.guard_band != new.guard_band:
        effect = Effect.STRICTER if new.guard_band else Effect.LAXER
        found.append(Change("guard_band", _WRITTEN[old.guard_band], _WRITTEN[new.guard_band], effect))
    before = {each.quantity: each for each in old.quantities}
    after = {each.quantity: each for each in new.quantities}
    for name in sorted(before.keys() | after.keys()):
        key = f"quantities.{name}"
        if name not in after:
            found.append(Change(key, _range(before[name]), "", Effect.LAXER))
        elif name not in before:
            found.append(Change(key, "", _range(after[name]), Effect.STRICTER))
        else:
            found += (each._replace(key=f"{key}.{each.key}") for each in _rule(before[name], after[name]))
    return found


def _rule(old: QuantityRule, new: QuantityRule) -> Iterator[Change]:
    """Give the differences of what is asked of one quantity."""
    if old.unit != new.unit:
        yield Change("unit", old.unit, new.unit, Effect.OTHER)
    yield from _changes(
        ("low", old.low, new.low, _UP, new.unit),
        ("high", old.high, new.high, _DOWN, new.unit),
        ("hysteresis", old.hysteresis, new.hysteresis, _UP, new.unit),
        ("recover_after", old.recover_after * 1000, new.recover_after * 1000, _UP, "readings"),
        ("door_open", old.door_open_s, new.door_open_s, _DOWN, _SPAN),
        ("alarm_delay_low", old.alarm_delay_low_s, new.alarm_delay_low_s, _DOWN, _SPAN),
        ("alarm_delay_high", old.alarm_delay_high_s, new.alarm_delay_high_s, _DOWN, _SPAN),
    )
    yield from _limits(old, new)
    if old.mkt is None and new.mkt is not None:
        yield Change("mkt", "", f"{render_milli(new.mkt.limit)} {new.unit}", Effect.STRICTER)
    elif old.mkt is not None and new.mkt is None:
        yield Change("mkt", f"{render_milli(old.mkt.limit)} {old.unit}", "", Effect.LAXER)
    elif old.mkt is not None and new.mkt is not None:
        yield from _changes(
            ("mkt.limit", old.mkt.limit, new.mkt.limit, _DOWN, new.unit),
            ("mkt.window", old.mkt.window_s, new.mkt.window_s, _NEITHER, _SPAN),
            ("mkt.delta_h", old.mkt.delta_h, new.mkt.delta_h, _NEITHER, "kJ/mol"),
        )


def _limits(old: QuantityRule, new: QuantityRule) -> Iterator[Change]:
    """Give the differences of the limits of time; two are the same one by direction, value and tier."""
    before = {(each.direction, each.at, each.tier): each for each in old.limits}
    after = {(each.direction, each.at, each.tier): each for each in new.limits}
    for found in sorted(before.keys() | after.keys(), key=lambda each: (each[0], each[1], each[2].weight)):
        direction, at, tier = found
        key = f"limits {direction.value} {render_milli(at)} {tier.value}"
        if found not in after:
            yield Change(key, _times(before[found]), "", Effect.LAXER)
        elif found not in before:
            yield Change(key, "", _times(after[found]), Effect.STRICTER)
        else:
            yield from _changes(
                (f"{key} single", before[found].single_s, after[found].single_s, _DOWN, _SPAN),
                (f"{key} cumulative", before[found].cumulative_s, after[found].cumulative_s, _DOWN, _SPAN),
            )


def _changes(*rows: _Row) -> Iterator[Change]:
    """Give those that differ; what is absent bounds nothing, so that it is the laxest."""
    for key, before, after, stricter, unit in rows:
        if before == after:
            continue
        if stricter == _NEITHER:
            effect = Effect.OTHER
        elif before is None or after is None:
            effect = Effect.STRICTER if before is None else Effect.LAXER
        else:
            effect = Effect.STRICTER if (after > before) == (stricter == _UP) else Effect.LAXER
        yield Change(key, _value(before, unit), _value(after, unit), effect)


def _value(value: int | None, unit: str) -> str:
    """Write a value for people."""
    if value is None:
        return ""
    return render_span(value) if unit == _SPAN else f"{render_milli(value)} {unit}"


def _range(rule: QuantityRule) -> str:
    """Write the range of a quantity."""
    low = "" if rule.low is None else f"from {render_milli(rule.low)} "
    high = "" if rule.high is None else f"to {render_milli(rule.high)} "
    return f"{low}{high}{rule.unit}"


def _times(limit: Limit) -> str:
    """Write the times of a limit."""
    single = "" if limit.single_s is None else f"single {render_span(limit.single_s)}"
    total = "" if limit.cumulative_s is None else f"cumulative {render_span(limit.cumulative_s)}"
    return ", ".join(each for each in (single, total) if each)


def render_change(change: Change) -> str:
    """Say a difference in words."""
    if change.key == "title":
        what = f"title: {change.before!r} → {change.after!r}"
    elif not change.before:
        what = f"{change.key}: new, {change.after}"
    elif not change.after:
        what = f"{change.key}: gone, was {change.before}"
    else:
        what = f"{change.key}: {change.before} → {change.after}"
    return what if change.effect is Effect.OTHER else f"{what} ({change.effect.value})"
