"""Where each route stands, and what its sink refused, in ``routes/routes.db``: durable before it goes on.

Promise: what `advance` or `put_aside` has returned from is on disk. Losing the file loses no entry: a route
begins anew, and every sink knows what it has by its key. Several processes may write. Sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.gateway.store.database import copy_wal, fetch, open_database, translated
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from coldseal.gateway.store.file_keys import StoreKey

FOLDER: Final = "routes"
NAME: Final = "routes.db"
COPY_WAL_EVERY: Final = 256
"""Changes after which the WAL is copied into the file."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS positions (
    route TEXT PRIMARY KEY,
    origin TEXT NOT NULL,
    position INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    missed INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS quarantine (
    route TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    t_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    detail TEXT NOT NULL,
    is_wanted INTEGER NOT NULL,
    PRIMARY KEY (route, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS given_up (
    route TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (route, seq)
) STRICT;
"""
_FORGET: Final = ("DELETE FROM quarantine WHERE route = ?", "DELETE FROM given_up WHERE route = ?")
_ASIDE: Final = (
    "SELECT seq, kind, t_ms, status, detail, is_wanted FROM quarantine WHERE route = ? ORDER BY seq"
)


class Position(NamedTuple):
    """Where a route stands.

    Attributes:
        position: seq of the first entry that has not been dealt with.
        delivered: entries that its sink took, in all.
        missed: entries that were not here any more when their turn came.
    """

    position: int
    delivered: int = 0
    missed: int = 0


class Aside(NamedTuple):
    """An entry that was put aside.

    Attributes:
        seq: the entry.
        kind: its kind.
        t_ms: when it was refused, ms since 1970.
        status: the sink's answer.
        detail: what it said.
        is_wanted: a person wants it sent again.
    """

    seq: int
    kind: str
    t_ms: int
    status: str
    detail: str
    is_wanted: bool = False


class Kept:
    """The open file; used by one thread at a time.

    Args:
        data: the gateway's data folder.
        key: the store key.
        readonly: for looking alone; the file must be there.

    Raises:
        OperatorError: the key is not the file's.
        UnavailableError: it cannot be opened, or is not there yet for one who looks.
    """

    def __init__(self, data: Path, key: StoreKey, *, readonly: bool = False) -> None:
        """Open it; a writer makes it."""
        path = data / FOLDER / NAME
        self._what, self._changes = str(path), 0
        if not readonly:
            with translated(self._what):
                make_private_folder(path.parent)
        self._connection = open_database(path, key, readonly=readonly, schema="" if readonly else _SCHEMA)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def begin(self, route: str, origin: str, at: int) -> Position:
        """Give where a route stands; one that is new, or of another log than now, begins at ``at``."""
        found = self._rows("SELECT position, delivered, missed, origin FROM positions WHERE route = ?", route)
        if found and found[0][3] == origin:
            return Position(*found[0][:3])
        with translated(self._what), self._connection:
            for forget in _FORGET if found else ():
                self._connection.execute(forget, (route,))
            self._connection.execute(
                "INSERT INTO positions VALUES (?, ?, ?, 0, 0) ON CONFLICT (route) DO UPDATE SET "
                "origin = excluded.origin, position = excluded.position, delivered = 0, missed = 0",
                (route, origin, at),
            )
        return Position(at)

    def position(self, route: str) -> Position | None:
        """Give where a route stands; None for one that never ran."""
        found = self._rows("SELECT position, delivered, missed FROM positions WHERE route = ?", route)
        return Position(*found[0]) if found else None

    def advance(self, route: str, position: int, *, delivered: int = 0, missed: int = 0) -> None:
        """Move a route on: everything below ``position`` has been dealt with.

        Raises:
            UnavailableError: it is not on disk, or unknown.
        """
        self._write(
            (
                (
                    "UPDATE positions SET position = ?, delivered = delivered + ?, missed = missed + ? "
                    "WHERE route = ?"
                ),
                (position, delivered, missed, route),
            ),
            ("DELETE FROM given_up WHERE route = ? AND seq < ?", (route, position)),
        )

    def put_aside(self, route: str, refused: Aside, position: int) -> None:
        """Put a refused entry aside, and move the route on, both or neither; errors as `advance`."""
        self._write(
            (
                "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, 0)",
                (route, refused.seq, refused.kind, refused.t_ms, refused.status, refused.detail),
            ),
            ("UPDATE positions SET position = max(position, ?) WHERE route = ?", (position, route)),
        )

    def aside(self, route: str) -> list[Aside]:
        """Give what is put aside, in order."""
        rows = self._rows(_ASIDE, route)
        return [Aside(row[0], row[1], row[2], row[3], row[4], bool(row[5])) for row in rows]

    def count(self, route: str) -> int:
        """Give how many are put aside."""
        return int(self._rows("SELECT count(*) FROM quarantine WHERE route = ?", route)[0][0])

    def wanted(self, route: str) -> list[Aside]:
        """Give those that a person wants sent again, in order."""
        return [each for each in self.aside(route) if each.is_wanted]

    def want(self, route: str, seqs: Iterable[int]) -> None:
        """Have entries that are put aside sent again."""
        query = "UPDATE quarantine SET is_wanted = 1 WHERE route = ? AND seq = ?"
        self._write(*((query, (route, seq)) for seq in seqs))

    def settle(self, route: str, seq: int, *, delivered: int) -> None:
        """Take an entry out of what is put aside: it was taken at last, or given up."""
        self._write(
            ("DELETE FROM quarantine WHERE route = ? AND seq = ?", (route, seq)),
            ("UPDATE positions SET delivered = delivered + ? WHERE route = ?", (delivered, route)),
        )

    def give_up(self, route: str, seq: int) -> None:
        """Have an entry passed over that has not been dealt with yet."""
        self._write(("INSERT OR REPLACE INTO given_up VALUES (?, ?)", (route, seq)))

    def given_up(self, route: str) -> frozenset[int]:
        """Give the entries that are to be passed over."""
        return frozenset(row[0] for row in self._rows("SELECT seq FROM given_up WHERE route = ?", route))

    def _write(self, *statements: tuple[str, Sequence[int | str]]) -> None:
        """Make some changes, all or none, and have them on disk."""
        with translated(self._what):
            with self._connection:
                for statement, values in statements:
                    self._connection.execute(statement, values)
            self._changes += 1
            if self._changes % COPY_WAL_EVERY == 0:
                copy_wal(self._connection)

    def _rows(self, query: str, route: str) -> list[tuple[Any, ...]]:
        """Give the rows of a query about a route."""
        with translated(self._what):
            return fetch(self._connection, query, (route,))
