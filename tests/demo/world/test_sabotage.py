"""The simulator proves itself: each seeded fault is found, within few seeds."""

from __future__ import annotations

import pytest

from coldseal.demo.world.campaign import search
from coldseal.demo.world.sabotage import SABOTAGES

MOST = 60
"""Seeds within which a fault must be found: some seconds."""


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_seeded_fault_is_found(name: str) -> None:
    """A part that is not what it should be breaks the promise in one of the first runs."""
    found = search(name, range(1, MOST + 1))
    assert found is not None, f"{name} was not found in {MOST} runs"
    assert found.broken
