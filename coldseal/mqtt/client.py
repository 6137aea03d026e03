"""The client's machine for one connection, MQTT 3.1.1 and 5: bytes and calls in, events and bytes out.

Messages that a Session holds are repeated; what the server may not send is refused. Here is no
socket, no clock (times come in by ``now``) and no reconnecting: make a new Client for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, ClassVar, Final

from coldseal.errors import UnavailableError
from coldseal.mqtt import clauses
from coldseal.mqtt.client_events import (
    Challenged,
    Connected,
    Disconnected,
    Event,
    Received,
    Refused,
    Subscribed,
    Unsubscribed,
)
from coldseal.mqtt.client_inbound import Inbound
from coldseal.mqtt.client_outbound import Outbound
from coldseal.mqtt.client_session import Answer, Session
from coldseal.mqtt.codec import LARGEST_PACKET, Decoder, encode
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolError,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Version,
)

_MAX_U16: Final = 0xFFFF
_PING_AFTER: Final = 0.75  # of the keep-alive: early enough for a slow network


class State(Enum):
    """Where the connection stands."""

    IDLE = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    CLOSED = auto()


class Client:
    """One connection of a client.

    Args:
        connect: the CONNECT to send; its properties are the limits that the server must keep.
        session: what earlier connections left; a new one starts afresh. Without a clean start a
            server may only know an MQTT 5 session that this one knows, too (MQTT-3.2.2-4).
        max_in_flight: messages under way at a time, if the server allows so many.
        max_aliases: topic aliases used, if the server allows so many.
        max_received: messages of the server that may wait for their answer; by default as many as it was
            told (its Receive Maximum), more for a server that does not keep to that.
        is_bare: the properties of messages are skipped unread: no publisher can break a rule by them.
        answer_timeout_s: how long the server may take for CONNACK and PINGRESP.
    """

    def __init__(
        self,
        connect: Connect,
        session: Session,
        *,
        max_in_flight: int = _MAX_U16,
        max_aliases: int = 16,
        max_received: int | None = None,
        is_bare: bool = False,
        answer_timeout_s: float = 10.0,
    ) -> None:
        """Do nothing yet; ``start`` sends."""
        self.state = State.IDLE
        self.session = session
        self._connect = connect
        self._version = connect.version
        largest = connect.properties.maximum_packet_size or LARGEST_PACKET
        self._decoder = Decoder(largest, connect.version, is_bare=is_bare)
        self._output = bytearray()
        self._events: list[Event] = []
        tell = self._events.append
        self._inbound = Inbound(connect, session, self._send, max_received)
        self._outbound = Outbound(
            session,
            connect.version,
            max_in_flight=max_in_flight,
            max_aliases=max_aliases,
            send=self._send,
            tell=tell,
        )
        self._requests: dict[int, tuple[type[SubAck | UnsubAck], int]] = {}
        self._keep_alive = connect.keep_alive
        self._answer_timeout = answer_timeout_s
        self._last_sent = 0.0
        self._asked_at: float | None = None

    def start(self, now: float) -> None:
        """Send CONNECT."""
        self.state = State.CONNECTING
        self._asked_at = now
        self._send(self._connect)

    def publish(self, message: Publish) -> int | None:
        """Send a message; above QoS 0 hold it until it is acknowledged, and return its identifier.

        Raises:
            UnavailableError: too much is held, or QoS 0 without a connection.
            ProtocolError: the message cannot be written, or the server said that it takes no such.
        """
        if not message.qos:
            self._need_connection()
        return self._outbound.publish(message)

    def subscribe(self, *subscriptions: Subscription, properties: Properties = NO_PROPERTIES) -> int:
        """Ask for messages; return the packet identifier that ``Subscribed`` will name."""
        self._need_connection()
        packet_id = self.session.reserve()
        return self._request(Subscribe(packet_id, subscriptions, properties), SubAck, len(subscriptions))

    def unsubscribe(self, *filters: str, properties: Properties = NO_PROPERTIES) -> int:
        """Take filters back; return the packet identifier that ``Unsubscribed`` will name."""
        self._need_connection()
        packet_id = self.session.reserve()
        count = 0 if self._version is Version.V311 else len(filters)
        return self._request(Unsubscribe(packet_id, filters, properties), UnsubAck, count)

    def acknowledge(self, packet_id: int, reason: ReasonCode = ReasonCode.SUCCESS) -> None:
        """Answer a received message above QoS 0.

        Raises:
            KeyError: no message of this connection waits with this identifier.
        """
        self._inbound.acknowledge(packet_id, reason)

    def authenticate(self, packet: Auth) -> None:
        """Send a step of extended authentication."""
        self._send(packet)

    def disconnect(
        self, reason: ReasonCode = ReasonCode.SUCCESS, properties: Properties = NO_PROPERTIES
    ) -> None:
        """Say good-bye; the connection is over once the output is sent (MQTT-3.14.4-1)."""
        self._send(Disconnect(reason, properties))
        self._close()

    def take_output(self, now: float) -> bytes:
        """Return the bytes to send now, once."""
        data = bytes(self._output)
        if data:
            self._output.clear()
            self._last_sent = now
        return data

    @property
    def deadline(self) -> float | None:
        """When ``tick`` must be called, or None when nothing is timed."""
        if self.state not in (State.CONNECTING, State.CONNECTED):
            return None
        if self._asked_at is not None:
            return self._asked_at + self._answer_timeout
        return self._last_sent + self._keep_alive * _PING_AFTER if self._keep_alive else None

    def tick(self, now: float) -> None:
        """Send PINGREQ when it is time to (MQTT-3.1.2-20).

        Raises:
            UnavailableError: the server did not answer in time; the connection is over.
        """
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        if self._asked_at is not None:
            self._close()
            raise UnavailableError("MQTT server", f"no answer for {now - self._asked_at:.1f} s")
        self._asked_at = now
        self._send(PingReq())

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the server and return what they mean.

        Raises:
            ProtocolError: the server broke a rule. The connection is over once the output, which
                tells an MQTT 5 server so, is sent. ``take_events`` has what came before.
        """
        broken: ProtocolError | None = None
        try:
            packets: Sequence[Packet] = self._decoder.feed(data)
        except ProtocolError as error:
            packets, broken = error.preceding, error
        try:
            for packet in packets:
                self._handle(packet)
            if broken is not None and self.state is not State.CLOSED:
                raise broken
        except ProtocolError as error:
            if self._version is Version.V5:
                self._send(Disconnect(error.reason))
            self._close()
            raise
        return self.take_events()

    def take_events(self) -> list[Event]:
        """Return the events that were not yet returned."""
        events = self._events.copy()
        self._events.clear()
        return events

    def _handle(self, packet: Packet) -> None:
        if self.state is State.CLOSED:  # nothing counts behind a good-bye
            return
        handler = self._HANDLERS.get((self.state, type(packet)))
        if handler is None or (type(packet) is Disconnect and self._version is Version.V311):
            expected = f"nothing of the kind while {self.state.name}"
            raise clauses.SERVER_SENDS.fault(self._version, "packet", type(packet).__name__, expected)
        if self._connect.properties.request_problem_information == 0:
            self._check_silence(packet)
        handler(self, packet)

    def _on_connack(self, packet: ConnAck) -> None:
        if packet.reason:
            self._close()
            self._events.append(Refused(packet.reason, packet.properties))
            return
        if packet.session_present and self._connect.clean_start:
            rule, expected = clauses.CLEAN_SESSION_PRESENT, "0 after a clean start"
            raise rule.fault(self._version, "session present", 1, expected)
        if packet.session_present and self._version is Version.V5 and not self.session.is_established:
            rule, expected = clauses.SESSION_UNKNOWN, "0, there is no session here"
            raise rule.fault(self._version, "session present", 1, expected)
        server = packet.properties
        self._check_method(server)
        self.state = State.CONNECTED
        self._asked_at = None
        if server.server_keep_alive is not None:  # MQTT-3.1.2-21
            self._keep_alive = server.server_keep_alive
        self._events.append(Connected(packet.session_present, server))
        self._outbound.open(server, session_present=packet.session_present)

    def _on_auth(self, packet: Auth) -> None:
        if self._connect.properties.authentication_method is None:
            raise clauses.AUTH_NOT_ASKED.fault(self._version, "packet", "AUTH", "none without a method")
        self._check_method(packet.properties)
        self._events.append(Challenged(packet))

    def _on_publish(self, packet: Publish) -> None:
        message = self._inbound.receive(packet)
        if message is not None:
            self._events.append(Received(message))

    def _on_pubrel(self, packet: PubRel) -> None:
        self._inbound.release(packet)

    def _on_answer(self, packet: Answer) -> None:
        self._outbound.settle(packet)

    def _on_granted(self, packet: SubAck | UnsubAck) -> None:
        found = type(packet), len(packet.reasons)
        expected = self._requests.pop(packet.packet_id, None)
        if found != expected:
            field = f"answer to request {packet.packet_id}"
            raise clauses.ANSWER_COUNT.fault(self._version, field, found, f"{expected}")
        self.session.release(packet.packet_id)
        event = Subscribed if isinstance(packet, SubAck) else Unsubscribed
        self._events.append(event(packet.packet_id, packet.reasons, packet.properties))

    def _on_pingresp(self, _packet: PingResp) -> None:
        self._asked_at = None

    def _on_disconnect(self, packet: Disconnect) -> None:
        if packet.properties.session_expiry_interval is not None:
            rule, field = clauses.DISCONNECT_EXPIRY, "session_expiry_interval"
            raise rule.fault(self._version, field, "one", "none from a server")
        self._close()
        self._events.append(Disconnected(packet.reason, packet.properties))

    def _close(self) -> None:
        self.state = State.CLOSED
        self._outbound.close()

    def _need_connection(self) -> None:
        if self.state is not State.CONNECTED:
            raise UnavailableError("MQTT connection", f"it is {self.state.name}")

    def _request(self, packet: Subscribe | Unsubscribe, answer: type[SubAck | UnsubAck], count: int) -> int:
        """Send a request and remember the answer that it must get."""
        try:
            self._send(packet)
        except ProtocolError:
            self.session.release(packet.packet_id)
            raise
        self._requests[packet.packet_id] = (answer, count)
        return packet.packet_id

    def _send(self, packet: Packet) -> None:
        self._output += encode(packet, self._version)

    def _check_method(self, properties: Properties) -> None:
        """The server speaks of the authentication method that was asked for, or of none."""
        asked, found = self._connect.properties.authentication_method, properties.authentication_method
        if found != asked:
            rule = clauses.AUTH_OTHER_METHOD if asked else clauses.AUTH_NOT_ASKED
            raise rule.fault(self._version, "authentication_method", found, f"{asked}")

    def _check_silence(self, packet: Packet) -> None:
        """A client that asked for no explanations gets none, but in three packets."""
        if isinstance(packet, Publish | ConnAck | Disconnect | PingResp):
            return
        properties: Properties = getattr(packet, "properties", NO_PROPERTIES)
        if properties.reason_string is not None or properties.user:
            rule, field = clauses.PROBLEM_INFORMATION, "problem information"
            raise rule.fault(self._version, field, "some", "none, as asked")

    _HANDLERS: ClassVar[dict[tuple[State, type[Packet]], Callable[[Client, Any], None]]] = {
        (State.CONNECTING, ConnAck): _on_connack,
        (State.CONNECTING, Auth): _on_auth,
        (State.CONNECTED, Auth): _on_auth,
        (State.CONNECTED, Publish): _on_publish,
        (State.CONNECTED, PubAck): _on_answer,
        (State.CONNECTED, PubRec): _on_answer,
        (State.CONNECTED, PubRel): _on_pubrel,
        (State.CONNECTED, PubComp): _on_answer,
        (State.CONNECTED, SubAck): _on_granted,
        (State.CONNECTED, UnsubAck): _on_granted,
        (State.CONNECTED, PingResp): _on_pingresp,
        (State.CONNECTED, Disconnect): _on_disconnect,
    }
    """(state, the server's packet) → what to do; anything else breaks the protocol."""
