"""A sensor at its post: the asset it watches, the profile that holds, and a track for each quantity.

Promise: each value goes where it belongs: next in order, late, after a change of profile, in maintenance, or
behind a clock that was put back. What no working sensor measures is a lost reading. Writes no entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from coldseal.core.coldchain import track as tracks
from coldseal.core.coldchain.late import insert
from coldseal.core.coldchain.laws import Laws
from coldseal.core.coldchain.track import AHEAD_MS, Told, Track

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.core.coldchain.effects import Measured
    from coldseal.core.coldchain.laws import Law
    from coldseal.core.coldchain.mkt import Kinetic
    from coldseal.core.coldchain.register import Plan


class Post(msgspec.Struct, frozen=True):
    """All that is kept of one sensor.

    Args:
        laws: what is asked of it.
        asset: what it watches.
        since_ms: from when on.
        plan_ms: from when on the newest plan holds that was seen.
        heard_ms: when its newest reading came in; 0: none did.
        tracks: one for each quantity of the profile; None: not measured yet.
        plan: the plan of its newest reading, to know it again; None: unknown.
    """

    laws: Laws
    asset: str
    since_ms: int
    plan_ms: int
    heard_ms: int
    tracks: tuple[Track | None, ...]
    plan: Plan | None = None

    @property
    def taken_ms(self) -> int:
        """When its newest reading was taken; since when it watches, if there is none."""
        return max((each.t_ms for each in self.tracks if each is not None), default=self.since_ms)


class Account(NamedTuple):
    """What an asset has used up before a first value: milliseconds by limit, and a window that goes on."""

    totals: Mapping[str, int]
    kinetic: Kinetic | None


class Taken(NamedTuple):
    """What became of a value.

    Attributes:
        track: as it stands now.
        told: what goes on record.
        old: the track before another version of the profile took it over; None: it did not.
        is_late: the value came after a later one.
    """

    track: Track
    told: list[Told]
    old: Track | None = None
    is_late: bool = False


def begin(laws: Laws, plan: Plan) -> Post:
    """Begin before a first reading."""
    return Post(laws, plan.asset, plan.from_ms, plan.from_ms, 0, (None,) * len(laws.each), plan)


def is_measured(law: Law, measured: Measured) -> bool:
    """Whether a working sensor may have measured this, in the unit of the profile."""
    return measured.unit == law.rule.unit and law.real_low <= measured.value <= law.real_high


def take(
    law: Law,
    track: Track | None,
    measured: Measured,
    plan: Plan,
    *,
    account: Account,
    received_ms: int,
) -> Taken:
    """Take one value, whatever stands against the short way.

    Args:
        law: what is asked.
        track: as it stands; None: this is the first value.
        measured: the value.
        plan: in force when it was taken.
        account: what the asset used up before.
        received_ms: time of the entry.
    """
    value, t_ms = measured.value, measured.taken_ms
    if track is None:
        return _next(tracks.begin(law, account.totals, account.kinetic, t_ms), value, t_ms, plan)
    if t_ms <= track.t_ms and track.t_ms > received_ms + AHEAD_MS:
        track = tracks.rebase(track, t_ms)
    elif t_ms <= track.t_ms and track.law is law:
        moved: tuple[Track, list[Told]] = (track, []) if plan.maintenance else insert(track, value, t_ms)
        return Taken(*moved, is_late=True)
    if track.law is law:
        return _next(track, value, t_ms, plan)
    old = tracks.settle(track, *held(track, t_ms), max(t_ms, track.t_ms))
    following, told = tracks.follow(
        msgspec.structs.replace(old, t_ms=max(t_ms, track.t_ms)), law, account.totals
    )
    taken = _next(following, value, following.t_ms, plan)
    return Taken(taken.track, told + taken.told, old)


def _next(track: Track, value: int, t_ms: int, plan: Plan) -> Taken:
    """Take the next value in order."""
    held_ms, gap_ms = held(track, t_ms)
    if not plan.maintenance:
        return Taken(*tracks.move(track, value, t_ms, held_ms, gap_ms))
    kept_ms = min(held_ms, max(0, plan.from_ms - track.t_ms))
    return Taken(tracks.maintain(track, value, t_ms, kept_ms, gap_ms + held_ms - kept_ms), [])


def held(track: Track, t_ms: int) -> tuple[int, int]:
    """Say how long the newest reading held until a moment, and for how long there was none."""
    passed_ms = max(0, t_ms - track.t_ms)
    held_ms = min(passed_ms, track.law.hold_ms) if track.is_counted else 0
    return held_ms, passed_ms - held_ms


def released(track: Track, at_ms: int) -> tuple[Track, list[Told], Track]:
    """Take a track from its asset.

    Returns:
        The track with all time until then; what goes on record; and the track for readings that are yet to
        come from before, whose time is not counted twice.
    """
    settled = tracks.settle(track, *held(track, at_ms), max(at_ms, track.t_ms))
    told = tracks.released(settled, at_ms)
    rest = msgspec.structs.replace(track, runs=(None,) * len(track.runs), is_calm=False, warm=None)
    return settled, told, rest


def carried_in(post: Post, more: Mapping[str, int]) -> Post:
    """Add what an earlier leg of custody used up."""
    tracks_in = (None if each is None else _added(each, more) for each in post.tracks)
    return msgspec.structs.replace(post, tracks=tuple(tracks_in))


def _added(track: Track, more: Mapping[str, int]) -> Track:
    """Add milliseconds to what is used up of each limit."""
    used = zip(track.law.keys, track.totals, strict=True)
    return msgspec.structs.replace(track, totals=tuple(used_ms + more.get(key, 0) for key, used_ms in used))
