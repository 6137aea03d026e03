"""Every control packet to its bytes, refusing with ProtocolError what a strict receiver would refuse.

A 3.1.1 packet has no room for properties, reasons of acknowledgements and subscription options
beyond QoS: they are left out. A reason that 3.1.1 must show but does not know is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from coldseal.mqtt import clauses
from coldseal.mqtt.clauses import Rule
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
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
    Will,
)
from coldseal.mqtt.properties import write_properties
from coldseal.mqtt.reasons import CONNACK_RETURN_CODES, REASONS, SUBACK_RETURN_CODES
from coldseal.mqtt.topics import check_filter, check_topic
from coldseal.mqtt.wire import Writer

_MAX_QOS: Final = 2
_RETURN_CODES: Final = {reason: code for code, reason in CONNACK_RETURN_CODES.items()}


def encode(packet: Packet, version: Version) -> bytes:
    """Return a packet's bytes.

    Args:
        packet: what to send.
        version: the version spoken on the connection; a CONNECT names its own.

    Raises:
        ProtocolError: for a value that cannot stand in such a packet.
    """
    return _ENCODERS[type(packet)](packet, version)


def encode_puback_bytes(packet_id: int, version: Version, reason: int = 0) -> bytes:
    """Return a PUBACK without properties: the hot path of an inlet.

    The identifier comes from a decoded PUBLISH and the reason from ReasonCode, so neither is
    checked. 3.1.1 has no room for the reason.
    """
    if reason and version is Version.V5:
        return bytes((0x40, 3, packet_id >> 8, packet_id & 0xFF, reason))
    return b"\x40\x02" + packet_id.to_bytes(2)


def _connect(packet: Connect, _: Version) -> bytes:
    version, will = packet.version, packet.will
    writer = Writer("CONNECT", version)
    if version is Version.V311:
        if packet.password is not None and packet.username is None:
            raise writer.fault(clauses.PASSWORD_ALONE, "password", "alone", "a user name with it")
        if not packet.client_id and not packet.clean_start:
            refused = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
            raise writer.fault(
                clauses.EMPTY_CLIENT_ID, "client identifier", "", "a name, or Clean Session", refused
            )
    if packet.properties.authentication_data is not None and packet.properties.authentication_method is None:
        rule, invalid = clauses.AUTHENTICATION_DATA, ReasonCode.PROTOCOL_ERROR
        raise writer.fault(rule, "authentication_data", "alone", "an authentication method with it", invalid)
    writer.string("protocol name", "MQTT")
    writer.u8("protocol level", version)
    writer.u8("flags", _connect_flags(packet))
    writer.u16("keep alive", packet.keep_alive)
    write_properties(writer, packet.properties, "CONNECT")
    writer.string("client identifier", packet.client_id)
    if will is not None:
        _will(writer, will)
    if packet.username is not None:
        writer.string("user name", packet.username)
    if packet.password is not None:
        writer.binary("password", packet.password)
    return writer.packed(0x10)


def _connect_flags(packet: Connect) -> int:
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    will = packet.will
    return flags if will is None else flags | 0x04 | (will.qos & 3) << 3 | will.retain << 5


def _will(writer: Writer, will: Will) -> None:
    _check_qos(writer, clauses.WILL_QOS, "will QoS", will.qos)
    check_topic(writer, "will topic", will.topic)
    write_properties(writer, will.properties, "WILL")
    writer.string("will topic", will.topic)
    writer.binary("will payload", will.payload)


def _check_qos(writer: Writer, rule: Rule, field: str, qos: int) -> None:
    if not 0 <= qos <= _MAX_QOS:
        raise writer.fault(rule, field, qos, "0, 1 or 2")


def _connack(packet: ConnAck, version: Version) -> bytes:
    writer = Writer("CONNACK", version)
    if packet.session_present and packet.reason:
        expected, invalid = "0 when the connection is refused", ReasonCode.PROTOCOL_ERROR
        raise writer.fault(clauses.CONNACK_SESSION, "session present", 1, expected, invalid)
    writer.u8("flags", packet.session_present)
    if version is Version.V311:
        code = _RETURN_CODES.get(packet.reason)
        if code is None:
            raise writer.fault(clauses.CONNACK_REASON, "reason", packet.reason, "a reason that 3.1.1 knows")
        writer.u8("return code", code)
    else:
        _write_reason(writer, packet.reason)
        write_properties(writer, packet.properties, "CONNACK")
    return writer.packed(0x20)


def _write_reason(writer: Writer, reason: ReasonCode) -> None:
    listed, rule = REASONS[writer.packet]
    if reason not in listed:
        expected = f"a {writer.packet} reason code"
        raise writer.fault(rule, "reason", reason, expected, ReasonCode.PROTOCOL_ERROR)
    writer.u8("reason", reason)


def _publish(packet: Publish, version: Version) -> bytes:
    writer = Writer("PUBLISH", version)
    qos = packet.qos
    _check_qos(writer, clauses.QOS_3, "QoS", qos)
    if packet.dup and not qos:
        raise writer.fault(clauses.DUP_QOS_0, "DUP", 1, "0 when QoS is 0")
    if packet.topic or version is Version.V311 or packet.properties.topic_alias is None:
        check_topic(writer, "topic", packet.topic)
    writer.string("topic", packet.topic)
    if qos:
        writer.packet_id(packet.packet_id or 0)
    elif packet.packet_id is not None:
        raise writer.fault(clauses.PACKET_ID_ABSENT, "packet identifier", packet.packet_id, "none at QoS 0")
    write_properties(writer, packet.properties, "PUBLISH")
    writer.parts += packet.payload
    return writer.packed(0x30 | packet.dup << 3 | qos << 1 | packet.retain)


Answer: TypeAlias = PubAck | PubRec | PubRel | PubComp


def _answer(name: str, first_byte: int) -> Callable[[Answer, Version], bytes]:
    """Make the encoder of one of the four answers, in their shortest form."""

    def write(packet: Answer, version: Version) -> bytes:
        writer = Writer(name, version)
        writer.packet_id(packet.packet_id)
        _write_ending(writer, packet.reason, packet)
        return writer.packed(first_byte)

    return write


def _write_ending(writer: Writer, reason: ReasonCode, packet: Answer | Disconnect) -> None:
    """Append reason and properties, leaving out what MQTT 5 lets out."""
    properties = packet.properties
    if writer.version is Version.V311 or (not reason and properties == NO_PROPERTIES):
        return
    _write_reason(writer, reason)
    if properties != NO_PROPERTIES:
        write_properties(writer, properties, writer.packet)


def _subscribe(packet: Subscribe, version: Version) -> bytes:
    writer = Writer("SUBSCRIBE", version)
    _need_one(writer, clauses.SUBSCRIBE_NOT_EMPTY, packet.subscriptions)
    writer.packet_id(packet.packet_id)
    write_properties(writer, packet.properties, "SUBSCRIBE")
    for subscription in packet.subscriptions:
        _subscription(writer, subscription)
    return writer.packed(0x82)


def _subscription(writer: Writer, asked: Subscription) -> None:
    is_shared = check_filter(writer, asked.filter)
    _check_qos(writer, clauses.SUBSCRIBE_QOS, "QoS", asked.qos)
    _check_qos(writer, clauses.SUBSCRIBE_RETAIN, "retain handling", asked.retain_handling)
    if is_shared and asked.no_local:
        expected, invalid = "0 on a shared subscription", ReasonCode.PROTOCOL_ERROR
        raise writer.fault(clauses.SHARED_NO_LOCAL, "no local", 1, expected, invalid)
    writer.string("topic filter", asked.filter)
    options = asked.no_local << 2 | asked.retain_as_published << 3 | asked.retain_handling << 4
    writer.u8("options", asked.qos | (0 if writer.version is Version.V311 else options))


def _need_one(writer: Writer, rule: Rule, values: tuple[object, ...]) -> None:
    if not values:
        raise writer.fault(rule, "payload", "nothing", "at least one", ReasonCode.PROTOCOL_ERROR)


def _suback(packet: SubAck, version: Version) -> bytes:
    writer = Writer("SUBACK", version)
    _need_one(writer, clauses.SUBACK_NOT_EMPTY, packet.reasons)
    writer.packet_id(packet.packet_id)
    write_properties(writer, packet.properties, "SUBACK")
    for reason in packet.reasons:
        if version is Version.V311 and reason not in SUBACK_RETURN_CODES:
            raise writer.fault(clauses.SUBACK_REASON, "return code", reason, "0, 1, 2 or 0x80")
        _write_reason(writer, reason)
    return writer.packed(0x90)


def _unsubscribe(packet: Unsubscribe, version: Version) -> bytes:
    writer = Writer("UNSUBSCRIBE", version)
    _need_one(writer, clauses.UNSUBSCRIBE_NOT_EMPTY, packet.filters)
    writer.packet_id(packet.packet_id)
    write_properties(writer, packet.properties, "UNSUBSCRIBE")
    for topic_filter in packet.filters:
        check_filter(writer, topic_filter)
        writer.string("topic filter", topic_filter)
    return writer.packed(0xA2)


def _unsuback(packet: UnsubAck, version: Version) -> bytes:
    writer = Writer("UNSUBACK", version)
    writer.packet_id(packet.packet_id)
    if version is not Version.V311:
        _need_one(writer, clauses.UNSUBACK_NOT_EMPTY, packet.reasons)
        write_properties(writer, packet.properties, "UNSUBACK")
        for reason in packet.reasons:
            _write_reason(writer, reason)
    return writer.packed(0xB0)


def _pingreq(_packet: PingReq, _version: Version) -> bytes:
    return b"\xc0\x00"


def _pingresp(_packet: PingResp, _version: Version) -> bytes:
    return b"\xd0\x00"


def _disconnect(packet: Disconnect, version: Version) -> bytes:
    writer = Writer("DISCONNECT", version)
    _write_ending(writer, packet.reason, packet)
    return writer.packed(0xE0)


def _auth(packet: Auth, version: Version) -> bytes:
    writer = Writer("AUTH", version)
    if version is Version.V311:
        raise writer.fault(clauses.PACKET_TYPE, "packet type", 15, "no AUTH in 3.1.1")
    if packet != Auth():
        if packet.properties.authentication_method is None:
            rule, invalid = clauses.AUTH_METHOD, ReasonCode.PROTOCOL_ERROR
            raise writer.fault(rule, "authentication_method", None, "an authentication method", invalid)
        _write_reason(writer, packet.reason)
        write_properties(writer, packet.properties, "AUTH")
    return writer.packed(0xF0)


_ENCODERS: Final[dict[type[Packet], Callable[[Any, Version], bytes]]] = {
    Connect: _connect,
    ConnAck: _connack,
    Publish: _publish,
    PubAck: _answer("PUBACK", 0x40),
    PubRec: _answer("PUBREC", 0x50),
    PubRel: _answer("PUBREL", 0x62),
    PubComp: _answer("PUBCOMP", 0x70),
    Subscribe: _subscribe,
    SubAck: _suback,
    Unsubscribe: _unsubscribe,
    UnsubAck: _unsuback,
    PingReq: _pingreq,
    PingResp: _pingresp,
    Disconnect: _disconnect,
    Auth: _auth,
}
