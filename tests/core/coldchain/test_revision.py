"""Claims about differences of profiles: each is told once, with what it does to those who are judged."""

from __future__ import annotations

import pytest

from coldseal.core.coldchain.revision import Effect, diff, render_change
from tests.core.coldchain.profiles import VACCINE, profile

STRICTER, LAXER, OTHER = Effect.STRICTER, Effect.LAXER, Effect.OTHER
LOW = '\n[[quantities.temperature.limits]]\ndirection = "low"\nat = 0\ntier = "critical"\nsingle = "0 s"\n'
MKT = '[quantities.temperature.mkt]\nlimit = 8\nwindow = "24 h"\n'
HUMIDITY = '[quantities.humidity]\nunit = "%RH"\nlow = 10\nhigh = 60\n'
PLACE = "quantities.temperature"


@pytest.mark.parametrize(
    ("old", "new", "effect", "said"),
    [
        ("low = 2", "low = 3", STRICTER, f"{PLACE}.low: 2 Cel → 3 Cel (stricter)"),
        ("low = 2", "low = 1.5", LAXER, f"{PLACE}.low: 2 Cel → 1.5 Cel (laxer)"),
        ("low = 2\n", "", LAXER, f"{PLACE}.low: gone, was 2 Cel (laxer)"),
        ("hysteresis = 0.5", "", LAXER, f"{PLACE}.hysteresis: 0.5 Cel → 0 Cel (laxer)"),
        (
            "recover_after = 2",
            "recover_after = 5",
            STRICTER,
            f"{PLACE}.recover_after: 2 readings → 5 readings (stricter)",
        ),
        (
            "recover_after = 2",
            'recover_after = 2\ndoor_open = "5 min"',
            LAXER,
            f"{PLACE}.door_open: 0 s → 5 min (laxer)",
        ),
        (
            "recover_after = 2",
            'recover_after = 2\nalarm_delay_high = "5 min"',
            LAXER,
            f"{PLACE}.alarm_delay_high: 0 s → 5 min (laxer)",
        ),
        (
            "recover_after = 2",
            'recover_after = 2\nalarm_delay_low = "5 min"',
            LAXER,
            f"{PLACE}.alarm_delay_low: 0 s → 5 min (laxer)",
        ),
        (
            'single = "1 h"',
            'single = "30 min"',
            STRICTER,
            f"{PLACE}.limits high 8 excursion single: 1 h → 30 min (stricter)",
        ),
        ('single = "1 h"\n', "", LAXER, f"{PLACE}.limits high 8 excursion single: gone, was 1 h (laxer)"),
        (
            'cumulative = "2 h"',
            'cumulative = "3 h"',
            LAXER,
            f"{PLACE}.limits high 8 excursion cumulative: 2 h → 3 h (laxer)",
        ),
        (MKT, LOW + MKT, STRICTER, f"{PLACE}.limits low 0 critical: new, single 0 s (stricter)"),
        (MKT, "", LAXER, f"{PLACE}.mkt: gone, was 8 Cel (laxer)"),
        ("limit = 8", "limit = 7", STRICTER, f"{PLACE}.mkt.limit: 8 Cel → 7 Cel (stricter)"),
        ('window = "24 h"', 'window = "30 d"', OTHER, f"{PLACE}.mkt.window: 24 h → 30 d"),
        ("limit = 8", "limit = 8\ndelta_h = 90", OTHER, f"{PLACE}.mkt.delta_h: 83.144 kJ/mol → 90 kJ/mol"),
        (MKT, MKT + HUMIDITY, STRICTER, "quantities.humidity: new, from 10 to 60 %RH (stricter)"),
        (
            MKT,
            MKT + HUMIDITY.replace("low = 10", ""),
            STRICTER,
            "quantities.humidity: new, to 60 %RH (stricter)",
        ),
        (
            MKT,
            MKT + HUMIDITY.replace("high = 60", ""),
            STRICTER,
            "quantities.humidity: new, from 10 %RH (stricter)",
        ),
        ('interval = "5 min"', 'interval = "1 min"', OTHER, "interval: 5 min → 1 min"),
        ('silence = "20 min"', 'silence = "1 h"', LAXER, "silence: 20 min → 1 h (laxer)"),
        ("guard_band = false", "guard_band = true", STRICTER, "guard_band: false → true (stricter)"),
        ("version = 1", "version = 2", OTHER, "version: 1 → 2"),
        ("version = 1", 'version = 1\ntitle = "V"', OTHER, "title: '' → 'V'"),
        ('"vaccine-a"', '"vaccine-b"', OTHER, "name: vaccine-a → vaccine-b"),
    ],
)
def test_each_change_is_told_with_its_effect(old: str, new: str, effect: Effect, said: str) -> None:
    """In words, with the keys of the document; the other way round it is the opposite."""
    before, after = profile(), profile(VACCINE, (old, new))
    (change,) = diff(before, after)
    assert (render_change(change), change.effect) == (said, effect)
    (back,) = diff(after, before)
    opposite = {STRICTER: LAXER, LAXER: STRICTER, OTHER: OTHER}
    assert back.effect is opposite[effect]
    assert (back.before, back.after) == (change.after, change.before)


def test_a_lower_high_is_stricter() -> None:
    """As a higher low is."""
    text = 'name = "a"\nversion = 1\n[quantities.t]\nunit = "Cel"\nhigh = 8\n'
    (change,) = diff(profile(text), profile(text, ("high = 8", "high = 7")))
    assert render_change(change) == "quantities.t.high: 8 Cel → 7 Cel (stricter)"


def test_a_unit_that_changes_makes_neither_stricter_nor_laxer() -> None:
    """The numbers cannot be compared."""
    text = f"{VACCINE.replace(MKT, '')}{HUMIDITY}"
    (change,) = diff(profile(text), profile(text, ("%RH", "ppm")))
    assert render_change(change) == "quantities.humidity.unit: %RH → ppm"


def test_mkt_that_is_new_is_stricter_and_the_same_profile_has_no_changes() -> None:
    """Nothing is told twice."""
    without = profile(VACCINE, (MKT, ""))
    assert [render_change(each) for each in diff(without, profile())] == [
        f"{PLACE}.mkt: new, 8 Cel (stricter)"
    ]
    assert diff(profile(), profile()) == []


def test_limits_are_told_in_a_fixed_order() -> None:
    """By side, value and gravity, whatever the order of the document."""
    more = LOW.replace("at = 0", "at = 15").replace('"low"', '"high"')
    found = diff(profile(), profile(VACCINE, (MKT, f"{LOW}{more}{MKT}")))
    assert [each.key.rpartition("limits ")[2] for each in found] == ["high 15 critical", "low 0 critical"]
