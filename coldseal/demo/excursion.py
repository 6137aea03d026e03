"""The demo's excursion: a fridge whose door is left open, told from its first reading to the receipt.

The profile, the assignment and everything that is told come from the real commands and the real log. The
limits are those of a demo of a minute: seconds stand where a product has hours.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.log.record import parse_entry
from coldseal.demo.programs import prepare
from coldseal.demo.verdict import Check
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.writer import LOG_FOLDER
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.core.log.record import Entry

ASSET: Final = "fridge-1"
EXPECTED: Final = ("opened", "escalated", "recovered")
_WHY: Final = ("--why", "the demo's product")
_MARKS: Final = (b',"kind":"excursion",', b',"kind":"alarm",')

PROFILE: Final = """\
# The demo's product: 2 to 8 degrees Celsius, with seconds where a product has hours.
name = "demo-product"
version = 1
title = "Demo product, 2 to 8 Cel"
interval = "1 s"
silence = "30 s"

[quantities.temperature]
unit = "Cel"
low = 2
high = 8
hysteresis = 0.5
recover_after = 3
limits = [{ direction = "high", at = 8, tier = "excursion", single = "1 s", cumulative = "60 s" }]
mkt = { limit = 8, window = "1 h" }
"""


class Story(NamedTuple):
    """What the log says of one excursion, and when the service's receipt came.

    Attributes:
        entries: its excursion entries, in order.
        alarms: the alarms about it.
        receipt_ms: when the first receipt over its last entry came, UTC milliseconds; None without one.
    """

    entries: tuple[Entry, ...]
    alarms: tuple[Entry, ...]
    receipt_ms: int | None


async def assign(config: Path, device: str, sensor: str) -> None:
    """Have a product's profile hold for the fridge that a sensor watches.

    Raises:
        OperatorError: a command refuses.
    """
    profile = config.parent / "demo-product.toml"
    profile.write_text(PROFILE, encoding="utf-8")
    asset = ("gateway", "asset", "assign", str(config), ASSET)
    await prepare("gateway", "profile", "apply", str(config), str(profile), *_WHY)
    await prepare(*asset, "--kind", "fridge", "--sensor", f"{device}/{sensor}", *_WHY)
    await prepare(*asset, "--profile", "demo-product", *_WHY)


def read_story(config: Path) -> Story | None:
    """Read the longest excursion of the fridge from the log on disk; None if there is none."""
    settings = load_gateway(config)
    key = read_symmetric_key(settings.store.key, config.parent)
    told: dict[str, list[Entry]] = {}
    alarms: list[Entry] = []
    with closing(LogReader(settings.gateway.data / LOG_FOLDER, key)) as reader:
        for raw in reader.read_from(0):
            if any(mark in raw for mark in _MARKS):
                entry = parse_entry(raw)
                if entry.kind == "alarm":
                    alarms.append(entry)
                elif entry.data.get("asset") == ASSET:
                    told.setdefault(str(entry.data["id"]), []).append(entry)
    if not told:
        return None
    name, entries = max(told.items(), key=lambda found: len(found[1]))
    with closing(Receipts(settings.gateway.data, key, readonly=True)) as receipts:
        over = [each for each in receipts.all() if each.size > entries[-1].seq]
    received = min(over, key=lambda each: each.size).received_ms if over else None
    about = tuple(each for each in alarms if each.data.get("about") == name)
    return Story(tuple(entries), about, received)


def tell(story: Story | None) -> list[str]:
    """Tell it in lines, each with its time since the first reading that was out of range."""
    if story is None:
        return []
    began = moment_ms(str(story.entries[0].data["from"]))
    lines = [_line(began, entry, _said(entry.data)) for entry in story.entries]
    lines += [
        _line(began, entry, f"alarm {entry.data['action']}, {entry.data.get('tier', '')}")
        for entry in story.alarms
    ]
    if story.receipt_ms is not None:
        lines.append(f"+{(story.receipt_ms - began) / 1000:.1f} s  the service's receipt covers all of it")
    first = story.entries[0].data
    return [
        f"{ASSET}: first reading out of range, {first['value']} {first['unit']}",
        *sorted(lines, key=_age),
    ]


def checks(story: Story | None) -> tuple[Check, ...]:
    """Hold the story against what must be in the log."""
    actions = tuple(str(entry.data["action"]) for entry in story.entries) if story else ()
    raised = bool(story and any(entry.data["action"] == "raised" for entry in story.alarms))
    mkt = story.entries[-1].data.get("mkt") if story else None
    value = str(mkt.get("v")) if isinstance(mkt, dict) else ""
    has_receipt = bool(story and story.receipt_ms is not None)
    return (
        Check("excursion", ", ".join(actions), ", ".join(EXPECTED), actions == EXPECTED),
        Check("excursion: alarm", "raised" if raised else "none", "raised", raised),
        Check("excursion: mean kinetic temperature", f"{value} Cel" if value else "none", "", bool(value)),
        Check("excursion: receipt", "yes" if has_receipt else "none", "yes", has_receipt),
    )


def _said(data: Mapping[str, Any]) -> str:
    """Say what an excursion entry says."""
    mkt = data.get("mkt")
    kinetic = ""
    if isinstance(mkt, dict):
        kinetic = f", MKT {mkt['v']} Cel over {float(mkt['covered']):.1%} of its window"
    return (
        f"{data['action']}, {data['tier']}: {data['duration']} s out of range, extreme {data['extreme']} "
        f"{data['unit']}, {data['area']} {data['unit']}·min{kinetic}"
    )


def _line(began: int, entry: Entry, said: str) -> str:
    """Write a line of the story."""
    return f"+{(moment_ms(entry.t) - began) / 1000:.1f} s  entry {entry.seq}: {said}"


def _age(line: str) -> float:
    """Give the time that a line begins with."""
    return float(line.partition(" ")[0])
