"""Claims about trying a profile: what it would have raised is what judging raises, excursion by excursion."""

from __future__ import annotations

import math

import pytest

from coldseal.core.coldchain.calibration import Calibration
from coldseal.core.coldchain.effects import Measured
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.product import MktRule
from coldseal.core.coldchain.rehearsal import excursions_of, rehearse, silences_of, warmth_of
from coldseal.core.coldchain.series import Row
from tests.core.coldchain.profiles import VACCINE, profile

START = moment_ms("2026-03-04T00:00:00Z")
STEP = 300_000


def rows(*values: float, step: int = STEP) -> list[Row]:
    """Make readings five minutes apart, in Cel."""
    return [
        Row(START + at * step, (Measured("temperature", "Cel", round(value * 1000), START + at * step),))
        for at, value in enumerate(values)
    ]


def test_what_stays_in_range_raises_nothing() -> None:
    """At the edges as well."""
    assert rehearse(profile(), rows(2, 5, 8, 5)) == []


def test_an_excursion_is_told_with_all_its_entries() -> None:
    """Opened by the first reading out of range, escalated after an hour, ended by the first of two within."""
    found = excursions_of(rehearse(profile(), rows(5, *[9] * 14, 7, 7, 5)))
    (excursion,) = found
    assert [each.data["action"] for each in excursion.events] == ["opened", "escalated", "recovered"]
    assert [each.data["tier"] for each in excursion.events] == ["warning", "excursion", "excursion"]
    assert (excursion.from_ms, excursion.to_ms) == (START + STEP, START + 15 * STEP)
    assert excursion.is_over
    assert (excursion.last["extreme"], excursion.last["area"], excursion.last["duration"]) == (
        "9",
        "70",
        4200,
    )


def test_one_that_no_reading_ends_is_open() -> None:
    """The readings end before."""
    (excursion,) = excursions_of(rehearse(profile(), rows(5, 9, 9)))
    assert not excursion.is_over
    assert excursion.id.endswith("/temperature/high/2026-03-04T00:05:00.000Z")


def test_two_excursions_are_two() -> None:
    """On either side of the range, in the order in which they began."""
    found = excursions_of(rehearse(profile(), rows(5, 1, 5, 5, 5, 9, 5, 5)))
    assert [each.last["direction"] for each in found] == ["low", "high"]


def test_silence_is_noticed_once_and_told_to_its_end() -> None:
    """After twenty minutes; what is shorter is none."""
    found = [*rows(5, 5), *(row._replace(received_ms=row.received_ms) for row in rows(*[5] * 12)[8:])]
    (gap,) = silences_of(rehearse(profile(), found))
    assert (gap.data["from"], gap.data["to"]) == ("2026-03-04T00:05:00.000Z", "2026-03-04T00:40:00.000Z")
    assert silences_of(rehearse(profile(), [*rows(5, 5), *rows(*[5] * 6)[5:]])) == []


def test_excursions_and_silences_are_told_apart() -> None:
    """Where both are there."""
    events = rehearse(profile(), [*rows(5, 9, 5, 5), *rows(*[5] * 20)[15:]])
    assert [each.kind for each in events] == ["excursion", "excursion", "gap", "gap"]
    assert (len(excursions_of(events)), len(silences_of(events))) == (1, 1)


def test_the_sensors_uncertainty_is_the_guard_band() -> None:
    """Where the profile has one."""
    day = moment_ms("2026-01-01T00:00:00Z")
    calibration = Calibration(
        id="c1",
        device="d",
        sensor="s",
        quantity="temperature",
        unit="Cel",
        calibrated_ms=day,
        due_ms=day * 2,
        uncertainty=300,
        certificate="1",
    )
    guarded = profile(VACCINE, ("guard_band = false", "guard_band = true"))
    assert rehearse(profile(), rows(5, 7.8), (calibration,)) == []
    (opened,) = rehearse(guarded, rows(5, 7.8), (calibration,))
    assert (opened.data["action"], opened.data["guard"]) == ("opened", "0.3")


def test_mean_kinetic_temperature_at_the_end_is_that_of_an_excursion_told_then() -> None:
    """The same law, the same sums."""
    values = [5 + 4 * math.sin(at / 30) for at in range(400)]
    entries = rehearse(profile(), rows(*values))
    last = [each for each in entries if each.data["action"] == "opened"][-1]
    upto = (last.at_ms - START) // STEP
    points = [(row.received_ms, row.measured[0].value) for row in rows(*values[: upto + 1])]
    found = warmth_of(MktRule(limit=8000, window_s=86_400), points, 300)
    told = last.data["mkt"]
    assert isinstance(told, dict)
    assert (f"{found.value / 1000:g}", f"{found.worst / 1000:g}") == (told["v"], told["worst"])


@pytest.mark.parametrize(("values", "covered"), [([5.0], 0), ([5.0] * 13, 41)])
def test_a_window_of_little_has_the_mean_of_what_is_there(values: list[float], covered: int) -> None:
    """One reading covers no time yet; an hour of a day is 4.1 %."""
    points = [(row.received_ms, row.measured[0].value) for row in rows(*values)]
    assert warmth_of(MktRule(limit=8000, window_s=86_400), points, 300) == (5000, 5000, covered)
