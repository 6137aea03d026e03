"""From a payload's bytes to checked quantities: the project's JSON, SenML JSON and SenML CBOR.

Promise: either everything in the payload is understood, or one InputError says what was not.
The first byte tells the format, so a device needs no header. Nothing is converted or dropped.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn

import cbor2
import msgspec

from coldseal.core.coldchain import senml
from coldseal.core.coldchain.reading import FLAG_SCHEMA_NEWER, MAX_QUANTITIES, Quantity, parse_quantity
from coldseal.core.coldchain.schema import MAX_VERSION, OWN
from coldseal.core.topics import Channel, parse_topic
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

WHERE: Final = "payload"
_SENML_1: Final = "senml/1"
_OBJECT, _ARRAY = b"{["
_CBOR_ARRAYS: Final = range(0x80, 0xA0)


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """What a payload says.

    Args:
        quantities: one to :data:`MAX_QUANTITIES` checked quantities.
        seq: the device's own sequence number, None where it has none.
        boot: names the run of the device that ``seq`` counts in; empty where not given.
        taken_at: the device's time, RFC 3339 as sent; empty where not given.
        flags: doubts of the reading that its form gives rise to.
        schema: NAME/VERSION of its form; empty for version 1 of the project's JSON.
    """

    quantities: Sequence[Quantity]
    seq: int | None = None
    boot: str = ""
    taken_at: str = ""
    flags: tuple[str, ...] = ()
    schema: str = ""


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    n: str
    u: str
    v: msgspec.Raw


class _Payload(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    v: Literal[1]
    q: msgspec.Raw
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    boot: Annotated[str, msgspec.Meta(min_length=1, max_length=16)] = ""
    t: Annotated[str, msgspec.Meta(max_length=35)] = ""


class _NewerItem(msgspec.Struct, gc=False):
    n: str
    u: str
    v: msgspec.Raw


class _NewerPayload(msgspec.Struct, gc=False):
    v: Annotated[int, msgspec.Meta(ge=2, le=MAX_VERSION)]
    q: Annotated[list[_NewerItem], msgspec.Meta(min_length=1, max_length=MAX_QUANTITIES)]
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    boot: Annotated[str, msgspec.Meta(min_length=1, max_length=16)] = ""
    t: Annotated[str, msgspec.Meta(max_length=35)] = ""


_payload: Final = msgspec.json.Decoder(_Payload)
_newer_payload: Final = msgspec.json.Decoder(_NewerPayload)
_items: Final = msgspec.json.Decoder(
    Annotated[list[_Item], msgspec.Meta(min_length=1, max_length=MAX_QUANTITIES)]
)
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3])(?::[0-5]\d){2}(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
).fullmatch


def decode(payload: bytes, *, received_ms: int) -> Decoded:
    """Decode a payload of any of the three formats.

    Args:
        payload: the bytes as published.
        received_ms: UTC milliseconds of receipt (SenML's relative times are bound to it).

    Raises:
        InputError: not one of the formats, or not valid in it.
    """
    first = payload[0] if payload else -1
    if first == _OBJECT:
        return decode_json(payload)
    if first == _ARRAY:
        return Decoded(senml.resolve(_senml_json(payload), received_ms=received_ms), schema=_SENML_1)
    if first in _CBOR_ARRAYS:
        return Decoded(senml.resolve(_senml_cbor(payload), received_ms=received_ms), schema=_SENML_1)
    found = f"0x{first:02x}" if payload else "nothing"
    raise InputError(
        WHERE, "first byte", found, "'{' (coldseal JSON), '[' (SenML JSON) or a CBOR array (SenML CBOR)"
    )


@lru_cache(maxsize=4096)
def sensor_of(topic: str) -> str | None:
    """Name the sensor of a reading's topic; None for other topics that somebody may use."""
    try:
        address = parse_topic(topic)
    except InputError:
        return None
    return address.name if address.channel is Channel.READING else None


def decode_json(payload: bytes) -> Decoded:
    """Decode the project's own format, version 1.

    Raises:
        InputError: not valid in it.
    """
    try:
        found = _payload.decode(payload)
        quantities, colons = _quantities(bytes(found.q))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(WHERE, "JSON", str(error), "a reading of format version 1") from error
    moment, boot = found.t, found.boot
    if boot and not (boot.isascii() and boot.isalnum()):
        _check_boot(boot)
    if moment and (_TIME(moment) is None or not _is_date(moment[:10])):
        check_moment(moment)
    colons += 2 + (found.seq is not None) + (boot != "") + (moment != "") + moment.count(":")
    if payload.count(b":") != colons:
        # More colons than names and values account for: a name stands twice (the decoder keeps the last),
        # or something is written as an escape. The slow parser tells which.
        parse_strictly(payload)
    return Decoded(quantities, found.seq, boot, moment)


def decode_newer(payload: bytes) -> Decoded:
    """Take what is known of a later version of the project's own format; what is not known is passed over.

    Raises:
        InputError: it is none, or something that version 1 has is not as there.
    """
    parse_strictly(payload)  # a name that stands twice is refused here
    try:
        found = _newer_payload.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(WHERE, "JSON", str(error), "what version 1 has, beside what is new") from error
    quantities = [
        parse_quantity(item.n, item.u, bytes(item.v).decode().strip('"'), where=WHERE) for item in found.q
    ]
    if found.boot:
        _check_boot(found.boot)
    if found.t:
        check_moment(found.t)
    return Decoded(quantities, found.seq, found.boot, found.t, (FLAG_SCHEMA_NEWER,), f"{OWN}/{found.v}")


def _check_boot(boot: str) -> None:
    """Refuse a name of a run that an entry could not hold as it is."""
    if not (boot.isascii() and boot.isalnum()):
        raise InputError(WHERE, "boot", boot, "1 to 16 letters and digits")


def check_moment(moment: str) -> None:
    """Refuse a time that is none, or on a day that the calendar has not.

    Raises:
        InputError: it is so.
    """
    if _TIME(moment) is None or not _is_date(moment[:10]):
        raise InputError(WHERE, "t", moment, "an RFC 3339 time such as 2026-01-31T06:30:00.000Z")


# Sensors repeat themselves: with the resolution of an instrument, the same values come again and again.
@lru_cache(maxsize=8192)
def _quantities(raw: bytes) -> tuple[tuple[Quantity, ...], int]:
    """Check the quantities of a payload; gives them, and the colons that they account for."""
    items = _items.decode(raw)
    checked = tuple(
        parse_quantity(item.n, item.u, bytes(item.v).decode().strip('"'), where=WHERE) for item in items
    )
    return checked, sum(3 + item.n.count(":") for item in items)


@lru_cache(maxsize=1024)
def _is_date(text: str) -> bool:
    """Tell whether the calendar has this day."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object, refusing a name that stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(WHERE, twice, "given twice", "each name once")
    return found


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which are not JSON."""
    raise InputError(WHERE, "number", name, "a finite decimal number")


def parse_strictly(payload: bytes) -> object:
    """Parse JSON with duplicate names and non-numbers refused, numbers kept as Decimal.

    Raises:
        InputError: it is no such JSON.
    """
    try:
        return json.loads(
            payload,
            object_pairs_hook=_unique,
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise InputError(WHERE, "JSON", str(error), "valid JSON in UTF-8") from error


def _records(pack: object, label_of: Callable[[object], str]) -> list[dict[str, str | Decimal]]:
    """Check that a pack is a list of flat records and name their labels."""
    if not isinstance(pack, list) or not pack:
        raise InputError(senml.WHERE, "pack", pack, "a list of at least one record")
    records = []
    for record in pack:
        if not isinstance(record, dict):
            raise InputError(senml.WHERE, "record", record, "a map of labels to values")
        records.append({label_of(label): _value(value) for label, value in record.items()})
    return records


def _value(value: object) -> str | Decimal:
    """Keep texts and finite numbers; nothing else has a place in a record."""
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(_shortest(value))
    raise InputError(senml.WHERE, "value", value, "a text or a finite number")


def _shortest(value: float) -> str:
    """Write a binary float with the fewest digits that give it back, in 32 bits where those hold it."""
    try:
        single = struct.pack("f", value)
    except OverflowError:
        return repr(value)
    if struct.unpack("f", single)[0] != value:
        return repr(value)
    return next(
        (text for digits in range(1, 10) if struct.pack("f", float(text := f"{value:.{digits}g}")) == single),
        repr(value),
    )


def _senml_json(payload: bytes) -> list[dict[str, str | Decimal]]:
    """Parse the JSON syntax of RFC 8428 section 5."""
    return _records(parse_strictly(payload), str)


def _senml_cbor(payload: bytes) -> list[dict[str, str | Decimal]]:
    """Parse the CBOR syntax of RFC 8428 section 6; of all tags only decimal fractions (4) are taken."""
    try:
        pack = cbor2.loads(payload, semantic_decoders=_NO_TAGS, max_depth=4, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError) as error:
        raise InputError(senml.WHERE, "CBOR", str(error), "valid CBOR of RFC 8428 section 6") from error
    return _records(pack, _cbor_label)


def _cbor_label(label: object) -> str:
    """Name a CBOR label: integers by the table, texts as they are."""
    if isinstance(label, str):
        return label
    if isinstance(label, int) and label in senml.CBOR_LABELS:
        return senml.CBOR_LABELS[label]
    raise InputError(senml.WHERE, "label", label, "an integer label of RFC 8428 section 6, or a text")


def _refuse_tag(decoder: cbor2.CBORDecoder, *_: object) -> NoReturn:
    """Refuse a tag whose decoding could cost time or make objects of other kinds."""
    del decoder
    raise InputError(senml.WHERE, "CBOR tag", "a tag", "no tag but the decimal fraction (4)")


# Every tag that the library gives a meaning of its own, but 4.
_NO_TAGS: Final = dict.fromkeys(
    (0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799),
    _refuse_tag,
)
