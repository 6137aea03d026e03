"""Who may publish and subscribe where: the topic scheme, a device's own branch, grants and the registry.

Everything that is not granted is denied. A grant to publish names one topic, never a wildcard, and
none gives away another device's readings. This module does not route and knows no connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.quotas import OVER_QUOTA, OVER_RATE
from coldseal.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coldseal.core.registry import Bounds, Registry

ROOT: Final = "coldseal/v1"
EVERY_DEVICE: Final = "*"

NOT_AUTHORISED: Final = "not-authorised"
NOT_REGISTERED: Final = "not-registered"
NOT_RETAINED: Final = "retain"
TOO_LARGE: Final = "size"
SUBSCRIBE: Final = "subscribe"
WILL: Final = "will"
BLOCKED: Final = "blocked"
REASONS: Final = {
    NOT_AUTHORISED: "the topic is not granted",
    NOT_REGISTERED: "the device is not registered",
    NOT_RETAINED: "the topic may not be retained",
    TOO_LARGE: "the payload is larger than the registry allows",
    OVER_RATE: "more than the device's rate",
    OVER_QUOTA: "more than the device's daily quota",
    SUBSCRIBE: "the filter is not granted",
    WILL: "the topic may not be that of a will",
    BLOCKED: "the device is kept out",
}
"""Why something is refused, and the same in words."""

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_match_name: Final = re.compile(_NAME, re.ASCII).fullmatch
_SHARE: Final = "$share/"


class Channel(StrEnum):
    """What a device's topic carries."""

    READING = "reading"
    STATUS = "status"
    EVENT = "event"
    COMMAND = "cmd"
    CONFIG = "config"
    RECEIPT = "receipt"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a channel is used: whether the device or the gateway writes it, and whether a name follows."""

    from_device: bool
    is_named: bool


SCHEME: Final = {
    Channel.READING: Rule(from_device=True, is_named=True),  # the sensor
    Channel.STATUS: Rule(from_device=True, is_named=False),
    Channel.EVENT: Rule(from_device=True, is_named=True),
    Channel.COMMAND: Rule(from_device=False, is_named=True),
    Channel.CONFIG: Rule(from_device=False, is_named=False),
    Channel.RECEIPT: Rule(from_device=False, is_named=False),
    Channel.ALARM: Rule(from_device=False, is_named=True),  # the sensor
}
"""The whole scheme; rights, parser and documentation follow from it."""

_is_own: Final = re.compile(
    "|".join(
        f"{channel}/{_NAME}" if rule.is_named else channel
        for channel, rule in SCHEME.items()
        if rule.from_device
    ),
    re.ASCII,
).fullmatch


@dataclass(frozen=True, slots=True)
class Address:
    """A topic of the scheme, taken apart; ``name`` is empty where the channel has none."""

    site: str
    device: str
    channel: Channel
    name: str = ""

    def render(self) -> str:
        """Write the topic."""
        tail = f"/{self.name}" if self.name else ""
        return f"{ROOT}/{self.site}/{self.device}/{self.channel}{tail}"


def parse_topic(topic: str) -> Address:
    """Take a topic of the scheme apart.

    Raises:
        InputError: it is not ``coldseal/v1/{site}/{device}/{channel}[/{name}]``; names what was expected.
    """
    levels = topic.split("/")
    if not topic.startswith(f"{ROOT}/") or len(levels) not in {5, 6}:
        raise InputError("topic", "form", topic, f"{ROOT}/{{site}}/{{device}}/{{channel}}[/{{name}}]")
    site, device = check_name("site", levels[2]), check_name("device", levels[3])
    try:
        channel = Channel(levels[4])
    except ValueError as error:
        raise InputError("topic", "channel", levels[4], f"one of {', '.join(Channel)}") from error
    name = "/".join(levels[5:])
    if SCHEME[channel].is_named:
        return Address(site, device, channel, check_name("name", name))
    if levels[5:]:
        raise InputError("topic", "name", name, f"nothing after {channel}")
    return Address(site, device, channel)


def is_name(value: str) -> bool:
    """Whether ``value`` may be one level of the scheme, such as a site, a device or a sensor."""
    return _match_name(value) is not None


def check_name(field: str, value: str) -> str:
    """Return ``value`` when it may be one level of the scheme, such as a site, a device or a sensor.

    Raises:
        InputError: it is not 1 to 64 letters, digits, dots, hyphens and underscores after a letter or digit.
    """
    if not is_name(value):
        raise InputError(
            "topic", field, value, "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )
    return value


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights beyond the own branch, for one device by name or for every device (``*``).

    Args:
        device: a device's name, or ``*``.
        publish: whole topics; ``{site}`` and ``{device}`` stand for the gateway's site and the holder's name.
        subscribe: topic filters with the same placeholders; a narrower filter is covered by a wider one.
    """

    device: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rights:
    """What one device may do.

    Args:
        branch: the device's own branch, ending in a slash; empty where each of its topics is enumerated.
        publish: further topics that it may publish.
        subscribe: the filters that it may subscribe to, or to parts of.
        retain: topics that it may have retained; None: all that it may publish.
        will: topics that its will may have; None: all that it may publish.
    """

    branch: str
    publish: frozenset[str]
    subscribe: tuple[str, ...]
    retain: frozenset[str] | None = None
    will: frozenset[str] | None = None

    def may_publish(self, topic: str) -> bool:
        """Whether the device may publish this topic."""
        if self.branch and topic.startswith(self.branch) and _is_own(topic, len(self.branch)) is not None:
            return True
        return topic in self.publish

    def may_retain(self, topic: str) -> bool:
        """Whether a message of this topic, which it may publish, may be retained."""
        return self.retain is None or topic in self.retain

    def may_will(self, topic: str, *, retain: bool) -> bool:
        """Whether this may be the topic of the device's will."""
        if not self.may_publish(topic) or (retain and not self.may_retain(topic)):
            return False
        return self.will is None or topic in self.will

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether the device may subscribe to this filter, shared or not."""
        if topic_filter.startswith(_SHARE):
            topic_filter = topic_filter.removeprefix(_SHARE).partition("/")[2]
        return any(covers(granted, topic_filter) for granted in self.subscribe)


_NOTHING: Final = Rights("", frozenset(), ())


class Listing(NamedTuple):
    """A registered device's rights, written out.

    Args:
        device: its name.
        publish: whole topics, never a wildcard.
        subscribe: topic filters.
    """

    device: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Policy:
    """The rights of every device at one site.

    Args:
        site: the gateway's site, as in its topics.
        grants: rights beyond what each device has of itself.
        registry: which devices there are; a registered one has the topics that stand there, and no others.
        is_strict: a device that is not registered has no rights at all; else it has its own branch.

    Raises:
        OperatorError: a grant or the registry is too wide or contradicts itself; names place and cure.
    """

    def __init__(
        self,
        site: str,
        grants: Iterable[Grant] = (),
        registry: Registry | None = None,
        *,
        is_strict: bool = False,
    ) -> None:
        """Check all of it once; a device's rights are made when it connects."""
        self.site = check_name("site", site)
        self.is_strict = is_strict
        self._grants = tuple(grants)
        self._terms = registry.compile(site) if registry is not None else {}
        for grant in self._grants:
            check_grant(grant, site, f"grants: {grant.device}")
            if is_strict and grant.device != EVERY_DEVICE and grant.device not in self._terms:
                what = f"grants: {grant.device} is not registered, and topics.strict is set"
                raise OperatorError(what, "Add it to [[devices]] in the registry, or leave the grant out")

    def is_known(self, device: str) -> bool:
        """Whether a device may be here at all."""
        return not self.is_strict or device in self._terms

    @property
    def devices(self) -> Sequence[str]:
        """The registered devices, in the order of the registry."""
        return tuple(self._terms)

    def rights(self, device: str) -> Rights:
        """Give the rights of ``device``.

        Raises:
            InputError: the name cannot stand in a topic.
        """
        branch = f"{ROOT}/{self.site}/{check_name('device', device)}/"
        if not self.is_known(device):
            return _NOTHING
        held = [grant for grant in self._grants if grant.device in {device, EVERY_DEVICE}]
        extra = tuple(fill(each, self.site, device) for grant in held for each in grant.subscribe)
        topics = frozenset(fill(each, self.site, device) for grant in held for each in grant.publish)
        terms = self._terms.get(device)
        if terms is not None:
            own = terms.rights
            return Rights(
                "",
                own.publish | topics,
                (*own.subscribe, *extra),
                (own.retain or frozenset()) | topics,
                (own.will or frozenset()) | topics,
            )
        below = [f"{branch}{channel}/#" for channel, rule in SCHEME.items() if not rule.from_device]
        return Rights(branch, topics, (*below, *extra))

    def bounds(self, device: str, topic: str) -> Bounds | None:
        """Give how much a registered device may publish there; None where the registry says nothing."""
        terms = self._terms.get(device)
        return None if terms is None else terms.bounds.get(topic, terms.rest)

    def listing(self) -> Sequence[Listing]:
        """Write out the rights of every registered device."""
        return tuple(self._list(device) for device in self._terms)

    def _list(self, device: str) -> Listing:
        """Write out one device's rights: topics in the order of the registry, then those of grants."""
        rights, written = self.rights(device), self._terms[device].bounds
        granted = sorted(rights.publish.difference(written))
        return Listing(device, (*written, *granted), tuple(dict.fromkeys(rights.subscribe)))

    def is_as_another(self, device: str, topic: str) -> bool:
        """Whether who publishes this topic speaks as another device, or as one at another site."""
        levels = topic.split("/")
        depth = ROOT.count("/") + 1
        if not topic.startswith(f"{ROOT}/") or len(levels) < depth + 2:
            return False
        return levels[depth : depth + 2] != [self.site, device]


def covers(granted: str, asked: str) -> bool:
    """Whether every topic that ``asked`` matches is matched by ``granted`` as well (both well formed)."""
    if asked.startswith("$") and granted[:1] in {"+", "#"}:
        return False  # MQTT-4.7.2-1: a leading wildcard does not match topics that begin with $
    have, want = granted.split("/"), asked.split("/")
    for index, level in enumerate(have):
        if level == "#":
            return True  # MQTT 4.7.1.2: the parent level, too
        if index == len(want) or want[index] == "#":
            return False
        if level not in {"+", want[index]}:
            return False
    return len(have) == len(want)


def fill(pattern: str, site: str, device: str) -> str:
    """Put site and device in the places that a grant leaves for them."""
    return pattern.replace("{site}", site).replace("{device}", device)


def check_grant(grant: Grant, site: str, where: str) -> None:
    """Refuse a grant that is too wide or cannot work.

    Raises:
        OperatorError: names the place, as ``where`` and a key, the value and the cure.
    """
    if grant.device != EVERY_DEVICE and not is_name(grant.device):
        raise OperatorError(f"grants: device {grant.device!r} is not a device's name", "Write its name, or *")
    for topic in grant.publish:
        place = f"{where}: publish {topic!r}"
        if not topic or "+" in topic or "#" in topic or topic.startswith("$"):
            raise OperatorError(
                f"{place} is no whole topic", "Name each topic that it may publish, without + or #"
            )
        if topic.startswith(f"{ROOT}/"):
            _check_scheme(place, fill(topic, site, "device"))
    for topic_filter in grant.subscribe:
        if not _is_filter(topic_filter):
            raise OperatorError(
                f"{where}: subscribe {topic_filter!r} is no topic filter",
                "Use + for one whole level, and # only as the last level",
            )


def _check_scheme(place: str, topic: str) -> None:
    """Refuse to give away what only the device itself may say."""
    try:
        address = parse_topic(topic)
    except InputError as error:
        raise OperatorError(f"{place} is not in the topic scheme", f"Write {error.expected}") from error
    if address.channel not in {Channel.COMMAND, Channel.CONFIG}:
        whom = "a device" if SCHEME[address.channel].from_device else "the gateway"
        raise OperatorError(
            f"{place} would speak for {whom}",
            f"Below {ROOT} only {Channel.COMMAND} and {Channel.CONFIG} can be granted",
        )


def _is_filter(text: str) -> bool:
    """Whether this is a topic filter by MQTT 4.7.1, other than a shared or a $ one."""
    levels = text.split("/")
    if not text or text.startswith("$") or "#" in levels[:-1]:
        return False
    return all(level in {"+", "#"} or not ("+" in level or "#" in level) for level in levels)
