"""Retained messages: the last message of each topic for whoever subscribes later (MQTT 3.3.1.3).

Bounded in number, for each owner and in bytes; one that would exceed a bound is not kept, and the
caller is told. Finding costs the filter's depth, not the number of messages. Keeps no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.mqtt.session import RetainedRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.mqtt.limits import Limits


class _Node:
    """One level of the topics; ``record`` is the message that is retained exactly here."""

    __slots__ = ("children", "record")

    def __init__(self) -> None:
        """Start empty."""
        self.children: dict[str, _Node] = {}
        self.record: RetainedRecord | None = None


class Retained:
    """All retained messages of a broker; ``len`` counts them."""

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self._limits = limits
        self._records: dict[str, RetainedRecord] = {}
        self._root = _Node()
        self._owners: dict[str, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Count the messages."""
        return len(self._records)

    def __iter__(self) -> Iterator[RetainedRecord]:
        """Go through all messages."""
        return iter(tuple(self._records.values()))

    def find(self, topic: str) -> RetainedRecord | None:
        """Give the message of one topic."""
        return self._records.get(topic)

    def put(self, record: RetainedRecord) -> bool:
        """Keep a message in place of the last one of its topic; False when a bound forbids it."""
        topic = record.delivery.topic
        old = self._records.get(topic)
        freed = len(old.delivery.payload) if old else 0
        same_owner = old is not None and old.owner == record.owner
        if (
            len(self._records) - (old is not None) >= self._limits.max_retained
            or self._bytes - freed + len(record.delivery.payload) > self._limits.max_retained_bytes
            or self._owners.get(record.owner, 0) - same_owner >= self._limits.max_retained_per_device
        ):
            return False
        self.remove(topic)
        self._records[topic] = record
        self._owners[record.owner] = self._owners.get(record.owner, 0) + 1
        self._bytes += len(record.delivery.payload)
        node = self._root
        for level in topic.split("/"):
            node = node.children.setdefault(level, _Node())
        node.record = record
        return True

    def remove(self, topic: str) -> bool:
        """Let go of a topic's message; return whether there was one."""
        record = self._records.pop(topic, None)
        if record is None:
            return False
        self._bytes -= len(record.delivery.payload)
        left = self._owners[record.owner] - 1
        if left:
            self._owners[record.owner] = left
        else:
            del self._owners[record.owner]
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        path[-1].record = None
        for index in range(len(levels), 0, -1):
            if path[index].children or path[index].record is not None:
                break
            del path[index - 1].children[levels[index - 1]]
        return True

    def match(self, levels: tuple[str, ...]) -> Iterator[RetainedRecord]:
        """Find the messages whose topics match the levels of a filter."""
        stack = [(0, self._root)]
        while stack:
            index, node = stack.pop()
            level = levels[index] if index < len(levels) else None
            if level == "#" and node is not self._root and node.record is not None:
                yield node.record  # the parent level is matched, too (MQTT 4.7.1.2)
            if level is None:
                if node.record is not None:
                    yield node.record
            elif level in {"+", "#"}:
                following = index + (level == "+")
                stack.extend(
                    (following, child)
                    for name, child in node.children.items()
                    if node is not self._root or not name.startswith("$")  # MQTT-4.7.2-1
                )
            elif (child := node.children.get(level)) is not None:
                stack.append((index + 1, child))
