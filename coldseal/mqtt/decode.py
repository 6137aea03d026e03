"""Every control packet from its bytes, after its fixed header was read: strict, field by field.

Each decoder reads its packet to the last byte or raises ProtocolError. What depends on earlier
packets (who may send this now, aliases, identifiers in use) is for the machines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

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
    Properties,
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
from coldseal.mqtt.properties import read_properties
from coldseal.mqtt.reasons import CONNACK_RETURN_CODES, REASONS, SUBACK_RETURN_CODES
from coldseal.mqtt.topics import check_filter, check_topic
from coldseal.mqtt.wire import Reader

Ack = TypeVar("Ack", PubAck, PubRec, PubRel, PubComp)
Decode = Callable[[Reader, int], Packet]

MAX_QOS: Final = 2


def _publish(reader: Reader, flags: int) -> Publish:
    """Read a PUBLISH; an empty topic stays empty, for whoever knows the aliases."""
    return _any_publish(reader, flags, read_properties)


def bare_publish(reader: Reader, flags: int) -> Publish:
    """Read a PUBLISH and skip its properties unread."""
    return _any_publish(reader, flags, _skip_properties)


def _skip_properties(reader: Reader, _: str) -> Properties:
    """Skip the properties, whatever they are."""
    if reader.version is not Version.V311:
        reader.take(reader.varint("property length"), "properties")
    return NO_PROPERTIES


def _any_publish(reader: Reader, flags: int, read: Callable[[Reader, str], Properties]) -> Publish:
    """Read a PUBLISH, its properties by ``read``."""
    dup, qos, retain = bool(flags & 8), flags >> 1 & 3, bool(flags & 1)
    if qos > MAX_QOS:
        raise reader.fault(clauses.QOS_3, "QoS", qos, "0, 1 or 2")
    if dup and not qos:
        raise reader.fault(clauses.DUP_QOS_0, "DUP", 1, "0 when QoS is 0")
    topic = reader.string("topic")
    packet_id = reader.packet_id() if qos else None
    properties = read(reader, "PUBLISH")
    if topic or properties.topic_alias is None:
        check_topic(reader, "topic", topic)
    return Publish(topic, reader.rest(), qos, retain, dup, packet_id, properties)


def _connect(reader: Reader, _: int) -> Connect:
    name = reader.binary("protocol name")
    unsupported = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    if name != b"MQTT":
        raise reader.fault(clauses.PROTOCOL_NAME, "protocol name", name, "MQTT", unsupported)
    level = reader.u8("protocol level")
    if level not in (Version.V311, Version.V5):
        raise reader.fault(clauses.PROTOCOL_LEVEL, "protocol level", level, "4 or 5", unsupported)
    version = reader.version = Version(level)
    flags = reader.u8("flags")
    _check_connect_flags(reader, flags)
    clean = bool(flags & 0x02)
    keep_alive = reader.u16("keep alive")
    properties = read_properties(reader, "CONNECT")
    if properties.authentication_data is not None and properties.authentication_method is None:
        expected = "an authentication method with it"
        rule = clauses.AUTHENTICATION_DATA
        raise reader.fault(rule, "authentication_data", "alone", expected, ReasonCode.PROTOCOL_ERROR)
    client_id = reader.string("client identifier")
    if version is Version.V311 and not client_id and not clean:
        expected = "a name, or Clean Session"
        refused = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        raise reader.fault(clauses.EMPTY_CLIENT_ID, "client identifier", "", expected, refused)
    will = _will(reader, flags) if flags & 0x04 else None
    username = reader.string("user name") if flags & 0x80 else None
    password = reader.binary("password") if flags & 0x40 else None
    return Connect(client_id, version, clean, keep_alive, will, username, password, properties)


def _check_connect_flags(reader: Reader, flags: int) -> None:
    if flags & 0x01:
        raise reader.fault(clauses.CONNECT_RESERVED, "reserved flag", 1, "0")
    will_qos = flags >> 3 & 3
    if flags & 0x04:
        if will_qos > MAX_QOS:
            raise reader.fault(clauses.WILL_QOS, "will QoS", will_qos, "0, 1 or 2")
    elif will_qos:
        raise reader.fault(clauses.WILL_QOS_ABSENT, "will QoS", will_qos, "0 without a will")
    elif flags & 0x20:
        raise reader.fault(clauses.WILL_RETAIN_ABSENT, "will retain", 1, "0 without a will")
    if reader.version is Version.V311 and flags & 0x40 and not flags & 0x80:
        raise reader.fault(clauses.PASSWORD_ALONE, "password flag", 1, "0 without a user name")


def _will(reader: Reader, flags: int) -> Will:
    properties = read_properties(reader, "WILL")
    topic = reader.string("will topic")
    check_topic(reader, "will topic", topic)
    return Will(topic, reader.binary("will payload"), flags >> 3 & 3, bool(flags & 0x20), properties)


def _connack(reader: Reader, _: int) -> ConnAck:
    flags = reader.u8("flags")
    if flags > 1:
        raise reader.fault(clauses.CONNACK_FLAGS, "flags", flags, "0 or 1")
    code = reader.u8("reason")
    if reader.version is Version.V311:
        reason = CONNACK_RETURN_CODES.get(code)
        if reason is None:
            raise reader.fault(clauses.CONNACK_REASON, "return code", code, "0 to 5")
    else:
        reason = _reason(reader, code)
    if flags and reason:
        expected = "0 when the connection is refused"
        rule = clauses.CONNACK_SESSION
        raise reader.fault(rule, "session present", 1, expected, ReasonCode.PROTOCOL_ERROR)
    return ConnAck(bool(flags), reason, read_properties(reader, "CONNACK"))


def _reason(reader: Reader, code: int) -> ReasonCode:
    """Hold a reason code to those that the packet's section lists."""
    listed, rule = REASONS[reader.packet]
    reason = listed.get(code)
    if reason is None:
        expected = f"a {reader.packet} reason code"
        raise reader.fault(rule, "reason", f"0x{code:02X}", expected, ReasonCode.PROTOCOL_ERROR)
    return reason


def _answer(kind: type[Ack]) -> Decode:
    """Make the decoder of PUBACK, PUBREC, PUBREL or PUBCOMP, which share one layout."""

    def decode(reader: Reader, _: int) -> Ack:
        packet_id = reader.packet_id()
        if reader.is_done() or reader.version is Version.V311:
            return kind(packet_id)
        reason = _reason(reader, reader.u8("reason"))
        if reader.is_done():
            return kind(packet_id, reason)
        return kind(packet_id, reason, read_properties(reader, reader.packet))

    return decode


def _subscribe(reader: Reader, _: int) -> Subscribe:
    packet_id = reader.packet_id()
    properties = read_properties(reader, "SUBSCRIBE")
    subscriptions: list[Subscription] = []
    while not reader.is_done():
        subscriptions.append(_subscription(reader))
    _need_one(reader, clauses.SUBSCRIBE_NOT_EMPTY, subscriptions)
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _subscription(reader: Reader) -> Subscription:
    topic_filter = reader.string("topic filter")
    is_shared = check_filter(reader, topic_filter)
    options = reader.u8("options")
    qos, no_local, retain_handling = options & 3, bool(options & 4), options >> 4 & 3
    reserved = 0xFC if reader.version is Version.V311 else 0xC0
    if options & reserved:
        raise reader.fault(clauses.SUBSCRIBE_RESERVED, "options", f"0x{options:02X}", "reserved bits of 0")
    invalid = ReasonCode.PROTOCOL_ERROR
    if qos > MAX_QOS:
        raise reader.fault(clauses.SUBSCRIBE_QOS, "QoS", qos, "0, 1 or 2", invalid)
    if retain_handling > MAX_QOS:
        raise reader.fault(clauses.SUBSCRIBE_RETAIN, "retain handling", retain_handling, "0, 1 or 2", invalid)
    if no_local and is_shared:
        raise reader.fault(clauses.SHARED_NO_LOCAL, "no local", 1, "0 on a shared subscription", invalid)
    return Subscription(topic_filter, qos, no_local, bool(options & 8), retain_handling)


def _need_one(reader: Reader, rule: Rule, found: list[Subscription] | list[str] | bytes) -> None:
    if not found:
        raise reader.fault(rule, "payload", "nothing", "at least one", ReasonCode.PROTOCOL_ERROR)


def _suback(reader: Reader, _: int) -> SubAck:
    packet_id = reader.packet_id()
    properties = read_properties(reader, "SUBACK")
    codes = reader.rest()
    _need_one(reader, clauses.SUBACK_NOT_EMPTY, codes)
    if reader.version is Version.V311:
        for code in codes:
            if code not in SUBACK_RETURN_CODES:
                raise reader.fault(clauses.SUBACK_REASON, "return code", f"0x{code:02X}", "0, 1, 2 or 0x80")
    return SubAck(packet_id, tuple(_reason(reader, code) for code in codes), properties)


def _unsubscribe(reader: Reader, _: int) -> Unsubscribe:
    packet_id = reader.packet_id()
    properties = read_properties(reader, "UNSUBSCRIBE")
    filters: list[str] = []
    while not reader.is_done():
        filters.append(reader.string("topic filter"))
        check_filter(reader, filters[-1])
    _need_one(reader, clauses.UNSUBSCRIBE_NOT_EMPTY, filters)
    return Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(reader: Reader, _: int) -> UnsubAck:
    packet_id = reader.packet_id()
    if reader.version is Version.V311:
        return UnsubAck(packet_id)
    properties = read_properties(reader, "UNSUBACK")
    codes = reader.rest()
    _need_one(reader, clauses.UNSUBACK_NOT_EMPTY, codes)
    return UnsubAck(packet_id, tuple(_reason(reader, code) for code in codes), properties)


def _pingreq(_reader: Reader, _: int) -> PingReq:
    return PingReq()


def _pingresp(_reader: Reader, _: int) -> PingResp:
    return PingResp()


def _disconnect(reader: Reader, _: int) -> Disconnect:
    if reader.is_done() or reader.version is Version.V311:
        return Disconnect()
    reason = _reason(reader, reader.u8("reason"))
    return Disconnect(reason, NO_PROPERTIES if reader.is_done() else read_properties(reader, "DISCONNECT"))


def _auth(reader: Reader, _: int) -> Auth:
    if reader.is_done():
        return Auth()
    reason = _reason(reader, reader.u8("reason"))
    properties = read_properties(reader, "AUTH")
    check_auth(reader, properties)
    return Auth(reason, properties)


def check_auth(reader: Reader, properties: Properties) -> None:
    """An AUTH packet that says anything names its authentication method."""
    if properties.authentication_method is None:
        expected = "an authentication method"
        rule = clauses.AUTH_METHOD
        raise reader.fault(rule, "authentication_method", None, expected, ReasonCode.PROTOCOL_ERROR)


PACKETS: Final[dict[int, tuple[str, int, Decode]]] = {
    1: ("CONNECT", 0, _connect),
    2: ("CONNACK", 0, _connack),
    3: ("PUBLISH", -1, _publish),  # its flags have meanings
    4: ("PUBACK", 0, _answer(PubAck)),
    5: ("PUBREC", 0, _answer(PubRec)),
    6: ("PUBREL", 2, _answer(PubRel)),
    7: ("PUBCOMP", 0, _answer(PubComp)),
    8: ("SUBSCRIBE", 2, _subscribe),
    9: ("SUBACK", 0, _suback),
    10: ("UNSUBSCRIBE", 2, _unsubscribe),
    11: ("UNSUBACK", 0, _unsuback),
    12: ("PINGREQ", 0, _pingreq),
    13: ("PINGRESP", 0, _pingresp),
    14: ("DISCONNECT", 0, _disconnect),
    15: ("AUTH", 0, _auth),
}
"""By packet type: name, the fixed header's flags, decoder (MQTT 5 tables 2-1 and 2-2)."""
