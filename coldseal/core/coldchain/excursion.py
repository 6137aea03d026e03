"""The excursion of one quantity on one side of its range: a state machine whose transitions are a table.

Promise: nothing but `TRANSITIONS` changes a state, and `diagram` draws what stands there. Times and areas are
whole numbers; the time of a reading counts until the next one, as its rule allows. No mean is looked at here,
so none can end an excursion. What is told of one, `figures` says.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.coldchain.product import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.coldchain.laws import Bound, Law, Side


class State(StrEnum):
    """Where one side of a quantity stands."""

    NOMINAL = "nominal"
    NEAR = "near"
    OPEN = "open"
    RECOVERING = "recovering"
    RECOVERED = "recovered"
    CLOSED = "closed"


class Event(StrEnum):
    """What a reading, a person or the register says to it.

    `OUT`: beyond the range, or at a limit whose time is used up. `WITHIN`: in the range, at a limit inside
    it. `BAND`: in the range, not yet far enough. `INSIDE`: far enough. `ENOUGH`: that often enough, one
    behind the other. `BRIEF`: the same, after no longer than a door may stand open, and never more than a
    warning. `HEAVIER`: the time of a graver limit is used up. `RELEASED`: nothing is asked of the sensor here
    any more. `DISPOSED`: a person has decided.
    """

    OUT = "out"
    WITHIN = "within"
    BAND = "band"
    INSIDE = "inside"
    ENOUGH = "enough"
    BRIEF = "brief"
    HEAVIER = "heavier"
    RELEASED = "released"
    DISPOSED = "disposed"


class Action(StrEnum):
    """What goes on record; `RETROSPECTIVE` belongs to readings that came late and to no transition."""

    OPENED = "opened"
    ESCALATED = "escalated"
    RECOVERED = "recovered"
    CLOSED = "closed"
    RETROSPECTIVE = "retrospective"


TRANSITIONS: Final[dict[tuple[State, Event], tuple[State, Action | None]]] = {
    (State.NOMINAL, Event.OUT): (State.OPEN, Action.OPENED),
    (State.NOMINAL, Event.WITHIN): (State.NEAR, None),
    (State.NOMINAL, Event.INSIDE): (State.NOMINAL, None),
    (State.NEAR, Event.OUT): (State.OPEN, Action.OPENED),
    (State.NEAR, Event.WITHIN): (State.NEAR, None),
    (State.NEAR, Event.INSIDE): (State.NOMINAL, None),
    (State.OPEN, Event.OUT): (State.OPEN, None),
    (State.OPEN, Event.BAND): (State.OPEN, None),
    (State.OPEN, Event.INSIDE): (State.RECOVERING, None),
    (State.OPEN, Event.HEAVIER): (State.OPEN, Action.ESCALATED),
    (State.OPEN, Event.ENOUGH): (State.RECOVERED, Action.RECOVERED),
    (State.OPEN, Event.BRIEF): (State.CLOSED, Action.RECOVERED),
    (State.OPEN, Event.RELEASED): (State.CLOSED, Action.CLOSED),
    (State.RECOVERING, Event.OUT): (State.OPEN, None),
    (State.RECOVERING, Event.BAND): (State.OPEN, None),
    (State.RECOVERING, Event.INSIDE): (State.RECOVERING, None),
    (State.RECOVERING, Event.HEAVIER): (State.RECOVERING, Action.ESCALATED),
    (State.RECOVERING, Event.ENOUGH): (State.RECOVERED, Action.RECOVERED),
    (State.RECOVERING, Event.BRIEF): (State.CLOSED, Action.RECOVERED),
    (State.RECOVERING, Event.RELEASED): (State.CLOSED, Action.CLOSED),
    (State.RECOVERED, Event.DISPOSED): (State.CLOSED, Action.CLOSED),
}

UNDER_WAY: Final = frozenset({State.OPEN, State.RECOVERING})
"""An excursion in one of these ends only by readings or release."""


class Ending(NamedTuple):
    """What an excursion amounts to if it ends with a certain reading.

    Attributes:
        to_ms: when that was taken.
        duration_ms: from the first reading to this one.
        gap_ms: of that, without reading.
    """

    to_ms: int
    duration_ms: int
    gap_ms: int


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One excursion, or the time at a limit within the range before there is one.

    Args:
        state: where it stands; not `NOMINAL`, that is no run at all.
        born_ms: time by which it is named.
        from_ms: its first reading; earlier than `born_ms` where one came late.
        extreme: the worst value, thousandths.
        singles: milliseconds at or beyond each limit of the side, within this excursion.
        weight: of its tier.
        area: thousandths × milliseconds beyond the range.
        duration_ms: from the first reading to the newest.
        gap_ms: of that, without reading, or in maintenance.
        inside: readings far enough inside, one behind the other.
        ending: at the first of those.
        is_maintained: whether part of it lies in maintenance.
        told: weight that was told of readings that came late; 0: none was.
    """

    state: State
    born_ms: int
    from_ms: int
    extreme: int
    singles: tuple[int, ...]
    weight: int = 0
    area: int = 0
    duration_ms: int = 0
    gap_ms: int = 0
    inside: int = 0
    ending: Ending | None = None
    is_maintained: bool = False
    told: int = 0


class Change(NamedTuple):
    """Something that goes on record.

    Attributes:
        action: what.
        run: as it stands then.
        to_ms: when.
        is_tolerated: no longer than a door may stand open.
        is_known: nothing new to tell; only the figures have changed, for whoever decides about it.
    """

    action: Action
    run: Run
    to_ms: int
    is_tolerated: bool = False
    is_known: bool = False


def begin(side: Side, value: int, t_ms: int, state: State) -> Run:
    """Begin with a first reading."""
    return Run(state, t_ms, t_ms, value, (0,) * len(side.bounds), Tier.WARNING.weight)


def count(side: Side, totals: list[int], value: int, held_ms: int) -> None:
    """Count the time that a reading held, in all.

    Args:
        side: where.
        totals: milliseconds of each limit, of all sides; counted on in place.
        value: of that reading.
        held_ms: how long it held; negative, to take time back.
    """
    seen = side.sign * value + side.guard
    if seen > side.watch:
        for place, bound in enumerate(side.bounds, side.first):
            if seen >= bound.begins:
                totals[place] += held_ms


def settle(side: Side, run: Run, value: int, held_ms: int, gap_ms: int) -> Run:
    """Count the time that a reading held, in one run.

    Args:
        side: where.
        run: what is under way there.
        value: of that reading.
        held_ms: how long it held; negative, to take time back.
        gap_ms: time behind that for which there is no reading.
    """
    seen = side.sign * value + side.guard
    return msgspec.structs.replace(
        run,
        singles=tuple(
            spent + held_ms if seen >= bound.begins else spent
            for bound, spent in zip(side.bounds, run.singles, strict=True)
        ),
        area=run.area + max(0, seen - side.bound) * held_ms,
        duration_ms=run.duration_ms + held_ms + gap_ms,
        gap_ms=run.gap_ms + gap_ms,
    )


def step(
    law: Law, side: Side, run: Run | None, totals: Sequence[int], *, value: int, t_ms: int
) -> tuple[Run | None, list[Change]]:
    """Take the next reading, after the time of the one before was settled.

    Returns:
        What is under way now, and what goes on record, in order.
    """
    changes: list[Change] = []
    if run is not None and run.state in UNDER_WAY:
        run, changes = escalate(side, run, totals, value, t_ms)
    event = _event(side, run, totals, value)
    if run is not None and event is Event.INSIDE and run.state in UNDER_WAY:
        ending = run.ending or Ending(t_ms, run.duration_ms, run.gap_ms)
        run = msgspec.structs.replace(run, inside=run.inside + 1, ending=ending)
        if run.inside >= law.rule.recover_after:
            event = Event.BRIEF if is_brief(law, run.weight, ending.duration_ms) else Event.ENOUGH
    before = State.NOMINAL if run is None else run.state
    after, action = TRANSITIONS[before, event]
    if run is not None and run.ending is not None and action is Action.RECOVERED:
        to_ms, duration_ms, gap_ms = run.ending
        ended = msgspec.structs.replace(run, state=after, duration_ms=duration_ms, gap_ms=gap_ms)
        changes.append(Change(action, ended, to_ms, event is Event.BRIEF))
        after, run = State.NOMINAL, None
        if side.sign * value + side.guard > side.watch:
            after = State.NEAR  # at a limit within the range, whose time goes on
    run = _moved(side, run, value, t_ms, before=before, after=after)
    if run is not None and action is Action.OPENED:
        run = msgspec.structs.replace(run, weight=tier_weight(side, run.singles, totals, value))
        changes.append(Change(action, run, t_ms))
    return run, changes


def escalate(side: Side, run: Run, totals: Sequence[int], value: int, t_ms: int) -> tuple[Run, list[Change]]:
    """Make it as grave as the time that is used up says, never less than it was."""
    if side.sign * value > side.sign * run.extreme:
        run = msgspec.structs.replace(run, extreme=value)
    weight = tier_weight(side, run.singles, totals, value)
    if weight <= run.weight:
        return run, []
    state, action = TRANSITIONS[run.state, Event.HEAVIER]
    run = msgspec.structs.replace(run, state=state, weight=weight)
    return run, [] if action is None else [Change(action, run, t_ms)]


def tier_weight(side: Side, singles: Sequence[int], totals: Sequence[int], value: int) -> int:
    """Say how grave the time is that was spent, and is being spent, on a side."""
    seen = side.sign * value + side.guard
    weights = (
        bound.weight
        for place, bound in enumerate(side.bounds)
        if (singles[place] or seen >= bound.begins)
        and _is_used(bound, singles[place], totals[side.first + place])
    )
    return max(weights, default=0) or Tier.WARNING.weight


def is_brief(law: Law, weight: int, duration_ms: int) -> bool:
    """Whether an excursion is what an open door explains."""
    return (
        weight <= Tier.WARNING.weight
        and law.rule.door_open_s > 0
        and duration_ms <= law.rule.door_open_s * 1000
    )


def is_out(side: Side, singles: Sequence[int], totals: Sequence[int], value: int) -> bool:
    """Whether a value is beyond the range, or at a limit whose time is used up."""
    seen = side.sign * value + side.guard
    return seen > side.bound or any(
        seen >= bound.begins and _is_used(bound, singles[place], totals[side.first + place])
        for place, bound in enumerate(side.bounds)
    )


def release(run: Run, t_ms: int) -> Change | None:
    """End it, because nothing is asked here any more; None if there was no excursion yet."""
    if run.state not in UNDER_WAY:
        return None
    after, action = TRANSITIONS[run.state, Event.RELEASED]
    return None if action is None else Change(action, msgspec.structs.replace(run, state=after), t_ms)


def _event(side: Side, run: Run | None, totals: Sequence[int], value: int) -> Event:
    """Say what a reading means where the side stands."""
    singles = (0,) * len(side.bounds) if run is None else run.singles
    if is_out(side, singles, totals, value):
        return Event.OUT
    seen = side.sign * value + side.guard
    if run is None or run.state is State.NEAR:
        return Event.WITHIN if seen > side.watch else Event.INSIDE
    used = [
        bound.begins - 1
        for place, bound in enumerate(side.bounds)
        if _is_used(bound, singles[place], totals[side.first + place])
    ]
    return Event.INSIDE if seen <= min([side.bound, *used]) - side.hysteresis else Event.BAND


def _moved(side: Side, run: Run | None, value: int, t_ms: int, *, before: State, after: State) -> Run | None:
    """Give the run in its new state."""
    if after is State.NOMINAL:
        return None
    if run is None:
        return begin(side, value, t_ms, after)
    if before is State.NEAR and after is State.OPEN and side.sign * value + side.guard > side.bound:
        return msgspec.structs.replace(begin(side, value, t_ms, after), singles=run.singles)
    if after is State.RECOVERING:
        return msgspec.structs.replace(run, state=after)
    return msgspec.structs.replace(
        run,
        state=after,
        inside=0,
        ending=None,
        extreme=value if side.sign * value > side.sign * run.extreme else run.extreme,
    )


def _is_used(bound: Bound, single_ms: int, all_ms: int) -> bool:
    """Whether a limit's time is used up."""
    return single_ms >= bound.single_ms or all_ms >= bound.all_ms


def diagram() -> str:
    """Draw the table, for the documents, as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> nominal"]
    for (before, event), (after, action) in TRANSITIONS.items():
        if before is not after or action is not None:
            told = f" / {action}" if action else ""
            lines.append(f"    {before} --> {after}: {event}{told}")
    lines.append("    closed --> [*]")
    return "\n".join(lines)
