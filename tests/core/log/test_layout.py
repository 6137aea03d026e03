"""Any choice of entries is proven by one list of hashes."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.layout import Layout, fold, gaps, join_runs, make_layout, subtrees
from coldseal.core.log.merkle import CompactRange, MerkleTree
from coldseal.errors import InputError


def leaves(size: int) -> list[bytes]:
    """Make leaf hashes."""
    return [sha256(b"%d" % number).digest() for number in range(size)]


@st.composite
def choices(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Choose some entries of a log."""
    size = draw(st.integers(1, 200))
    chosen = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=20))
    longer = draw(st.integers(0, 30))
    return size, join_runs((first, min(size, first + 1 + longer % (first + 2))) for first in chosen)


@given(choices())
def test_the_hashes_of_the_rest_and_the_leaves_give_the_root(
    choice: tuple[int, list[tuple[int, int]]],
) -> None:
    """At the log's size, and at each size within a run."""
    size, runs = choice
    found = leaves(size)
    tree = MerkleTree(found)
    layout = make_layout(size, runs, tree.nodes)
    cover = layout.cover()
    roots = {end: MerkleTree(found[:end]).root() for end in range(size + 1)}
    passed = list(cover.fill())
    for first, end in runs:
        assert cover.tree.size == first
        for leaf in found[first:end]:
            cover.tree.append(leaf)
            assert cover.tree.root() == roots[cover.tree.size]
        passed += cover.fill()
    assert cover.tree.size == size
    assert all(roots[place] is not None for place in passed)
    assert len(layout.hashes) == len(passed)


@given(choices(), st.sets(st.integers(0, 200)))
def test_leaves_may_be_folded_before_they_are_added(
    choice: tuple[int, list[tuple[int, int]]], sizes: set[int]
) -> None:
    """The tree is the same, and stands at each size that is asked for."""
    size, runs = choice
    found = leaves(size)
    cover = make_layout(size, runs, MerkleTree(found).nodes).cover()
    passed = set(cover.fill())
    for first, end in runs:
        for level, subtree in fold(first, b"".join(found[first:end]), sorted(sizes)):
            cover.tree.append_subtree(level, subtree)
            passed.add(cover.tree.size)
            assert cover.tree.root() == MerkleTree(found[: cover.tree.size]).root()
        assert sizes & set(range(first + 1, end + 1)) <= passed
        passed |= set(cover.fill())
    assert (cover.tree.size, cover.is_whole) == (size, True)


def test_behind_missing_entries_the_tree_goes_on_and_means_nothing() -> None:
    """Whether only entries are missing, or what a proof stands for behind them too."""
    found = leaves(20)
    for first, end in ((4, 10), (4, 12), (2, 17)):
        cover = make_layout(20, ((0, 4), (9, 20)), MerkleTree(found).nodes).cover()
        cover.tree.extend(found[: min(first, 4)])
        cover.skip(end)
        assert (cover.tree.size, cover.is_whole) == (end, False)
        assert list(cover.fill()) == []
        cover.tree.extend(found[end:])
        assert cover.tree.size == 20


def test_a_proof_behind_missing_entries_is_still_taken() -> None:
    """The gap is before it, so what follows has its place."""
    found = leaves(20)
    cover = make_layout(20, ((0, 4), (6, 8), (16, 20)), MerkleTree(found).nodes).cover()
    cover.tree.extend(found[:3])
    cover.skip(8)
    assert list(cover.fill()) == [16]


@given(st.integers(0, 300), st.integers(0, 300))
def test_subtrees_cover_a_gap_exactly_with_as_few_as_can_be(first: int, length: int) -> None:
    """Complete subtrees, in order, none that could be joined with the next."""
    covered = [place for level, index in subtrees(first, first + length) for place in
               range(index << level, (index + 1) << level)]  # fmt: skip
    assert covered == list(range(first, first + length))
    found = list(subtrees(first, first + length))
    assert all(
        not (level == after and index % 2 == 0 and follows == index + 1)
        for (level, index), (after, follows) in pairwise(found)
    )


def test_runs_are_joined_where_they_touch() -> None:
    """In order, without overlap."""
    assert join_runs([(5, 7), (0, 1), (7, 9), (6, 8), (1, 2)]) == [(0, 2), (5, 9)]
    assert list(gaps([(0, 2), (5, 9)], 12)) == [(2, 5), (9, 12)]


@pytest.mark.parametrize(
    ("size", "runs", "hashes"),
    [
        (4, (), ()),
        (4, ((2, 2),), ()),
        (4, ((3, 5),), ()),
        (8, ((4, 6), (2, 3)), ()),
        (8, ((0, 2), (2, 3)), ()),
        (8, ((0, 4),), ()),
        (8, ((0, 4),), (b"short",)),
        (8, ((0, 8),), (bytes(32),)),
    ],
)
def test_a_layout_that_cannot_be_is_refused(
    size: int, runs: tuple[tuple[int, int], ...], hashes: tuple[bytes, ...]
) -> None:
    """Before anything is computed."""
    with pytest.raises(InputError, match="layout"):
        Layout(size, runs, hashes)


def test_a_subtree_stands_only_where_it_is_aligned() -> None:
    """Everything else would be another tree."""
    tree = CompactRange()
    tree.append(bytes(32))
    with pytest.raises(ValueError, match="cannot stand"):
        tree.append_subtree(1, bytes(32))
