"""What a broker keeps of one client between connections, and the note of what must be written down.

A session belongs to an owner (the authenticated device) and a client id, so no device can see or
take over another's. It decides nothing about time or rights and holds no socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from coldseal.mqtt.outbox import Delivery, Item, Outbox
from coldseal.mqtt.packets import Will
from coldseal.mqtt.subscriptions import Held

if TYPE_CHECKING:
    from coldseal.mqtt.connection import Connection
    from coldseal.mqtt.inbound import Received
    from coldseal.mqtt.limits import Limits
    from coldseal.mqtt.outbound import Outbound


RESTART_GRACE_S = 60
"""After a restart a client has this long to come back before its will is published."""


class SessionKey(NamedTuple):
    """Whose session it is, and the client id within that owner."""

    owner: str
    client_id: str


class Identity(msgspec.Struct, frozen=True):
    """Who stands behind a connection: its name, and the credential that proved it (may be empty)."""

    name: str
    credential: str = ""


class SessionRecord(msgspec.Struct, frozen=True):
    """A session as it is kept on disk; ``ends_at`` and ``will_at`` are None while it is connected."""

    identity: Identity
    expiry_s: int
    ends_at: float | None
    subscriptions: tuple[Held, ...]
    received: tuple[int, ...]
    will: Will | None = None
    will_at: float | None = None


class RetainedRecord(msgspec.Struct, frozen=True):
    """A retained message as it is kept on disk, with the owner that published it."""

    owner: str
    delivery: Delivery


class Changes(msgspec.Struct, frozen=True):
    """One group of changes, to be written in one transaction; None says that a row goes.

    Args:
        group: its number; everything up to it is safe once it is written.
        sessions: by key.
        messages: by key and message number.
        retained: by topic.
    """

    group: int
    sessions: dict[SessionKey, SessionRecord | None]
    messages: dict[tuple[SessionKey, int], Item | None]
    retained: dict[str, RetainedRecord | None]


class Notes:
    """Collects which rows have changed since the last group was taken; what they are is read then."""

    __slots__ = ("count", "group", "messages", "retained", "sessions")

    def __init__(self) -> None:
        """Start the first group; ``count`` grows with every change."""
        self.group = 1
        self.count = 0
        self.sessions: set[SessionKey] = set()
        self.messages: set[tuple[SessionKey, int]] = set()
        self.retained: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether the open group holds nothing."""
        return not (self.sessions or self.messages or self.retained)

    @property
    def latest(self) -> int:
        """The group that holds the latest change: once it is durable, everything so far is."""
        return self.group - self.is_empty

    def clear(self) -> None:
        """Begin the next group."""
        self.group += 1
        self.sessions, self.messages, self.retained = set(), set(), set()


class Session:
    """One client's state (MQTT 4.1): subscriptions, messages both ways, its will.

    Args:
        key: whose it is.
        identity: who opened it.
        limits: bounds of its outbox.
        notes: where changes are noted while the session outlives its connection.
    """

    __slots__ = ("_notes", "connection", "ends_at", "expiry_s", "identity", "inbound", "key", "outbox",
                 "subscriptions", "will", "will_at")  # fmt: skip

    def __init__(self, key: SessionKey, identity: Identity, limits: Limits, notes: Notes) -> None:
        """Start empty; ``inbound`` maps a QoS 2 packet id to its message, or to None once PUBREC is due."""
        self.key = key
        self.identity = identity
        self.expiry_s = 0
        self.ends_at: float | None = None
        self.subscriptions: dict[str, Held] = {}
        self.inbound: dict[int, Received | None] = {}
        self.outbox = Outbox(limits.max_queued, limits.max_queued_bytes, self._note_message)
        self.connection: Connection | None = None
        self.will: Will | None = None
        self.will_at: float | None = None
        self._notes = notes

    @property
    def is_durable(self) -> bool:
        """Whether it outlives its connection."""
        return self.expiry_s > 0

    @property
    def outbound(self) -> Outbound | None:
        """The way to its client, while there is one."""
        dialogue = self.connection.dialogue if self.connection is not None else None
        return dialogue.outbound if dialogue is not None else None

    def note(self) -> None:
        """Something but a message has changed."""
        if self.expiry_s:
            self._notes.count += 1
            self._notes.sessions.add(self.key)

    def note_all(self) -> None:
        """It begins, or ceases, to be kept: everything has changed."""
        self._notes.count += 1
        self._notes.sessions.add(self.key)
        self._notes.messages.update((self.key, number) for number in self.outbox.numbers())

    def _note_message(self, number: int) -> None:
        """A message of the outbox has changed."""
        if self.expiry_s:
            self._notes.count += 1
            self._notes.messages.add((self.key, number))

    def record(self) -> SessionRecord:
        """Give what is kept on disk; messages are kept apart."""
        received = tuple(number for number, waiting in self.inbound.items() if waiting is None)
        held = tuple(self.subscriptions.values())
        return SessionRecord(
            self.identity, self.expiry_s, self.ends_at, held, received, self.will, self.will_at
        )

    def restore(self, record: SessionRecord, *, now: float) -> None:
        """Take back what was kept; an open connection has ended without a farewell."""
        self.expiry_s = record.expiry_s
        self.ends_at = now + record.expiry_s if record.ends_at is None else record.ends_at
        self.subscriptions = {held.subscription.filter: held for held in record.subscriptions}
        self.inbound = dict.fromkeys(record.received)
        self.will, self.will_at = record.will, record.will_at
        if self.will is not None and self.will_at is None:
            self.will_at = now + min(
                max(will_delay(self.will, self.expiry_s), RESTART_GRACE_S), self.expiry_s
            )


def will_delay(will: Will, expiry_s: int) -> int:
    """Seconds between the end of a connection and its will (MQTT 3.1.3.2.2): at most the session's rest."""
    return min(will.properties.will_delay_interval or 0, expiry_s)
