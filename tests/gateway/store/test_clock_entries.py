"""What a log says of its clock: flags, who time came from, and the correction of a boot in 1970."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from typing_extensions import override

from coldseal.core.log.corrections import Corrections
from coldseal.core.timekeeping import Demands, Report, is_beyond
from coldseal.gateway.clock import Clock, KernelClock
from coldseal.gateway.store.log import Limits
from coldseal.gateway.store.pruned import Pruned, arm, finish, write_draft
from coldseal.gateway.store.reader import LogReader
from tests.gateway.parts import KEY, Answers, Hands, faults_of, open_parts, payload

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.log.record import Entry
    from tests.gateway.parts import Parts

REPORT = Report("chrony", "192.0.2.7", "nts", 0, 3, "normal", "1")
DAWN_MS = 12_345
NOON_MS = 1_800_000_000_000


@dataclass
class Served(Hands):
    """Hands whose clock hears a time service."""

    boot: str = "0badcafe"
    report: Report | None = None
    made: Clock | None = None

    @override
    def clock(self) -> Clock:
        """Make the clock, which has heard the service."""
        self.made = Clock(
            kernel=lambda: KernelClock(disciplined=True, offset_ms=0, error_ms=1),
            wall_ns=lambda: self.wall_ms * 1_000_000,
            boot_ns=lambda: self.mono_ms * 1_000_000,
            boot=self.boot,
            demands=Demands(is_authenticated=True),
        )
        self.made.follow(self.report)
        return self.made

    def hear(self, report: Report | None) -> None:
        """Let the clock hear something else."""
        assert self.made is not None
        self.report = report
        self.made.follow(report)


async def take(parts: Parts, hands: Hands, answers: Answers, *numbers: int) -> None:
    """Have readings sealed, one group."""
    for number in numbers:
        parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
    await answers.reach(len(answers.given) + len(numbers))


def time_faults(parts: Parts) -> list[str]:
    """Verify the log; that nobody has witnessed it is no fault here."""
    return [each for each in faults_of(parts) if each not in {"not-witnessed", "tail-not-anchored"}]


def flags(entry: Entry) -> object:
    """Give the flags of a reading."""
    return entry.data.get("flags")


async def test_every_reading_beyond_a_second_is_flagged_and_no_other(tmp_path: Path) -> None:
    """The flag says what `tq` of the same entry says, whatever the service told meanwhile."""
    hands, answers = Served(report=REPORT), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number, offset_ms in enumerate((0, 500, 1_100, -3_500, 997, 998, 3_600_000, -500)):
            hands.hear(replace(REPORT, offset_ms=offset_ms, update=str(number)))
            hands.pass_ms(1)
            await take(parts, hands, answers, 2 * number)
            hands.hear(None if number == 4 else hands.report)
            await take(parts, hands, answers, 2 * number + 1)
        parts.pipeline.stop()
        await running
        readings = parts.entries("reading")
        assert time_faults(parts) == []
    assert len(readings) == 16
    for entry in readings:
        off, err = int(str(entry.tq["off"])), int(str(entry.tq["err"]))
        assert flags(entry) == (["clock"] if is_beyond(off, err) else None)
    assert sum(flags(entry) is not None for entry in readings) == 8


async def test_a_flag_joins_those_that_the_values_raise(tmp_path: Path) -> None:
    """One list, sorted."""
    hands, answers = Served(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        parts.pipeline.submit(answers.to("hot", payload(1, "900"), hands=hands))
        await answers.reach(1)
        parts.pipeline.stop()
        await running
        (reading,) = parts.entries("reading")
    assert flags(reading) == ["clock", "implausible"]


async def test_a_change_of_state_says_who_time_came_from(tmp_path: Path) -> None:
    """And by which authentication; a silent service is nobody."""
    hands, answers = Served(report=REPORT), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        await take(parts, hands, answers, 1)
        for number, report in enumerate((None, REPORT, replace(REPORT, authentication="none")), 2):
            hands.hear(report)
            hands.pass_ms(1)
            await take(parts, hands, answers, number)
        parts.pipeline.stop()
        await running
        found = [entry.data for entry in parts.entries("clock")]
        assert time_faults(parts) == []
    assert [(data["to"], data["auth"], data["service"], data["source"]) for data in found] == [
        ("holdover", "none", "", ""),
        ("synchronised", "nts", "chrony", "192.0.2.7"),
        ("unsynchronised", "none", "chrony", "192.0.2.7"),
    ]
    assert [data.get("first") for data in found] == [None, 0, None]


async def test_a_boot_in_1970_keeps_its_readings_and_a_later_entry_corrects_their_times(
    tmp_path: Path,
) -> None:
    """Taken in, flagged, in order by the boot clock; the verifier finds no fault in such a log."""
    hands, answers = Served(report=REPORT), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        await take(parts, hands, answers, 1, 2)
        parts.pipeline.stop()
        await running
    reborn = Served(wall_ms=DAWN_MS, mono_ms=2_000, boot="feedbeef")
    async with open_parts(tmp_path, reborn) as parts:
        start = parts.journal.draft("boot", b"{}", reborn.clock().now())
        await parts.journal.append([start], bytes)
        running = asyncio.create_task(parts.pipeline.run())
        await take(parts, reborn, answers, 3, 4)
        parts.pipeline.stop()
        await running
    reborn.pass_ms(10_000)
    async with open_parts(tmp_path, reborn) as parts:  # the program is started again in the same boot
        running = asyncio.create_task(parts.pipeline.run())
        await take(parts, reborn, answers, 5)
        reborn.wall_ms += NOON_MS - DAWN_MS
        await take(parts, reborn, answers, 6)
        reborn.hear(REPORT)
        reborn.pass_ms(1_000)
        await take(parts, reborn, answers, 7)
        parts.pipeline.stop()
        await running
        entries = parts.entries()
        assert time_faults(parts) == []
    early = [entry for entry in entries if entry.kind == "reading" and entry.t.startswith("1970")]
    assert [entry.src["seq"] for entry in early] == [3, 4, 5]
    assert all(flags(entry) == ["clock"] for entry in early)
    boot = next(entry for entry in entries if entry.kind == "boot")
    step, synchronised = (entry for entry in entries if entry.kind == "clock")
    assert step.data["step"] == NOON_MS - DAWN_MS
    assert "first" not in step.data
    assert synchronised.data["first"] == boot.seq
    corrections = Corrections()
    for entry in entries:
        corrections.take(entry)
    found = [corrections.of(entry) for entry in early]
    assert [each.t for each in found if each] == [
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:10.000Z",
    ]
    assert [each.error_ms for each in found if each] == [8, 8, 3]
    assert flags(entries[-1]) is None


@pytest.mark.parametrize("before", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("since", [1, 2, 3, 7])
async def test_the_first_entry_of_a_boot_is_found_again(tmp_path: Path, before: int, since: int) -> None:
    """However many others there were before, and since."""
    hands = Served()
    for boot, count in (("0badcafe", before), ("feedbeef", since)):
        hands, answers = Served(boot=boot), Answers()
        async with open_parts(tmp_path, hands) as parts:
            running = asyncio.create_task(parts.pipeline.run())
            for number in range(count):
                await take(parts, hands, answers, 100 * (boot == "feedbeef") + number)
            parts.pipeline.stop()
            await running
    async with open_parts(tmp_path, hands) as parts:
        assert parts.journal._boot_first == before


async def test_what_was_pruned_of_a_boot_is_not_looked_for(tmp_path: Path) -> None:
    """The range of a correction begins with what is still here."""
    hands, answers = Served(), Answers()
    limits = Limits(limit_mb=64, reserve_mb=1, segment_entries=4)
    async with open_parts(tmp_path, hands, limits=limits, snapshot_entries=2) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(10):
            await take(parts, hands, answers, number)
        parts.pipeline.stop()
        await running
        (_, end, _), *_ = parts.log.reader.closed_segments()
        size = parts.log.size
    with closing(LogReader(tmp_path, KEY)) as reader:
        draft = write_draft(reader, tmp_path, KEY, 0, Pruned(0, end - 1, "archive", "A" * 44))
    arm(draft, KEY, size)
    finish(draft, KEY, size)
    async with open_parts(tmp_path, hands, limits=limits) as parts:
        assert parts.journal._boot_first == end


async def test_messages_that_came_in_one_read_share_what_is_said_of_their_time(tmp_path: Path) -> None:
    """Their stamp, their `tq` and their flag: also where the clock changes its mind between two of them."""
    hands, answers = Served(report=replace(REPORT, offset_ms=5_000)), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        first, second = (answers.to(str(n), payload(n), hands=hands) for n in (1, 2))
        parts.pipeline.submit(first)
        hands.hear(replace(REPORT, update="2"))
        parts.pipeline.submit(msgspec.structs.replace(second, received=first.received))
        await answers.reach(2)
        parts.pipeline.stop()
        await running
        found = [(entry.tq["off"], flags(entry)) for entry in parts.entries("reading")]
    assert found == [(5_000, ["clock"])] * 2
