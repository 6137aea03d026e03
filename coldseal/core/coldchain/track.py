"""One quantity of one sensor: what was measured lately, what is under way on either side, what was used up.

Promise: frozen, so that going back is an assignment. A reading in order costs the same whatever lies behind
it. Time counts until the next reading, no longer than the rule lets one hold. Writes no entries; readings
that come late find their place in `late`.
"""

from __future__ import annotations

from struct import Struct as Packing
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.coldchain import excursion, mkt, warmth
from coldseal.core.coldchain.excursion import Change, Run, State
from coldseal.core.coldchain.laws import Law

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.core.coldchain.laws import Side
    from coldseal.core.coldchain.mkt import Kinetic

RECENT: Final = 32
"""Readings that are kept, so that one which comes late finds its place."""

_PAIR: Final = Packing("<qi")
PAIR: Final = _PAIR.size
"""Bytes of one of them."""

_FULL: Final = RECENT * PAIR
_pack = _PAIR.pack

AHEAD_MS: Final = 300_000
"""A last reading further ahead of the present than this was taken by a clock that has been put back since."""


class Late(msgspec.Struct, frozen=True, array_like=True):
    """An excursion that only readings which came late tell of.

    Args:
        side: place of its side.
        run: as it stands.
        to_ms: end of its last reading's time.
    """

    side: int
    run: Run
    to_ms: int


class Track(msgspec.Struct, frozen=True):
    """All that is kept.

    Args:
        law: what is asked.
        t_ms: when the newest reading was taken.
        value: its value, thousandths.
        is_calm: nothing is under way and the newest reading adds nothing to any limit.
        is_counted: the newest reading counts; not so in maintenance.
        runs: what is under way, for each side.
        totals: milliseconds at or beyond each limit, in all.
        kinetic: sums of the window; None: not applicable.
        recent: times and values of the newest readings, packed.
        late: the newest excursion that only late readings tell of.
        warm: what is under way because the mean is above its limit.
    """

    law: Law
    t_ms: int
    value: int
    is_calm: bool
    is_counted: bool
    runs: tuple[Run | None, ...]
    totals: tuple[int, ...]
    kinetic: Kinetic | None
    recent: bytes
    late: Late | None = None
    warm: Run | None = None


class Pair(NamedTuple):
    """One of the newest readings: when it was taken, and its value in thousandths."""

    t_ms: int
    value: int


class Told(NamedTuple):
    """Something to put on record: which side, and what; no side: it is about the mean."""

    side: Side | None
    change: Change


def begin(law: Law, totals: Mapping[str, int], kinetic: Kinetic | None, t_ms: int) -> Track:
    """Begin before a first reading.

    Args:
        law: what is asked.
        totals: what the asset used up before, by limit.
        kinetic: sums of a window that goes on; None: there is none.
        t_ms: when the first reading was taken.
    """
    if law.window is None:
        kinetic = None
    elif kinetic is None or kinetic.until_ms - law.window.bucket_ms > t_ms:
        kinetic = mkt.begin(law.window, t_ms)
    runs = (None,) * len(law.sides)
    used = tuple(totals.get(key, 0) for key in law.keys)
    return Track(law, t_ms, 0, False, False, runs, used, kinetic, b"")


def move_calm(track: Track, value: int, t_ms: int) -> Track:
    """Take the next reading of a calm track, where it stays calm."""
    law, from_ms, kinetic, recent = track.law, track.t_ms, track.kinetic, track.recent
    if kinetic is not None and law.window is not None:
        held_ms = t_ms - from_ms
        if held_ms > law.hold_ms:  # noqa: PLR1730 - a comparison costs less than a call, on the hot path
            held_ms = law.hold_ms
        kinetic = mkt.move(kinetic, law.window, track.value, from_ms=from_ms, held_ms=held_ms, now_ms=t_ms)
    recent = (recent[PAIR:] if len(recent) == _FULL else recent) + _pack(t_ms, value)
    return Track(law, t_ms, value, True, True, track.runs, track.totals, kinetic, recent, track.late)


def move(track: Track, value: int, t_ms: int, held_ms: int, gap_ms: int) -> tuple[Track, list[Told]]:
    """Take the next reading.

    Args:
        track: as it stands.
        value: thousandths.
        t_ms: when it was taken.
        held_ms: how long the reading before held.
        gap_ms: time behind that for which there is none.
    """
    track = settle(track, held_ms, gap_ms, t_ms)
    law, told, runs = track.law, [], []
    for side, run in zip(law.sides, track.runs, strict=True):
        after, changes = excursion.step(law, side, run, track.totals, value=value, t_ms=t_ms)
        runs.append(after)
        told += [Told(side, change) for change in changes]
    warm, changes = warmth.step(law, track.warm, track.kinetic, t_ms)
    told += [Told(None, change) for change in changes]
    recent = track.recent[-(_FULL - PAIR) :] + _pack(t_ms, value)
    moved = msgspec.structs.replace(
        track,
        t_ms=t_ms,
        value=value,
        is_counted=True,
        is_calm=law.calm_low <= value <= law.calm_high and not any(runs) and warm is None,
        runs=tuple(runs),
        recent=recent,
        warm=warm,
    )
    return moved, told


def settle(track: Track, held_ms: int, gap_ms: int, now_ms: int) -> Track:
    """Count the time that the newest reading held."""
    law = track.law
    totals = list(track.totals)
    for side in law.sides:
        excursion.count(side, totals, track.value, held_ms)
    runs = tuple(
        None if run is None else excursion.settle(side, run, track.value, held_ms, gap_ms)
        for side, run in zip(law.sides, track.runs, strict=True)
    )
    kinetic = track.kinetic
    if kinetic is not None and law.window is not None:
        kinetic = mkt.move(
            kinetic, law.window, track.value, from_ms=track.t_ms, held_ms=held_ms, now_ms=now_ms
        )
    warm = None if track.warm is None else warmth.settle(track.warm, held_ms, gap_ms)
    return msgspec.structs.replace(track, runs=runs, totals=tuple(totals), kinetic=kinetic, warm=warm)


def maintain(track: Track, value: int, t_ms: int, held_ms: int, gap_ms: int) -> Track:
    """Take a reading in maintenance: it counts for nothing, and what is under way waits."""
    track = settle(track, held_ms, gap_ms, t_ms)
    runs = tuple(
        msgspec.structs.replace(run, is_maintained=True)
        if run is not None and run.state is not State.NEAR
        else None
        for run in track.runs
    )
    warm = None if track.warm is None else msgspec.structs.replace(track.warm, is_maintained=True)
    return msgspec.structs.replace(
        track, t_ms=t_ms, value=value, is_calm=False, is_counted=False, runs=runs, recent=b"", warm=warm
    )


def rebase(track: Track, t_ms: int) -> Track:
    """Go on at an earlier time, because the clock was put back: the newest reading held for one interval."""
    law = track.law
    interval_ms = law.hold_ms // 2
    track = settle(track, interval_ms if track.is_counted else 0, 0, track.t_ms + interval_ms)
    kinetic = track.kinetic
    if kinetic is not None and law.window is not None:
        kinetic = mkt.rebase(kinetic, law.window, t_ms)
    return msgspec.structs.replace(track, t_ms=t_ms, kinetic=kinetic, is_counted=False, recent=b"")


def follow(track: Track, law: Law, totals: Mapping[str, int]) -> tuple[Track, list[Told]]:
    """Go on under another version of the profile, after the time of the newest reading was settled.

    Args:
        track: as it stands.
        law: what is asked from now on.
        totals: what the asset used up of limits that are new.

    Returns:
        The track, and what ended because nothing is asked on that side any more.
    """
    old, window = track.law, law.window
    kinetic, warm = track.kinetic, track.warm
    is_same = window is not None and old.window is not None and old.window.key == window.key
    if window is None:
        kinetic = warm = None
    elif not is_same:
        kinetic, warm = mkt.begin(window, track.t_ms), None
    used = dict(zip(old.keys, track.totals, strict=True))
    following = Track(
        law=law,
        t_ms=track.t_ms,
        value=track.value,
        is_calm=False,
        is_counted=False,
        runs=tuple(_followed(track, side) for side in law.sides),
        totals=tuple(used.get(key, totals.get(key, 0)) for key in law.keys),
        kinetic=kinetic,
        recent=b"",
        warm=warm,
    )
    asked = {side.direction for side in law.sides}
    told = [
        each
        for each in released(track, track.t_ms)
        if (not is_same if each.side is None else each.side.direction not in asked)
    ]
    return following, told


def _followed(track: Track, side: Side) -> Run | None:
    """Give what goes on, on a side, under other limits: where one is the same, so is the time spent there."""
    for was, run in zip(track.law.sides, track.runs, strict=True):
        if was.direction == side.direction and run is not None and run.state is not State.NEAR:
            spent = {bound.key: single for bound, single in zip(was.bounds, run.singles, strict=True)}
            singles = tuple(spent.get(bound.key, 0) for bound in side.bounds)
            return msgspec.structs.replace(run, singles=singles)
    return None


def released(track: Track, at_ms: int) -> list[Told]:
    """Say what ends because nothing is asked any more."""
    under_way = [*zip(track.law.sides, track.runs, strict=True), (None, track.warm)]
    ended = [(side, excursion.release(run, at_ms)) for side, run in under_way if run is not None]
    return [Told(side, change) for side, change in ended if change is not None]


def neighbours(recent: bytes, t_ms: int) -> tuple[Pair | None, Pair | None, int]:
    """Find the readings before and behind a moment, and the place between; the same moment is before."""
    before: Pair | None = None
    for place, (at_ms, value) in enumerate(_PAIR.iter_unpack(recent)):
        if at_ms > t_ms:
            return before, Pair(at_ms, value), place
        before = Pair(at_ms, value)
    return before, None, len(recent) // PAIR


def remember(recent: bytes, place: int, pair: Pair) -> bytes:
    """Put a reading among those that are kept."""
    at = place * PAIR
    return (recent[:at] + _pack(*pair) + recent[at:])[-_FULL:]
