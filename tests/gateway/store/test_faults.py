"""Claims about failing disks and power cuts, at every step of the way to the disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import apsw
import pytest

from coldseal.demo.disk import SimulatedDisk, put
from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.log import Limits, Log, StoreFailedError, StoreFullError
from tests.gateway.store.logs import NOW_MS, fill, group, open_log, opened, stored, verify_chained

LIMITS = Limits(reserve_mb=0, wal_mb=0, state_entries=10)
Outcome = tuple[dict[str, bytes], int, int]
"""What a power cut left, entries acknowledged by then, entries handed over by then."""


class Voyage:
    """A short life of a log, with a power cut at every step of it.

    Args:
        folder: where it lives.
        is_durable: False weakens the store, to show that these tests would notice.
    """

    def __init__(self, folder: Path, *, is_durable: bool = True) -> None:
        """Nothing has happened yet."""
        self.folder = folder
        self.disk = SimulatedDisk()
        self.outcomes: list[Outcome] = []
        self.entries: list[bytes] = []
        self.acknowledged = 0
        self._is_durable = is_durable

    async def run(self, seeds: range) -> None:
        """Commit, copy the WAL, roll and close, and keep what each power cut would leave."""
        log = open_log(self.folder, disk=self.disk, limits=LIMITS)
        self.disk.at_step = lambda _name: self._cut(seeds)
        for place, count in enumerate((1, 3, 30, 1, 2, 1, 40, 1)):
            if not self._is_durable:
                log._segment._connection.pragma("synchronous", "normal")
            made = group(log, count, has_checkpoint=place % 3 == 0, snapshot=b"s" if place == 4 else None)
            self.entries += made.entries
            await log.commit(made)
            self.acknowledged += count
            if place in {2, 5}:
                log._segment.copy_wal()
            if place in {3, 6}:
                await log.roll(NOW_MS)
        await log.close()

    def _cut(self, seeds: range) -> None:
        """Keep what is left if all, nothing or some of what is not synced survives."""
        for chance, seed in [(0.0, 0), (1.0, 0), *((0.5, seed) for seed in seeds)]:
            files = self.disk.survivors(self.folder, chance, seed)
            self.outcomes.append((files, self.acknowledged, len(self.entries)))


async def judge(outcome: Outcome, entries: list[bytes], folder: Path) -> None:
    """Read and open what a power cut left: all that was acknowledged is there, once, and it goes on."""
    files, acknowledged, handed_over = outcome
    found = stored(put(files, folder))
    async with opened(folder, limits=LIMITS) as log:
        assert list(log.reader.read_from(0)) == found
        assert len(found) in {acknowledged, handed_over}
        assert found == entries[: len(found)]
        assert verify_chained(found).head == log.chain.head
        await fill(log, [1])


@pytest.mark.parametrize(
    ("every", "cuts"),
    [(11, range(1)), pytest.param(1, range(12), marks=[pytest.mark.soak, pytest.mark.timeout(7200)])],
)
async def test_no_power_cut_loses_what_was_acknowledged(tmp_path: Path, every: int, cuts: range) -> None:
    """At the writes, cuts and syncs, with all, none or any part of what was not synced kept."""
    voyage = Voyage(tmp_path / "log")
    await voyage.run(cuts)
    assert len(voyage.outcomes) > 500
    for number, outcome in enumerate(voyage.outcomes[::every]):
        await judge(outcome, voyage.entries, tmp_path / str(number))


async def test_a_store_that_does_not_sync_each_commit_is_found_out(tmp_path: Path) -> None:
    """The test above would notice `synchronous = NORMAL`; the head names what was lost, if it survived."""
    voyage = Voyage(tmp_path / "log", is_durable=False)
    await voyage.run(range(0))
    silent, named = 0, []
    for number, outcome in enumerate(voyage.outcomes[::5]):
        try:
            await judge(outcome, voyage.entries, tmp_path / str(number))
        except StoreDamagedError as error:
            named.append((error.seq, outcome[1]))
        except AssertionError:
            silent += 1
    assert silent + len(named) > 5
    assert named
    assert all(seq is not None and seq < acknowledged for seq, acknowledged in named)


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
@pytest.mark.parametrize("count", [1, 1_000_000])
async def test_a_commit_that_raises_has_written_nothing(
    tmp_path: Path, error: type[apsw.Error], count: int
) -> None:
    """Whichever step fails, once or for good: the same group can be tried again, and is there once."""
    disk = SimulatedDisk()
    expected = StoreFullError if error is apsw.FullError else UnavailableError
    entries: list[bytes] = []
    failures = 0
    async with opened(tmp_path / "log", disk=disk, limits=LIMITS) as log:
        for length in (1, 40):
            for after in range(6):
                made = group(log, length, length=600)
                disk.fail(error, after=after, count=count)
                [raised] = await asyncio.gather(log.commit(made), return_exceptions=True)
                disk.heal()
                if raised is not None:
                    assert type(raised) is expected
                    assert log.size == len(entries)
                    await log.commit(made)
                    failures += 1
                entries += made.entries
        assert failures > 4
        assert list(log.reader.read_from(0)) == entries
    assert stored(tmp_path / "log") == entries


async def test_a_group_whose_sync_failed_is_redone_or_found_whole(tmp_path: Path) -> None:
    """It was written, but how safely? Another takes its place, or a power cut brings it back."""
    disk = SimulatedDisk()
    async with opened(tmp_path / "log", disk=disk) as log:
        entries = await fill(log, [3])
        failed = group(log, 2)
        disk.fail(apsw.IOError, after=2, count=1)  # behind the two writes of one page
        with pytest.raises(UnavailableError):
            await log.commit(failed)
        disk.heal()
        files = [disk.survivors(tmp_path / "log", chance) for chance in (0.0, 1.0)]
        redone = await fill(log, [4])
    assert stored(tmp_path / "log") == [*entries, *redone]
    for number, expected in enumerate((entries, [*entries, *failed.entries])):
        async with opened(put(files[number], tmp_path / str(number))) as log:
            assert list(log.reader.read_from(0)) == expected


async def test_a_group_whose_sync_failed_does_not_come_back_behind_a_roll(tmp_path: Path) -> None:
    """The next segment begins where it would have been: both together would be two histories."""
    disk = SimulatedDisk()
    async with opened(tmp_path / "log", disk=disk) as log:
        entries = await fill(log, [3])
        disk.fail(apsw.IOError, after=2, count=1)
        with pytest.raises(UnavailableError):
            await fill(log, [2])
        disk.fail(apsw.IOError, after=2, count=1)
        with pytest.raises(UnavailableError):
            await log.roll(NOW_MS)
        disk.heal()
        await log.roll(NOW_MS)
        entries += await fill(log, [4], length=500)
        files = disk.survivors(tmp_path / "log", 1.0)
    assert stored(put(files, tmp_path / "cut")) == entries


async def test_a_commit_that_raised_but_is_durable_counts(tmp_path: Path) -> None:
    """Something behind the commit failed: the group is looked up, and found."""

    def fail(*_: object) -> int:
        raise MemoryError

    async with opened(tmp_path / "log") as log:
        made = group(log, 3)
        log._segment._connection.set_wal_hook(fail)
        with pytest.raises(MemoryError):
            await log.commit(made)  # no error of the driver's: nobody may call it durable
        assert log.size == 0
    async with opened(tmp_path / "log") as log:
        assert log.size == 3
        made = group(log, 3)
        log._segment._connection.set_wal_hook(lambda *_: apsw.SQLITE_IOERR)
        await log.commit(made)
        assert log.size == 6
    assert verify_chained(stored(tmp_path / "log")).size == 6


async def test_a_commit_that_cannot_be_looked_up_ends_the_writing(tmp_path: Path) -> None:
    """Nobody knows what is on disk: only a new start can tell."""
    folder = tmp_path / "log"
    disk = SimulatedDisk()
    segment, away = folder / f"{0:020d}.db", tmp_path / "away"
    async with opened(folder, disk=disk) as log:
        entries = await fill(log, [2])

        def vanish(_name: str) -> None:
            if not away.exists():
                segment.rename(away)
            raise apsw.IOError("as asked for")

        disk.at_step = vanish
        made = group(log, 1)
        with pytest.raises(StoreFailedError, match="cannot be looked up"):
            await log.commit(made)
        disk.heal()
        away.rename(segment)
        with pytest.raises(StoreFailedError, match="must be opened again"):
            await log.commit(made)
        with pytest.raises(StoreFailedError):
            await log.roll(NOW_MS)
    assert stored(folder) == entries


async def test_a_head_that_cannot_be_written_refuses_the_next_group(tmp_path: Path) -> None:
    """The group before it is durable and acknowledged; without a head, loss could not be noticed."""
    log = open_log(tmp_path / "log")
    entries = await fill(log, [2])
    readonly = os.open(tmp_path / "log" / "head", os.O_RDONLY)
    os.dup2(readonly, log._head._file)
    os.close(readonly)
    entries += await fill(log, [1])
    with pytest.raises(StoreFailedError, match="head cannot be written"):
        await fill(log, [1])
    await log.close()
    async with opened(tmp_path / "log") as log:
        assert list(log.reader.read_from(0)) == entries


async def test_a_roll_that_fails_leaves_the_old_segment_going(tmp_path: Path) -> None:
    """No room for a new file: the log goes on in the old one, and rolls later."""
    disk = SimulatedDisk()
    async with opened(tmp_path / "log", disk=disk, limits=LIMITS) as log:
        entries = await fill(log, [5])
        for after in range(12):
            disk.fail(apsw.FullError, after=after, count=1)
            with pytest.raises(UnavailableError):
                await log.roll(NOW_MS)
            disk.heal()
            assert log.segment_first == 0
            entries += await fill(log, [1])
        await log.roll(NOW_MS)
        assert log.segment_first == 17
        entries += await fill(log, [1])
    assert stored(tmp_path / "log") == entries


def remove_draft(folder: Path) -> SimulatedDisk:
    """Give a disk on which the draft of a segment is gone as soon as it is closed."""
    disk = SimulatedDisk()

    def remove(name: str) -> None:
        if name.endswith(".new"):
            (folder / name).unlink(missing_ok=True)

    disk.at_close = remove
    return disk


async def test_a_roll_that_nobody_can_judge_ends_the_writing(tmp_path: Path) -> None:
    """The new file may or may not be in its place: writing on in the old one could fork the log."""
    disk = SimulatedDisk()
    async with opened(tmp_path / "log", disk=disk) as log:
        entries = await fill(log, [5])
        disk.at_close = remove_draft(tmp_path / "log").at_close
        with pytest.raises(StoreFailedError, match="next segment"):
            await log.roll(NOW_MS)
        with pytest.raises(StoreFailedError):
            await fill(log, [1])
    assert stored(tmp_path / "log") == entries


def test_a_first_segment_that_cannot_be_put_in_place_is_unavailable(tmp_path: Path) -> None:
    """The next start tries again."""
    folder = tmp_path / "log"
    disk = remove_draft(folder)
    with pytest.raises(UnavailableError, match="No such file"):
        open_log(folder, disk=disk)
    disk.heal()
    asyncio.run(open_log(folder, disk=disk).close())


async def maintained(log: Log) -> asyncio.Task[None]:
    """Start the upkeep of a log."""
    return asyncio.ensure_future(log.maintain())


async def test_a_full_disk_does_not_end_the_upkeep(tmp_path: Path) -> None:
    """There may be room later; the WAL waits."""
    disk = SimulatedDisk()
    refused: list[str] = []

    def refuse(name: str) -> None:
        if name.endswith(".db"):
            refused.append(name)
            raise apsw.FullError("as asked for")

    async with opened(tmp_path / "log", disk=disk, limits=LIMITS) as log:
        upkeep = await maintained(log)
        disk.at_step = refuse
        entries = await fill(log, [5])
        async with asyncio.timeout(20):
            while not refused:
                await asyncio.to_thread(os.sched_yield)
        disk.heal()
        entries += await fill(log, [5])
        assert log._segment.pending_pages > 0
        async with asyncio.timeout(20):
            while log._segment.pending_pages:
                await asyncio.to_thread(os.sched_yield)
        assert not upkeep.done()
        upkeep.cancel()
    assert stored(tmp_path / "log") == entries


async def test_a_failing_disk_ends_the_upkeep_and_loses_nothing(tmp_path: Path) -> None:
    """Whoever owns the task learns of it; the WAL keeps everything."""
    disk = SimulatedDisk()

    def refuse(name: str) -> None:
        if name.endswith(".db"):
            raise apsw.IOError("as asked for")

    log = open_log(tmp_path / "log", disk=disk, limits=LIMITS)
    upkeep = await maintained(log)
    disk.at_step = refuse
    entries = await fill(log, [5])
    async with asyncio.timeout(20):
        with pytest.raises(UnavailableError):
            await upkeep
    with pytest.raises(UnavailableError):
        await log.close()
    assert stored(tmp_path / "log") == entries
