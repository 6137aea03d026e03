"""Claims about packing: a segment is whole or packed, and reads the same; nothing is lost on the way."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest
from typing_extensions import override

from coldseal.core.log.record import frame
from coldseal.demo.disk import SimulatedDisk, put
from coldseal.errors import UnavailableError
from coldseal.gateway.store import packing, pruned
from coldseal.gateway.store.database import close_final, fetch, open_database
from coldseal.gateway.store.disk import DISK, Disk
from coldseal.gateway.store.log import Limits
from coldseal.gateway.store.packed import is_packed, pack
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import segment_path, wal_path
from tests.gateway.store.logs import KEY, NOW_MS, group, note, opened, stored
from tests.gateway.store.test_pruned import SIZES, fill, prune, room
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


FIRST = packing.Stretch(0, SIZES[0])


async def pack_all(folder: Path, *, disk: Disk = DISK, limits: Limits | None = None) -> bool:
    """Open a log, pack what has ended, close it; says whether something waits."""
    async with opened(folder, disk=disk, limits=limits) as log:
        return await log.packer.pack_all(log.make_room)


def rows(folder: Path, first: int, query: str) -> list[tuple[object, ...]]:
    """Ask one segment."""
    path = segment_path(folder, first)
    with closing(open_database(path, KEY, readonly=True, is_final=True)) as connection:
        return fetch(connection, query)


def drafts(folder: Path) -> list[Path]:
    """Give what is being packed, or was left of it."""
    return list(folder.glob("*.packed*"))


def numbers(folder: Path) -> list[int]:
    """Give which files the segments are."""
    return [path.stat().st_ino for path in sorted(folder.glob("*.db"))]


async def test_a_packed_segment_reads_as_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Entries, hashes, checkpoints and settings, in a fraction of the room; and the log goes on."""
    entries = await fill(tmp_path)
    before = room(tmp_path)
    with closing(LogReader(tmp_path, KEY)) as reader:
        size = reader.size()
        places = [(level, index) for level in range(11) for index in range(size >> level)]
        nodes, notes = [reader.nodes(*place) for place in places], reader.checkpoints(0, size)
        assert not await pack_all(tmp_path)
        assert room(tmp_path) < before / 2
        assert list(reader.read_from(0)) == entries
        assert [reader.nodes(*place) for place in places] == nodes
        assert reader.checkpoints(0, size) == notes
        assert reader.read(300, max_entries=5) == entries[300:305]
        assert reader.read(690, max_entries=20) == entries[690:710]
        assert reader.read_frames(0, max_bytes=1).count == 1
    for start, tiles in ((0, [0, 256, 512]), (700, [700, 768])):
        assert rows(tmp_path, start, "SELECT value FROM state WHERE name = 'packed'") == [(b"1",)]
        blobs = rows(tmp_path, start, "SELECT first, entries FROM groups")
        assert all(isinstance(blob, bytes) and is_packed(blob) for _, blob in blobs)
        assert [first for first, _ in blobs] == tiles
    assert capsys.readouterr().err.count("store.segment-packed") == 2
    async with opened(tmp_path) as log:
        await log.commit(group(log, 5))
        assert log.size == size + 5


def test_packing_rests_longer_while_much_comes_in() -> None:
    """A quarter of the time is its share, a sixteenth while senders wait for their acknowledgements."""
    assert packing.rest_s(0.5, sealed=0) == packing.rest_s(0.5, sealed=500) == 1.5
    assert packing.rest_s(0.5, sealed=501) == 7.5


async def test_what_is_packed_is_left_alone(tmp_path: Path) -> None:
    """The last one is being written, and a packed one stays the file that it is."""
    await fill(tmp_path)
    last = numbers(tmp_path)[-1]
    await pack_all(tmp_path)
    before = numbers(tmp_path)
    async with opened(tmp_path) as log:
        assert not await log.packer.pack_all(log.make_room)
        assert not await log.packer.pack_all(log.make_room)
        tally = log.packer.tally
    assert numbers(tmp_path) == before
    assert before[-1] == last
    assert (tally.packed_entries, tally.whole_entries, tally.whole_bytes) == (1000, 0, 0)
    assert tally.packed_bytes == sum(segment_path(tmp_path, first).stat().st_size for first in (0, 700))


async def test_a_reader_with_the_old_file_goes_on_and_takes_the_new_one(tmp_path: Path) -> None:
    """It keeps neither the old file's room nor, once a next segment is there, its WAL."""
    entries = await fill(tmp_path)
    with closing(LogReader(tmp_path, KEY)) as reader:
        assert reader.read(0, max_entries=1) == entries[:1]
        old = reader._connections[0]
        await pack_all(tmp_path)
        assert reader.read(1, max_entries=1) == entries[1:2]
        assert reader._connections[0].number != old.number
        with pytest.raises(apsw.ConnectionClosedError):
            old.connection.changes()
        assert list(reader.read_from(0)) == entries
        async with opened(tmp_path) as log:
            await log.commit(group(log, 2))
            start = log.segment_first
            assert len(reader.read(start)) == log.size - start
            await log.roll(NOW_MS)
            assert await log.packer.pack_all(log.make_room)  # the other reader is still in it
            await log.commit(group(log, 1))
            assert reader.read(log.size - 1)
            assert not await log.packer.pack_all(log.make_room)
        assert not wal_path(segment_path(tmp_path, start)).exists()


async def test_a_reader_keeps_few_files_open(tmp_path: Path) -> None:
    """However many segments there are."""
    async with opened(tmp_path) as log:
        for _ in range(6):
            await log.commit(group(log, 3, has_checkpoint=True))
            await log.roll(NOW_MS)
        await log.commit(group(log, 3))
        await log.packer.pack_all(log.make_room)
        entries = list(log.reader.read_from(0))
        assert len(entries) == 21
        assert len(log.reader._connections) == 4
        assert log.reader.read(0, max_entries=1) == entries[:1]


async def test_it_runs_by_itself_when_a_segment_ends(tmp_path: Path) -> None:
    """As one of the log's tasks; what could not be packed is tried again after a while."""
    await fill(tmp_path)
    async with opened(tmp_path) as log:
        tasks = [asyncio.create_task(log.pack()), asyncio.create_task(log.maintain())]
        await until(lambda: log.packer.tally.packed_entries == 1000)
        await log.commit(group(log, 9, has_checkpoint=True))
        await log.roll(NOW_MS)
        await until(lambda: log.packer.tally.packed_entries == log.size)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_is_tried_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once, however often it is tried."""
    await fill(tmp_path)
    monkeypatch.setattr(packing, "AGAIN_S", 0.0)
    tiny = Limits(limit_mb=1, reserve_mb=0)
    async with opened(tmp_path, limits=tiny) as log:
        log._space._limit = log.used_bytes() + 1
        task = asyncio.create_task(log.pack())
        tries: list[int] = []
        ask = log._space.require_room_to_pack

        def count(size: int) -> None:
            tries.append(size)
            ask(size)

        monkeypatch.setattr(log._space, "require_room_to_pack", count)
        await until(lambda: len(tries) > 5)
        log._space._limit = 1 << 30
        await until(lambda: log.packer.tally.packed_entries == 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert capsys.readouterr().err.count("store.packing-waits") == 2


async def test_whoever_ends_it_in_the_midst_leaves_the_segment_whole(tmp_path: Path) -> None:
    """The draft goes at the next turn."""
    entries = await fill(tmp_path)
    async with opened(tmp_path) as log:
        task = asyncio.create_task(log.pack())
        await until(lambda: bool(drafts(tmp_path)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert stored(tmp_path) == entries
    await pack_all(tmp_path)
    assert not drafts(tmp_path)
    assert stored(tmp_path) == entries


async def test_whoever_ends_it_while_the_disk_fails_is_obeyed(tmp_path: Path) -> None:
    """What cannot be tidied then is no reason to go on: the gateway would never end."""
    entries = await fill(tmp_path, (300, 60, 5))
    disk = SimulatedDisk()
    async with opened(tmp_path, disk=disk) as log:
        running = asyncio.create_task(log.pack())
        await until(lambda: bool(drafts(tmp_path)))
        disk.fail_anywhere(apsw.IOError)
        running.cancel()
        await asyncio.wait([running], timeout=20)
        assert running.cancelled()
        disk.heal()
    assert stored(tmp_path) == entries


@pytest.mark.parametrize("first", [0, 700])
async def test_a_packed_segment_can_be_pruned(tmp_path: Path, first: int) -> None:
    """Its hashes stay as they would have stayed before, and it is never packed again."""
    await fill(tmp_path)
    with closing(LogReader(tmp_path, KEY)) as reader:
        root = reader.root(reader.size())
    await pack_all(tmp_path)
    prune(tmp_path, first)
    async with opened(tmp_path) as log:
        assert not await log.packer.pack_all(log.make_room)
        assert not await log.packer.pack_all(log.make_room)
        assert log.packer.tally.packed_entries == 1000 - {0: 700, 700: 300}[first]
        assert log.reader.root(log.size) == root
        with pytest.raises(pruned.PrunedError):
            log.reader.read(first + 5)


async def test_a_segment_that_was_pruned_meanwhile_stays_pruned(tmp_path: Path) -> None:
    """The draft goes: what was sent to the archive does not come back."""
    await fill(tmp_path)
    number = segment_path(tmp_path, 0).stat().st_ino
    for _ in packing.write_packed(tmp_path, KEY, FIRST, disk=DISK):
        pass
    prune(tmp_path, 0)
    with pytest.raises(UnavailableError, match="it was pruned"):
        packing.replace(tmp_path, FIRST, number, disk=DISK)
    with closing(LogReader(tmp_path, KEY)) as reader, pytest.raises(pruned.PrunedError):
        reader.read(5)


async def test_a_name_that_cannot_be_changed_leaves_the_segment(tmp_path: Path) -> None:
    """It is tried again."""
    await fill(tmp_path)
    number = segment_path(tmp_path, 0).stat().st_ino
    with pytest.raises(UnavailableError, match="No such file"):
        packing.replace(tmp_path, FIRST, number, disk=DISK)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE groups SET entries = (SELECT entries FROM groups WHERE first = 0)", "do not follow"),
        ("UPDATE groups SET count = count - 1 WHERE first = 256", "do not follow"),
        ("DELETE FROM groups WHERE first = 512", "not those of the tree"),
        ("UPDATE groups SET entries = (SELECT entries FROM other) WHERE first = 0", "not those of the tree"),
        ("DELETE FROM checkpoints", "its table checkpoints"),
        ("UPDATE tiles SET root = zeroblob(32)", "its table tiles"),
        ("DELETE FROM state WHERE name = 'chain'", "its table state"),
    ],
)
async def test_a_draft_that_is_not_the_segment_never_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str, why: str
) -> None:
    """It is read back before: a fault of the packing itself, or of the disk, is found here."""
    entries = await fill(tmp_path, (700, 57))
    before = numbers(tmp_path)
    tables = ("groups", "checkpoints", "tiles")
    drop = "".join(f"DROP TRIGGER {name}_{what};" for name in tables for what in ("update", "delete"))

    def spoil(connection: apsw.Connection) -> None:
        with connection:
            other = pack(frame([b"x"] * 256))
            connection.execute(drop + "CREATE TEMP TABLE other (entries BLOB)")
            connection.execute("INSERT INTO other VALUES (?)", (other,))
            connection.execute(change)
        close_final(connection)

    monkeypatch.setattr(packing, "close_final", spoil)
    async with opened(tmp_path) as log:
        assert not await log.packer.pack_all(log.make_room)  # it is not tried again
    monkeypatch.undo()
    assert numbers(tmp_path) == before
    assert stored(tmp_path) == entries
    told = capsys.readouterr().err
    assert "store.packing-failed" in told
    assert why in told


async def test_a_checkpoint_of_another_history_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is signed counts, beside what is stored."""
    async with opened(tmp_path) as log:
        made = group(log, 30)
        other = log.chain
        other.tree.extend([bytes(32)] * 30)
        await log.commit(dataclasses.replace(made, checkpoint=note(other)))
        await log.roll(NOW_MS)
        await log.commit(group(log, 1))
        await log.packer.pack_all(log.make_room)
        assert len(log.reader.read(0)) == 31
    assert "not those of the tree" in capsys.readouterr().err


class Failing(Disk):
    """A disk that can fail to sync directories."""

    is_failing = False

    @override
    def sync_directory(self, directory: Path) -> None:
        """Fail, or do so."""
        if self.is_failing:
            raise OSError(5, "Input/output error")
        super().sync_directory(directory)


async def test_files_that_come_and_go_end_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name without a file, a draft that cannot be removed, a directory that cannot be synced."""
    entries = await fill(tmp_path)
    disk = Failing()
    async with opened(tmp_path, disk=disk) as log:
        gone = segment_path(tmp_path, 999)
        gone.symlink_to("nowhere")
        assert not await log.packer.pack_all(log.make_room)
        gone.unlink()
        blocked = segment_path(tmp_path, 0).with_suffix(".packed")
        blocked.mkdir()
        disk.is_failing = True
        assert await log.packer.pack_all(log.make_room)
        blocked.rmdir()
        disk.is_failing = False
        assert not await log.packer.pack_all(log.make_room)
        assert log.packer.tally.packed_entries == 1000
    assert stored(tmp_path) == entries
    assert capsys.readouterr().err.count("store.packing-waits") == 2


async def test_a_segment_that_is_not_whole_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in it is still there to be salvaged."""
    await fill(tmp_path)
    with closing(open_database(segment_path(tmp_path, 0), KEY)) as connection:
        connection.execute("DROP TRIGGER groups_delete; DELETE FROM groups WHERE first = 1")
        connection.pragma("wal_checkpoint", "truncate")
    wal_path(segment_path(tmp_path, 0)).unlink()
    path = segment_path(tmp_path, 700)
    path.write_bytes(b"rubbish" * 1000)
    before = path.read_bytes()
    assert not await pack_all(tmp_path)
    assert path.read_bytes() == before
    assert capsys.readouterr().err.count("store.packing-failed") == 2


async def test_a_power_cut_at_any_step_leaves_every_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole or packed: nothing, all or some of what was not synced survives."""
    monkeypatch.setattr(packing, "_TILES_AT_ONCE", 1)
    entries = await fill(tmp_path / "log", (300, 60, 5))
    disk, cuts = SimulatedDisk(), []

    def cut(_name: str) -> None:
        if disk.steps % 7 == 0:
            cuts.append(disk.survivors(tmp_path / "log", disk.steps % 3 / 2, disk.steps))

    async with opened(tmp_path / "log", disk=disk) as log:
        disk.at_step = cut
        await log.packer.pack_all(log.make_room)
    packed = set()
    for number, files in enumerate({tuple(sorted(files.items())): files for files in cuts}.values()):
        folder = put(files, tmp_path / str(number))
        async with opened(folder) as log:
            assert list(log.reader.read_from(0)) == entries
            await log.packer.pack_all(log.make_room)
            assert list(log.reader.read_from(0)) == entries
            packed.add(log.packer.tally.packed_entries)
        assert not drafts(folder)
    assert packed == {360}


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
async def test_a_disk_that_fails_at_any_step_leaves_every_entry(
    tmp_path: Path, error: type[apsw.Error]
) -> None:
    """It is packed when the disk works again."""
    entries = await fill(tmp_path, (300, 60, 5))
    disk = SimulatedDisk()
    async with opened(tmp_path, disk=disk) as log:
        after, is_waiting = 0, True
        while is_waiting:
            disk.fail(error, after=after, count=2)
            is_waiting = await log.packer.pack_all(log.make_room)
            assert list(log.reader.read_from(0)) == entries
            after += 7
        assert log.packer.tally.packed_entries == 360
    assert stored(tmp_path) == entries
