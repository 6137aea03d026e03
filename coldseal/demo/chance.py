"""Chance in the simulation: weather, faults and their order. The same seed always gives the same draws.

Not for anything that is secret: who knows the seed knows every draw.
"""

from __future__ import annotations

from random import Random


def seeded(seed: int | str) -> Random:
    """Give the draws that a seed stands for."""
    return Random(seed)  # noqa: S311 -- the same seed must give the same run


def happens(chance: Random, share: float) -> bool:
    """Draw whether something happens that happens in this share of the cases, 0 to 1."""
    return chance.random() < share
