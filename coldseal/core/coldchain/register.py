"""What the log says of sensors: which asset each one watches, by which profile, calibrated how.

Promise: a projection of the log: entries of the kinds `profile`, `calibration` and `config` change it, in
their order, and nothing else does. It keeps history: what was in force when a reading was taken decides about
it. How it grows, and what is refused, `standing` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Self

import msgspec

from coldseal.core.coldchain.calibration import Calibration
from coldseal.core.coldchain.changes import parse_change
from coldseal.core.coldchain.profile import ProductProfile
from coldseal.core.coldchain.standing import Asset, Standing, Watched, at
from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.coldchain.standing import History

FOREVER: Final = 2**53 - 1
"""Milliseconds since 1970 that nobody reaches."""


class Plan(msgspec.Struct, frozen=True):
    """What is in force for one sensor, from one moment to another.

    Args:
        device: the device that carries it.
        sensor: its name below the device.
        asset: what it watches (fridge, pallet, vehicle, lot); empty: nothing, then no profile holds.
        profile: the asset's profile; None: none is assigned.
        calibrations: by quantity.
        maintenance: the reason, while it is in maintenance; else empty.
        from_ms: from when on this holds, UTC milliseconds.
        until_ms: until when; `FOREVER` if nothing is known to change.
    """

    device: str
    sensor: str
    asset: str = ""
    profile: ProductProfile | None = None
    calibrations: tuple[Calibration, ...] = ()
    maintenance: str = ""
    from_ms: int = 0
    until_ms: int = FOREVER


class Register:
    """All of it; immutable: `with_entry` gives another one.

    Args:
        standing: what it is made of, which nobody changes any more; None: nothing.
    """

    def __init__(self, standing: Standing | None = None) -> None:
        """Begin with what stands."""
        self._standing = Standing() if standing is None else standing
        self._plans: dict[tuple[str, str], Plan] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known at all."""
        return not (self.profiles or self.sensors or self.assets)

    @property
    def profiles(self) -> Mapping[tuple[str, int], ProductProfile]:
        """Every version of every profile, by name and version."""
        return self._standing.profiles

    @property
    def sensors(self) -> Mapping[tuple[str, str], Watched]:
        """What is known of sensors, by device and sensor; what nothing was ever said of is not there."""
        return self._standing.sensors

    @property
    def assets(self) -> Mapping[str, Asset]:
        """What is watched, by name."""
        return self._standing.assets

    def latest(self, name: str) -> ProductProfile | None:
        """Give the newest version of a profile; None if there is none of that name."""
        return self._standing.latest(name)

    def watching(self, asset: str, t_ms: int) -> list[tuple[str, str]]:
        """Name the sensors, as device and sensor, that watch an asset at a moment, sorted."""
        return self._standing.watching(asset, t_ms)

    def plan(self, device: str, sensor: str, t_ms: int) -> Plan:
        """Give what is in force for a sensor at a moment; every sensor has a plan, perhaps an empty one."""
        key = (device, sensor)
        known = self._plans.get(key)
        if known is not None and known.from_ms <= t_ms < known.until_ms:
            return known
        watched = self.sensors.get(key)
        if watched is None:
            return Plan(device, sensor)
        found = self._made(device, sensor, watched, t_ms)
        self._plans[key] = found
        return found

    def _made(self, device: str, sensor: str, watched: Watched, t_ms: int) -> Plan:
        """Put together what is in force, and find from when until when it all is."""
        name = at(watched.assets, t_ms, "")
        asset = self.assets.get(name, Asset())
        histories: list[History[object]] = [watched.assets, watched.maintenance, asset.profiles]
        histories += [history for _, history in watched.calibrations]
        moments = [moment for history in histories for moment, _ in history]
        found = (at(history, t_ms, None) for _, history in watched.calibrations)
        return Plan(
            device,
            sensor,
            name,
            at(asset.profiles, t_ms, None),
            tuple(each for each in found if each is not None),
            at(watched.maintenance, t_ms, ""),
            max((moment for moment in moments if moment <= t_ms), default=0),
            min((moment for moment in moments if moment > t_ms), default=FOREVER),
        )

    def with_entry(self, kind: str, data: Mapping[str, object], t_ms: int) -> Self:
        """Give the register behind an entry; itself if the entry says nothing to it.

        Args:
            kind: the entry's kind.
            data: what it says.
            t_ms: its time.

        Raises:
            InputError: the entry contradicts what is there, or itself.
        """
        change = parse_change(kind, data)
        if change is None:
            return self
        standing = self._standing.copy()
        standing.take(change, t_ms)
        return type(self)(standing)

    def with_entries(
        self, entries: Iterable[tuple[str, Mapping[str, object], int]]
    ) -> tuple[Self, list[InputError]]:
        """Give the register behind many entries, and what was wrong with those that it could not take.

        For a start: what nobody can make sense of must not keep a gateway from starting. What such an entry
        says does not hold.
        """
        standing, faults = self._standing.copy(), []
        for kind, data, t_ms in entries:
            try:
                change = parse_change(kind, data)
                if change is not None:
                    standing.take(change, t_ms)
            except InputError as error:
                faults.append(error)
        return type(self)(standing), faults
