"""Claims about opening: bounded work, and no log that has lost anything is written to."""

from __future__ import annotations

import shutil
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import apsw
import pytest

from coldseal.core.log.record import Chain
from coldseal.demo.disk import put
from coldseal.demo.world.disk import WorldDisk
from coldseal.errors import ColdsealError, OperatorError, UnavailableError
from coldseal.gateway.store.database import StoreDamagedError, open_database
from coldseal.gateway.store.head import Head, HeadFile
from coldseal.gateway.store.log import Group, Limits, Log
from coldseal.gateway.store.segments import segment_path, wal_path
from tests.gateway.store.logs import KEY, KID, NOW_MS, fill, group, new_chain, open_log, opened, seal, stored

LIMITS = Limits(reserve_mb=1, state_entries=50)


async def crashed(folder: Path, counts: list[int]) -> Path:
    """Give a copy of a log as a crash leaves it: with its WAL, and one rolled segment behind it."""
    async with opened(folder, limits=LIMITS) as log:
        await fill(log, [30])
        await log.roll(NOW_MS)
        await fill(log, counts)
        copy = folder.with_name("crashed")
        shutil.copytree(folder, copy)
    return copy


async def test_a_crashed_log_opens_where_it_was(tmp_path: Path) -> None:
    """Nothing is lost, and the next entry continues the chain."""
    copy = await crashed(tmp_path / "log", [5, 5])
    async with opened(copy) as log:
        assert (log.size, log.replayed) == (40, 10)
        await fill(log, [1])
    assert stored(copy)[:40] == stored(tmp_path / "log")


async def test_a_commit_that_the_head_does_not_know_yet_counts(tmp_path: Path) -> None:
    """The crash came between the commit and its head: the head catches up."""
    copy = await crashed(tmp_path / "log", [5])
    async with opened(copy) as log:
        head = log.chain
        made = group(log, 2)
        await log.commit(made)
    (copy / "head").unlink()
    with closing(HeadFile.create(copy / "head")) as file:
        file.write(Head(head.size, head.tree.root()))
    async with opened(copy) as log:
        assert log.size == log.reader.size() == 37


async def test_what_a_start_has_found_a_power_cut_does_not_take(tmp_path: Path) -> None:
    """A process that is killed before its sync leaves a commit that can be read, and is not on disk yet."""
    refused = 0

    def refuse(name: str) -> None:
        if name.endswith("-wal"):
            raise apsw.IOError("as asked for")

    for step in range(10):
        folder, disk = tmp_path / str(step), WorldDisk()
        log = open_log(folder, disk=disk)
        await fill(log, [3])
        disk.strike(step, partial(setattr, disk, "is_off", True))
        with suppress(ColdsealError):
            await log.commit(group(log, 1))
        with suppress(ColdsealError):
            await log.close()
        disk.switch_on()
        disk.at_step = refuse
        try:
            open_log(folder, disk=disk)._resources.close()
        except UnavailableError:
            refused += 1
        disk.heal()
        async with opened(folder, disk=disk) as log:
            size = log.size
            left = put(disk.survivors(folder, 0.0), tmp_path / f"left-{step}")
        async with opened(left) as log:
            assert log.size == size
    assert refused > 0, "no kill came between the writing and the sync"


async def test_one_flipped_bit_in_the_wal_is_found_by_the_head(tmp_path: Path) -> None:
    """SQLite would take it for the end, and what follows would be gone without a word."""
    copy = await crashed(tmp_path / "log", [2] * 20)
    wal = wal_path(segment_path(copy, 30))
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 1
    wal.write_bytes(content)
    with pytest.raises(StoreDamagedError, match="it had 70 entries") as caught:
        open_log(copy)
    assert caught.value.seq is not None
    assert 30 <= caught.value.seq < 70
    assert f"from seq {caught.value.seq} on" in str(caught.value)
    assert wal.read_bytes() == content, "refusing must leave the evidence as it is"


async def test_a_wal_that_is_gone_is_found_by_the_head(tmp_path: Path) -> None:
    """Copying a live store without its WAL loses what was not copied yet."""
    copy = await crashed(tmp_path / "log", [2] * 20)
    wal_path(segment_path(copy, 30)).unlink()
    with pytest.raises(StoreDamagedError) as caught:
        open_log(copy)
    assert caught.value.seq == 30


@pytest.mark.parametrize("left", [[], ["head", "lock"]])
async def test_segments_that_are_gone_are_found(tmp_path: Path, left: list[str]) -> None:
    """With the head there it is damage; without anything it is a new log, as only a witness can tell."""
    copy = await crashed(tmp_path / "log", [5])
    for path in copy.iterdir():
        if path.name not in left:
            path.unlink()
    if left:
        with pytest.raises(StoreDamagedError, match="no segment is there") as caught:
            open_log(copy)
        assert caught.value.seq == 0
    else:
        async with opened(copy) as log:
            assert log.size == 0


async def test_a_missing_head_is_not_made_again(tmp_path: Path) -> None:
    """A new one would hide whatever was lost."""
    copy = await crashed(tmp_path / "log", [5])
    (copy / "head").unlink()
    with pytest.raises(StoreDamagedError, match="could not be noticed"):
        open_log(copy)
    assert not (copy / "head").exists()


async def test_another_history_of_the_same_length_is_found(tmp_path: Path) -> None:
    """The head knows the root, not only the size; also when the log went on since."""
    copy = await crashed(tmp_path / "log", [5])
    for size in (20, 35):
        (copy / "head").unlink()
        with closing(HeadFile.create(copy / "head")) as head:
            head.write(Head(size, bytes(32)))
        with pytest.raises(StoreDamagedError, match=f"root over {size} entries"):
            open_log(copy)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (b"not an entry", "entry"),
        (seal(new_chain(), 1)[0], "does not continue the chain"),
        (seal(Chain("another.example/log", KID), 1)[0], "does not continue the chain"),
    ],
)
async def test_entries_that_do_not_continue_the_chain_are_found(
    tmp_path: Path, entry: bytes, why: str
) -> None:
    """Whoever put them there had the key; the chain still tells."""
    folder = tmp_path / "log"
    async with opened(folder) as log:
        await fill(log, [5])
        chain = log.chain
        seal(chain, 1)
        await log.commit(Group(entries=[entry], chain=chain))
    with pytest.raises(StoreDamagedError, match=why) as caught:
        open_log(folder)
    assert caught.value.seq == 5


@pytest.mark.parametrize("statement", ["DELETE FROM state", "UPDATE state SET value = x'7b7d'"])
async def test_a_state_that_cannot_be_read_is_damage(tmp_path: Path, statement: str) -> None:
    """The chain is not guessed."""
    async with opened(tmp_path / "log") as log:
        await fill(log, [5])
    with closing(open_database(segment_path(tmp_path / "log", 0), KEY)) as connection:
        connection.execute(statement)
    with pytest.raises(StoreDamagedError, match="state of the chain"):
        open_log(tmp_path / "log")


async def test_another_origin_is_refused(tmp_path: Path) -> None:
    """The configuration names another log than the one in the directory."""
    async with opened(tmp_path / "log") as log:
        await fill(log, [1])
    new = Chain("coldseal.example/site-8/gw-0001", KID)
    with pytest.raises(OperatorError, match="holds the log"):
        Log.open(tmp_path / "log", KEY, LIMITS, new=new, now_ms=NOW_MS)


async def test_an_empty_log_may_still_change_its_origin(tmp_path: Path) -> None:
    """Set up, configured again, and only then used."""
    async with opened(tmp_path / "log"):
        pass
    new = Chain("coldseal.example/site-8/gw-0001", "fedcba9876543210")
    log = Log.open(tmp_path / "log", KEY, LIMITS, new=new, now_ms=NOW_MS)
    await fill(log, [3])
    await log.close()
    log = Log.open(tmp_path / "log", KEY, LIMITS, new=new, now_ms=NOW_MS)
    assert (log.chain.log, log.chain.kid, log.size) == (new.log, new.kid, 3)
    await log.close()


async def test_the_key_id_of_the_last_entry_is_continued(tmp_path: Path) -> None:
    """A roll-over of the record key happens inside the log, and survives a restart."""
    async with opened(tmp_path / "log") as log:
        await fill(log, [3])
        chain = log.chain
        chain.kid = "fedcba9876543210"
        await log.commit(Group(entries=seal(chain, 1), chain=chain))
    async with opened(tmp_path / "log") as log:
        assert log.chain.kid == "fedcba9876543210"


async def test_a_wrong_store_key_is_the_operators_fault(tmp_path: Path) -> None:
    """And the right one still works afterwards."""
    async with opened(tmp_path / "log") as log:
        entries = await fill(log, [3])
    with pytest.raises(OperatorError, match="not a database under this key"):
        Log.open(tmp_path / "log", bytes(32), LIMITS, new=new_chain(), now_ms=NOW_MS)
    async with opened(tmp_path / "log") as log:
        assert list(log.reader.read_from(0)) == entries


def test_a_directory_that_cannot_be_made_is_the_operators_fault(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "data").touch()
    with pytest.raises(OperatorError, match=r"data/log cannot be used"):
        open_log(tmp_path / "data" / "log")


async def test_a_refused_log_lets_the_next_one_try(tmp_path: Path) -> None:
    """The lock is not kept by a start that failed."""
    copy = await crashed(tmp_path / "log", [5])
    (copy / "head").rename(copy / "kept")
    with pytest.raises(StoreDamagedError):
        open_log(copy)
    (copy / "kept").rename(copy / "head")
    async with opened(copy) as log:
        assert log.size == 35


@pytest.mark.parametrize(
    "large", [60_000, pytest.param(10_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
async def test_the_work_of_a_start_does_not_grow_with_the_log(tmp_path: Path, large: int) -> None:
    """However many entries: as few of them are looked at, and no more bytes are read."""
    limits = Limits(reserve_mb=1, segment_entries=large // 6)
    for count in (3_000, large):
        folder = tmp_path / str(count)
        async with opened(folder, limits=limits) as log:
            for _ in range(count // 1000):
                if log.size - log.segment_first >= log.segment_entries:
                    await log.roll(NOW_MS)
                await fill(log, [1000])
        before = _bytes_read()
        async with opened(folder) as log:
            assert log.size == count
            assert log.replayed < limits.state_entries + 1000
            assert _bytes_read() - before < 3_000_000
        shutil.rmtree(folder)


def _bytes_read() -> int:
    """Give the bytes that this process has read so far."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])
