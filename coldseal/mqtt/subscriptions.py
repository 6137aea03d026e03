"""Topic filters and who holds them: MQTT 4.7 matching, shared groups, one entry for each subscriber.

Matching costs the depth of the topic, not the number of subscriptions. This module does not know
sessions, rights or delivery: a subscriber is any hashable key, and choosing a group's member is the
caller's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import msgspec

from coldseal.errors import InputError
from coldseal.mqtt.packets import Subscription

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator


MAX_LEVELS: Final = 32
_SHARE: Final = "$share"

Key = TypeVar("Key", bound="Hashable")


class FilterError(InputError):
    """A topic filter breaks MQTT 4.7 or 4.8, or is deeper than we go."""


class Filter(NamedTuple):
    """A topic filter taken apart; ``group`` is empty unless the subscription is shared."""

    group: str
    levels: tuple[str, ...]


class Held(msgspec.Struct, frozen=True, gc=False):
    """A subscription as it was granted, with the identifier its holder gave it."""

    subscription: Subscription
    identifier: int | None = None


class Matches(NamedTuple, Generic[Key]):
    """Who gets a message: each holder with all that matched, and for each group its members."""

    holders: dict[Key, list[Held]]
    groups: dict[tuple[str, str], dict[Key, Held]]


def parse_filter(text: str) -> Filter:
    """Take a topic filter apart.

    Raises:
        FilterError: not a valid filter by MQTT 4.7.1 and 4.8.2, or deeper than ``MAX_LEVELS``.
    """
    levels = text.split("/")
    group = ""
    if levels[0] == _SHARE:
        group = levels[1] if len(levels) > 1 else ""
        levels = levels[2:]
        if not group or "+" in group or "#" in group or not "/".join(levels):  # MQTT-4.8.2-1, -2
            raise FilterError("MQTT [4.8.2]", "topic filter", text, "$share/{name}/{filter}")
    if not text or "\0" in text:  # MQTT-4.7.3-1, -2
        raise FilterError("MQTT [4.7.3]", "topic filter", text, "at least one character, and no null")
    if len(levels) > MAX_LEVELS:
        raise FilterError("MQTT [4.7]", "topic filter", text, f"at most {MAX_LEVELS} levels")
    for index, level in enumerate(levels):
        if level == "#":
            if index != len(levels) - 1:  # MQTT-4.7.1-1
                raise FilterError("MQTT [4.7.1-1]", "topic filter", text, "# only as the last level")
        elif "#" in level or ("+" in level and level != "+"):  # MQTT-4.7.1-1, -2
            raise FilterError("MQTT [4.7.1-2]", "topic filter", text, "+ and # only as whole levels")
    return Filter(group, tuple(levels))


def is_match(levels: tuple[str, ...], topic: str) -> bool:
    """Whether a topic matches the levels of a filter (MQTT 4.7.2: a leading wildcard skips $-topics)."""
    names = topic.split("/")
    if levels[0] in {"+", "#"} and names[0].startswith("$"):
        return False
    for index, level in enumerate(levels):
        if level == "#":
            return True
        if index == len(names) or level not in {"+", names[index]}:
            return False
    return len(levels) == len(names)


class _Node(Generic[Key]):
    """One level of the tree; ``held`` are the subscriptions that end here."""

    __slots__ = ("children", "groups", "held")

    def __init__(self) -> None:
        """Start empty."""
        self.children: dict[str, _Node[Key]] = {}
        self.held: dict[Key, Held] = {}
        self.groups: dict[str, dict[Key, Held]] = {}

    @property
    def is_bare(self) -> bool:
        """Whether nothing hangs on this node any more."""
        return not (self.children or self.held or self.groups)


class SubscriptionTree(Generic[Key]):
    """All subscriptions of all subscribers; ``count`` says how many there are."""

    def __init__(self) -> None:
        """Start empty."""
        self._root: _Node[Key] = _Node()
        self.count = 0

    def subscribe(self, key: Key, held: Held) -> bool:
        """Add a subscription, or replace the one with the same filter; return whether it is new.

        Raises:
            FilterError: its filter is not valid.
        """
        group, levels = parse_filter(held.subscription.filter)
        node = self._root
        for level in levels:
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        members = node.groups.setdefault(group, {}) if group else node.held
        is_new = key not in members
        members[key] = held
        self.count += is_new
        return is_new

    def unsubscribe(self, key: Key, topic_filter: str) -> bool:
        """Take a subscription back; return whether there was one. Empty branches are cut off."""
        group, levels = parse_filter(topic_filter)
        path = [self._root]
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return False
            path.append(child)
        node = path[-1]
        members = node.groups.get(group, {}) if group else node.held
        if members.pop(key, None) is None:
            return False
        if group and not members:
            del node.groups[group]
        self.count -= 1
        for index in range(len(levels), 0, -1):
            if not path[index].is_bare:
                break
            del path[index - 1].children[levels[index - 1]]
        return True

    def match(self, topic: str) -> Matches[Key]:
        """Find everyone whose filters match a topic."""
        found: Matches[Key] = Matches({}, {})
        for name, node in self._ends(topic.split("/")):
            for key, held in node.held.items():
                found.holders.setdefault(key, []).append(held)
            for group, members in node.groups.items():
                found.groups[group, name] = members
        return found

    def _ends(self, names: list[str]) -> Iterator[tuple[str, _Node[Key]]]:
        """Walk to every node whose filter matches, with the filter's text."""
        is_reserved = names[0].startswith("$")
        stack: list[tuple[int, str, _Node[Key]]] = [(0, "", self._root)]
        while stack:
            index, path, node = stack.pop()
            wild = not (is_reserved and index == 0)  # MQTT-4.7.2-1
            if wild and (rest := node.children.get("#")) is not None:
                yield f"{path}/#", rest
            if index == len(names):
                yield path, node
                continue
            name = names[index]
            if (child := node.children.get(name)) is not None:
                stack.append((index + 1, f"{path}/{name}", child))
            if wild and (child := node.children.get("+")) is not None:
                stack.append((index + 1, f"{path}/+", child))
