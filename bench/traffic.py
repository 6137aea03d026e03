"""Wire bytes of one simulated sensor: readings encoded beforehand, their sequence patched in place.

Costs well under a microsecond for each message, because a run of messages is one slice of one buffer.
Speaks only what a load generator needs of MQTT 3.1.1 and 5: CONNECT and PUBLISH at QoS 1 out,
CONNACK and PUBACK in. Not a client: no redelivery, no subscriptions, no keep-alive.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 100
"""Messages encoded beforehand for each sensor; also the most that one connection may have in flight."""

FIRST_SEQ = 10_000_000
"""All sequence numbers of a run have as many digits as this one, so that they can be patched."""

LAST_SEQ = 10 * FIRST_SEQ - 1

_PATCHED = 6  # digits above the two that a place in the block fixes
_REFUSED_FROM = 0x80  # MQTT 5, 2.4: reason codes from here on are failures
_CONNACK = 0x20
_PUBACK = 0x40
_V5 = 5


@dataclass(frozen=True, slots=True)
class Sensor:
    """Who publishes: the topic's parts and the boot id that makes its sequence numbers new."""

    site: str
    device: str
    boot: str
    time: str


class LoadError(Exception):
    """The listener answered with something that ends the measurement; the message says what."""


def encode_connect(device: str, version: int, keep_alive_s: int = 600) -> bytes:
    """Encode a CONNECT with a clean start, no will and no password (3.1)."""
    properties = b"\x00" if version == _V5 else b""
    variable = b"\x00\x04MQTT" + bytes((version, 0x02)) + keep_alive_s.to_bytes(2, "big") + properties
    return _packet(0x10, variable + _text(device))


def parse_connack(data: bytes) -> int:
    """Take the length of the CONNACK at the start of ``data``.

    Raises:
        LoadError: the first packet is no CONNACK, or it refuses.
    """
    length, start = _remaining(data)
    refused = data[start + 1] if len(data) > start + 1 else 0
    if data[0] != _CONNACK or refused:
        raise LoadError(f"connection refused: {data[:40].hex(' ')}")
    return start + length


def encode_publish(sensor: Sensor, seq: int, packet_id: int, version: int) -> bytes:
    """Encode one QoS 1 PUBLISH that carries a payload of the project's JSON, version 1."""
    topic = _text(f"coldseal/v1/{sensor.site}/{sensor.device}/reading/cold-room")
    payload = (
        f'{{"v":1,"seq":{seq},"boot":"{sensor.boot}","t":"{sensor.time}",'
        '"q":[{"n":"temperature","u":"Cel","v":4.71},{"n":"humidity","u":"%RH","v":41.2}]}'
    )
    properties = b"\x00" if version == _V5 else b""
    return _packet(0x32, topic + packet_id.to_bytes(2, "big") + properties + payload.encode())


class Traffic:
    """All messages of one sensor, in order; ``take`` yields the next ones as one piece of wire bytes."""

    def __init__(self, sensor: Sensor, version: int) -> None:
        """Encode the first block."""
        packets = [encode_publish(sensor, FIRST_SEQ + place, place + 1, version) for place in range(BLOCK)]
        self._stride = len(packets[0])
        self._buffer = bytearray(b"".join(packets))
        self._digits = packets[0].index(str(FIRST_SEQ).encode())
        self._place = 0
        self._block = FIRST_SEQ // BLOCK
        self.message_bytes = self._stride

    @property
    def next_seq(self) -> int:
        """The sequence number of the message that comes next."""
        return self._block * BLOCK + self._place

    def take(self, count: int) -> bytes:
        """Take the next ``count`` messages, at most a block."""
        first, last = self._place, self._place + count
        if last <= BLOCK:
            self._place = last
            return bytes(self._buffer[first * self._stride : last * self._stride])
        head = bytes(self._buffer[first * self._stride :])
        self._next_block()
        return head + self.take(last - BLOCK)

    def _next_block(self) -> None:
        """Count all sequence numbers up by a block: one strided write for each digit that changes."""
        old, new = str(self._block).encode(), str(self._block + 1).encode()
        if len(new) != _PATCHED:
            raise LoadError(f"a sensor sends at most {LAST_SEQ - FIRST_SEQ} messages in a run")
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            if before != after:
                self._buffer[self._digits + place :: self._stride] = bytes((after,)) * BLOCK
        self._block += 1
        self._place = 0


class PubackCounter:
    """Counts PUBACKs in the bytes of one connection, whatever their cut; refusals are counted apart."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.refused = 0
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Count the PUBACKs that ``data`` completes.

        Raises:
            LoadError: another packet arrived, such as a DISCONNECT.
        """
        if self._rest:
            data = self._rest + data
        count = _uniform_pubacks(data)
        if count:
            self._rest = b""
            return count
        return self._one_by_one(data)

    def _one_by_one(self, data: bytes) -> int:
        """Walk packet by packet: for a cut in the middle of one, and for reason codes."""
        count = at = 0
        while at + 1 < len(data):
            if data[at] != _PUBACK:
                raise LoadError(f"the listener sent {data[at : at + 40].hex(' ')}")
            length, start = _remaining(data[at : at + 5])
            end = at + start + length
            if end > len(data):
                break
            reason = data[at + start + 2] if length > 2 else 0
            self.refused += reason >= _REFUSED_FROM
            count += 1
            at = end
        self._rest = data[at:]
        return count


def _uniform_pubacks(data: bytes) -> int:
    """Count PUBACKs where all are alike (4 bytes, or 5 and more with success), else answer 0."""
    if len(data) < 4:
        return 0
    stride = data[1] + 2
    count, rest = divmod(len(data), stride)
    if rest or data[::stride] != b"\x40" * count or data[1::stride] != data[1:2] * count:
        return 0
    if stride > 4 and max(data[4::stride]) >= _REFUSED_FROM:
        return 0
    return count


def _remaining(data: bytes) -> tuple[int, int]:
    """Read a variable byte integer behind the first byte: its value and where it ends (1.5.5)."""
    value = shift = 0
    for at in range(1, min(len(data), 5)):
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value, at + 1
        shift += 7
    return 1 << 30, 5  # not complete yet: longer than any buffer


def _packet(first: int, body: bytes) -> bytes:
    """Put the fixed header in front."""
    length, head = len(body), bytearray((first,))
    while True:
        head.append((length & 0x7F) | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes(head) + body


def _text(value: str) -> bytes:
    """Encode a UTF-8 string with its length."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded
