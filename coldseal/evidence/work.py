"""Work on a bundle's entries that any process can do, and its spreading over all cores.

A job knows its files, and is given the bundle as the process that does it has opened it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
from bisect import bisect_right
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from coldseal.core.log.evidence import Fault, Rules, Stretch, Verdict
from coldseal.core.log.record import parse_entry, parse_frames
from coldseal.core.log.stretch import examine_entries
from coldseal.errors import InputError
from coldseal.evidence.files import EntryFile
from coldseal.evidence.reader import MAX_ENTRIES, Archive
from coldseal.evidence.source import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from coldseal.core.log.layout import Run

INLINE_ENTRIES: Final = 2_000
"""Below this many entries, starting processes would cost more than it gains."""

ENTRIES_PER_TASK: Final = 4096
_LAST_TASKS: Final = 16
"""No task has more than this part of what is left."""

FOREKNOWN: Final = SETTINGS | {"prune"}
"""Kinds of entries that must be known before all are examined: what they say holds for others."""

_LENGTH_BYTES: Final = 2
_IS_LIKELY: Final = re.compile(b'"kind":"(?:%b)"' % "|".join(sorted(FOREKNOWN)).encode()).search

_THREADS: Final = Path("/proc/self/task")

Result = TypeVar("Result")


class Piece(NamedTuple):
    """Entries of a file that belong to one run: where they should stand, and those that are there."""

    run: Run
    entries: list[bytes]


@dataclass(frozen=True, slots=True)
class Scanned:
    """Files whose sums are to be checked: each with its SHA-256, hex."""

    files: tuple[EntryFile, ...]
    sums: tuple[str, ...]

    def __call__(self, archive: Archive) -> list[bytes]:
        """Check the sums, and give the entries that must be known before others are examined.

        Raises:
            DamagedBundleError: a file does not have its sum.
        """
        found: list[bytes] = []
        for file, expected in zip(self.files, self.sums, strict=True):
            data = archive.read(file.name, MAX_ENTRIES, expected)
            if _IS_LIKELY(data):
                found += (raw for raw in split_frames(data)[0] if _is_setting(raw))
        return found


@dataclass(frozen=True, slots=True)
class Summed:
    """A file of whatever length whose sum is to be checked: its name, and its SHA-256, hex."""

    name: str
    expected: str

    def __call__(self, archive: Archive) -> list[bytes]:
        """Check the sum; as with `Scanned`, the answer is what must be known: nothing.

        Raises:
            DamagedBundleError: the file does not have its sum.
        """
        archive.require_sum(self.name, self.expected)
        return []


@dataclass(frozen=True, slots=True)
class Examined:
    """Files whose entries are to be examined, what they are held against, and the table's first line."""

    files: tuple[EntryFile, ...]
    rules: Rules
    header: str = ""

    def __call__(self, archive: Archive) -> list[Stretch]:
        """Give a stretch for each piece of a run, and one for pieces that touch."""
        pieces: list[Piece] = []
        faults: list[Fault] = []
        for file in self.files:
            more, bad = cut(file, archive.read(file.name, MAX_ENTRIES))
            pieces += more
            faults += bad
        found: list[Stretch] = []
        for run, entries in joined(pieces):
            made = examine_entries(self.rules, run[0], entries, header=self.header)
            mine = tuple(fault for fault in faults if run[0] <= fault.seq <= run[1])
            faults = [fault for fault in faults if fault not in mine]
            found.append(replace(made, faults=made.faults + mine) if mine else made)
        return found


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Make one of pieces that touch; where entries are missing from one, the next stands by itself."""
    found: list[Piece] = []
    for run, entries in pieces:
        if found and found[-1].run[0] + len(found[-1].entries) == run[0]:
            (first, _), before = found.pop()
            found.append(Piece((first, run[1]), before + entries))
        else:
            found.append(Piece(run, entries))
    return found


def rules_for(rules: Rules, files: Sequence[EntryFile]) -> Rules:
    """Leave out what these files' entries are not held against: there may be many anchors and sizes."""
    ends = files[0].pieces[0][0], files[-1].pieces[-1][1]
    first, last = (bisect_right(rules.anchors, seq, key=lambda anchor: anchor[0]) for seq in ends)
    begin, end = (bisect_right(rules.sizes, seq) for seq in ends)
    return replace(rules, anchors=rules.anchors[first : last + 1], sizes=rules.sizes[begin:end])


def cut(file: EntryFile, data: bytes) -> tuple[list[Piece], list[Fault]]:
    """Cut a file's entries into the pieces that the runs want, and say what is missing or too much."""
    entries, is_cut = split_frames(data)
    pieces: list[Piece] = []
    faults: list[Fault] = []
    at = 0
    for first, end in file.pieces:
        part = entries[at : at + end - first]
        at += len(part)
        pieces.append(Piece((first, end), part))
        if len(part) < end - first:
            place = first + len(part)
            if is_cut:
                faults.append(Fault(Verdict.MALFORMED, place, f"{file.name} is cut within an entry"))
            faults.append(Fault(Verdict.GAP, place, f"{file.name} ends before it"))
            return pieces, faults
    if at < len(entries) or is_cut:
        faults.append(Fault(Verdict.GAP, file.pieces[-1][1], f"{file.name} has more than the runs want"))
    return pieces, faults


def split_frames(data: bytes) -> tuple[list[bytes], bool]:
    """Take frames apart, and say whether the last one is cut, or one is empty: what is before it is given."""
    try:
        return parse_frames(data), False
    except InputError:
        found: list[bytes] = []
        at = 0
        while length := int.from_bytes(data[at : at + _LENGTH_BYTES]):
            end = at + _LENGTH_BYTES + length
            if end > len(data):
                break
            found.append(data[at + _LENGTH_BYTES : end])
            at = end
        return found, True


def _is_setting(raw: bytes) -> bool:
    """Whether an entry must be known before the others; what cannot be read is faulted later."""
    if not _IS_LIKELY(raw):
        return False
    try:
        return parse_entry(raw).kind in FOREKNOWN
    except InputError:
        return False


def share(files: Sequence[EntryFile]) -> Iterator[tuple[EntryFile, ...]]:
    """Share files out in parts of about the same length, shorter towards the end: processes end together."""
    part: list[EntryFile] = []
    count, left = 0, sum(file.length for file in files)
    for file in files:
        part.append(file)
        count += file.length
        if count >= min(ENTRIES_PER_TASK, left // _LAST_TASKS):
            yield tuple(part)
            part, count, left = [], 0, left - count
    if part:
        yield tuple(part)


class Workers:
    """Does jobs, in processes where that is worth it; a context manager.

    Args:
        path: the bundle.
        entries: how many there are to look at.
        count: processes; 0 for one for each core.
    """

    def __init__(self, path: Path, entries: int, count: int) -> None:
        """Start the processes."""
        self._path = path
        count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None
        if count > 1 and entries >= INLINE_ENTRIES:
            # A copy of this process starts at once, where a new one would first have to import everything;
            # but only a process without threads can be copied as it is.
            method = "fork" if len(list(_THREADS.iterdir())) == 1 else "spawn"
            context = multiprocessing.get_context(method)
            # What a job makes goes with it, and nothing in it forms a ring: there is nothing to collect.
            self._pool = ProcessPoolExecutor(count, context, gc.disable)

    def do(self, jobs: Iterable[Callable[[Archive], Result]]) -> Iterator[Result]:
        """Do jobs, which are sent to whichever process is free, and give their results in order."""
        work = partial(_do, self._path)
        return map(work, jobs) if self._pool is None else self._pool.map(work, jobs)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Let the processes end: jobs that nobody has begun are dropped, no process is ended by a signal."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        while _OPEN:
            _OPEN.pop()[1].close()


_OPEN: Final[list[tuple[int, Archive]]] = []
"""The bundle, as this very process has opened it."""


def _do(path: Path, job: Callable[[Archive], Result]) -> Result:
    """Do a job with the bundle open."""
    process = os.getpid()
    if not _OPEN or _OPEN[0][0] != process:  # what a process was copied with shares its place in the file
        _OPEN[:] = [(process, Archive(path))]
    return job(_OPEN[0][1])
