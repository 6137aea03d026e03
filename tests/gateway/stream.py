"""A site's readings over days, the same each time, and the real parts of a gateway that seal them.

Twenty sensors on four fridges: most of the time all is well; doors are left open, a sensor falls silent, some
readings come late. As a program it seals them from where the log ends, so that it can be killed and go on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from coldseal.gateway.clock import render_time
from coldseal.gateway.message import Outcome
from coldseal.gateway.store.space import Limits
from tests.gateway.judged import changing_of, holding_data, profile_data, sensor_data
from tests.gateway.parts import Answers, Hands, open_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.parts import Parts

FRIDGES, SENSORS = 4, 20
BEGIN_MS = 1_800_000_000_000
LIMITS = Limits(limit_mb=4_000, reserve_mb=1)
GROUP = 500


class Sent(NamedTuple):
    """One message: when it comes, from whom, and what it says."""

    t_ms: int
    device: str
    seq: int
    payload: bytes


def readings(count: int, seed: int) -> Iterator[Sent]:
    """Give the site's readings, one of each sensor a minute."""
    chance = Random(seed)
    warmth = [0.0] * SENSORS
    seqs = [0] * SENSORS
    made = minute = 0
    while made < count:
        minute += 1
        for sensor in range(SENSORS):
            if chance.random() < 0.003:
                warmth[sensor] = chance.choice((4.5, 6.0, 12.0, -4.0))
            warmth[sensor] *= 0.9
            if chance.random() < 0.02 or (sensor == 7 and minute % 200 > 190):
                continue
            t_ms = BEGIN_MS + minute * 60_000 + sensor * 1_000
            seqs[sensor] += 1
            value = f"{4.5 + warmth[sensor] + chance.uniform(-0.3, 0.3):.2f}"
            said = f'"t":"{render_time(t_ms - chance.choice((0, 0, 90_000, 600_000)))}",'
            when = said if chance.random() < 0.05 else ""
            text = f'{{"v":1,"seq":{seqs[sensor]},{when}"q":[{{"n":"temperature","u":"Cel","v":{value}}}]}}'
            yield Sent(t_ms, f"dev-{sensor}", seqs[sensor], text.encode())
            made += 1
            if made == count:
                return


def assign_site(parts: Parts, hands: Hands) -> None:
    """Have a profile hold for all fridges, and each watched by five sensors."""
    changing = changing_of(parts, hands)
    entries = [("profile", profile_data())]
    entries += [
        ("config", sensor_data(asset=f"fridge-{sensor % FRIDGES}", device=f"dev-{sensor}"))
        for sensor in range(SENSORS)
    ]
    entries += [("config", holding_data(f"fridge-{number}")) for number in range(FRIDGES)]
    for kind, data in entries:
        _ = changing.enter(kind, data)


async def seal(folder: Path, count: int, seed: int, *, pause_s: float = 0) -> int:
    """Seal the readings that the log does not have yet; gives how many those were."""
    hands, answers = Hands(BEGIN_MS), Answers()
    async with open_parts(
        folder, hands, mode="checkpoint", limits=LIMITS, max_pending=100_000, snapshot_entries=4_096
    ) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        if parts.projection.evaluator.register.is_empty:
            assign_site(parts, hands)
        sealed = waiting = 0
        known = {f"dev-{sensor}": parts.redelivery.latest(f"dev-{sensor}") for sensor in range(SENSORS)}
        for sent in readings(count, seed):
            latest = known[sent.device]
            if latest is not None and sent.seq <= latest[1]:
                continue
            topic = f"coldseal/v1/site-7/{sent.device}/reading/door"
            hands.wall_ms, hands.mono_ms = sent.t_ms, sent.t_ms - BEGIN_MS + 1_000
            parts.pipeline.submit(answers.to("x", sent.payload, hands=hands, device=sent.device, topic=topic))
            waiting += 1
            if waiting % GROUP == 0:
                await answers.reach(waiting)
                await asyncio.sleep(pause_s)
        parts.pipeline.stop()
        await running
        sealed = sum(outcome is Outcome.SEALED for _, outcome in answers.outcomes)
        assert sealed == waiting
    return sealed


if __name__ == "__main__":
    asyncio.run(seal(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
