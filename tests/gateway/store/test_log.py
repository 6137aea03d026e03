"""Claims about the log's writer: what it returned from is there, what it raised for is not."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.errors import UnavailableError
from coldseal.gateway.store.log import Group, Limits, Log, StoreFailedError, StoreFullError
from coldseal.gateway.store.reader import LogReader
from tests.gateway.store.logs import (
    DAY_MS,
    KEY,
    NOW_MS,
    fill,
    group,
    note,
    open_log,
    opened,
    seal,
    stored,
    verify_chained,
)

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Limits(reserve_mb=0, segment_entries=100, wal_mb=0, state_entries=50)


async def test_what_was_committed_is_read_back_byte_for_byte(tmp_path: Path) -> None:
    """The entries are stored as they were sealed, and the head counts them."""
    async with opened(tmp_path / "log") as log:
        entries = await fill(log, [1, 2, 64, 5])
        assert log.size == log.chain.size == 72
        assert log.reader.size() == 72
        assert list(log.reader.read_from(0)) == entries
    assert stored(tmp_path / "log") == entries
    verify_chained(entries)


async def test_an_empty_group_carries_a_checkpoint_alone(tmp_path: Path) -> None:
    """A checkpoint falls due by time although nothing new came."""
    async with opened(tmp_path / "log") as log:
        await fill(log, [3])
        chain = log.chain
        await log.commit(Group(entries=(), chain=chain, checkpoint=note(chain)))
        assert log.checkpoint_size == log.size == 3
        await log.commit(Group(entries=(), chain=chain, checkpoint=note(chain)))
        assert len(log.reader.checkpoints(0, 3)) == 1


async def test_a_group_that_does_not_continue_the_log_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    """Nothing of it is written."""
    async with opened(tmp_path / "log") as log:
        made = group(log, 2)
        await log.commit(made)
        with pytest.raises(ValueError, match="do not make"):
            await log.commit(made)
        assert log.size == 2
    assert stored(tmp_path / "log") == made.entries


async def test_the_chain_that_the_log_gives_is_a_copy(tmp_path: Path) -> None:
    """Sealing ahead does not move what is durable."""
    async with opened(tmp_path / "log") as log:
        ahead = log.chain
        seal(ahead, 5)
        assert (ahead.size, log.size) == (5, 0)


async def test_groups_from_many_callers_are_committed_one_at_a_time(tmp_path: Path) -> None:
    """Only one of two groups for the same place is taken."""
    async with opened(tmp_path / "log") as log:
        first, second = group(log, 2), group(log, 3)
        done = await asyncio.gather(log.commit(first), log.commit(second), return_exceptions=True)
        assert done[0] is None
        assert isinstance(done[1], ValueError)
    assert stored(tmp_path / "log") == first.entries


async def test_a_cancelled_commit_is_seen_through(tmp_path: Path) -> None:
    """The caller goes, the commit does not: the next one finds the log in order."""
    async with opened(tmp_path / "log") as log:
        made = group(log, 500)
        task = asyncio.ensure_future(log.commit(made))
        await asyncio.sleep(0)  # it begins, and its COMMIT is handed to the thread
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log.size == 500
        after = await fill(log, [1])
    assert stored(tmp_path / "log") == [*made.entries, *after]


async def test_the_state_bounds_what_a_start_replays(tmp_path: Path) -> None:
    """The chain is written down every so many entries, whatever the log's size."""
    for _ in range(3):
        async with opened(tmp_path / "log", limits=SMALL) as log:
            assert log.replayed < SMALL.state_entries
            await fill(log, [10] * 22)


async def test_a_snapshot_is_given_back_with_the_entries_behind_it(tmp_path: Path) -> None:
    """The pipeline rebuilds what it knew of recent messages from exactly these."""
    async with opened(tmp_path / "log") as log:
        assert log.snapshot is None
        before = await fill(log, [5])
        assert list(log.replay) == before
        await log.commit(group(log, 5, snapshot=b"knows ten"))
        after = await fill(log, [3, 4])
    async with opened(tmp_path / "log") as log:
        assert log.snapshot == b"knows ten"
        assert list(log.replay) == after


async def test_the_log_tells_what_decides_when_a_segment_ends(tmp_path: Path) -> None:
    """Where it began, on which day, and how many entries it may have; also after a restart."""
    for _ in range(2):
        async with opened(tmp_path / "log", limits=SMALL) as log:
            assert (log.segment_first, log.segment_day, log.segment_entries) == (0, NOW_MS // DAY_MS, 100)


async def test_the_log_goes_on_in_the_next_segment(tmp_path: Path) -> None:
    """Reading, snapshot, chain and day pass the boundary; an empty segment is not ended."""
    folder = tmp_path / "log"
    async with opened(folder, limits=SMALL) as log:
        await log.roll(NOW_MS)
        assert log.segment_first == 0
        await log.commit(group(log, 7, has_checkpoint=True, snapshot=b"knows seven"))
        await log.roll(NOW_MS + DAY_MS)
        assert log.segment_first == log.size == 7
        await log.roll(NOW_MS + DAY_MS)
        await fill(log, [3])
    assert {path.name for path in folder.glob("*.db")} == {f"{0:020d}.db", f"{7:020d}.db"}
    async with opened(folder, limits=SMALL) as log:
        assert (log.size, log.segment_first, log.checkpoint_size, log.replayed) == (10, 7, 7, 3)
        assert log.snapshot == b"knows seven"
        assert len(list(log.replay)) == 3
        assert log.segment_day == NOW_MS // DAY_MS + 1
    assert verify_chained(stored(folder)).size == 10


async def test_an_ended_segment_becomes_one_plain_file(tmp_path: Path) -> None:
    """It can be copied away as it is; its WAL is gone."""
    folder = tmp_path / "log"
    async with opened(folder, limits=SMALL) as log, asyncio.TaskGroup() as tasks:
        upkeep = tasks.create_task(log.maintain())
        for _ in range(4):
            await fill(log, [30])
            await log.roll(NOW_MS)
        first = folder / f"{0:020d}.db-wal"
        async with asyncio.timeout(20):
            while first.exists():
                await asyncio.to_thread(os.sched_yield)
        upkeep.cancel()
    assert {path.name for path in folder.glob("*.db-*")} <= {f"{120:020d}.db-wal", f"{120:020d}.db-shm"}


async def test_a_reader_delays_the_tidying_of_a_segment_and_nothing_else(tmp_path: Path) -> None:
    """While another one reads an ended segment, its WAL stays; the next close removes it."""
    folder = tmp_path / "log"
    with closing(LogReader(folder, KEY)) as reader:
        async with opened(folder) as log:
            entries = await fill(log, [30])
            assert reader.read(0) == entries
            await log.roll(NOW_MS)
        assert (folder / f"{0:020d}.db-wal").exists()
        assert reader.read(0) == entries
    async with opened(folder) as log:
        pass
    assert not (folder / f"{0:020d}.db-wal").exists()
    assert stored(folder) == entries


async def test_the_wal_is_copied_beside_the_commits(tmp_path: Path) -> None:
    """It does not grow without bound, however long the gateway runs."""
    async with (
        opened(tmp_path / "log", limits=Limits(reserve_mb=0, wal_mb=1)) as log,
        asyncio.TaskGroup() as tasks,
    ):
        upkeep = tasks.create_task(log.maintain())
        await fill(log, [256] * 60, 600)
        upkeep.cancel()
        wal = (tmp_path / "log" / f"{0:020d}.db-wal").stat().st_size
    assert wal < 60 * 256 * 600 / 2


async def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    """And lets the next one in."""
    log = open_log(tmp_path / "log")
    made = group(log, 1)
    await log.close()
    with pytest.raises(StoreFailedError, match="it is closed"):
        await log.commit(made)
    async with opened(tmp_path / "log") as following:
        assert following.size == 0


async def test_ordinary_entries_leave_the_reserve_to_the_logs_own(tmp_path: Path) -> None:
    """A full store refuses, records that it is full, and goes on once there is room."""
    folder = tmp_path / "log"
    async with opened(folder, limits=Limits(limit_mb=3, reserve_mb=2)) as log:
        with pytest.raises(StoreFullError, match="MiB are used"):
            await fill(log, [100] * 100, 600)
        size = log.size
        assert 0 < size < 10_000
        await log.commit(group(log, 1), is_own=True)
        (folder / "left").write_bytes(bytes(1))
    async with opened(folder, limits=Limits(limit_mb=8, reserve_mb=2)) as log:
        await fill(log, [100])
        assert log.size == size + 101
        assert log.used_bytes() == sum(path.stat().st_size for path in folder.iterdir())


async def test_the_disks_own_room_counts_too(tmp_path: Path) -> None:
    """The reserve is kept free on the file system, whatever the limit says."""
    free_mb = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize // 2**20
    limits = Limits(limit_mb=16 * free_mb, reserve_mb=2 * free_mb)
    async with opened(tmp_path / "log", limits=limits) as log:
        with pytest.raises(StoreFullError, match="MiB are free on the disk"):
            await fill(log, [1])
        await log.commit(group(log, 1), is_own=True)
        assert log.size == 1


async def test_a_full_store_is_a_transient_fault(tmp_path: Path) -> None:
    """Whoever retries on unavailability retries this."""
    assert issubclass(StoreFullError, UnavailableError)
    async with opened(tmp_path / "log", limits=Limits(limit_mb=1, reserve_mb=1)) as log:
        made = group(log, 1)
        with pytest.raises(UnavailableError):
            await log.commit(made)
        assert log.size == 0


async def test_only_one_process_writes(tmp_path: Path) -> None:
    """`Log` is the one writer; its name says so to a second one."""
    async with opened(tmp_path / "log") as log:
        assert isinstance(log, Log)
        with pytest.raises(Exception, match="in use by another process"):
            open_log(tmp_path / "log")


async def test_a_closed_room_takes_only_the_log_s_own_entries(tmp_path: Path) -> None:
    """As with a full disk; a drill opens it again, and nothing was written meanwhile."""
    async with opened(tmp_path / "log") as log:
        log.close_room(True)
        with pytest.raises(StoreFullError, match="a drill keeps it closed"):
            await log.commit(group(log, 1))
        await log.commit(group(log, 1), is_own=True)
        log.close_room(False)
        await log.commit(group(log, 2))
        assert log.size == 3
