"""`coldseal gateway maintenance`: sensors that are being worked on, with the reason, from begin to end.

A sensor in maintenance reports on: its readings are sealed and flagged `maintenance`; nothing is judged by
them and no alarm is raised. Begin and end are entries of the log.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.output import print_facts, print_json, print_lines, render_span
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
    return _seal(config, set_, said, _signed(who, why), as_json=as_json)


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
    return _seal(config, set_, said, _signed(who, why), as_json=as_json)


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


def _signed(who: str, why: str) -> "dict[str, Value]":
    """Say who asks, and why."""
    from coldseal.gateway.persons import name_of

    return {"who": who or name_of(os.getuid()), "why": why}


def _said(action: str, sensor: str, at: str) -> "dict[str, Value]":
    """Say what begins or ends."""
    from coldseal.evidence.selection import parse_moment, parse_sensor

    found = parse_sensor(sensor)
    moment: dict[str, Value] = {"at": parse_moment(at)} if at else {}
    return {"action": action, "device": found.device, "sensor": found.name, **moment}


def _seal(
    config: Path,
    overrides: list[str] | None,
    said: "dict[str, Value]",
    signed: "dict[str, Value]",
    *,
    as_json: bool,
) -> int:
    """Put it on record, and say where."""
    from coldseal.gateway.assigning import require_registered
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy

    settings = load_gateway(config, overrides or ())
    data: dict[str, Value] = {"maintenance": said, **signed}
    require_registered(open_policy(settings), data)
    sealed = seal_change(settings, "config", data)
    (print_json if as_json else print_facts)({**sealed._asdict(), **said})
    return 0


COMMANDS: Final = (begin, end, list_)
