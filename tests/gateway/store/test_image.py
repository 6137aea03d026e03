"""An image of a log is what a power cut would leave: it opens, with all that was there when it was begun."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from coldseal.errors import UnavailableError
from coldseal.gateway.store.image import take_image
from coldseal.gateway.store.log import Limits
from tests.gateway.store.logs import KEY, NOW_MS, fill, open_log, opened

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.log import Log

LIMITS = Limits(reserve_mb=0, wal_mb=0)


async def keep_busy(log: Log, commits: int) -> None:
    """Commit and roll, as fast as it goes, with the WAL copied at once."""
    upkeep = asyncio.ensure_future(log.maintain())
    for number in range(commits):
        await fill(log, [40])
        if number % 20 == 19:
            await log.roll(NOW_MS)
    upkeep.cancel()
    with suppress(asyncio.CancelledError):
        await upkeep


async def test_an_image_taken_under_load_opens_and_has_what_was_there_before(tmp_path: Path) -> None:
    """Again and again, in a thread beside the commits, the upkeep and the ends of segments."""
    async with opened(tmp_path / "log", limits=LIMITS) as log:
        await fill(log, [3])
        busy = asyncio.ensure_future(keep_busy(log, 40))
        images: list[tuple[int, Path, int]] = []
        while not busy.done():
            size, target = log.size, tmp_path / f"image{len(images)}"
            target.mkdir()
            count = await asyncio.to_thread(take_image, tmp_path / "log", target, KEY)
            images.append((size, target, count))
        await busy
        entries = list(log.reader.read_from(0))
    assert len(images) > 1
    for size, target, count in images:
        assert count > 0
        image = open_log(target)
        held = list(image.reader.read_from(0))
        assert len(held) >= size
        assert held == entries[: len(held)]
        await image.close()


async def test_the_newest_segments_can_be_had_alone(tmp_path: Path) -> None:
    """Of a log that was closed in order: its WAL is empty."""
    async with opened(tmp_path / "log") as log:
        await fill(log, [3])
        await log.roll(NOW_MS)
        await fill(log, [2])
    (tmp_path / "image").mkdir()
    take_image(tmp_path / "log", tmp_path / "image", KEY, newest=1)
    found = {path.name: path.stat().st_size for path in (tmp_path / "image").iterdir()}
    assert sorted(found) == [f"{3:020}.db", f"{3:020}.db-wal", "head"]
    assert found[f"{3:020}.db-wal"] == 0


def test_a_log_that_is_not_there_has_no_image(tmp_path: Path) -> None:
    """Said as such."""
    with pytest.raises(UnavailableError, match="No such file"):
        take_image(tmp_path / "log", tmp_path, KEY)
