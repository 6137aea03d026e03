"""What a segment says of entries that it held and that could not be saved: a range, and where that is stated.

Promise: whoever asks for such an entry is told by which `gap` entry the log states the loss, and is never
given the next one instead. Nothing else of a segment with a hole differs from a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import close_final, fetch, open_database, translated

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.database import Connection

SCHEMA: Final = """
CREATE TABLE lost (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, gap INTEGER NOT NULL) STRICT;
DROP TRIGGER groups_insert;
"""
"""What a segment with holes has beside the tables of a whole one; entries behind a hole may be added."""

UNKNOWN: Final = -1
_QUERY: Final = "SELECT ?, first, last, gap FROM lost WHERE first <= ? AND last >= ?"


class LostError(UnavailableError):
    """An entry was lost by damage, and the log says so.

    Args:
        seq: the entry.
        first: the first seq that is lost with it.
        last: the last one.
        gap: the `gap` entry that states it; below 0, it was not sealed yet.
    """

    def __init__(self, seq: int, first: int, last: int, gap: int) -> None:
        """Keep the facts."""
        self.seq, self.first, self.last, self.gap = seq, first, last, gap
        by = f"entry {gap}, of the kind gap, states it" if gap >= 0 else "the next gap entry states it"
        super().__init__(f"entry {seq}", f"entries {first} to {last} were lost by damage; {by}")


def find_lost(connection: Connection, seq: int | None = None) -> LostError | None:
    """Say what became of an entry that an open segment should hold; None if it knows of no loss.

    Args:
        connection: the segment.
        seq: the entry; None asks for the first that is lost.
    """
    if not fetch(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'lost'"):
        return None
    if seq is None:
        rows = fetch(connection, "SELECT first, first, last, gap FROM lost ORDER BY first LIMIT 1")
    else:
        rows = fetch(connection, _QUERY, (seq, seq, seq))
    return LostError(*rows[0]) if rows else None


def name_gap(path: Path, key: bytes, gap: int) -> None:
    """Note in a closed segment with holes which entry states them.

    Raises:
        UnavailableError: it cannot be written; the error of a reader then names no entry.
    """
    with translated(str(path)):
        connection = open_database(path, key)
        try:
            connection.execute("UPDATE lost SET gap = ? WHERE gap < 0", (gap,))
        finally:
            close_final(connection)
