"""Packs ended segments: the same file name and tables, about a quarter of the room.

Promise: a segment file is whole or packed, never in between. A packed one takes its place only after it was
read back, its leaf hashes held against the tree and its other tables against those of the segment. Works step
by step beside the commits, for a quarter of one processor core at most, and far less while much comes in.
Decides nothing about the log.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_frames
from coldseal.errors import ColdsealError, UnavailableError
from coldseal.gateway.store.database import (
    StoreDamagedError,
    close_final,
    copy_tables,
    copy_wal,
    fetch,
    open_database,
    translated,
)
from coldseal.gateway.store.packed import PACKED, TILE_BYTES, TILE_ENTRIES, VERSION, pack, unpack
from coldseal.gateway.store.pruned import read_pruned
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import (
    SCHEMA,
    file_number,
    list_segments,
    segment_path,
    settle_segment,
    wal_path,
)
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from coldseal.gateway.store.database import Connection
    from coldseal.gateway.store.disk import Disk
    from coldseal.gateway.store.space import Space

SHARE: Final = 4
"""One part in so many of the time is worked; the rest is left to whoever commits."""

BUSY_SHARE: Final = 16
"""The same while messages are coming in fast: they wait for their acknowledgement, packing can wait."""

BUSY_ENTRIES_S: Final = 1000
"""So many entries a second are fast."""

AGAIN_S: Final = 60.0
"""Pause before what could not be packed, because it was read or there was no room, is tried again."""

_SUFFIX: Final = ".packed"
_KEPT: Final = (("checkpoints", 2), ("tiles", 3), ("state", 3))
_TILES_AT_ONCE: Final = 64
_log = Log("gateway.packing")

Result = TypeVar("Result")


class Stretch(NamedTuple):
    """A segment: its first seq, and the seq behind its last."""

    first: int
    end: int


@dataclass(slots=True)
class Tally:
    """What ended segments take up; pruned ones are not among them.

    Attributes:
        packed_entries: entries in packed segments.
        packed_bytes: the size of these files.
        whole_entries: entries in ended segments that are not packed.
        whole_bytes: the size of these files.
    """

    packed_entries: int = 0
    packed_bytes: int = 0
    whole_entries: int = 0
    whole_bytes: int = 0


def draft_of(segment: Path) -> Path:
    """Give the place where a segment is packed."""
    return segment.with_suffix(_SUFFIX)


def write_packed(directory: Path, key: bytes, stretch: Stretch, *, disk: Disk) -> Generator[None]:
    """Write a segment down packed, beside it, and compare the two; a step for each tile.

    Args:
        directory: the log's directory.
        key: the store key.
        stretch: the segment, ended and settled.
        disk: what the log lies on.

    Raises:
        UnavailableError: the disk fails.
        StoreDamagedError: an entry is missing, or what was written is not what is there.
    """
    path = segment_path(directory, stretch.first)
    draft = draft_of(path)
    with (
        translated(str(draft)),
        closing(LogReader(directory, key, disk=disk)) as reader,
        closing(open_database(path, key, readonly=True, is_final=True, disk=disk)) as old,
    ):
        new = open_database(draft, key, schema=SCHEMA, disk=disk)
        try:
            yield from _copy(reader, old, new, stretch)
        finally:
            close_final(new)
        with closing(open_database(draft, key, readonly=True, is_final=True, disk=disk)) as made:
            yield from _compare(reader, old, made, stretch)


def _copy(reader: LogReader, old: Connection, new: Connection, stretch: Stretch) -> Generator[None]:
    """Copy everything, the entries tile by tile; the WAL is kept short."""
    with new:
        copy_tables(old, new, _KEPT)
        new.execute("INSERT INTO state VALUES (?, ?, ?)", (PACKED, stretch.end, VERSION))
    at = stretch.first
    while at < stretch.end:
        with new:
            for _ in range(_TILES_AT_ONCE):
                count = min(TILE_ENTRIES - at % TILE_ENTRIES, stretch.end - at)
                found = reader.read_frames(at, max_entries=count, max_bytes=TILE_BYTES)
                row = (at, found.count, pack(found.frames))
                new.execute("INSERT INTO groups VALUES (?, ?, ?)", row)
                at += found.count
                yield
                if at == stretch.end:
                    break
        copy_wal(new, is_emptying=True)


def _compare(reader: LogReader, old: Connection, made: Connection, stretch: Stretch) -> Generator[None]:
    """Hold what was written against the tree, the signed checkpoint at its end, and the old tables."""
    tree = reader.tree(stretch.first)
    for first, count, stored in made.execute("SELECT first, count, entries FROM groups ORDER BY first"):
        entries = parse_frames(unpack(stored))
        if (first, count) != (tree.size, len(entries)):
            raise StoreDamagedError("the packed segment", "its tiles do not follow each other", tree.size)
        tree.extend([leaf_hash(raw) for raw in entries])
        yield
    roots = {reader.root(stretch.end)}
    note = reader.checkpoint_at_most(stretch.end)
    if note is not None and note.size == stretch.end:
        roots.add(parse_checkpoint_text(parse_note(note.note).text).root)
    if tree.size != stretch.end or roots != {tree.root()}:
        raise StoreDamagedError("the packed segment", "its entries are not those of the tree", stretch.first)
    for name, _ in _KEPT:
        if _rows(old, name) != _rows(made, name):
            raise StoreDamagedError("the packed segment", f"its table {name} is another", stretch.first)


def _rows(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    """Give the rows of a table in order, without the mark of a packed segment."""
    found = fetch(connection, f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608 -- our own name
    return [row for row in found if row[0] != PACKED]


def replace(directory: Path, stretch: Stretch, number: int, *, disk: Disk) -> None:
    """Put a draft in the place of its segment; where that was pruned or opened meanwhile, the draft goes.

    Args:
        directory: the log's directory.
        stretch: the segment.
        number: its file's number when it was read.
        disk: what the log lies on.

    Raises:
        UnavailableError: the disk fails, or the segment is not the file that it was: it stays as it is.
    """
    path = segment_path(directory, stretch.first)
    if file_number(path) != number:
        raise UnavailableError(str(path), "it was pruned meanwhile")
    _require_unread(path)
    try:
        disk.rename(draft_of(path), path)
    except OSError as error:
        raise UnavailableError(str(path), str(error.strerror)) from error


def _require_unread(path: Path) -> None:
    """Raise while somebody has the segment open as one that is written, with its WAL beside it."""
    if wal_path(path).exists():
        raise UnavailableError(str(path), "it is still being read: it is packed another time")


def rest_s(worked_s: float, sealed: int) -> float:
    """Give how long to rest after a step, in seconds.

    Args:
        worked_s: how long the step took.
        sealed: entries that were sealed meanwhile.
    """
    is_busy = sealed > BUSY_ENTRIES_S * worked_s
    return ((BUSY_SHARE if is_busy else SHARE) - 1) * worked_s


class Packer:
    """Packs what has ended, as its own task.

    Args:
        directory: the log's directory.
        key: the store key.
        space: is asked whether there is room for a draft.
        disk: what the log lies on.
        size: gives the log's size in entries, which tells how busy it is.

    Attributes:
        due: set it when a segment has ended.
        tally: what ended segments take up, as far as they were looked at.
    """

    def __init__(
        self, directory: Path, key: bytes, space: Space, disk: Disk, size: Callable[[], int]
    ) -> None:
        """Take the parts; nothing was looked at yet."""
        self._directory, self._key, self._space, self._disk = directory, key, space, disk
        self._size = size
        self._finished: dict[int, tuple[int, bool]] = {}
        self._waiting: set[int] = set()
        self._given_up: set[int] = set()
        self._thread = ThreadPoolExecutor(1, "pack")
        self.due = asyncio.Event()
        self.due.set()
        self.tally = Tally()

    async def run(self, make_room: Callable[[], None]) -> None:
        """Pack each segment soon after it has ended, as long as this runs.

        Args:
            make_room: lets go of files that are read, and counts anew what they take up.
        """
        while True:
            await self.due.wait()
            self.due.clear()
            if await self.pack_all(make_room):
                asyncio.get_running_loop().call_later(AGAIN_S, self.due.set)

    async def pack_all(self, make_room: Callable[[], None]) -> bool:
        """Pack every segment that has ended and can be packed; says whether one waits for another time."""
        make_room()  # a reader of ours must not keep an ended segment from being one plain file
        for stretch in await self._aside(self._look):
            await self._aside(self._tidy)
            try:
                await self._pack(stretch)
            except (UnavailableError, OSError) as error:
                if stretch.first not in self._waiting:
                    _log.emit(events.PACKING_WAITS, first=stretch.first, error=str(error))
                self._waiting.add(stretch.first)
            except ColdsealError as error:
                self._given_up.add(stretch.first)
                _log.emit(events.PACKING_FAILED, first=stretch.first, error=str(error))
            else:
                make_room()
        await self._aside(self._tidy)
        return bool(await self._aside(self._look))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _pack(self, stretch: Stretch) -> None:
        """Pack one segment."""
        path = segment_path(self._directory, stretch.first)
        number, before = file_number(path), path.stat().st_size
        _require_unread(path)
        self._space.require_room_to_pack(before)
        steps = write_packed(self._directory, self._key, stretch, disk=self._disk)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            is_done = False
            while not is_done:
                step_began, size = loop.time(), self._size()
                is_done = await self._aside(lambda: next(steps, self) is self)
                await asyncio.sleep(rest_s(loop.time() - step_began, self._size() - size))
        finally:
            with suppress(ColdsealError, OSError):  # or it would hide that this was cancelled
                await self._aside(steps.close)
        await self._aside(self._sync)  # the segment's WAL must not come back beside the new file
        replace(self._directory, stretch, number, disk=self._disk)  # on the loop, as a prune is finished
        await self._aside(self._sync)
        self._waiting.discard(stretch.first)
        _log.emit(
            events.SEGMENT_PACKED,
            first=stretch.first,
            last=stretch.end - 1,
            before=before,
            after=path.stat().st_size,
            seconds=round(loop.time() - began, 1),
        )

    def _sync(self) -> None:
        """Make names that have come and gone survive a power cut."""
        with translated(str(self._directory)):
            self._disk.sync_directory(self._directory)

    def _tidy(self) -> None:
        """Remove the drafts of what was not packed, now or before a crash; the segments are whole."""
        with suppress(OSError):  # what cannot be removed now, is another time
            for left in self._directory.glob(f"*{_SUFFIX}*"):
                self._disk.unlink(left)

    def _look(self) -> list[Stretch]:
        """Count what ended segments take up, and give those that are to be packed, the oldest first."""
        try:
            return self._looked()
        except OSError:  # files are being moved, or the disk fails: others say so
            return []

    def _looked(self) -> list[Stretch]:
        """Do so."""
        tally, due, largest = Tally(), [], 0
        for stretch in map(Stretch._make, pairwise(list_segments(self._directory))):
            path = segment_path(self._directory, stretch.first)
            size, count = path.stat().st_size, stretch.end - stretch.first
            if self._is_packed(stretch.first, path):
                tally.packed_entries += count
                tally.packed_bytes += size
            elif stretch.first not in self._finished:
                tally.whole_entries += count
                tally.whole_bytes += size
                if stretch.first not in self._given_up:
                    due.append(stretch)
                    largest = max(largest, size)
        self.tally, self._space.largest = tally, largest
        return due

    def _is_packed(self, first: int, path: Path) -> bool:
        """Whether a segment is packed; what is packed or pruned is looked at once."""
        number = file_number(path)
        known, is_packed = self._finished.pop(first, (-1, False))
        if known == number:
            self._finished[first] = known, is_packed
            return is_packed
        try:
            settle_segment(self._directory, first, self._key, disk=self._disk)
            found = open_database(path, self._key, readonly=True, is_final=True, disk=self._disk)
            with translated(str(path)), closing(found):
                is_whole = read_pruned(found) is None
                is_packed = is_whole and bool(fetch(found, "SELECT 1 FROM state WHERE name = ?", (PACKED,)))
                if is_packed or not is_whole:
                    self._finished[first] = number, is_packed
        except ColdsealError:  # whoever packs or reads it will say so
            return False
        return is_packed

    async def _aside(self, step: Callable[[], Result]) -> Result:
        """Run a step in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)
