"""`coldseal drill`: a fault is played on purpose, and the log says what came of it.

Each drill needs a running gateway, ends its fault by itself, seals an entry with every figure, and writes a
report for the validation file. Exit code 0 if all is as it should be, 1 if not.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldseal.cli.output import print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.drill.course import Check, Record, Stage

REPORTS = "drills"
"""Folder of the reports below the data folder, where none is named."""


def drill(
    name: str,
    config: Path,
    /,
    *,
    who: str,
    why: str,
    seconds: float = 20.0,
    within: float = 120.0,
    restart: str = "",
    flips: int = 20,
    entries: int = 50_000,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Play a fault on a running gateway, check what becomes of it, and put that on record with a report.

    partition: the service cannot be reached for a while; full-disk: there is no room for readings for a
    while; power: the gateway ends at once and comes back; restore: the newest entries are fetched back from
    the service; corrupt: bits flip in a copy of the log; clock: a clock steps in a log beside the gateway's;
    rotation: every certificate is renewed, or read anew, while readings flow.

    Args:
        name: partition, full-disk, power, restore, corrupt, clock or rotation.
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        seconds: how long partition and full-disk last.
        within: seconds within which all must be well again.
        restart: for power: command that starts the gateway again, where no service manager does.
        flips: for corrupt: bits to turn.
        entries: for restore: how many to fetch.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill.course import Stage, hold
    from coldseal.gateway.config import load_gateway

    held = _drills(flips=flips, entries=entries, restart=restart)
    if name not in held:
        raise OperatorError(f"there is no drill {name!r}", f"There are: {', '.join(held)}")
    settings = load_gateway(config, set_ or ())
    say: Callable[[str], None] = (lambda _text: None) if as_json else print_lines
    record = hold(name, held[name], Stage(settings, seconds, within, say), who=who, why=why)
    paths = _report(report or settings.gateway.data / REPORTS, settings.gateway.origin, record)
    if as_json:
        print_json({**record.data, **record.sealed._asdict(), "reports": [str(path) for path in paths]})
    else:
        _show(record.data, record.sealed.seq, paths)
    return 0 if record.is_good else 1


def _drills(*, flips: int, entries: int, restart: str) -> "dict[str, Callable[[Stage], list[Check]]]":
    """Give all drills by name."""
    from coldseal.drill import faults
    from coldseal.drill.clock import clock
    from coldseal.drill.corrupt import corrupt
    from coldseal.drill.restore import restore
    from coldseal.drill.rotation import rotation

    return {
        "clock": clock,
        "corrupt": partial(corrupt, flips=flips),
        "full-disk": faults.full_disk,
        "partition": faults.partition,
        "power": partial(faults.power, restart=restart),
        "restore": partial(restore, entries=entries),
        "rotation": rotation,
    }


def _report(folder: Path, origin: str, record: "Record") -> list[Path]:
    """Write the report, and name its files."""
    from coldseal.drill.report import write_report

    try:
        return write_report(folder, origin, record)
    except OSError as error:
        what = f"the drill is on record in entry {record.sealed.seq}, but {folder} cannot be written"
        raise OperatorError(f"{what}: {error.strerror}", "Name another folder with --report") from error


def _show(data: Mapping[str, Any], seq: int, paths: list[Path]) -> None:
    """Show the checks to a person."""
    width = max(len(each["check"]) for each in data["checks"])
    for each in data["checks"]:
        mark = "ok" if each["ok"] else "NOT OK"
        print_lines(f"  {each['check']:<{width}}  {each['found']} (expected {each['expected']})  {mark}")
    print_lines(f"Verdict: {data['verdict']}; on record in entry {seq}", *(f"  {path}" for path in paths))


COMMANDS = (drill,)
"""The noun is the command."""
