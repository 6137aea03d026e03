"""The fifteen MQTT control packets as frozen values, one set of types for 3.1.1 and 5.0.

A value says what a packet means, not how it is written: 3.1.1 packets have no properties and
only the reasons that 3.1.1 knows. Nothing here checks a value: the decoder makes only valid
ones, and the encoder refuses the others.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec

from coldseal.errors import InputError


class Version(IntEnum):
    """The protocol level that a CONNECT packet names."""

    V311 = 4
    V5 = 5


class ReasonCode(IntEnum):
    """MQTT 5 section 2.4. The 3.1.1 return codes are expressed by their MQTT 5 meaning."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    REAUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


class ProtocolError(InputError):
    """The peer broke a rule of MQTT; the connection must end.

    Args:
        reason: the MQTT 5 reason code to answer with.
        clause: the rule, as the OASIS text numbers it (``MQTT-2.2.2-2``, or ``5.0 3.1.2.11``).
        field: what is wrong in the packet.
        value: what was found.
        expected: what would have been right.
    """

    def __init__(self, reason: ReasonCode, clause: str, field: str, value: object, expected: str) -> None:
        """Keep the facts; ``preceding`` holds the good packets that the same chunk began with."""
        super().__init__(f"MQTT [{clause}]", field, value, expected)
        self.reason = reason
        self.clause = clause
        self.preceding: tuple[Packet, ...] = ()


class Properties(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Every property of MQTT 5 (table 2-4); ``None`` or an empty tuple says that it is absent."""

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifiers_available: int | None = None
    shared_subscription_available: int | None = None


NO_PROPERTIES = Properties()


class Will(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """What the server publishes when the client goes away without a farewell."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES


class Connect(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The first packet of a client; ``clean_start`` is 3.1.1's Clean Session."""

    client_id: str
    version: Version = Version.V5
    clean_start: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: Properties = NO_PROPERTIES


class ConnAck(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The server's answer; 3.1.1 return codes 1 to 5 are 0x84, 0x85, 0x88, 0x86 and 0x87."""

    session_present: bool = False
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class Publish(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """An application message; ``packet_id`` is None at QoS 0, ``topic`` is empty only with an alias."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None
    properties: Properties = NO_PROPERTIES


class PubAck(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Answers a QoS 1 PUBLISH."""

    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class PubRec(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Answers a QoS 2 PUBLISH."""

    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class PubRel(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Answers a PUBREC: the sender has let go of the message."""

    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class PubComp(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Answers a PUBREL: the packet identifier is free again."""

    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class Subscription(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One topic filter and its options; 3.1.1 knows only the QoS."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Asks for the messages that match the filters."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = NO_PROPERTIES


class SubAck(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One reason for each filter, in order; 3.1.1 knows only 0, 1, 2 and 0x80."""

    packet_id: int
    reasons: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


class Unsubscribe(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Takes filters back."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


class UnsubAck(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One reason for each filter, in order; none in 3.1.1."""

    packet_id: int
    reasons: tuple[ReasonCode, ...] = ()
    properties: Properties = NO_PROPERTIES


class PingReq(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Is anybody there?"""


class PingResp(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """Somebody is."""


class Disconnect(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The last packet; in 3.1.1 only a client sends it, and it has no reason."""

    reason: ReasonCode = ReasonCode.NORMAL_DISCONNECTION
    properties: Properties = NO_PROPERTIES


class Auth(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """A step of extended authentication, in MQTT 5 only."""

    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)
