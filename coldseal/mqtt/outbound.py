"""Messages to one client over one connection: aliases, packet size, quota, and a slow reader.

QoS 1 and 2 wait in the session's outbox while the client is slow; QoS 0 is dropped then, as its
promise allows. Whether the client is slow is told from outside: here are no sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldseal.mqtt.encode import encode
from coldseal.mqtt.outbox import Phase
from coldseal.mqtt.packets import Properties, Publish, PubRec, PubRel, ReasonCode, Version

if TYPE_CHECKING:
    from coldseal.mqtt.connection import Connection
    from coldseal.mqtt.outbox import Answer, Delivery
    from coldseal.mqtt.session import Session

_FAILED = 0x80


class Outbound:
    """The sender's half of one connection."""

    __slots__ = ("_alias_maximum", "_aliases", "_connection", "_session", "_version", "is_congested")

    def __init__(
        self, connection: Connection, session: Session, version: Version, properties: Properties
    ) -> None:
        """Begin with what the client's CONNECT allows; whatever is under way is due again at ``pump``."""
        self._connection = connection
        self._session = session
        self._version = version
        self._alias_maximum = properties.topic_alias_maximum or 0
        self._aliases: dict[str, int] = {}
        self.is_congested = False
        session.outbox.attach(properties.receive_maximum or 0xFFFF)

    @property
    def is_full(self) -> bool:
        """Whether the client must read before it is sent more messages."""
        connection = self._connection
        return self.is_congested or connection.unsent > connection.broker.limits.max_buffered_bytes >> 1

    def deliver(self, delivery: Delivery) -> bool:
        """Send a QoS 0 message now or never; return whether it was sent."""
        broker = self._connection.broker
        if self.is_full:
            broker.counts.full += 1
            return False
        if delivery.is_expired(broker.now):
            broker.counts.expired += 1
            return False
        return self._send(delivery.publish(now=broker.now))

    def pump(self) -> None:
        """Send what is due, as far as quota and socket allow."""
        connection, outbox = self._connection, self._session.outbox
        if not outbox.is_due:
            return
        now, notes = connection.broker.now, connection.broker.notes
        expired, count = outbox.expired, notes.count
        while not self.is_full and (packet := outbox.next(now)) is not None:
            if isinstance(packet, PubRel):
                connection.send(packet)
            elif not self._send(packet):
                outbox.discard(packet.packet_id or 0)
        connection.broker.counts.expired += outbox.expired - expired
        if notes.count != count:
            connection.hold()  # its identifier must be known after a restart, or QoS 2 would double it

    def settle(self, answer: Answer) -> None:
        """Take the client's answer to a message, and go on sending.

        Raises:
            ProtocolError: it answers a message in a way that its flow does not know.
        """
        phase = self._session.outbox.settle(answer)
        if phase is Phase.RELEASED:
            self._connection.send(PubRel(answer.packet_id))
        elif phase is None and isinstance(answer, PubRec) and answer.reason < _FAILED:
            self._connection.send(PubRel(answer.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
        self.pump()

    def _send(self, publish: Publish) -> bool:
        """Write a PUBLISH unless it is larger than the client allows (MQTT-3.1.2-24)."""
        counts = self._connection.broker.counts
        alias = self._aliases.get(publish.topic)
        is_new = alias is None and len(self._aliases) < self._alias_maximum
        if is_new:
            alias = len(self._aliases) + 1
        packet = publish
        if alias is not None:
            properties = msgspec.structs.replace(publish.properties, topic_alias=alias)
            topic = publish.topic if is_new else ""
            packet = msgspec.structs.replace(publish, topic=topic, properties=properties)
        data = encode(packet, self._version)
        if len(data) > self._connection.largest_packet:
            counts.too_large += 1
            return False
        if is_new and alias is not None:
            self._aliases[publish.topic] = alias
        self._connection.write(data)
        counts.sent += 1
        return True
