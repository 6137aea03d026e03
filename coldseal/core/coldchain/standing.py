"""What stands after some entries: profiles, sensors and assets with their histories, how a change fits in.

Promise: a change that contradicts what stands, or reaches back, is refused with key, value and what was
expected, and then nothing is changed. What is older than any reading can be (`REACH_MS`) is dropped, so that
it grows with sensors, not with time. Gives no plans.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self, TypeVar

import msgspec

from coldseal.core.coldchain import changes
from coldseal.core.coldchain.calibration import Calibration
from coldseal.core.coldchain.changes import (
    AssignProfile,
    AssignSensor,
    Calibrate,
    Change,
    Maintain,
    Release,
    Revise,
)
from coldseal.core.coldchain.profile import ProductProfile, is_same
from coldseal.errors import InputError

REACH_MS: Final = 61 * 86_400_000
"""How far back a reading's time is believed, and a day: what ended before is never asked for again."""

BACK_MS: Final = 300_000
"""A change may name a time this long before its entry: a clock beside the gateway's, a hand that is slow."""

MAX_SENSORS: Final = 20_000
MAX_ASSETS: Final = 20_000
MAX_VERSIONS: Final = 2_000
MAX_STEPS: Final = 256
"""More is refused, not held: sensors, assets, versions of profiles, changes of one thing within reach."""

T = TypeVar("T")

History = tuple[tuple[int, T], ...]
"""From when on what holds, in order; before the first nothing does."""


class Watched(NamedTuple):
    """All that is known of one sensor.

    Attributes:
        assets: what it watches; an empty name: nothing.
        maintenance: why it is in maintenance; empty: it is not.
        calibrations: for each quantity and unit.
        ids: of all calibrations that it ever had.
    """

    assets: History[str] = ()
    maintenance: History[str] = ()
    calibrations: tuple[tuple[str, History[Calibration]], ...] = ()
    ids: frozenset[str] = frozenset()


class Asset(NamedTuple):
    """What is watched: its kind, and which profile holds for it."""

    kind: str = ""
    profiles: History[ProductProfile | None] = ()


_UNKNOWN: Final = Watched()


class Standing:
    """All that stands.

    Attributes:
        profiles: every version of every profile, by name and version.
        sensors: what is known of sensors, by device and sensor; what nothing was ever said of is not there.
        assets: what is watched, by name.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.profiles: dict[tuple[str, int], ProductProfile] = {}
        self.sensors: dict[tuple[str, str], Watched] = {}
        self.assets: dict[str, Asset] = {}

    def copy(self) -> Self:
        """Begin another one with the same."""
        found = type(self)()
        found.profiles.update(self.profiles)
        found.sensors.update(self.sensors)
        found.assets.update(self.assets)
        return found

    def latest(self, name: str) -> ProductProfile | None:
        """Give the newest version of a profile; None if there is none of that name."""
        found = [each for (known, _), each in self.profiles.items() if known == name]
        return max(found, key=lambda each: each.version, default=None)

    def watching(self, asset: str, t_ms: int) -> list[tuple[str, str]]:
        """Name the sensors that watch an asset at a moment, sorted."""
        return sorted(key for key, each in self.sensors.items() if at(each.assets, t_ms, "") == asset)

    def take(self, change: Change, t_ms: int) -> None:
        """Let a change stand; where it raises, nothing is changed.

        Args:
            change: what an entry says.
            t_ms: the entry's time.

        Raises:
            InputError: it contradicts what stands, or reaches back.
        """
        if isinstance(change, Revise):
            self._revise(change)
            return
        from_ms = t_ms if change.from_ms is None else change.from_ms
        if from_ms < t_ms - BACK_MS:
            expected = "no time before the entry's own: what was judged stays as it was judged"
            raise InputError(change.where, change.moment, change.said, expected)
        match change:
            case Calibrate():
                self._calibrate(change, from_ms, t_ms)
            case AssignSensor():
                self._assign_sensor(change, from_ms, t_ms)
            case AssignProfile():
                self._assign_profile(change, from_ms, t_ms)
            case Maintain():
                self._maintain(change, from_ms, t_ms)
            case _:
                self._release(change, from_ms, t_ms)

    def _revise(self, change: Revise) -> None:
        """Take a new version of a profile."""
        profile = change.profile
        before = self.latest(profile.name)
        expected = 1 if before is None else before.version + 1
        if profile.version != expected:
            raise InputError(change.where, "version", profile.version, f"{expected}, the next one")
        if before is not None and is_same(before, profile):
            expected_change = f"something that version {before.version} does not say already"
            raise InputError(change.where, "profile", profile.name, expected_change)
        if len(self.profiles) >= MAX_VERSIONS:
            raise InputError(change.where, "name", profile.name, f"at most {MAX_VERSIONS} versions in all")
        self.profiles[profile.name, profile.version] = profile

    def _calibrate(self, change: Calibrate, from_ms: int, t_ms: int) -> None:
        """Take a calibration."""
        new, where = change.calibration, change.where
        key, place = (new.device, new.sensor), f"{new.quantity} {new.unit}"
        watched = self._watched(key, where)
        if new.id in watched.ids:
            raise InputError(where, "id", new.id, "a calibration that is not on record yet")
        if new.calibrated_ms > t_ms:
            raise InputError(where, "calibrated", changes.day(new.calibrated_ms), "no day in the future")
        all_ = dict(watched.calibrations)
        history = all_.get(place, ())
        if history and history[-1][1].calibrated_ms > new.calibrated_ms:
            newest = changes.day(history[-1][1].calibrated_ms)
            expected = f"no day before {newest}, when the one on record was done"
            raise InputError(where, "calibrated", changes.day(new.calibrated_ms), expected)
        stamped = msgspec.structs.replace(new, from_ms=from_ms)
        all_[place] = changed(history, from_ms, stamped, t_ms, where)
        self.sensors[key] = watched._replace(
            calibrations=tuple(sorted(all_.items())), ids=watched.ids | {new.id}
        )

    def _assign_sensor(self, change: AssignSensor, from_ms: int, t_ms: int) -> None:
        """Let a sensor watch an asset."""
        watched = self._watched(change.key, change.where)
        asset = self._asset(change.asset, change.kind, change.where)
        history = changed(watched.assets, from_ms, change.asset, t_ms, change.where)
        self.assets[change.asset] = asset
        self.sensors[change.key] = watched._replace(assets=history)

    def _assign_profile(self, change: AssignProfile, from_ms: int, t_ms: int) -> None:
        """Let a profile hold for an asset."""
        profile = self.profiles.get((change.profile, change.version))
        if profile is None:
            known = ", ".join(f"{name}/{version}" for name, version in sorted(self.profiles)) or "none"
            given = f"{change.profile}/{change.version}"
            raise InputError(change.where, "profile", given, f"one on record: {known}")
        asset = self._asset(change.asset, change.kind, change.where)
        history = changed(asset.profiles, from_ms, profile, t_ms, change.where)
        self.assets[change.asset] = asset._replace(profiles=history)

    def _maintain(self, change: Maintain, from_ms: int, t_ms: int) -> None:
        """Begin or end a sensor's maintenance."""
        watched = self._watched(change.key, change.where)
        name = "/".join(change.key)
        is_in = bool(watched.maintenance and watched.maintenance[-1][1])
        if change.is_begin == is_in:
            is_now = "is" if is_in else "is not"
            expected = f"{'end' if is_in else 'begin'}: {name} {is_now} in maintenance"
            raise InputError(change.where, "action", "begin" if change.is_begin else "end", expected)
        reason = change.why if change.is_begin else ""
        history = changed(watched.maintenance, from_ms, reason, t_ms, change.where)
        self.sensors[change.key] = watched._replace(maintenance=history)

    def _release(self, change: Release, from_ms: int, t_ms: int) -> None:
        """Let a sensor, a profile, or all that there is, leave an asset."""
        asset = self.assets.get(change.asset)
        if asset is None:
            known = ", ".join(sorted(self.assets)[:8]) or "none"
            raise InputError(
                change.where, "asset", change.asset, f"one that something is assigned to: {known}"
            )
        if change.key is None:
            leaving = [] if change.profile else self.watching(change.asset, from_ms)
        else:
            leaving = [change.key]
        if change.key is not None and change.key not in self.watching(change.asset, from_ms):
            raise InputError(
                change.where, "sensor", "/".join(change.key), f"a sensor that watches {change.asset} then"
            )
        held = at(asset.profiles, from_ms, None)
        if change.profile and (held is None or held.name != change.profile):
            now = "none" if held is None else held.name
            raise InputError(change.where, "profile", change.profile, f"the one that holds then: {now}")
        fresh = {
            key: self.sensors[key]._replace(
                assets=changed(self.sensors[key].assets, from_ms, "", t_ms, change.where)
            )
            for key in leaving
        }
        if change.key is None and held is not None:
            history = changed(asset.profiles, from_ms, None, t_ms, change.where)
            self.assets[change.asset] = asset._replace(profiles=history)
        self.sensors.update(fresh)

    def _watched(self, key: tuple[str, str], where: str) -> Watched:
        """Give what is known of a sensor, or a new one."""
        found = self.sensors.get(key)
        if found is None and len(self.sensors) >= MAX_SENSORS:
            raise InputError(where, "sensor", "/".join(key), f"at most {MAX_SENSORS} sensors")
        return _UNKNOWN if found is None else found

    def _asset(self, name: str, kind: str, where: str) -> Asset:
        """Give what is known of an asset, or a new one of a kind; a known one may come without its kind."""
        found = self.assets.get(name)
        if found is None:
            if not kind:
                raise InputError(where, "asset_kind", "", f"the kind of {name}, which is new")
            if len(self.assets) >= MAX_ASSETS:
                raise InputError(where, "asset", name, f"at most {MAX_ASSETS} assets")
            return Asset(kind)
        if kind and found.kind != kind:
            raise InputError(where, "asset_kind", kind, f"{found.kind}, which {name} is")
        return found


def at(history: History[T], t_ms: int, nothing: T) -> T:
    """Give what holds at a moment."""
    return since(history, t_ms, nothing)[1]


def since(history: History[T], t_ms: int, nothing: T) -> tuple[int, T]:
    """Give what holds at a moment, and since when."""
    found = (0, nothing)
    for step in history:
        if step[0] > t_ms:
            break
        found = step
    return found


def changed(history: History[T], from_ms: int, value: T, t_ms: int, where: str) -> History[T]:
    """Let something hold from a moment on: what was planned for later falls, what is out of reach is dropped.

    Raises:
        InputError: it changes too often.
    """
    kept = [each for each in history if each[0] < from_ms]
    first = next((index for index, each in enumerate(kept[1:]) if each[0] > t_ms - REACH_MS), len(kept) - 1)
    kept = kept[max(0, first) :]
    if len(kept) >= MAX_STEPS:
        days = REACH_MS // 86_400_000
        raise InputError(
            where, "from", changes.moment(from_ms), f"at most {MAX_STEPS} changes in {days} days"
        )
    return (*kept, (from_ms, value))
