"""Puts the entries of a pruned segment back: the same file again, as far as anybody can tell who reads it.

Promise: every entry is held against the hash that was kept of it; the segment is there whole, or as it was.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Final

from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import frame
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
from coldseal.gateway.store.pruned import LEAVES, read_leaves
from coldseal.gateway.store.segments import State, create_segment, segment_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coldseal.gateway.store.database import Connection

_COPIED: Final = (("checkpoints", 2), ("tiles", 3))


def write_restored(
    directory: Path, key: bytes, first: int, end: int, entries: Iterator[bytes], *, disk: Disk = DISK
) -> Path:
    """Write a pruned segment as it was before, as a draft: `replace_segment` puts it in its place.

    Args:
        directory: the log's directory, which nobody else writes to meanwhile.
        key: the store key.
        first: first seq of the segment.
        end: seq behind its last.
        entries: those of the segment, in order.
        disk: what the log lies on.

    Raises:
        StoreDamagedError: an entry does not have the hash that was kept of it, or is missing.
        UnavailableError: it cannot be written.
    """
    path = segment_path(directory, first)
    with (
        translated(str(path)),
        closing(open_database(path, key, readonly=True, is_final=True, disk=disk)) as old,
    ):
        found = fetch(old, "SELECT name, size, value FROM state")
        state = {name: State(*rest) for name, *rest in found if name != PACKED}  # it is packed again later
        draft = create_segment(directory, first, key, state, disk=disk)
        new = open_database(draft, key, disk=disk)
        try:
            with new:
                copy_tables(old, new, _COPIED)
                for start in range(first, end, LEAVES):
                    _put(old, new, start, list(islice(entries, min(LEAVES, end - start))))
        finally:
            close_final(new)
    return draft


def _put(old: Connection, new: Connection, start: int, entries: list[bytes]) -> None:
    """Put a group of entries into the segment, if they are the ones whose hashes were kept."""
    kept = read_leaves(old, start, LEAVES)
    found = [leaf_hash(raw) for raw in entries]
    if found != kept:
        same = next(
            (at for at, pair in enumerate(zip(found, kept, strict=False)) if pair[0] != pair[1]), len(found)
        )
        raise StoreDamagedError("the archive", "it does not hold the entry whose hash was kept", start + same)
    new.execute("INSERT INTO groups VALUES (?, ?, ?)", (start, len(entries), frame(entries)))
