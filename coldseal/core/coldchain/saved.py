"""Writes the whole evaluation down and reads it back.

Promise: what is read back goes on exactly as what was written; a snapshot of another version, a cut one, or
one that does not hold together is refused and never half used. Profiles stand in it once each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain import mkt
from coldseal.core.coldchain.excursion import Run
from coldseal.core.coldchain.laws import laws_of
from coldseal.core.coldchain.ledger import Ledger
from coldseal.core.coldchain.post import Post
from coldseal.core.coldchain.product import ProductProfile
from coldseal.core.coldchain.steps import Standing
from coldseal.core.coldchain.track import PAIR, Late, Track
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.core.coldchain.laws import Laws
    from coldseal.core.coldchain.steps import Key

VERSION: Final = 2
WHERE: Final = "snapshot of the evaluation"


class _Track(msgspec.Struct, array_like=True):
    """A track, with its law by numbers: which profile, and which of its quantities."""

    profile: int
    place: int
    t_ms: int
    value: int
    is_calm: bool
    is_counted: bool
    runs: tuple[Run | None, ...]
    totals: tuple[int, ...]
    kinetic: bytes
    recent: bytes
    late: Late | None
    warm: Run | None


class _Post(msgspec.Struct, array_like=True):
    """A post, with its profile by number."""

    device: str
    sensor: str
    profile: int
    asset: str
    since_ms: int
    plan_ms: int
    heard_ms: int
    tracks: tuple[_Track | None, ...]


class _Saved(msgspec.Struct, array_like=True):
    """All of it."""

    version: int
    profiles: list[tuple[ProductProfile, tuple[int, ...]]]
    posts: list[_Post]
    former: list[_Post]
    ledgers: dict[str, Ledger]
    silent: list[tuple[str, str, int]]


_decode: Final = msgspec.msgpack.Decoder(_Saved).decode


class _Writer:
    """Numbers profiles in the order in which they are met."""

    def __init__(self) -> None:
        """None was met."""
        self.profiles: list[tuple[ProductProfile, tuple[int, ...]]] = []
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}

    def number(self, profile: ProductProfile, guards: tuple[int, ...]) -> int:
        """Give the number of a profile with certain uncertainties; each is one object, that all share."""
        found = self._numbers.setdefault((id(profile), guards), len(self.profiles))
        if found == len(self.profiles):
            self.profiles.append((profile, guards))
        return found

    def posts(self, posts: Mapping[Key, Post]) -> list[_Post]:
        """Give posts in the shape that is written."""
        return [
            _Post(
                *key,
                self.number(post.laws.profile, post.laws.guards),
                post.asset,
                post.since_ms,
                post.plan_ms,
                post.heard_ms,
                tuple(None if each is None else self._track(each) for each in post.tracks),
            )
            for key, post in sorted(posts.items())
        ]

    def _track(self, track: Track) -> _Track:
        """Give a track in the shape that is written."""
        law = track.law
        return _Track(
            self.number(law.profile, law.guards),
            law.place,
            track.t_ms,
            track.value,
            track.is_calm,
            track.is_counted,
            track.runs,
            track.totals,
            b"" if track.kinetic is None else track.kinetic.pack(),
            track.recent,
            track.late,
            track.warm,
        )


def write(standing: Standing) -> bytes:
    """Write everything down; the same knowledge gives the same bytes, whatever led to it."""
    writer = _Writer()
    posts, former = writer.posts(standing.posts), writer.posts(standing.former)
    ledgers = dict(sorted(standing.ledgers.items()))
    silent = [(*key, from_ms) for key, from_ms in sorted(standing.silent.items())]
    return msgspec.msgpack.encode(_Saved(VERSION, writer.profiles, posts, former, ledgers, silent))


def read(snapshot: bytes) -> tuple[Standing, list[Laws]]:
    """Read back what `write` wrote; nothing at all is an empty one.

    Returns:
        What is known, and the profiles made ready: each is one object, that all share.

    Raises:
        InputError: it is of another version, cut, or does not hold together.
    """
    if not snapshot:
        return Standing({}, {}, {}, {}), []
    try:
        saved = _decode(snapshot)
    except msgspec.MsgspecError as fault:
        raise InputError(WHERE, "form", str(fault), f"a snapshot of version {VERSION}") from None
    if saved.version != VERSION:
        raise InputError(WHERE, "version", saved.version, str(VERSION))
    try:
        laws = [laws_of(profile, guards) for profile, guards in saved.profiles]
        posts, former = (
            {(each.device, each.sensor): _post_of(each, laws) for each in kept}
            for kept in (saved.posts, saved.former)
        )
    except (IndexError, KeyError, ValueError) as fault:
        raise InputError(WHERE, "contents", str(fault), "numbers that belong together") from None
    silent = {(device, sensor): from_ms for device, sensor, from_ms in saved.silent}
    return Standing(posts, former, saved.ledgers, silent), laws


def _post_of(saved: _Post, laws: Sequence[Laws]) -> Post:
    """Give a post back."""
    tracks = tuple(None if each is None else _track_of(each, laws) for each in saved.tracks)
    mine = laws[saved.profile]
    if len(tracks) != len(mine.each):
        raise ValueError(f"{len(tracks)} tracks for {len(mine.each)} quantities")
    return Post(mine, saved.asset, saved.since_ms, saved.plan_ms, saved.heard_ms, tracks, None)


def _track_of(saved: _Track, laws: Sequence[Laws]) -> Track:
    """Give a track back."""
    law = laws[saved.profile].each[saved.place]
    sides = [len(side.bounds) for side in law.sides]
    spent = [None if run is None else len(run.singles) for run in saved.runs]
    if (
        len(saved.totals) != len(law.keys)
        or len(spent) != len(sides)
        or any(each not in {None, side} for each, side in zip(spent, sides, strict=True))
        or len(saved.recent) % PAIR
        or (saved.kinetic == b"") != (law.window is None)
        or (saved.warm is not None and (law.window is None or saved.warm.singles))
    ):
        raise ValueError(f"a track that does not fit {law.rule.quantity} of {law.profile.name}")
    return Track(
        law,
        saved.t_ms,
        saved.value,
        saved.is_calm,
        saved.is_counted,
        saved.runs,
        saved.totals,
        mkt.unpack(saved.kinetic, where=WHERE, is_own=True) if saved.kinetic else None,
        saved.recent,
        saved.late,
        saved.warm,
    )
