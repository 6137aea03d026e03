"""Excursions that are under way, for whoever asks: said as an entry would say it now.

Promise: changes nothing. What waits for a disposition, the assets' accounts hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldseal.core.coldchain.excursion import UNDER_WAY, Action
from coldseal.core.coldchain.figures import Moment, Place, excursion_data
from coldseal.core.coldchain.ledger import EMPTY
from coldseal.core.coldchain.warmth import DIRECTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coldseal.core.coldchain.ledger import Ledger
    from coldseal.core.coldchain.post import Post
    from coldseal.core.coldchain.steps import Key
    from coldseal.core.coldchain.track import Track
    from coldseal.core.log.canonical import Value


def under_way(posts: Mapping[Key, Post], ledgers: Mapping[str, Ledger]) -> Iterator[dict[str, Value]]:
    """Give each excursion that is under way at these posts, with its ``state``."""
    for key, post in posts.items():
        place, ledger = Place(*key, post.asset), ledgers.get(post.asset, EMPTY)
        for track in post.tracks:
            if track is not None:
                yield from _of_track(place, track, ledger)


def has_open(post: Post) -> bool:
    """Whether anything is under way at a post."""
    return any(
        run is not None and run.state in UNDER_WAY
        for track in post.tracks
        if track is not None
        for run in (*track.runs, track.warm)
    )


def without(post: Post, quantity: Value, direction: Value) -> Post:
    """Give a post at which one of them is no more."""
    return msgspec.structs.replace(
        post,
        tracks=tuple(
            track if track is None or track.law.rule.quantity != quantity else _without(track, direction)
            for track in post.tracks
        ),
    )


def _without(track: Track, direction: Value) -> Track:
    """Give a track without what is under way on one side."""
    runs = tuple(
        None if side.direction == direction else run
        for side, run in zip(track.law.sides, track.runs, strict=True)
    )
    warm = None if direction == DIRECTION else track.warm
    return msgspec.structs.replace(track, runs=runs, warm=warm)


def _of_track(place: Place, track: Track, ledger: Ledger) -> Iterator[dict[str, Value]]:
    """Give those of one quantity."""
    for side, run in [*zip(track.law.sides, track.runs, strict=True), (None, track.warm)]:
        if run is not None and run.state in UNDER_WAY:
            moment = Moment(track.t_ms, track.value, track.totals, ledger.carried, track.kinetic)
            data = excursion_data(Action.OPENED, place, track.law, side, run, moment=moment)
            yield {**data, "state": run.state.value}
