"""QoS 1 and 2 towards one client: what waits, what is under way, what is due again after a resume.

Each message is sent in order, within the client's Receive Maximum, and forgotten only when the
client has answered for it. The steps are the table ``FLOW``. No sockets, no clock, no storage:
``note`` is told the number of every message whose place in the flow has changed.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from coldseal.mqtt.packets import Properties, PubAck, PubComp, Publish, PubRec, PubRel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_ID: Final = 0xFFFF
_LONGEST_S: Final = 0xFFFF_FFFF
_FAILED: Final = 0x80
Answer: TypeAlias = PubAck | PubRec | PubComp


class Phase(IntEnum):
    """Where a message stands on its way to the client."""

    QUEUED = 0
    PUBLISHED = 1
    RELEASED = 2
    DONE = 3


FLOW: Final[dict[tuple[int, Phase, type[Answer]], Phase]] = {
    (1, Phase.PUBLISHED, PubAck): Phase.DONE,
    (2, Phase.PUBLISHED, PubRec): Phase.RELEASED,
    (2, Phase.RELEASED, PubRec): Phase.RELEASED,  # asked again after a lost PUBREL
    (2, Phase.RELEASED, PubComp): Phase.DONE,
}
"""(QoS, phase, the client's answer) → next phase (MQTT 4.3.2, 4.3.3, sender's side)."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message on its way to somebody: what is sent, and until when it is worth sending."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    properties: Properties = Properties()
    expires_at: float | None = None

    def publish(self, *, now: float, dup: bool = False, packet_id: int | None = None) -> Publish:
        """Make the packet; the expiry interval is what is left of it (MQTT-3.3.2-6)."""
        properties = self.properties
        if self.expires_at is not None:
            left = min(max(1, round(self.expires_at - now)), _LONGEST_S)
            properties = msgspec.structs.replace(properties, message_expiry_interval=left)
        return Publish(self.topic, self.payload, self.qos, self.retain, dup, packet_id, properties)

    def is_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


class Item(msgspec.Struct):
    """A message with its place in the flow; ``number`` orders all messages of a broker."""

    number: int
    delivery: Delivery
    phase: Phase = Phase.QUEUED
    packet_id: int = 0


class Outbox:
    """The sender's half of one session.

    Args:
        max_items: messages kept; the next one is refused.
        max_bytes: payload bytes kept.
        note: called with a message's number after each change of it.
    """

    __slots__ = ("_again", "_by_id", "_bytes", "_items", "_last_id", "_limits", "_maximum", "_note", "_quota",
                 "_waiting", "expired")  # fmt: skip

    def __init__(self, max_items: int, max_bytes: int, note: Callable[[int], None]) -> None:
        """Start empty."""
        self._limits = (max_items, max_bytes)
        self._note = note
        self._items: dict[int, Item] = {}
        self._by_id: dict[int, Item] = {}
        self._waiting: deque[Item] = deque()
        self._again: list[Item] = []  # the first one last; a list takes no room while it is empty
        self._bytes = 0
        self._last_id = 0
        self._maximum = self._quota = 0
        self.expired = 0

    def __len__(self) -> int:
        """Count the messages that are not done."""
        return len(self._items)

    def find(self, number: int) -> Item | None:
        """Give a message that is not done."""
        return self._items.get(number)

    @property
    def is_due(self) -> bool:
        """Whether anything waits to be sent or repeated."""
        return bool(self._waiting or self._again)

    def numbers(self) -> Iterable[int]:
        """Name the messages that are not done."""
        return self._items.keys()

    def offer(self, number: int, delivery: Delivery) -> bool:
        """Put a message at the end; False when the outbox is full."""
        max_items, max_bytes = self._limits
        if len(self._items) >= max_items or self._bytes + len(delivery.payload) > max_bytes:
            return False
        self._restore(Item(number, delivery))
        self._note(number)
        return True

    def restore(self, items: Iterable[Item]) -> None:
        """Take back what was kept, in order of the numbers."""
        for item in sorted(items, key=_number):
            self._restore(item)

    def attach(self, receive_maximum: int) -> None:
        """A client has connected: what was under way is due again, in order (MQTT-4.4.0-1)."""
        self._maximum = self._quota = receive_maximum
        self._again = [item for item in self._items.values() if item.phase is not Phase.QUEUED][::-1]

    def next(self, now: float) -> Publish | PubRel | None:
        """Give the next packet to send, or None when nothing is due or the quota is used up."""
        if self._again:
            return self._next_again(now)
        while self._waiting and self._quota > 0 and len(self._by_id) < _MAX_ID:
            item = self._waiting.popleft()
            if item.delivery.is_expired(now):  # MQTT-3.3.2-5
                self.expired += 1
                self._forget(item)
                continue
            item.packet_id = self._free_id()
            item.phase = Phase.PUBLISHED
            self._by_id[item.packet_id] = item
            self._quota -= 1
            self._note(item.number)
            return item.delivery.publish(now=now, packet_id=item.packet_id)
        return None

    def settle(self, answer: Answer) -> Phase | None:
        """Take the client's answer; return the new phase, or None when it answers nothing."""
        item = self._by_id.get(answer.packet_id)
        if item is None:
            return None
        phase = FLOW.get((item.delivery.qos, item.phase, type(answer)))
        if phase is None:
            return None
        if answer.reason >= _FAILED:  # MQTT 4.3.3: a refused message is not sent again
            phase = Phase.DONE
        if phase is Phase.DONE:
            self._quota = min(self._maximum, self._quota + 1)  # MQTT 4.9
            if item in self._again:  # answered before it was repeated
                self._again.remove(item)
            self._forget(item)
        elif item.phase is not phase:
            item.phase = phase
            self._note(item.number)
        return phase

    def discard(self, packet_id: int) -> None:
        """Let go of a message that cannot be sent to this client at all (MQTT-3.1.2-25)."""
        self._quota = min(self._maximum, self._quota + 1)
        self._forget(self._by_id[packet_id])

    def keep_only(self, wanted: Callable[[str], bool]) -> None:
        """Let go of waiting messages whose topic is not wanted."""
        for item in [item for item in self._waiting if not wanted(item.delivery.topic)]:
            self._waiting.remove(item)
            self._forget(item)

    def _next_again(self, now: float) -> Publish | PubRel | None:
        """Repeat what was under way when the last connection ended."""
        item = self._again[-1]
        if item.phase is Phase.RELEASED:
            self._again.pop()
            return PubRel(item.packet_id)
        if self._quota <= 0:
            return None
        self._again.pop()
        self._quota -= 1
        return item.delivery.publish(now=now, dup=True, packet_id=item.packet_id)  # MQTT-3.3.1-1

    def _free_id(self) -> int:
        """Find a packet identifier that is not in use (MQTT-2.2.1-4)."""
        while True:
            self._last_id = self._last_id % _MAX_ID + 1
            if self._last_id not in self._by_id:
                return self._last_id

    def _restore(self, item: Item) -> None:
        """Put a message where its phase says."""
        self._items[item.number] = item
        self._bytes += len(item.delivery.payload)
        if item.phase is Phase.QUEUED:
            self._waiting.append(item)
        else:
            self._by_id[item.packet_id] = item

    def _forget(self, item: Item) -> None:
        """Let go of a message."""
        del self._items[item.number]
        self._by_id.pop(item.packet_id, None)
        self._bytes -= len(item.delivery.payload)
        self._note(item.number)


def _number(item: Item) -> int:
    """Order by number."""
    return item.number
