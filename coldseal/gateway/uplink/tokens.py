"""Timestamps on disk, in a table beside the receipts: written by the uplink, read by all.

A timestamp is durable when `keep` has returned. Losing one loses its moment alone: another can be asked for.
Verifies nothing: what comes here has been verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from coldseal.gateway.store.database import fetch, open_database, translated
from coldseal.gateway.uplink.receipts import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.file_keys import StoreKey

_TABLE: Final = "timestamps"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS timestamps (
    size INTEGER PRIMARY KEY,
    t_ms INTEGER NOT NULL,
    response BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS timestamp_status (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    value BLOB NOT NULL
) STRICT;
"""


class StoredTimestamp(msgspec.Struct, frozen=True):
    """A timestamp as it is kept.

    Args:
        size: of the checkpoint whose text is stamped.
        t_ms: the authority's moment, Unix milliseconds.
        response: what it answered, byte for byte: a ``.tsr`` file.
    """

    size: int
    t_ms: int
    response: bytes


class TimestampStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How timestamps stand; each change is written, and the next process goes on from it.

    Args:
        kept: timestamps kept in all.
        failed: attempts that failed in all, by cause.
        waiting: size at the oldest segment end that has none; 0 if each has one.
        fault: why the last attempt failed; empty when all is well.
        failed_since_ms: when attempts began to fail, Unix milliseconds; 0 when all is well.
    """

    kept: int = 0
    failed: dict[str, int] = {}
    waiting: int = 0
    fault: str = ""
    failed_since_ms: int = 0


class Tokens:
    """The open table; used by one thread at a time."""

    def __init__(self, directory: Path, key: StoreKey, *, readonly: bool = False) -> None:
        """Open ``uplink.db`` in the gateway's data directory, which the receipts have made.

        Raises:
            OperatorError: the key is not the file's.
            UnavailableError: the file cannot be opened, or is not there yet.
        """
        path = directory / NAME
        self._what = str(path)
        self._connection = open_database(path, key, readonly=readonly, schema="" if readonly else _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def keep(self, found: StoredTimestamp, status: TimestampStatus) -> None:
        """Store a timestamp and the state that follows from it; the first one of a size stays.

        Raises:
            UnavailableError: not stored, or unknown; asking for another is harmless.
        """
        with translated(self._what), self._connection:
            self._connection.execute(
                "INSERT INTO timestamps VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (found.size, found.t_ms, found.response),
            )
            self._write_status(status)

    def note(self, status: TimestampStatus) -> None:
        """Store the state alone."""
        with translated(self._what), self._connection:
            self._write_status(status)

    def status(self) -> TimestampStatus:
        """Give the state last written; a fresh one if there is none."""
        rows = self._rows("SELECT value FROM timestamp_status")
        return msgspec.msgpack.decode(rows[0][0], type=TimestampStatus) if rows else TimestampStatus()

    def sizes(self) -> set[int]:
        """Give the sizes that have a timestamp."""
        return {size for (size,) in self._rows("SELECT size FROM timestamps")}

    def timestamps(self, first: int, size: int) -> list[StoredTimestamp]:
        """Give the timestamps of checkpoints over more than ``first``, at most ``size`` entries, rising."""
        query = "SELECT * FROM timestamps WHERE size > ? AND size <= ? ORDER BY size"
        return [StoredTimestamp(*row) for row in self._rows(query, first, size)]

    def _rows(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Give the rows of a query; none from a file of a gateway that never asked for timestamps."""
        with translated(self._what):
            has_table = fetch(self._connection, "SELECT 1 FROM sqlite_schema WHERE name = ?", (_TABLE,))
            return fetch(self._connection, query, values) if has_table else []

    def _write_status(self, status: TimestampStatus) -> None:
        """Replace the state."""
        self._connection.execute(
            "INSERT INTO timestamp_status VALUES (0, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (msgspec.msgpack.encode(status),),
        )
