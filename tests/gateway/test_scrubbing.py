"""The whole log is read again beside its writer: what is sound passes, what is damaged is named once."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import pytest

from coldseal.errors import UnavailableError
from coldseal.gateway import scrubbing as scrubbing_module
from coldseal.gateway.app import Gateway
from coldseal.gateway.recovery import recover
from coldseal.gateway.replacing import DAMAGED
from coldseal.gateway.scrubbing import Scrubbing, scrub
from coldseal.gateway.store.database import StoreDamagedError, close_final, open_database
from coldseal.gateway.store.segments import wal_path
from coldseal.gateway.writer import Run
from tests.gateway.wrecks import STORE_KEY, Wreck, blank, flip, make_wreck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUPS = (50, 1, 200, 3, 300, 2, 100, 5, 600, 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """A log of three segments, closed in order."""
    folder = tmp_path_factory.mktemp("whole") / "gw"
    return asyncio.run(make_wreck(folder, GROUPS, rolls=(2, 4), is_settled=True))


@pytest.fixture
def wreck(whole: Wreck, tmp_path: Path) -> Wreck:
    """A copy of it."""
    return whole.copy(tmp_path / "gw")


def scrubbing(wreck: Wreck, damaged: list[int | None], done: list[int]) -> Scrubbing:
    """Give what reads a log again and writes down what it tells."""
    return Scrubbing(wreck.store, STORE_KEY, 0, damaged=damaged.append, done=done.append)


async def test_a_sound_log_is_read_to_its_end(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    """And it is said."""
    damaged: list[int | None] = []
    done: list[int] = []
    assert await scrubbing(wreck, damaged, done).round(0)
    assert (damaged, done) == ([], [wreck.log.size])
    assert json.loads(capsys.readouterr().err)["entries"] == wreck.log.size


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_damage_is_told_once_with_its_first_seq(wreck: Wreck, number: int) -> None:
    """In closed segments and in the one that is written; then it is left to a person, or the next start."""
    flip(wreck.segment(number), wreck.segment(number).stat().st_size // 2)
    damaged: list[int | None] = []
    done: list[int] = []
    running = asyncio.ensure_future(scrubbing(wreck, damaged, done).run(first_s=0, pause_s=0))
    await running
    assert done == []
    (seq,) = damaged
    ends = [*wreck.starts[1:], wreck.log.size]
    assert seq is not None
    assert wreck.starts[number] <= seq < ends[number]


async def test_rounds_follow_each_other(wreck: Wreck) -> None:
    """Until it is cancelled."""
    done: list[int] = []
    two = asyncio.Event()

    def count(size: int) -> None:
        done.append(size)
        if len(done) == 2:
            two.set()

    found = Scrubbing(wreck.store, STORE_KEY, 0, damaged=lambda _seq: None, done=count)
    running = asyncio.ensure_future(found.run(first_s=0, pause_s=0))
    await two.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert done[:2] == [wreck.log.size] * 2


async def test_a_log_with_stated_holes_is_not_told_again(wreck: Wreck) -> None:
    """The log says it already; the rest of it is still read."""
    flip(wreck.segment(1), 100_000)
    await recover(wreck.config)
    async with Run.open(wreck.config):
        pass
    damaged: list[int | None] = []
    done: list[int] = []
    assert await scrubbing(wreck, damaged, done).round(0)
    assert damaged == []
    assert done[0] > wreck.log.size


async def test_a_log_that_cannot_be_read_now_waits_for_the_next_round(tmp_path: Path) -> None:
    """Nothing is said of it."""
    damaged: list[int | None] = []
    found = Scrubbing(tmp_path / "nowhere", STORE_KEY, 0, damaged=damaged.append, done=lambda _size: None)
    assert await found.round(0)
    assert damaged == []
    with pytest.raises(UnavailableError):
        next(scrub(tmp_path / "nowhere", STORE_KEY))


async def test_a_segment_that_has_just_ended_is_read_beside_its_writer(wreck: Wreck, tmp_path: Path) -> None:
    """It still has a WAL; links and roots are held against each other all the same."""
    crashed = await make_wreck(tmp_path / "crashed", GROUPS, rolls=(2, 4))
    wal_path(crashed.segment(1)).write_bytes(crashed.wal.read_bytes()[:32])
    assert list(scrub(crashed.store, STORE_KEY))[-1] == crashed.log.size
    flip(crashed.segment(1), 100_000)
    with pytest.raises(StoreDamagedError) as caught:
        list(scrub(crashed.store, STORE_KEY))
    assert caught.value.seq is not None
    assert crashed.starts[1] <= caught.value.seq < crashed.starts[2]
    assert list(scrub(wreck.store, STORE_KEY))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE groups SET entries = (SELECT entries FROM groups WHERE first = 657) WHERE first = 658",
            "chain",
        ),
        (
            "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 661) WHERE size > 661",
            "root",
        ),
    ],
)
async def test_what_was_changed_with_the_key_is_found_in_the_last_segment(
    wreck: Wreck, statement: str, said: str
) -> None:
    """The pages' own check holds there."""
    connection = open_database(wreck.last, STORE_KEY)
    for name in ("groups_update", "checkpoints_update"):
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    close_final(connection)
    with pytest.raises(StoreDamagedError, match=said):
        list(scrub(wreck.store, STORE_KEY))


async def test_whoever_is_cancelled_waits_for_the_part_that_is_being_read(
    wreck: Wreck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its files would be closed under it."""
    began, may_end = threading.Event(), threading.Event()

    def slow(_folder: Path, _key: bytes) -> Iterator[int]:
        began.set()
        may_end.wait(10)
        yield 1

    monkeypatch.setattr(scrubbing_module, "scrub", slow)
    running = asyncio.ensure_future(scrubbing(wreck, [], []).round(0))
    await asyncio.to_thread(began.wait, 10)
    running.cancel()
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert may_end.is_set()


async def test_a_damaged_head_is_damage(wreck: Wreck) -> None:
    """Without a seq."""
    blank(wreck.store / "head", 0)
    blank(wreck.store / "head", 4096)
    with pytest.raises(StoreDamagedError, match="neither of its two slots"):
        list(scrub(wreck.store, STORE_KEY))


async def test_a_running_gateway_shows_what_was_found_and_leaves_word(wreck: Wreck) -> None:
    """It goes on; the mark is for the next start."""
    (wreck.folder / "passwords").write_text("# nobody yet\n")
    (wreck.folder / "passwords").chmod(0o600)
    gateway = await Gateway.open(wreck.config, [])
    try:
        gateway._note_sound(7)
        gateway._note_damage(3)
        assert gateway._metrics.store_damaged._value.get() == 1
        assert (wreck.folder / "data" / DAMAGED).read_text() == "3"
    finally:
        await gateway.close()
