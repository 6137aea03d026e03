"""Routes through kills of their process and faults of their sink, for a while: nothing is lost or altered."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.gateway.routing.killing import program
from tests.gateway.routing.rig import Endpoint, Grounds
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_261_122
LIVES = 60
CULPRIT = 97
"""One entry in so many is refused for good."""


class Moody:
    """How a sink answers: mostly well, sometimes busy, and never well to a culprit."""

    def __init__(self, chance: random.Random) -> None:
        """Take the dice."""
        self._chance = chance

    def __call__(self, body: bytes) -> int:
        """Give a status."""
        found = json.loads(body)
        seqs = [each["seq"] for each in (found if isinstance(found, list) else [found])]
        if self._chance.random() < 0.05:
            return self._chance.choice((429, 500, 503))
        return 422 if any(seq % CULPRIT == CULPRIT - 1 for seq in seqs) else 200


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", [1, 25])
async def test_routes_lose_nothing_over_many_lives(tmp_path: Path, batch: int) -> None:
    """Each life ends by SIGKILL at a random moment; the sink has faults meanwhile, and dies as well."""
    seed, began = SEED + batch, time.monotonic()
    chance = random.Random(seed)
    grounds = Grounds(tmp_path)
    async with grounds.endpoint() as sink:
        sink.answer = Moody(chance)
        grounds.route("erp", sink.url, "quarantine_max = 100000", batch=batch)
        await grounds.grow(50)
        grounds.config()
        for _ in range(LIVES):
            await _live(grounds, sink, chance)
        sink.answer = lambda body: 422 if Moody(random.Random(0))(body) == 422 else 200
        size = grounds.log.size
        async with program(str(grounds.path)):
            await until(lambda: grounds.position("erp") == size, within_s=600)
    _check(grounds, sink, size)
    count = len(sink.posted)
    sys.stdout.write(
        f"seed {seed}, batch {batch}: {LIVES} kills, {size} entries, {count} requests, "
        f"{count - len(sink.taken)} of them not taken, {len(sink.seqs) - len(set(sink.seqs))} entries twice, "
        f"{time.monotonic() - began:.0f} s\n"
    )


async def _live(grounds: Grounds, sink: Endpoint, chance: random.Random) -> None:
    """Let the process live for a while, with a sink that may be away, and kill it."""
    is_away = chance.random() < 0.2
    async with program(str(grounds.path)) as process:
        if is_away:
            await sink.stop()
        await grounds.grow(chance.randrange(1, 40))
        goal = len(sink.posted) + chance.randrange(1, 30)
        deadline = time.monotonic() + 0.5 + chance.random()
        await until(lambda: len(sink.posted) >= goal or time.monotonic() > deadline)
        if is_away:
            await sink.start()
            await asyncio.sleep(0)
        process.kill()


def _check(grounds: Grounds, sink: Endpoint, size: int) -> None:
    """Hold what arrived against the log."""
    culprits = {seq for seq in range(size) if seq % CULPRIT == CULPRIT - 1}
    assert set(sink.seqs) == set(range(size)) - culprits
    first_seen = list(dict.fromkeys(sink.seqs))
    assert first_seen == sorted(first_seen)
    kept = grounds.kept()
    try:
        assert {each.seq for each in kept.aside("erp")} == culprits
    finally:
        kept.close()
    for each in sink.taken:
        found = json.loads(each.body)
        for article in found if isinstance(found, list) else [found]:
            raw = grounds.log.entries[article["seq"]]
            assert raw == b'{"body":%b,"sig":"%b"}' % (article["canonical"].encode(), article["sig"].encode())
        if len(each.seqs) == 1:
            assert each.key == grounds.keys(each.seqs)[0]
