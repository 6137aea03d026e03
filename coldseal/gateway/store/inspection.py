"""Reads all of a log again and holds it against itself: every page, entry, link, tree hash and root.

Promise: what a driver gives without a word, but was not written so, is named by its first seq; and so is what
cannot be read. Changes nothing, and checks no signature: those are the matter of `salvage` and the verifier.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import CompactRange, leaf_hash, node_hash
from coldseal.core.log.record import parse_entry, parse_frames
from coldseal.errors import ColdsealError, InputError
from coldseal.gateway.store.database import StoreDamagedError, fetch, open_database, translated
from coldseal.gateway.store.lost import find_lost
from coldseal.gateway.store.packed import unpack
from coldseal.gateway.store.pruned import read_pruned
from coldseal.gateway.store.reader import TILE_LEVEL
from coldseal.gateway.store.segments import ALL_STATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coldseal.gateway.store.database import Connection

_PREV: Final = b'"prev":"'
_HASH: Final = 32
_HEX: Final = 64

Tile = tuple[int, int, bytes]


def grow(tree: CompactRange, leaf: bytes) -> Iterator[Tile]:
    """Add a leaf hash to a tree; gives the whole subtrees of 256 entries and more that end with it."""
    size, level, found = tree.size, 0, leaf
    tree.size += 1
    while size & 1:
        found = node_hash(tree.hashes.pop(), found)
        size, level = size >> 1, level + 1
        if level >= TILE_LEVEL:
            yield level, (tree.size >> level) - 1, found
    tree.hashes.append(found)


class Inspection:
    """Goes over the closed segments of a log, one after the other; gives the tree over what was sound.

    Attributes:
        tree: over all entries so far; None behind a hole.
        leaf: the hash of the last entry looked at; None if it is not known.
        is_stated: whether the last segment has holes, and says so.
        prev: the hash that the first entry of the last segment names; None if it was pruned.
    """

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.tree: CompactRange | None = CompactRange()
        self.leaf: bytes | None = None
        self.prev: bytes | None = None
        self.is_stated = False

    def skip(self) -> None:
        """Leave a segment out that is not sound: roots behind it cannot be told."""
        self.tree = self.leaf = None

    def examine(self, path: Path, key: bytes, first: int, end: int) -> Iterator[int]:
        """Look at a closed segment, which nobody writes; gives the seq behind each part of it.

        Raises:
            StoreDamagedError: it is not what was written; names the first seq concerned.
        """
        at = first
        try:
            with closing(open_database(path, key, readonly=True, is_final=True)) as connection:
                for at in self._examine(connection, first, end):
                    yield at
        except StoreDamagedError as error:
            raise StoreDamagedError(path.name, error.why, at if error.seq is None else error.seq) from error
        except (ColdsealError, OSError) as error:
            raise StoreDamagedError(path.name, str(error), at) from error

    def _examine(self, connection: Connection, first: int, end: int) -> Iterator[int]:
        """Look at an open segment."""
        with translated("the segment"):
            tiles = {(level, n): root for level, n, root in fetch(connection, "SELECT * FROM tiles")}
            notes = dict(fetch(connection, "SELECT size, note FROM checkpoints"))
            fetch(connection, ALL_STATE)
            is_pruned = read_pruned(connection) is not None
            self.is_stated = find_lost(connection) is not None
            at = first
            rows = _pruned_rows(connection) if is_pruned else _rows(connection)
            self.prev = None
            for begin, leaves, prev in rows:
                self.prev = prev if begin == first else self.prev
                if begin != at:
                    raise StoreDamagedError("the segment", f"the next entry is {begin}", at)
                if prev and self.leaf not in {None, prev}:
                    raise StoreDamagedError("the segment", "the entry does not continue the chain", at)
                for leaf in leaves:
                    self._add(at, leaf, tiles, notes)
                    at += 1
                yield at
        if at != end:
            raise StoreDamagedError("the segment", f"it ends at {at}, expected {end}", at)

    def _add(
        self, seq: int, leaf: bytes, tiles: dict[tuple[int, int], bytes], notes: dict[int, bytes]
    ) -> None:
        """Take one entry's hash, and compare what was stored over the entries up to it."""
        self.leaf = leaf
        if self.tree is None:
            return
        for level, n, root in grow(self.tree, leaf):
            if tiles.get((level, n), root) != root:
                raise StoreDamagedError("the segment", f"the tree hash {level}/{n} is another one", seq)
        note = notes.get(seq + 1)
        if note is not None and _root(note) != self.tree.root():
            raise StoreDamagedError("the segment", f"the checkpoint over {seq + 1} has another root", seq)


def _root(note: bytes) -> bytes:
    """Give the root that a stored checkpoint states."""
    return parse_checkpoint_text(parse_note(note).text).root


def _rows(connection: Connection) -> Iterator[tuple[int, list[bytes], bytes | None]]:
    """Give the groups of a segment, as leaf hashes, each held against the one before it."""
    for first, count, stored in connection.execute("SELECT first, count, entries FROM groups ORDER BY first"):
        entries = parse_frames(unpack(stored))
        if len(entries) != count:
            raise StoreDamagedError("the segment", f"a group of {count} holds {len(entries)}", first)
        before = prev = prev_of(entries[0])
        leaves: list[bytes] = []
        for seq, raw in enumerate(entries, first):
            if prev_of(raw) != before:
                raise StoreDamagedError("the segment", "the entry does not continue the chain", seq)
            before = leaf_hash(raw)
            leaves.append(before)
        if parse_entry(entries[0]).seq != first:
            raise StoreDamagedError("the segment", "the entry has another seq", first)
        yield first, leaves, prev


def _pruned_rows(connection: Connection) -> Iterator[tuple[int, list[bytes], bytes | None]]:
    """Give the leaf hashes of a pruned segment; the entries that stayed must have theirs."""
    kept = {
        first: leaf_hash(parse_frames(stored)[0])
        for first, stored in fetch(connection, "SELECT first, entries FROM groups")
    }
    for first, hashes in connection.execute("SELECT first, hashes FROM leaves ORDER BY first"):
        leaves = [hashes[at : at + _HASH] for at in range(0, len(hashes), _HASH)]
        for seq, leaf in enumerate(leaves, first):
            if kept.get(seq, leaf) != leaf:
                raise StoreDamagedError("the segment", "an entry has another hash than was kept", seq)
        yield first, leaves, None


def prev_of(raw: bytes) -> bytes:
    """Give the hash that an entry names as the one before it.

    Raises:
        InputError: it is no entry.
    """
    if raw.count(_PREV) != 1:  # a string cannot hold it, but what a kind defines might
        return bytes.fromhex(parse_entry(raw).prev)
    at = raw.find(_PREV) + len(_PREV)
    try:
        return bytes.fromhex(raw[at : at + _HEX].decode())
    except ValueError as error:
        raise InputError("entry", "prev", raw[at : at + _HEX], "64 hex digits") from error


def entries_of(path: Path, key: bytes, first: int) -> Iterator[bytes]:
    """Give the entries of a sound closed segment from seq `first` on; none of a pruned one.

    Raises:
        UnavailableError, TrustError: it cannot be read.
    """
    with closing(open_database(path, key, readonly=True, is_final=True)) as connection, translated(str(path)):
        if read_pruned(connection) is None:
            query = "SELECT first, entries FROM groups WHERE first + count > ? ORDER BY first"
            for begin, stored in connection.execute(query, (first,)):
                yield from parse_frames(unpack(stored))[max(0, first - begin) :]
