"""Who is told of alarms, when, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from coldseal.gateway.tables.values import Name
from coldseal.settings import Reference, Seconds

Heavy = Literal["warning", "excursion", "critical"]
Kind = Literal[
    "excursion",
    "retrospective",
    "silence",
    "calibration",
    "maintenance",
    "certificate",
    "storage",
    "clock",
    "device",
    "hardware",
    "witness",
    "log",
]
Interval = Annotated[float, Meta(ge=0)]


class Recipient(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is told, by which way."""

    name: Name
    """By which the log, events and metrics name this recipient; never its address."""
    url: Reference
    """Where the notification goes, an address of apprise by reference, such as `file:duty.url` (mode 0600) or
    `env:DUTY_URL`: it holds passwords or tokens."""
    endpoints: Annotated[tuple[str, ...], Meta(min_length=1)]
    """What that address connects to, without its secrets: `https://host:port`, `smtps://host:port` (TLS, also
    by STARTTLS), or on loopback or with `tls = false` in `egress.allow` `http://` and `smtp://`."""
    step: Annotated[int, Meta(ge=0, le=9)] = 0
    """0: told at once; 1: when nobody has acknowledged for `escalate_s`; 2: after twice that; and so on."""
    tiers: tuple[Heavy, ...] = ()
    """Told of these tiers only; `[]`: of all."""
    kinds: tuple[Kind, ...] = ()
    """Told of alarms of these kinds only; `[]`: of all."""
    assets: tuple[str, ...] = ()
    """Told of these assets only; `[]`: of all, and of what concerns none."""


class Alarms(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is told of alarms, when, and how often."""

    recipients: tuple[Recipient, ...] = ()
    """Who is told, each a table `[[alarms.recipients]]`; needs the extra `alarms`."""
    repeat_s: Interval = 900
    """An alarm that nobody acknowledges is told again after so long; 0: never."""
    escalate_s: Interval = 900
    """An alarm that nobody acknowledges is told to the next step of recipients after so long; 0: never."""
    mqtt: bool = True
    """Alarms are published to subscribers of this gateway's listener, retained while they last."""
    timeout_s: Seconds = 30
    """Time for handing one notification over."""
    retry_max_s: Seconds = 300
    """Longest wait before a notification that could not be handed over is tried again."""
    ca: Path | None = None
    """CA certificates that these endpoints must descend from, PEM; empty: those of the system."""
    maintenance_s: Interval = 28_800
    """A sensor that is in maintenance for longer raises an alarm; 0: never."""
