"""Claims about reading: in order, without a gap, across segments, while another one writes."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.merkle import (
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from coldseal.core.log.record import frame, parse_frames
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.store.database import StoreDamagedError, open_database
from coldseal.gateway.store.log import Limits
from coldseal.gateway.store.reader import LogReader, StoredCheckpoint
from coldseal.gateway.store.segments import segment_path
from tests.gateway.store.logs import KEY, NOW_MS, fill, group, note, opened

GROUPS = [1, 1, 3, 40, 2, 100, 1, 17]
SEGMENT_ENDS = {2, 4, 6}


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """Give a log of four segments, and its entries."""
    folder = tmp_path_factory.mktemp("reader") / "log"
    return folder, asyncio.run(_write_segments(folder))


async def _write_segments(folder: Path) -> list[bytes]:
    """Write groups of all sizes into four segments."""
    entries: list[bytes] = []
    async with opened(folder) as log:
        for place, count in enumerate(GROUPS):
            made = group(log, count, has_checkpoint=place % 2 == 1)
            await log.commit(made)
            entries += made.entries
            if place in SEGMENT_ENDS:
                await log.roll(NOW_MS)
    return entries


@given(
    first=st.integers(0, 170),
    most=st.integers(1, 200),
    room=st.one_of(st.integers(1, 3000), st.just(1 << 20)),
)
def test_a_slice_holds_what_fits_and_one_entry_at_least(
    log_folder: tuple[Path, list[bytes]], first: int, most: int, room: int
) -> None:
    """By entries and by bytes, from any place, across groups and segments."""
    folder, entries = log_folder
    expected: list[bytes] = []
    for entry in entries[first : first + most]:
        if expected and len(frame([*expected, entry])) > room:
            break
        expected.append(entry)
    with closing(LogReader(folder, KEY)) as reader:
        found = reader.read_frames(first, max_entries=most, max_bytes=room)
        assert (found.first, found.count, found.frames) == (first, len(expected), frame(expected))
        assert parse_frames(found.frames) == reader.read(first, max_entries=most, max_bytes=room)


def test_the_whole_log_is_read_across_its_segments(log_folder: tuple[Path, list[bytes]]) -> None:
    """More segments than are kept open at one time."""
    folder, entries = log_folder
    with closing(LogReader(folder, KEY)) as reader:
        for first in (0, 50, 164):
            assert list(reader.read_from(first)) == entries[first:]
        assert reader.read(165) == []
        assert reader.size() == len(entries) == 165


async def test_many_segments_are_read_with_few_of_them_open(tmp_path: Path) -> None:
    """A log of years is not held open as a whole."""
    entries: list[bytes] = []
    async with opened(tmp_path / "log") as log:
        for _ in range(9):
            entries += await fill(log, [2])
            await log.roll(NOW_MS)
        assert list(log.reader.read_from(0)) == entries
        assert len(log.reader._connections) <= 4


async def test_a_reader_follows_the_writer(tmp_path: Path) -> None:
    """Each commit is seen at once, and a new segment is found."""
    folder = tmp_path / "log"
    with closing(LogReader(folder, KEY)) as reader:
        async with opened(folder) as log:
            at = 0
            for count in GROUPS:
                entries = await fill(log, [count])
                assert reader.size() == at + count
                assert reader.read(at) == entries
                at += count
                await log.roll(NOW_MS)


def test_a_reader_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    """The uplink may start before the gateway ever ran."""
    with closing(LogReader(tmp_path / "log", KEY)) as reader:
        for question in (reader.size, lambda: reader.read(0), lambda: reader.checkpoint_at_most(1)):
            with pytest.raises(UnavailableError, match="No such file"):
                question()


async def test_checkpoints_are_found_by_size(log_folder: tuple[Path, list[bytes]]) -> None:
    """The newest one that a batch may carry, wherever it is stored."""
    folder, _ = log_folder
    with closing(LogReader(folder, KEY)) as reader:
        every = reader.checkpoints(0, 1000)
        assert [found.size for found in every] == [2, 45, 147, 165]
        assert [found.size for found in reader.checkpoints(2, 147)] == [45, 147]
        assert [found.size for found in reader.checkpoints(0, 165, limit=2)] == [2, 45]
        assert reader.checkpoints(165, 1000) == []
        assert reader.checkpoint_at_most(1) is None
        for size, expected in (
            (2, every[0]),
            (44, every[0]),
            (146, every[1]),
            (147, every[2]),
            (999, every[3]),
        ):
            assert reader.checkpoint_at_most(size) == expected


async def test_a_checkpoint_right_behind_a_roll_is_found(tmp_path: Path) -> None:
    """It covers the ended segment, but is stored in the new one."""
    async with opened(tmp_path / "log") as log:
        await fill(log, [5])
        await log.roll(NOW_MS)
        await log.commit(made := group(log, 0, has_checkpoint=True))
        expected = StoredCheckpoint(5, note(made.chain))
        assert log.reader.checkpoint_at_most(5) == expected
        assert log.reader.checkpoints(0, 5) == [expected]


@pytest.mark.parametrize("sizes", [[1], [256], [1024], [7, 300, 900, 5]])
async def test_tree_hashes_are_those_of_the_whole_tree(tmp_path: Path, sizes: list[int]) -> None:
    """Stored where a group ended, made from the entries elsewhere: proofs need no full scan."""
    counts = (sizes * 1100)[: 1100 // sizes[0] if len(sizes) == 1 else 8]
    async with opened(tmp_path / "log", limits=Limits(reserve_mb=1, segment_entries=700)) as log:
        entries: list[bytes] = []
        for count in counts:
            entries += await fill(log, [count])
            if log.size - log.segment_first >= log.segment_entries:
                await log.roll(NOW_MS)
        tree = MerkleTree(leaf_hash(entry) for entry in entries)
        for level in range(12):
            for index in range(tree.size >> level) if level > 4 else (0, (tree.size >> level) - 1):
                assert log.reader.nodes(level, index) == tree.nodes(level, index)
        for size in (0, 1, 255, 256, 257, 700, 1023, 1024, tree.size):
            assert log.reader.root(size) == tree.root(size)
        place, size = tree.size // 3, tree.size
        proof = inclusion_proof(place, size, log.reader.nodes)
        verify_inclusion(leaf_hash(entries[place]), place, size, proof, tree.root())
        proof = consistency_proof(place, size, log.reader.nodes)
        verify_consistency(place, tree.root(place), size, tree.root(), proof)


@pytest.mark.parametrize("sizes", [[9000, 9000, 9000], [4096] * 6, [1000] * 25, [8192, 1, 8191, 8193]])
async def test_all_subtrees_of_4096_entries_and_more_are_stored(tmp_path: Path, sizes: list[int]) -> None:
    """Also the right halves, and those that begin and end within one group; smaller ones where they show."""
    async with opened(tmp_path / "log") as log:
        entries = await fill(log, sizes)
        tree = MerkleTree(leaf_hash(entry) for entry in entries)
        stored = {(level, index): root for level, index, root in _tiles(tmp_path / "log")}
        levels = range(12, tree.size.bit_length())
        whole = {(level, index) for level in levels for index in range(tree.size >> level)}
        assert {place for place in stored if place[0] >= 12} == whole
        assert all(tree.nodes(*place) == root for place, root in stored.items())
        for level in range(8, tree.size.bit_length()):
            for index in range(tree.size >> level):
                assert log.reader.nodes(level, index) == tree.nodes(level, index)


def _tiles(folder: Path) -> list[tuple[int, int, bytes]]:
    """Give what is stored of the tree."""
    with closing(open_database(segment_path(folder, 0), KEY, readonly=True)) as database:
        return list(database.execute("SELECT level, n, root FROM tiles"))


async def test_where_a_large_subtree_was_not_stored_it_is_made_from_smaller_ones(tmp_path: Path) -> None:
    """As in a log that an earlier version wrote."""
    async with opened(tmp_path / "log") as log:
        entries = await fill(log, [20_000])
    with closing(open_database(segment_path(tmp_path / "log", 0), KEY)) as database:
        database.execute("DROP TRIGGER tiles_delete; DELETE FROM tiles")
    tree = MerkleTree(leaf_hash(entry) for entry in entries)
    with closing(LogReader(tmp_path / "log", KEY)) as reader:
        assert reader.nodes(14, 0) == tree.nodes(14, 0)


@pytest.mark.parametrize(("level", "index"), [(0, 165), (8, 0), (0, -1), (-1, 0), (3, 20)])
def test_a_subtree_that_is_not_whole_has_no_hash(
    log_folder: tuple[Path, list[bytes]], level: int, index: int
) -> None:
    """Asking for it is a fault of whoever asks."""
    with (
        closing(LogReader(log_folder[0], KEY)) as reader,
        pytest.raises(InputError, match="complete subtree"),
    ):
        reader.nodes(level, index)


def test_a_missing_segment_is_damage_and_not_the_end(
    log_folder: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    """In the midst, at the beginning and at the end: silence would pass for completeness."""
    folder, entries = log_folder
    names = sorted(path.name for path in folder.glob("*.db"))
    for name in names[:3]:
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        first = int(name.removesuffix(".db"))
        with closing(LogReader(copy, KEY)) as reader:
            with pytest.raises(StoreDamagedError, match=f"from seq {first} on"):
                list(reader.read_from(0))
            following = int(names[names.index(name) + 1].removesuffix(".db"))
            assert list(reader.read_from(following)) == entries[following:]


def test_a_missing_tree_hash_is_made_from_the_entries(log_folder: tuple[Path, list[bytes]]) -> None:
    """Level 7 is never stored."""
    folder, entries = log_folder
    tree = MerkleTree(leaf_hash(entry) for entry in entries)
    with closing(LogReader(folder, KEY)) as reader:
        assert reader.nodes(7, 0) == tree.nodes(7, 0)


async def test_a_missing_group_is_damage_and_not_skipped(tmp_path: Path) -> None:
    """Somebody with the key took it out: what is behind it is not served in its place."""
    async with opened(tmp_path / "log") as log:
        entries = await fill(log, [2, 2, 2])
    with closing(open_database(segment_path(tmp_path / "log", 0), KEY)) as connection:
        connection.execute("DROP TRIGGER groups_delete; DELETE FROM groups WHERE first = 2")
    with closing(LogReader(tmp_path / "log", KEY)) as reader:
        with pytest.raises(StoreDamagedError, match="the next one is 3") as caught:
            reader.read(0)
        assert caught.value.seq == 2
        assert reader.read(3) == entries[3:]


async def test_a_segment_that_goes_on_behind_the_next_one_is_damage(tmp_path: Path) -> None:
    """Two histories of the same seq: neither is served as the one."""
    async with opened(tmp_path / "log") as log:
        entries = await fill(log, [3])
        await log.roll(NOW_MS)
        entries += await fill(log, [2])
    with closing(open_database(segment_path(tmp_path / "log", 0), KEY)) as connection:
        connection.execute("INSERT INTO groups VALUES (3, 1, x'000141')")
    with closing(LogReader(tmp_path / "log", KEY)) as reader:
        with pytest.raises(StoreDamagedError, match="two segments hold entries") as caught:
            reader.read(0)
        assert caught.value.seq == 3
        assert reader.read(3) == entries[3:]
