"""MQTT 5 properties: one table says number, type, range and home of each; both directions use it.

A property is refused when it is unknown, stands in the wrong packet, comes twice or is out of
range. What a property means is for the machines. Source: MQTT 5 section 2.2.2, table 2-4.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple, TypeAlias

from coldseal.mqtt import clauses
from coldseal.mqtt.clauses import Rule
from coldseal.mqtt.packets import NO_PROPERTIES, Properties, ReasonCode, Version
from coldseal.mqtt.wire import MAX_U16, MAX_U32, MAX_VARINT, Reader, Writer


class Kind(Enum):
    """The wire type of a property's value."""

    BYTE = auto()
    U16 = auto()
    U32 = auto()
    VARINT = auto()
    STRING = auto()
    BINARY = auto()
    PAIR = auto()


_MAXIMUM = {Kind.BYTE: 1, Kind.U16: MAX_U16, Kind.U32: MAX_U32, Kind.VARINT: MAX_VARINT}

Value: TypeAlias = int | str | bytes | tuple[str, str]


class Property(NamedTuple):
    """One row of the table; ``minimum`` bounds numbers, ``section`` is where the text defines it."""

    identifier: int
    field: str
    kind: Kind
    packets: frozenset[str]
    section: str
    minimum: int = 0


_ACKS = "PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"
_ALL = f"CONNECT CONNACK PUBLISH WILL SUBSCRIBE UNSUBSCRIBE {_ACKS}"


def _row(
    identifier: int, field: str, kind: Kind, packets: str, section: str, *, minimum: int = 0
) -> Property:
    return Property(identifier, field, kind, frozenset(packets.split()), f"5.0 {section}", minimum)


TABLE = (
    _row(0x01, "payload_format_indicator", Kind.BYTE, "PUBLISH WILL", "3.3.2.3.2"),
    _row(0x02, "message_expiry_interval", Kind.U32, "PUBLISH WILL", "3.3.2.3.3"),
    _row(0x03, "content_type", Kind.STRING, "PUBLISH WILL", "3.3.2.3.9"),
    _row(0x08, "response_topic", Kind.STRING, "PUBLISH WILL", "3.3.2.3.5"),
    _row(0x09, "correlation_data", Kind.BINARY, "PUBLISH WILL", "3.3.2.3.6"),
    _row(0x0B, "subscription_identifiers", Kind.VARINT, "PUBLISH SUBSCRIBE", "3.8.2.1.2", minimum=1),
    _row(0x11, "session_expiry_interval", Kind.U32, "CONNECT CONNACK DISCONNECT", "3.1.2.11.2"),
    _row(0x12, "assigned_client_identifier", Kind.STRING, "CONNACK", "3.2.2.3.7"),
    _row(0x13, "server_keep_alive", Kind.U16, "CONNACK", "3.2.2.3.14"),
    _row(0x15, "authentication_method", Kind.STRING, "CONNECT CONNACK AUTH", "3.1.2.11.9"),
    _row(0x16, "authentication_data", Kind.BINARY, "CONNECT CONNACK AUTH", "3.1.2.11.10"),
    _row(0x17, "request_problem_information", Kind.BYTE, "CONNECT", "3.1.2.11.7"),
    _row(0x18, "will_delay_interval", Kind.U32, "WILL", "3.1.3.2.2"),
    _row(0x19, "request_response_information", Kind.BYTE, "CONNECT", "3.1.2.11.6"),
    _row(0x1A, "response_information", Kind.STRING, "CONNACK", "3.2.2.3.15"),
    _row(0x1C, "server_reference", Kind.STRING, "CONNACK DISCONNECT", "3.2.2.3.16"),
    _row(0x1F, "reason_string", Kind.STRING, f"CONNACK {_ACKS}", "3.2.2.3.9"),
    _row(0x21, "receive_maximum", Kind.U16, "CONNECT CONNACK", "3.1.2.11.3", minimum=1),
    _row(0x22, "topic_alias_maximum", Kind.U16, "CONNECT CONNACK", "3.1.2.11.5"),
    _row(0x23, "topic_alias", Kind.U16, "PUBLISH", "3.3.2.3.4", minimum=1),
    _row(0x24, "maximum_qos", Kind.BYTE, "CONNACK", "3.2.2.3.4"),
    _row(0x25, "retain_available", Kind.BYTE, "CONNACK", "3.2.2.3.5"),
    _row(0x26, "user", Kind.PAIR, _ALL, "3.1.2.11.8"),
    _row(0x27, "maximum_packet_size", Kind.U32, "CONNECT CONNACK", "3.1.2.11.4", minimum=1),
    _row(0x28, "wildcard_subscription_available", Kind.BYTE, "CONNACK", "3.2.2.3.11"),
    _row(0x29, "subscription_identifiers_available", Kind.BYTE, "CONNACK", "3.2.2.3.12"),
    _row(0x2A, "shared_subscription_available", Kind.BYTE, "CONNACK", "3.2.2.3.13"),
)
_BY_IDENTIFIER = {row.identifier: row for row in TABLE}


def read_properties(reader: Reader, home: str) -> Properties:
    """Read a property length and its properties; 3.1.1 has none.

    Args:
        reader: stands at the property length.
        home: the packet's name, or ``WILL``.

    Raises:
        ProtocolError: for an unknown, misplaced, repeated or ill-valued property.
    """
    if reader.version is Version.V311:
        return NO_PROPERTIES
    length = reader.varint("property length")
    if not length:
        return NO_PROPERTIES
    stop = reader.at + length
    if stop > reader.end:
        expected = f"at most {reader.end - reader.at}"
        raise reader.fault(clauses.PROPERTY_LENGTH, "property length", length, expected)
    inner = Reader(reader.data, reader.at, stop, reader.packet, reader.version)
    reader.at = stop
    found: dict[str, Any] = {}
    lists: dict[str, list[Value]] = {}
    while not inner.is_done():
        row = _next_row(inner, home)
        value = _read_value(inner, row)
        if _repeats(row, home):
            lists.setdefault(row.field, []).append(value)
        elif row.field in found:
            rule = Rule(row.section, row.section)
            raise inner.fault(rule, row.field, "a second one", "at most one", ReasonCode.PROTOCOL_ERROR)
        else:
            found[row.field] = (value,) if row.kind is Kind.VARINT else value
    found.update({field: tuple(values) for field, values in lists.items()})
    return Properties(**found)


def write_properties(writer: Writer, properties: Properties, home: str) -> None:
    """Append a property length and the properties; 3.1.1 has no room for them and drops them.

    Raises:
        ProtocolError: for a property that does not belong into the packet, or an ill value.
    """
    if writer.version is Version.V311:
        return
    if properties is NO_PROPERTIES:
        writer.parts.append(0)
        return
    inner = Writer(writer.packet, writer.version)
    for row in TABLE:
        held: Value | tuple[Value, ...] | None = getattr(properties, row.field)
        if held is not None and held != ():
            _write_row(inner, row, held, home)
    writer.varint("property length", len(inner.parts))
    writer.parts += inner.parts


def _repeats(row: Property, home: str) -> bool:
    """Say whether a property may come more than once in this packet."""
    return row.kind is Kind.PAIR or (row.kind is Kind.VARINT and home == "PUBLISH")


def _next_row(reader: Reader, home: str) -> Property:
    identifier = reader.varint("property identifier")
    row = _BY_IDENTIFIER.get(identifier)
    if row is None or home not in row.packets:
        expected = f"a property that belongs into {home}"
        raise reader.fault(clauses.PROPERTY_ALLOWED, "property identifier", f"0x{identifier:02X}", expected)
    return row


def _read_value(reader: Reader, row: Property) -> Value:
    field = row.field
    if row.kind is Kind.STRING:
        text = reader.string(field)
        _check_text(reader, row, text)
        return text
    if row.kind is Kind.BINARY:
        return reader.binary(field)
    if row.kind is Kind.PAIR:
        return reader.string(f"{field} name"), reader.string(f"{field} value")
    number = _READ_NUMBER[row.kind](reader, field)
    _check_number(reader, row, number)
    return number


_READ_NUMBER = {
    Kind.BYTE: Reader.u8,
    Kind.U16: Reader.u16,
    Kind.U32: Reader.u32,
    Kind.VARINT: Reader.varint,
}


def _write_row(writer: Writer, row: Property, held: Value | tuple[Value, ...], home: str) -> None:
    if home not in row.packets:
        raise writer.fault(clauses.PROPERTY_ALLOWED, row.field, held, f"no such property in {home}")
    values = held if isinstance(held, tuple) else (held,)
    if len(values) > 1 and not _repeats(row, home):
        rule = Rule(row.section, row.section)
        raise writer.fault(rule, row.field, values, "at most one", ReasonCode.PROTOCOL_ERROR)
    for value in values:
        writer.varint("property identifier", row.identifier)
        _write_value(writer, row, value)


def _write_value(writer: Writer, row: Property, value: Value) -> None:
    if isinstance(value, int):
        _check_number(writer, row, value)
        _WRITE_NUMBER[row.kind](writer, row.field, value)
    elif isinstance(value, str):
        _check_text(writer, row, value)
        writer.string(row.field, value)
    elif isinstance(value, bytes):
        writer.binary(row.field, value)
    else:
        writer.string(f"{row.field} name", value[0])
        writer.string(f"{row.field} value", value[1])


_WRITE_NUMBER = {
    Kind.BYTE: Writer.u8,
    Kind.U16: Writer.u16,
    Kind.U32: Writer.u32,
    Kind.VARINT: Writer.varint,
}


def _check_number(side: Reader | Writer, row: Property, number: int) -> None:
    """Hold a number to its row's range; an alias of zero has a reason code of its own."""
    if row.minimum <= number <= _MAXIMUM[row.kind]:
        return
    expected = f"{row.minimum} to {_MAXIMUM[row.kind]}"
    if row.field == "topic_alias":
        rule, reason = clauses.TOPIC_ALIAS_ZERO, ReasonCode.TOPIC_ALIAS_INVALID
    else:
        rule, reason = Rule(row.section, row.section), ReasonCode.PROTOCOL_ERROR
    raise side.fault(rule, row.field, number, expected, reason)


def _check_text(side: Reader | Writer, row: Property, text: str) -> None:
    """A response topic is a topic name: no wildcards, not empty."""
    if row.field == "response_topic" and (not text or "#" in text or "+" in text):
        rule = clauses.RESPONSE_TOPIC_WILDCARD if text else clauses.TOPIC_MINIMUM
        raise side.fault(rule, row.field, text, "a topic name without wildcards")
