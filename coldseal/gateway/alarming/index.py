"""Where in the log the entries of today's alarms are, so that a start need not read all of it.

Promise: the file holds places, never what entries say; the alarms themselves come from the log each time. A
file that is lost, torn or old costs a longer look, nothing else. What was pruned or lost is passed over.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.alarms import FOLDED, Fact
from coldseal.core.log.delivery.notices import Finder
from coldseal.core.log.record import parse_entry
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import PrunedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from coldseal.gateway.store.reader import LogReader

KEPT: Final = "alarms.json"
"""The file, below the gateway's data folder."""

STRETCH: Final = 4_096
"""Entries that are looked through at once."""


class Index(msgspec.Struct, frozen=True):
    """The file.

    Args:
        upto: every entry below was looked at.
        seqs: places of those that alarms are made from.
        origin: of the log in which they are.
    """

    upto: int = 0
    seqs: tuple[int, ...] = ()
    origin: str = ""


def read_index(path: Path, size: int, origin: str) -> Index:
    """Read the file; one that cannot be read, or is of another log, says that nothing was looked at."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Index)
    except (OSError, msgspec.DecodeError):
        return Index()
    is_good = 0 <= found.upto <= size and all(0 <= seq < found.upto for seq in found.seqs)
    return found if is_good and found.origin == origin else Index()


def write_index(path: Path, index: Index) -> None:
    """Write the file, whole or not at all; losing it loses nothing but time."""
    draft = path.with_suffix(".new")
    with suppress(OSError):
        draft.write_bytes(msgspec.json.encode(index))
        draft.replace(path)


def fact_of(raw: bytes) -> Fact:
    """Read an entry as alarms need it."""
    entry = parse_entry(raw)
    return Fact(entry.seq, round(datetime.fromisoformat(entry.t).timestamp() * 1000), entry.kind, entry.data)


def facts(reader: LogReader, index: Index, size: int) -> Iterator[Sequence[Fact]]:
    """Give the facts below ``size``, in order: those that the index names, then what is found behind it.

    Gives often, if only nothing: whoever asks may do something else in between.
    """
    for seq in index.seqs:
        with suppress(LostError, PrunedError):
            yield [fact_of(raw) for raw in reader.read(seq, max_entries=1)]
    finder, at, until = Finder(FOLDED), index.upto, size
    while at < size:
        try:
            found = reader.read_frames(at, max_entries=min(STRETCH, until - at))
        except (LostError, PrunedError) as gone:
            if gone.seq > at:  # what stands before it in this stretch is here
                until = gone.seq
            else:
                at, until = 1 + (gone.pruned.last if isinstance(gone, PrunedError) else gone.last), size
        else:
            yield [fact_of(raw) for _, raw in finder.find(at, found.frames)]
            at += found.count
            until = size if at == until else until
