"""Alarms in words: a notification for people, a state for displays, a row for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from coldseal.core.coldchain.alarm import TIERS, State
from coldseal.core.coldchain.profile import Tier
from coldseal.core.log import canonical
from coldseal.gateway.clock import render_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.coldchain.alarm import Alarm

    Weight = Literal["info", "success", "warning", "failure"]

SHOWN: Final = 40
"""Alarms that one notification writes out; more are counted."""

FORM: Final = 1
"""Version of what displays get."""


def compose(alarms: Sequence[Alarm], site: str) -> tuple[str, str, Weight]:
    """Write one notification about some alarms, the heaviest first: title, text and weight."""
    order = sorted(
        alarms, key=lambda each: (each.state is State.OVER, -TIERS.index(each.tier), each.since_ms)
    )
    first = order[0]
    more = f" (and {len(order) - 1} more)" if len(order) > 1 else ""
    title = f"{site}: {_heading(first)}{more}"
    lines = [_lines(each) for each in order[:SHOWN]]
    if len(order) > SHOWN:
        lines.append(f"… and {len(order) - SHOWN} more: coldseal gateway alarms list")
    return title, "\n\n".join(lines), _weight(first)


def _heading(alarm: Alarm) -> str:
    """Name an alarm in some words."""
    what = f"{alarm.quantity} " if alarm.quantity else ""
    whom = alarm.asset or f"{alarm.device}/{alarm.sensor}"
    return f"{_standing(alarm)}: {what}{alarm.kind}, {whom}"


def _standing(alarm: Alarm) -> str:
    """Say how an alarm stands, in one word."""
    if alarm.state is State.OVER:
        return "OVER"
    return f"{alarm.tier.upper()} (again)" if alarm.number > 1 else alarm.tier.upper()


def _lines(alarm: Alarm) -> str:
    """Write an alarm out."""
    since, kept = render_time(alarm.since_ms), ""
    if alarm.state is State.OVER:
        return f"OVER: {alarm.text}\n  on record since {since}; {alarm.about}"
    if alarm.state is State.LATCHED:
        kept = "; its cause is gone, it stays until somebody acknowledges"
    ask = "acknowledge: coldseal gateway alarms acknowledge CONFIG ID --why …"
    return f"{alarm.tier}: {alarm.text}{kept}\n  on record since {since}; id {alarm.about}\n  {ask}"


def _weight(alarm: Alarm) -> Weight:
    """Say how heavily it may be shown."""
    if alarm.state is State.OVER:
        return "success"
    return "warning" if alarm.tier is Tier.WARNING else "failure"


def shown(alarm: Alarm) -> dict[str, canonical.Value]:
    """Write an alarm for programs: the command line, displays."""
    found: dict[str, canonical.Value] = {
        "about": alarm.about,
        "kind": alarm.kind,
        "tier": alarm.tier.value,
        "state": alarm.state.value,
        "text": alarm.text,
        "since": render_time(alarm.since_ms),
        "device": alarm.device,
        "sensor": alarm.sensor,
        "step": alarm.step,
        "n": alarm.number,
    }
    for name in ("asset", "quantity", "by", "why"):
        if value := getattr(alarm, name):
            found[name] = value
    if alarm.seq >= 0:
        found["seq"] = alarm.seq
    if alarm.due_ms > alarm.since_ms:
        found["due"] = render_time(alarm.due_ms)
    return found


def for_displays(alarms: Sequence[Alarm]) -> bytes:
    """Write what a display of one sensor gets; nothing where there is no alarm."""
    return canonical.encode({"alarms": [shown(each) for each in alarms], "v": FORM}) if alarms else b""
