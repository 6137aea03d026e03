"""`coldseal demo`: the main job, live, with faults, and a verdict; or attacks; or simulated worlds.

Exit code 0 when the promise held, or every attack was caught, and 1 when not. Nothing is left behind but
with `--keep`.
"""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from coldseal.cli.output import print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from coldseal.demo.attacks import Outcome
    from coldseal.demo.verdict import Verdict

_LEAST_S = 5.0
_MOST_SENSORS = 500

Result = TypeVar("Result")


def demo(
    *,
    seconds: float = 40.0,
    sensors: int = 24,
    keep: Path | None = None,
    attack: str = "",
    world: str = "",
    plain: bool = False,
    as_json: bool = False,
) -> int:
    """Run a service, a gateway and simulated sensors; cut the uplink, kill the gateway, count everything.

    Args:
        seconds: how long the sensors publish; set-up, drain and verification come on top.
        sensors: how many.
        keep: folder that keeps everything, with the evidence bundle demo.coldseal; must be new or empty.
        attack: instead of all that, play this attack, or all; a name that there is not shows the names.
        world: instead of all that, simulate this seed, or these, as 1-300, on every processor core.
        plain: plain lines instead of the live board, as without a terminal.
        as_json: answer with one JSON object, and show nothing before.
    """
    if seconds < _LEAST_S:
        raise OperatorError(f"--seconds is {seconds:g}", f"Give at least {_LEAST_S:g}")
    if not 1 <= sensors <= _MOST_SENSORS:
        raise OperatorError(f"--sensors is {sensors}", f"Give 1 to {_MOST_SENSORS}")
    if world:
        return _world(world, as_json=as_json)
    if attack:
        return _attack(attack, keep, as_json=as_json)
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
    from coldseal.signing.private_files import make_private_folder

    try:
        make_private_folder(keep)
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

    with board:
        return _run(lambda: play(Plan(folder, seconds, sensors), board))


def _attack(name: str, keep: Path | None, *, as_json: bool) -> int:
    """Play attacks and print who noticed them; what was not noticed is kept to look at."""
    from rich.console import Console

    from coldseal.demo.attacks import choose, play, render

    names, console = choose(name), Console()
    folder = _work_folder(keep)
    is_kept = keep is not None

    def tell(event: str) -> None:
        if not as_json:
            console.print(event, highlight=False, markup=False, soft_wrap=True)

    try:
        outcomes = _run(lambda: play(folder, names, tell))
        is_good = all(found.is_caught for found in outcomes)
        is_kept = is_kept or not is_good
        kept = str(folder) if is_kept else ""
        if as_json:
            print_json({"good": is_good, "attacks": [_described(found) for found in outcomes], "kept": kept})
        else:
            console.print(render(outcomes))
            if is_kept:
                print_lines(f"Kept in {kept}")
        return 0 if is_good else 1
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _world(text: str, *, as_json: bool) -> int:
    """Play simulated worlds; of a single one, show all that happened."""
    from coldseal.demo.world.campaign import parse_seeds, play_seeds, quiet, summarise

    seeds = parse_seeds(text)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is in memory must not be left there
    quiet()
    score = play_seeds(seeds, (lambda _line: None) if as_json else print_lines, workers=0)
    if as_json:
        broken = [{"seed": found.seed, "broken": found.broken} for found in score.broken]
        counts = dict(sorted(score.counts.items()))
        print_json({"good": not broken, "runs": score.runs, "broken": broken, "counts": counts})
    else:
        print_lines(summarise(score))
    return 1 if score.broken else 0


def _described(found: "Outcome") -> dict[str, object]:
    """Give what became of an attack."""
    name, attack, verdict = found
    return {
        "attack": name,
        "caught_by": attack.caught_by,
        "expected": attack.verdict,
        "good": found.is_caught,
        "verdict": verdict,
    }


def _run(work: "Callable[[], Coroutine[None, None, Result]]") -> Result:
    """Run something to its end; SIGTERM ends it as Ctrl-C does."""

    async def run() -> Result:
        running = asyncio.ensure_future(work())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        return await running

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


COMMANDS = (demo,)
