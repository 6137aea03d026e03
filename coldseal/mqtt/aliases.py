"""Topic aliases of one connection, one object for each direction (MQTT 5 section 3.3.2.3.4).

Above these nobody sees an alias: a received PUBLISH gets its topic back and loses the alias. A
mapping ends with its connection (MQTT-3.3.2-7), so the objects do too.
"""

from __future__ import annotations

import msgspec

from coldseal.mqtt import clauses
from coldseal.mqtt.packets import Publish, ReasonCode, Version


class InboundAliases:
    """What the peer's aliases stand for.

    Args:
        maximum: the Topic Alias Maximum that was told to the peer.
    """

    __slots__ = ("_maximum", "_topics")

    def __init__(self, maximum: int) -> None:
        """Start without a mapping."""
        self._maximum = maximum
        self._topics: dict[int, str] = {}

    def resolve(self, packet: Publish) -> Publish:
        """Return the message with its topic and without its alias.

        Raises:
            ProtocolError: 0x94 for an alias above the maximum, 0x82 for one that was never set.
        """
        alias = packet.properties.topic_alias
        if alias is None:
            return packet
        if alias > self._maximum:
            rule, invalid = clauses.TOPIC_ALIAS_RANGE, ReasonCode.TOPIC_ALIAS_INVALID
            raise rule.fault(Version.V5, "PUBLISH topic_alias", alias, f"at most {self._maximum}", invalid)
        topic = packet.topic or self._topics.get(alias)
        if topic is None:
            rule, expected = clauses.TOPIC_ALIAS_UNKNOWN, "an alias that was set before"
            raise rule.fault(Version.V5, "PUBLISH topic_alias", alias, expected)
        self._topics[alias] = topic
        properties = msgspec.structs.replace(packet.properties, topic_alias=None)
        return msgspec.structs.replace(packet, topic=topic, properties=properties)


class OutboundAliases:
    """Which topics the peer knows by number; the first topics used get the numbers.

    Args:
        maximum: the Topic Alias Maximum that the peer has told; zero for none.
    """

    __slots__ = ("_aliases", "_maximum")

    def __init__(self, maximum: int) -> None:
        """Start without a mapping."""
        self._maximum = maximum
        self._aliases: dict[str, int] = {}

    def shorten(self, packet: Publish) -> Publish:
        """Return the message as it may be sent: with a known alias instead of its topic, or setting one.

        Call it only for a packet that is then sent, in the order of sending.
        """
        alias = self._aliases.get(packet.topic)
        topic = ""
        if alias is None:
            if len(self._aliases) >= self._maximum:
                return packet
            topic, alias = packet.topic, len(self._aliases) + 1
            self._aliases[topic] = alias
        properties = msgspec.structs.replace(packet.properties, topic_alias=alias)
        return msgspec.structs.replace(packet, topic=topic, properties=properties)
