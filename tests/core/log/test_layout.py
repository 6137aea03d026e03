"""Any choice of entries is proven by one list of hashes."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.layout import Layout, gaps, join_runs, make_layout, subtrees
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
