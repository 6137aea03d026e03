"""The whole demo, short: real programs, real faults, a verdict, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from coldseal.cli import demo as command
from coldseal.cli.commands import run_commands
from coldseal.cli.main import run
from coldseal.demo.board import Sample, SilentBoard
from coldseal.demo.programs import COLDSEAL
from coldseal.demo.scenario import Plan, play
from coldseal.demo.verdict import Verdict
from coldseal.errors import OperatorError

_WITHIN_S = 60.0


class Diary(SilentBoard):
    """A board that keeps what it is told."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.events: list[str] = []
        self.samples = 0
        self.verdicts: list[Verdict] = []
        self.was_cut = False

    @override
    def show(self, sample: Sample) -> None:
        """Keep whether the uplink was ever shown as cut."""
        self.samples += 1
        self.was_cut |= sample.is_cut

    @override
    def tell(self, elapsed_s: float, event: str) -> None:
        """Keep the event."""
        del elapsed_s
        self.events.append(event)

    @override
    def conclude(self, verdict: Verdict) -> None:
        """Keep the verdict."""
        self.verdicts.append(verdict)


def of_folder(folder: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found


async def test_the_promise_holds_through_a_cut_and_a_kill(tmp_path: Path) -> None:
    """Sensors, gateway and service agree on every reading, and the bundle verifies."""
    diary = Diary()
    verdict = await play(Plan(tmp_path, seconds=6, sensors=3), diary)
    assert {check.name: check.value for check in verdict.checks if not check.is_good} == {}
    assert diary.verdicts == [verdict]
    told = "\n".join(diary.events)
    for event in (
        "uplink cut",
        "SIGKILL",
        "started again",
        "uplink restored",
        "door is left open",
        "alarm raised",
        "receipt covers all of it",
        "sensors stopped",
        "have a receipt",
    ):
        assert event in told
    assert diary.was_cut
    assert (tmp_path / "demo.coldseal").exists()
    assert of_folder(tmp_path) == []


def test_the_answer_is_one_json_object_and_the_bundle_verifies_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --keep the folder stays, and `evidence verify` accepts its bundle."""
    folder = tmp_path / "kept"
    assert run(["demo", "--seconds", "5", "--sensors", "2", "--keep", str(folder), "--json"]) == 0
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert answer["good"]
    assert answer["kept"] == str(folder)
    assert run(["evidence", "verify", str(folder / "demo.coldseal")]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seconds", "1"], "at least 5"),
        (["--sensors", "0"], "1 to 500"),
        (["--sensors", "501"], "1 to 500"),
    ],
)
def test_what_cannot_be_played_is_refused_at_once(arguments: list[str], expected: str) -> None:
    """Before anything is made."""
    with pytest.raises(OperatorError, match=expected):
        _call(*arguments)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """Nothing of anybody's is overwritten."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OperatorError, match="not empty"):
        command.demo(keep=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The reason is the system's."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OperatorError, match="cannot be made"):
        command.demo(keep=tmp_path / "file" / "below")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM stop gateway, service and their helpers."""
    folder = tmp_path / "kept"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored here
    try:
        demo = subprocess.Popen(
            [*COLDSEAL, "demo", "--keep", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        log = folder / "gateway.log"
        deadline = time.monotonic() + _WITHIN_S
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            with pytest.raises(subprocess.TimeoutExpired):
                demo.wait(0.05)  # it runs on
        assert len(of_folder(folder)) >= 2
        demo.send_signal(number)
        _, said = demo.communicate(timeout=_WITHIN_S)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == code
    assert b"Traceback" not in said
    assert of_folder(folder) == []


def _call(*arguments: str) -> None:
    """Call the command as the command line would, but let its errors through."""
    run_commands("demo", "", command.COMMANDS, arguments)


async def test_a_play_that_is_cancelled_while_it_sets_up_starts_nothing(tmp_path: Path) -> None:
    """The command that was running is stopped too."""
    playing = asyncio.ensure_future(play(Plan(tmp_path, seconds=5, sensors=1), Diary()))
    await asyncio.sleep(0)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert of_folder(tmp_path) == []
