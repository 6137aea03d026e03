"""Builds a log's folder anew from what was saved: whole segments, segments with holes, a fresh one to go on.

Promise: entries are written as they were sealed, tree hashes and roots are worked out again from them, and a
root that a checkpoint signed is met or the work ends. What is written here replaces nothing: the folder is a
new one, and whoever asked puts it in its place.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.log.record import frame
from coldseal.gateway.store import lost as lost_ranges
from coldseal.gateway.store.database import StoreDamagedError, close_final, open_database, translated
from coldseal.gateway.store.disk import DISK
from coldseal.gateway.store.head import Head, HeadFile
from coldseal.gateway.store.inspection import Inspection, grow
from coldseal.gateway.store.opening import CHAIN, chain_state
from coldseal.gateway.store.reader import HEAD_NAME, TILE_LEVEL
from coldseal.gateway.store.segments import (
    ENDED,
    SCHEMA,
    State,
    create_segment,
    publish_segment,
    segment_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from coldseal.core.log.record import Chain
    from coldseal.gateway.store.database import Connection
    from coldseal.gateway.store.salvage import Range

GROUP: Final = 256
"""Entries in one row."""

_DRAFT: Final = ".new"


class Rebuilding:
    """A new folder of a log, segment by segment, in order.

    Attributes:
        tree: over all entries so far; None behind a hole.
        last: the hash of the last entry that was written.
    """

    def __init__(self, folder: Path, key: bytes, head: Head | None) -> None:
        """Begin with an empty folder; the head of the old one, if there is one, must be met."""
        self._folder, self._key, self._head = folder, key, head
        self.tree: CompactRange | None = CompactRange()
        self.last: bytes | None = None
        folder.mkdir(mode=0o700)

    def take_sound(self, path: Path, first: int, end: int) -> None:
        """Take a sound closed segment as it is; it takes no more room on the disk.

        Raises:
            StoreDamagedError: it does not go on from what was written before it.
        """
        inspection = Inspection()
        inspection.tree, inspection.leaf = self.tree, self.last
        for _ in inspection.examine(path, self._key, first, end):
            pass
        self.last = inspection.leaf
        new = self._folder / path.name
        try:
            os.link(path, new)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, new)

    def write(
        self,
        first: int,
        entries: Iterable[tuple[int, bytes]],
        holes: Sequence[Range],
        notes: Iterable[tuple[int, bytes]],
        states: Mapping[str, State],
    ) -> None:
        """Write a closed segment.

        Args:
            first: its first seq.
            entries: those that there are, with their seqs.
            holes: ranges that are lost.
            notes: checkpoints, by size; those that do not fit the tree end the work.
            states: what is written down with it.

        Raises:
            StoreDamagedError: a signed checkpoint has another root than these entries.
            UnavailableError: it cannot be written.
        """
        path = segment_path(self._folder, first)
        draft = path.with_suffix(_DRAFT)
        schema = SCHEMA + lost_ranges.SCHEMA if holes else SCHEMA
        with translated(str(draft)):
            connection = open_database(draft, self._key, schema=schema)
            try:
                with connection:
                    self._fill(connection, entries, dict(notes), [hole.first for hole in holes])
                    for hole in holes:
                        row = (hole.first, hole.end - 1, lost_ranges.UNKNOWN)
                        connection.execute("INSERT INTO lost VALUES (?, ?, ?)", row)
                    rows = [(name, size, value) for name, (size, value) in states.items() if name != ENDED]
                    connection.executemany("INSERT INTO state VALUES (?, ?, ?)", rows)
            finally:
                close_final(connection)
        publish_segment(draft)

    def _fill(
        self,
        connection: Connection,
        entries: Iterable[tuple[int, bytes]],
        notes: dict[int, bytes],
        holes: Sequence[int],
    ) -> None:
        """Write entries, tree hashes and checkpoints, in the order of the log."""
        tiles: list[tuple[int, int, bytes]] = []
        end = -1
        for group in _groups(entries):
            begin = group[0][0]
            connection.execute(
                "INSERT INTO groups VALUES (?, ?, ?)", (begin, len(group), frame(raw for _, raw in group))
            )
            if any(hole <= begin for hole in holes):
                self.tree = None
            for seq, raw in group:
                self.last = leaf_hash(raw)
                if self.tree is not None:
                    tiles += grow(self.tree, self.last)
                    self._compare(seq + 1, notes.get(seq + 1))
            end = group[-1][0]
        if holes:
            self.tree = None
        if any(hole > end for hole in holes):
            self.last = None
        connection.executemany("INSERT INTO tiles VALUES (?, ?, ?)", tiles)
        connection.executemany("INSERT INTO checkpoints VALUES (?, ?)", sorted(notes.items()))

    def _compare(self, size: int, note: bytes | None) -> None:
        """Hold a checkpoint against the tree."""
        head = self._head
        roots = {parse_checkpoint_text(parse_note(note).text).root} if note is not None else set[bytes]()
        if head is not None and head.size == size:
            roots.add(head.root)
        if self.tree is not None and roots and roots != {self.tree.root()}:
            raise StoreDamagedError("the log", f"what was saved has another root at size {size}")

    def keep_tree(self, first: int, chain: Chain, tiles: Iterable[tuple[int, int, bytes]]) -> None:
        """Put tree hashes into a segment with holes, of subtrees that end in it.

        Args:
            first: its first seq.
            chain: the chain behind the last entry.
            tiles: hashes over subtrees that end in it, as they were stored.

        Raises:
            UnavailableError: it cannot be written.
        """
        rows = list(tiles)
        end, hashes = 0, iter(chain.tree.hashes)
        for level in reversed(range(chain.size.bit_length())):
            if chain.size >> level & 1:
                end += 1 << level
                found = next(hashes)
                if level >= TILE_LEVEL and end > first:
                    rows.append((level, (end >> level) - 1, found))
        path = segment_path(self._folder, first)
        with translated(str(path)):
            connection = open_database(path, self._key)
            try:
                connection.executemany("INSERT INTO tiles VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)
            finally:
                close_final(connection)

    def finish(self, chain: Chain, states: Mapping[str, State]) -> None:
        """Make the segment that the log goes on in, and the head.

        Raises:
            UnavailableError: they cannot be written.
        """
        states = {name: value for name, value in states.items() if name != ENDED}
        fresh = {**states, CHAIN: chain_state(chain)}
        publish_segment(create_segment(self._folder, chain.size, self._key, fresh))
        head = HeadFile.create(self._folder / HEAD_NAME)
        try:
            head.write(Head(chain.size, chain.tree.root()))
            head.sync()
        finally:
            head.close()
        DISK.sync_directory(self._folder)


def _groups(entries: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Put entries that follow each other together."""
    group: list[tuple[int, bytes]] = []
    for seq, raw in entries:
        if group and (len(group) == GROUP or group[-1][0] + 1 != seq):
            yield group
            group = []
        group.append((seq, raw))
    if group:
        yield group
