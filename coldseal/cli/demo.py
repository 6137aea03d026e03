"""`coldseal demo`: the main job, live, with faults, and a verdict.

Exit code 0 when the promise held, 1 when it did not. Nothing is left behind but with `--keep`.
"""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.output import print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.demo.verdict import Verdict

_LEAST_S = 5.0
_MOST_SENSORS = 500


def demo(
    *,
    seconds: float = 40.0,
    sensors: int = 24,
    keep: Path | None = None,
    plain: bool = False,
    as_json: bool = False,
) -> int:
    """Run a service, a gateway and simulated sensors; cut the uplink, kill the gateway, count everything.

    Args:
        seconds: how long the sensors publish; set-up, drain and verification come on top.
        sensors: how many.
        keep: folder that keeps everything, with the evidence bundle demo.coldseal; must be new or empty.
        plain: plain lines instead of the live board, as without a terminal.
        as_json: answer with one JSON object, and show nothing before.
    """
    if seconds < _LEAST_S:
        raise OperatorError(f"--seconds is {seconds:g}", f"Give at least {_LEAST_S:g}")
    if not 1 <= sensors <= _MOST_SENSORS:
        raise OperatorError(f"--sensors is {sensors}", f"Give 1 to {_MOST_SENSORS}")
    folder = _work_folder(keep)
    is_kept = keep is not None
    try:
        verdict = _play(folder, seconds, sensors, plain=plain, as_json=as_json)
        is_kept = is_kept or not verdict.is_good  # a person will want to look
        if as_json:
            checks = [
                {"check": check.name, "found": check.value, "expected": check.expected, "good": check.is_good}
                for check in verdict.checks
            ]
            print_json({"good": verdict.is_good, "checks": checks, "kept": str(folder) if is_kept else ""})
        elif is_kept:
            print_lines(f"Kept in {folder}; verify it again with:")
            print_lines(f"  coldseal evidence verify {folder / 'demo.coldseal'}")
        return 0 if verdict.is_good else 1
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _work_folder(keep: Path | None) -> Path:
    """Make the work folder: the one to keep, or a temporary one."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="coldseal-demo-"))
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_empty = not any(keep.iterdir())
    except OSError as error:
        raise OperatorError(f"{keep} cannot be made: {error.strerror}", "Choose another folder") from error
    if not is_empty:
        raise OperatorError(f"{keep} is not empty", "Choose a new folder; nothing was changed")
    return keep


def _play(folder: Path, seconds: float, sensors: int, *, plain: bool, as_json: bool) -> "Verdict":
    """Run the scenario on the board that fits; SIGTERM ends it as Ctrl-C does."""
    from rich.console import Console

    from coldseal.demo.board import LiveBoard, PlainBoard, SilentBoard
    from coldseal.demo.scenario import Plan, play

    console = Console()
    board = (
        SilentBoard()
        if as_json
        else PlainBoard(console)
        if plain or not console.is_terminal
        else LiveBoard(console)
    )

    async def run() -> "Verdict":
        playing = asyncio.ensure_future(play(Plan(folder, seconds, sensors), board))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
        return await playing

    with board:
        try:
            return asyncio.run(run())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


COMMANDS = (demo,)
