"""Readings for the tests of judging: drawn by a seed, with everything that happens to readings."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from coldseal.core.coldchain.effects import Effect, Measured
from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.core.coldchain.product import ProductProfile
from coldseal.core.coldchain.register import Plan
from tests.core.coldchain.cases import load_profile

START_MS = 1_772_409_600_000
MINUTE = 60_000


class Given(NamedTuple):
    """One reading to judge."""

    plan: Plan
    measured: Sequence[Measured]
    received_ms: int


def plan_of(profile: ProductProfile | str = "fridge", sensor: int = 0, assets: int = 1) -> Plan:
    """Give the plan of one of many sensors."""
    found = load_profile(profile) if isinstance(profile, str) else profile
    return Plan(f"probe-{sensor}", "core", f"asset-{sensor % assets}", found)


def draw(chance: random.Random, count: int, *, sensors: int = 3, late: float = 0.05) -> Iterator[Given]:
    """Draw readings: mostly good, with walks out of range, gaps, late ones, nonsense, a clock that steps."""
    plans = [plan_of(("fridge", "humid", "bare")[each % 3], each, 2) for each in range(sensors)]
    times, values = [START_MS] * sensors, [5_000] * sensors
    for _ in range(count):
        which = chance.randrange(sensors)
        passed = chance.choice([5] * 30 + [4, 6, 9, 11, 45, 0, -90]) * MINUTE + chance.randrange(1000)
        now_ms = times[which] = times[which] + passed
        values[which] += chance.randrange(-900, 901) + (5_000 - values[which]) // 12
        if chance.random() < 0.02:
            values[which] = chance.choice([9_000, 16_000, -1_500, 5_000])
        value, taken_ms = values[which], now_ms
        if chance.random() < late:
            taken_ms -= chance.randrange(1, 60) * MINUTE
            value += chance.choice([0, 4_000])
        if chance.random() < 0.005:
            value = 900_000
        measured = [Measured("temperature", "Cel", value, taken_ms)]
        if which % 3 == 1:
            measured.append(Measured("humidity", "%RH", 50_000 + value, taken_ms))
        yield Given(plans[which], measured, now_ms)


def judge_all(evaluation: Evaluation, given: Sequence[Given]) -> list[Effect]:
    """Judge readings one after the other."""
    found: list[Effect] = []
    for plan, measured, received_ms in given:
        found += evaluation.judge(plan, measured, received_ms=received_ms).effects
    return found
