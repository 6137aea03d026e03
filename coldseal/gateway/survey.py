"""Looks over a damaged log: which segments are sound, what of the others can be saved, and what is missing.

Promise: nothing in the log's folder is changed, and nothing counts that does not prove itself. What the
service has can be put into the holes. Says how the log can go on; does not do it.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.canonical import parse
from coldseal.core.log.keys import RECORD, KeyHistory, Keys, history_of
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import Chain, frame, parse_entry, parse_frames
from coldseal.errors import ColdsealError, InputError, TrustError
from coldseal.gateway.store.database import StoreDamagedError, fetch, open_database, translated
from coldseal.gateway.store.head import Head, HeadFile
from coldseal.gateway.store.inspection import Inspection, entries_of
from coldseal.gateway.store.opening import CHAIN, SETTINGS, SNAPSHOT
from coldseal.gateway.store.reader import HEAD_NAME
from coldseal.gateway.store.salvage import Found, Range, joined, missing
from coldseal.gateway.store.segments import State, is_settled, list_segments, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from coldseal.core.log.record import Entry

_WAL: Final = ".db-wal"
_MARKS: Final = tuple(f'"kind":"{kind}"'.encode() for kind in ("genesis", "key", "config"))


class Outcome(StrEnum):
    """How a damaged log goes on."""

    WHOLE = "whole"
    """Every entry is there: the same log, as it was."""
    PARTLY = "partly"
    """Entries are lost, but its end is known: the same log, with a hole that it states."""
    SUCCESSOR = "successor"
    """Its end is lost: the next log begins, and states what was lost."""


@dataclass
class Part:
    """A segment, or where one should be.

    Attributes:
        first: its first seq.
        end: the seq behind its last; of the last segment, that of the last entry that can be saved.
        path: its file.
        is_sound: whether it can be taken as it is.
        prev: of a sound one, the hash that its first entry names.
    """

    first: int
    end: int
    path: Path
    is_sound: bool = False
    prev: bytes | None = None


@dataclass
class Survey:
    """What there is of a damaged log.

    Attributes:
        folder: the log's folder.
        key: the store key.
        origin: the log's name.
        found: what was saved.
        known: entries that the log is known to have had, at least.
        head: the newest head; None if it cannot be read.
        parts: its segments, rising.
        runs: entries that can be saved, in sound segments and others.
        filled: ranges that came from the service.
    """

    folder: Path
    key: bytes
    origin: str
    found: Found
    configured: Keys
    mode: str
    known: int = 0
    head: Head | None = None
    parts: list[Part] = field(default_factory=list)
    runs: list[Range] = field(default_factory=list)
    unreadable: list[Range] = field(default_factory=list)
    filled: list[Range] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Entries up to the last one that can be saved."""
        return self.runs[-1].end if self.runs else 0

    @property
    def holes(self) -> list[Range]:
        """What is missing below the size that the log is known to have had."""
        return missing(self.runs, 0, max(self.known, self.size))

    @property
    def tip(self) -> Range:
        """The last run."""
        return self.runs[-1] if self.runs else Range(0, 0)

    def look(self, tell: Callable[[str], None]) -> None:
        """Read everything; takes as long as reading the log does."""
        self.head = _read_head(self.folder)
        starts = _starts(self.folder)
        self.parts = [
            Part(first, end, segment_path(self.folder, first))
            for first, end in pairwise([*starts, starts[-1]])
        ]
        inspection = Inspection()
        for part in self.parts[:-1]:
            self._inspect(inspection, part)
        for part in self.parts:
            if not part.is_sound:
                tell(f"reading {part.path.name} page by page")
                self.found.gather(part.path)
        self.known = max([self.known, self.head.size if self.head else 0, starts[-1], *self._noted()])
        self.link()
        self.unreadable = self.holes

    def _inspect(self, inspection: Inspection, part: Part) -> None:
        """Look at a closed segment."""
        if not part.path.exists() or not is_settled(part.path):
            inspection.skip()
            return
        try:
            for _ in inspection.examine(part.path, self.key, part.first, part.end):
                pass
        except StoreDamagedError:
            inspection.skip()
            return
        part.is_sound, part.prev = True, inspection.prev

    def _noted(self) -> Iterator[int]:
        """Give the sizes of the checkpoints that were found."""
        for size, _ in self.found.notes(0, 1 << 53):
            yield size

    def link(self) -> None:
        """Decide anew which entries count."""
        linked = {part.first - 1: part.prev for part in self.parts if part.is_sound and part.prev is not None}
        sound = [Range(part.first, part.end) for part in self.parts if part.is_sound]
        self.runs = joined([*sound, *self.found.choose(linked, self._judge())])
        if self.parts:
            self.parts[-1].end = max(self.size, self.parts[-1].first)

    def _judge(self) -> Callable[[Entry], bool]:
        """Give what tells whether an entry holds by itself."""
        try:
            history = history_of(self.origin, self._key_entries())
        except (InputError, TrustError):
            history = KeyHistory(self.origin, self.configured)
        mode = self.mode

        def is_authentic(entry: Entry) -> bool:
            keys = history.at(entry.seq).record
            return verify_entry(keys, RECORD if entry.kind == "key" else mode, entry) is None

        return is_authentic

    def checkpoint_key(self) -> bytes:
        """Give the public P-256 key that signs checkpoints at the end; empty where the log does not tell."""
        try:
            history = history_of(self.origin, parse_frames(self.settings()))
        except (InputError, TrustError):
            return b""
        return history.at(self.size).checkpoint[0].public

    def _key_entries(self) -> list[bytes]:
        """Give the entries that name the log's keys, as they were written down."""
        state = self.found.state(SETTINGS, 1 << 53)
        return parse_frames(state.value) if state is not None else []

    def entries_from(self, first: int, *, is_all: bool) -> Iterator[bytes]:
        """Give the entries that can be saved from a seq on, in order; with sound segments, or without."""
        for part in self.parts:
            if part.is_sound and part.end > first and is_all:
                yield from entries_of(part.path, self.key, first)
            elif not part.is_sound:
                yield from (raw for _, raw in self.found.entries(max(first, part.first), part.end))

    def newest_note(self) -> bytes:
        """Give the newest checkpoint that there is; empty if there is none."""
        newest = max(self.found.notes(0, self.size), default=(0, b""))
        for part in self.parts:
            if part.is_sound:
                query = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1"
                newest = max([newest, *_ask(part.path, self.key, query)])
        return newest[1]

    def settings(self) -> bytes:
        """Give the state `settings`: the newest that was written down, and the entries behind it."""
        state = self.found.state(SETTINGS, self.size) or State(0, b"")
        for part in self.parts:
            if part.is_sound:
                state = max(state, _settings_of(part.path, self.key))
        behind = (raw for _, raw in self.found.entries(state.size, self.size))
        return state.value + frame(_settings_among(behind))

    def outcome(self, published: int, *, has_uplink: bool) -> Outcome:
        """Say how the log can go on.

        Args:
            published: entries that the service has, as far as is known.
            has_uplink: whether one is configured: it can only go on with what the service has not yet.
        """
        holes = self.holes
        if not holes:
            return Outcome.WHOLE
        is_behind = self.size < self.known or (has_uplink and holes[-1].end > published)
        if is_behind or self.chain() is None:
            return Outcome.SUCCESSOR
        return Outcome.PARTLY

    def chain(self) -> Chain | None:
        """Give the chain behind the last entry, from one written down in the last run; None if none was."""
        state = self._chain_state()
        if state is None:
            return None
        chain = Chain.from_state(parse(state.value, where="chain state"))
        for _, raw in self.found.entries(chain.size, self.size):
            entry = parse_entry(raw)
            leaf = leaf_hash(raw)
            chain.tree.append(leaf)
            chain.head, chain.kid = leaf.hex(), entry.kid
            if self.head is not None and self.head.size == chain.size and self.head.root != chain.tree.root():
                return None
        return chain if chain.size == self.size else None

    def _chain_state(self) -> State | None:
        """Give the newest state of the chain that can be gone on from."""
        state = self.found.state(CHAIN, self.size)
        is_usable = state is not None and state.size >= max(self.tip.first, self.parts[-1].first)
        return state if is_usable else None

    def snapshot(self) -> State | None:
        """Give the newest snapshot behind which nothing is missing."""
        state = self.found.state(SNAPSHOT, self.size)
        return state if state is not None and state.size >= self.tip.first else None


def _starts(folder: Path) -> list[int]:
    """Give the first seqs of all segments of which there is a file or a WAL; the first one always is 0."""
    of_wals = (path.name.removesuffix(_WAL) for path in folder.glob(f"*{_WAL}"))
    return sorted({0, *list_segments(folder), *(int(name) for name in of_wals if name.isdecimal())})


def _read_head(folder: Path) -> Head | None:
    """Read the head, if it can be read."""
    with suppress(ColdsealError):
        file = HeadFile(folder / HEAD_NAME, readonly=True)
        try:
            return file.read()
        finally:
            file.close()
    return None


def _settings_of(path: Path, key: bytes) -> State:
    """Give the state `settings` of a sound segment."""
    rows = _ask(path, key, "SELECT size, value FROM state WHERE name = ?", SETTINGS)
    return State(*rows[0]) if rows else State(0, b"")


def _ask(path: Path, key: bytes, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Ask a sound segment."""
    with closing(open_database(path, key, readonly=True, is_final=True)) as connection, translated(str(path)):
        return fetch(connection, query, values)


def _settings_among(entries: Iterable[bytes]) -> list[bytes]:
    """Give the entries that say what the log is."""
    return [
        raw
        for raw in entries
        if any(mark in raw for mark in _MARKS) and parse_entry(raw).kind in {"genesis", "key", "config"}
    ]
