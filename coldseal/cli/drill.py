"""`coldseal drill`: a fault is played on purpose, and the log says what came of it.

Each verb needs a running gateway, ends its fault by itself, seals an entry with every figure, and writes a
report for the validation file. Exit code 0 if all is as it should be, 1 if not.
"""

from collections.abc import Callable
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from coldseal.cli.output import print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.drill.course import Check, Stage


class Options(NamedTuple):
    """What every verb takes."""

    config: Path
    who: str
    why: str
    seconds: float
    within: float
    report: Path | None
    overrides: list[str] | None
    as_json: bool


REPORTS = "drills"
"""Folder of the reports below the data folder, where none is named."""


def partition(
    config: Path,
    /,
    *,
    who: str,
    why: str,
    seconds: float = 20.0,
    within: float = 120.0,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Cut a running gateway off from its service for a while: readings go on, and all arrives afterwards.

    Args:
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        seconds: how long the cut lasts.
        within: seconds within which everything must have a receipt again.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill import faults

    return _hold(
        "partition", faults.partition, Options(config, who, why, seconds, within, report, set_, as_json)
    )


def full_disk(
    config: Path,
    /,
    *,
    who: str,
    why: str,
    seconds: float = 10.0,
    within: float = 120.0,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Let a running gateway behave as with a full disk for a while: nothing is acknowledged, nothing lost.

    Args:
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        seconds: how long it lasts.
        within: seconds within which readings must be acknowledged again.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill import faults

    return _hold(
        "full-disk", faults.full_disk, Options(config, who, why, seconds, within, report, set_, as_json)
    )


def power(
    config: Path,
    /,
    *,
    who: str,
    why: str,
    restart: str = "",
    within: float = 120.0,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """End a running gateway with SIGKILL and see it come back with everything that it had.

    Args:
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        restart: command that starts it again, where no service manager does.
        within: seconds within which it must run again.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill import faults

    drill = bound(faults.power, restart=restart)
    return _hold("power", drill, Options(config, who, why, 0.0, within, report, set_, as_json))


def clock(
    config: Path,
    /,
    *,
    who: str,
    why: str,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Let a clock step in a log beside the gateway's: each step must be on record, and its absence noticed.

    Args:
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill.clock import clock as drill

    return _hold("clock", drill, Options(config, who, why, 0.0, 120.0, report, set_, as_json))


def corrupt(
    config: Path,
    /,
    *,
    who: str,
    why: str,
    flips: int = 20,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Damage a copy of the log, bit by bit: each damage must be noticed, and all else be readable.

    Args:
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        flips: bits to turn, each in a fresh copy.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill.corrupt import corrupt as damage

    drill = bound(damage, flips=flips)
    return _hold("corrupt", drill, Options(config, who, why, 0.0, 120.0, report, set_, as_json))


def restore(
    config: Path,
    /,
    *,
    who: str,
    why: str,
    entries: int = 50_000,
    report: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Fetch the newest entries back from the service and hold them against the log, byte for byte.

    Args:
        config: gateway.toml.
        who: who holds the drill.
        why: what for, such as a quarter.
        entries: how many.
        report: folder for the report; else data/drills.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.drill.restore import restore as fetch

    drill = bound(fetch, entries=entries)
    return _hold("restore", drill, Options(config, who, why, 0.0, 120.0, report, set_, as_json))


def _hold(name: str, drill: "Callable[[Stage], list[Check]]", options: Options) -> int:
    """Hold a drill, write its report and say what came of it."""
    from coldseal.drill.course import Stage, hold
    from coldseal.drill.report import write_report
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(options.config, options.overrides or ())
    say: Callable[[str], None] = (lambda _text: None) if options.as_json else print_lines
    stage = Stage(settings, options.seconds, options.within, say)
    record = hold(name, drill, stage, who=options.who, why=options.why)
    folder = options.report or settings.gateway.data / REPORTS
    try:
        paths = write_report(folder, settings.gateway.origin, record)
    except OSError as error:
        what = f"the drill is on record in entry {record.sealed.seq}, but {folder} cannot be written"
        raise OperatorError(f"{what}: {error.strerror}", "Name another folder with --report") from error
    if options.as_json:
        print_json({**record.data, **record.sealed._asdict(), "reports": [str(path) for path in paths]})
    else:
        _show(record.data, record.sealed.seq, paths)
    return 0 if record.is_good else 1


def _show(data: Any, seq: int, paths: list[Path]) -> None:  # noqa: ANN401 -- what the entry says
    """Show the checks to a person."""
    width = max(len(each["check"]) for each in data["checks"])
    for each in data["checks"]:
        mark = "ok" if each["ok"] else "NOT OK"
        print_lines(f"  {each['check']:<{width}}  {each['found']} (expected {each['expected']})  {mark}")
    print_lines(f"Verdict: {data['verdict']}; on record in entry {seq}", *(f"  {path}" for path in paths))


COMMANDS = (partition, full_disk, power, clock, corrupt, restore)
"""The verbs of the noun."""
