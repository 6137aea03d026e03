"""The rules of the wire format and where each OASIS text states it, for errors and their tests.

A rule that a text numbers is named by that number (``MQTT-2.2.2-2``); one that stands only in
prose is named by text and section (``5.0 2.1.4``). The normative numbers of 3.1.1 and 5.0 differ.
"""

from __future__ import annotations

from typing import NamedTuple

from coldseal.mqtt.packets import ProtocolError, ReasonCode, Version


class Rule(NamedTuple):
    """One rule and its place in both texts."""

    v311: str
    v5: str

    def clause(self, version: Version | None) -> str:
        """Name the rule as the text of the version does; 5.0 speaks while the version is unknown."""
        return self.v311 if version is Version.V311 else self.v5

    def fault(
        self,
        version: Version | None,
        field: str,
        value: object,
        expected: str,
        reason: ReasonCode = ReasonCode.PROTOCOL_ERROR,
    ) -> ProtocolError:
        """Make the error of whoever broke the rule."""
        return ProtocolError(reason, self.clause(version), field, value, expected)


def _same(clause: str) -> Rule:
    return Rule(clause, clause)


# 1.5, 2: data and fixed header
UTF8 = Rule("MQTT-1.5.3-1", "MQTT-1.5.4-1")
NO_NULL = Rule("MQTT-1.5.3-2", "MQTT-1.5.4-2")
STRING_LENGTH = Rule("3.1.1 1.5.3", "5.0 1.5.4")
BINARY_LENGTH = Rule("3.1.1 3.1.3.5", "5.0 1.5.6")
INTEGER_RANGE = Rule("3.1.1 1.5.2", "5.0 1.5.2")
VARINT_LENGTH = Rule("3.1.1 2.2.3", "5.0 1.5.5")
VARINT_MINIMAL = Rule("3.1.1 2.2.3", "MQTT-1.5.5-1")
CLOSED = Rule("MQTT-4.8.0-1", "MQTT-4.13.1-1")
PACKET_TYPE = Rule("3.1.1 2.2.1", "5.0 2.1.2")
FLAGS = Rule("MQTT-2.2.2-2", "MQTT-2.1.3-1")
REMAINING_LENGTH = Rule("3.1.1 2.2.3", "5.0 2.1.4")
MAXIMUM_PACKET_SIZE = Rule("3.1.1 2.2.3", "5.0 3.1.2.11.4")
PACKET_ID = Rule("MQTT-2.3.1-1", "MQTT-2.2.1-3")
PACKET_ID_ABSENT = Rule("MQTT-2.3.1-5", "MQTT-2.2.1-2")
PROPERTY_ALLOWED = _same("5.0 2.2.2.2")
PROPERTY_LENGTH = _same("5.0 2.2.2.1")

# 3.1, 3.2: CONNECT and CONNACK
FIRST_PACKET = _same("MQTT-3.1.0-1")
ONE_CONNECT = _same("MQTT-3.1.0-2")
PROTOCOL_NAME = _same("MQTT-3.1.2-1")
PROTOCOL_LEVEL = _same("MQTT-3.1.2-2")
CONNECT_RESERVED = _same("MQTT-3.1.2-3")
WILL_QOS_ABSENT = Rule("MQTT-3.1.2-13", "MQTT-3.1.2-11")
WILL_QOS = Rule("MQTT-3.1.2-14", "MQTT-3.1.2-12")
WILL_RETAIN_ABSENT = Rule("MQTT-3.1.2-15", "MQTT-3.1.2-13")
PASSWORD_ALONE = Rule("MQTT-3.1.2-22", "5.0 3.1.2.9")
EMPTY_CLIENT_ID = Rule("MQTT-3.1.3-8", "MQTT-3.1.3-6")
AUTHENTICATION_DATA = _same("5.0 3.1.2.11.10")
CONNACK_FLAGS = Rule("3.1.1 3.2.2.1", "MQTT-3.2.2-1")
CONNACK_SESSION = Rule("MQTT-3.2.2-4", "MQTT-3.2.2-6")
CONNACK_REASON = Rule("3.1.1 3.2.2.3", "MQTT-3.2.2-8")

# 3.3 to 3.7: PUBLISH and its answers
DUP_QOS_0 = _same("MQTT-3.3.1-2")
QOS_3 = _same("MQTT-3.3.1-4")
TOPIC_WILDCARD = _same("MQTT-3.3.2-2")
TOPIC_ALIAS_ZERO = _same("MQTT-3.3.2-8")
TOPIC_ALIAS_RANGE = _same("5.0 3.3.2.3.4")
TOPIC_ALIAS_UNKNOWN = _same("5.0 3.3.2.3.4")
RESPONSE_TOPIC_WILDCARD = _same("MQTT-3.3.2-14")
PUBACK_REASON = _same("MQTT-3.4.2-1")
PUBREC_REASON = _same("MQTT-3.5.2-1")
PUBREL_REASON = _same("MQTT-3.6.2-1")
PUBCOMP_REASON = _same("MQTT-3.7.2-1")

# 3.8 to 3.11: subscriptions
TOPIC_MINIMUM = _same("MQTT-4.7.3-1")
FILTER_HASH = Rule("MQTT-4.7.1-2", "MQTT-4.7.1-1")
FILTER_PLUS = Rule("MQTT-4.7.1-3", "MQTT-4.7.1-2")
SHARE_NAME = _same("MQTT-4.8.2-2")
SHARE_FILTER = _same("MQTT-4.8.2-1")
SUBSCRIBE_NOT_EMPTY = Rule("MQTT-3.8.3-3", "MQTT-3.8.3-2")
SUBSCRIBE_RESERVED = Rule("MQTT-3-8.3-4", "MQTT-3.8.3-5")  # the 3.1.1 text writes it so
SUBSCRIBE_QOS = Rule("MQTT-3-8.3-4", "5.0 3.8.3.1")
SUBSCRIBE_RETAIN = _same("5.0 3.8.3.1")
SHARED_NO_LOCAL = _same("MQTT-3.8.3-4")
SUBACK_REASON = _same("MQTT-3.9.3-2")
SUBACK_NOT_EMPTY = _same("MQTT-3.9.3-1")
UNSUBSCRIBE_NOT_EMPTY = _same("MQTT-3.10.3-2")
UNSUBACK_REASON = _same("MQTT-3.11.3-2")
UNSUBACK_NOT_EMPTY = _same("MQTT-3.11.3-1")

# 3.14, 3.15: farewell and authentication
DISCONNECT_REASON = _same("MQTT-3.14.2-1")
AUTH_REASON = _same("MQTT-3.15.2-1")
AUTH_METHOD = _same("5.0 3.15.2.2.2")

# what one end may do now, for the machines
SERVER_SENDS = Rule("MQTT-4.8.0-1", "MQTT-4.13.1-1")
CLEAN_SESSION_PRESENT = Rule("MQTT-3.2.2-1", "MQTT-3.2.2-2")
SESSION_UNKNOWN = _same("MQTT-3.2.2-4")
RECEIVE_MAXIMUM = _same("MQTT-3.3.4-9")
ID_IN_USE = Rule("MQTT-2.3.1-4", "MQTT-2.2.1-4")
WRONG_ANSWER = Rule("MQTT-2.3.1-6", "MQTT-3.3.4-1")
ANSWER_COUNT = Rule("MQTT-3.8.4-5", "MQTT-3.8.4-6")
PROBLEM_INFORMATION = _same("MQTT-3.1.2-29")
AUTH_NOT_ASKED = _same("MQTT-4.12.0-6")
AUTH_OTHER_METHOD = _same("MQTT-4.12.0-5")
DISCONNECT_EXPIRY = _same("MQTT-3.14.2-2")
MAXIMUM_QOS = _same("MQTT-3.2.2-11")
RETAIN_UNAVAILABLE = _same("MQTT-3.2.2-14")
SERVER_PACKET_SIZE = _same("MQTT-3.2.2-15")
