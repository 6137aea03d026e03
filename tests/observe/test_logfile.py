"""Claims about the log file: its size is bounded, it never blocks, and it never raises into the program."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.errors import OperatorError
from coldseal.observe import events, logfile
from coldseal.observe.logfile import LogFile, writing_to
from coldseal.observe.logs import Log, configure
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


def say(count: int) -> None:
    """Log a few events."""
    for number in range(count):
        Log("test").emit(events.CONNECTIONS_FREE, limit=f"{number:06d}")


def limits_in(*paths: Path) -> list[int]:
    """Give the numbers that were logged, file by file."""
    found = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [int(line["limit"]) for line in found if line["event"] == "device.below-limit"]


def test_events_go_to_the_file_and_then_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, even if people read at the terminal."""
    configure(is_readable=True)
    path = tmp_path / "gateway.log"
    with writing_to(path, max_mb=1, keep=1):
        say(3)
    say(1)
    configure(is_readable=False)
    assert limits_in(path) == [0, 1, 2]
    assert capsys.readouterr().err.count("device.below-limit") == 1


def test_without_a_file_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """The default."""
    with writing_to(None, max_mb=1, keep=1):
        say(1)
    assert capsys.readouterr().err.count("device.below-limit") == 1


def test_a_process_of_its_own_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Two processes cannot turn one file."""
    with writing_to(tmp_path / "gateway.log", max_mb=1, keep=1, part="uplink"):
        say(1)
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.uplink.log"]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_size_is_bounded_and_the_newest_stay(tmp_path: Path, keep: int) -> None:
    """A full file is put aside, and the oldest goes; no line is cut."""
    path = tmp_path / "gateway.log"
    with closing(LogFile(path, max_bytes=1000, keep=keep)) as file:
        configure(stream=file)
        say(60)
        configure()
    files = [*(tmp_path / f"gateway.log.{number}" for number in range(keep, 0, -1)), path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(found.stat().st_size <= 1000 for found in files)
    numbers = limits_in(*files)
    assert numbers == list(range(60 - len(numbers), 60))
    assert len(numbers) > 3 * (keep + 1)


def test_a_file_that_is_there_goes_on(tmp_path: Path) -> None:
    """A restart loses no line."""
    path = tmp_path / "gateway.log"
    for _ in range(2):
        with writing_to(path, max_mb=1, keep=0):
            say(2)
    assert limits_in(path) == [0, 1, 0, 1]


def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """With the next move."""
    with pytest.raises(OperatorError, match="cannot be written"):
        LogFile(tmp_path / "missing" / "gateway.log", max_bytes=1000, keep=1)


class Disk:
    """Writes, fails or hangs, as told."""

    def __init__(self) -> None:
        """Work."""
        self.is_full = False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def write(self, file: int, data: bytes) -> int:
        """Write."""
        self.goes_on.wait()
        if self.is_full:
            raise OSError(28, "No space left on device")
        return os.write(file, data)


async def test_a_disk_that_fails_is_counted_and_said_when_it_is_over(tmp_path: Path) -> None:
    """The program hears nothing of it."""
    path, disk = tmp_path / "gateway.log", Disk()
    with closing(LogFile(path, max_bytes=100_000, keep=1, write=disk.write)) as file:
        configure(stream=file)
        disk.is_full = True
        say(7)
        await until(lambda: file._lost == 7)
        disk.is_full = False
        say(1)
        await until(lambda: not file._is_failing)
        say(1)
        configure()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in told] == ["device.below-limit", "log.lines-lost", "device.below-limit"]
    assert told[1]["count"] == 7


async def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is left out, counted, and said; nor does the end wait for long."""
    monkeypatch.setattr(logfile, "WAITING", 10)
    monkeypatch.setattr(logfile, "_END_S", 0.01)
    path, disk = tmp_path / "gateway.log", Disk()
    disk.goes_on.clear()
    file = LogFile(path, max_bytes=100_000, keep=1, write=disk.write)
    configure(stream=file)
    say(1)
    await until(file._lines.empty)  # the thread has it, and hangs
    say(100)
    lost = file._lost
    assert lost == 90
    disk.goes_on.set()
    await until(file._lines.empty)
    say(1)
    disk.goes_on.clear()
    say(1)
    configure()
    file.close()
    disk.goes_on.set()
    await until(lambda: "log.lines-lost" in path.read_text())
    assert f'"count":{lost}' in path.read_text()
