"""The static layout: names, which files a log of a size has, and that hashes and tiles give each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.layout import subtrees
from coldseal.core.log.merkle import (
    EMPTY_ROOT,
    CompactRange,
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from coldseal.core.log.tiles import (
    ENTRIES,
    WIDTH,
    Full,
    Tile,
    extend,
    hash_tile,
    is_in,
    parse_tile,
    root_at,
    tile_nodes,
    tiles_of,
    width_at,
)
from coldseal.errors import InputError

SIZE = WIDTH * WIDTH + 3 * WIDTH + 7
"""Large enough for three levels of tiles."""

LEAVES = [leaf_hash(b"%d" % number) for number in range(SIZE)]
TREE = MerkleTree(LEAVES)


def contents(size: int) -> dict[Tile, bytes]:
    """Give the tiles of hashes of a log as they are published."""
    return {tile: hash_tile(tile, TREE.nodes) for tile in tiles_of(size) if tile.level != ENTRIES}


FULL = contents(SIZE)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(63, 0, 1), "tile/63/000.p/1"),
        (Tile(ENTRIES, 1_234_067, 255), "tile/entries/x001/x234/067.p/255"),
    ],
)
def test_a_tile_has_the_name_that_tlog_tiles_gives_it(tile: Tile, path: str) -> None:
    """C2SP tlog-tiles, "Merkle Tree" and "Log Entries"."""
    assert tile.path == path
    assert parse_tile(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/8/0/000",
        "tile/0/000/",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/\N{ARABIC-INDIC DIGIT ONE}00",
        "/tile/0/000",
        "tile/0/../../etc/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_any_other_name_is_no_tile(path: str) -> None:
    """One name each, and none that leads out of the folder."""
    with pytest.raises(InputError):
        parse_tile(path)


@given(
    st.builds(
        Tile,
        st.integers(ENTRIES, 63),
        st.integers(0, 10**18 - 1),
        st.integers(1, WIDTH),
    )
)
def test_a_name_is_read_back(tile: Tile) -> None:
    """Whatever can be named."""
    assert parse_tile(tile.path) == tile


@pytest.mark.parametrize("fields", [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_what_the_layout_does_not_have_is_refused(fields: tuple[int, int, int]) -> None:
    """Levels, places and widths beyond it."""
    with pytest.raises(InputError):
        Tile(*fields)


def test_a_small_log_has_one_partial_tile_and_bundle() -> None:
    """And an empty one has nothing."""
    assert list(tiles_of(0)) == []
    assert [tile.path for tile in tiles_of(3)] == ["tile/entries/000.p/3", "tile/0/000.p/3"]


def test_the_next_level_begins_with_the_first_full_tile() -> None:
    """A partial tile has no hash in the level above."""
    assert [tile.path for tile in tiles_of(WIDTH - 1)][-1] == "tile/0/000.p/255"
    assert [tile.path for tile in tiles_of(WIDTH)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in tiles_of(SIZE) if tile.level > 0] == [
        "tile/1/000",
        "tile/1/001.p/3",
        "tile/2/000.p/1",
    ]


@given(st.lists(st.integers(0, SIZE), min_size=1).map(sorted))
def test_step_by_step_the_same_tiles_are_published_as_at_once(sizes: list[int]) -> None:
    """Only what is new or wider is given, and nothing twice."""
    published: list[Tile] = []
    since = 0
    for size in sizes:
        published += tiles_of(size, since)
        since = size
    assert len(set(published)) == len(published)
    assert set(tiles_of(since)) <= set(published)
    assert all(is_in(tile, since) for tile in published)


@given(st.integers(ENTRIES, 3), st.integers(0, 300), st.integers(1, WIDTH), st.integers(0, SIZE))
def test_a_log_gives_what_it_holds_and_has_held(level: int, index: int, width: int, size: int) -> None:
    """A narrower tile too, which it published when it was smaller."""
    held = width_at(level, index, size)
    here = [tile for tile in tiles_of(size) if (tile.level, tile.index) == (level, index)]
    assert [tile.width for tile in here] == ([held] if held else [])
    assert is_in(Tile(level, index, width), size) == (width <= held)


def test_tiles_give_every_hash_of_the_tree() -> None:
    """So proofs can be made of them for every size, not only for that of the log."""
    nodes = tile_nodes(SIZE, FULL.__getitem__)
    for level in range(SIZE.bit_length()):
        last = (SIZE >> level) - 1
        for index in {0, 1, last // 2, last - 1, last} & set(range(last + 1)):
            assert nodes(level, index) == TREE.nodes(level, index)


@given(st.integers(0, SIZE), st.integers(0, SIZE), st.integers(0, SIZE))
def test_proofs_made_of_tiles_hold(index: int, old: int, new: int) -> None:
    """Inclusion and consistency."""
    nodes = tile_nodes(SIZE, FULL.__getitem__)
    old, new = sorted((old, new))
    if index < new:
        proof = inclusion_proof(index, new, nodes)
        verify_inclusion(LEAVES[index], index, new, proof, TREE.root(new))
    verify_consistency(old, TREE.root(old), new, TREE.root(new), consistency_proof(old, new, nodes))


@given(st.integers(0, SIZE))
def test_tiles_lead_to_the_root_at_every_size(size: int) -> None:
    """That of the empty log too."""
    assert root_at(size, tile_nodes(SIZE, FULL.__getitem__)) == TREE.root(size)
    assert root_at(0, tile_nodes(0, FULL.__getitem__)) == EMPTY_ROOT


@pytest.mark.parametrize(
    ("level", "index"), [(0, SIZE), (1, SIZE >> 1), (8, SIZE >> 8), (9, SIZE >> 9), (16, 1), (17, 0), (40, 0)]
)
def test_a_subtree_that_is_not_complete_is_refused(level: int, index: int) -> None:
    """No tile holds it."""
    with pytest.raises(InputError):
        tile_nodes(SIZE, FULL.__getitem__)(level, index)


@pytest.mark.parametrize("length", [0, 32 * (WIDTH - 1), 32 * (WIDTH + 1)])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    """It was cut, or is that of another size."""
    with pytest.raises(InputError):
        tile_nodes(SIZE, lambda tile: (FULL[tile] + bytes(32))[:length])(0, 0)


@given(
    st.sampled_from((0, WIDTH * WIDTH - 2 * WIDTH - 9)),
    st.lists(st.integers(0, 5 * WIDTH), min_size=1).map(sorted),
)
def test_a_tree_that_grows_gives_the_hash_of_each_tile_once_it_is_full(start: int, steps: list[int]) -> None:
    """On every level, wherever it is cut, and the tree is the one that grows by leaves alone."""
    hashes = [TREE.nodes(*place) for place in subtrees(0, start)]
    tree, plain = (CompactRange.from_hashes(start, hashes) for _ in range(2))
    found: list[Full] = []
    for step in steps:
        added = LEAVES[tree.size : start + step]
        plain.extend(added)
        found += extend(tree, added)
        assert (tree.size, tree.hashes) == (plain.size, plain.hashes)
    assert sorted(found) == [
        Full(level, n, TREE.nodes(level, n))
        for level in (8, 16)
        for n in range(start >> level, tree.size >> level)
    ]
