"""Which entries a route takes, what each is about, and the key by which it is known at every sink.

Promise: the same entry gives the same answer and the same key at every time and on every machine. What an
entry does not say of itself comes from whoever knows the register. Sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from coldseal.core.coldchain.measured import moment_ms, taken_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry

    Placed = Callable[[str, str, int], tuple[str, str]]
    """Gives asset and profile of a device's sensor at a moment, ms since 1970; empty where there is none."""

_ABOUT: Final = ("excursion", "about", "id")
"""Fields that name an excursion or a gap, by an id that begins with device and sensor."""


class Subject(NamedTuple):
    """What an entry is about; what it is not about is empty.

    Attributes:
        kind: its kind.
        device: the device.
        sensor: the sensor's name below it.
        asset: what the sensor watches.
        profile: name of the product profile.
        tier: how grave it is.
        taken_ms: when what it tells was measured, ms since 1970.
    """

    kind: str
    device: str = ""
    sensor: str = ""
    asset: str = ""
    profile: str = ""
    tier: str = ""
    taken_ms: int = 0


class Asked(Protocol):
    """What a rule asks for; nothing asked for is anything."""

    @property
    def kinds(self) -> Collection[str]:
        """Kinds of entries."""

    @property
    def sites(self) -> Collection[str]:
        """Sites of gateways."""

    @property
    def devices(self) -> Collection[str]:
        """Devices."""

    @property
    def sensors(self) -> Collection[str]:
        """Sensors."""

    @property
    def assets(self) -> Collection[str]:
        """Assets."""

    @property
    def profiles(self) -> Collection[str]:
        """Names of profiles."""

    @property
    def tiers(self) -> Collection[str]:
        """Tiers."""


class Rules:
    """The rules of one route.

    Args:
        rules: an entry goes if one of them fits; none: every one of a possible kind goes.
        site: the gateway's.
        possible: kinds that the route's form can say; empty: all.
    """

    def __init__(self, rules: Sequence[Asked], site: str, possible: Collection[str] = ()) -> None:
        """Take the rules that can fit at this site."""
        self._rules = [each for each in rules if not each.sites or site in each.sites]
        self._is_open = not rules
        self._possible = frozenset(possible)
        wanted = {kind for each in self._rules for kind in each.kinds}
        self._is_any_kind = self._is_open or any(not each.kinds for each in self._rules)
        kinds = self._possible if self._is_any_kind else wanted & self._possible if possible else wanted
        self._marks = tuple(f'"kind":"{kind}"'.encode() for kind in sorted(kinds))

    @property
    def is_placing(self) -> bool:
        """Whether the register must be asked, because a rule names assets or profiles."""
        return any(each.assets or each.profiles for each in self._rules)

    def is_possible(self, raw: bytes) -> bool:
        """Whether an entry's bytes may fit: cheap, and never wrong where it says no."""
        if self._is_any_kind and not self._possible:
            return True
        return any(mark in raw for mark in self._marks)

    def fit(self, subject: Subject) -> bool:
        """Whether an entry about this goes."""
        if self._possible and subject.kind not in self._possible:
            return False
        return self._is_open or any(_fits(each, subject) for each in self._rules)


def _fits(rule: Asked, subject: Subject) -> bool:
    """Whether one rule fits."""
    pairs = (
        (rule.kinds, subject.kind),
        (rule.devices, subject.device),
        (rule.sensors, subject.sensor),
        (rule.assets, subject.asset),
        (rule.profiles, subject.profile),
        (rule.tiers, subject.tier),
    )
    return all(not asked or found in asked for asked, found in pairs)


def subject_of(entry: Entry, placed: Placed) -> Subject:
    """Say what an entry is about.

    Args:
        entry: the entry.
        placed: is asked for asset and profile where the entry does not name them.
    """
    data, src = entry.data, entry.src
    device, sensor = _text(data, "device") or _text(src, "dev"), _text(data, "sensor")
    if not device:
        about = next((found for name in _ABOUT if (found := _text(data, name)).count("/") > 1), "")
        device, _, rest = about.partition("/")
        sensor = rest.partition("/")[0]
    moment = _taken_ms(entry)
    named = data.get("profile")
    asset, profile = _text(data, "asset"), _text(named, "name") if isinstance(named, dict) else ""
    if device and sensor and not (asset and profile):
        other_asset, other_profile = placed(device, sensor, moment)
        asset, profile = asset or other_asset, profile or other_profile
    return Subject(entry.kind, device, sensor, asset, profile, _text(data, "tier"), moment)


def entry_ms(entry: Entry) -> int:
    """Give an entry's own time, ms since 1970."""
    return moment_ms(entry.t)


def idempotency_key(entry: Entry) -> str:
    """Give the key of an entry: log, place and leaf hash; a sink that has it has this entry."""
    return f"{entry.log}:{entry.seq}:{entry.leaf_hash.hex()}"


def _taken_ms(entry: Entry) -> int:
    """Give when what an entry tells was measured; its own time where no other can be read."""
    try:
        return taken_ms(_first_time(entry.data), _text(entry.src, "t"), entry_ms(entry))
    except (TypeError, ValueError):  # a time without a zone, or none at all: of a kind that came later
        return entry_ms(entry)


def _first_time(data: Mapping[str, Value]) -> str:
    """Give the own time of a reading's first quantity; empty without one."""
    quantities = data.get("q")
    first = quantities[0] if isinstance(quantities, list) and quantities else None
    return _text(first, "t") if isinstance(first, dict) else ""


def _text(found: Mapping[str, Value], name: str) -> str:
    """Give a text; empty where there is none."""
    value = found.get(name)
    return value if isinstance(value, str) else ""
