"""Ten thousand simulated worlds: nothing acknowledged is lost, doubled or out of order in any of them.

The suite plays the first 100 seeds (tests/demo/world). ``make soak`` plays 10,000 (COLDSEAL_SEEDS) on every
core, from COLDSEAL_SEED on. A seed that breaks is named with the command that plays it again.
"""

from __future__ import annotations

import os
import sys

import pytest

from coldseal.demo.world.campaign import play_seeds, search, summarise
from coldseal.demo.world.sabotage import SABOTAGES

FIRST = int(os.environ.get("COLDSEAL_SEED", "1"))
COUNT = int(os.environ.get("COLDSEAL_SEEDS", "10000"))


def tell(line: str) -> None:
    """Write a line where it is seen while the campaign runs."""
    sys.stdout.write(f"{line}\n")


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_no_world_breaks_the_promise() -> None:
    """All seeds play to their end."""
    score = play_seeds(range(FIRST, FIRST + COUNT), tell, workers=0)
    tell(summarise(score))
    assert score.runs == COUNT
    assert [found.seed for found in score.broken] == []


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SABOTAGES)
def test_every_seeded_fault_is_found_from_any_seed_on(name: str) -> None:
    """Also where nobody looked when the seeds were chosen."""
    found = search(name, range(FIRST + COUNT, FIRST + COUNT + 200))
    assert found is not None, f"{name} was not found"
    tell(f"{name}: {found.broken} (seed {found.seed})")
