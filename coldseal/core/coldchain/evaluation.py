"""Judges readings by the profile of what they watch: excursions, gaps, mean kinetic temperature.

Promise: what comes out follows from what was put in and its order, in whole numbers: a replay gives the same
bytes. Each step can be taken back. Excursions end by readings and people, never by a mean. Knows no clock,
seals nothing, tells nobody.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from coldseal.core.coldchain import ledger as ledgers
from coldseal.core.coldchain import saved
from coldseal.core.coldchain.effects import Effect, Judged, Measured
from coldseal.core.coldchain.excursion import TRANSITIONS, Event, State
from coldseal.core.coldchain.figures import Place, gap_data, render_time
from coldseal.core.coldchain.laws import guards_of, laws_of
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.mkt import is_above
from coldseal.core.coldchain.post import Post, begin, carried_in
from coldseal.core.coldchain.steps import FLAG_UNIT, Standing, Step
from coldseal.core.coldchain.track import move_calm
from coldseal.core.coldchain.under_way import has_open, under_way, without
from coldseal.core.log.canonical import encode, parse
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.coldchain.laws import Laws
    from coldseal.core.coldchain.product import ProductProfile
    from coldseal.core.coldchain.register import Plan
    from coldseal.core.coldchain.steps import Key, Moved
    from coldseal.core.coldchain.track import Track
    from coldseal.core.log.canonical import Value

__all__ = ["FLAG_UNIT", "Effect", "Evaluation", "Judged", "Measured"]

_WHERE = "disposition"


class Evaluation:
    """The state of every sensor that watches something, and what each asset has used up."""

    def __init__(self, known: Standing | None = None, laws: Iterable[Laws] = ()) -> None:
        """Begin with nothing, or with what was read back."""
        self._known = Standing({}, {}, {}, {}) if known is None else known
        self._posts, self._silent = self._known.posts, self._known.silent
        self._laws = {(*_name(each.profile), each.guards): each for each in laws}

    def judge(
        self,
        plan: Plan,
        measured: Sequence[Measured],
        *,
        received_ms: int,
    ) -> Judged:
        """Judge one reading by what was in force when it was taken, and move on.

        Whatever doubts it was flagged with, it is judged.

        Args:
            plan: in force for this sensor at the time of all that is in ``measured``. A plan that is the same
                object as the last one costs less.
            measured: quantities of one reading.
            received_ms: time of its entry.
        """
        key = (plan.device, plan.sensor)
        post = self._posts.get(key)
        if post is None or post.plan is not plan:
            return self._judge_anew(key, post, plan, measured, received_ms)
        if not plan.maintenance and key not in self._silent:
            moved = _calm(post, measured, received_ms)
            if moved is not None:
                self._posts[key] = moved
                return Judged((), (), ((self._posts, key, post),))
        step = Step(self._known)
        step.judge(self._posts, post, plan, measured, received_ms)
        return step.judged()

    def _judge_anew(
        self, key: Key, post: Post | None, plan: Plan, measured: Sequence[Measured], received_ms: int
    ) -> Judged:
        """Judge a reading whose plan is not that of the one before: find its post first."""
        step = Step(self._known)
        if plan.profile is None or not plan.asset:
            if post is not None and plan.from_ms > post.plan_ms:
                step.release(key, post, plan.from_ms)
            return step.judged()
        laws = self._laws_of(plan.profile, plan.calibrations)
        if post is None or post.asset != plan.asset:
            self._judge_elsewhere(step, post, laws, plan, measured, received_ms=received_ms)
        elif plan.from_ms >= post.plan_ms:
            post = step.follow(key, post, plan, laws)
            step.put(self._posts, key, post)
            step.judge(self._posts, post, plan, measured, received_ms)
        elif not plan.maintenance:  # a late reading: one from maintenance counts for nothing
            if laws is post.laws:
                step.judge(self._posts, post, plan, measured, received_ms)
            else:
                step.judge_alone(laws, plan, measured)
        return step.judged()

    def _judge_elsewhere(
        self,
        step: Step,
        post: Post | None,
        laws: Laws,
        plan: Plan,
        measured: Sequence[Measured],
        *,
        received_ms: int,
    ) -> None:
        """Judge a reading of a sensor that is not at this asset: it comes there now, or was there before."""
        key = (plan.device, plan.sensor)
        former = self._known.former.get(key)
        if plan.until_ms > received_ms or (post is not None and plan.from_ms >= post.since_ms):
            if post is not None:
                step.release(key, post, plan.from_ms)
            post = begin(laws, plan)
            step.put(self._posts, key, post)
            step.judge(self._posts, post, plan, measured, received_ms)
        elif former is None or (former.asset == plan.asset and laws is former.laws):
            step.judge(self._known.former, former or begin(laws, plan), plan, measured, received_ms)
        elif not plan.maintenance:
            step.judge_alone(laws, plan, measured)

    def _laws_of(self, profile: ProductProfile, calibrations: Sequence[Calibration]) -> Laws:
        """Make a profile ready; each one with certain uncertainties is one object."""
        key = (*_name(profile), guards_of(profile, calibrations))
        found = self._laws.get(key)
        if found is None or found.profile != profile:
            found = self._laws[key] = laws_of(profile, key[-1])
        return found

    def undo(self, before: object) -> None:
        """Take a step back, whichever method gave it; of several, the newest first."""
        for kept, key, old in reversed(cast("tuple[Moved, ...]", before)):
            _put_back(kept, key, old)

    def silent(self, now_ms: int, plans: Iterable[Plan], *, listening_ms: int = 0) -> Judged:
        """Say which sensors were silent for longer than their profile allows; each once until it is heard.

        A second `gap` entry, with ``over``, follows the reading that ends the silence, or the release.

        Args:
            now_ms: the time.
            plans: what is in force now, for every sensor that watches something.
            listening_ms: since when readings could come in at all: silence before is not the sensors'.
        """
        step = Step(self._known)
        for plan in plans:
            key = (plan.device, plan.sensor)
            if plan.profile is None or not plan.asset or plan.maintenance or key in self._silent:
                continue
            post = self._posts.get(key)
            heard_ms = 0 if post is None or post.asset != plan.asset else post.heard_ms
            since_ms = max(heard_ms, plan.from_ms, listening_ms)
            if now_ms - since_ms > plan.profile.silence_s * 1000:
                from_ms = plan.from_ms if post is None or not heard_ms else post.taken_ms
                step.put(self._silent, key, from_ms)
                place = Place(*key, plan.asset)
                step.add(Effect("gap", gap_data(place, from_ms, now_ms, now_ms, is_over=False)))
        return step.judged()

    def noted(self, data: Mapping[str, object]) -> None:
        """Follow a sealed `gap` entry of the log, when it is replayed; other gaps say nothing here."""
        if data.get("cause") == "silent" and not data.get("over"):
            self._silent[str(data["device"]), str(data["sensor"])] = moment_ms(str(data["from"]))

    def carry(self, asset: str, leg: Mapping[str, object], *, source: str, here: str = "") -> Judged:
        """Add to an asset what it used up on an earlier leg of custody: what `leg` gave there.

        What is known already, of whichever log, is not added again; so a leg may come back to where it began.

        Args:
            asset: its name here.
            leg: the members ``totals``, ``carried``, ``legs`` and ``mkt``; others are not looked at.
            source: log and asset that stated it, with a space between.
            here: this log and asset, in the same form.

        Raises:
            InputError: a member is missing, is wrong, or does not add up; nothing has changed.
        """
        earlier, step = ledgers.parse_leg(leg, where="leg of custody"), Step(self._known)
        more, legs = ledgers.unknown(self._ledger(asset), earlier, source, here)
        step.enter(asset, ledgers.with_leg(step.ledger(asset), earlier, more, legs))
        for key, post in list(self._posts.items()):
            if post.asset == asset:
                step.put(self._posts, key, carried_in(post, more))
        return step.judged()

    def leg(self, asset: str) -> dict[str, Value]:
        """Give what an asset has used up, for whoever has custody of it next; canonical JSON can hold it.

        Of windows of mean kinetic temperature, that of the sensor with the highest mean goes along.
        """
        return ledgers.leg_data(self._ledger(asset))

    def _ledger(self, asset: str) -> ledgers.Ledger:
        """Give an asset's account with what its sensors have counted since."""
        found = self._known.ledgers.get(asset, ledgers.EMPTY)
        highest: dict[str, Track] = {}
        for post in self._posts.values():
            for track in post.tracks if post.asset == asset else ():
                if track is not None:
                    found = ledgers.with_totals(found, track)
                    key = ledgers.window_key(track)
                    if key and (key not in highest or ledgers.is_higher(track, highest[key])):
                        highest[key] = track
        for track in highest.values():
            found = ledgers.with_window(found, track)
        return found

    def close(self, excursion: str, disposition: Mapping[str, str], at_ms: int) -> Judged:
        """Close an excursion by a person's disposition.

        Args:
            excursion: its id.
            disposition: ``verdict``, ``who``, ``why``.
            at_ms: time of the decision.

        Raises:
            InputError: there is none of that id that waits for it, or that no reading can end any more.
        """
        step = Step(self._known)
        for asset, ledger in self._known.ledgers.items():
            if excursion in ledger.waiting:
                data = parse(ledger.waiting[excursion], where=_WHERE)
                step.add(_decided(data, disposition, at_ms))
                step.enter(asset, ledgers.without_waiting(ledger, excursion))
                return step.judged()
        for key, post in self._known.former.items():
            for each in under_way({key: post}, self._known.ledgers):
                if (
                    each["id"] == excursion
                ):  # a backlog opened it after the sensor had left: nothing will end it
                    step.add(_decided(each, disposition, at_ms))
                    step.put(self._known.former, key, without(post, each["quantity"], each["direction"]))
                    return step.judged()
        raise InputError(_WHERE, "excursion", excursion, "one that has recovered and waits for a disposition")

    def release(self, plan: Plan, at_ms: int) -> Judged:
        """Take a sensor from its asset: what it counted stays with the asset, what is open is closed.

        Args:
            plan: what was in force for the sensor; another asset than it watches moves nothing.
            at_ms: when it leaves.
        """
        key, step = (plan.device, plan.sensor), Step(self._known)
        post = self._posts.get(key)
        if post is not None and post.asset == plan.asset:
            step.release(key, post, at_ms)
        elif post is None:
            step.hear(Place(*key, plan.asset), at_ms, at_ms)
        return step.judged()

    def departed(self, plans: Iterable[Plan]) -> Judged:
        """Close what is open of sensors whose release was planned, once its moment has come.

        One that has nothing open leaves with its next reading. At a replay `followed` does the same.

        Args:
            plans: what is in force now.
        """
        step = Step(self._known)
        for plan in plans:
            key = (plan.device, plan.sensor)
            post = self._posts.get(key)
            has_left = post is not None and (plan.profile is None or plan.asset != post.asset)
            if post is not None and has_left and plan.from_ms > post.plan_ms and has_open(post):
                step.release(key, post, plan.from_ms)
        return step.judged()

    def followed(self, data: Mapping[str, object]) -> None:
        """Follow a sealed `excursion` entry, when the log is replayed: one that a planned release closed.

        All others follow from what stands before them, and have moved nothing that is left to move.
        """
        key = (str(data["device"]), str(data["sensor"]))
        post = self._posts.get(key)
        if data.get("reason") != "released" or post is None or post.asset != data["asset"]:
            return
        if any(each["id"] == data["id"] for each in under_way({key: post}, self._known.ledgers)):
            Step(self._known).release(key, post, moment_ms(str(data["to"])))

    def open_excursions(self) -> list[dict[str, Value]]:
        """Give the excursions that are under way or wait for a disposition.

        Each as an entry would say it now, with its ``state``: open, recovering or recovered.
        """
        found = [
            each
            for kept in (self._posts, self._known.former)
            for each in under_way(kept, self._known.ledgers)
        ]
        found += [
            {**parse(data, where=_WHERE), "state": State.RECOVERED.value}
            for ledger in self._known.ledgers.values()
            for data in ledger.waiting.values()
        ]
        return found

    def totals(self, asset: str) -> list[dict[str, Value]]:
        """Give what an asset has used up of each limit of time: whole seconds, in all and carried in."""
        return ledgers.totals_data(self._ledger(asset))

    def snapshot(self, befores: Iterable[object] = ()) -> bytes:
        """Write everything down as it was before these steps, the oldest first."""
        return saved.write(self._still(befores))

    def still(self, befores: Iterable[object] = ()) -> Callable[[], bytes]:
        """Give what writes `snapshot` down later, in a thread too, as it would be now."""
        return partial(saved.write, self._still(befores))

    @property
    def size(self) -> int:
        """How many sensors are known."""
        return len(self._posts)

    def _still(self, befores: Iterable[object]) -> Standing:
        """Give a copy that stands still, as it was before these steps, the oldest first."""
        steps = [cast("tuple[Moved, ...]", each) for each in befores]
        known = self._known
        copy = Standing(dict(known.posts), dict(known.former), dict(known.ledgers), dict(known.silent))
        copies: dict[int, dict[Any, Any]] = {
            id(known.posts): copy.posts,
            id(known.former): copy.former,
            id(known.ledgers): copy.ledgers,
            id(known.silent): copy.silent,
        }
        for moved in reversed(steps):
            for kept, key, old in reversed(moved):
                _put_back(copies[id(kept)], key, old)
        return copy

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        """Read a snapshot back; nothing at all is an empty one.

        Raises:
            InputError: it is of another version, cut, or does not hold together.
        """
        return cls(*saved.read(snapshot))


def _decided(data: Mapping[str, Value], disposition: Mapping[str, str], at_ms: int) -> Effect:
    """Give the entry by which a person closes an excursion."""
    _, action = TRANSITIONS[State.RECOVERED, Event.DISPOSED]
    said = {name: value for name, value in data.items() if name != "state"}
    said |= {"action": str(action), "disposition": dict(disposition), "to": render_time(at_ms)}
    return Effect("excursion", encode(said))


def _name(profile: ProductProfile) -> tuple[str, int, str]:
    """Give what a profile is called."""
    return profile.name, profile.version, profile.sha256


def _put_back(kept: dict[Any, Any], key: object, old: object) -> None:
    """Have the old value again, or none."""
    if old is None:
        kept.pop(key, None)
    else:
        kept[key] = old


def _calm(post: Post, measured: Sequence[Measured], received_ms: int) -> Post | None:
    """Take a reading of which nothing goes on record; None if it may be another."""
    laws, tracks = post.laws, list(post.tracks)
    is_heard = False
    for name, unit, value, t_ms in measured:
        place = laws.places.get(name)
        if place is None:
            continue
        track, law = tracks[place], laws.each[place]
        if (
            track is None
            or not track.is_calm
            or t_ms <= track.t_ms
            or track.law is not law
            or not law.calm_low <= value <= law.calm_high
            or unit != law.unit
        ):
            return None
        moved = tracks[place] = move_calm(track, value, t_ms)
        if moved.kinetic is not None and law.window is not None and is_above(moved.kinetic, law.window):
            return None
        is_heard = True
    if not is_heard:
        return None
    return Post(laws, post.asset, post.since_ms, post.plan_ms, received_ms, tuple(tracks), post.plan)
