"""SUBSCRIBE and UNSUBSCRIBE: each filter is judged alone and answered with its own reason.

Rights come from outside and are asked before anything else. Retained messages are found here and
sent by the caller, behind the SUBACK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from coldseal.mqtt.packets import ReasonCode, SubAck, Subscribe, UnsubAck, Unsubscribe
from coldseal.mqtt.subscriptions import FilterError, Held, is_match, parse_filter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.mqtt.broker import Broker
    from coldseal.mqtt.outbox import Delivery
    from coldseal.mqtt.session import Identity, Session

_ALWAYS, _IF_NEW = 0, 1  # retain handling (5.0 3.8.3.1)


class Rights(Protocol):
    """What the holder of a connection may do."""

    def may_publish(self, topic: str) -> bool:
        """Whether it may publish this topic."""

    def may_will(self, topic: str, *, retain: bool) -> bool:
        """Whether its will may have this topic."""

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether it may subscribe to this filter, shared or not."""


class Denied(NamedTuple):
    """A right was refused that is no message's: who asked, for what; a will with its payload.

    One that ``is_lost`` was held before, and nobody has asked for it now.
    """

    identity: Identity
    topic: str
    is_will: bool = False
    payload: bytes = b""
    is_lost: bool = False


def subscribe(
    broker: Broker, session: Session, rights: Rights, packet: Subscribe
) -> tuple[SubAck, list[Held]]:
    """Add the subscriptions; return the answer, and those whose retained messages are due now."""
    identifiers = packet.properties.subscription_identifiers
    identifier = identifiers[0] if identifiers else None
    reasons: list[ReasonCode] = []
    fresh: list[Held] = []
    for asked in packet.subscriptions:
        held = Held(asked, identifier)
        reason, is_new = _add(broker, session, rights, held)
        reasons.append(reason)
        if reason <= ReasonCode.GRANTED_QOS_2:
            handling = asked.retain_handling
            if handling == _ALWAYS or (handling == _IF_NEW and is_new):
                fresh.append(held)
    return SubAck(packet.packet_id, tuple(reasons)), fresh


def _add(broker: Broker, session: Session, rights: Rights, held: Held) -> tuple[ReasonCode, bool]:
    """Add one subscription, or say why not; also say whether it is a new one."""
    asked = held.subscription
    if not rights.may_subscribe(asked.filter):
        broker.events.append(Denied(session.identity, asked.filter))
        return ReasonCode.NOT_AUTHORIZED, False
    known = session.subscriptions
    if asked.filter not in known and len(known) >= broker.limits.max_subscriptions:
        return ReasonCode.QUOTA_EXCEEDED, False
    try:
        is_new = broker.tree.subscribe(session.key, held)
    except FilterError:
        return ReasonCode.TOPIC_FILTER_INVALID, False
    known[asked.filter] = held
    session.note()
    return ReasonCode(asked.qos), is_new


def unsubscribe(broker: Broker, session: Session, packet: Unsubscribe) -> UnsubAck:
    """Take the subscriptions back; return the answer."""
    reasons = []
    for topic_filter in packet.filters:
        if session.subscriptions.pop(topic_filter, None) is None:
            reasons.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
            continue
        broker.tree.unsubscribe(session.key, topic_filter)
        session.note()
        reasons.append(ReasonCode.SUCCESS)
    return UnsubAck(packet.packet_id, tuple(reasons))


def revoke(broker: Broker, session: Session, rights: Rights) -> None:
    """Take away what the holder may no longer have, with the messages that wait only because of it."""
    lost = [each for each in session.subscriptions if not rights.may_subscribe(each)]
    if not lost:
        return
    for topic_filter in lost:
        broker.events.append(Denied(session.identity, topic_filter, is_lost=True))
        del session.subscriptions[topic_filter]
        broker.tree.unsubscribe(session.key, topic_filter)
    session.note()
    filters = [parse_filter(each).levels for each in session.subscriptions]
    session.outbox.keep_only(lambda topic: any(is_match(levels, topic) for levels in filters))


def find_retained(broker: Broker, held: Held) -> Iterator[Delivery]:
    """Find what is retained for a new subscription; a shared one gets nothing (5.0 4.8.2)."""
    asked = held.subscription
    group, levels = parse_filter(asked.filter)
    if group:
        return
    for record in broker.retained.match(levels):
        found = record.delivery
        if found.is_expired(broker.now):
            continue
        properties = found.properties
        if held.identifier is not None:
            properties = msgspec.structs.replace(properties, subscription_identifiers=(held.identifier,))
        yield msgspec.structs.replace(
            found, qos=min(found.qos, asked.qos), retain=True, properties=properties
        )  # MQTT-3.3.1-8 (3.1.1), 5.0 3.3.1.3
