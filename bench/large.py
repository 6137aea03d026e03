"""Rows about a large log: how soon a gateway is ready again after SIGKILL, and what one proof costs.

The log is sealed by the gateway's own journal, one signature for each commit; then its writer is killed. Too
long for a whole run: ``--only large``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bench.evidence import PROOF_GOAL_MS, body, prove
from bench.programs import MeasurementError
from bench.report import Row
from bench.sites import make_gateway, run_gateway
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from bench.rows import Bench, Measure

START_GOAL_S = 1.0
MODE = "gateway.signature=checkpoint"
ROOM = "store.limit_mb=65536"
_GROUP = 1_000


def large(bench: Bench) -> Iterator[Row]:
    """Measure a start after SIGKILL, and a proof."""
    count = 100_000 if bench.is_quick else 10_000_000
    folder = make_gateway(bench.credentials, bench.place("large"))
    with run_gateway(folder, mode="checkpoint"):
        pass  # its genesis is on disk now
    filled = subprocess.run([sys.executable, "-m", "bench.large", folder, str(count)], check=False)
    if filled.returncode != -signal.SIGKILL:
        raise MeasurementError(f"the log could not be filled: {filled.returncode}")
    begun = time.perf_counter()
    with run_gateway(folder, mode="checkpoint", settings=(ROOM,)) as gateway:
        ready = time.perf_counter() - begun
        entries = gateway.entries()
    opened = _opening(folder / "gateway.log")
    note = f"after SIGKILL with {entries:,} entries; of it {opened * 1000:.0f} ms to open the log"
    yield Row(
        key="large",
        figure="gateway ready again, from the start of its process",
        value=ready,
        unit="s",
        goal=START_GOAL_S,
        sense="≤",
        note=note,
    )
    config = load_gateway(folder / "gateway.toml")
    with closing(
        LogReader(config.gateway.data / LOG_FOLDER, read_symmetric_key(config.store.key, folder))
    ) as reader:
        size = reader.size()
        root = reader.root(size)
        taken = [prove(reader, size, root, seq) for seq in random.Random(1).sample(range(size), 50)]
    yield Row(
        key="large",
        figure="proof of one entry out of a large log",
        value=statistics.median(taken) * 1000,
        unit="ms",
        goal=PROOF_GOAL_MS,
        sense="≤",
        note=f"out of {size:,}, from the store; the slowest of 50 took {max(taken) * 1000:.0f} ms",
    )


def _opening(log: Path) -> float:
    """Give the seconds that the last start took to open its log, by its own word."""
    lines = [
        json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if '"store.opened"' in line
    ]
    return float(lines[-1]["seconds"])


async def _fill(folder: Path, count: int) -> None:
    """Seal so many readings, and end as a crash would."""
    config = load_gateway(folder / "gateway.toml", (MODE, ROOM))
    async with Run.open(config) as run:
        upkeep = asyncio.ensure_future(run.log.maintain())
        for first in range(0, count, _GROUP):
            now = run.clock.now()
            drafts = []
            for seq in range(first, first + _GROUP):
                _, _, _, src, data = body(seq)
                drafts.append(run.journal.draft("reading", data, now, src))
            await run.journal.commit(run.journal.hand_over(drafts, bytes))
        del upkeep
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    """Fill a log; does not return."""
    folder, count = arguments
    asyncio.run(_fill(Path(folder), int(count)))


ROWS: dict[str, Measure] = {"large": large}
"""This row, by the name that ``--only`` takes."""

if __name__ == "__main__":
    main(sys.argv[1:])
