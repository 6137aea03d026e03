"""A segment is one encrypted file of the log, named by its first seq; a new one is there whole or not.

It only grows: triggers refuse to update, delete or replace entries, checkpoints and tree hashes.
They protect against accidents and against nobody with the key; the log's structure is what proves.
Knows nothing of chains, limits or threads.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import apsw

from coldseal.core.log.record import frame
from coldseal.gateway.store.database import (
    PAGE_BYTES,
    StoreDamagedError,
    close_final,
    copy_wal,
    fetch,
    open_database,
    translated,
)
from coldseal.gateway.store.disk import DISK, Disk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ENDED = "ended"
"""Name of the state that the last commit to an ended segment leaves."""

_SUFFIX = ".db"
_DRAFT_SUFFIX = ".new"
_DIGITS = 20
_SMALL_GROUP_BYTES = 8 * 1024

SCHEMA = """
CREATE TABLE groups (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE tiles (level INTEGER NOT NULL, n INTEGER NOT NULL, root BLOB NOT NULL, PRIMARY KEY (level, n))
    STRICT, WITHOUT ROWID;
CREATE TABLE state (name TEXT PRIMARY KEY, size INTEGER NOT NULL, value BLOB NOT NULL) STRICT;

CREATE TRIGGER groups_insert BEFORE INSERT ON groups
    WHEN NEW.first <> (SELECT first + count FROM groups ORDER BY first DESC LIMIT 1)
    BEGIN SELECT RAISE(ABORT, 'groups: entries are added at the end'); END;
CREATE TRIGGER groups_update BEFORE UPDATE ON groups
    BEGIN SELECT RAISE(ABORT, 'groups: nothing is changed'); END;
CREATE TRIGGER groups_delete BEFORE DELETE ON groups
    BEGIN SELECT RAISE(ABORT, 'groups: nothing is removed'); END;
CREATE TRIGGER checkpoints_update BEFORE UPDATE ON checkpoints
    BEGIN SELECT RAISE(ABORT, 'checkpoints: nothing is changed'); END;
CREATE TRIGGER checkpoints_delete BEFORE DELETE ON checkpoints
    BEGIN SELECT RAISE(ABORT, 'checkpoints: nothing is removed'); END;
CREATE TRIGGER tiles_update BEFORE UPDATE ON tiles
    BEGIN SELECT RAISE(ABORT, 'tiles: nothing is changed'); END;
CREATE TRIGGER tiles_delete BEFORE DELETE ON tiles
    BEGIN SELECT RAISE(ABORT, 'tiles: nothing is removed'); END;
"""
"""Tables of a segment, and the triggers that guard them."""

ALL_STATE = "SELECT name, size, value FROM state INDEXED BY sqlite_autoindex_state_1 ORDER BY name"
"""Reads the index as well: damage of it would only show when something is written."""

_PUT_TILE = "INSERT INTO tiles VALUES (?, ?, ?)"
_PUT_STATE = (
    "INSERT INTO state VALUES (?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET size = excluded.size, value = excluded.value"
)


class State(NamedTuple):
    """Something that follows from the entries below `size`, written down."""

    size: int
    value: bytes


class Addition(NamedTuple):
    """What one transaction adds to a segment.

    Args:
        first: seq of the first entry.
        entries: the entries, in order; may be empty.
        size: entries in the log behind them.
        checkpoint: a checkpoint over `size` entries.
        tiles: (level, index, hash) of complete subtrees.
        state: states to be kept instead of the ones of the same names.
    """

    first: int
    entries: Sequence[bytes]
    size: int
    checkpoint: bytes | None
    tiles: Sequence[tuple[int, int, bytes]]
    state: Mapping[str, State]


class Segment:
    """The segment that is being written: one connection, one transaction at a time."""

    def __init__(self, directory: Path, first: int, key: bytes, *, disk: Disk = DISK) -> None:
        """Open it for writing.

        Raises:
            UnavailableError, OperatorError, TrustError: as `open_database`.
        """
        self.first = first
        self.path = segment_path(directory, first)
        self.wal = wal_path(self.path)
        self._wal_pages = 0
        self._copied_pages = 0
        self._key = key
        self._disk = disk
        _require_pages(self.path)
        self._connection = open_database(self.path, key, disk=disk)
        # a large group must not be written out before COMMIT, on the thread that inserts
        self._connection.pragma("cache_spill", 0)
        self._connection.set_wal_hook(self._note_wal)

    def begin(self, addition: Addition) -> None:
        """Put everything into a transaction that `commit` ends; raises with none open.

        Raises:
            UnavailableError: nothing was written.
        """
        execute = self._connection.execute
        with translated(str(self.path)):
            try:
                execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT INTO groups VALUES (?, ?, ?)", _rows(addition))
                self._connection.executemany(_PUT_TILE, addition.tiles)
                if addition.checkpoint is not None:
                    execute(
                        "INSERT INTO checkpoints VALUES (?, ?) ON CONFLICT DO NOTHING",
                        (addition.size, addition.checkpoint),
                    )
                for name, (size, value) in addition.state.items():
                    execute(_PUT_STATE, (name, size, value))
            except apsw.Error:
                self.rollback()
                raise

    def commit(self, tiles: Sequence[tuple[int, int, bytes]] = ()) -> None:
        """End the transaction; the driver releases the interpreter while it encrypts and syncs.

        Args:
            tiles: complete subtrees that go with it, beside those that it has.

        Raises:
            DatabaseError: whether it is durable is unknown: ask `holds`.
        """
        if tiles:
            self._connection.executemany(_PUT_TILE, tiles)
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Drop the transaction, if one is open."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def end(self, size: int) -> None:
        """Commit that the segment ends here, before a next one may begin.

        A commit that failed may have left its pages in the WAL, whole but not synced. This one takes
        their place: otherwise they could come back behind the beginning of the next segment.

        Raises:
            UnavailableError: it does not end here.
        """
        self.begin(Addition(size, (), size, None, (), {ENDED: State(size, b"")}))
        with translated(str(self.path)):
            try:
                self.commit()
            except apsw.Error:
                self.rollback()
                raise

    def holds(self, addition: Addition) -> bool:
        """Look up on a fresh connection whether an addition is there.

        Raises:
            UnavailableError, TrustError: it cannot be told.
        """
        query, place, content = (
            "SELECT note FROM checkpoints WHERE size = ?",
            addition.size,
            addition.checkpoint,
        )
        if addition.entries:
            query = "SELECT entries FROM groups WHERE first = ?"
            place, _, content = _rows(addition)[0]
        fresh = open_database(self.path, self._key, readonly=True, disk=self._disk)
        with translated(str(self.path)), closing(fresh):
            return fetch(fresh, query, (place,)) == [(content,)]

    @property
    def pending_pages(self) -> int:
        """Pages in the WAL that are not in the segment yet."""
        return self._wal_pages - self._copied_pages

    def copy_wal(self) -> None:
        """Copy the WAL into the segment, from any thread: it takes a connection of its own.

        Raises:
            UnavailableError: not all was copied; the WAL keeps the rest.
        """
        own = open_database(self.path, self._key, disk=self._disk)
        with translated(str(self.path)), closing(own):
            self._copied_pages = copy_wal(own)

    def size(self) -> int:
        """Give the number of entries in the log up to this segment's last one."""
        with translated(str(self.path)):
            found = fetch(self._connection, "SELECT first + count FROM groups ORDER BY first DESC LIMIT 1")
        return int(found[0][0]) if found else self.first

    def state(self) -> dict[str, State]:
        """Give the states that were written down."""
        with translated(str(self.path)):
            found = fetch(self._connection, ALL_STATE)
        return {name: State(size, value) for name, size, value in found}

    def close(self) -> None:
        """Move the WAL into the file and close; while somebody reads, it stays, and nothing is lost.

        Raises:
            UnavailableError: the WAL keeps what could not be copied; it is closed all the same.
        """
        with translated(str(self.path)):
            close_final(self._connection)

    def abandon(self) -> None:
        """Close and leave every file as it is."""
        self._connection.close(True)

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Note how long the WAL is behind each commit; a shorter one has begun anew."""
        if pages < self._wal_pages:
            self._copied_pages = 0
        self._wal_pages = pages
        return apsw.SQLITE_OK


def _require_pages(path: Path) -> None:
    """Refuse a file that was cut to nothing: the driver would take it for new, and remove its WAL.

    Raises:
        StoreDamagedError: it has less than one page.
    """
    if path.exists() and path.stat().st_size < PAGE_BYTES:
        raise StoreDamagedError(str(path), f"it has {path.stat().st_size} bytes, less than a page")


def segment_path(directory: Path, first: int) -> Path:
    """Give the file of the segment that begins with `first`."""
    return directory / f"{first:0{_DIGITS}d}{_SUFFIX}"


def file_number(path: Path) -> int:
    """Give the number of the file that has this name; a replaced one has another, a missing one has -1."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


def wal_path(segment: Path) -> Path:
    """Give the WAL beside a segment."""
    return segment.with_name(f"{segment.name}-wal")


def list_segments(directory: Path) -> list[int]:
    """Give the first seq of each segment, in order.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    stems = (path.stem for path in directory.iterdir() if path.suffix == _SUFFIX)
    return sorted(int(stem) for stem in stems if is_segment_name(stem))


def is_segment_name(stem: str) -> bool:
    """Whether a segment's file is named so."""
    return len(stem) == _DIGITS and stem.isdecimal()


def create_segment(
    directory: Path, first: int, key: bytes, state: Mapping[str, State], *, disk: Disk = DISK
) -> Path:
    """Make an empty segment as a draft: `publish_segment` puts it in its place.

    Raises:
        UnavailableError: it cannot be written.
    """
    draft = segment_path(directory, first).with_suffix(_DRAFT_SUFFIX)
    rows = [(name, size, value) for name, (size, value) in state.items()]
    with translated(str(draft)):
        for left in directory.glob(f"*{_DRAFT_SUFFIX}*"):  # of a segment that never was
            disk.unlink(left)
        connection = open_database(draft, key, schema=SCHEMA, disk=disk)
        try:
            with connection:
                connection.executemany(_PUT_STATE, rows)
        finally:
            close_final(connection)  # in one file, so that one rename publishes it
    return draft


def publish_segment(draft: Path, *, disk: Disk = DISK) -> None:
    """Put a draft in its place, durably.

    Raises:
        OSError: it may or may not be there.
    """
    disk.rename(draft, draft.with_suffix(_SUFFIX))
    disk.sync_directory(draft.parent)


def replace_segment(draft: Path, *, disk: Disk = DISK) -> None:
    """Put a draft in the place of a segment that has ended, durably.

    What was cut from the WAL of the old file, while somebody read it, must not come back beside the new one.

    Raises:
        OSError: it may or may not be there.
    """
    segment = draft.with_suffix(_SUFFIX)
    if wal_path(segment).exists():
        wal = disk.create(wal_path(segment))
        try:
            disk.sync(wal)
        finally:
            os.close(wal)
    disk.sync_directory(draft.parent)
    publish_segment(draft, disk=disk)


def is_settled(segment: Path) -> bool:
    """Whether nothing of a segment is in its WAL; once it has ended, that stays so."""
    wal = wal_path(segment)
    return not wal.exists() or wal.stat().st_size == 0


def settle_segment(directory: Path, first: int, key: bytes, *, disk: Disk = DISK) -> None:
    """Make an ended segment one plain file, where it still has its WAL.

    Raises:
        UnavailableError, TrustError: it cannot be done now.
    """
    if wal_path(segment_path(directory, first)).exists():
        Segment(directory, first, key, disk=disk).close()


def _rows(addition: Addition) -> list[tuple[int, int, bytes]]:
    """Give the rows that entries are stored in.

    A group is one row, so that inserting it is one copy. A group of a few entries is one row for
    each instead: a row of two to four kilobytes would take a whole page for itself.
    """
    entries, first = addition.entries, addition.first
    frames = frame(entries)
    if len(frames) > _SMALL_GROUP_BYTES:
        return [(first, len(entries), frames)]
    return [(first + place, 1, frame((entry,))) for place, entry in enumerate(entries)]
