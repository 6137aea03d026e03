"""The registry of one site: its devices by name, what each carries, may say and may hear, and how much.

Promise: for every registered device the topics that it may publish are enumerated, whole; a wildcard to
publish cannot be expressed, and a contradiction is refused with its place and the cure. Reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.quotas import Limit
from coldseal.core.topics import (
    ROOT,
    SCHEME,
    Channel,
    Grant,
    Rights,
    check_grant,
    fill,
    is_name,
)
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NO_LIMIT: Final = Limit()
_NAMED_BY_CLASS: Final = frozenset((Channel.EVENT, Channel.COMMAND))


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """How the devices of a class use one channel.

    Args:
        channel: which one.
        names: below ``event`` and ``cmd``, the names that there are; for ``cmd`` empty means any.
        schema: name of the form of its payloads.
        max_payload_bytes: largest payload; 0: as the class says.
        may_retain: its messages may be retained.
        may_will: it may be the topic of a will.
        limit: rates and quotas of this channel alone, within those of the device.
    """

    channel: Channel
    names: tuple[str, ...] = ()
    schema: str = ""
    max_payload_bytes: int = 0
    may_retain: bool = False
    may_will: bool = False
    limit: Limit = NO_LIMIT


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """What devices of one kind have in common.

    Args:
        name: by which devices refer to it.
        channels: those that its devices have; no other is theirs.
        publish: further whole topics, with ``{site}`` and ``{device}`` as in a grant.
        subscribe: further topic filters.
        max_payload_bytes: largest payload of any topic; 0: as the listener says.
        limit: rates and quotas of all that one device sends.
    """

    name: str
    channels: tuple[ChannelRule, ...]
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    max_payload_bytes: int = 0
    limit: Limit = NO_LIMIT


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Args:
        name: as its certificate says.
        kind: its class.
        sensors: those that it carries, each a name below ``reading``.
        publish: further whole topics.
        subscribe: further topic filters.
        limit: instead of its class's; one that bounds nothing: its class's.
    """

    name: str
    kind: str
    sensors: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    limit: Limit = NO_LIMIT


@dataclass(frozen=True, slots=True)
class Namespace:
    """A branch outside the scheme in which topics may be granted to publish.

    Args:
        root: its first levels, without a wildcard.
        schema: name of the form of its payloads.
        max_payload_bytes: largest payload; 0: as the class says.
    """

    root: str
    schema: str = ""
    max_payload_bytes: int = 0

    def holds(self, topic: str) -> bool:
        """Whether a topic lies in it."""
        return topic == self.root or topic.startswith(f"{self.root}/")


class Bounds(NamedTuple):
    """What holds for one topic of one device.

    Args:
        schema: name of the form of its payloads; empty: none is named.
        max_payload_bytes: largest payload; 0: as the listener says.
        limits: each with the name of what it is for: a channel, or empty for all that the device sends.
    """

    schema: str = ""
    max_payload_bytes: int = 0
    limits: tuple[tuple[str, Limit], ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """The registry's word on one device.

    Args:
        rights: what it may do.
        bounds: by topic that it may publish, in the order of the registry.
        rest: for a topic that only a grant outside the registry gives it.
    """

    rights: Rights
    bounds: Mapping[str, Bounds]
    rest: Bounds


@dataclass(frozen=True, slots=True)
class Registry:
    """All of it, as it is written down.

    Args:
        classes: of devices.
        devices: by name.
        namespaces: outside the scheme.
        source: where it was read from, for messages.
    """

    classes: tuple[DeviceClass, ...] = ()
    devices: tuple[Device, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    source: str = field(default="registry", compare=False)

    def compile(self, site: str) -> dict[str, Terms]:
        """Give the terms of every device at a site.

        Raises:
            OperatorError: something contradicts itself or is too wide; names file, key, value and cure.
        """
        _Checks(self.source).check(self)
        classes = {each.name: each for each in self.classes}
        return {each.name: self._terms(site, each, classes[each.kind]) for each in self.devices}

    def _terms(self, site: str, device: Device, kind: DeviceClass) -> Terms:
        """Put together what a device has by its class and by itself."""
        branch = f"{ROOT}/{site}/{device.name}/"
        whole = kind.limit if device.limit.is_free else device.limit
        over_all = () if whole.is_free else (("", whole),)
        bounds: dict[str, Bounds] = {}
        retain, will, subscribe = [], [], []
        for rule in kind.channels:
            topics = [f"{branch}{tail}" for tail in _tails(rule, device)]
            if not SCHEME[rule.channel].from_device:
                subscribe += topics
                continue
            own = () if rule.limit.is_free else ((rule.channel.value, rule.limit),)
            found = Bounds(rule.schema, rule.max_payload_bytes or kind.max_payload_bytes, (*own, *over_all))
            bounds.update(dict.fromkeys(topics, found))
            retain += topics if rule.may_retain else []
            will += topics if rule.may_will else []
        rest = Bounds("", kind.max_payload_bytes, over_all)
        for pattern in (*kind.publish, *device.publish):
            topic = fill(pattern, site, device.name)
            inside = next((each for each in self.namespaces if each.holds(topic)), None)
            if inside is None:
                bounds[topic] = rest
            else:
                bounds[topic] = Bounds(
                    inside.schema, inside.max_payload_bytes or kind.max_payload_bytes, over_all
                )
        subscribe += [fill(each, site, device.name) for each in (*kind.subscribe, *device.subscribe)]
        rights = Rights("", frozenset(bounds), tuple(subscribe), frozenset(retain), frozenset(will))
        return Terms(rights, bounds, rest)


def _tails(rule: ChannelRule, device: Device) -> Iterator[str]:
    """Give what stands below a device's branch for a channel; filters where the gateway writes."""
    channel, scheme = rule.channel, SCHEME[rule.channel]
    if not scheme.is_named:
        yield channel.value
        return
    names = device.sensors if channel is Channel.READING else rule.names
    if names or scheme.from_device:
        yield from (f"{channel}/{name}" for name in names)
    else:
        yield f"{channel}/#"


class _Checks:
    """Refuses what contradicts itself; every refusal names where, what and the cure."""

    def __init__(self, source: str) -> None:
        """Keep the name of the file."""
        self._source = source

    def check(self, registry: Registry) -> None:
        """Check all of it."""
        self._unique("namespaces", "root", [each.root for each in registry.namespaces], _is_root)
        self._unique("classes", "name", [each.name for each in registry.classes], is_name)
        self._unique("devices", "name", [each.name for each in registry.devices], is_name)
        kinds = {each.name: each for each in registry.classes}
        for kind in registry.classes:
            place = f"classes {kind.name!r}"
            self._limit(place, kind.limit)
            self._channels(place, kind.channels)
            self._topics(place, kind.publish, kind.subscribe, registry.namespaces)
        for device in registry.devices:
            place = f"devices {device.name!r}"
            if device.kind not in kinds:
                known = ", ".join(sorted(kinds)) or "none is written"
                self._refuse(f"{place}: class", device.kind, f"Name one of [[classes]]: {known}")
            self._limit(place, device.limit)
            self._sensors(place, device, kinds[device.kind])
            self._topics(place, device.publish, device.subscribe, registry.namespaces)

    def _unique(self, table: str, key: str, values: Sequence[str], is_sound: Callable[[str], bool]) -> None:
        """Refuse a name that cannot be one, or that stands twice."""
        for index, value in enumerate(values):
            if not is_sound(value):
                hint = "Use 1 to 64 of A-Z a-z 0-9 . _ -, for a root such levels; neither + nor #"
                self._refuse(f"{table}: {key}", value, hint)
            if value in values[:index]:
                self._refuse(f"{table}: {key}", value, "It stands twice: leave one of them out")

    def _channels(self, place: str, rules: Sequence[ChannelRule]) -> None:
        """Refuse channels that are used in a way that they cannot be."""
        for index, rule in enumerate(rules):
            where, scheme = f"{place}: channels {rule.channel.value!r}", SCHEME[rule.channel]
            if rule.channel in {each.channel for each in rules[:index]}:
                self._refuse(f"{where}: channel", rule.channel.value, "It stands twice: leave one out")
            for name in rule.names:
                if rule.channel not in _NAMED_BY_CLASS:
                    hint = "Leave it out; sensors are named by [[devices]], other channels have no names"
                    self._refuse(f"{where}: names", name, hint)
                if not is_name(name):
                    hint = "Write each name out, 1 to 64 of A-Z a-z 0-9 . _ -; a wildcard cannot be granted"
                    self._refuse(f"{where}: names", name, hint)
            if rule.channel is Channel.EVENT and not rule.names:
                self._refuse(f"{where}: names", "", "Name every kind of event that the devices publish")
            self._limit(where, rule.limit)
            is_ruled = rule.may_retain or rule.may_will or not rule.limit.is_free or rule.max_payload_bytes
            if is_ruled and not scheme.from_device:
                hint = "Leave retain, will, limit and max_payload_bytes out: the gateway writes it"
                self._refuse(where, "", hint)

    def _limit(self, place: str, limit: Limit) -> None:
        """Refuse a burst without the rate that it belongs to."""
        if limit.messages_burst and not limit.messages_per_s:
            hint = "Set limit.messages_per_s, or leave the burst out"
            self._refuse(f"{place}: limit.messages_burst", str(limit.messages_burst), hint)
        if limit.bytes_burst and not limit.bytes_per_s:
            hint = "Set limit.bytes_per_s, or leave the burst out"
            self._refuse(f"{place}: limit.bytes_burst", str(limit.bytes_burst), hint)

    def _sensors(self, place: str, device: Device, kind: DeviceClass) -> None:
        """Refuse sensors without a channel for them, and a channel without sensors."""
        for index, sensor in enumerate(device.sensors):
            if not is_name(sensor):
                hint = "Name each sensor, 1 to 64 of A-Z a-z 0-9 . _ -; a wildcard cannot be granted"
                self._refuse(f"{place}: sensors", sensor, hint)
            if sensor in device.sensors[:index]:
                self._refuse(f"{place}: sensors", sensor, "It stands twice: leave one of them out")
        reads = any(rule.channel is Channel.READING for rule in kind.channels)
        if reads and not device.sensors:
            self._refuse(f"{place}: sensors", "", f"Name its sensors: class {kind.name!r} has readings")
        if device.sensors and not reads:
            hint = f"Leave them out, or give class {kind.name!r} the channel 'reading'"
            self._refuse(f"{place}: sensors", ", ".join(device.sensors), hint)

    def _topics(
        self,
        place: str,
        publish: Sequence[str],
        subscribe: Sequence[str],
        namespaces: Sequence[Namespace],
    ) -> None:
        """Refuse what is too wide, and topics in no namespace."""
        check_grant(Grant("*", tuple(publish), tuple(subscribe)), "site", f"{self._source}: {place}")
        for topic in publish:
            if not topic.startswith(f"{ROOT}/") and not any(each.holds(topic) for each in namespaces):
                hint = "Add the branch that it lies in as [[namespaces]] root = …"
                self._refuse(f"{place}: publish", topic, hint)

    def _refuse(self, place: str, value: str, hint: str) -> None:
        """Say what is wrong."""
        found = f" {value!r} cannot be" if value else " is missing or cannot be"
        raise OperatorError(f"{self._source}: {place}{found}", hint)


def _is_root(root: str) -> bool:
    """Whether this can be a namespace's root: plain levels outside the scheme."""
    return root.partition("/")[0] != ROOT.partition("/")[0] and all(map(is_name, root.split("/")))
