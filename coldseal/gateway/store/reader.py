"""Reads the log, here or in another process, while it is being written, and never changes it.

What is read was committed and comes in order without a gap, or an error is raised. Entries come
as the frames that go on the wire; nothing is parsed. Waiting for more is the caller's matter:
`size` costs one read of a few bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from coldseal.core.log.canonical import MAX_INTEGER
from coldseal.core.log.merkle import CompactRange, leaf_hash, node_hash
from coldseal.core.log.record import parse_frames
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.store.database import StoreDamagedError, fetch, open_database, translated
from coldseal.gateway.store.disk import DISK, Disk
from coldseal.gateway.store.head import HeadFile
from coldseal.gateway.store.lost import find_lost
from coldseal.gateway.store.packed import unpack
from coldseal.gateway.store.pruned import Pruned, PrunedError, read_leaves, read_pruned
from coldseal.gateway.store.segments import file_number, is_settled, list_segments, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from coldseal.gateway.store.database import Connection
    from coldseal.gateway.store.file_keys import StoreKey

HEAD_NAME = "head"
TILE_LEVEL = 8
"""Hashes of subtrees of 256 entries and more are stored where the end of a group shows them, else made."""

SPAN_LEVEL = 12
"""Hashes of subtrees of 4096 entries and more are all stored."""

_LENGTH_BYTES = 2
_KEPT_OPEN = 4
_FROM = """
SELECT first, count, entries FROM groups
WHERE first >= coalesce((SELECT max(first) FROM groups WHERE first <= ?1), ?1) ORDER BY first
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """Entries next to one another, as frames: uint16 length and entry, each."""

    first: int
    count: int
    frames: bytes


class _Open(NamedTuple):
    """A segment that is kept open; `number` is its file's while nobody writes it any more, else 0."""

    connection: Connection
    number: int


class StoredCheckpoint(NamedTuple):
    """A signed checkpoint as it was stored, over the first `size` entries."""

    size: int
    note: bytes


class LogReader:
    """Reads one log directory; opens files as it needs them."""

    def __init__(self, directory: Path, key: StoreKey, *, disk: Disk = DISK) -> None:
        """Take the directory; it need not hold a log yet."""
        self._directory = directory
        self._key = key
        self._disk = disk
        self._head: HeadFile | None = None
        self._connections: dict[int, _Open] = {}

    def size(self) -> int:
        """Give the number of entries on disk.

        Raises:
            UnavailableError: there is no log yet.
            StoreDamagedError: the head cannot be read.
        """
        if self._head is None:
            self._head = HeadFile(self._directory / HEAD_NAME, readonly=True)
        return self._head.read().size

    def read_frames(self, first: int, *, max_entries: int = 4096, max_bytes: int = 4 << 20) -> Slice:
        """Read entries from seq `first` on, at least one if there is one.

        Args:
            first: seq of the first entry.
            max_entries: no more than these.
            max_bytes: no more than these, frames included, unless the first entry alone is longer.

        Raises:
            StoreDamagedError: an entry in the midst is missing, or a page is damaged.
            PrunedError: an entry is in an archive.
            UnavailableError: the store cannot be read now.
        """
        size = self.size()  # before the look: what is committed meanwhile is not missed
        parts: list[bytes] = []
        count, room = 0, max_bytes
        with _named(lambda: first + count), closing(self._groups(first)) as groups:
            for start, held, frames in groups:
                skip = first + count - start
                part, taken = frames, held
                if skip or held > max_entries - count or len(frames) > room:
                    part, taken = _cut(frames, skip, max_entries - count, room, is_first=not parts)
                parts.append(part)
                count += taken
                room -= len(part)
                if taken < held - skip or count == max_entries:
                    break
        if first < size and not parts:
            raise StoreDamagedError("the log", f"entries below its size of {size} are missing", first)
        return Slice(first, count, b"".join(parts))

    def read(self, first: int, *, max_entries: int = 4096, max_bytes: int = 4 << 20) -> list[bytes]:
        """Read entries from seq `first` on; limits and errors as `read_frames`."""
        return parse_frames(self.read_frames(first, max_entries=max_entries, max_bytes=max_bytes).frames)

    def read_from(self, first: int) -> Iterator[bytes]:
        """Give every entry from seq `first` on, reading as it goes; errors as `read_frames`."""
        while found := self.read(first):
            yield from found
            first += len(found)

    def checkpoint_at_most(self, size: int) -> StoredCheckpoint | None:
        """Give the newest checkpoint over at most `size` entries; None if there is none.

        Raises:
            UnavailableError, StoreDamagedError: the store cannot be read.
        """
        starts = self._starts()
        for start in reversed(starts[: bisect_right(starts, size)]):
            query = "SELECT size, note FROM checkpoints WHERE size <= ? ORDER BY size DESC LIMIT 1"
            for found in self._fetch(start, query, size):
                return StoredCheckpoint(*found)
        return None

    def checkpoints(self, after: int, upto: int, *, limit: int = 1000) -> list[StoredCheckpoint]:
        """Give the checkpoints over more than `after` and at most `upto` entries, oldest first.

        Raises:
            UnavailableError, StoreDamagedError: the store cannot be read.
        """
        starts = self._starts()
        query = "SELECT size, note FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size LIMIT ?"
        found: list[StoredCheckpoint] = []
        for start in starts[max(0, bisect_right(starts, after) - 1) :]:
            if start > upto or len(found) == limit:
                break
            rows = self._fetch(start, query, after, upto, limit - len(found))
            found += [StoredCheckpoint(*row) for row in rows]
        return found

    def settings(self) -> list[bytes]:
        """Give the entries that say what the log is, in order: its genesis, keys and configuration.

        Raises:
            UnavailableError, TrustError: the log cannot be read.
        """
        starts = self._starts()
        query = "SELECT value FROM state WHERE name = 'settings'"
        found = self._fetch(starts[-1], query) if starts else []
        return parse_frames(found[0][0]) if found else []

    def segment_ends(self) -> list[int]:
        """Give the sizes that the log had when each of its segments ended, rising.

        Raises:
            UnavailableError: there is no log yet.
        """
        return self._starts()[1:]

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over the complete subtree [index << level, (index + 1) << level); it is a `Nodes`.

        Raises:
            InputError: the log has no such complete subtree.
            UnavailableError, StoreDamagedError: the store cannot be read.
        """
        size = self.size()
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise InputError("log", "node", (level, index), f"a complete subtree of {size} entries")
        return self._node(level, index)

    def root(self, size: int) -> bytes:
        """Give the root hash over the first `size` entries.

        Raises:
            InputError: the log has fewer entries.
            UnavailableError, StoreDamagedError: the store cannot be read.
        """
        return self.tree(size).root()

    def tree(self, size: int) -> CompactRange:
        """Give the tree over the first `size` entries, to go on from; errors as `root`."""
        hashes: list[bytes] = []
        end = 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                hashes.append(self.nodes(level, end >> level))
                end += 1 << level
        return CompactRange.from_hashes(size, hashes)

    def closed_segments(self) -> list[tuple[int, int, Pruned | None]]:
        """Give the segments that have ended: first seq, the seq behind the last, and whether it is pruned.

        Raises:
            UnavailableError, StoreDamagedError: the store cannot be read.
        """
        starts = self._starts()
        return [(first, end, self._pruned(first)) for first, end in pairwise(starts)]

    def snapshot_size(self) -> int:
        """Give the number of entries that a start does not read again; 0 if it reads all.

        Raises:
            UnavailableError, StoreDamagedError: the store cannot be read.
        """
        found = self._fetch(self._starts()[-1], "SELECT size FROM state WHERE name = 'snapshot'")
        return int(found[0][0]) if found else 0

    def close(self) -> None:
        """Close every file; another question opens what it needs again."""
        for kept in self._connections.values():
            kept.connection.close(True)
        self._connections.clear()
        if self._head is not None:
            self._head.close()
            self._head = None

    def _node(self, level: int, index: int) -> bytes:
        """Look a hash up or make it: from its left half if that is stored, else from its entries."""
        found = self._stored(level, index)
        if found is not None:
            return found
        left = self._stored(level - 1, 2 * index)
        if left is None and level > SPAN_LEVEL:
            left = self._node(level - 1, 2 * index)
        if left is not None:
            return node_hash(left, self._node(level - 1, 2 * index + 1))
        first, end = index << level, (index + 1) << level
        tree = CompactRange()
        while tree.size < end - first:
            tree.extend(self._leaves(first + tree.size, end - first - tree.size))
        return tree.root()

    def _stored(self, level: int, index: int) -> bytes | None:
        """Look a hash up; it is in the segment in which its subtree ends."""
        segment = self._segment_of(((index + 1) << level) - 1) if level >= TILE_LEVEL else None
        if segment is None:
            return None
        query = "SELECT root FROM tiles WHERE level = ? AND n = ?"
        found = self._fetch(segment[0], query, level, index)
        return bytes(found[0][0]) if found else None

    def _leaves(self, first: int, count: int) -> list[bytes]:
        """Give leaf hashes, at least one and at most `count`; those of pruned entries are still here."""
        try:
            return [leaf_hash(entry) for entry in self.read(first, max_entries=count)]
        except PrunedError:  # the pruned segments are the first ones: this entry is in one
            starts = self._starts()
            start = starts[bisect_right(starts, first) - 1]
            with translated(str(self._directory)):
                found = read_leaves(self._open(start), first, count)
            if not found:
                raise StoreDamagedError("the log", "its leaf hash is missing", first) from None
            return found

    def _pruned(self, start: int) -> Pruned | None:
        """Give what a segment says of its being pruned; None if it is whole."""
        with translated(str(self._directory)):
            return read_pruned(self._open(start))

    def _groups(self, at: int) -> Generator[tuple[int, int, bytes], None, None]:
        """Give the groups from the one that holds seq `at` on, across segments."""
        while segment := self._segment_of(at):
            (start, end), before = segment, at
            with translated(str(self._directory)), closing(self._open(start).cursor()) as cursor:
                for first, count, stored in cursor.execute(_FROM, (at,)):
                    if first > at:
                        self._require_whole(start, at)
                        raise StoreDamagedError(str(self._directory), f"the next one is {first}", at)
                    if first + count > end:
                        raise StoreDamagedError(str(self._directory), "two segments hold entries", end)
                    if first + count <= at:
                        break
                    yield first, count, unpack(stored)
                    at = first + count
            if at == before:
                if end < MAX_INTEGER:
                    self._require_whole(start, at)
                return

    def has_lost(self, start: int) -> bool:
        """Whether the segment that begins with a seq states entries as lost."""
        with translated(str(self._directory)):
            return find_lost(self._open(start)) is not None

    def _require_whole(self, start: int, seq: int) -> None:
        """Say where an entry is, if its segment was pruned, or that it was lost."""
        found = self._pruned(start)
        if found is not None:
            raise PrunedError(seq, found)
        with translated(str(self._directory)):
            lost = find_lost(self._open(start), seq)
        if lost is not None:
            raise lost

    def _fetch(self, start: int, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Give the rows of a query on one segment."""
        with translated(str(self._directory)):
            return fetch(self._open(start), query, values)

    def _open(self, start: int) -> Connection:
        """Give the connection of a segment; the one used longest ago makes room for a new one."""
        self._let_go(start)
        kept = self._connections.pop(start, None)
        if kept is None:
            path = segment_path(self._directory, start)
            is_final = start != self._starts()[-1] and is_settled(path)
            number = file_number(path) if is_final else 0  # of an older file, should it be replaced just now
            connection = open_database(path, self._key, readonly=True, is_final=is_final, disk=self._disk)
            kept = _Open(connection, number)
        self._connections[start] = kept
        if len(self._connections) > _KEPT_OPEN:
            self._connections.pop(next(iter(self._connections))).connection.close(True)
        return kept.connection

    def _let_go(self, opening: int) -> None:
        """Close what was replaced by a packed or pruned file, and what was open while it was still written.

        Else the old file would keep its room on the disk, and the WAL of an ended segment its place.
        """
        last = max((opening, *self._connections))
        for start, kept in tuple(self._connections.items()):
            is_replaced = kept.number and file_number(segment_path(self._directory, start)) != kept.number
            if is_replaced or (start < last and not kept.number):
                self._connections.pop(start).connection.close(True)

    def _segment_of(self, seq: int) -> tuple[int, int] | None:
        """Give begin and end of the segment where `seq` is, or will be; None if none is so old."""
        starts = self._starts()
        place = bisect_right(starts, seq)
        if place == 0:
            return None
        return starts[place - 1], starts[place] if place < len(starts) else MAX_INTEGER

    def _starts(self) -> list[int]:
        """Give the first seq of each segment; a new one may have come since the last time."""
        try:
            return list_segments(self._directory)
        except OSError as error:
            raise UnavailableError(str(self._directory), str(error.strerror)) from error


@contextmanager
def _named(seq: Callable[[], int]) -> Iterator[None]:
    """Name the first entry that cannot be read, where the database does not."""
    try:
        yield
    except StoreDamagedError as error:
        if error.seq is not None:
            raise
        raise StoreDamagedError(error.what, error.why, seq()) from error


def _cut(frames: bytes, skip: int, most: int, room: int, *, is_first: bool) -> tuple[bytes, int]:
    """Take at most `most` entries and `room` bytes out of frames, behind the first `skip` entries.

    Returns:
        The frames taken and their number, at least one if it `is_first`.
    """
    at = 0
    for _ in range(skip):
        at = _behind(frames, at)
    start, taken = at, 0
    while at < len(frames) and taken < most:
        end = _behind(frames, at)
        if end - start > room and not (is_first and taken == 0):
            break
        at, taken = end, taken + 1
    return frames[start:at], taken


def _behind(frames: bytes, at: int) -> int:
    """Give the place behind the frame that begins at `at`."""
    return at + _LENGTH_BYTES + int.from_bytes(frames[at : at + _LENGTH_BYTES])
