"""Groups that are under way together: sealed beside the intake, committed in order, void behind a failure."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.message import Outcome
from coldseal.gateway.pipeline import AHEAD
from coldseal.gateway.store import beside as module
from coldseal.gateway.store import sealing
from coldseal.gateway.store.beside import SealingProcess
from coldseal.gateway.store.drafts import Task
from coldseal.gateway.store.sealing import INLINE_LIMIT, MUCH
from coldseal.gateway.store.sealing_process import pack, serve
from coldseal.signing.keys import write_private_key
from tests.gateway.parts import KEYS, Answers, Hands, faults_of, open_parts, payload
from tests.sealed import key_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from coldseal.gateway.store.drafts import Draft
    from coldseal.gateway.store.journal import Handed
    from coldseal.gateway.store.log import Group

SEALED, DUPLICATE, REJECTED, REFUSED, BUSY, _LIMITED = Outcome


@contextlib.contextmanager
def sealing_process(folder: Path, *, is_each_signed: bool = True) -> Iterator[SealingProcess]:
    """Make the process beside, with the record key of the tests."""
    write_private_key(folder / "record.pem", key_of(KEYS.record))
    beside = SealingProcess("file:record.pem", folder, is_each_signed=is_each_signed)
    try:
        yield beside
    finally:
        beside.close()


async def ready(beside: SealingProcess) -> None:
    """Start it and wait until it takes tasks."""

    def is_ready() -> bool:
        beside.wake()
        return beside.is_ready

    await until(is_ready)


def runs(beside: SealingProcess) -> bool:
    """Whether there is a process."""
    return beside.pid is not None


@pytest.mark.parametrize("mode", ["record", "checkpoint"])
async def test_the_process_beside_seals_the_same_log_and_its_death_loses_nothing(
    tmp_path: Path, mode: str
) -> None:
    """Large groups go through it; what it had when it died is sealed within, and it is started again."""
    hands, answers = Hands(), Answers()
    with sealing_process(tmp_path, is_each_signed=mode == "record") as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside, mode=mode) as parts:
            running = asyncio.create_task(parts.pipeline.run())
            for turn in range(4):
                if turn in {1, 3}:
                    await ready(beside)
                if turn == 1:
                    os.kill(beside.pid or 0, signal.SIGSTOP)
                for number in range(turn * 1000, turn * 1000 + 1000):
                    parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
                if turn == 1:
                    await until(lambda: len(parts.pipeline._under_way) == AHEAD)
                    os.kill(beside.pid or 0, signal.SIGKILL)
                await answers.reach(turn * 1000 + 1000)
            parts.pipeline.stop()
            await running
            assert [entry.src["seq"] for entry in parts.entries("reading")] == list(range(4000))
            assert faults_of(parts, mode) in ([], ["tail-not-anchored"])
            assert beside.restarts == 1
    assert {outcome for _, outcome in answers.outcomes} == {SEALED}


async def test_what_is_under_way_while_a_commit_fails_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was chained to entries that never reached the disk."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            journal, now = parts.journal, hands.clock().now()
            await ready(beside)

            async def fail(group: Group, *, is_own: bool = False) -> None:
                raise UnavailableError("the log", f"planted for {len(group.entries)} entries, {is_own=}")

            one = [journal.draft("heartbeat", b"{}", now)]
            many = one * 20
            first, behind, last = (journal.hand_over(drafts, bytes) for drafts in (one, many, many))
            monkeypatch.setattr(parts.log, "commit", fail)
            with pytest.raises(UnavailableError, match="planted"):
                await journal.commit(first)
            for void in (behind, last):
                with pytest.raises(UnavailableError, match="the group before"):
                    await journal.commit(void)
            assert journal.checkpoint_age_s(now) == 0
            monkeypatch.undo()
            for drafts in (many, one, many):  # within the process beside, behind it, and with it again
                await journal.commit(journal.hand_over(drafts, bytes))
            assert [entry.seq for entry in parts.entries()] == list(range(41))
            assert beside.restarts == 0


async def test_messages_under_way_are_given_back_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed commit their redelivery is new, and no sequence seems to go back."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        commit, gate = parts.log.commit, asyncio.Event()

        async def fail_once(group: Group, *, is_own: bool = False) -> None:
            if gate.is_set():
                await commit(group, is_own=is_own)
            else:
                await gate.wait()
                raise UnavailableError("the log", "planted")

        monkeypatch.setattr(parts.log, "commit", fail_once)
        running = asyncio.create_task(parts.pipeline.run())
        for groups in (1, 2, 3):
            for number in range(groups * 40 - 40, groups * 40):
                parts.pipeline.submit(answers.to("first", payload(number), hands=hands))
            while len(parts.pipeline._under_way) < groups:  # noqa: ASYNC110 # it sets no event of ours
                await asyncio.sleep(0)
        gate.set()
        await answers.reach(120)
        for number in range(120):
            parts.pipeline.submit(answers.to("again", payload(number), hands=hands, redelivered=True))
        parts.pipeline.stop()
        await running
        readings = parts.entries("reading")
    assert answers.outcomes == [("first", BUSY)] * 120 + [("again", SEALED)] * 120
    assert [entry.src["seq"] for entry in readings] == list(range(120))
    assert [entry for entry in readings if "flags" in entry.data] == []


async def test_what_waits_behind_a_failed_commit_is_given_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redelivery of what failed was no duplicate after all, and what follows is not sealed before it.

    A device that lost its connection repeats what is under way; that fails. Answered as a duplicate, it would
    be forgotten by the device, and be nowhere.
    """
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        commit, began, gate = parts.log.commit, asyncio.Event(), asyncio.Event()

        async def fail_once(group: Group, *, is_own: bool = False) -> None:
            if gate.is_set():
                await commit(group, is_own=is_own)
            else:
                began.set()
                await gate.wait()
                raise UnavailableError("the log", "planted")

        monkeypatch.setattr(parts.log, "commit", fail_once)
        running = asyncio.create_task(parts.pipeline.run())
        parts.pipeline.submit(answers.to("first", payload(1), hands=hands))
        await began.wait()
        parts.pipeline.submit(answers.to("repeated", payload(1), hands=hands, redelivered=True))
        parts.pipeline.submit(answers.to("next", payload(2), hands=hands))
        gate.set()
        await answers.reach(3)
        for number in (1, 2):
            parts.pipeline.submit(answers.to("again", payload(number), hands=hands, redelivered=True))
        parts.pipeline.stop()
        await running
        readings = parts.entries("reading")
    busy = [("first", BUSY), ("repeated", BUSY), ("next", BUSY)]
    assert answers.outcomes == [*busy, ("again", SEALED), ("again", SEALED)]
    assert [entry.src["seq"] for entry in readings] == [1, 2]


async def test_a_few_messages_wait_for_the_commit_under_way_and_share_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk is not asked once for each of them."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        commit, gate, sizes = parts.log.commit, asyncio.Event(), []

        async def slow(group: Group, *, is_own: bool = False) -> None:
            sizes.append(len(group.entries))
            await gate.wait()
            await commit(group, is_own=is_own)

        monkeypatch.setattr(parts.log, "commit", slow)
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(10):
            parts.pipeline.submit(answers.to("x", payload(number), hands=hands))
            await until(lambda: len(sizes) == 1)
        gate.set()
        await answers.reach(10)
        parts.pipeline.stop()
        await running
    assert sizes[:2] == [1, 9]


async def test_what_cannot_be_sealed_beside_is_an_error_of_its_group(tmp_path: Path) -> None:
    """The process dies of it, the intake finds out why, and the next group is sealed all the same."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            journal, now = parts.journal, hands.clock().now()
            await ready(beside)
            long = journal.draft("heartbeat", b'{"x":"%b"}' % bytes(b"x" * 65_535), now)
            good = [journal.draft("heartbeat", b"{}", now)] * 20
            with pytest.raises(InputError, match="65535 bytes"):
                await journal.commit(journal.hand_over([long] * 20, bytes))
            await journal.commit(journal.hand_over(good, bytes))
            assert [entry.seq for entry in parts.entries()] == list(range(20))
            assert beside.restarts == 1


async def test_more_than_the_socket_takes_goes_in_parts(tmp_path: Path) -> None:
    """Both ways: tasks and answers of megabytes arrive whole, in order."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            journal, now = parts.journal, hands.clock().now()
            await ready(beside)
            large = [journal.draft("heartbeat", b'{"x":"%b"}' % bytes(b"x" * 60_000), now)] * 20
            for handed in [journal.hand_over(large, bytes) for _ in range(3)]:
                await journal.commit(handed)
            assert [len(entry.raw) > 60_000 for entry in parts.entries()] == [True] * 60


async def test_a_process_that_cannot_start_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is gone meanwhile: each group is sealed within, and it is not tried again at once."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            await ready(beside)
            (tmp_path / "record.pem").unlink()
            os.kill(beside.pid or 0, signal.SIGKILL)
            await until(lambda: not runs(beside))
            journal, now = parts.journal, hands.clock().now()
            many = [journal.draft("heartbeat", b"{}", now)] * 20
            await journal.commit(journal.hand_over(many, bytes))
            assert not runs(beside)
            monkeypatch.setattr(module, "AGAIN_S", 0.0)
            await journal.commit(journal.hand_over(many, bytes))
            assert runs(beside)
            await until(lambda: not runs(beside))
            await journal.commit(journal.hand_over(many, bytes))
            assert [entry.seq for entry in parts.entries()] == list(range(60))
            assert beside.restarts == 2


async def test_one_large_group_now_and_then_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sealed where it is; the next one starts the process if it comes soon enough behind it."""
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", Hands(), beside=beside) as parts:
            journal = parts.journal
            large = [journal.draft("heartbeat", b"{}", Hands().clock().now())] * (INLINE_LIMIT + 1)
            for soon_s, is_started in ((0.0, False), (0.0, False), (float("inf"), True)):
                monkeypatch.setattr(sealing, "SOON_S", soon_s)
                await journal.commit(journal.hand_over(large, bytes))
                assert runs(beside) is is_started
            assert len(parts.entries()) == 3 * len(large)


async def test_the_process_is_started_by_much_to_seal_and_ended_when_there_is_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That group does not wait for it; a gateway with little to do spares its memory."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            journal, now = parts.journal, hands.clock().now()
            few = [journal.draft("heartbeat", b"{}", now)] * INLINE_LIMIT
            await journal.commit(journal.hand_over(few, bytes))
            assert not runs(beside)
            many = few * (MUCH // INLINE_LIMIT + 1)
            await journal.commit(journal.hand_over(many, bytes))
            assert (runs(beside), beside.is_ready) == (True, False)
            await until(lambda: beside.is_ready)
            handed = journal.hand_over(many, bytes)
            monkeypatch.setattr(module, "REST_S", 0.0)
            beside.rest()
            assert beside.is_ready, "it has something to do"
            await journal.commit(handed)
            beside.rest()
            assert (runs(beside), beside.is_ready, beside.restarts) == (False, False, 0)
            await journal.commit(journal.hand_over(many, bytes))
            assert [entry.seq for entry in parts.entries()] == list(range(INLINE_LIMIT + 3 * len(many)))


async def test_a_process_that_died_unnoticed_costs_nothing_but_the_hand_over(tmp_path: Path) -> None:
    """The socket refuses the task, then reading tells that it has ended."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            await ready(beside)
            process = beside._process
            assert process is not None
            process.kill()
            process.wait()
            journal, now = parts.journal, hands.clock().now()
            await journal.commit(journal.hand_over([journal.draft("heartbeat", b"{}", now)] * 20, bytes))
            assert [entry.seq for entry in parts.entries()] == list(range(20))
            assert beside.restarts == 1


async def test_a_group_that_is_waited_for_while_one_before_it_fails_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries never come."""
    hands = Hands()
    with sealing_process(tmp_path) as beside:
        async with open_parts(tmp_path / "log", hands, beside=beside) as parts:
            await ready(beside)
            journal, now = parts.journal, hands.clock().now()
            few = [journal.draft("heartbeat", b"{}", now)]

            async def fail(_group: Group, *, is_own: bool = False) -> None:
                raise UnavailableError("the log", f"planted, {is_own=}")

            os.kill(beside.pid or 0, signal.SIGSTOP)
            first = journal.hand_over(few, bytes)
            waited = asyncio.ensure_future(journal.commit(journal.hand_over(few * 20, bytes)))
            await asyncio.sleep(0)
            monkeypatch.setattr(parts.log, "commit", fail)
            with pytest.raises(UnavailableError, match="planted"):
                await journal.commit(first)
            with pytest.raises(UnavailableError, match="begun anew"):
                await waited
            monkeypatch.undo()
            os.kill(beside.pid or 0, signal.SIGCONT)
            await journal.commit(journal.hand_over(few * 20, bytes))
            assert [entry.seq for entry in parts.entries()] == list(range(20))


def test_the_process_ends_with_a_task_that_is_cut_and_refuses_one_without_a_chain() -> None:
    """The intake died while it wrote; or it is not ours."""
    task = pack(msgspec.msgpack.encode(Task(None, [])))
    out = io.BytesIO()
    serve(io.BytesIO(task[:-1]), out, KEYS.record.sign, is_each_signed=True)
    assert out.getvalue() == pack(b""), "it said that it was ready, and nothing else"
    with pytest.raises(RuntimeError, match="must bring a chain"):
        serve(io.BytesIO(task), io.BytesIO(), KEYS.record.sign, is_each_signed=True)


async def test_an_idle_pipeline_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One group for what came, one for each tick, and nothing by itself."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        hand_over, handed = parts.journal.hand_over, []

        def count(drafts: Sequence[Draft], snapshot: Callable[[], bytes], *, is_own: bool = False) -> Handed:
            handed.append(len(drafts))
            return hand_over(drafts, snapshot, is_own=is_own)

        monkeypatch.setattr(parts.journal, "hand_over", count)
        running = asyncio.create_task(parts.pipeline.run())
        parts.pipeline.submit(answers.to("x", payload(1), hands=hands))
        await answers.reach(1)
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert handed == [1]
        parts.pipeline.tick()
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert handed == [1, 0]
        parts.pipeline.stop()
        await running
