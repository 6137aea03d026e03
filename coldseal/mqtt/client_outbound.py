"""The sender's half of a client's connection: what is sent when, within what the server takes.

The window is the server's Receive Maximum; what does not fit waits in the session. A message that
this server can never take is given back with the reason. No sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from coldseal.mqtt import clauses
from coldseal.mqtt.aliases import OutboundAliases
from coldseal.mqtt.client_events import Acknowledged, Event
from coldseal.mqtt.client_session import Answer, Session
from coldseal.mqtt.codec import encode
from coldseal.mqtt.outbox import Phase
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Packet,
    Properties,
    ProtocolError,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    Version,
)

_MAX_U16: Final = 0xFFFF
_FAILED: Final = 0x80
_EXACTLY_ONCE: Final = 2
_ALIAS_BYTES: Final = 4  # identifier, number, and a longer property length


class Outbound:
    """Sends messages and takes their answers.

    Args:
        session: holds what is unacknowledged.
        version: the version spoken.
        max_in_flight: messages under way at a time, if the server allows so many.
        max_aliases: topic aliases used, if the server allows so many.
        send: takes each packet to send.
        tell: takes each event.
    """

    __slots__ = ("_aliases", "_in_flight", "_is_open", "_max_aliases", "_max_in_flight", "_send", "_server",
                 "_session", "_tell", "_version")  # fmt: skip

    def __init__(
        self,
        session: Session,
        version: Version,
        *,
        max_in_flight: int,
        max_aliases: int,
        send: Callable[[Packet], None],
        tell: Callable[[Event], None],
    ) -> None:
        """Wait for ``open``."""
        self._session = session
        self._version = version
        self._max_in_flight = max_in_flight
        self._max_aliases = max_aliases
        self._send = send
        self._tell = tell
        self._is_open = False
        self._server = NO_PROPERTIES
        self._aliases = OutboundAliases(0)
        self._in_flight: set[int] = set()

    def open(self, server: Properties, *, session_present: bool) -> None:
        """The server has accepted and told its limits: repeat and send what is due (MQTT-4.4.0-1)."""
        self._is_open = True
        self._server = server
        self._max_in_flight = min(self._max_in_flight, server.receive_maximum or _MAX_U16)
        self._aliases = OutboundAliases(min(self._max_aliases, server.topic_alias_maximum or 0))
        for packet_id in self._session.attach(present=session_present):
            self._tell(Acknowledged(packet_id))
        for release in self._session.releases():
            self._in_flight.add(release.packet_id)
            self._send(release)
        self._pump()

    def close(self) -> None:
        """The connection is over: send nothing more, hold what comes for the next one."""
        self._is_open = False

    def publish(self, message: Publish) -> int | None:
        """Send a message, at QoS 0 at once and else when the window allows; return its identifier.

        Raises:
            UnavailableError: too much is held.
            ProtocolError: the message cannot be written, or the server said that it takes no such.
        """
        if self._is_open:
            self._check_limits(message)
        if not message.qos:
            self._send(self._aliases.shorten(message))
            return None
        encode(msgspec.structs.replace(message, packet_id=1, dup=False), self._version)
        packet_id = self._session.offer(message)
        self._pump()
        return packet_id

    def settle(self, answer: Answer) -> None:
        """Take PUBACK, PUBREC or PUBCOMP; one for an identifier not in use is a late one.

        Raises:
            ProtocolError: the answer does not belong to the message's QoS.
        """
        packet_id = answer.packet_id
        try:
            phase = self._session.settle(answer)
        except KeyError as error:
            field, name = f"answer to {packet_id}", type(answer).__name__
            raise clauses.WRONG_ANSWER.fault(self._version, field, name, "the answer of its QoS") from error
        if phase is Phase.DONE:
            self._in_flight.discard(packet_id)
            self._tell(Acknowledged(packet_id, answer.reason, answer.properties))
            self._pump()
        elif phase is Phase.RELEASED:
            self._send(PubRel(packet_id))  # MQTT-4.3.3-4
        elif isinstance(answer, PubRec) and answer.reason < _FAILED:
            self._send(PubRel(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))

    def _pump(self) -> None:
        """Send what is due, as far as the window allows (MQTT-3.3.4-7)."""
        while self._is_open and len(self._in_flight) < self._max_in_flight:
            message = self._session.next_due()
            if message is None or message.packet_id is None:
                return
            try:
                self._check_limits(message)
            except ProtocolError as error:  # not a fault of the connection: no server limit was known
                self._session.discard(message.packet_id)
                self._tell(Acknowledged(message.packet_id, error.reason))
                continue
            self._in_flight.add(message.packet_id)
            self._send(self._aliases.shorten(message))

    def _check_limits(self, message: Publish) -> None:
        """Refuse what the server said that it does not take."""
        server, version = self._server, self._version
        if server.maximum_qos is not None and message.qos > server.maximum_qos:
            refused, expected = ReasonCode.QOS_NOT_SUPPORTED, f"at most {server.maximum_qos}"
            raise clauses.MAXIMUM_QOS.fault(version, "QoS", message.qos, expected, refused)
        if message.retain and server.retain_available == 0:
            refused = ReasonCode.RETAIN_NOT_SUPPORTED
            raise clauses.RETAIN_UNAVAILABLE.fault(version, "retain", 1, "0", refused)
        if server.maximum_packet_size is not None:
            whole = msgspec.structs.replace(message, packet_id=1 if message.qos else None, dup=False)
            size = len(encode(whole, version)) + _ALIAS_BYTES
            if size > server.maximum_packet_size:
                refused, expected = ReasonCode.PACKET_TOO_LARGE, f"at most {server.maximum_packet_size}"
                raise clauses.SERVER_PACKET_SIZE.fault(version, "packet size", size, expected, refused)
