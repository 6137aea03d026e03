"""Claims about keys of files given to a process beside the intake: of its own files, never the store key."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway import handing
from coldseal.gateway.handing import Handed, Handout
from coldseal.gateway.store.file_keys import file_key
from tests.trial import STORE_KEY
from tests.waiting import until

GONE = r"does not give it|has ended"
SEGMENT = Path("log/00000000000000000042.db")
OWN = Path("uplink.db")


@pytest.fixture
async def handout() -> AsyncIterator[Handout]:
    """Give what answers a process whose own file is uplink.db."""
    made = Handout(STORE_KEY, {"uplink"}, part="uplink")
    yield made
    made.close()


@pytest.fixture
async def handed(handout: Handout) -> AsyncIterator[Handed]:
    """Give the process's end."""
    with closing(Handed(handout.open())) as made:
        yield made


async def ask(handed: Handed, path: Path) -> bytes:
    """Ask from a thread, as a process of its own would wait."""
    return await asyncio.to_thread(handed, path)


async def test_each_file_of_the_log_and_its_own_are_given(handed: Handed) -> None:
    """The keys are those that the intake opens the same files with."""
    for path in (SEGMENT, OWN, SEGMENT.with_suffix(".new")):
        assert await ask(handed, path) == file_key(STORE_KEY, path)


@pytest.mark.parametrize(
    "path",
    ["broker.db", "counter.db", "routes.db", "0.db", "x" * 300 + ".db", "00000000000000000042x.db", "é.db"],
)
async def test_any_other_file_is_refused_and_told_once(
    handed: Handed, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """Whoever has taken the uplink over does not come to the sessions by asking, nor fill the log with it."""
    for _ in range(3):
        with pytest.raises(UnavailableError, match="the gateway refuses it"):
            await ask(handed, Path(path))
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["process"]) == ("store.key-refused", "uplink")
    assert await ask(handed, OWN) == file_key(STORE_KEY, OWN)


async def test_many_threads_each_get_the_key_that_they_asked_for(handed: Handed) -> None:
    """Disk threads open files beside the loop."""
    paths = [Path(f"{number:020d}.db") for number in range(200)]
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(8) as pool:
        found = await asyncio.gather(*(loop.run_in_executor(pool, handed, path) for path in paths))
    assert found == [file_key(STORE_KEY, path) for path in paths]


async def test_without_the_intake_there_is_no_key(handout: Handout, handed: Handed) -> None:
    """It has ended; so will the process, and it says why."""
    handout.close()
    with pytest.raises(UnavailableError, match=GONE):
        handed(SEGMENT)


async def test_a_busy_intake_is_waited_for_and_not_for_ever(
    handout: Handout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that came later would be taken for the next file's: so nothing more is asked there."""
    monkeypatch.setattr(handing, "PATIENCE_S", 0.01)
    with closing(Handed(handout.open())) as handed:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="does not give it"):
                handed(SEGMENT)  # on the loop's own thread: nobody answers


async def test_a_new_process_is_answered_and_the_one_before_no_more(handout: Handout, handed: Handed) -> None:
    """There is one at a time."""
    with closing(Handed(handout.open())) as after:
        assert await ask(after, SEGMENT) == file_key(STORE_KEY, SEGMENT)
    with pytest.raises(UnavailableError, match=GONE):
        handed(SEGMENT)


async def test_one_that_asks_without_reading_holds_nobody_up(handout: Handout) -> None:
    """Answers that find no room are dropped, and so is the process once it has died."""
    with handout.open() as end:
        end.setblocking(False)
        sent = 0
        while sent < 5_000:
            try:
                sent += end.send(b"uplink") // 6
            except BlockingIOError:
                await asyncio.sleep(0)
        assert len(end.recv(100)) == 32
    await until(lambda: handout._own is None)


async def test_one_that_dies_with_answers_unread_is_let_go(handout: Handout) -> None:
    """Its end is gone before it was answered."""
    with handout.open() as end:
        end.send(b"uplink")
    await until(lambda: handout._own is None)


@pytest.mark.parametrize("descriptor", ["", "x", "99999", "-1"])
def test_a_process_that_the_gateway_did_not_start_says_so(descriptor: str) -> None:
    """Nobody starts one by hand."""
    with pytest.raises(OperatorError, match="not started by the gateway"):
        Handed.of(descriptor)


async def test_a_process_takes_its_end_by_the_number_and_passes_it_to_nobody(handout: Handout) -> None:
    """As it finds it among its arguments."""
    number = handout.open().detach()
    with closing(Handed.of(str(number))) as handed:
        assert not os.get_inheritable(number)
        assert await ask(handed, OWN) == file_key(STORE_KEY, OWN)


def test_a_descriptor_of_something_else_is_refused(tmp_path: Path) -> None:
    """A file is no socket."""
    with (tmp_path / "file").open("w") as file, pytest.raises(OperatorError, match="not started by"):
        Handed.of(str(file.fileno()))
