"""Sessions that survive a restart: an encrypted database beside the log, written in groups.

A group is one transaction, and what ``write`` returned from is durable. Nothing here is evidence:
readings are in the log before they are acknowledged, and losing this file loses no reading.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.errors import OperatorError
from coldseal.gateway.store.database import copy_wal, fetch, open_database, translated
from coldseal.mqtt.outbox import Item
from coldseal.mqtt.session import RetainedRecord, SessionKey, SessionRecord

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.database import Connection
    from coldseal.mqtt.session import Changes

FORMAT: Final = 1
"""Version of what the rows hold; kept in the database's ``user_version``."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
  owner TEXT NOT NULL, client TEXT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (owner, client)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
  owner TEXT NOT NULL, client TEXT NOT NULL, number INTEGER NOT NULL, item BLOB NOT NULL,
  PRIMARY KEY (owner, client, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
"""
_ROWS_BEFORE_TIDYING: Final = 2_000

_FORGET_MESSAGE: Final = "DELETE FROM messages WHERE owner = ? AND client = ? AND number = ?"

_encode: Final = msgspec.msgpack.Encoder().encode
_session: Final = msgspec.msgpack.Decoder(SessionRecord).decode
_item: Final = msgspec.msgpack.Decoder(Item).decode
_retained: Final = msgspec.msgpack.Decoder(RetainedRecord).decode


class Kept(NamedTuple):
    """What was on disk, as ``Broker.restore`` takes it."""

    sessions: list[tuple[SessionKey, SessionRecord]]
    items: dict[SessionKey, list[Item]]
    retained: list[RetainedRecord]


class SessionStore:
    """The sessions, waiting messages and retained messages of one listener; one thread at a time."""

    def __init__(self, database: Connection, path: Path) -> None:
        """Take an open database; ``SessionStore.open`` is the usual way."""
        self._database = database
        self._path = str(path)
        self._rows = 0

    @classmethod
    def open(cls, path: Path, key: bytes) -> SessionStore:
        """Open or make the database.

        Raises:
            OperatorError: wrong key, or written by a later version of the program.
            UnavailableError: it cannot be read or written.
        """
        database = open_database(path, key, schema=_SCHEMA)
        with translated(str(path)):
            found = database.pragma("user_version")
            if not found:
                database.pragma("user_version", FORMAT)
        if found not in {0, FORMAT}:
            database.close()
            hint = "Run the version that wrote it"
            raise OperatorError(f"{path} has format {found}, expected {FORMAT}", hint)
        return cls(database, path)

    def load(self) -> Kept:
        """Read everything.

        Raises:
            UnavailableError: it cannot be read.
            OperatorError: a row does not hold what this version writes.
        """
        with translated(self._path):
            sessions = fetch(self._database, "SELECT owner, client, record FROM sessions")
            items = fetch(self._database, "SELECT owner, client, item FROM messages")
            retained = fetch(self._database, "SELECT record FROM retained")
        kept = Kept([], defaultdict(list), [])
        try:
            for owner, client, row in sessions:
                kept.sessions.append((SessionKey(owner, client), _session(row)))
            for owner, client, row in items:
                kept.items[SessionKey(owner, client)].append(_item(row))
            for (row,) in retained:
                kept.retained.append(_retained(row))
        except msgspec.DecodeError as error:
            hint = "Move the file away: devices then begin new sessions, and no reading is lost"
            raise OperatorError(f"{self._path} holds a row that cannot be read: {error}", hint) from error
        return kept

    def write(self, changes: Changes) -> None:
        """Write one group in one transaction; it is durable when this returns.

        Raises:
            UnavailableError: the disk refuses; the same group may be written again.
        """
        database = self._database
        with translated(self._path), database:
            for key, record in changes.sessions.items():
                if record is None:
                    database.execute("DELETE FROM sessions WHERE owner = ? AND client = ?", key)
                else:
                    database.execute("REPLACE INTO sessions VALUES (?, ?, ?)", (*key, _encode(record)))
            for (key, number), item in changes.messages.items():
                if item is None:
                    database.execute(_FORGET_MESSAGE, (*key, number))
                else:
                    database.execute(
                        "REPLACE INTO messages VALUES (?, ?, ?, ?)", (*key, number, _encode(item))
                    )
            for topic, kept in changes.retained.items():
                if kept is None:
                    database.execute("DELETE FROM retained WHERE topic = ?", (topic,))
                else:
                    database.execute("REPLACE INTO retained VALUES (?, ?)", (topic, _encode(kept)))
        self._rows += len(changes.sessions) + len(changes.messages) + len(changes.retained)

    def tidy(self) -> None:
        """Copy the write-ahead log into the file once it has grown; apart from ``write``, which is final.

        Raises:
            UnavailableError: the disk refuses; nothing is lost.
        """
        if self._rows >= _ROWS_BEFORE_TIDYING:
            self._rows = 0
            with translated(self._path):
                copy_wal(self._database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
