"""The receiver's half of a client's connection: messages in, answers out in the right order.

A message above QoS 0 is answered only when its owner says so. Answers leave in the order in which
the messages came (MQTT-4.6.0-2, -3). No sockets, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from coldseal.mqtt import clauses
from coldseal.mqtt.aliases import InboundAliases
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.packets import (
    Connect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
)

_MAX_U16: Final = 0xFFFF
_FAILED: Final = 0x80
_EXACTLY_ONCE: Final = 2


class _Owed(msgspec.Struct):
    """An answer that a received message waits for."""

    qos: int
    reason: ReasonCode | None = None


class Inbound:
    """Keeps the limits that the CONNECT packet told the server.

    Args:
        connect: what was asked of the server.
        session: remembers QoS 2 messages between PUBREC and PUBREL.
        send: takes each packet to send.
        most: messages that may wait for their answer; None: as many as the server was told.
    """

    __slots__ = ("_aliases", "_maximum", "_order", "_owed", "_send", "_session", "_unreleased", "_version")

    def __init__(
        self, connect: Connect, session: Session, send: Callable[[Packet], None], most: int | None = None
    ) -> None:
        """Start with no message owed."""
        self._version = connect.version
        self._aliases = InboundAliases(connect.properties.topic_alias_maximum or 0)
        self._maximum = most or connect.properties.receive_maximum or _MAX_U16
        self._session = session
        self._send = send
        self._owed: dict[int, _Owed] = {}
        self._order: deque[int] = deque()
        self._unreleased: set[int] = set()

    def receive(self, packet: Publish) -> Publish | None:
        """Take a message; return it with its topic, or None when it was received before.

        Raises:
            ProtocolError: a wrong alias, an identifier in use, or more messages than were allowed.
        """
        packet = self._aliases.resolve(packet)
        packet_id = packet.packet_id
        if packet_id is None:
            return packet
        if packet_id in self._owed:
            expected = "one that is not in use"
            raise clauses.ID_IN_USE.fault(self._version, "packet identifier", packet_id, expected)
        if packet.qos == _EXACTLY_ONCE and packet_id in self._session.received:  # MQTT-4.3.3-10
            self._unreleased.add(packet_id)
            self._send(PubRec(packet_id))
            return None
        if len(self._owed) + len(self._unreleased) >= self._maximum:
            field, expected = "messages under way", f"at most {self._maximum}"
            exceeded = ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
            rule = clauses.RECEIVE_MAXIMUM
            raise rule.fault(self._version, field, self._maximum + 1, expected, exceeded)
        self._owed[packet_id] = _Owed(packet.qos)
        self._order.append(packet_id)
        return packet

    def acknowledge(self, packet_id: int, reason: ReasonCode) -> None:
        """Decide a message's answer, and send all answers that no earlier message holds back.

        Raises:
            KeyError: no message waits with this identifier.
        """
        self._owed[packet_id].reason = reason
        while self._order:
            first = self._order[0]
            owed = self._owed[first]
            if owed.reason is None:
                return
            self._order.popleft()
            del self._owed[first]
            if owed.qos < _EXACTLY_ONCE:
                self._send(PubAck(first, owed.reason))
                continue
            if owed.reason < _FAILED:  # MQTT-4.3.3-9: a refused message is forgotten
                self._session.received.add(first)
                self._unreleased.add(first)
            self._send(PubRec(first, owed.reason))

    def release(self, packet: PubRel) -> None:
        """The server has let go of a QoS 2 message: its identifier is free."""
        known = packet.packet_id in self._session.received
        self._session.received.discard(packet.packet_id)
        self._unreleased.discard(packet.packet_id)
        reason = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        self._send(PubComp(packet.packet_id, reason))
