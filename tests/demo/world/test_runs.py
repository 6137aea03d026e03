"""Runs of whole worlds: what must hold at every moment holds, and a seed gives the same run again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from coldseal.demo.world.campaign import describe
from coldseal.demo.world.plan import Trouble, draw_plan
from coldseal.demo.world.run import play

if TYPE_CHECKING:
    from coldseal.demo.world.stage import Stage

SHARE: Final = 50
CASES: Final = [
    line.split(maxsplit=1)
    for line in Path(__file__).with_name("seeds.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
_SCRIPT: Final = """
import sys
from coldseal.demo.world.run import play
from coldseal.demo.world.stage import open_stage
with open_stage() as stage:
    print(*(play(stage, int(seed)).digest for seed in sys.argv[1:]))
"""


@pytest.mark.parametrize("first", range(1, 101, SHARE))
def test_nothing_breaks_in_any_of_these_runs(stage: Stage, first: int) -> None:
    """Acknowledged is sealed, delivered is what was sealed, once and in order, through all troubles."""
    counts: Counter[str] = Counter()
    for seed in range(first, first + SHARE):
        found = play(stage, seed)
        assert not found.broken, describe(found)
        counts.update(found.counts)
    for what in ("told", "stored", "struck", "lost", "gateway-down", "service-down", "healed", "excursion"):
        assert counts[what] > 0, f"{what} never happened"


@pytest.mark.parametrize(("seed", "reason"), CASES)
def test_a_run_that_once_broke_does_not_break_again(stage: Stage, seed: str, reason: str) -> None:
    """Each seed of the list plays to its end."""
    found = play(stage, int(seed))
    assert not found.broken, f"{reason}\n{describe(found)}"


def test_a_seed_gives_the_same_run_again(stage: Stage) -> None:
    """Every line of two runs of one seed agrees, and no two seeds have the same run."""
    digests = {seed: play(stage, seed).digest for seed in range(1, 5)}
    assert {seed: play(stage, seed).digest for seed in digests} == digests
    assert len(set(digests.values())) == len(digests)


def test_a_seed_gives_the_same_run_in_another_process(stage: Stage) -> None:
    """Neither the places of objects in memory nor the hashes of texts play a part."""
    seeds = [3, 11, 174]
    here = [play(stage, seed).digest for seed in seeds]
    found = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *map(str, seeds)],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == here


def test_every_trouble_is_drawn() -> None:
    """Each kind of trouble, both modes of sealing, midnights, and days of partition."""
    plans = [draw_plan(seed) for seed in range(3_000)]
    assert {event.trouble for plan in plans for event in plan.events} == set(Trouble)
    assert {plan.mode for plan in plans} == {"record", "checkpoint"}
    assert any(plan.begins_s < plan.span_s for plan in plans)
    assert any(event.for_s > 86_400 for plan in plans for event in plan.events)
