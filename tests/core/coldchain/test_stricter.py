"""What a difference of profiles calls stricter never makes judging kinder: held against judging itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldseal.core.coldchain.effects import Measured
from coldseal.core.coldchain.product import ProductProfile, Tier
from coldseal.core.coldchain.rehearsal import excursions_of, rehearse
from coldseal.core.coldchain.revision import Effect, diff
from coldseal.core.coldchain.series import Row
from tests.core.coldchain.profiles import VACCINE, profile

STEP_MS = 300_000
MKT = "\n[quantities.temperature.mkt]"
LOW = '\n[[quantities.temperature.limits]]\ndirection = "low"\nat = 1\ntier = "critical"\nsingle = "10 min"\n'
BASIS = VACCINE.replace("recover_after = 2", 'recover_after = 2\ndoor_open = "15 min"')
CHANGES = {
    "low": ("low = 2", "low = 3"),
    "high and its limit": ("high = 8\n", "high = 7.5\n"),
    "hysteresis": ("hysteresis = 0.5", "hysteresis = 1.5"),
    "recover_after": ("recover_after = 2", "recover_after = 4"),
    "single": ('single = "1 h"', 'single = "15 min"'),
    "cumulative": ('cumulative = "2 h"', 'cumulative = "1 h"'),
    "a limit more": (MKT, f"{LOW}{MKT}"),
    "door_open": ('door_open = "15 min"', 'door_open = "5 min"'),
}


def seen(found: ProductProfile, values: list[int]) -> tuple[int, int]:
    """Judge values; give the weight of the gravest tier, and how long all excursions lasted together."""
    rows = [
        Row(at * STEP_MS, (Measured("temperature", "Cel", value, at * STEP_MS),))
        for at, value in enumerate(values)
    ]
    excursions = excursions_of(rehearse(found, rows))
    tiers = [Tier(str(each.last["tier"])).weight for each in excursions if not each.last.get("tolerated")]
    spans = [(each.to_ms if each.is_over else rows[-1].received_ms) - each.from_ms for each in excursions]
    return max(tiers, default=0), sum(spans)


@pytest.mark.parametrize("name", CHANGES)
@given(values=st.lists(st.integers(0, 24).map(lambda half: half * 500), min_size=3, max_size=40))
@settings(max_examples=60, deadline=None)
def test_stricter_is_never_kinder(name: str, values: list[int]) -> None:
    """Neither the gravest tier nor the time in excursions gets less, whatever the readings are."""
    before, after = profile(BASIS), profile(BASIS, CHANGES[name], *_with(name))
    assert {each.effect for each in diff(before, after)} - {Effect.OTHER} == {Effect.STRICTER}
    one, other = seen(before, values), seen(after, values)
    assert other[0] >= one[0]
    assert other[1] >= one[1]


def _with(name: str) -> tuple[tuple[str, str], ...]:
    """Give what has to change with it: mean kinetic temperature lies within the range."""
    return (("limit = 8", "limit = 7.5"),) if name.startswith("high") else ()
