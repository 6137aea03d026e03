"""Receipts and the uplink's state on disk, in ``uplink.db``: written by the uplink, read by all.

A receipt is durable when `keep` has returned. Losing the file loses no entry: the service answers with the
same receipts again. Verifies nothing: what comes here has been verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from coldseal.gateway.store.database import close_final, copy_wal, fetch, open_database, translated
from coldseal.gateway.store.file_keys import StoreKey
from coldseal.gateway.uplink.cosignatures import SCHEMA, Cosignatures
from coldseal.signing.private_files import sync_directory

NAME: Final = "uplink.db"
COPY_WAL_EVERY: Final = 256
"""Receipts after which the WAL is copied into the file."""

_DRAFT: Final = ".new"
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS receipts (
    size INTEGER PRIMARY KEY,
    cosigned_s INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS status (id INTEGER PRIMARY KEY CHECK (id = 0), value BLOB NOT NULL) STRICT;
{SCHEMA}"""


class StoredReceipt(msgspec.Struct, frozen=True):
    """A receipt as it is kept.

    Args:
        size: entries below are delivered.
        cosigned_s: when the witness signed, Unix seconds, by its clock.
        received_ms: when it came, Unix milliseconds, by ours.
        note: the cosigned checkpoint.
    """

    size: int
    cosigned_s: int
    received_ms: int
    note: bytes


class UplinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How delivery stands; each change is written.

    Args:
        phase: ``idle``, ``sending``, ``waiting`` or ``held``.
        published: entries that have a receipt.
        receipt_ms: when the newest receipt came, Unix milliseconds; 0 if never.
        failures: attempts in a row without progress; 0 when all is well.
        fault: why the last attempt failed; empty when all is well.
        failed_since_ms: when attempts began to fail; 0 when all is well.
        failed: attempts that failed since this process began, by cause.
        signatures_verified: entries whose own signatures the service has checked.
        refuted: newest seqs that the service refutes.
    """

    phase: str = "idle"
    published: int = 0
    receipt_ms: int = 0
    failures: int = 0
    fault: str = ""
    failed_since_ms: int = 0
    failed: dict[str, int] = {}
    signatures_verified: int = 0
    refuted: tuple[int, ...] = ()


class Receipts:
    """The open file; used by one thread at a time.

    Attributes:
        cosignatures: what further witnesses signed.
    """

    def __init__(
        self,
        directory: Path,
        key: StoreKey,
        *,
        readonly: bool = False,
        quorum: int = 1,
        witnesses: Sequence[str] | None = None,
    ) -> None:
        """Open ``uplink.db`` in the gateway's data directory; the writer makes it.

        Args:
            directory: the data directory.
            key: the store key.
            readonly: for all but the writer.
            quorum: for the writer: cosignatures on one checkpoint that make it witnessed.
            witnesses: likewise: the further ones that count for it, by name and key id; None: all.

        Raises:
            OperatorError: the key is not the file's.
            UnavailableError: the file cannot be opened, or is not there yet for a reader.
        """
        path = directory / NAME
        if not readonly and not path.exists():
            _create(path, key)
        self._what = str(path)
        self._connection = open_database(path, key, readonly=readonly, schema="" if readonly else _SCHEMA)
        self.cosignatures = Cosignatures(self._what, self._connection, quorum, witnesses)
        if not readonly:
            self.cosignatures.recount()
        self._kept = 0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def keep(self, receipt: StoredReceipt, status: UplinkStatus) -> None:
        """Store a receipt, with the cosignatures that came before it, and the state; durable on return.

        Raises:
            UnavailableError: not stored, or unknown; asking the service again is harmless.
        """
        with translated(self._what):
            with self._connection:
                self._connection.execute(
                    "INSERT INTO receipts VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (
                        receipt.size,
                        receipt.cosigned_s,
                        receipt.received_ms,
                        self.cosignatures.join(receipt.size, receipt.note),
                    ),
                )
                self.cosignatures.count(receipt.size)
                self._write_status(status)
            self._kept += 1
            if self._kept % COPY_WAL_EVERY == 0:
                copy_wal(self._connection)

    def note(self, status: UplinkStatus) -> None:
        """Store the state alone."""
        with translated(self._what), self._connection:
            self._write_status(status)

    def status(self) -> UplinkStatus:
        """Give the state last written; a fresh one if there is none."""
        with translated(self._what):
            rows = fetch(self._connection, "SELECT value FROM status")
        return msgspec.msgpack.decode(rows[0][0], type=UplinkStatus) if rows else UplinkStatus()

    def newest(self) -> StoredReceipt | None:
        """Give the receipt over the most entries."""
        return self._one("SELECT * FROM receipts ORDER BY size DESC LIMIT 1")

    def over(self, size: int) -> StoredReceipt | None:
        """Give the first receipt over at least ``size`` entries: it proves them delivered."""
        return self._one("SELECT * FROM receipts WHERE size >= ? ORDER BY size LIMIT 1", size)

    def all(self) -> list[StoredReceipt]:
        """Give all receipts, rising."""
        with translated(self._what):
            return [
                StoredReceipt(*row) for row in fetch(self._connection, "SELECT * FROM receipts ORDER BY size")
            ]

    def _one(self, query: str, *values: int) -> StoredReceipt | None:
        """Give the first row of a query."""
        with translated(self._what):
            rows = fetch(self._connection, query, values)
        return StoredReceipt(*rows[0]) if rows else None

    def _write_status(self, status: UplinkStatus) -> None:
        """Replace the state."""
        self._connection.execute(
            "INSERT INTO status VALUES (0, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (msgspec.msgpack.encode(status),),
        )


def _create(path: Path, key: StoreKey) -> None:
    """Make the file in one step: a reader finds nothing or all of it.

    Raises:
        UnavailableError: it cannot be written.
    """
    for left in path.parent.glob(f"{path.stem}{_DRAFT}*"):  # of a file that never was
        left.unlink()
    draft = path.with_suffix(_DRAFT)
    with translated(str(draft)):
        close_final(open_database(draft, key, schema=_SCHEMA))
    draft.rename(path)
    sync_directory(path.parent)
