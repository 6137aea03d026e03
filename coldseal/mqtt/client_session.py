"""What a client keeps while connections come and go: unacknowledged messages and identifiers.

A message offered here is held until the server has answered for it, over any number of
connections, and is repeated with DUP in its original order. Only memory: nothing is stored.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

import msgspec

from coldseal.errors import UnavailableError
from coldseal.mqtt.outbox import FLOW, Phase
from coldseal.mqtt.packets import PubAck, PubComp, Publish, PubRec, PubRel

_MAX_ID: Final = 0xFFFF
_FAILED: Final = 0x80

Answer: TypeAlias = PubAck | PubRec | PubComp


class Delivery(msgspec.Struct):
    """A message and its place in the flow of its QoS."""

    message: Publish
    phase: Phase = Phase.QUEUED


class Session:
    """The client's half of an MQTT session (MQTT 5 section 4.1).

    Args:
        max_held: messages and requests held at a time, at most 65,535.
    """

    __slots__ = ("_due", "_held", "_last_id", "_max_held", "_reserved", "is_established", "received")

    def __init__(self, max_held: int = _MAX_ID) -> None:
        """Start without state; ``is_established`` tells whether a server has accepted it."""
        self.is_established = False
        self.received: set[int] = set()
        """QoS 2 messages that were accepted and wait for PUBREL (MQTT 4.3.3)."""
        self._held: dict[int, Delivery] = {}
        self._due: deque[int] = deque()
        self._reserved: set[int] = set()
        self._last_id = 0
        self._max_held = min(max_held, _MAX_ID)

    def __len__(self) -> int:
        """Count the messages that the server has not answered for."""
        return len(self._held)

    def offer(self, message: Publish) -> int:
        """Hold a QoS 1 or 2 message and return its packet identifier.

        Raises:
            UnavailableError: as much is held as may be.
        """
        packet_id = self._free_id()
        held = msgspec.structs.replace(message, packet_id=packet_id, dup=False)
        self._held[packet_id] = Delivery(held)
        self._due.append(packet_id)
        return packet_id

    def reserve(self) -> int:
        """Take a packet identifier for a SUBSCRIBE or UNSUBSCRIBE.

        Raises:
            UnavailableError: as much is held as may be.
        """
        packet_id = self._free_id()
        self._reserved.add(packet_id)
        return packet_id

    def release(self, packet_id: int) -> None:
        """Give an identifier back that was reserved."""
        self._reserved.discard(packet_id)

    def attach(self, *, present: bool) -> list[int]:
        """A server has accepted the connection: decide what is due, in its original order.

        Args:
            present: whether the server still has its half of the session. Without it every
                message is a new one again, and those the server had accepted are done.

        Returns:
            The identifiers of the messages that are done by this.
        """
        self.is_established = True
        self._reserved.clear()
        done: list[int] = []
        if not present:
            self.received.clear()
            done = [packet_id for packet_id, held in self._held.items() if held.phase is Phase.RELEASED]
            for packet_id in done:
                del self._held[packet_id]
            for held in self._held.values():
                held.phase = Phase.QUEUED
        self._due = deque(
            packet_id for packet_id, held in self._held.items() if held.phase is not Phase.RELEASED
        )
        return done

    def releases(self) -> list[PubRel]:
        """Return the PUBRELs to repeat on a new connection, in the order of their PUBRECs."""
        return [PubRel(packet_id) for packet_id, held in self._held.items() if held.phase is Phase.RELEASED]

    def next_due(self) -> Publish | None:
        """Return the message to send next, marked DUP when it was sent before; None when all are sent."""
        if not self._due:
            return None
        held = self._held[self._due.popleft()]
        if held.phase is Phase.QUEUED:
            held.phase = Phase.PUBLISHED
            return held.message
        return msgspec.structs.replace(held.message, dup=True)  # MQTT-3.3.1-1

    def discard(self, packet_id: int) -> None:
        """Let go of a message that this server can never take."""
        del self._held[packet_id]

    def settle(self, answer: Answer) -> Phase | None:
        """Take the server's answer.

        Returns:
            The message's new phase, or None when no message has this identifier.

        Raises:
            KeyError: the answer does not belong to the message's QoS and phase.
        """
        held = self._held.get(answer.packet_id)
        if held is None:
            return None
        phase = FLOW[held.message.qos, held.phase, type(answer)]
        if phase is Phase.DONE or answer.reason >= _FAILED:  # MQTT-4.4.0-2: failed is acknowledged
            del self._held[answer.packet_id]
            return Phase.DONE
        if held.phase is not phase:  # at the end, so that PUBRELs keep the order of PUBRECs
            held.phase = phase
            self._held[answer.packet_id] = self._held.pop(answer.packet_id)
        return phase

    def _free_id(self) -> int:
        """Find an identifier that is not in use (MQTT-2.2.1-3)."""
        if len(self._held) + len(self._reserved) >= self._max_held:
            raise UnavailableError("packet identifier", f"{self._max_held} messages wait for their answer")
        while True:
            self._last_id = self._last_id % _MAX_ID + 1
            if self._last_id not in self._held and self._last_id not in self._reserved:
                return self._last_id
