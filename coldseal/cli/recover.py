"""The verb `coldseal recover salvage`: what can be saved of a damaged log, and what is done with it.

Only says so with --dry-run; else it does what a start on a damaged log does by itself. Deletes nothing.
"""

import sys
import typing
from pathlib import Path

from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.recover_copy import COMMANDS as OF_COPY
from coldseal.cli.recover_copy import write_admission

if typing.TYPE_CHECKING:
    from coldseal.gateway.carrying import Plan

LOST = 1
"""Exit code when entries are lost; the log goes on all the same."""


def salvage(
    config: Path,
    /,
    *,
    dry_run: bool = False,
    why: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Save what there is of a damaged log, fill holes from the service, and put it in order to go on.

    The old files go into quarantine below the data folder. Takes a role that may `recover`; who did it,
    and why, stands in the log that goes on. Ends with 1 where entries are lost.

    Args:
        config: gateway.toml; its gateway must not run.
        dry_run: only say what there is and what would be done.
        why: such as what happened to the disk; needed where something is changed.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    import asyncio

    import msgspec

    from coldseal.errors import OperatorError
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.continued import read_continued
    from coldseal.gateway.deciding import admit_salvage
    from coldseal.gateway.recovery import is_sound, recover
    from coldseal.gateway.replacing import QUARANTINE
    from coldseal.gateway.survey import Outcome

    settings = load_gateway(config, set_ or ())
    access = b"" if dry_run else asyncio.run(admit_salvage(settings, why))
    if not dry_run and asyncio.run(is_sound(settings)):
        is_next = read_continued(settings.gateway.data) is not None
        return _say_sound(write_admission(config, set_) if is_next else None, as_json=as_json)
    if not dry_run and not why.strip():
        raise OperatorError("the log is damaged, and no reason was given", "Say why: --why; look: --dry-run")
    plan = asyncio.run(recover(settings, is_dry=dry_run, tell=_tell, access=access))
    is_next = plan.outcome is Outcome.SUCCESSOR
    admission = write_admission(config, set_) if is_next and not dry_run else None
    if as_json:
        print_json({**msgspec.to_builtins(plan), "admission": admission})
        return LOST if plan.lost else 0
    _say_plan(plan, settings.gateway.data / QUARANTINE, is_dry=dry_run)
    _say_next(admission)
    return LOST if plan.lost else 0


def _say_plan(plan: "Plan", quarantine: Path, *, is_dry: bool) -> None:
    """Say what was found, and what was done."""
    print_facts(
        {
            "outcome": _OUTCOMES[plan.outcome.value],
            "log": plan.origin,
            "entries": f"{plan.size} of at least {plan.known}",
            "unreadable here": _ranges(plan.unreadable),
            "from the service": _ranges(plan.filled),
            "lost": _ranges(plan.lost),
            "carried over": str(plan.carried),
            "service has": "not asked, or no answer" if plan.service is None else str(plan.service),
            "old files": str(quarantine / plan.quarantine),
            "stated in": "nothing was changed" if is_dry else f"entry {plan.gap}, of the kind gap",
        }
    )


def _say_sound(admission: Path | None, *, as_json: bool) -> int:
    """Say that there is nothing to do, but perhaps to admit a log that a start has begun by itself."""
    if as_json:
        print_json({"outcome": "sound", "admission": admission})
        return 0
    print_lines("the log is sound: nothing was changed")
    _say_next(admission)
    return 0


def _say_next(admission: Path | None) -> None:
    """Say how the next log is admitted, if one has begun."""
    if admission is not None:
        print_lines("", "Next:", f"  coldseal service admit SERVICE.toml {admission}")


_OUTCOMES = {
    "whole": "whole: every entry is there, the log goes on as it was",
    "partly": "partly: the log goes on, with a hole that it states",
    "successor": "successor: the end is lost, the next log begins and states it",
}
_SHOWN = 8


def _ranges(ranges: list[tuple[int, int]]) -> str:
    """Render ranges for a person."""
    parts = [f"{first}-{last}" if last > first else f"{first}" for first, last in ranges[:_SHOWN]]
    more = f" and {len(ranges) - _SHOWN} more ranges" if len(ranges) > _SHOWN else ""
    count = sum(last - first + 1 for first, last in ranges)
    return f"{count} entries: {', '.join(parts)}{more}" if ranges else "nothing"


def _tell(line: str) -> None:
    """Say what is under way on a terminal; silent elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")


COMMANDS = (salvage, *OF_COPY)
