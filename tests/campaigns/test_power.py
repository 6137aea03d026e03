"""Power cuts at every point of a log's life: whatever survives, all that was acknowledged does.

The suite plays a short life, ``make soak`` as many as give 100,000 different disks (COLDSEAL_POINTS), with
lives that begin with what a power cut left. COLDSEAL_SEED names the first life; another number gives others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import Final

import pytest

from coldseal.demo import medium
from coldseal.demo.disk import SimulatedDisk
from coldseal.demo.medium import Event
from coldseal.observe import logs
from tests.campaigns.crashes import Explorer, Figures
from tests.campaigns.lives import Life, Remains

SEED: Final = int(os.environ.get("COLDSEAL_SEED", "1"))
POINTS: Final = int(os.environ.get("COLDSEAL_POINTS", "100000"))
CORES: Final = 2


def explore(
    seed: int, steps: int, *, every: int = 1, after: Remains | None = None
) -> tuple[Figures, Explorer]:
    """Live, and lose the power behind each so-manieth event."""
    with Life(seed, steps, after=after) as life:
        life.run()
        explorer = Explorer(life.folder, life.entries, seed)
        return explorer.explore(life.disk.events, every=every), explorer


def explore_twice(seed: int) -> Figures:
    """Explore a whole life, and short ones that begin with what power cuts in it left."""
    logs.configure(level="critical")
    figures, explorer = explore(seed, 15)
    for number, remains in enumerate(explorer.remains):
        figures += explore(seed + number, 5, every=3, after=remains)[0]
    return figures


@pytest.mark.timeout(600)
def test_no_power_cut_loses_what_was_acknowledged() -> None:
    """While it takes load, copies its WAL, ends segments, prunes, starts: the short form."""
    figures, explorer = explore(SEED, 5, every=18)
    for remains in explorer.remains[:1]:
        figures += explore(SEED, 3, every=8, after=remains)[0]
    assert figures.findings == [], f"with seed {SEED}"
    assert figures.cuts >= 1_000


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_no_power_cut_of_many_lives_loses_what_was_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    """Every point of every life; what is judged are different disks."""
    figures, seeds = Figures(), count(SEED)
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(explore_twice, next(seeds)) for _ in range(CORES)]
        while running:
            figures += running.pop(0).result()
            if figures.judged < POINTS and not figures.findings:
                running.append(pool.submit(explore_twice, next(seeds)))
            with capsys.disabled():
                sys.stderr.write(f"power cuts, seeds from {SEED} on: {figures}\n")
    assert figures.findings == [], f"with seeds from {SEED} on"
    assert figures.judged >= POINTS


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "lie", [medium.ignores_syncs, medium.ignores_commits, medium.forgets_names, medium.tears_sectors]
)
def test_a_disk_that_lies_is_found_out(lie: Callable[[Event], Event | None]) -> None:
    """No sync at all, none at a commit (``synchronous = NORMAL``), none of a folder, one that tears."""
    disk = SimulatedDisk(is_recording=True)
    disk.lie = lie
    with Life(SEED, 12, disk=disk) as life:
        life.run()
        explorer = Explorer(life.folder, life.entries, SEED)
        found = explorer.explore(disk.events, every=5, findings=1).findings
    assert found, f"not found with seed {SEED}"


def test_acknowledging_before_the_commit_is_found_out() -> None:
    """The promise is kept by the order of two lines."""
    with Life(SEED, 12, is_hasty=True) as life:
        life.run()
        found = (
            Explorer(life.folder, life.entries, SEED).explore(life.disk.events, every=5, findings=1).findings
        )
    assert found
    assert "acknowledged" in found[0].why
