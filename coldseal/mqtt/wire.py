"""The data types of MQTT section 1.5: a strict reader over one packet's bytes, and their writers.

A reader never looks past its end, and every fault it meets is a ProtocolError that names the
field. It knows no packet; `decode` asks it for the fields in order.
"""

from __future__ import annotations

from coldseal.mqtt import clauses
from coldseal.mqtt.clauses import Rule
from coldseal.mqtt.packets import ProtocolError, ReasonCode, Version

MAX_U16 = 0xFFFF
MAX_U32 = 0xFFFF_FFFF
MAX_VARINT = 268_435_455  # four bytes of seven bits
_VARINT_BYTES = 4
_MORE = 0x80


class Reader:
    """Reads one packet's fields from ``data[at:end]``, naming the packet in every fault."""

    __slots__ = ("at", "data", "end", "packet", "version")

    def __init__(self, data: bytes, at: int, end: int, packet: str, version: Version | None) -> None:
        """Stand at the first byte of a packet's variable header."""
        self.data = data
        self.at = at
        self.end = end
        self.packet = packet
        self.version = version

    def fault(
        self,
        rule: Rule,
        field: str,
        value: object,
        expected: str,
        reason: ReasonCode = ReasonCode.MALFORMED_PACKET,
    ) -> ProtocolError:
        """Make the ProtocolError for a broken rule, naming it as the packet's version does."""
        return rule.fault(self.version, f"{self.packet} {field}", value, expected, reason)

    def is_done(self) -> bool:
        """Whether every byte has been read."""
        return self.at == self.end

    def take(self, count: int, field: str) -> bytes:
        """Return the next bytes."""
        at, stop = self.at, self.at + count
        if stop > self.end:
            found = f"{self.end - at} bytes"
            raise self.fault(clauses.REMAINING_LENGTH, field, found, f"{count} bytes before the packet ends")
        self.at = stop
        return self.data[at:stop]

    def u8(self, field: str) -> int:
        """Return one byte."""
        return self.take(1, field)[0]

    def u16(self, field: str) -> int:
        """Return a two byte integer."""
        return int.from_bytes(self.take(2, field), "big")

    def u32(self, field: str) -> int:
        """Return a four byte integer."""
        return int.from_bytes(self.take(4, field), "big")

    def varint(self, field: str) -> int:
        """Return a variable byte integer, which must be in its shortest form."""
        value = shift = 0
        for _ in range(_VARINT_BYTES):
            byte = self.u8(field)
            value |= (byte & ~_MORE) << shift
            if byte < _MORE:
                if byte == 0 and shift:
                    raise self.fault(clauses.VARINT_MINIMAL, field, value, "the shortest form of the number")
                return value
            shift += 7
        raise self.fault(clauses.VARINT_LENGTH, field, "five bytes or more", "at most four bytes")

    def binary(self, field: str) -> bytes:
        """Return binary data with its length before it."""
        return self.take(self.u16(field), field)

    def string(self, field: str) -> str:
        """Return a UTF-8 string without surrogates and U+0000."""
        data = self.binary(field)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise self.fault(clauses.UTF8, field, data, "well-formed UTF-8") from error
        if "\0" in text:
            raise self.fault(clauses.NO_NULL, field, text, "text without U+0000")
        return text

    def packet_id(self) -> int:
        """Return a packet identifier, which is never zero."""
        value = self.u16("packet identifier")
        if not value:
            rule = clauses.PACKET_ID
            raise self.fault(rule, "packet identifier", 0, "1 to 65535", ReasonCode.PROTOCOL_ERROR)
        return value

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(self.end - self.at, "rest")

    def finish(self) -> None:
        """Refuse bytes behind the last field."""
        if self.at != self.end:
            found = f"{self.end - self.at} bytes more"
            raise self.fault(clauses.REMAINING_LENGTH, "end", found, "nothing behind the last field")


class Writer:
    """Collects the bytes of one packet, refusing every value that a Reader would refuse."""

    __slots__ = ("packet", "parts", "version")

    def __init__(self, packet: str, version: Version) -> None:
        """Start a packet's variable header."""
        self.packet = packet
        self.version = version
        self.parts = bytearray()

    def fault(
        self,
        rule: Rule,
        field: str,
        value: object,
        expected: str,
        reason: ReasonCode = ReasonCode.MALFORMED_PACKET,
    ) -> ProtocolError:
        """Make the ProtocolError that the receiver of such a packet would raise."""
        return rule.fault(self.version, f"{self.packet} {field}", value, expected, reason)

    def _integer(self, field: str, value: int, size: int) -> None:
        try:
            self.parts += value.to_bytes(size, "big")
        except OverflowError as error:
            raise self.fault(clauses.INTEGER_RANGE, field, value, f"0 to {(1 << 8 * size) - 1}") from error

    def u8(self, field: str, value: int) -> None:
        """Append one byte."""
        self._integer(field, value, 1)

    def u16(self, field: str, value: int) -> None:
        """Append a two byte integer."""
        self._integer(field, value, 2)

    def u32(self, field: str, value: int) -> None:
        """Append a four byte integer."""
        self._integer(field, value, 4)

    def varint(self, field: str, value: int) -> None:
        """Append a variable byte integer."""
        if not 0 <= value <= MAX_VARINT:
            raise self.fault(clauses.VARINT_LENGTH, field, value, f"0 to {MAX_VARINT}")
        self.parts += encode_varint(value)

    def binary(self, field: str, value: bytes) -> None:
        """Append binary data with its length before it."""
        if len(value) > MAX_U16:
            raise self.fault(clauses.BINARY_LENGTH, field, f"{len(value)} bytes", f"at most {MAX_U16} bytes")
        self.parts += len(value).to_bytes(2, "big")
        self.parts += value

    def string(self, field: str, value: str) -> None:
        """Append a UTF-8 string."""
        try:
            data = value.encode()
        except UnicodeEncodeError as error:
            raise self.fault(clauses.UTF8, field, value, "text without surrogates") from error
        if b"\0" in data:
            raise self.fault(clauses.NO_NULL, field, value, "text without U+0000")
        if len(data) > MAX_U16:
            raise self.fault(clauses.STRING_LENGTH, field, f"{len(data)} bytes", f"at most {MAX_U16} bytes")
        self.parts += len(data).to_bytes(2, "big")
        self.parts += data

    def packet_id(self, value: int) -> None:
        """Append a packet identifier, which is never zero."""
        if not 0 < value <= MAX_U16:
            rule = clauses.PACKET_ID
            raise self.fault(rule, "packet identifier", value, "1 to 65535", ReasonCode.PROTOCOL_ERROR)
        self.parts += value.to_bytes(2, "big")

    def packed(self, first_byte: int) -> bytes:
        """Return the whole packet: first byte, remaining length, and what was written."""
        size = len(self.parts)
        if size > MAX_VARINT:
            raise self.fault(
                clauses.REMAINING_LENGTH,
                "remaining length",
                size,
                f"at most {MAX_VARINT}",
                ReasonCode.PACKET_TOO_LARGE,
            )
        return bytes((first_byte,)) + encode_varint(size) + self.parts


def encode_varint(value: int) -> bytes:
    """Return the shortest form of a number up to MAX_VARINT (MQTT 5 section 1.5.5)."""
    out = bytearray()
    while value >= _MORE:
        out.append(value & 0x7F | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)
