"""A million readings judged twice: in one go, and with restarts and groups that could not be committed."""

from __future__ import annotations

import random
from collections import Counter
from hashlib import sha256

import pytest

from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.core.log.canonical import parse
from tests.core.coldchain.series import draw
from tests.telling import tell

READINGS = 1_000_000
SENSORS = 60


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_readings_replayed_give_the_same_bytes() -> None:
    """Entries by their hash, and the whole state at the end."""
    seed = random.SystemRandom().randrange(2**32)
    tell(f"seed {seed}")
    once, straight = sha256(), Evaluation()
    actions: Counter[str] = Counter()
    for plan, measured, received_ms in draw(random.Random(seed), READINGS, sensors=SENSORS):
        for effect in straight.judge(plan, measured, received_ms=received_ms).effects:
            once.update(effect.data)
            actions[str(parse(effect.data, where="replay").get("action"))] += 1
    again, other, chance = sha256(), Evaluation(), random.Random(seed + 1)
    restarts = failed = 0
    for plan, measured, received_ms in draw(random.Random(seed), READINGS, sensors=SENSORS):
        judged = other.judge(plan, measured, received_ms=received_ms)
        if chance.random() < 0.05:  # could not be committed: taken back, and judged once more
            failed += 1
            other.undo(judged.before)
            judged = other.judge(plan, measured, received_ms=received_ms)
        if chance.random() < 0.0005:
            restarts += 1
            other = Evaluation.restore(other.snapshot())
        for effect in judged.effects:
            again.update(effect.data)
    tell(f"{READINGS:,} readings, {dict(actions)}, {restarts} restarts, {failed} taken back")
    assert again.digest() == once.digest()
    assert other.snapshot() == straight.snapshot()
    assert min(actions[each] for each in ("opened", "escalated", "recovered", "retrospective")) > 100
