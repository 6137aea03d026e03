"""What can be saved of damaged segments: entries that prove themselves, before and after the damage.

Promise: an entry counts only if it parses strictly, is of this log, and is named by the entry that follows
it or, at the end of a run, holds by its own signature under the key that is active there. So nothing comes
out that was never sealed here. What is found lies in an encrypted file until it was used. Repairs nothing.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry, parse_frames
from coldseal.errors import ColdsealError, InputError
from coldseal.gateway.store.database import fetch, open_database, translated
from coldseal.gateway.store.packed import unpack
from coldseal.gateway.store.pages import Pages, Piece, Row
from coldseal.gateway.store.segments import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from coldseal.core.log.record import Entry

_SCHEMA: Final = """
CREATE TABLE found (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, leaf BLOB NOT NULL, prev BLOB NOT NULL,
    is_firm INTEGER NOT NULL, entry BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX by_place ON found (seq, leaf, prev, is_firm);
CREATE TABLE notes (size INTEGER NOT NULL, note BLOB NOT NULL, PRIMARY KEY (size, note)) STRICT;
CREATE TABLE tiles (level INTEGER NOT NULL, n INTEGER NOT NULL, root BLOB NOT NULL, PRIMARY KEY (level, n))
    STRICT;
"""
_PUT: Final = "INSERT OR IGNORE INTO found (seq, leaf, prev, is_firm, entry) VALUES (?, ?, ?, ?, ?)"
_STATES_KEPT: Final = 16
_RECENT: Final = 1024
_BEGIN: Final = re.compile(rb'\{"body":\{"data":')
_HASH: Final = 32
_WIDE, _NOTE = 3, 2


class Range(NamedTuple):
    """Entries next to one another: from `first` to `end`, which is not one of them."""

    first: int
    end: int


class _Candidate(NamedTuple):
    """An entry that was found."""

    number: int
    seq: int
    leaf: bytes
    prev: bytes
    is_firm: bool


class Found:
    """What was found in damaged segments, and came from elsewhere to fill the holes.

    Attributes:
        states: by name and size, what was written down as state; the newest ones.
        damaged: pages and frames whose check failed.
    """

    def __init__(self, path: Path, key: bytes, origin: str) -> None:
        """Begin with nothing, in a new file.

        Raises:
            UnavailableError: it cannot be written.
        """
        self.states: dict[str, dict[int, bytes]] = {}
        self.damaged = 0
        self._recent: dict[tuple[bytes, bool], None] = {}
        self._path, self._key, self._origin = path, key, origin
        self._remove()
        self._connection = open_database(path, key, schema=_SCHEMA)
        self._connection.pragma("synchronous", "off")  # what is lost here is found again
        self._connection.pragma("wal_autocheckpoint", 4096)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and remove it."""
        self._connection.close(True)
        self._remove()

    def gather(self, segment: Path) -> None:
        """Take whatever is in a segment, however damaged; nothing of it is believed yet."""
        with translated(str(self._path)), self._connection, Pages(segment, self._key) as pages:
            for found in pages.rows():
                if isinstance(found, Piece):
                    self._take(_carve(found.content), is_firm=found.is_firm)
                else:
                    self._take_row(found)
            self.damaged += pages.damaged

    def add(self, entries: Iterable[bytes]) -> None:
        """Take entries that came from elsewhere."""
        with translated(str(self._path)), self._connection:
            self._take(entries, is_firm=True)

    def choose(self, linked: Mapping[int, bytes], is_authentic: Callable[[Entry], bool]) -> list[Range]:
        """Decide which entries count, from the last to the first; the others are dropped.

        Args:
            linked: by seq, the hash that an entry must have, because a sound one names it.
            is_authentic: whether an entry holds by itself, with the key that is active at its place.

        Returns:
            The runs of entries that there are, rising.
        """
        rows = self._connection.execute(
            "SELECT id, seq, leaf, prev, is_firm FROM found ORDER BY seq DESC, is_firm DESC, id"
        )
        kept: list[_Candidate] = []
        wanted: bytes | None = None
        for seq, group in groupby(map(_Candidate._make, rows), key=lambda each: each.seq):
            if not kept or kept[-1].seq != seq + 1:
                wanted = None
            wanted = linked.get(seq, wanted)
            if wanted is None:
                firm = (each for each in group if each.is_firm)
                chosen = next((each for each in firm if is_authentic(self._parse(each.number))), None)
            else:
                chosen = next((each for each in group if each.leaf == wanted), None)
            if chosen is not None:
                kept.append(chosen)
                wanted = chosen.prev
        kept.reverse()
        self._extend(kept, linked, is_authentic)
        self._drop_others(kept)
        return _runs(each.seq for each in kept)

    def _extend(
        self,
        kept: list[_Candidate],
        linked: Mapping[int, bytes],
        is_authentic: Callable[[Entry], bool],
    ) -> None:
        """Let what older turns of the WAL have left go on behind the last entry, where it fits."""
        query = "SELECT id, seq, leaf, prev, is_firm FROM found WHERE seq = ? AND prev = ?"
        while kept:
            seq = kept[-1].seq + 1
            found = self._connection.execute(query, (seq, kept[-1].leaf)).fetchall()
            rows = map(_Candidate._make, found)
            fitting = (each for each in rows if linked.get(seq, each.leaf) == each.leaf)
            following = next((each for each in fitting if is_authentic(self._parse(each.number))), None)
            if following is None:
                return
            kept.append(following)

    def _drop_others(self, kept: list[_Candidate]) -> None:
        """Keep what counts."""
        with translated(str(self._path)), self._connection:
            self._connection.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            self._connection.executemany("INSERT INTO kept VALUES (?)", ((each.number,) for each in kept))
            self._connection.execute("DELETE FROM found WHERE id NOT IN (SELECT id FROM kept)")
            self._connection.execute("DROP TABLE kept")
        self._recent.clear()  # what was dropped may come again, and fit then

    def entries(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Give the entries of a range that count, each with its seq, in order."""
        query = "SELECT seq, entry FROM found WHERE seq >= ? AND seq < ? ORDER BY seq"
        with translated(str(self._path)):
            yield from self._connection.execute(query, (first, end))

    def notes(self, after: int, upto: int) -> Iterator[tuple[int, bytes]]:
        """Give the checkpoints that were found over more than `after` and at most `upto` entries."""
        query = "SELECT size, note FROM notes WHERE size > ? AND size <= ? ORDER BY size"
        with translated(str(self._path)):
            yield from self._connection.execute(query, (after, upto))

    def tiles(self, first: int, end: int) -> list[tuple[int, int, bytes]]:
        """Give the tree hashes that were found of subtrees that end in a range, as (level, index, hash)."""
        query = "SELECT level, n, root FROM tiles WHERE ((n + 1) << level) > ? AND ((n + 1) << level) <= ?"
        with translated(str(self._path)):
            return [(level, n, root) for level, n, root in fetch(self._connection, query, (first, end))]

    def state(self, name: str, at_most: int) -> State | None:
        """Give the newest state of a name over at most so many entries."""
        sizes = [size for size in self.states.get(name, ()) if size <= at_most]
        return State(max(sizes), self.states[name][max(sizes)]) if sizes else None

    def _parse(self, number: int) -> Entry:
        """Give a candidate's entry."""
        return parse_entry(fetch(self._connection, "SELECT entry FROM found WHERE id = ?", (number,))[0][0])

    def _take_row(self, row: Row) -> None:
        """Take a row for what its columns say that it is."""
        values, last = row.values, row.values[-1]
        if not isinstance(last, bytes):
            return
        if len(values) == _NOTE and values[0] is None:
            self._take_note(row.number, last)
        elif len(values) == _WIDE and isinstance(values[0], str):
            self._take_state(values[0], values[1], last)
        elif len(values) == _WIDE and values[0] is None:
            self._take(_framed(last), is_firm=row.is_firm)
        elif len(values) == _WIDE and len(last) == _HASH:
            self._connection.execute("INSERT OR IGNORE INTO tiles VALUES (?, ?, ?)", (*values[:2], last))

    def _take_state(self, name: str, size: object, value: bytes) -> None:
        """Take a state."""
        if isinstance(size, int):
            known = self.states.setdefault(name, {})
            known.setdefault(size, value)
            if len(known) > _STATES_KEPT:
                del known[min(known)]

    def _take_note(self, number: int, content: bytes) -> None:
        """Take a checkpoint; a row of leaf hashes looks alike, and is passed over."""
        try:
            checkpoint = parse_checkpoint_text(parse_note(content).text)
        except InputError:
            return
        if (checkpoint.origin, checkpoint.size) == (self._origin, number):
            self._connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (number, content))

    def _take(self, entries: Iterable[bytes], *, is_firm: bool) -> None:
        """Take what is an entry of this log; pages have many versions, with the same entries in them."""
        for raw in entries:
            if (raw, is_firm) in self._recent:
                continue
            self._recent[raw, is_firm] = None
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]
            try:
                entry = parse_entry(raw)
            except InputError:
                continue
            if entry.log == self._origin:
                row = (entry.seq, leaf_hash(raw), bytes.fromhex(entry.prev), int(is_firm), raw)
                self._connection.execute(_PUT, row)

    def _remove(self) -> None:
        """Remove the file and what is beside it."""
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()


def missing(runs: Iterable[Range], first: int, end: int) -> list[Range]:
    """Give what lies between the runs of a range, rising."""
    holes: list[Range] = []
    for run in runs:
        if run.end <= first:
            continue
        if run.first > first:
            holes.append(Range(first, min(run.first, end)))
        first = run.end
        if first >= end:
            return holes
    return [*holes, Range(first, end)] if first < end else holes


def joined(runs: Iterable[Range]) -> list[Range]:
    """Join runs that touch or overlap, rising."""
    found: list[Range] = []
    for run in sorted(runs):
        if found and run.first <= found[-1].end:
            found[-1] = Range(found[-1].first, max(run.end, found[-1].end))
        else:
            found.append(run)
    return found


def _runs(seqs: Iterable[int]) -> list[Range]:
    """Join rising seqs to runs."""
    found: list[Range] = []
    for seq in seqs:
        if found and found[-1].end == seq:
            found[-1] = Range(found[-1].first, seq + 1)
        else:
            found.append(Range(seq, seq + 1))
    return found


def _framed(blob: bytes) -> Iterable[bytes]:
    """Take a row of `groups` apart."""
    try:
        return parse_frames(unpack(blob))
    except ColdsealError:
        return _carve(blob)


def _carve(content: bytes) -> Iterator[bytes]:
    """Give what looks like whole entries in bytes that begin and end anywhere."""
    for found in _BEGIN.finditer(content):
        at = found.start()
        length = int.from_bytes(content[max(0, at - 2) : at])
        raw = content[at : at + length]
        if len(raw) == length:
            yield raw
