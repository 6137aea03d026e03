"""Claims about budgets: room is foretold in days, scarce memory closes the doors, and each is said once."""

from __future__ import annotations

import asyncio
import io
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.gateway.budget import (
    EARLIEST_S,
    MEMORY_S,
    Growth,
    Outlook,
    Watch,
    days_left,
    memory_in_use,
    outlook_of,
)
from coldseal.gateway.store.log import Limits
from coldseal.gateway.tables.keeping import Budget
from tests.gateway.store.logs import NOW_MS, group, opened

if TYPE_CHECKING:
    from pathlib import Path

DAY_S, MIB, GIB = 86_400, 1024 * 1024, 1024**3
RATE = 500 / 60
A_DAY = 720_000
BUDGET = Budget(memory_mb=64, warn_days=7, critical_days=2)


def events_of(lines: io.StringIO) -> list[str]:
    """Name the events that were logged."""
    return [line.partition('"event":"')[2].partition('"')[0] for line in lines.getvalue().splitlines()]


def outlook(packed_days: float, *, today: float = 0, room: int = 8 * GIB) -> Outlook:
    """Give what a log takes up after some days: 154 bytes packed, 686 before."""
    whole, packed = int(today * A_DAY), int(packed_days * A_DAY)
    used = whole * 686 + packed * 154
    return Outlook(room, used, whole * 686, whole, packed * 154, packed, 1_048_576)


def test_the_default_room_lasts_for_more_than_thirty_days() -> None:
    """500 sensors, a reading a minute, 8 GiB; a day takes a day, whether it is packed or not."""
    assert 70 < days_left(outlook(1, today=0.5), RATE) < 80
    assert days_left(outlook(29), RATE) > 30
    for day in range(1, 60):
        full, half = days_left(outlook(day), RATE), days_left(outlook(day, today=0.5), RATE)
        assert full - half == pytest.approx(0.5, abs=0.1)


def test_without_a_packed_segment_a_third_is_taken() -> None:
    """Rather too much than too little."""
    assert 45 < days_left(outlook(0, today=0.5), RATE) < 55


def test_nothing_that_grows_means_no_end() -> None:
    """And so does a log without entries."""
    assert days_left(outlook(3), 0) == math.inf
    assert days_left(outlook(0), RATE) == math.inf


def test_the_last_hours_are_counted_as_they_are() -> None:
    """A day under way needs more room than a packed one: what fits now is not foretold away."""
    nearly = outlook(10, today=0.5, room=10 * A_DAY * 154 + A_DAY * 686)
    assert days_left(nearly, RATE) == pytest.approx(0.5, abs=0.01)
    assert days_left(outlook(10, room=1), RATE) == 0


@given(st.floats(0, 90), st.floats(0, 1), st.floats(0.01, 1000), st.integers(0, 100 * GIB))
def test_days_are_never_less_than_none(packed: float, today: float, rate: float, room: int) -> None:
    """Whatever is full already."""
    assert days_left(outlook(packed, today=today, room=room), rate) >= 0


def test_the_rate_is_that_of_the_last_hours() -> None:
    """Old times fade, and before ten minutes nothing is said."""
    growth, now, size = Growth(), 1_000.0, 5_000_000
    growth.look(now, size)
    assert growth.rate is None
    for _ in range(int(EARLIEST_S) - 1):
        now, size = now + 1, size + 8
        growth.look(now, size)
    assert growth.rate is None
    now, size = now + 1, size + 8
    growth.look(now, size)
    assert growth.rate == pytest.approx(8, rel=0.02)
    for _ in range(48 * 60):
        now, size = now + 60, size + 60
        growth.look(now, size)
    assert growth.rate == pytest.approx(1, rel=0.02)


class Scene:
    """A watch with hand-set surroundings."""

    def __init__(self) -> None:
        """Begin with everything in order."""
        self.memory, self.found = 10 * MIB, outlook(1)
        self.closed: list[bool] = []
        self.watch = Watch(BUDGET, memory=lambda: self.memory, close=self.closed.append)
        self.now, self.size = 0.0, 0

    def look(self, seconds: float = 60, entries: float = 500) -> None:
        """Let time pass and look."""
        self.now += seconds
        self.size += int(entries)
        self.watch.look(self.now, self.size, lambda: self.found)


def test_scarce_room_is_said_once_each_way(lines: io.StringIO) -> None:
    """Low, critical, low again only when it is clearly better, and enough."""
    scene = Scene()
    for _ in range(12):
        scene.look()
    assert events_of(lines) == []
    assert scene.watch.days_left is not None
    assert scene.watch.notes().notes == ()
    steps = ((68, "store.room-low"), (68.5, ""), (72.5, "store.room-critical"), (72.2, ""), (71.9, ""))
    better = ((70, "store.room-low"), (66.8, ""), (20, "store.room-enough"), (68, "store.room-low"))
    for days, expected in (*steps, *better):
        before = len(events_of(lines))
        scene.found = outlook(days)
        scene.look()
        assert events_of(lines)[before:] == ([expected] if expected else []), days
    assert "full in 6.0 days" in scene.watch.notes().notes[0]
    scene.found = outlook(10)
    scene.look()
    assert events_of(lines)[-1] == "store.room-enough"


def test_scarce_memory_closes_the_doors_until_there_is_more(lines: io.StringIO) -> None:
    """Said once each way; a little less than the bound is not enough to open again."""
    scene = Scene()
    for memory, closed in ((63, []), (65, [True]), (70, [True]), (63, [True]), (60, [True, False])):
        scene.memory = memory * MIB
        scene.look(MEMORY_S)
        assert scene.closed == closed
    assert events_of(lines) == ["gateway.memory-short", "gateway.memory-enough"]
    scene.memory = 70 * MIB
    scene.look(MEMORY_S / 2)
    assert scene.closed == [True, False]
    scene.look(MEMORY_S / 2)
    assert scene.watch.notes().notes == ("no new connections: budget.memory_mb is used up",)
    assert scene.watch.notes().is_good


async def test_memory_is_that_of_this_process_and_its_children() -> None:
    """A started one is counted, an ended one is not."""
    before = memory_in_use()
    assert 5 * MIB < before < 2 * GIB
    async with AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        stack.push_async_callback(process.wait)
        stack.callback(process.kill)
        assert memory_in_use() > 0


def test_a_system_that_tells_nothing_counts_as_none(tmp_path: Path) -> None:
    """Then no door is closed for it."""
    assert memory_in_use(tmp_path) == 0
    task = tmp_path / "self" / "task" / "7"
    task.mkdir(parents=True)
    (task / "children").write_text("12 13 ")
    (tmp_path / "13").mkdir()
    (tmp_path / "13" / "smaps_rollup").write_text("Rss:  9 kB\nPss:    3 kB\nPss_Dirty: 2 kB\n")
    (tmp_path / "self" / "smaps_rollup").write_text("Pss:    4 kB\n")
    assert memory_in_use(tmp_path) == 7 * 1024


async def test_the_outlook_of_a_log_tells_packed_from_whole(tmp_path: Path) -> None:
    """And the room is the limit, or what the file system has left, without the reserve."""
    async with opened(tmp_path, limits=Limits(limit_mb=100, reserve_mb=10)) as log:
        await log.commit(group(log, 600, has_checkpoint=True))
        await log.roll(NOW_MS)
        await log.commit(group(log, 40))
        before = outlook_of(log)
        assert (before.whole_entries, before.packed_entries) == (40, 0)
        assert before.room == 90 * MIB
        await log.packer.pack_all(log.make_room)
        found = outlook_of(log)
        assert (found.whole_entries, found.packed_entries) == (40, 600)
        assert found.packed_bytes < 600 * 300
        assert found.used < before.used
