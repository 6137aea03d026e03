"""The uplink's process is kept running, told of growth, and ended with the intake."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from coldseal.gateway.uplink import companion
from coldseal.gateway.uplink.companion import Companion
from tests.trial import STORE_KEY
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

ECHO = """
import pathlib, sys
file = pathlib.Path(sys.argv[1]).open("a")
print("begun", file=file, flush=True)
for line in sys.stdin:
    print(line.strip(), file=file, flush=True)
    if line.strip() == sys.argv[2]:
        sys.exit(7)
"""
DEAF = "import time, sys; open(sys.argv[1], 'a').write('begun\\n'); time.sleep(60)"


def make(tmp_path: Path, program: str, *arguments: str) -> Companion:
    """Give a companion that runs another program."""
    made = Companion([], STORE_KEY)
    made._command = (sys.executable, "-c", program, str(tmp_path / "out"), *arguments)
    return made


async def lines_of(tmp_path: Path, count: int) -> list[str]:
    """Wait for so many lines of the program."""
    path = tmp_path / "out"
    await until(lambda: path.exists() and len(path.read_text().splitlines()) >= count)
    return path.read_text().splitlines()


async def end(running: asyncio.Task[None]) -> None:
    """Cancel and wait."""
    running.cancel()
    await asyncio.wait({running})


async def test_it_is_told_of_growth_once_each_and_started_again_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size 2 makes this one end; a third line comes from its successor."""
    monkeypatch.setattr(companion, "FIRST_PAUSE_S", 0.01)
    made = make(tmp_path, ECHO, "2")
    made.tell(1)
    running = asyncio.ensure_future(made.run())
    await lines_of(tmp_path, 1)
    made.tell(1)
    made.tell(1)
    await lines_of(tmp_path, 2)
    made.tell(2)
    assert await lines_of(tmp_path, 4) == ["begun", "1", "2", "begun"]
    made.tell(3)
    assert (await lines_of(tmp_path, 5))[-1] == "3"
    await end(running)
    assert made._process is not None
    assert made._process.returncode == 0


async def test_one_that_does_not_end_by_itself_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind."""
    monkeypatch.setattr(companion, "END_S", 0.05)
    made = make(tmp_path, DEAF)
    running = asyncio.ensure_future(made.run())
    await lines_of(tmp_path, 1)
    await end(running)
    assert made._process is not None
    assert made._process.returncode == -9
    made.tell(5)


async def test_for_a_drill_it_is_kept_away_and_starts_again_where_the_log_is(tmp_path: Path) -> None:
    """No restart is told meanwhile, and the size that was told before is told anew."""
    made = make(tmp_path, ECHO, "never")
    running = asyncio.ensure_future(made.run())
    await lines_of(tmp_path, 1)
    made.tell(7)
    await lines_of(tmp_path, 2)
    made.keep_away(True)
    await until(lambda: made._process is not None and made._process.returncode is not None)
    made.keep_away(True)  # which says no more to one that has ended
    made.tell(8)
    assert not made.renew()
    made.keep_away(False)
    assert (await lines_of(tmp_path, 3))[-1] == "begun"
    made.tell(7)
    assert (await lines_of(tmp_path, 4))[-1] == "7"
    await end(running)


async def test_one_that_runs_hears_that_certificates_are_to_be_renewed(tmp_path: Path) -> None:
    """Whoever asks is told whether there is one."""
    made = make(tmp_path, ECHO, "renew")
    assert not made.renew()
    assert not made.say(b"word")
    running = asyncio.ensure_future(made.run())
    await lines_of(tmp_path, 1)
    assert made.renew()
    assert (await lines_of(tmp_path, 2))[1] == "renew"
    await end(running)


async def test_one_that_was_closed_is_told_nothing(tmp_path: Path) -> None:
    """Its standard input has ended, and its end is not seen yet."""
    made = make(tmp_path, DEAF)
    running = asyncio.ensure_future(made.run())
    await lines_of(tmp_path, 1)
    assert made._process is not None
    assert made._process.stdin is not None
    made._process.stdin.close()
    made.tell(3)
    assert made._told == 0
    made._process.kill()
    await end(running)
