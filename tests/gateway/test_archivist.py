"""A running gateway archives by itself, and says once that it cannot, and once that it can again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coldseal.gateway import archiving, archivist
from coldseal.gateway.archivist import Archivist
from coldseal.observe import logs
from tests.gateway.archives import Trial, made, trial
from tests.gateway.test_app import running
from tests.waiting import until

__all__ = ["made", "trial"]

QUICK = ("archive.interval_s=0.05", "store.segment_entries=300", "checkpoint.seconds=3600")


class Told:
    """What was logged of the archive so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Begin to listen."""
        logs.configure()
        self._capsys = capsys
        self.lines: list[dict[str, Any]] = []

    def names(self) -> list[str]:
        """Name the events, oldest first."""
        for line in self._capsys.readouterr().err.splitlines():
            if line.startswith("{") and (found := json.loads(line))["part"] == "gateway.archive":
                self.lines.append(found)
        return [line["event"] for line in self.lines]

    async def until(self, event: str) -> None:
        """Wait for an event."""
        await until(lambda: event in self.names())


async def test_a_running_gateway_archives_what_has_ended_and_puts_it_on_record(
    trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a process of its own, which asks the gateway to seal the entries; what is absent is caught up."""
    told = Told(capsys)
    away = trial.folder / "away"
    trial.archive.rename(away)
    async with running(trial.toml, *QUICK) as gateway:
        await told.until("archive.lost")
        size = gateway.log.size
        shutil.move(away, trial.archive)
        await told.until("archive.back")
        assert told.names() == ["archive.lost", *["archive.written"] * 3, "archive.back"]
        assert gateway.log.size == size + 6  # each by the gateway itself, which is on record before
    assert len(trial.index()) == 3
    assert told.lines[-1]["archived"] == 3
    assert {path.name for path in trial.archive.iterdir()} == {each.name for each in trial.index()}


ROUND = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
with file.open("a") as out:
    out.write("x")
number = len(file.read_text())
print(sys.argv[1 + min(number, len(sys.argv) - 2)])
"""
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WAITS = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
signal.pause()
"""
IDLE = '{"archived": [], "pruned": [], "waiting": 0}'
WAITING = '{"archived": [], "pruned": [], "waiting": 2}'
PRUNED = '{"archived": [], "pruned": [{"first": 0, "last": 9, "name": "a"}], "waiting": 0, "damaged": ["b"]}'


def make(folder: Path, *answers: str) -> Archivist:
    """Give an archivist whose rounds answer so, one after the other."""
    (folder / "log").mkdir(exist_ok=True)
    made = Archivist(["gateway.toml", "a.b=1"], folder / "log", 0.001)
    assert made._command[3:] == (
        *("gateway", "archive", "gateway.toml", "run", "--json", "--background", "--set", "a.b=1"),
    )
    made._command = (sys.executable, "-c", ROUND, str(folder / "rounds"), *answers)
    return made


async def end(task: asyncio.Task[None]) -> None:
    """Cancel and wait."""
    task.cancel()
    await asyncio.wait({task})


async def test_rounds_go_on_while_something_waits_and_begin_again_with_a_new_segment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then there is nothing to do, and no process is started."""
    told, rounds = Told(capsys), tmp_path / "rounds"
    task = asyncio.ensure_future(make(tmp_path, WAITING, "no JSON", PRUNED, IDLE).run())
    await told.until("archive.back")
    assert told.names() == ["archive.lost", "archive.pruned", "archive.damaged", "archive.back"]
    assert told.lines[0]["error"] == "the process ended with 0"
    await asyncio.sleep(0)
    assert rounds.read_text() == "xxx"
    (tmp_path / "log" / f"{300:020d}.db").touch()
    await until(lambda: rounds.read_text() == "xxxx")
    await end(task)


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_a_round_that_is_under_way_ends_with_the_gateway(
    tmp_path: Path, is_deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process is left behind, not even one that does not want to end."""
    monkeypatch.setattr(archivist, "END_S", 0.05 if is_deaf else 20)
    made = make(tmp_path)
    program = DEAF + WAITS if is_deaf else WAITS
    made._command = (sys.executable, "-c", program, str(tmp_path / "pid"))
    task = asyncio.ensure_future(made.run())
    pid = tmp_path / "pid"
    await until(lambda: pid.exists() and bool(pid.read_text()))
    await end(task)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_round_that_was_started_by_a_gateway_writes_by_that_one_alone(trial: Trial) -> None:
    """One that outlives its gateway leaves the log to the next; asked to end, it takes its copies along."""
    command = (sys.executable, "-m", "coldseal.cli.main", "gateway", "archive", str(trial.toml), "run")
    options = ("--background", "--json", "--set", "store.segment_entries=300")
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 3
    assert "no gateway runs there" in json.loads(output)["error"]
    assert trial.index() == []
    with archiving._alone(trial.config.gateway.data):
        process = await asyncio.create_subprocess_exec(*command, *options)
        lock = str(trial.config.gateway.data / "archives.lock")
        await until(lambda: lock in open_files(process.pid))
        process.terminate()
        assert await process.wait() == 128 + signal.SIGTERM


def open_files(pid: int) -> list[str]:
    """Name the files that a process has open."""
    found: list[str] = []
    for file in list(Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.append(str(file.readlink()))
    return found
