"""What is in the archive, and how each ended segment stands: in the log, in the archive, in its window.

The index only saves looking at every file again: it follows from the files, and a lost one is made anew by
the next round. Changes nothing but the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.log.layout import subtrees
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError, TrustError, UnavailableError
from coldseal.gateway.clock import render_time
from coldseal.gateway.holds import holds_of
from coldseal.gateway.pruning import NotArchivedError
from coldseal.gateway.retention import class_of, ends_at, kinds_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.pruning import Archive
    from coldseal.gateway.store.reader import LogReader

INDEX: Final = "archives.json"
"""File in the data folder: what is archived. It follows from the files in the archive."""

SUFFIX: Final = ".coldseal.zst"


class Archived(msgspec.Struct, frozen=True):
    """A segment that is archived.

    Args:
        name: of the file in the archive.
        sha256: of that file, base64.
        size: of that file, bytes.
        first: first seq of the segment.
        last: its last seq.
        root: of the log up to its end, base64.
        kinds: of the entries in it.
        ended: when its last entry was accepted, RFC 3339.
        written: when it was archived, or found in the archive.
    """

    name: str
    sha256: str
    size: int
    first: int
    last: int
    root: str
    kinds: tuple[str, ...]
    ended: str
    written: str


class BadArchiveError(TrustError):
    """A file in the archive is not the bundle that it should be."""

    verdict = "archive-damaged"

    def __init__(self, name: str, why: str) -> None:
        """Keep the facts."""
        self.name, self.why = name, why
        super().__init__(f"{name} is not what was archived: {why}")


class Standing(NamedTuple):
    """How an ended segment stands.

    Args:
        first: first seq.
        last: last seq.
        state: `waiting` for witnesses or its turn, `archived`, or `pruned`: in the archive alone.
        archive: name of its bundle; empty if there is none.
        is_present: whether that file is in the archive's folder now.
        retention: its class; empty if it has none, so that it stays.
        until: when its window ends, RFC 3339; empty if never.
        is_due: whether its window has ended.
        hold: why it is on hold; empty if it is not.
    """

    first: int
    last: int
    state: str
    archive: str
    is_present: bool
    retention: str
    until: str
    is_due: bool
    hold: str


def survey(config: GatewayConfig, reader: LogReader, now_ms: int) -> list[Standing]:
    """Say how each ended segment stands."""
    index, folder, holds = read_index(config.gateway.data), config.archive.directory, holds_of(reader)
    found: list[Standing] = []
    for first, end, pruned in reader.closed_segments():
        known = index.get(first)
        kept = None if known is None else class_of(known.kinds, config.retention)
        until_ms = None if known is None or kept is None else ends_at(known.ended, kept)
        name = pruned.archive if pruned is not None else "" if known is None else known.name
        state = "pruned" if pruned is not None else "archived" if known is not None else "waiting"
        found.append(
            Standing(
                first,
                end - 1,
                state,
                name,
                bool(name) and folder is not None and (folder / name).is_file(),
                "" if kept is None else kept.name,
                "" if until_ms is None else render_time(until_ms),
                until_ms is not None and until_ms <= now_ms,
                next((each.why for each in holds if each.first < end and first <= each.last), ""),
            )
        )
    return found


def name_of(origin: str, first: int, last: int) -> str:
    """Name the bundle of a segment."""
    return f"{origin.replace('/', '_')}-{first:012d}-{last:012d}{SUFFIX}"


def read_index(data: Path) -> dict[int, Archived]:
    """Give what is archived, by first seq; empty where the index is lost: the next round finds it again."""
    try:
        found = msgspec.json.decode((data / INDEX).read_bytes(), type=list[Archived])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    return {each.first: each for each in found}


def archive_folder(config: GatewayConfig) -> Path:
    """Give the archive's folder.

    Raises:
        OperatorError: none is configured.
        UnavailableError: it is not there.
    """
    folder = config.archive.directory
    if folder is None:
        raise OperatorError("no archive is configured", "Set archive.directory")
    if not folder.is_dir():
        raise UnavailableError(str(folder), "there is no such folder now")
    return folder


def write_index(data: Path, index: Mapping[int, Archived]) -> None:
    """Write the index."""
    draft = (data / INDEX).with_suffix(".new")
    draft.write_bytes(msgspec.json.encode([index[first] for first in sorted(index)]))
    draft.replace(data / INDEX)


def examine(reader: LogReader, archive: Archive, first: int, last: int) -> tuple[tuple[str, ...], str]:
    """Hold an archive against the log's hashes, which stay when entries go.

    Returns:
        The kinds of its entries, and when the last one was accepted.

    Raises:
        NotArchivedError: an entry is missing, or is another one.
    """
    kinds: set[str] = set()
    entries, raw = archive.entries(first, last), b""
    for level, index in subtrees(first, last + 1):
        tree = CompactRange()
        for seq in range(index << level, (index + 1) << level):
            found = next(entries, None)
            if found is None:
                raise NotArchivedError(archive.name, seq, "it is missing")
            kinds.update(kinds_in(found))
            tree.append(leaf_hash(found))
            raw = found
        if tree.root() != reader.nodes(level, index):
            why = f"the hash over the {1 << level} entries from there is another one"
            raise NotArchivedError(archive.name, index << level, why)
    return tuple(sorted(kinds)), parse_entry(raw).t
