"""Power cuts at every point of a recorded life: each disk that one may leave is put down, opened and judged.

A disk that was judged already, with as much acknowledged, is not judged again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Final, NamedTuple

from typing_extensions import override

from coldseal.core.log.record import parse_entry
from coldseal.demo.disk import put
from coldseal.demo.medium import Event, Found, Keeps, Mark, Medium
from coldseal.errors import ColdsealError
from coldseal.gateway.store import pruned
from coldseal.gateway.store.log import Log
from coldseal.gateway.store.pruned import PrunedError
from tests.campaigns.lives import (
    ACKNOWLEDGED,
    LIMITS,
    SEALED,
    SEEN,
    Expected,
    InlineLoop,
    Remains,
    abandon,
    at_once,
    work_folder,
)
from tests.gateway.store.logs import KEY, NOW_MS, group, new_chain

SINGLES: Final = 16
"""Writes that are kept or lost alone, and prefixes: no more than these at one point."""

SUBSETS: Final = 6
"""Random choices of sectors at one point, and of whole writes."""


KEPT: Final = 4
"""Disks that another life begins with."""


class Variant(NamedTuple):
    """One way in which the power may go."""

    label: str
    keeps: Keeps
    names: int


class Finding(NamedTuple):
    """A disk on which the log is not what it should be."""

    event: int
    label: str
    why: str


@dataclass
class Figures:
    """What was done."""

    points: int = 0
    cuts: int = 0
    judged: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def __add__(self, other: Figures) -> Figures:
        """Put two together."""
        return Figures(
            self.points + other.points,
            self.cuts + other.cuts,
            self.judged + other.judged,
            self.seconds + other.seconds,
            self.findings + other.findings,
        )

    @override
    def __str__(self) -> str:
        """Say it in one line."""
        rate = self.judged / self.seconds if self.seconds else 0
        return (
            f"{self.points} points, {self.cuts} power cuts, {self.judged} different disks judged"
            f" in {self.seconds:.0f} s of one core ({rate:.0f}/s), {len(self.findings)} findings"
        )


def nothing(_number: int, _part: int) -> bool:
    """Lose every write."""
    return False


def everything(_number: int, _part: int) -> bool:
    """Keep every write."""
    return True


def writes(kept: Container[int]) -> Keeps:
    """Keep these, whole."""
    return lambda number, _part: number in kept


def parts_of(torn: int, kept: Container[int]) -> Keeps:
    """Keep these sectors of one write, and all others."""
    return lambda number, part: number != torn or part in kept


def sectors(kept: Container[tuple[int, int]]) -> Keeps:
    """Keep these sectors."""
    return lambda number, part: (number, part) in kept


def variants(medium: Medium, folder: str, chance: Random) -> Iterator[Variant]:
    """Give the ways in which the power may go now that make a difference."""
    pending, names = medium.unsynced(folder), medium.unsynced_names(folder)
    for kept in range(names + 1):
        yield Variant(f"no write, {kept} names", nothing, kept)
        if pending:
            yield Variant(f"every write, {kept} names", everything, kept)
    if not pending:
        return
    numbers = [number for number, _ in pending]
    newest, parts = pending[-1]
    for cut in range(1, parts):
        for kept_parts in (range(cut), range(cut, parts)):
            yield Variant(f"of the last write {kept_parts}", parts_of(newest, kept_parts), names)
    few = numbers if len(numbers) <= SINGLES else chance.sample(numbers, SINGLES)
    for one in few:
        yield Variant(f"write {one} alone", writes({one}), names)
        yield Variant(f"all but write {one}", writes(set(numbers) - {one}), names)
        yield Variant(f"all up to write {one}", writes(range(one + 1)), names)
    for _ in range(SUBSETS if len(numbers) > 1 else 0):
        chosen = {number for number in numbers if chance.random() < 0.5}
        yield Variant(f"writes {chosen}", writes(chosen), chance.randint(0, names))
    for _ in range(SUBSETS):
        share = chance.choice((0.2, 0.5, 0.8))
        places = {(at, part) for at, count in pending for part in range(count) if chance.random() < share}
        yield Variant(f"{share} of the sectors", sectors(places), chance.randint(0, names))


class Explorer:
    """Replays a life, and loses the power at its points.

    Args:
        folder: where the log lived.
        entries: all entries that were made.
        seed: for the choice of what survives.

    Attributes:
        remains: a few of the disks that power cuts left.
    """

    def __init__(self, folder: Path, entries: list[bytes], seed: int) -> None:
        """Know what to expect."""
        self._folder = str(folder)
        self._expected = Expected(entries)
        self._chance = Random(seed)
        self._judged: set[tuple[int, int]] = set()
        self._marks = {ACKNOWLEDGED: 0, SEALED: 0, SEEN: 0}
        self._root = work_folder()
        self.figures = Figures()
        self.remains: list[Remains] = []

    def explore(self, events: list[Event], *, every: int = 1, findings: int = 20) -> Figures:
        """Lose the power behind events.

        Args:
            events: what happened.
            every: behind each so-manieth.
            findings: stop behind so many.
        """
        medium = Medium()
        begun = perf_counter()
        with asyncio.Runner(loop_factory=InlineLoop) as runner:
            try:
                runner.run(self._explore(medium, events, every, findings))
            finally:
                shutil.rmtree(self._root)
        self.figures.seconds = perf_counter() - begun
        return self.figures

    async def _explore(self, medium: Medium, events: list[Event], every: int, findings: int) -> None:
        """Go through the events."""
        has_begun = False  # with what was there already, nothing happens yet
        for number, event in enumerate(events):
            medium.apply(event)
            if isinstance(event, Mark):
                self._marks[event.what] = event.size
            has_begun = has_begun or not isinstance(event, Found | Mark)
            if has_begun and number % every == 0:
                self.figures.points += 1
                for variant in variants(medium, self._folder, self._chance):
                    self._look(medium, number, variant)
                    if len(self.figures.findings) >= findings:
                        return

    def _look(self, medium: Medium, number: int, variant: Variant) -> None:
        """Judge what one power cut leaves, if it is something new."""
        self.figures.cuts += 1
        files = medium.left(self._folder, variant.keeps, variant.names)
        files = {name: content for name, content in files.items() if not name.endswith("-shm")}
        key = hash(frozenset(files.items())), self._marks[ACKNOWLEDGED]
        if key in self._judged:
            return
        self._judged.add(key)
        self.figures.judged += 1
        if self._chance.random() < KEPT / self.figures.judged:
            remains = Remains(files, self._expected.entries[: self._marks[SEALED]], dict(self._marks))
            self.remains = [remains, *self.remains[: KEPT - 1]]
        folder = self._root / str(self.figures.judged)
        try:
            self._judge(put(files, folder))
        except (ColdsealError, AssertionError) as error:
            why = f"{type(error).__name__}: {error}"
            self.figures.findings.append(Finding(number, variant.label, why))
        shutil.rmtree(folder)

    def _judge(self, folder: Path) -> None:
        """Open it: all that was acknowledged is there, nothing else than was sealed, and it goes on."""
        log = open_log(folder)
        try:
            size = verify(log, self._expected, self._marks)
            made = group(log, 1)
            at_once(log.commit(made))
        finally:
            abandon(log)
        log = open_log(folder)
        try:
            assert log.size == size + 1
            assert log.reader.read(size) == made.entries
        finally:
            abandon(log)


def verify(log: Log, expected: Expected, marks: Mapping[str, int]) -> int:
    """Hold a log against what was made, and how far it had come; gives its size."""
    size = log.size
    assert marks[ACKNOWLEDGED] <= size, f"{marks[ACKNOWLEDGED]} acknowledged, {size} there"
    assert size <= marks[SEALED], "more than was sealed"
    assert log.reader.size() == size, "the head says another size"
    assert log.chain.head == expected.heads[size], "another chain"
    assert log.chain.tree.root() == expected.roots[size], "another tree"
    at = 0
    while at < size:
        try:
            found = log.reader.read(at)
        except PrunedError as error:
            _verify_pruned(error, size, expected)
            at = error.pruned.last + 1
        else:
            assert found == expected.entries[at : at + len(found)], f"other entries from {at} on"
            at += len(found)
    assert at == size
    seen = marks[SEEN]
    assert log.reader.root(seen) == expected.roots[seen], "another root under a checkpoint"
    stored = log.reader.checkpoint_at_most(seen)
    assert (stored.size if stored else 0) == seen, "a checkpoint that was given out is missing"
    return size


def _verify_pruned(error: PrunedError, size: int, expected: Expected) -> None:
    """An entry may be gone if the entry that says so is there."""
    found = error.pruned
    assert 0 <= found.seq < size, "pruned without being on record"
    entry = parse_entry(expected.entries[found.seq])
    assert entry.kind == "prune"
    assert found.is_of(entry.data)


def open_log(folder: Path) -> Log:
    """Open a log, as a start does."""
    log = Log.open(folder, KEY, LIMITS, new=new_chain(), now_ms=NOW_MS)
    pruned.complete(log.reader, folder, KEY)
    return log
