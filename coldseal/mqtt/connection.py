"""One network connection as a machine: bytes in, bytes out, events for the shell.

What may come in a state is the table ``ACCEPTS``; nothing outside this file changes the state. It
opens no socket, checks no password and reads no clock: the shell feeds it, admits or refuses the
client, and writes what ``take`` gives, once everything that the bytes depend on is durable.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.mqtt.codec import Decoder
from coldseal.mqtt.dialogue import HANDLERS, Dialogue
from coldseal.mqtt.encode import encode
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolError,
    Publish,
    ReasonCode,
    Version,
)
from coldseal.mqtt.reasons import REASONS

if TYPE_CHECKING:
    from coldseal.mqtt.broker import Broker
    from coldseal.mqtt.session import Identity, Session, SessionKey
    from coldseal.mqtt.subscribing import Rights


class State(Enum):
    """Where a connection stands."""

    NEW = auto()
    CHECKING = auto()
    OPEN = auto()
    CLOSED = auto()


_ONLY_CONNECT: Final[frozenset[type[Packet]]] = frozenset((Connect,))
ACCEPTS: Final[dict[State, frozenset[type[Packet]]]] = {
    State.NEW: _ONLY_CONNECT,  # MQTT-3.1.0-1
    State.CHECKING: frozenset(HANDLERS),  # they wait until the client is admitted (5.0 3.1.4)
    State.OPEN: frozenset(HANDLERS),  # MQTT-3.1.0-2: no second CONNECT
    State.CLOSED: frozenset(),
}
"""What a client may send in each state; anything else ends the connection with 0x82."""

_V311_RETURN_CODES: Final = {
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED: ReasonCode.NOT_AUTHORIZED,
    ReasonCode.BANNED: ReasonCode.NOT_AUTHORIZED,
    ReasonCode.SERVER_UNAVAILABLE: ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.SERVER_BUSY: ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.QUOTA_EXCEEDED: ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.SERVER_SHUTTING_DOWN: ReasonCode.SERVER_UNAVAILABLE,
}
"""How 3.1.1 says a refusal (table 3.1); for any other reason the connection closes without CONNACK."""

_KEEP_ALIVE_FACTOR: Final = 1.5  # MQTT-3.1.2-22 (5.0), MQTT-3.1.2-24 (3.1.1)
_LARGEST_PACKET: Final = 268_435_460
_SMALLEST_PACKET: Final = 48  # room for every CONNACK: a client that takes less cannot be spoken to
_LONGEST_REASON: Final = 200


class Login(NamedTuple):
    """A client asks to be let in; the shell answers with ``admit`` or ``refuse``, at once or later."""

    connection: Connection
    connect: Connect


class Fault(NamedTuple):
    """A client broke the standard, and its connection has ended; for logs and counts."""

    connection: Connection
    error: ProtocolError


class Connection:
    """One client's connection; made by ``Broker.open``.

    Attributes:
        dialogue: the open part; None before the client is admitted and after the end.
        ended: the reason, once the connection has ended.
        session_key: whose session it has, or had, once the client was admitted.
        unsent: bytes of output that ``take`` has not given yet.
        largest_packet: the client's Maximum Packet Size, in bytes.
    """

    __slots__ = ("_connect", "_decoder", "_early", "_explains", "_heard_at", "_held", "_out", "_silence_s",
                 "_state", "_version", "broker", "dialogue", "ended", "is_ready", "largest_packet",
                 "session_key", "unsent")  # fmt: skip

    def __init__(self, broker: Broker, now: float) -> None:
        """Wait for CONNECT, which must come within the connect timeout."""
        self.broker = broker
        self.dialogue: Dialogue | None = None
        self.ended: ReasonCode | None = None
        self.is_ready = False
        self.largest_packet = _LARGEST_PACKET
        self.session_key: SessionKey | None = None
        self.unsent = 0
        self._state = State.NEW
        self._heard_at = now
        self._silence_s = broker.limits.connect_timeout_s
        self._decoder = Decoder(broker.limits.max_packet_bytes)
        self._version: Version | None = None
        self._connect: Connect | None = None
        self._explains = True
        self._early: list[Packet] = []
        self._out: list[bytes] = []
        self._held: list[tuple[int, list[bytes]]] = []

    @property
    def is_held(self) -> bool:
        """Whether some output still waits for changes to become durable."""
        return bool(self._held)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more comes in."""
        return self._state is State.CLOSED

    @property
    def is_loaded(self) -> bool:
        """Whether the shell should stop reading: too much is under way, or the client is not admitted yet."""
        if self.dialogue is None:
            return self._state is State.CHECKING
        return self.dialogue.inbound.is_loaded

    @property
    def buffered(self) -> int:
        """Bytes kept of an unfinished packet."""
        return self._decoder.buffered

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the client."""
        if self._state is State.CLOSED:
            return
        self.broker.now = now
        if self.dialogue is not None:  # until then the connect timeout runs on
            self._heard_at = now
        try:
            for packet in self._decoder.feed(data):
                if type(packet) is Publish and self.dialogue is not None:  # the hot path
                    self.dialogue.inbound.publish(packet)
                else:
                    self._take(packet)
        except ProtocolError as error:
            self._fail(error)

    def admit(self, identity: Identity, rights: Rights, fresh_id: str, now: float) -> None:
        """Let the client in as ``identity``; ``fresh_id`` names its session where it named none."""
        if self._connect is None:
            return
        self.broker.now = now
        count = self.broker.notes.count
        refusal = self.broker.admit(self, self._connect, identity, rights, fresh_id)
        if refusal is not None:
            self.refuse(refusal)
        elif self.broker.notes.count != count:
            self.hold()
        self._connect = None
        early, self._early = self._early, []
        try:
            for packet in early:
                self._take(packet)
        except ProtocolError as error:
            self._fail(error)

    def open(self, session: Session, rights: Rights, connect: Connect, answer: ConnAck) -> None:
        """The broker has found the session: answer CONNECT and go on where the session stood."""
        self.largest_packet = connect.properties.maximum_packet_size or _LARGEST_PACKET
        self.session_key = session.key
        self.dialogue = Dialogue(self, session, rights, connect)
        keep_alive, longest = connect.keep_alive, self.broker.limits.max_keepalive_s
        self._silence_s = _KEEP_ALIVE_FACTOR * (min(keep_alive, longest) or longest)
        self._heard_at = self.broker.now
        self._state = State.OPEN
        self.send(answer)
        self.dialogue.outbound.pump()

    def refuse(self, reason: ReasonCode, text: str = "") -> None:
        """Do not let the client in (5.0 3.2.2.2)."""
        if self._state in {State.NEW, State.CHECKING}:
            code = _V311_RETURN_CODES.get(reason)
            if self._version is Version.V5:
                listed, _ = REASONS["CONNACK"]
                told = listed.get(reason, ReasonCode.SERVER_UNAVAILABLE)
                self.send(ConnAck(reason=told, properties=_say(text)))
            elif self._version is Version.V311 and code is not None:
                self.send(ConnAck(reason=code))
            self.close(reason)

    def end(self, reason: ReasonCode, text: str = "") -> None:
        """End the connection from this side, saying why where the client can be told (5.0 3.14)."""
        if self._state is not State.OPEN:
            self.refuse(reason, text)
            return
        self._drop_held()
        if self._version is Version.V5:
            listed, _ = REASONS["DISCONNECT"]
            self.send(Disconnect(listed.get(reason, ReasonCode.UNSPECIFIED_ERROR), _say(text)))
        self.close(reason)

    def lost(self, now: float) -> None:
        """The socket is gone."""
        if self._state is not State.CLOSED:
            self.broker.now = now
            self._held.clear()
            self._out.clear()
            self.unsent = 0
            self.close(ReasonCode.UNSPECIFIED_ERROR)

    def close(self, reason: ReasonCode) -> None:
        """Nothing more comes in; what is still to be written goes out."""
        self._state = State.CLOSED
        self.ended = reason
        self._connect = None
        self._early.clear()
        dialogue, self.dialogue = self.dialogue, None
        if dialogue is not None:
            dialogue.inbound.close()
        self.broker.leave(self, dialogue.session if dialogue is not None else None)
        self.wake()

    def congest(self, *, is_congested: bool, now: float) -> None:
        """The shell says whether the client reads too slowly."""
        self.broker.now = now
        if self.dialogue is not None:
            self.dialogue.outbound.is_congested = is_congested
            self.dialogue.outbound.pump()

    def is_overdue(self, now: float) -> bool:
        """Whether it was silent for longer than it may be; one that is not read cannot speak."""
        return now - self._heard_at > self._silence_s and (self.dialogue is None or not self.is_loaded)

    def send(self, packet: Packet) -> None:
        """Write a packet; one too large for the client goes without its reason string (MQTT-3.1.2-24)."""
        if self._state is State.CLOSED:
            return
        version = self._version or Version.V311
        data = encode(packet, version)
        if len(data) > self.largest_packet:
            data = encode(_bare(packet), version)
            if len(data) > self.largest_packet:
                self.close(ReasonCode.PACKET_TOO_LARGE)  # it asked for an answer that it does not take
                return
        self.write(data)

    def write(self, data: bytes) -> None:
        """Put bytes into the output."""
        self._out.append(data)
        self.unsent += len(data)
        if not self.is_ready:
            self.wake()

    def wake(self) -> None:
        """Have the shell look at this connection."""
        if not self.is_ready:
            self.is_ready = True
            self.broker.wake(self)

    def hold(self) -> None:
        """What was written since the last ``hold`` waits until every change so far is durable."""
        if self._out:
            self._held.append((self.broker.notes.latest, self._out))
            self._out = []

    def take(self) -> bytes:
        """Give the output that may leave, in its order, and forget it."""
        self.is_ready = False
        parts: list[bytes] = []
        while self._held and self._held[0][0] <= self.broker.saved:
            parts += self._held.pop(0)[1]
        if not self._held:
            parts += self._out
            self._out = []
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.unsent -= len(data)
        return data

    def move_up(self) -> None:
        """The output has been written: what found no room in it is next, unless the client is slow."""
        if self.dialogue is not None:
            self.dialogue.outbound.pump()

    def _drop_held(self) -> None:
        """Forget answers that are not true yet, and what was to come behind them."""
        while self._held and self._held[-1][0] > self.broker.saved:
            self.unsent -= sum(len(data) for data in (*self._held.pop()[1], *self._out))
            self._out.clear()

    def explain(self, text: str) -> Properties:
        """Make the reason string of an acknowledgement, if the client wants one (MQTT-3.1.2-29)."""
        return _say(text) if self._explains else NO_PROPERTIES

    def _take(self, packet: Packet) -> None:
        """Do what the packet asks for, if the state accepts it."""
        kind = type(packet)
        if kind not in ACCEPTS[self._state]:
            if self._state is State.CLOSED:
                return  # behind a DISCONNECT or a refusal
            expected = f"what a client may send while {self._state.name}"
            raise ProtocolError(ReasonCode.PROTOCOL_ERROR, "MQTT-3.1.0-2", "packet", kind.__name__, expected)
        if isinstance(packet, Connect):
            self._ask(packet)
        elif self.dialogue is None:
            self._early.append(packet)
        else:
            count = self.broker.notes.count
            self.dialogue.take(packet)
            if self.broker.notes.count != count:
                self.hold()

    def _ask(self, connect: Connect) -> None:
        """Ask the shell who this is."""
        self._version = connect.version
        self._explains = connect.properties.request_problem_information != 0
        if (connect.properties.maximum_packet_size or _LARGEST_PACKET) < _SMALLEST_PACKET:
            self.close(ReasonCode.PACKET_TOO_LARGE)
            return
        if connect.properties.authentication_method is not None:  # MQTT-4.12.0-1
            self.refuse(ReasonCode.BAD_AUTHENTICATION_METHOD, "no enhanced authentication here")
            return
        self._connect = connect
        self._state = State.CHECKING
        self.broker.events.append(Login(self, connect))

    def _fail(self, error: ProtocolError) -> None:
        """Take the good packets before the fault, then end the connection (MQTT-4.13.1-1)."""
        try:
            for packet in error.preceding:
                self._take(packet)
        except ProtocolError as earlier:
            error = earlier
        if self._version is None:
            self._version = self._decoder.version
            if error.reason is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
                self._version = Version.V311  # MQTT-3.1.2-2: every version understands its CONNACK
        self.broker.events.append(Fault(self, error))
        self.end(error.reason, str(error))


def _say(text: str) -> Properties:
    """Make a reason string, cut to a length that no packet minds, of characters that every client takes."""
    if not text:
        return NO_PROPERTIES
    shown = (each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_LONGEST_REASON])
    return Properties(reason_string="".join(shown))


def _bare(packet: Packet) -> Packet:
    """Leave out what is only for people."""
    if isinstance(packet, PingReq | PingResp):
        return packet  # as small as packets are
    properties = msgspec.structs.replace(packet.properties, reason_string=None, user=())
    return msgspec.structs.replace(packet, properties=properties)
