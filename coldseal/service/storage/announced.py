"""The ledger's list of entries that were told ahead of their order: bounded for each log, and no receipt.

An entry leaves the list once it has come in its order. Decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import apsw

from coldseal.errors import UnavailableError
from coldseal.service.storage.values import Announced

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ANNOUNCED: Final = 1_024
"""Entries of one log on the list; the oldest make room for newer ones, and come in their order anyway."""

_MAX_SEQ: Final = 2**63 - 1


class AnnouncedList:
    """The list, over the ledger's two connections.

    Args:
        writer: used inside the ledger's transactions, which translate its errors.
        reader: used by the one thread that reads.
    """

    def __init__(self, writer: apsw.Connection, reader: apsw.Connection) -> None:
        """Take the connections."""
        self._writer = writer
        self._reader = reader

    def add(self, origin: str, found: Sequence[Announced]) -> None:
        """Put entries on a log's list; in a transaction."""
        self._writer.executemany(
            "INSERT INTO announced (origin, seq, kind, t, since, entry) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [(origin, each.seq, each.kind, each.t, each.since, each.entry) for each in found],
        )
        self._writer.execute(
            "DELETE FROM announced WHERE origin = ?1 AND seq < (SELECT min(seq) FROM"
            " (SELECT seq FROM announced WHERE origin = ?1 ORDER BY seq DESC LIMIT ?2))",
            (origin, MAX_ANNOUNCED),
        )

    def remove(self, origin: str, seqs: Sequence[int]) -> None:
        """Take entries off a log's list; in a transaction."""
        self._writer.executemany(
            "DELETE FROM announced WHERE origin = ? AND seq = ?", [(origin, seq) for seq in seqs]
        )

    def of(self, origin: str, *, below: int = _MAX_SEQ, limit: int = MAX_ANNOUNCED) -> list[Announced]:
        """Give the newest entries on a log's list, newest first."""
        query = (
            "SELECT seq, kind, t, since, entry FROM announced WHERE origin = ? AND seq < ?"
            " ORDER BY seq DESC LIMIT ?"
        )
        return [Announced(*row) for row in self._fetch(query, origin, below, limit)]

    def arrived(self) -> list[tuple[str, int]]:
        """Name the logs of which an entry on the list has come in its order, with their sizes."""
        return self._fetch(
            "SELECT DISTINCT logs.origin, size FROM announced JOIN logs ON logs.origin = announced.origin"
            " WHERE announced.seq < logs.size ORDER BY logs.origin"
        )

    def _fetch(self, query: str, *values: str | int) -> list[Any]:
        """Give the rows of a query; the types of its columns are the schema's matter."""
        try:
            return self._reader.execute(query, values).fetchall()
        except apsw.Error as error:
            raise UnavailableError("the list of announced entries", str(error)) from error
