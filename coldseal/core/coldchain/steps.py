"""One step of the evaluation: what it changes, what it puts on record, and how to go back.

Promise: nothing is changed but by `Step.put`, which keeps what was there. Entries come out in the order in
which things happened. Which step is due, `evaluation` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from coldseal.core.coldchain import ledger as ledgers
from coldseal.core.coldchain import post as posts
from coldseal.core.coldchain import track as tracks
from coldseal.core.coldchain.effects import Effect, Judged
from coldseal.core.coldchain.excursion import Action, State
from coldseal.core.coldchain.figures import Moment, Place, excursion_data, excursion_id, gap_data
from coldseal.core.coldchain.late import insert
from coldseal.core.coldchain.ledger import EMPTY
from coldseal.core.coldchain.post import Account
from coldseal.core.log.canonical import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from coldseal.core.coldchain.effects import Measured
    from coldseal.core.coldchain.laws import Laws
    from coldseal.core.coldchain.ledger import Ledger
    from coldseal.core.coldchain.post import Post
    from coldseal.core.coldchain.register import Plan
    from coldseal.core.coldchain.track import Told, Track

K = TypeVar("K")
V = TypeVar("V")

Key: TypeAlias = tuple[str, str]
"""A sensor: its device, and its name."""

Moved: TypeAlias = "tuple[dict[Any, Any], object, object]"
"""Where something was changed, under which key, and what was there; None: nothing."""

FLAG_UNIT: Final = "unit"
"""The profile speaks of this quantity in another unit: it was not judged."""

_RELEASED: Final = "released"
_PROFILE: Final = "profile"
"""Why one was closed without a person: its sensor left, or the profile asks nothing there any more."""


class Standing(NamedTuple):
    """All that is known.

    Attributes:
        posts: sensors at their posts.
        former: the last post that a sensor left; readings taken there may still come.
        ledgers: what each asset has used up.
        silent: sensors whose silence is on record, and since when they are silent.
    """

    posts: dict[Key, Post]
    former: dict[Key, Post]
    ledgers: dict[str, Ledger]
    silent: dict[Key, int]


class Step:
    """One step.

    Args:
        standing: what it changes.
    """

    def __init__(self, standing: Standing) -> None:
        """Nothing was changed yet."""
        self.standing = standing
        self._flags: list[str] = []
        self._effects: list[Effect] = []
        self._before: list[Moved] = []

    def judged(self) -> Judged:
        """Give what came of it."""
        return Judged(tuple(self._flags), tuple(self._effects), tuple(self._before))

    def put(self, kept: dict[K, V], key: K, value: V | None) -> None:
        """Change something; None: it is no more."""
        old = kept.get(key)
        if old is value:
            return
        self._before.append((kept, key, old))
        if value is None:
            del kept[key]
        else:
            kept[key] = value

    def ledger(self, asset: str) -> Ledger:
        """Give an asset's account."""
        return self.standing.ledgers.get(asset, EMPTY)

    def enter(self, asset: str, ledger: Ledger) -> None:
        """Change an asset's account."""
        self.put(self.standing.ledgers, asset, ledger)

    def tell(
        self, place: Place, track: Track, told: Iterable[Told], value: int, *, is_late: bool, reason: str = ""
    ) -> None:
        """Put on record what a track tells; what a person must decide about waits in the asset's account."""
        for side, change in told:
            ledger = self.ledger(place.asset)
            moment = Moment(
                to_ms=change.to_ms,
                value=value,
                totals=track.totals,
                carried=ledger.carried,
                kinetic=track.kinetic,
                is_late=is_late,
                is_tolerated=change.is_tolerated,
            )
            data = excursion_data(change.action, place, track.law, side, change.run, moment=moment)
            if reason:
                data["reason"] = reason
            effect = Effect("excursion", encode(data))
            if not change.is_known:
                self._effects.append(effect)
            name = excursion_id(place, track.law, side, change.run)
            is_waiting = change.run.state is State.RECOVERED and not change.is_tolerated
            if is_waiting and (name in ledger.waiting or not change.is_known):
                self.enter(place.asset, ledgers.with_waiting(ledger, name, effect.data))

    def add(self, effect: Effect) -> None:
        """Put something else on record."""
        self._effects.append(effect)

    def judge(
        self, kept: dict[Key, Post], post: Post, plan: Plan, measured: Sequence[Measured], received_ms: int
    ) -> None:
        """Judge a reading at a post.

        Args:
            kept: where the post is, among those of now or the former ones.
            post: the sensor's.
            plan: in force when it was taken.
            measured: what was measured.
            received_ms: time of its entry.
        """
        place, found = Place(plan.device, plan.sensor, post.asset), list(post.tracks)
        is_heard = False
        for each in measured:
            where = post.laws.places.get(each.name)
            if where is None:
                continue
            law = post.laws.each[where]
            if not posts.is_measured(law, each):
                if each.unit != law.rule.unit:
                    self._flags.append(FLAG_UNIT)
                continue
            if not is_heard:
                self.hear(place, each.taken_ms, received_ms)
            is_heard = True
            found[where] = self._take(post, found[where], each, plan, received_ms)
        if not is_heard:
            return
        moved = msgspec.structs.replace(post, heard_ms=received_ms, tracks=tuple(found))
        self.put(kept, (plan.device, plan.sensor), moved)
        if kept is self.standing.former:
            self._account(post.asset, moved.tracks)

    def hear(self, place: Place, t_ms: int, noticed_ms: int) -> None:
        """End a sensor's silence, where one is on record."""
        key = (place.device, place.sensor)
        from_ms = self.standing.silent.get(key)
        if from_ms is not None:
            self.put(self.standing.silent, key, None)
            self.add(Effect("gap", gap_data(place, from_ms, max(from_ms, t_ms), noticed_ms, is_over=True)))

    def _take(
        self, post: Post, track: Track | None, measured: Measured, plan: Plan, received_ms: int
    ) -> Track:
        """Judge one value at a post."""
        place = Place(plan.device, plan.sensor, post.asset)
        law = post.laws.each[post.laws.places[measured.name]]
        ledger = self.ledger(place.asset)
        kinetic = None
        if track is None and law.window is not None:
            kinetic = ledgers.window_of(ledger, f"{law.rule.quantity}/{law.window.key}")
        taken = posts.take(
            law, track, measured, plan, account=Account(ledger.totals, kinetic), received_ms=received_ms
        )
        is_late = taken.is_late or received_ms - measured.taken_ms > post.laws.late_ms
        if taken.old is not None:
            self._account(place.asset, [taken.old])
            ended = [each for each in taken.told if each.change.action is Action.CLOSED]
            self.tell(place, taken.old, ended, measured.value, is_late=is_late, reason=_PROFILE)
        others = [each for each in taken.told if each.change.action is not Action.CLOSED]
        self.tell(place, taken.track, others, measured.value, is_late=is_late)
        return taken.track

    def judge_alone(self, laws: Laws, plan: Plan, measured: Sequence[Measured]) -> None:
        """Judge a late reading of a time whose post is gone: by itself, for one interval at most."""
        place = Place(plan.device, plan.sensor, plan.asset)
        for each in measured:
            where = laws.places.get(each.name)
            if where is None or not posts.is_measured(laws.each[where], each):
                continue
            track = tracks.begin(laws.each[where], self.ledger(plan.asset).totals, None, each.taken_ms)
            track, told = insert(track, each.value, each.taken_ms)
            self._account(plan.asset, [track])
            self.tell(place, track, told, each.value, is_late=True)

    def follow(self, key: Key, post: Post, plan: Plan, laws: Laws) -> Post:
        """Have another plan in force at a post; quantities that it does not ask for are given up."""
        found: list[Track | None] = [None] * len(laws.each)
        place = Place(*key, post.asset)
        for track in post.tracks:
            if track is None:
                continue
            where = laws.places.get(track.law.rule.quantity)
            if where is not None:
                found[where] = track
                continue
            settled, told, _ = posts.released(track, max(plan.from_ms, track.t_ms))
            self._account(post.asset, [settled])
            self.tell(place, settled, told, settled.value, is_late=False, reason=_PROFILE)
        return msgspec.structs.replace(post, laws=laws, plan=plan, plan_ms=plan.from_ms, tracks=tuple(found))

    def release(self, key: Key, post: Post, at_ms: int) -> None:
        """Take a sensor from its post: what it counted stays with the asset, what is open is closed."""
        place = Place(*key, post.asset)
        rests: list[Track | None] = []
        self.hear(place, at_ms, at_ms)
        for track in post.tracks:
            if track is None:
                rests.append(None)
                continue
            settled, told, rest = posts.released(track, at_ms)
            self._account(post.asset, [settled])
            self.tell(place, settled, told, settled.value, is_late=False, reason=_RELEASED)
            rests.append(rest)
        self.put(self.standing.posts, key, None)
        former = msgspec.structs.replace(post, tracks=tuple(rests))
        self.put(self.standing.former, key, former)

    def _account(self, asset: str, counted: Iterable[Track | None]) -> None:
        """Put into an asset's account what tracks have counted."""
        ledger = self.ledger(asset)
        for track in counted:
            if track is not None:
                ledger = ledgers.with_window(ledgers.with_totals(ledger, track), track)
        if ledger is not EMPTY:
            self.enter(asset, ledger)
