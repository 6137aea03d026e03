"""Where wall time steps, or the trust in it changes, a `clock` entry explains the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import override

from coldseal.core.log.pace import Mark, between, millis
from coldseal.core.log.record import parse_entry
from coldseal.errors import UnavailableError
from coldseal.gateway.clock import Clock, KernelClock
from coldseal.gateway.store.clockwatch import STEP_MS
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.space import Limits
from tests.gateway.parts import Answers, Hands, Parts, open_parts, payload
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coldseal.core.log.record import Entry


@dataclass
class Unsteady(Hands):
    """A clock that can be set, lose its discipline, and be started anew."""

    is_disciplined: bool = True
    boot: str = "0badcafe"

    @override
    def clock(self) -> Clock:
        """Make a gateway clock that reads this one."""
        return Clock(
            kernel=lambda: KernelClock(disciplined=self.is_disciplined, offset_ms=-2, error_ms=3),
            wall_ns=lambda: self.wall_ms * 1_000_000,
            boot_ns=lambda: self.mono_ms * 1_000_000,
            boot=self.boot,
        )


def unexplained(entries: Sequence[Entry]) -> list[int]:
    """Give the entries whose time does not fit behind the one before, and that are no `clock` entry."""
    return [
        after.seq
        for before, after in pairwise(entries)
        if between(mark(before), mark(after), 0)
        or (
            after.kind != "clock"
            and before.tq["s"] != after.tq["s"]
            and before.tq["boot"] == after.tq["boot"]
        )
    ]


def mark(entry: Entry) -> Mark:
    """Give an entry's place in time, for the verifier's own rule."""
    return Mark(millis(entry.t), int(str(entry.tq["mono"])), str(entry.tq["boot"]), entry.kind)


async def submit(parts: Parts, hands: Hands, answers: Answers, *numbers: int) -> None:
    """Have readings sealed, one group."""
    for number in numbers:
        parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
    await answers.reach(len(answers.given) + len(numbers))


@pytest.mark.parametrize("step", [3_600_000, -3_600_000, STEP_MS + 1, -STEP_MS - 1])
async def test_a_step_is_sealed_before_the_first_reading_with_the_stepped_time(
    tmp_path: Path, step: int
) -> None:
    """Whoever reads on knows that an hour was set, not lost."""
    hands, answers = Unsteady(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        await submit(parts, hands, answers, 1, 2)
        hands.wall_ms += step
        await submit(parts, hands, answers, 3)
        await submit(parts, hands, answers, 4)
        parts.pipeline.stop()
        await running
        entries = parts.entries()
    assert [entry.kind for entry in entries] == ["reading", "reading", "clock", "reading", "reading"]
    assert entries[2].data == {
        "err": 3, "from": "synchronised", "off": -2, "step": step, "to": "synchronised"
    }  # fmt: skip
    assert (entries[2].t, entries[2].tq) == (entries[3].t, entries[3].tq)
    assert unexplained(entries) == []


async def test_what_moves_by_less_is_no_step(tmp_path: Path) -> None:
    """The clock is disciplined by little steps too."""
    hands, answers = Unsteady(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(5):
            await submit(parts, hands, answers, number)
            hands.wall_ms += STEP_MS
        parts.pipeline.stop()
        await running
        assert len(parts.entries("reading")) == len(parts.entries()) == 5


async def test_the_state_of_the_clock_is_sealed_when_it_changes(tmp_path: Path) -> None:
    """Also when no reading comes: a tick is enough, and says it once."""
    hands, answers = Unsteady(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        await submit(parts, hands, answers, 1)
        hands.is_disciplined = False
        hands.pass_ms(2_000)
        for _ in range(3):
            parts.pipeline.tick()
            await until(lambda: parts.log.size == 2)
        hands.is_disciplined = True
        hands.pass_ms(2_000)
        await submit(parts, hands, answers, 2)
        parts.pipeline.stop()
        await running
        entries = parts.entries()
    assert [(entry.kind, entry.data.get("from"), entry.data.get("to")) for entry in entries] == [
        ("reading", None, None),
        ("clock", "synchronised", "holdover"),
        ("clock", "holdover", "synchronised"),
        ("reading", None, None),
    ]
    assert [entry.data["step"] for entry in entries if entry.kind == "clock"] == [0, 0]


async def test_a_step_while_messages_wait_is_explained_for_each_of_them(tmp_path: Path) -> None:
    """An entry of the log's own goes first and has the newer time; what waits behind it has the older."""
    hands, answers = Unsteady(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        for number in range(300):  # more than one group takes
            parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
        hands.wall_ms += 60_000
        parts.pipeline.record("heartbeat", b"{}")
        parts.pipeline.submit(answers.to("late", payload(300), hands=hands))
        await parts.settle()
        entries = parts.entries()
    assert unexplained(entries) == []
    assert len([entry for entry in entries if entry.kind == "reading"]) == 301
    assert [entry.data["step"] for entry in entries if entry.kind == "clock"] == [-60_000, 60_000]


async def test_the_end_of_a_segment_is_explained_too_and_what_waited_behind_it(tmp_path: Path) -> None:
    """Its entry carries the moment of sealing, which is later than that of the messages."""
    hands, answers = Unsteady(), Answers()
    limits = Limits(limit_mb=64, reserve_mb=1, segment_entries=256)
    async with open_parts(tmp_path, hands, limits=limits) as parts:
        for number in range(300):
            parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
        hands.wall_ms -= 60_000
        await parts.settle()
        entries = parts.entries()
    assert unexplained(entries) == []
    assert [entry.data["step"] for entry in entries if entry.kind == "clock"] == [-60_000, 60_000]
    assert [entry.kind for entry in entries[256:259]] == ["clock", "segment", "clock"]


async def test_what_was_not_committed_is_explained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `clock` entry of a group that failed is not on disk."""
    hands, answers = Unsteady(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        commit, failures = parts.log.commit, iter([None, UnavailableError("the log", "planted")])

        async def fail_second(group: Group, *, is_own: bool = False) -> None:
            if (error := next(failures, None)) is not None:
                raise error
            await commit(group, is_own=is_own)

        monkeypatch.setattr(parts.log, "commit", fail_second)
        running = asyncio.create_task(parts.pipeline.run())
        await submit(parts, hands, answers, 1)
        hands.wall_ms += 5_000
        await submit(parts, hands, answers, 2)
        await submit(parts, hands, answers, 2)
        parts.pipeline.stop()
        await running
        entries = parts.entries()
    assert [entry.kind for entry in entries] == ["reading", "clock", "reading"]


@pytest.mark.parametrize(("boot", "kinds"), [("0badcafe", ["clock"]), ("00c0ffee", [])])
async def test_a_step_while_the_program_was_down_is_seen_unless_the_machine_was_started_anew(
    tmp_path: Path, boot: str, kinds: list[str]
) -> None:
    """In one boot the boot clock went on counting; of another one it says nothing."""
    hands, answers = Unsteady(), Answers()
    found: list[str] = []
    for number in range(2):
        async with open_parts(tmp_path, hands) as parts:
            running = asyncio.create_task(parts.pipeline.run())
            await submit(parts, hands, answers, number)
            parts.pipeline.stop()
            await running
            found = [entry.kind for entry in parts.entries()]
        hands.pass_ms(10_000)
        hands.wall_ms += 7_000
        hands.boot = boot
    assert found == ["reading", *kinds, "reading"]


DEEDS = st.sampled_from(["step", "message", "own", "tick", "run", "lose"])


@given(st.lists(st.tuples(DEEDS, st.integers(-2000, 2000)), max_size=40))
@example([("message", 0), ("step", 1), ("own", 0), ("run", 0), ("step", 250), ("message", 0)])
@example(
    [
        *(("message", 0), ("step", 251), ("message", 0), ("message", 0), ("own", 0), ("run", 0)),
        *(("message", 0), ("tick", 1000), ("lose", 0)),
    ]
)
def test_whatever_happens_no_time_is_left_unexplained(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, int]]
) -> None:
    """Steps, messages, ticks and changes of state, in any order."""
    entries = asyncio.run(_play(tmp_path_factory.mktemp("log"), deeds))
    assert unexplained(entries) == []


async def _play(folder: Path, deeds: list[tuple[str, int]]) -> list[Entry]:
    """Do as told; gives all entries."""
    hands, answers = Unsteady(), Answers()
    limits = Limits(limit_mb=64, reserve_mb=1, segment_entries=7)
    async with open_parts(folder, hands, limits=limits) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number, (deed, span) in enumerate(deeds):
            pipeline: Any = parts.pipeline
            if deed == "step":
                hands.wall_ms += span
            elif deed == "message":
                pipeline.submit(answers.to(str(number), payload(number), hands=hands))
            elif deed == "own":
                pipeline.record("heartbeat", b"{}")
            elif deed == "tick":
                hands.pass_ms(abs(span))
                pipeline.tick()
            elif deed == "lose":
                hands.is_disciplined = not hands.is_disciplined
            else:
                await asyncio.sleep(0.001)
        parts.pipeline.stop()
        await running
        return [parse_entry(raw) for raw in parts.log.reader.read_from(0)]
