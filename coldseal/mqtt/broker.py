"""All sessions of one listener: who is admitted, what goes to whom, wills, expiry, what must be kept.

One Broker serves many connections. Events (who asks to be let in, which message came, what broke a rule)
collect in ``events`` for the shell; what must be durable collects in groups, and output that depends on a
group is held back until the shell calls ``confirm``. No sockets, no clock, no storage, no passwords.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from coldseal.mqtt.connection import Connection, Fault, Login
from coldseal.mqtt.encode import encode
from coldseal.mqtt.inbound import Received
from coldseal.mqtt.outbox import Delivery, Item
from coldseal.mqtt.packets import NO_PROPERTIES, ConnAck, Connect, Properties, Publish, ReasonCode, Version
from coldseal.mqtt.retained import Retained
from coldseal.mqtt.session import (
    Changes,
    Identity,
    Notes,
    RetainedRecord,
    Session,
    SessionKey,
    SessionRecord,
    will_delay,
)
from coldseal.mqtt.subscribing import Denied, revoke
from coldseal.mqtt.subscriptions import Held, SubscriptionTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from coldseal.mqtt.limits import Limits
    from coldseal.mqtt.subscribing import Rights

Event: TypeAlias = Received | Login | Fault | Denied

_FAILED = 0x80
_OURS = ""  # the owner of what the gateway itself retains


class Counts(msgspec.Struct):
    """What has happened to outgoing messages since the start, for metrics."""

    sent: int = 0
    full: int = 0
    expired: int = 0
    too_large: int = 0
    not_retained: int = 0


class Broker:
    """The sessions and what moves between them.

    Args:
        limits: every bound.
        answers: the reason code for each outcome that a message may be acknowledged with.
        wake: called when ``ready`` gets its first connection.

    ``now`` is the time that the broker was last told, in seconds since 1970; ``held_bytes`` counts the
    payloads that wait for their outcome, on all connections.
    """

    def __init__(
        self, limits: Limits, answers: Mapping[int, ReasonCode], wake: Callable[[], None], now: float
    ) -> None:
        """Start without sessions."""
        self.limits = limits
        self.answers = answers
        self.now = now
        self.events: list[Event] = []
        self.ready: list[Connection] = []
        self.connections: set[Connection] = set()
        self.tree: SubscriptionTree[SessionKey] = SubscriptionTree()
        self.retained = Retained(limits)
        self.notes = Notes()
        self.saved = 0
        self.counts = Counts()
        self.held_bytes = 0
        self._wake = wake
        self._sessions: dict[SessionKey, Session] = {}
        self._owned: dict[str, set[SessionKey]] = {}
        self._number = 0
        self._turn = 0
        self._is_stopping = False

    @property
    def has_audience(self) -> bool:
        """Whether anybody has subscribed to anything."""
        return self.tree.count > 0

    def open(self, now: float) -> Connection:
        """Take a new network connection."""
        connection = Connection(self, now)
        self.connections.add(connection)
        return connection

    def wake(self, connection: Connection) -> None:
        """A connection has output, has ended, or may be read again."""
        self.ready.append(connection)
        if len(self.ready) == 1:
            self._wake()

    def admit(
        self, connection: Connection, connect: Connect, identity: Identity, rights: Rights, fresh_id: str
    ) -> ReasonCode | None:
        """Find or make the session for a client, or give the reason why it is refused."""
        will = connect.will
        if will is not None and not rights.may_will(will.topic, retain=will.retain):
            self.events.append(Denied(identity, will.topic, is_will=True, payload=will.payload))
            return ReasonCode.NOT_AUTHORIZED
        key = SessionKey(identity.name, connect.client_id or fresh_id)
        old = self._sessions.get(key)
        refusal = self._quota(identity.name, old)
        if refusal is not None:
            return refusal
        if old is not None and old.connection is not None:  # MQTT-3.1.4-3
            old.connection.end(ReasonCode.SESSION_TAKEN_OVER, "another connection has taken the session over")
            old = self._sessions.get(key)
        if old is not None and connect.clean_start:  # MQTT-3.1.2-4
            self._end(old)
            old = None
        session = old or Session(key, identity, self.limits, self.notes)
        self._enter(session, connection, connect, identity)
        revoke(self, session, rights)
        answer = ConnAck(old is not None, properties=self._offer(connect, key, session))
        connection.open(session, rights, connect, answer)
        return None

    def _quota(self, owner: str, old: Session | None) -> ReasonCode | None:
        """Say why there is no room for one more connection or session of this owner."""
        owned = self._owned.get(owner, ())
        live = sum(self._sessions[key].connection is not None for key in owned)
        if live - (old is not None and old.connection is not None) >= self.limits.max_connections_per_device:
            return ReasonCode.QUOTA_EXCEEDED
        if old is None and (
            len(self._sessions) >= self.limits.max_sessions
            or len(owned) >= self.limits.max_sessions_per_device
        ):
            return ReasonCode.QUOTA_EXCEEDED
        return None

    def _enter(self, session: Session, connection: Connection, connect: Connect, identity: Identity) -> None:
        """Bind the session to its new connection."""
        longest = self.limits.session_expiry_max_s
        if connect.version is Version.V5:
            expiry = min(connect.properties.session_expiry_interval or 0, longest)
        else:
            expiry = 0 if connect.clean_start else longest
        self._sessions[session.key] = session
        self._owned.setdefault(session.key.owner, set()).add(session.key)
        session.identity = identity
        session.connection = connection
        session.ends_at = session.will_at = None
        session.will = connect.will
        self.change_expiry(session, expiry)
        session.note()

    def _offer(self, connect: Connect, key: SessionKey, session: Session) -> Properties:
        """Say in CONNACK what differs from what the client asked for, and our bounds."""
        if connect.version is Version.V311:
            return NO_PROPERTIES
        limits, asked = self.limits, connect.properties
        keep_alive, longest = connect.keep_alive, limits.max_keepalive_s
        return Properties(
            session_expiry_interval=(
                session.expiry_s if session.expiry_s != (asked.session_expiry_interval or 0) else None
            ),
            receive_maximum=limits.receive_maximum,
            maximum_packet_size=limits.max_packet_bytes,
            topic_alias_maximum=limits.topic_alias_maximum,
            assigned_client_identifier=None if connect.client_id else key.client_id,
            server_keep_alive=longest if not 0 < keep_alive <= longest else None,
        )

    def change_expiry(self, session: Session, expiry_s: int) -> None:
        """Change how long a session outlives its connection."""
        expiry_s = min(expiry_s, self.limits.session_expiry_max_s)
        if bool(expiry_s) != session.is_durable:
            session.note_all()
        session.expiry_s = expiry_s

    def leave(self, connection: Connection, session: Session | None) -> None:
        """A connection has ended: start its session's clock, or end it; see to its will."""
        self.connections.discard(connection)
        if session is None:
            return
        session.connection = None
        session.ends_at = self.now + session.expiry_s
        if session.will is not None and not self._is_stopping:
            session.will_at = self.now + will_delay(session.will, session.expiry_s)
        session.note()
        self._settle_session(session)

    def _settle_session(self, session: Session) -> None:
        """Publish a will that is due and end a session that is over, unless it is connected."""
        if session.will_at is not None and session.will_at <= self.now:
            self._publish_will(session)
        if session.ends_at is not None and session.ends_at <= self.now:
            self._end(session)

    def _publish_will(self, session: Session) -> None:
        """Hand the will over like any message of its client (MQTT-3.1.2-8)."""
        will, session.will, session.will_at = session.will, None, None
        session.note()
        if will is not None:
            properties = msgspec.structs.replace(will.properties, will_delay_interval=None)
            publish = Publish(will.topic, will.payload, will.qos, will.retain, properties=properties)
            self.events.append(Received(publish, session.identity, session.key.client_id, self))

    def settle(self, received: Received, outcome: int, text: str) -> None:
        """Take the outcome of a will."""
        received.answer, received.text = self.answers[outcome], text
        if received.answer < _FAILED:
            self.route(received.publish, SessionKey(received.identity.name, received.client_id))

    def _end(self, session: Session) -> None:
        """Let go of a session, and publish its will if that still waits (MQTT-3.1.3-9)."""
        if session.will_at is not None:
            self._publish_will(session)
        for topic_filter in session.subscriptions:
            self.tree.unsubscribe(session.key, topic_filter)
        if session.is_durable:
            session.note_all()
        self._sessions.pop(session.key, None)
        owned = self._owned.get(session.key.owner, set())
        owned.discard(session.key)
        if not owned:
            self._owned.pop(session.key.owner, None)

    def publish(self, message: Publish) -> int:
        """Publish for the gateway itself; return how many sessions it was sent to or waits in.

        Raises:
            ProtocolError: it is not a message that could be sent.
        """
        encode(msgspec.structs.replace(message, qos=0, packet_id=None), Version.V5)
        return self.route(message, None)

    def route(self, publish: Publish, source: SessionKey | None) -> int:
        """Retain a message if it asks for that, and give it to everyone who has subscribed."""
        delivery = self._delivery(publish)
        if publish.retain:
            self._retain(delivery, source)
        if not self.has_audience:
            return 0
        found = self.tree.match(publish.topic)
        reached = 0
        for key, held in found.holders.items():
            reached += self._give(delivery, key, held, source)
        for members in found.groups.values():
            reached += self._give_one(delivery, members)
        return reached

    def _delivery(self, publish: Publish) -> Delivery:
        """Keep of a message what its receivers get to see."""
        properties, expires_at = publish.properties, None
        if properties is not NO_PROPERTIES:
            if properties.message_expiry_interval is not None:
                expires_at = self.now + properties.message_expiry_interval
            properties = msgspec.structs.replace(
                properties, message_expiry_interval=None, topic_alias=None, subscription_identifiers=()
            )
        return Delivery(publish.topic, publish.payload, publish.qos, publish.retain, properties, expires_at)

    def _retain(self, delivery: Delivery, source: SessionKey | None) -> None:
        """Keep it as the last message of its topic; an empty one clears it (MQTT-3.3.1-6, -7)."""
        if delivery.payload:
            owner = _OURS if source is None else source.owner
            is_changed = self.retained.put(RetainedRecord(owner, delivery))
            self.counts.not_retained += not is_changed
        else:
            is_changed = self.retained.remove(delivery.topic)
        if is_changed:
            self.notes.count += 1
            self.notes.retained.add(delivery.topic)

    def _give(
        self, delivery: Delivery, key: SessionKey, held: Sequence[Held], source: SessionKey | None
    ) -> int:
        """Give a message to one session, once, at the highest QoS that its subscriptions allow."""
        if key == source:
            held = [each for each in held if not each.subscription.no_local]  # MQTT-3.8.3-3
        if not held:
            return 0
        return self.deliver(self._sessions[key], _adapt(delivery, held))

    def _give_one(self, delivery: Delivery, members: Mapping[SessionKey, Held]) -> int:
        """Give a message to one member of a shared subscription, connected ones first, in turn."""
        self._turn += 1
        keys = list(members)
        start = self._turn % len(keys)
        in_turn = keys[start:] + keys[:start]
        in_turn.sort(key=self._is_away)
        for key in in_turn:
            if self.deliver(self._sessions[key], _adapt(delivery, [members[key]])):
                return 1
        return 0

    def _is_away(self, key: SessionKey) -> bool:
        """Whether a session has no connection, or a slow one."""
        outbound = self._sessions[key].outbound
        return outbound is None or outbound.is_full

    def deliver(self, session: Session, delivery: Delivery) -> bool:
        """Send a message to a session's client, or queue it; False when it had to be dropped."""
        outbound = session.outbound
        if delivery.qos:
            self._number += 1
            is_taken = session.outbox.offer(self._number, delivery)
            self.counts.full += not is_taken
            if is_taken and outbound is not None:
                outbound.pump()
            return is_taken
        return outbound is not None and outbound.deliver(delivery)

    def tick(self, now: float) -> None:
        """Time has passed: end silent connections and sessions that are over, publish wills that are due."""
        self.now = now
        for connection in [each for each in self.connections if each.is_overdue(now)]:
            connection.end(ReasonCode.KEEP_ALIVE_TIMEOUT, "nothing came within 1.5 times the keep-alive")
        for session in [each for each in self._sessions.values() if each.connection is None]:
            self._settle_session(session)
        for record in self.retained:
            if record.delivery.is_expired(now):  # 5.0 3.3.2.3.3
                self.retained.remove(record.delivery.topic)
                self.notes.count += 1
                self.notes.retained.add(record.delivery.topic)

    def stop(self, reason: ReasonCode = ReasonCode.SERVER_SHUTTING_DOWN) -> None:
        """End every connection; sessions that outlive theirs stay. Our end is nobody's will."""
        self._is_stopping = True
        for connection in tuple(self.connections):
            connection.end(reason)

    def take_changes(self) -> Changes | None:
        """Give the open group of changes and begin the next; None when there are none."""
        notes = self.notes
        if notes.is_empty:
            return None
        changes = Changes(
            notes.group,
            {key: self._session_record(key) for key in notes.sessions},
            {(key, number): self._item(key, number) for key, number in notes.messages},
            {topic: self.retained.find(topic) for topic in notes.retained},
        )
        notes.clear()
        return changes

    def confirm(self, group: int) -> None:
        """Everything up to this group of changes is durable."""
        self.saved = group

    def restore(
        self,
        sessions: Iterable[tuple[SessionKey, SessionRecord]],
        items: Mapping[SessionKey, Sequence[Item]],
        retained: Iterable[RetainedRecord],
        now: float,
    ) -> None:
        """Take back what was kept, before the first connection."""
        self.now = now
        for key, record in sessions:
            session = Session(key, record.identity, self.limits, self.notes)
            session.restore(record, now=now)
            session.outbox.restore(items.get(key, ()))
            self._sessions[key] = session
            self._owned.setdefault(key.owner, set()).add(key)
            for held in session.subscriptions.values():
                self.tree.subscribe(key, held)
            self._number = max((self._number, *session.outbox.numbers()))
        for kept in retained:
            self.retained.put(kept)

    def _session_record(self, key: SessionKey) -> SessionRecord | None:
        """Read a session as it is now."""
        session = self._sessions.get(key)
        return session.record() if session is not None and session.is_durable else None

    def _item(self, key: SessionKey, number: int) -> Item | None:
        """Read a message as it is now."""
        session = self._sessions.get(key)
        item = session.outbox.find(number) if session is not None and session.is_durable else None
        return copy(item)  # a writer in a thread must not see it change


def _adapt(delivery: Delivery, held: Sequence[Held]) -> Delivery:
    """Make of a message what these subscriptions get: QoS, retain flag and identifiers (5.0 3.3.4)."""
    qos = min(delivery.qos, max(each.subscription.qos for each in held))
    retain = delivery.retain and any(each.subscription.retain_as_published for each in held)
    properties = delivery.properties
    identifiers = tuple(each.identifier for each in held if each.identifier is not None)
    if identifiers:
        properties = msgspec.structs.replace(properties, subscription_identifiers=identifiers)
    return Delivery(delivery.topic, delivery.payload, qos, retain, properties, delivery.expires_at)
