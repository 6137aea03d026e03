"""Which entries of a log somebody holds, and the hashes that stand for all the others.

With the entries' own leaf hashes they give the root at the log's size, so any choice of entries is proven
by one list of hashes: an inclusion proof for one entry, the tree's left edge for all from one on. Whole
ranges and single entries are the same thing here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from coldseal.core.log.merkle import HASH_SIZE, CompactRange
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coldseal.core.log.merkle import Nodes

Run = tuple[int, int]
"""First seq of entries that follow each other, and the seq behind the last."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Runs of entries out of a log of ``size``, and the proof for what is between them.

    Attributes:
        size: of the whole log.
        runs: rising, none empty, none touching the next.
        hashes: of the subtrees between them, left to right.
    """

    size: int
    runs: tuple[Run, ...]
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse runs out of order, and a proof of another length."""
        if not self.runs:
            raise InputError("layout", "runs", self.runs, "at least one")
        before = -1
        for first, end in self.runs:
            if not before < first < end <= self.size:
                raise InputError("layout", "runs", (first, end), "rising runs below the size, none touching")
            before = end
        needed = sum(1 for gap in self.gaps() for _ in subtrees(*gap))
        if len(self.hashes) != needed or any(len(found) != HASH_SIZE for found in self.hashes):
            raise InputError("layout", "proof", len(self.hashes), f"{needed} hashes of {HASH_SIZE} bytes")

    def gaps(self) -> Iterator[Run]:
        """Give what is not held: before, between and behind the runs."""
        return gaps(self.runs, self.size)

    def cover(self) -> Cover:
        """Begin to rebuild the tree."""
        return Cover(self)


class Cover:
    """The tree as it is rebuilt from left to right; the holder adds its leaves run by run.

    Attributes:
        tree: over everything so far.
        is_whole: whether it is; else its root says nothing.
    """

    def __init__(self, layout: Layout) -> None:
        """Stand before the first entry."""
        self.tree = CompactRange()
        self.is_whole = True
        self._places = [place for gap in layout.gaps() for place in subtrees(*gap)]
        self._hashes = list(layout.hashes)
        self._next = 0

    def fill(self) -> Iterator[int]:
        """Add the hashes that stand for what comes next and is not held; yields each size passed."""
        while self._next < len(self._places):
            level, index = self._places[self._next]
            if index << level != self.tree.size:
                return
            self.tree.append_subtree(level, self._hashes[self._next])
            self._next += 1
            yield self.tree.size

    def skip(self, end: int) -> None:
        """Go on at a place although entries before it are missing."""
        self.is_whole = False
        for level, _ in subtrees(self.tree.size, end):
            self.tree.append_subtree(level, bytes(HASH_SIZE))
        while (
            self._next < len(self._places)
            and self._places[self._next][1] << self._places[self._next][0] < end
        ):
            self._next += 1


def gaps(runs: Sequence[Run], size: int) -> Iterator[Run]:
    """Give what is not in the runs: before, between and behind them."""
    for (_, end), (first, _) in pairwise(((0, 0), *runs, (size, size))):
        if end < first:
            yield end, first


def subtrees(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut ``[first, end)`` into complete subtrees, left to right, each the largest that fits.

    Yields:
        Level and index, as `Nodes` has them.
    """
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        yield level, first >> level
        first += 1 << level


def fold(first: int, leaves: bytes, sizes: Sequence[int] = ()) -> Iterator[tuple[int, bytes]]:
    """Make complete subtrees of leaves that follow each other, as few as stand for them.

    Args:
        first: the place of the first leaf.
        leaves: their hashes, joined.
        sizes: of the whole tree, rising; where one of them ends, so does a subtree.

    Yields:
        Level and hash.
    """
    begin, end = first, first + len(leaves) // HASH_SIZE
    for stop in (*sizes[bisect_right(sizes, first) : bisect_left(sizes, end)], end):
        for level, _ in subtrees(begin, stop):
            tree, at = CompactRange(), (begin - first) * HASH_SIZE
            tree.extend_joined(leaves[at : at + (HASH_SIZE << level)])
            yield level, tree.root()
            begin += 1 << level


def make_layout(size: int, runs: Sequence[Run], nodes: Nodes) -> Layout:
    """Make the proof for some runs of a log, from its stored hashes."""
    hashes = (nodes(*place) for gap in gaps(runs, size) for place in subtrees(*gap))
    return Layout(size, tuple(runs), tuple(hashes))


def join_runs(runs: Iterable[Run]) -> list[Run]:
    """Bring runs in order, and join those that touch or overlap."""
    joined: list[Run] = []
    for first, end in sorted(runs):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((first, end))
    return joined
