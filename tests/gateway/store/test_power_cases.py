"""Power cuts that once did harm; each is a case here."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from coldseal.demo.disk import SimulatedDisk, put
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.store import pruned
from coldseal.gateway.store.log import StoreFullError
from coldseal.gateway.store.pruned import Pruned
from coldseal.gateway.store.reader import LogReader
from tests.gateway.store.logs import KEY, NOW_MS, fill, group, open_log, opened, stored

if TYPE_CHECKING:
    from pathlib import Path


def test_a_power_cut_in_the_first_start_of_all_leaves_a_log_that_starts(tmp_path: Path) -> None:
    """A head without content was taken for damage, and the gateway never started again."""
    disk = SimulatedDisk()
    left: list[dict[str, bytes]] = []
    disk.at_step = lambda _name: left.extend(
        disk.survivors(tmp_path / "log", chance, seed)
        for chance, seed in ((0.0, 0), (1.0, 0), *((0.5, seed) for seed in range(8)))
        if (tmp_path / "log").is_dir()
    )
    asyncio.run(open_log(tmp_path / "log", disk=disk).close())
    assert len(left) > 100
    for number, files in enumerate(left[::7]):
        asyncio.run(open_log(put(files, tmp_path / str(number))).close())


def test_a_new_log_is_in_a_folder_that_a_power_cut_leaves(tmp_path: Path) -> None:
    """The folder's own name was not synced: all that was acknowledged in it could go with it."""
    disk = SimulatedDisk()
    made = tmp_path / "data" / "log"
    log = open_log(made, disk=disk)
    asyncio.run(fill(log, [1]))
    files = disk.survivors(made, 0.0)
    asyncio.run(log.close())
    assert files
    assert len(stored(put(files, tmp_path / "cut"))) == 1


async def test_what_was_cut_from_a_wal_does_not_come_back_beside_a_pruned_segment(tmp_path: Path) -> None:
    """Somebody read the old file, so its WAL was cut and not removed; the cut was not synced."""
    disk = SimulatedDisk()
    folder = tmp_path / "log"
    async with opened(folder, disk=disk) as log:
        await fill(log, [5])
        with closing(LogReader(folder, KEY, disk=disk)) as reader:
            reader.read(4)
            await log.roll(NOW_MS)
            await log.commit(group(log, 1, snapshot=b"s"))
            log._settle()
            about = Pruned(0, 4, "0.coldseal", "A" * 43 + "=")
            draft = pruned.write_draft(log.reader, folder, KEY, 0, about, disk=disk)
            pruned.arm(draft, KEY, log.size, disk=disk)
            reader.read(0)
            pruned.finish(draft, KEY, log.size, disk=disk)
            files = disk.survivors(folder, 0.0)
    assert files[f"{0:020d}.db-wal"] == b""
    async with opened(put(files, tmp_path / "cut")) as log:
        assert log.size == 6


async def test_a_folder_that_cannot_be_made_is_the_operators_matter(tmp_path: Path) -> None:
    """Something else has its name."""
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(OperatorError, match="cannot be used"):
        open_log(tmp_path / "data" / "log")


@pytest.mark.parametrize(
    ("error", "expected"), [(apsw.IOError, UnavailableError), (apsw.FullError, StoreFullError)]
)
async def test_a_draft_that_cannot_be_removed_is_said_as_any_fault(
    tmp_path: Path, error: type[apsw.Error], expected: type[UnavailableError]
) -> None:
    """It ended the program: the operating system's error was not one of ours."""
    disk = SimulatedDisk()
    async with opened(tmp_path / "log", disk=disk) as log:
        await fill(log, [2])
        left = tmp_path / "log" / f"{1:020d}.new"
        left.write_bytes(b"of a segment that never was")

        def refuse(name: str) -> None:
            if name == left.name:
                raise error("as asked for")

        disk.at_step = refuse
        with pytest.raises(expected):
            await log.roll(NOW_MS)
        with pytest.raises(expected):
            pruned.discard(left, disk=disk)
        disk.heal()
        await log.roll(NOW_MS)
        await fill(log, [1])
    assert len(stored(tmp_path / "log")) == 3
