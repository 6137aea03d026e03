"""Readings that come late: each finds its place among the newest ones and takes its share of their time.

Promise: sums are what they would be had it come in its turn, as far back as readings are kept; older, it
holds for one interval at most. What was told stays as it was told: a late reading that is out of range is
told of once for each excursion, and again where that becomes graver or longer than a door may stand open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from coldseal.core.coldchain import excursion, mkt
from coldseal.core.coldchain.excursion import UNDER_WAY, Action, Change, Run, State
from coldseal.core.coldchain.track import Late, Pair, Told, neighbours, remember

if TYPE_CHECKING:
    from coldseal.core.coldchain.laws import Law, Side
    from coldseal.core.coldchain.mkt import Kinetic
    from coldseal.core.coldchain.track import Track


class Share(NamedTuple):
    """How time is divided anew.

    Attributes:
        before: the reading before; None: it is not known.
        behind: the reading behind; None: there is none.
        taken_ms: time that the one before gives away.
        held_ms: time that the late one gets.
        gap_ms: by how much time without a reading changes.
    """

    before: Pair | None
    behind: Pair | None
    taken_ms: int
    held_ms: int
    gap_ms: int


def insert(track: Track, value: int, t_ms: int) -> tuple[Track, list[Told]]:
    """Take a reading that came late: it was not taken after the newest.

    Args:
        track: as it stands.
        value: thousandths.
        t_ms: when it was taken. The moment of another reading gives it no time of its own.

    Returns:
        The track, and what goes on record.
    """
    law = track.law
    before, behind, place = neighbours(track.recent, t_ms)
    share = _share(law, before, behind, t_ms)
    totals, runs, late = list(track.totals), list(track.runs), track.late
    told: list[Told] = []
    for at, side in enumerate(law.sides):
        if before is not None:
            excursion.count(side, totals, before.value, -share.taken_ms)
        excursion.count(side, totals, value, share.held_ms)
        run = runs[at] = _divide(side, runs[at], share, value, t_ms)
        singles = (0,) * len(side.bounds) if run is None else run.singles
        if not excursion.is_out(side, singles, totals, value):
            continue
        if run is not None and run.state in UNDER_WAY and run.from_ms <= t_ms:
            runs[at], changes = _within(side, run, totals, value, t_ms)
        else:
            late, changes = _apart(law, at, late, totals, Pair(t_ms, value), held_ms=share.held_ms)
        told += [Told(side, change) for change in changes]
    recent = track.recent
    if before is not None and share.held_ms:
        recent = remember(recent, place, Pair(t_ms, value))
    kinetic = _exchange(law, track.kinetic, share, value, t_ms)
    moved = msgspec.structs.replace(
        track, totals=tuple(totals), runs=tuple(runs), kinetic=kinetic, recent=recent, late=late
    )
    return moved, told


def _share(law: Law, before: Pair | None, behind: Pair | None, t_ms: int) -> Share:
    """Divide the time between two readings anew."""
    if before is None:
        interval_ms = law.hold_ms // 2
        return Share(
            None, behind, 0, interval_ms if behind is None else min(interval_ms, behind.t_ms - t_ms), 0
        )
    if behind is None or before.t_ms == t_ms:
        return Share(before, behind, 0, 0, 0)
    whole_ms, first_ms, second_ms = behind.t_ms - before.t_ms, t_ms - before.t_ms, behind.t_ms - t_ms
    hold_ms = law.hold_ms
    gap_ms = max(0, first_ms - hold_ms) + max(0, second_ms - hold_ms) - max(0, whole_ms - hold_ms)
    taken_ms = min(whole_ms, hold_ms) - min(first_ms, hold_ms)
    return Share(before, behind, taken_ms, min(second_ms, hold_ms), gap_ms)


def _divide(side: Side, run: Run | None, share: Share, value: int, t_ms: int) -> Run | None:
    """Give a run its part: one that goes on over that moment, or one whose first reading follows it."""
    if run is None or not share.held_ms:
        return run
    before, behind = share.before, share.behind
    if before is not None and run.from_ms <= before.t_ms:
        run = excursion.settle(side, run, before.value, -share.taken_ms, 0)
        return excursion.settle(side, run, value, share.held_ms, share.gap_ms)
    if behind is None or run.from_ms != behind.t_ms or side.sign * value + side.guard <= side.bound:
        return run
    first = msgspec.structs.replace(run, from_ms=t_ms)
    if run.ending is not None:
        ending = run.ending._replace(duration_ms=run.ending.duration_ms + share.held_ms)
        first = msgspec.structs.replace(first, ending=ending)
    return excursion.settle(side, first, value, share.held_ms, 0)


def _within(side: Side, run: Run, totals: list[int], value: int, t_ms: int) -> tuple[Run, list[Change]]:
    """Tell of a late reading within an excursion that is under way."""
    run, changes = excursion.escalate(side, run, totals, value, t_ms)
    if not changes and not run.told:
        changes.append(Change(Action.RETROSPECTIVE, run, t_ms))
    return msgspec.structs.replace(run, told=run.weight), changes


def _apart(
    law: Law, at: int, late: Late | None, totals: list[int], pair: Pair, *, held_ms: int
) -> tuple[Late, list[Change]]:
    """Tell of a late reading outside of what is under way: an excursion of its own, or more of the last."""
    side, (t_ms, value) = law.sides[at], pair
    if (
        late is None
        or late.side != at
        or not late.run.from_ms - law.hold_ms <= t_ms <= late.to_ms + law.hold_ms
    ):
        late = Late(at, excursion.begin(side, value, t_ms, State.RECOVERED), t_ms)
    run = excursion.settle(side, late.run, value, held_ms, 0)
    extreme = value if side.sign * value > side.sign * run.extreme else run.extreme
    weight = max(run.weight, excursion.tier_weight(side, run.singles, totals, value))
    to_ms = max(late.to_ms, t_ms + held_ms)
    was_brief = excursion.is_brief(law, run.weight, late.run.duration_ms)
    run = msgspec.structs.replace(
        run, from_ms=min(run.from_ms, t_ms), extreme=extreme, weight=weight, told=max(weight, run.told)
    )
    brief = excursion.is_brief(law, weight, run.duration_ms)
    is_known = weight <= late.run.told and (brief or not was_brief)
    return Late(at, run, to_ms), [Change(Action.RETROSPECTIVE, run, to_ms, brief, is_known)]


def _exchange(law: Law, kinetic: Kinetic | None, share: Share, value: int, t_ms: int) -> Kinetic | None:
    """Divide time anew in the window; a reading older than all that are kept is not counted there."""
    window, before = law.window, share.before
    if kinetic is None or window is None or before is None or not share.held_ms:
        return kinetic
    kinetic = mkt.exchange(kinetic, window, before.value, t_ms, t_ms + share.taken_ms, sign=-1)
    return mkt.exchange(kinetic, window, value, t_ms, t_ms + share.held_ms, sign=1)
