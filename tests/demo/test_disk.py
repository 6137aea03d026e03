"""The simulated disk keeps what was synced, may keep any part of the rest, and fails as it is told to."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.demo import medium
from coldseal.demo.disk import SimulatedDisk, put
from coldseal.demo.medium import (
    SECTOR_BYTES,
    Event,
    Flushed,
    FolderFlushed,
    FolderMade,
    Found,
    Made,
    Mark,
    Medium,
    Piece,
    Removed,
    Renamed,
    Torn,
    Written,
    pieces_of,
)
from tests.gateway.store.logs import fill, open_log, opened, stored

PLACE = "/folder"


def nothing(_number: int, _part: int) -> bool:
    """Keep no sector that is not synced."""
    return False


def everything(_number: int, _part: int) -> bool:
    """Keep every sector."""
    return True


def left(*events: Event, chance: bool, names: int = 100) -> dict[str, bytes]:
    """Give what a power cut behind events leaves, with all that is not synced, or nothing of it."""
    told = Medium()
    for event in events:
        told.apply(event)
    return told.left(PLACE, everything if chance else nothing, names)


@given(at=st.integers(0, 5000), data=st.binary(max_size=2000))
def test_a_write_is_taken_apart_where_the_sectors_end(at: int, data: bytes) -> None:
    """Each piece in one sector, all of them together the write."""
    found = list(pieces_of(at, data))
    assert b"".join(piece.data or b"" for piece in found) == data
    for piece in found:
        assert piece.data
        assert piece.at // SECTOR_BYTES == (piece.at + len(piece.data) - 1) // SECTOR_BYTES
    assert list(pieces_of(at, None)) == [Piece(at, None)]


def test_what_is_written_counts_from_the_sync_on() -> None:
    """Before, it is there or not; a cut too."""
    there = Found(PLACE, "a", 1, b"before")
    assert left(there, Written(1, 0, b"behind"), chance=False) == {"a": b"before"}
    assert left(there, Written(1, 0, b"behind"), chance=True) == {"a": b"behind"}
    assert left(there, Written(1, 0, b"behind"), Flushed(1), chance=False) == {"a": b"behind"}
    assert left(there, Written(1, 2, None), chance=False) == {"a": b"before"}
    assert left(there, Written(1, 2, None), chance=True) == {"a": b"be"}
    assert left(there, Written(1, 8, b"x"), Flushed(1), chance=False) == {"a": b"before\0\0x"}


def test_a_name_counts_from_the_sync_of_its_folder_on() -> None:
    """Even that of a file that was synced itself; the first changes survive before the later ones."""
    made = Made(PLACE, "a", 1), Written(1, 0, b"x"), Flushed(1)
    assert left(*made, chance=True, names=0) == {}
    assert left(*made, chance=True, names=1) == {"a": b"x"}
    assert left(*made, FolderFlushed(PLACE), chance=False, names=0) == {"a": b"x"}
    moved = (*made, FolderFlushed(PLACE), Renamed(PLACE, "a", "b"), Removed(PLACE, "b"))
    assert [left(*moved, chance=True, names=names) for names in range(3)] == [{"a": b"x"}, {"b": b"x"}, {}]


def test_a_folder_can_be_lost_with_all_that_is_in_it() -> None:
    """Its own name stands in the folder above."""
    events = (
        FolderMade("", "folder"),
        Made(PLACE, "a", 1),
        Written(1, 0, b"x"),
        Flushed(1),
        FolderFlushed(PLACE),
    )
    assert left(*events, chance=False, names=0) == {}
    assert left(*events, FolderFlushed(""), chance=False, names=0) == {"a": b"x"}


def test_a_torn_sync_lacks_the_last_sector() -> None:
    """And says nothing."""
    data = b"x" * SECTOR_BYTES + b"y"
    events = Found(PLACE, "a", 1, b""), Written(1, 0, data), Torn(1), Torn(1), Mark("end", 1)
    assert left(*events, chance=True) == {"a": data[:SECTOR_BYTES]}


def test_a_recording_leads_to_what_the_disk_says(tmp_path: Path) -> None:
    """Whoever replays it sees what was there: nothing passes by it."""
    disk = SimulatedDisk(is_recording=True)
    folder = tmp_path / "data" / "log"
    log = open_log(folder, disk=disk)
    asyncio.run(fill(log, [3, 40]))
    told = Medium()
    for event in disk.events:
        told.apply(event)
    for chance in (0, 1):
        keeps = nothing if chance == 0 else everything
        kept = told.left(str(folder), keeps, 100 * chance)
        found = disk.survivors(folder, chance)
        assert {name: found[name] for name in kept} == kept
        assert found.keys() - kept.keys() == {"lock"}
    assert told.unsynced(str(folder))  # the head that no checkpoint came with
    asyncio.run(log.close())


def test_files_of_others_are_on_disk_and_may_go(tmp_path: Path) -> None:
    """What is written beside the disk is taken as it is."""
    disk = SimulatedDisk()
    asyncio.run(open_log(tmp_path / "log", disk=disk).close())
    (tmp_path / "log" / "note").write_bytes(b"x")
    segment = tmp_path / "log" / f"{0:020d}.db"
    segment.rename(tmp_path / "away")
    found = disk.survivors(tmp_path / "log", 0.0)
    assert found["note"] == b"x"
    assert segment.name not in found
    (tmp_path / "away").rename(segment)
    disk.adopt(tmp_path / "log")
    assert disk.survivors(tmp_path / "log", 0.0).keys() >= {"note", segment.name, "head"}


@pytest.mark.parametrize(("error", "number"), [(apsw.IOError, errno.EIO), (apsw.FullError, errno.ENOSPC)])
def test_the_stores_own_operations_fail_as_the_system_does(
    tmp_path: Path, error: type[apsw.Error], number: int
) -> None:
    """Each of them, once."""
    disk = SimulatedDisk()
    file = disk.create(tmp_path / "a")
    steps: list[Callable[[], object]] = [
        lambda: disk.create(tmp_path / "b"),
        lambda: disk.write(file, b"x", 0),
        lambda: disk.sync(file),
        lambda: disk.rename(tmp_path / "a", tmp_path / "c"),
        lambda: disk.unlink(tmp_path / "a"),
        lambda: disk.make_directory(tmp_path / "d"),
        lambda: disk.sync_directory(tmp_path),
    ]
    for step in steps:
        disk.fail_anywhere(error, count=1)
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            step()
        assert caught.value.errno == number
    disk.unlink(tmp_path / "a")
    os.close(file)
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_without_room_takes_what_needs_none(tmp_path: Path) -> None:
    """It says nothing of it before, unless it is told to; a file may be written where it is."""
    disk = SimulatedDisk()
    async with opened(tmp_path / "log", disk=disk) as log:
        await fill(log, [1])
        disk.room = 0
        with pytest.raises(Exception, match="as asked for"):
            await fill(log, [40], length=600)
        disk.room = None
        disk.free = 7
        assert disk.free_bytes(tmp_path) == 7
        disk.free = None
        assert disk.free_bytes(tmp_path) > 7
        await fill(log, [1])
    assert len(stored(tmp_path / "log")) == 2


def test_a_lying_disk_does_less_than_it_says() -> None:
    """Each in its own way; an honest one does all."""
    events = (
        Flushed(1, is_writers=True),
        Flushed(1, is_writers=False),
        FolderFlushed(PLACE),
        Removed(PLACE, "a"),
    )
    lies = medium.honest, medium.ignores_syncs, medium.ignores_commits, medium.forgets_names
    done = [[event for event in events if lie(event) is not None] for lie in lies]
    assert done == [list(events), [*events[2:]], [*events[1:]], [*events[:2], events[3]]]
    assert [medium.tears_sectors(event) for event in events[1:3]] == [Torn(1), FolderFlushed(PLACE)]


def test_survivors_are_chosen_by_a_seed(tmp_path: Path) -> None:
    """The same one chooses the same."""
    disk = SimulatedDisk()
    log = open_log(tmp_path / "log", disk=disk)
    disk.lie = medium.ignores_syncs
    asyncio.run(fill(log, [30, 30], length=600))
    found = [disk.survivors(tmp_path / "log", 0.5, seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert put(found[0], tmp_path / "new").is_dir()
    asyncio.run(log.close())
