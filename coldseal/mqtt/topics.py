"""The shape of topic names and topic filters (section 4.7), and of shared filters (5.0 4.8.2).

Checks syntax only: who may publish or subscribe, and which filter matches, is decided elsewhere.
"""

from __future__ import annotations

from coldseal.mqtt import clauses
from coldseal.mqtt.packets import ReasonCode, Version
from coldseal.mqtt.wire import Reader, Writer

SHARE = "$share/"


def check_topic(side: Reader | Writer, field: str, topic: str) -> None:
    """Refuse an empty topic name, or one with a wildcard.

    Raises:
        ProtocolError: naming the clause.
    """
    if not topic:
        expected = "at least one character"
        raise side.fault(clauses.TOPIC_MINIMUM, field, topic, expected, ReasonCode.PROTOCOL_ERROR)
    if "#" in topic or "+" in topic:
        raise side.fault(clauses.TOPIC_WILDCARD, field, topic, "no wildcard in a topic name")


def check_filter(side: Reader | Writer, topic_filter: str) -> bool:
    """Refuse a topic filter with a misplaced wildcard or share name; say whether it is shared.

    Shared subscriptions exist since MQTT 5; in 3.1.1 ``$share`` is a level like any other.

    Raises:
        ProtocolError: naming the clause.
    """
    is_shared = side.version is not Version.V311 and topic_filter.startswith(SHARE)
    rest = _behind_share(side, topic_filter) if is_shared else topic_filter
    if not rest:
        rule = clauses.SHARE_NAME if is_shared else clauses.TOPIC_MINIMUM
        raise side.fault(rule, "topic filter", topic_filter, "at least one character")
    if "#" in rest and (rest.index("#") != len(rest) - 1 or (len(rest) > 1 and rest[-2] != "/")):
        raise side.fault(clauses.FILTER_HASH, "topic filter", topic_filter, "# alone as the last level")
    if "+" in rest and any("+" in level and level != "+" for level in rest.split("/")):
        raise side.fault(clauses.FILTER_PLUS, "topic filter", topic_filter, "+ alone in its level")
    return is_shared


def _behind_share(side: Reader | Writer, topic_filter: str) -> str:
    """Return the topic filter behind ``$share/{name}/``."""
    name, _, rest = topic_filter.removeprefix(SHARE).partition("/")
    if not name:
        raise side.fault(clauses.SHARE_FILTER, "share name", topic_filter, "at least one character")
    if "#" in name or "+" in name:
        raise side.fault(clauses.SHARE_NAME, "share name", topic_filter, "no wildcard in the share name")
    return rest
