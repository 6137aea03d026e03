"""Bytes to packets over any chunking: framing, limits, and the fast path of PUBLISH and PUBACK.

An oversized or ill packet is refused from its first bytes, before it is buffered; after a fault
nothing is kept and nothing more is read. Packets are judged alone: order is for the machines.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from coldseal.mqtt import clauses
from coldseal.mqtt.clauses import Rule
from coldseal.mqtt.decode import PACKETS, bare_publish
from coldseal.mqtt.encode import encode, encode_puback_bytes
from coldseal.mqtt.packets import Packet, ProtocolError, PubAck, Publish, ReasonCode, Version
from coldseal.mqtt.wire import MAX_VARINT, Reader

__all__ = ["LARGEST_PACKET", "Decoder", "encode", "encode_puback_bytes"]

LARGEST_PACKET: Final = 5 + MAX_VARINT

_CONNECT: Final = 0x10
_PUBLISH: Final = 3
_PUBACK: Final = 0x40
_AUTH: Final = 0xF0
_MORE: Final = 0x80
_LENGTH_BYTES: Final = 4
_ACK_LENGTH: Final = 2
_MINIMUM: Final = 7  # topic length, one character, packet identifier, payload

_GOOD_FIRST: Final = tuple(
    byte for byte in range(256) if (row := PACKETS.get(byte >> 4)) and row[1] in (-1, byte & 15)
)
_ALLOWED: Final = {
    None: tuple(byte == _CONNECT for byte in range(256)),
    Version.V311: tuple(byte in _GOOD_FIRST and byte not in (_CONNECT, _AUTH) for byte in range(256)),
    Version.V5: tuple(byte in _GOOD_FIRST and byte != _CONNECT for byte in range(256)),
}
_FAST_PUBLISH: Final = {
    0x30 | dup << 3 | qos << 1 | retain: (qos, bool(retain), bool(dup))
    for qos in (1, 2)
    for dup in (0, 1)
    for retain in (0, 1)
}
_V311: Final = Version.V311  # an attribute of an enumeration costs as much as a dictionary
_CACHED_TOPICS: Final = 64
_CACHED_TOPIC_BYTES: Final = 256

_Alike: TypeAlias = tuple[bytes, int, int, str, tuple[int, bool, bool]]
"""What most messages of a sensor have in common: first bytes, up to the packet identifier (none while nothing
is known); length; place of the payload; topic; QoS, RETAIN and DUP."""

_UNKNOWN: Final[_Alike] = (b"", 0, 0, "", (0, False, False))


class Decoder:
    """Turns a byte stream into packets.

    A server leaves ``version`` open: it is latched from the CONNECT packet, which must come
    first. A client sets the version that it asked for.

    Args:
        max_packet_size: the largest packet accepted, in bytes, its header included.
        version: the version spoken, or None to learn it from CONNECT.
        is_bare: the properties of messages are skipped unread.
    """

    __slots__ = ("_alike", "_allowed", "_broken", "_is_bare", "_needed", "_pending", "_topics", "_version",
                 "max_packet_size")  # fmt: skip

    def __init__(
        self, max_packet_size: int = LARGEST_PACKET, version: Version | None = None, *, is_bare: bool = False
    ) -> None:
        """Start with nothing buffered."""
        self._is_bare = is_bare
        self.max_packet_size = max_packet_size
        self._version = version
        self._allowed = _ALLOWED[version]
        self._pending = bytearray()
        self._needed = 0
        self._topics: dict[bytes, str] = {}
        self._alike = _UNKNOWN
        self._broken = False

    @property
    def version(self) -> Version | None:
        """The version spoken; a CONNECT packet settles it even when the rest of it is ill."""
        return self._version

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished packet are held."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Packet]:
        """Take the next bytes and return the packets that they complete.

        Raises:
            ProtocolError: for the first malformed packet; ``preceding`` holds the good packets
                before it. The decoder is then empty and refuses all further bytes.
        """
        if self._broken:
            raise self._fault(clauses.CLOSED, "stream", "more bytes", "nothing behind a malformed packet")
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending = bytearray()
        packets: list[Packet] = []
        try:
            consumed = self._decode(data, packets)
        except ProtocolError as error:
            self._broken = True
            self._topics.clear()
            self._alike = _UNKNOWN
            error.preceding = tuple(packets)
            raise
        if consumed < len(data):
            self._pending += data[consumed:]
        return packets

    def _decode(self, data: bytes, packets: list[Packet]) -> int:
        """Append every whole packet of the data and return where the unfinished one starts."""
        at, end = 0, len(data)
        while (at := self._decode_alike(data, at, packets)) < end:
            first = data[at]
            if not self._allowed[first]:
                raise self._refuse_first(first)
            start = at + 2
            if start > end:
                self._needed = 2
                break
            length = data[at + 1]
            if length >= _MORE:
                length, start = self._long_length(data, at, end)
                if not start:
                    self._needed = end - at + 1
                    break
            stop = start + length
            if stop - at > self.max_packet_size:
                raise self._too_large(stop - at)
            if stop > end:
                self._needed = stop - at
                break
            packets.append(self._packet(data, at, start, stop))
            at = stop
        return at

    def _decode_alike(self, data: bytes, at: int, packets: list[Packet]) -> int:
        """Append the messages that begin like the latest one, and return where the next packet starts."""
        head, size, place, topic, (qos, retain, dup) = self._alike
        if head:
            last, behind, has_properties = len(data) - size, len(head), self._version is not _V311
            while at <= last and data.startswith(head, at):
                packet_id = data[at + behind] << 8 | data[at + behind + 1]
                if not packet_id or (has_properties and data[at + behind + 2]):
                    break
                packets.append(Publish(topic, data[at + place : at + size], qos, retain, dup, packet_id))
                at += size
        return at

    def _long_length(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """Return a remaining length of several bytes and where it ends, which is 0 if it does not."""
        if at + 2 < end and 0 < data[at + 2] < _MORE:
            return data[at + 1] & 0x7F | data[at + 2] << 7, at + 3
        length = 0
        for index in range(_LENGTH_BYTES):
            here = at + 1 + index
            if here == end:
                return 0, 0
            byte = data[here]
            length |= (byte & 0x7F) << 7 * index
            if byte < _MORE:
                if not byte:
                    raise self._fault(clauses.VARINT_MINIMAL, "remaining length", length, "its shortest form")
                return length, here + 1
        raise self._fault(clauses.VARINT_LENGTH, "remaining length", "over four bytes", "at most four bytes")

    def _packet(self, data: bytes, at: int, start: int, stop: int) -> Packet:
        """Decode the packet at ``at`` whose body is ``data[start:stop]``, the two frequent ones at once."""
        first = data[at]
        flags = _FAST_PUBLISH.get(first)
        if flags is not None:
            topic_end = start + 2 + (data[start] << 8 | data[start + 1]) if stop - start >= _MINIMUM else stop
            body = topic_end + 2
            topic = self._topics.get(data[start + 2 : topic_end])
            if topic is not None and body < stop:
                packet_id = data[topic_end] << 8 | data[topic_end + 1]
                has_properties = self._version is not _V311
                if packet_id and not (has_properties and data[body]):
                    qos, retain, dup = flags
                    body += has_properties
                    self._alike = data[at:topic_end], stop - at, body - at, topic, flags
                    return Publish(topic, data[body:stop], qos, retain, dup, packet_id)
        elif first == _PUBACK and stop - start == _ACK_LENGTH:
            packet_id = data[start] << 8 | data[start + 1]
            if packet_id:
                return PubAck(packet_id)
        return self._any_packet(data, first, start, stop)

    def _any_packet(self, data: bytes, first: int, start: int, stop: int) -> Packet:
        """Decode a packet field by field, finding every fault."""
        name, _, decode = PACKETS[first >> 4]
        if self._is_bare and first >> 4 == _PUBLISH:
            decode = bare_publish
        reader = Reader(data, start, stop, name, self._version)
        try:
            packet = decode(reader, first & 15)
            reader.finish()
        finally:
            self._version = reader.version
            self._allowed = _ALLOWED[reader.version]
        if isinstance(packet, Publish):
            self._remember(packet.topic)
        return packet

    def _remember(self, topic: str) -> None:
        """Keep a topic that was found good, so that the fast path knows its bytes."""
        data = topic.encode()
        if 0 < len(data) <= _CACHED_TOPIC_BYTES:
            if len(self._topics) >= _CACHED_TOPICS:
                self._topics.clear()
            self._topics[data] = topic

    def _refuse_first(self, first: int) -> ProtocolError:
        """Say why no packet may begin so."""
        name, flags, _ = PACKETS.get(first >> 4, ("", 0, None))
        invalid = ReasonCode.PROTOCOL_ERROR
        if not name or (first == _AUTH and self._version is Version.V311):
            return self._fault(clauses.PACKET_TYPE, "packet type", first >> 4, "a type of this version")
        if first not in _GOOD_FIRST:
            return self._fault(clauses.FLAGS, f"{name} flags", first & 15, str(flags))
        if self._version is None:
            return self._fault(clauses.FIRST_PACKET, "first packet", name, "CONNECT", invalid)
        return self._fault(clauses.ONE_CONNECT, "packet", name, "one CONNECT on a connection", invalid)

    def _too_large(self, size: int) -> ProtocolError:
        reason = ReasonCode.PACKET_TOO_LARGE
        expected = f"at most {self.max_packet_size} bytes"
        return self._fault(clauses.MAXIMUM_PACKET_SIZE, "packet size", size, expected, reason)

    def _fault(
        self,
        rule: Rule,
        field: str,
        value: object,
        expected: str,
        reason: ReasonCode = ReasonCode.MALFORMED_PACKET,
    ) -> ProtocolError:
        return rule.fault(self._version, field, value, expected, reason)
