"""A pruned segment: its entries are in an archive, its hashes are still here, under the segment's own name.

Promise: a segment file is whole or pruned, never in between: what will be left of it is written beside it and
takes its place in one rename, once a `prune` entry is on disk that says so. Leaf hashes, tree hashes,
checkpoints and the entries that fix the log's keys stay, so that whatever is in the archive can be proven.
Decides nothing: whether a segment may be pruned is asked elsewhere.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import frame, parse_entry
from coldseal.errors import ColdsealError, UnavailableError
from coldseal.gateway.store.database import (
    StoreDamagedError,
    close_final,
    copy_tables,
    fetch,
    open_database,
    translated,
)
from coldseal.gateway.store.disk import DISK, Disk
from coldseal.gateway.store.packed import PACKED
from coldseal.gateway.store.segments import is_settled, replace_segment, segment_path
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.database import Connection
    from coldseal.gateway.store.reader import LogReader

KEPT_KINDS: Final = frozenset({"genesis", "key"})
"""Kinds whose entries stay: without them nothing in the log could be verified."""

LEAVES: Final = 256
"""Leaf hashes in one row."""

_MARKS: Final = tuple(f'"kind":"{kind}"'.encode() for kind in KEPT_KINDS)
_SUFFIX: Final = ".pruned"
_UNKNOWN: Final = -1
_log = Log("gateway.pruning")
_SCHEMA: Final = """
CREATE TABLE groups (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;
CREATE TABLE leaves (first INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE tiles (level INTEGER NOT NULL, n INTEGER NOT NULL, root BLOB NOT NULL, PRIMARY KEY (level, n))
    STRICT, WITHOUT ROWID;
CREATE TABLE state (name TEXT PRIMARY KEY, size INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
CREATE TABLE pruned (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    archive TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    since INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT;
"""


class Pruned(NamedTuple):
    """What a pruned segment says of itself.

    Args:
        first: first seq of the range that was pruned with it.
        last: last seq of that range.
        archive: name of the file that holds the entries.
        sha256: hash of that file, base64.
        since: entries in the log when it was about to be pruned; below 0, nobody has said so yet.
        seq: the `prune` entry; below 0, it is not known to be on disk.
    """

    first: int
    last: int
    archive: str
    sha256: str
    since: int = _UNKNOWN
    seq: int = _UNKNOWN

    def is_of(self, data: object) -> bool:
        """Whether the data of a `prune` entry speak of this range and archive."""
        if not isinstance(data, dict) or not isinstance(archive := data.get("archive"), dict):
            return False
        said = (data.get("first"), data.get("last"), archive.get("name"), archive.get("sha256"))
        return said == self[:4]


class PrunedError(UnavailableError):
    """An entry is not here any more; the archive has it.

    Args:
        seq: the entry.
        found: what its segment says.
    """

    def __init__(self, seq: int, found: Pruned) -> None:
        """Keep the facts."""
        self.seq = seq
        self.pruned = found
        by = f"entry {found.seq}, of the kind prune"
        super().__init__(f"entry {seq}", f"{by}, has sent it to the archive {found.archive} ({found.sha256})")


def write_draft(
    reader: LogReader, directory: Path, key: bytes, first: int, about: Pruned, *, disk: Disk = DISK
) -> Path:
    """Write down what will be left of a closed segment, beside it.

    Args:
        reader: reads the log.
        directory: the log's directory.
        key: the store key.
        first: first seq of the segment.
        about: range and archive.
        disk: what the log lies on.

    Raises:
        UnavailableError: the segment is still being settled, or the disk fails; it stays as it is.
        StoreDamagedError: an entry or a hash is missing.
    """
    path = segment_path(directory, first)
    if not is_settled(path):
        raise UnavailableError(str(path), "it is still being copied: try again in a minute")
    draft = path.with_suffix(_SUFFIX)
    discard(draft, disk=disk)
    old = open_database(path, key, readonly=True, is_final=True, disk=disk)
    with translated(str(draft)), closing(old):
        ((end,),) = fetch(old, "SELECT max(first + count) FROM groups")
        new = open_database(draft, key, schema=_SCHEMA, disk=disk)
        try:
            with new:
                copy_tables(old, new, (("checkpoints", 2), ("tiles", 3), ("state", 3)))
                new.execute("DELETE FROM state WHERE name = ?", (PACKED,))
                _copy_entries(reader, new, first, end)
                new.execute("INSERT INTO pruned VALUES (0, ?, ?, ?, ?, ?, ?)", about)
        finally:
            close_final(new)
        disk.sync_directory(directory)
    return draft


def _copy_entries(reader: LogReader, new: Connection, first: int, end: int) -> None:
    """Keep the hash of each entry, and the entries that must stay."""
    for start in range(first, end, LEAVES):
        entries = reader.read(start, max_entries=min(LEAVES, end - start), max_bytes=LEAVES * 65_537)
        hashes = b"".join(map(leaf_hash, entries))
        new.execute("INSERT INTO leaves VALUES (?, ?)", (start, hashes))
        for seq, raw in enumerate(entries, start):
            if any(mark in raw for mark in _MARKS) and parse_entry(raw).kind in KEPT_KINDS:
                new.execute("INSERT INTO groups VALUES (?, 1, ?)", (seq, frame((raw,))))


def list_drafts(directory: Path) -> list[Path]:
    """Give the drafts that are there, in the order of their segments."""
    return sorted(directory.glob(f"*{_SUFFIX}"))


def read_draft(draft: Path, key: bytes, *, disk: Disk = DISK) -> Pruned:
    """Give what a draft says.

    Raises:
        UnavailableError, OperatorError, TrustError: it cannot be read.
    """
    with closing(open_database(draft, key, disk=disk)) as connection, translated(str(draft)):
        found = read_pruned(connection)
    if found is None:
        raise StoreDamagedError(str(draft), "it does not say what was pruned")
    return found


def read_pruned(connection: Connection) -> Pruned | None:
    """Give what an open segment says; None if it is whole."""
    if not fetch(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'pruned'"):
        return None
    rows = fetch(connection, "SELECT first, last, archive, sha256, since, seq FROM pruned")
    return Pruned(*rows[0]) if rows else None


def read_leaves(connection: Connection, first: int, count: int) -> list[bytes]:
    """Give leaf hashes out of a pruned segment, from one row: as many as it has, at most `count`."""
    query = "SELECT first, hashes FROM leaves WHERE first <= ? ORDER BY first DESC LIMIT 1"
    for start, hashes in fetch(connection, query, (first,)):
        at = 32 * (first - start)
        part = hashes[at : at + 32 * count]
        return [part[place : place + 32] for place in range(0, len(part), 32)]
    return []


def arm(draft: Path, key: bytes, since: int, *, disk: Disk = DISK) -> None:
    """Note that the `prune` entry is about to be sealed, at `since` or behind: a start looks for it there."""
    _set(draft, key, "UPDATE pruned SET since = ?", since, disk)


def finish(draft: Path, key: bytes, seq: int, *, disk: Disk = DISK) -> None:
    """Put a draft in the place of its segment, once the `prune` entry `seq` is on disk.

    Raises:
        UnavailableError: the disk fails; the next start tries again.
    """
    _set(draft, key, "UPDATE pruned SET seq = ?", seq, disk)
    with translated(str(draft)):
        replace_segment(draft, disk=disk)


def discard(draft: Path, *, disk: Disk = DISK) -> None:
    """Remove a draft; the segment stays whole.

    Raises:
        UnavailableError: the disk fails.
    """
    with translated(str(draft)):
        for path in draft.parent.glob(f"{draft.name}*"):
            disk.unlink(path)


def complete(reader: LogReader, directory: Path, key: bytes, *, disk: Disk = DISK) -> None:
    """Finish what a crash has left: drafts whose `prune` entry is on disk; if it is not, they are removed.

    What cannot be finished is said, and stays for the next time: the log is whole all the same.
    """
    for draft in list_drafts(directory):
        try:
            _complete(reader, draft, key, disk)
        except ColdsealError as error:
            _log.emit(events.PRUNE_UNFINISHED, segment=draft.stem, error=str(error))


def _complete(reader: LogReader, draft: Path, key: bytes, disk: Disk) -> None:
    """Finish one draft, or remove it."""
    with closing(open_database(draft, key, disk=disk)) as connection, translated(str(draft)):
        about = read_pruned(connection)
    if about is None or about.since < 0:  # somebody is still preparing it, or was
        return
    seq = _find(reader, about)
    if seq is None:
        discard(draft, disk=disk)
    else:
        finish(draft, key, seq, disk=disk)


def _find(reader: LogReader, about: Pruned) -> int | None:
    """Look for the `prune` entry of a draft, where it would be."""
    for seq, raw in enumerate(reader.read_from(about.since), about.since):
        if b'"kind":"prune"' in raw:
            entry = parse_entry(raw)
            if entry.kind == "prune" and about.is_of(entry.data):
                return seq
    return None


def _set(draft: Path, key: bytes, change: str, value: int, disk: Disk) -> None:
    """Change a number in a draft, durably, and leave it one plain file."""
    with translated(str(draft)):
        connection = open_database(draft, key, disk=disk)
        try:
            connection.execute(change, (value,))
        finally:
            close_final(connection)
