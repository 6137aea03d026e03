"""What a recovery puts on record: the gap, and in a next log those entries of the one before it takes over.

Promise: the loss is stated by ranges of seq, and what can still be read and has no receipt is carried over,
byte by byte, so that nothing readable is lost with the old log. Decides nothing.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log.canonical import encode, encode_base64
from coldseal.core.log.record import parse_entry
from coldseal.gateway.clock import render_time
from coldseal.gateway.records import place_of
from coldseal.gateway.survey import Outcome
from coldseal.gateway.writer import Run, open_log, start_drafts
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.redelivery import Redelivery
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.survey import Survey

CAUSE: Final = "damage"
MAX_RANGES: Final = 400
"""Ranges in one gap entry at most: of more, those next to one another count as one."""

MAX_CARRIED: Final = 56_000
"""Bytes of what an `import` entry says at most: a longer entry is carried by its hash alone."""

_GROUP: Final = 64
_HERE: Final = Path()
_WHO: Final = "coldseal"
_WHY: Final = "the log before was damaged; this entry of it had no receipt"


class Plan(msgspec.Struct, frozen=True):
    """What was found, and what is done.

    Args:
        outcome: how the log goes on.
        origin: under which name.
        size: entries up to the last one that was saved.
        known: entries that it is known to have had.
        unreadable: ranges that could not be read here, each as first and last seq.
        filled: ranges of them that the service gave.
        lost: ranges that nobody has.
        carried: entries that the next log takes over.
        service: how many entries the service has; None if it was not asked or did not answer.
        published: entries below the newest receipt.
        quarantine: where the old files are, below the data folder.
        gap: the entry that states it; below 0 in a dry run.
    """

    outcome: Outcome
    origin: str
    size: int
    known: int
    unreadable: list[tuple[int, int]]
    filled: list[tuple[int, int]]
    lost: list[tuple[int, int]]
    carried: int
    service: int | None
    published: int
    quarantine: str
    gap: int = -1


def gap_data(origin: str, plan: Plan, clock: Clock) -> dict[str, Value]:
    """Give what the `gap` entry of a recovery says.

    Args:
        origin: the log that was damaged.
        plan: what was found.
        clock: gives the moment.
    """
    return {
        "cause": CAUSE,
        "filled": _ranges(plan.filled),
        "log": origin,
        "lost": _ranges(plan.lost),
        "noticed": render_time(clock.now().t_ms),
        "quarantine": plan.quarantine,
        "unreadable": _ranges(plan.unreadable),
    }


def _ranges(pairs: Sequence[tuple[int, int]]) -> list[Value]:
    """Write ranges down."""
    step = -(-len(pairs) // MAX_RANGES) or 1
    parts = [pairs[at : at + step] for at in range(0, len(pairs), step)]
    return [
        {
            "count": sum(last - first + 1 for first, last in part),
            "first": part[0][0],
            "last": part[-1][1],
        }
        for part in parts
    ]


async def carry(
    config: GatewayConfig,
    survey: Survey,
    plan: Plan,
    known: Redelivery,
    clock: Clock,
    *,
    access: bytes = b"",
) -> int:
    """Begin the next log: with its genesis, the gap, and what it takes over; gives the seq of the gap.

    Args:
        config: with the next origin, and the folder where the log is made.
        survey: what was saved of the log before.
        plan: what was found.
        known: the messages that were sealed there lately.
        clock: gives the moment.
        access: what the `access` entry says of whoever asked for it; empty for what a start does by itself.

    Raises:
        OperatorError: the next log cannot begin so.
        UnavailableError: it cannot be written.
    """
    log = open_log(config, read_symmetric_key(config.store.key, _HERE), clock.now().t_ms)
    try:
        run = Run(config, log, clock, before=survey.checkpoint_key())
        run.known.redelivery = known
        await run.append(start_drafts(config, log, run.keys, run.journal, clock))
        said = [("access", access)] if access else []
        said.append(("gap", encode(gap_data(survey.origin, plan, clock))))
        *_, gap = await run.append([run.journal.draft(*each, clock.now()) for each in said])
        imports = (
            run.journal.draft("import", encode(carried(raw, _WHO, _WHY)), clock.now())
            for raw in survey.entries_from(plan.published, is_all=bool(config.uplink.url))
        )
        while group := list(islice(imports, _GROUP)):
            await run.append(group)
        end: dict[str, Value] = {"reason": "the recovery that began this log has ended"}
        await run.append([run.journal.draft("shutdown", encode(end), clock.now())])
    finally:
        await log.close()
    return place_of(gap).seq


def carried(raw: bytes, who: str, why: str) -> dict[str, Value]:
    """Give the data of an `import` entry that carries an entry over from another log, or another history."""
    entry = parse_entry(raw)
    data: dict[str, Value] = {
        "bytes": len(raw),
        "name": f"{entry.log}#{entry.seq}",
        "sha256": encode_base64(sha256(raw).digest()),
        "who": who,
        "why": why,
    }
    whole = data | {"entry": raw.decode()}
    return whole if len(encode(whole)) <= MAX_CARRIED else data
