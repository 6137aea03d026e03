"""Chooses entries: by sensor, by device, by time of acceptance, by place, or all.

Whole periods are one run. A choice of sensors has their readings, what else names them, and the log's own
entries of the period that explain silence and time. The log is searched by time without reading all of it.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.layout import join_runs
from coldseal.core.log.record import parse_entry
from coldseal.core.topics import Channel, is_name, parse_topic
from coldseal.errors import InputError, OperatorError
from coldseal.evidence.source import read_all

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.log.layout import Run
    from coldseal.core.log.record import Entry
    from coldseal.evidence.source import Read, Source

MARGIN: Final = timedelta(days=1)
"""How far the clock may have been set without an entry of the period being missed."""

EXPLAINING: Final = frozenset({"boot", "shutdown", "gap", "clock", "segment"})
"""Kinds that every choice of sensors has of its period: they explain silence, time, and timestamps."""

_NAMING: Final = frozenset({"reading", "excursion", "alarm", "ack", "disposition", "calibration"})
_BLOCK: Final = 4096
_TIME_CHARACTERS: Final = 24
_BEFORE_QUALITY: Final = b'","tq":{'


class Sensor(NamedTuple):
    """A sensor of a device."""

    device: str
    name: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants evidence of; everything left open means all.

    Attributes:
        sensors: their readings.
        devices: the readings of all their sensors.
        since: accepted at this time or later, RFC 3339 in milliseconds and Z.
        before: accepted before this time.
        first: least seq.
        last: greatest seq.
        shipment: its name, if one was asked for.
    """

    sensors: frozenset[Sensor] = frozenset()
    devices: frozenset[str] = frozenset()
    since: str = ""
    before: str = ""
    first: int = 0
    last: int | None = None
    shipment: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all entries of the period are wanted."""
        return not self.sensors and not self.devices

    def describe(self) -> dict[str, str | int]:
        """Say it for the manifest and for the record."""
        names = " ".join(sorted(f"{sensor.device}/{sensor.name}" for sensor in self.sensors))
        found: dict[str, str | int] = {
            "sensors": names,
            "devices": " ".join(sorted(self.devices)),
            "from": self.since,
            "to": self.before,
            "shipment": self.shipment,
        }
        found = {name: value for name, value in found.items() if value}
        if self.first:
            found["first"] = self.first
        if self.last is not None:
            found["last"] = self.last
        return found

    def names(self, device: object, sensor: object) -> bool:
        """Whether a device's sensor is wanted."""
        return device in self.devices or (device, sensor) in self.sensors

    def is_in_period(self, t: str) -> bool:
        """Whether a time of acceptance is in the period."""
        return self.since <= t and (not self.before or t < self.before)


def choose(source: Source, wish: Wish) -> list[Run]:
    """Choose entries.

    Returns:
        Runs, joined; empty if there are none. Pruned entries are in none.
    """
    read, size = source.read, source.size
    first, end = max(wish.first, source.begin), size if wish.last is None else min(size, wish.last + 1)
    if wish.since:
        first = max(first, _place(source, _shifted(wish.since, -MARGIN)))
    if wish.before:
        end = min(end, _place(source, _shifted(wish.before, MARGIN)))
    if first >= end:
        return []
    if not wish.is_whole:
        return join_runs((seq, seq + 1) for seq in _choose_single(read, first, end, wish))
    if not wish.since and not wish.before:
        return [(first, end)]
    found: Run | None = None
    for at in range(first, end, _BLOCK):
        for seq, raw in enumerate(read_all(read, at, min(end, at + _BLOCK)), at):
            if wish.is_in_period(_time_of(raw)):
                found = (seq if found is None else found[0], seq + 1)
    return [] if found is None else [found]


def _choose_single(read: Read, first: int, end: int, wish: Wish) -> list[int]:
    """Give the places of the entries that a choice of sensors has."""
    texts = {sensor.device for sensor in wish.sensors} | wish.devices | {each.name for each in wish.sensors}
    words = [f'"{text}"' for text in texts] + [f'"kind":"{kind}"' for kind in (*EXPLAINING, "correction")]
    may_be_wanted = re.compile("|".join(map(re.escape, words)).encode()).search
    chosen: dict[int, None] = {}
    for at in range(first, end, _BLOCK):
        for seq, raw in enumerate(read_all(read, at, min(end, at + _BLOCK)), at):
            if may_be_wanted(raw) is None:
                continue
            entry = parse_entry(raw)
            if wish.is_in_period(entry.t) and (
                _is_wanted(entry, wish) or (entry.kind == "correction" and entry.data.get("seq") in chosen)
            ):
                chosen[seq] = None
    return list(chosen)


def _is_wanted(entry: Entry, wish: Wish) -> bool:
    """Whether an entry is of a wanted sensor, or explains silence and time."""
    if entry.kind in EXPLAINING:
        return True
    if entry.kind not in _NAMING:
        return False
    inner = entry.data.get("calibration")
    said = inner if isinstance(inner, dict) else entry.data
    return wish.names(entry.src.get("dev", said.get("device")), said.get("sensor"))


def _place(source: Source, t: str) -> int:
    """Give the first place whose entry was accepted at a time or later, by bisection."""
    places = range(source.begin, source.size)
    return source.begin + bisect_left(places, t, key=lambda seq: _time_of(source.read(seq, 1)[0]))


def _time_of(raw: bytes) -> str:
    """Give the time of acceptance of an entry, which nothing behind it can look like."""
    end = raw.rindex(_BEFORE_QUALITY)
    return raw[end - _TIME_CHARACTERS : end].decode()


def parse_sensor(text: str) -> Sensor:
    """Read a sensor's name: DEVICE/SENSOR, or the topic of its readings.

    Raises:
        OperatorError: it is neither.
    """
    try:
        address = parse_topic(text)
    except InputError:
        device, _, name = text.partition("/")
        if is_name(device) and is_name(name):
            return Sensor(device, name)
    else:
        if address.channel is Channel.READING:
            return Sensor(address.device, address.name)
    raise OperatorError(
        f"{text!r} names no sensor", "Write DEVICE/SENSOR, or the topic of its readings"
    ) from None


def parse_moment(text: str) -> str:
    """Read a time, or a day (its first moment), as entries write it; UTC is meant where none is said.

    Raises:
        OperatorError: it is neither.
    """
    try:
        return render_moment(datetime.fromisoformat(text))
    except ValueError as error:
        raise OperatorError(f"{text!r} is no time", "Such as 2026-03-04 or 2026-03-04T05:06:07Z") from error


def render_moment(moment: datetime | date) -> str:
    """Write a time as entries do."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_shipment(path: Path, name: str) -> Wish:
    """Read the sensors and the period of a shipment from a file of assignments.

    Raises:
        OperatorError: the file cannot be read, or says nothing usable of the shipment.
    """
    hint = "See docs/how-to/export-for-an-inspector.md"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("shipments", {})
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path} cannot be read: {error}", hint) from error
    table = found.get(name) if isinstance(found, dict) else None
    if not isinstance(table, dict):
        known = ", ".join(found) if isinstance(found, dict) else ""
        raise OperatorError(f"{path} has no shipment {name!r}", f"It has: {known or 'none'}")
    if odd := table.keys() - {"sensors", "devices", "from", "to"}:
        raise OperatorError(f"{path}: {name}.{min(odd)} is unknown", hint)
    sensors, devices = (
        _texts(table.get(field, []), path, f"{name}.{field}") for field in ("sensors", "devices")
    )
    if not sensors and not devices:
        raise OperatorError(f"{path}: {name} has neither sensors nor devices", hint)
    since, before = (_moment(table.get(field, ""), path, f"{name}.{field}") for field in ("from", "to"))
    return Wish(frozenset(map(parse_sensor, sensors)), frozenset(devices), since, before, shipment=name)


def _texts(found: object, path: Path, field: str) -> list[str]:
    """Read a list of texts."""
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else None
    if texts is None or texts != found:
        raise OperatorError(f"{path}: {field} is no list of names", "Such as ['truck-12/t1']")
    return texts


def _moment(found: object, path: Path, field: str) -> str:
    """Read a time, as TOML's own or as a text."""
    if isinstance(found, datetime | date):
        return render_moment(found)
    if isinstance(found, str):
        return parse_moment(found) if found else ""
    raise OperatorError(f"{path}: {field} is no time", "Such as 2026-03-04T05:06:07Z")


def _shifted(t: str, by: timedelta) -> str:
    """Give a time a while before or after."""
    return render_moment(datetime.fromisoformat(t) + by)
