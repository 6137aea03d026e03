"""Random schedules between the real uplink and the real ingestion: all arrives, once, in order, in silence.

The suite plays 15, ``make soak`` 1,500. COLDSEAL_SEED plays a schedule again.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.verification import Verifier
from tests.campaigns.figures import say
from tests.campaigns.schedules import Careless, Real, play
from tests.gateway.uplink.deliveries import grown
from tests.sealed import SealedLog
from tests.trial import Site

SEED = int(os.environ.get("COLDSEAL_SEED", "1"))


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """Give a pool that nobody asks."""
    verifier = Verifier(1, ServiceMetrics())
    yield verifier
    verifier.close()


def make_folder(tmp_path: Path, seed: int) -> Path:
    """Make the folder of one schedule."""
    folder = tmp_path / f"schedule-{seed}"
    folder.mkdir()
    return folder


async def stored(folder: Path) -> tuple[Site, SealedLog]:
    """Give a gateway's log on disk: many small checkpoints."""
    site, log, chance = Site(folder), SealedLog(), Random(SEED)
    site.admit(log)
    await site.store(grown(log, *(chance.randrange(1, 7) for _ in range(20))))
    return site, log


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("schedules", [15, pytest.param(1_500, marks=pytest.mark.soak)])
async def test_no_schedule_loses_doubles_or_reorders(
    tmp_path: Path, verifier: Verifier, schedules: int
) -> None:
    """Partitions, lost requests, lost answers, doubles, old batches that come late, restarts."""
    site, log = await stored(tmp_path)
    did: Counter[str] = Counter()
    for seed in range(SEED, SEED + schedules):
        folder = make_folder(tmp_path, seed)
        service = Real(site, folder, verifier)
        found = await play(site, folder, service, Random(seed), log.size)
        assert found.held == log.entries, f"seed {seed}"
        assert found.alarms == [], f"seed {seed}"
        did += found.did
        shutil.rmtree(folder)
    say(f"{schedules} schedules from seed {SEED}: {dict(did)}")
    assert min(did[what] for what in ("partition", "lost answer", "doubled", "reordered", "restarted")) > 0


@pytest.mark.parametrize("fault", ["unchecked", "over"])
async def test_a_careless_service_is_found(tmp_path: Path, fault: str) -> None:
    """Seeded faults: no check for duplicates; receipts for more than was stored."""
    site, log = await stored(tmp_path)
    found = 0
    for seed in range(SEED, SEED + 10):
        chance = Random(seed)
        folder = make_folder(tmp_path, seed)
        played = await play(site, folder, Careless(fault, chance), chance, log.size)
        found += played.held != log.entries or "witness-rolled-back" in played.alarms
    say(f"{fault}: found in {found} of 10 schedules from seed {SEED}")
    assert found == 10
