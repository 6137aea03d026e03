"""`coldseal gateway maintenance`: sensors that are being worked on, with the reason, from begin to end.

A sensor in maintenance reports on: its readings are sealed and flagged `maintenance`; nothing is judged by
them and no alarm is raised. Begin and end are entries of the log.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.changes import at_moment, of_sensor, seal_config, signed
from coldseal.cli.output import print_json, print_lines, render_span
from coldseal.cli.registered import register_of

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value


def begin(
    config: Path,
    sensor: str,
    /,
    *,
    why: str,
    at: str = "",
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Begin a sensor's maintenance: its readings are flagged and not judged until it ends.

    What is forgotten for longer than alarms.maintenance_s of gateway.toml raises an alarm.

    Args:
        config: gateway.toml.
        sensor: as DEVICE/SENSOR.
        why: what is done to it.
        at: from when on, such as 2026-03-04T05:06:07Z; without it, from now on. Never in the past.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    said = _said("begin", sensor, at)
    return seal_config(config, set_, "maintenance", said, signed(who, why), as_json=as_json)


def end(
    config: Path,
    sensor: str,
    /,
    *,
    why: str,
    at: str = "",
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """End a sensor's maintenance: it is judged again, by readings taken from then on.

    Args:
        config: gateway.toml.
        sensor: as DEVICE/SENSOR.
        why: what was done to it, and with which result.
        at: from when on, such as 2026-03-04T05:06:07Z; without it, from now on. Never in the past.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    said = _said("end", sensor, at)
    return seal_config(config, set_, "maintenance", said, signed(who, why), as_json=as_json)


def list_(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """List the sensors that are in maintenance: since when, and why.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.changes import moment
    from coldseal.core.coldchain.standing import since

    register, now_ms = register_of(config, set_)
    found = []
    for (device, sensor), watched in sorted(register.sensors.items()):
        began_ms, why = since(watched.maintenance, now_ms, "")
        if why:
            found.append({"sensor": f"{device}/{sensor}", "since": moment(began_ms), "why": why})
            if not as_json:
                age = render_span((now_ms - began_ms) / 1000)
                print_lines(f"{device}/{sensor}  since {moment(began_ms)} ({age})  {why}")
    if as_json:
        print_json({"maintenance": found})
    else:
        print_lines(f"{len(found)} sensors are in maintenance")
    return 0


def _said(action: str, sensor: str, at: str) -> "dict[str, Value]":
    """Say what begins or ends."""
    return {"action": action, **of_sensor(sensor), **at_moment("at", at)}


COMMANDS: Final = (begin, end, list_)
