"""DER (X.690) as a timestamp needs it: what is read is in its one form, or is refused.

Reads values one by one: definite lengths in their shortest form, tags below 31, nothing left over. It knows
no schema, follows no nesting by itself, and makes no value that it would not read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from coldseal.errors import InputError

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT: Final = 0x06
UTF8: Final = 0x0C
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONTEXT: Final = 0xA0
"""Constructed and context-specific: add the number of the field."""

TRUE: Final = b"\x01\x01\xff"

_LONG_LENGTH: Final = 0x80
_MULTI_BYTE_TAG: Final = 0x1F
_MOST_LENGTH_BYTES: Final = 3
_TIME: Final = re.compile(rb"([0-9]{14})(?:\.([0-9]{0,8}[1-9]))?Z")


class Der(NamedTuple):
    """One value: its tag, its content, and both with the length between them."""

    tag: int
    content: bytes
    raw: bytes


class Fields:
    """The fields of one constructed value, taken in their order."""

    def __init__(self, what: str, content: bytes) -> None:
        """Split ``content``; ``what`` is its name in errors.

        Raises:
            InputError: it is not a row of values.
        """
        self._what = what
        self._left = split(what, content)[::-1]

    def take(self, tag: int) -> Der:
        """Give the next field, which must have this tag.

        Raises:
            InputError: it has another, or there is none.
        """
        found = self.find(tag)
        if found is None:
            raise InputError(self._what, "tag", self._left[-1].tag if self._left else None, f"{tag:#04x}")
        return found

    def find(self, tag: int) -> Der | None:
        """Give the next field if it has this tag."""
        return self._left.pop() if self._left and self._left[-1].tag == tag else None

    def rest(self) -> list[Der]:
        """Give all that is left."""
        found, self._left = self._left[::-1], []
        return found

    def end(self) -> None:
        """Refuse what is left.

        Raises:
            InputError: a field is.
        """
        if self._left:
            raise InputError(self._what, "tag", self._left[-1].tag, "the end")


def split(what: str, data: bytes) -> list[Der]:
    """Read the values that stand one behind the other.

    Raises:
        InputError: a tag or a length is not in its one form, or the last value is cut.
    """
    found, at = [], 0
    while at < len(data):
        head = _head(what, data, at)
        end = head + _length(what, data, at, head)
        if end > len(data):
            raise InputError(what, "length", end - at, f"at most {len(data) - at} bytes")
        found.append(Der(data[at], data[head:end], data[at:end]))
        at = end
    return found


def read(what: str, data: bytes, tag: int) -> Der:
    """Read exactly one value of this tag.

    Raises:
        InputError: it is another, or none, or not alone.
    """
    fields = Fields(what, data)
    found = fields.take(tag)
    fields.end()
    return found


def write(tag: int, *parts: bytes) -> bytes:
    """Make one value of its parts.

    Raises:
        OverflowError: it would have more bytes than are ever read.
    """
    content = b"".join(parts)
    if len(content) < _LONG_LENGTH:
        return bytes((tag, len(content))) + content
    size = (len(content).bit_length() + 7) // 8
    if size > _MOST_LENGTH_BYTES:
        raise OverflowError
    return bytes((tag, _LONG_LENGTH | size)) + len(content).to_bytes(size) + content


def read_integer(what: str, value: Der) -> int:
    """Read an integer of any size.

    Raises:
        InputError: it is not in its shortest form.
    """
    found = int.from_bytes(value.content, signed=True)
    if write_integer(found) != value.raw:
        raise InputError(what, "integer", value.raw.hex(), "an integer in its shortest form")
    return found


def write_integer(value: int) -> bytes:
    """Make an integer."""
    magnitude = value if value >= 0 else ~value
    return write(INTEGER, value.to_bytes(magnitude.bit_length() // 8 + 1, signed=True))


def read_boolean(what: str, value: Der) -> bool:
    """Read a boolean that differs from its default, which DER leaves out: only true is written.

    Raises:
        InputError: it is not true.
    """
    if value.raw != TRUE:
        raise InputError(what, "boolean", value.raw.hex(), "true, or nothing")
    return True


def read_time(what: str, value: Der) -> datetime:
    """Read a generalised time, which is in UTC; what is finer than a microsecond is cut.

    Raises:
        InputError: it is not in its one form, or no such day exists.
    """
    match = _TIME.fullmatch(value.content)
    if match is not None:
        digits, fraction = match[1].decode(), (match[2] or b"").decode()
        try:
            moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            return moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    raise InputError(what, "time", value.content, "YYYYMMDDhhmmss[.f]Z")


def object_id(dotted: str) -> bytes:
    """Make the whole value of an object identifier; values are compared, so none is ever read."""
    first, second, *others = map(int, dotted.split("."))
    content = bytearray()
    for arc in (40 * first + second, *others):
        part = [arc & 0x7F]
        while arc := arc >> 7:
            part.append(0x80 | arc & 0x7F)
        content += bytes(reversed(part))
    return write(OBJECT, bytes(content))


def _head(what: str, data: bytes, at: int) -> int:
    """Give the place behind tag and length."""
    if data[at] & _MULTI_BYTE_TAG == _MULTI_BYTE_TAG or at + 1 == len(data):
        raise InputError(what, "tag", data[at], "a tag below 31 with its length")
    size = data[at + 1]
    return at + 2 + (size & 0x7F if size >= _LONG_LENGTH else 0)


def _length(what: str, data: bytes, at: int, head: int) -> int:
    """Read a length, which must be in its shortest form."""
    written = data[at + 1 : head]
    length = written[0] if len(written) == 1 else int.from_bytes(written[1:])
    size = (length.bit_length() + 7) // 8
    shortest = bytes((length,)) if length < _LONG_LENGTH else bytes((_LONG_LENGTH | size,)) + written[1:]
    if shortest != written or size > _MOST_LENGTH_BYTES or head > len(data):
        raise InputError(what, "length", written[:8].hex(), "a definite length in its shortest form")
    return length
