"""A gateway that drains a backlog does not keep the receipts of others back."""

from __future__ import annotations

import asyncio

from tests.sealed import SealedLog, new_keys
from tests.service.bench import Bench

BACKLOG_BATCHES = 40
LIVE_BATCHES = 10


async def test_live_batches_get_their_receipts_while_another_log_drains(bench: Bench) -> None:
    """Each log has its own lock, and all share commits: who sends little waits for a batch, not a backlog."""
    drains = bench.admit(SealedLog())
    lives = bench.admit(SealedLog(origin="coldseal.example/site-7/gw-0002", keys=new_keys()))
    backlog: list[bytes] = []
    live: list[bytes] = []
    for _ in range(BACKLOG_BATCHES):
        first = drains.size if backlog else 0
        backlog.append(drains.grow(100).body(first))
    for _ in range(LIVE_BATCHES):
        first = lives.size if live else 0
        live.append(lives.grow(2).body(first))
    order: list[str] = []

    async def send(name: str, bodies: list[bytes]) -> None:
        for body in bodies:
            await bench.take(body)
            order.append(name)

    await asyncio.gather(send("backlog", backlog), send("live", live))

    done = len(order) - order[::-1].index("live")
    assert order.count("backlog") == BACKLOG_BATCHES
    assert order[:done].count("backlog") <= 2 * LIVE_BATCHES + 2
