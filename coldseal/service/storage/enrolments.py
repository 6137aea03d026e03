"""Enrolments on disk: one-time tokens as hashes, the queue of requests, and the history of what was decided.

One encrypted SQLite file beside the ledger; a step is durable when it returns, and a token is spent by one
request only, also of two at one time. The running service and commands use it side by side. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec

from coldseal.errors import UnavailableError
from coldseal.identity.peer import Role
from coldseal.service.storage.database import open_database, verify_encrypted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_REFUSALS: Final = 10_000
"""Refused requests in the history; older ones make room, so that nobody fills the disk with them."""
MERGE_PAGES: Final = 64
"""Pages after which what was written is merged into the file."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tokens (
    hash BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    hosts TEXT NOT NULL,
    maker TEXT NOT NULL,
    expires_t INTEGER NOT NULL,
    wrong INTEGER NOT NULL,
    spki BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    hosts TEXT NOT NULL,
    spki BLOB NOT NULL,
    factory TEXT NOT NULL,
    address TEXT NOT NULL,
    t INTEGER NOT NULL,
    state TEXT NOT NULL,
    decider TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY,
    t INTEGER NOT NULL,
    what TEXT NOT NULL,
    way TEXT NOT NULL,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    serial TEXT NOT NULL,
    who TEXT NOT NULL,
    address TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS history_of_name ON history (role, name, what);
CREATE TABLE IF NOT EXISTS issued (
    way TEXT NOT NULL,
    spki BLOB NOT NULL,
    t INTEGER NOT NULL,
    certificate BLOB NOT NULL,
    PRIMARY KEY (way, spki)
) STRICT, WITHOUT ROWID;
"""


class Token(msgspec.Struct, frozen=True):
    """A one-time token, without the token itself.

    Args:
        hash: SHA-256 of it.
        role: what its bearer becomes.
        name: under which name.
        hosts: reached by these, beside loopback.
        maker: who made it.
        expires_t: when it ends, Unix seconds.
        wrong: tries under its name with another token.
        spki: SHA-256 of the public key that it was spent for; None while it is not.
    """

    hash: bytes
    role: Role
    name: str
    hosts: tuple[str, ...]
    maker: str
    expires_t: int
    wrong: int = 0
    spki: bytes | None = None


class Waiting(msgspec.Struct, frozen=True):
    """A request in the approval queue.

    Args:
        id: under which it is approved.
        role: what it asks to be.
        name: under which name.
        hosts: reached by these, beside loopback.
        spki: SHA-256 of its public key.
        factory: its factory certificate: issuer's name, serial number and subject.
        address: where it came from.
        t: when it first came, Unix seconds.
        state: waiting, approved or refused.
        decider: who decided.
        reason: why.
    """

    id: str
    role: Role
    name: str
    hosts: tuple[str, ...]
    spki: bytes
    factory: str
    address: str
    t: int
    state: str = "waiting"
    decider: str = ""
    reason: str = ""


class Happened(msgspec.Struct, frozen=True):
    """A line of the history.

    Args:
        t: when, Unix seconds.
        what: token, waiting, approved, declined, issued or refused.
        way: by what right: token, factory, approval, renewal or own.
        role: whose certificate it is about.
        name: its name.
        serial: serial number of the certificate, hex; empty without one.
        who: who had it done: the maker of the token, the decider, the certificate that was shown.
        address: where the request came from.
        detail: why.
    """

    t: int
    what: str
    way: str
    role: str
    name: str
    serial: str = ""
    who: str = ""
    address: str = ""
    detail: str = ""


class EnrolmentStore:
    """One open file; may be used by several threads, one at a time."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Open or create it.

        Args:
            path: the file; its directory must exist.
            key: 32 raw bytes.

        Raises:
            OperatorError: the key is not this file's.
            UnavailableError: the file cannot be opened.
            PlaintextError: it is not encrypted.
        """
        self._path = path
        self._lock = Lock()
        self._database = open_database(path, key)
        with self.transaction():
            self._database.execute(_SCHEMA)
        self._database.pragma("wal_autocheckpoint", MERGE_PAGES)
        verify_encrypted(path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside one durable step.

        Raises:
            UnavailableError: the disk refuses, or another program holds the file for too long.
        """
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._database.execute("COMMIT")
                finally:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
            except apsw.Error as error:
                raise UnavailableError(str(self._path), str(error)) from error

    # ---- tokens; all inside a transaction

    def add_token(self, token: Token) -> None:
        """Keep a new token."""
        self._database.execute(
            "INSERT INTO tokens (hash, role, name, hosts, maker, expires_t, wrong)"
            " VALUES (?, ?, ?, ?, ?, ?, 0)",
            (token.hash, token.role, token.name, " ".join(token.hosts), token.maker, token.expires_t),
        )

    def tokens(self, name: str | None = None) -> list[Token]:
        """Give the tokens under a name, or all."""
        query = "SELECT hash, role, name, hosts, maker, expires_t, wrong, spki FROM tokens"
        rows = self._fetch(f"{query} WHERE ?1 IS NULL OR name = ?1 ORDER BY name, expires_t", name)
        return [
            Token(hash_, role, name, tuple(hosts.split()), *rest) for hash_, role, name, hosts, *rest in rows
        ]

    def spend_token(self, token: bytes, spki: bytes) -> None:
        """Spend a token for a public key."""
        self._database.execute("UPDATE tokens SET spki = ? WHERE hash = ?", (spki, token))

    def count_wrong(self, name: str) -> None:
        """Count a wrong guess against the tokens of a name."""
        self._database.execute("UPDATE tokens SET wrong = wrong + 1 WHERE name = ?", (name,))

    def remove_tokens(self, hashes: Sequence[bytes]) -> None:
        """Forget tokens."""
        self._database.executemany("DELETE FROM tokens WHERE hash = ?", [(each,) for each in hashes])

    # ---- the queue

    def put_request(self, request: Waiting) -> None:
        """Put a request into the queue, or its new state in place of the old one."""
        values = (
            request.id, request.role, request.name, " ".join(request.hosts), request.spki, request.factory,
            request.address, request.t, request.state, request.decider, request.reason,
        )  # fmt: skip
        self._database.execute(
            "INSERT OR REPLACE INTO requests (id, role, name, hosts, spki, factory, address, t, state,"
            " decider, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    def requests(self, id_: str | None = None) -> list[Waiting]:
        """Give one request, or all, oldest first."""
        query = (
            "SELECT id, role, name, hosts, spki, factory, address, t, state, decider, reason FROM requests"
        )
        rows = self._fetch(f"{query} WHERE ?1 IS NULL OR id = ?1 ORDER BY t, id", id_)
        return [
            Waiting(id_, role, name, tuple(hosts.split()), *rest) for id_, role, name, hosts, *rest in rows
        ]

    def remove_requests(self, ids: Sequence[str]) -> None:
        """Take requests out of the queue."""
        self._database.executemany("DELETE FROM requests WHERE id = ?", [(each,) for each in ids])

    # ---- what was issued by which right, so that a lost answer can be given again

    def put_issued(self, way: str, spki: bytes, certificate: bytes, t: int, *, forget_t: int) -> None:
        """Keep what was issued, and forget what is older than ``forget_t``."""
        self._database.execute("DELETE FROM issued WHERE t < ?", (forget_t,))
        self._database.execute(
            "INSERT OR REPLACE INTO issued (way, spki, t, certificate) VALUES (?, ?, ?, ?)",
            (way, spki, t, certificate),
        )

    def issued(self, way: str, spki: bytes) -> bytes | None:
        """Give what was issued to a public key by a right."""
        rows = self._fetch("SELECT certificate FROM issued WHERE way = ? AND spki = ?", way, spki)
        return rows[0][0] if rows else None

    # ---- the history

    def add(self, line: Happened) -> None:
        """Add a line to the history."""
        self._database.execute(
            "INSERT INTO history (t, what, way, role, name, serial, who, address, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            msgspec.structs.astuple(line),
        )
        if line.what == "refused":
            self._database.execute(
                "DELETE FROM history WHERE what = 'refused' AND id <="
                " (SELECT id FROM history WHERE what = 'refused' ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (MAX_REFUSALS,),
            )

    def history(self, *, name: str | None = None, limit: int) -> list[Happened]:
        """Give the newest lines, newest first, of one name or of all."""
        query = "SELECT t, what, way, role, name, serial, who, address, detail FROM history"
        rows = self._fetch(f"{query} WHERE ?1 IS NULL OR name = ?1 ORDER BY id DESC LIMIT ?2", name, limit)
        return [Happened(*row) for row in rows]

    def _fetch(self, query: str, *values: str | int | bytes | None) -> list[Any]:
        """Give the rows of a query; the types of its columns are the schema's matter."""
        return self._database.execute(query, values).fetchall()
