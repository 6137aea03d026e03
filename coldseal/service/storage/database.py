"""The ledger's database file: encrypted and authenticated by pages, durable, with its schema, or not opened.

AEGIS-256 under a raw key, WAL, `synchronous=FULL`. The WAL is merged only when the owner asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from coldseal.errors import OperatorError, TrustError, UnavailableError

PAGE_BYTES: Final = 16_384
BUSY_MS: Final = 5_000
_HEADER: Final = b"SQLite format 3\0"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    last BLOB NOT NULL,
    hashes BLOB NOT NULL,
    root BLOB NOT NULL,
    mode TEXT NOT NULL,
    verified INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS bundles (
    id INTEGER PRIMARY KEY,
    log INTEGER NOT NULL REFERENCES logs,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    frames BLOB NOT NULL,
    UNIQUE (log, first)
) STRICT;
CREATE TABLE IF NOT EXISTS tiles (
    log INTEGER NOT NULL REFERENCES logs,
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    root BLOB NOT NULL,
    PRIMARY KEY (log, level, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (
    log INTEGER NOT NULL REFERENCES logs,
    number INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (log, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (
    log INTEGER NOT NULL REFERENCES logs,
    size INTEGER NOT NULL,
    t INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (log, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refuted (
    log INTEGER NOT NULL REFERENCES logs,
    seq INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS witnessed (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    t INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS successors (
    origin TEXT PRIMARY KEY,
    predecessor TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS announced (
    origin TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    t TEXT NOT NULL,
    since INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    verdict TEXT NOT NULL,
    first_t INTEGER NOT NULL,
    last_t INTEGER NOT NULL,
    times INTEGER NOT NULL,
    detail TEXT NOT NULL,
    note BLOB NOT NULL,
    held BLOB NOT NULL,
    entry BLOB NOT NULL,
    UNIQUE (origin, verdict, note)
) STRICT;
"""


class PlaintextError(TrustError):
    """The ledger can be read without its key."""

    verdict = "plaintext-store"


def open_database(path: Path, key: bytes) -> apsw.Connection:
    """Open one connection: cipher, key, durability; a page is read so that a wrong key shows here.

    Args:
        path: the database file; its directory must exist.
        key: 32 raw bytes.

    Raises:
        OperatorError: the key is not this file's.
        UnavailableError: the file cannot be opened.
    """
    try:
        connection = apsw.Connection(str(path))
    except apsw.Error as error:
        raise UnavailableError(str(path), str(error)) from error
    try:
        connection.pragma("cipher", "aegis")
        connection.pragma("algorithm", "aegis-256")
        connection.pragma("page_size", PAGE_BYTES)  # before the key: the cipher works by pages
        connection.pragma("key", f"raw:{key.hex()}")
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("temp_store", "memory")  # a temporary file would be plaintext
        connection.pragma("trusted_schema", 0)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("wal_autocheckpoint", 0)
        connection.pragma("foreign_keys", 1)
    except apsw.NotADBError as error:
        connection.close()
        hint = "Give the key that the ledger was made with, or another data directory."
        raise OperatorError(f"{path} is not a ledger under this key", hint) from error
    except apsw.Error as error:
        connection.close()
        raise UnavailableError(str(path), str(error)) from error
    return connection


def verify_encrypted(path: Path) -> None:
    """Look at the file: it may not show what it is.

    Through SQLite's own file layer, because closing a descriptor of ours would drop SQLite's locks.

    Raises:
        PlaintextError: it begins as a plain database does.
    """
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
    stream = apsw.VFSFile("unix", str(path.resolve()), flags)
    try:
        if stream.xRead(len(_HEADER), 0) == _HEADER:
            raise PlaintextError(f"{path} is not encrypted")
    finally:
        stream.xClose()
