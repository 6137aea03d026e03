"""What goes on record of a measurement: unit, correction, dew point; the indication stands beside."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain.calibration import Calibration
from coldseal.core.coldchain.certificate import canonical_form, parse_calibration
from coldseal.core.coldchain.normalisation import doubts_of, normalise, recompute
from coldseal.core.coldchain.reading import Quantity, parse_quantity
from coldseal.core.coldchain.register import Plan
from coldseal.core.log import canonical
from coldseal.errors import InputError
from tests.core.coldchain.bad_calibrations import GOOD

TEMPERATURE = parse_calibration(GOOD, where="test")
OFFSET = {name: value for name, value in GOOD.items() if name != "points"}
HUMIDITY = parse_calibration(
    {**OFFSET, "quantity": "humidity", "unit": "%RH", "offset": "-1.5", "due": "2026-07-15"}, where="test"
)
BOTH = (TEMPERATURE, HUMIDITY)


def measured(name: str, unit: str, value: str, taken_at: str = "") -> Quantity:
    """Make a quantity as a device sends it."""
    return parse_quantity(name, unit, value, where="test", taken_at=taken_at)


def item(quantity: Quantity) -> dict[str, str]:
    """Read a quantity's form in an entry, which is canonical."""
    found: dict[str, str] = json.loads(quantity.encoded)
    assert canonical.encode(found).decode() == quantity.encoded
    return found


def test_a_calibrated_quantity_keeps_indication_value_and_calibration() -> None:
    """Sorted as canonical JSON has it."""
    (found,) = normalise((measured("temperature", "Cel", "5.00"),), BOTH)
    assert item(found) == {"c": TEMPERATURE.id, "i": "5.00", "n": "temperature", "u": "Cel", "v": "5.060"}
    assert (found.value, found.unit) == ("5.060", "Cel")


def test_a_converted_quantity_keeps_the_unit_of_its_indication() -> None:
    """With a calibration and without; its own time stays."""
    sent = measured("temperature", "[degF]", "41.0", "2026-03-04T05:06:07.000Z")
    (plain,), (corrected,) = normalise((sent,)), normalise((sent,), BOTH)
    assert item(plain) == {
        "i": "41.0",
        "iu": "[degF]",
        "n": "temperature",
        "t": "2026-03-04T05:06:07.000Z",
        "u": "Cel",
        "v": "5.00",
    }
    assert item(corrected) == {**item(plain), "c": TEMPERATURE.id, "v": "5.06"}


def test_an_indication_that_the_correction_leaves_as_it_is_stands_once() -> None:
    """The value is the indication; the calibration is named all the same."""
    level = parse_calibration({**OFFSET, "offset": "0"}, where="test")
    (found,) = normalise((measured("temperature", "Cel", "5.00"),), (level,))
    assert item(found) == {"c": level.id, "n": "temperature", "u": "Cel", "v": "5.00"}


def test_without_calibration_and_in_the_unit_of_record_nothing_changes() -> None:
    """The very same quantities, as they were decoded."""
    sent = (measured("temperature", "Cel", "5.00"), measured("battery", "%EL", "93"))
    assert normalise(sent) is sent
    assert normalise(sent, (HUMIDITY,)) == sent
    assert normalise((sent[0],), with_dew_point=True) == sent[:1]


def test_what_no_working_sensor_reports_is_not_corrected() -> None:
    """It is flagged, and a correction would only make it look like more."""
    (found,) = normalise((measured("temperature", "Cel", "-300"),), BOTH)
    assert item(found) == {"n": "temperature", "u": "Cel", "v": "-300"}
    (hot,) = normalise((measured("temperature", "[degF]", "9999"),), BOTH)
    assert item(hot) == {"i": "9999", "iu": "[degF]", "n": "temperature", "u": "Cel", "v": "5537.2"}
    assert not hot.is_plausible


def test_the_dew_point_is_derived_from_the_corrected_values() -> None:
    """And says from what; with a time, if the two have one."""
    sent = (measured("temperature", "Cel", "25.00"), measured("humidity", "%RH", "61.5"))
    level = parse_calibration({**OFFSET, "offset": "0"}, where="test")
    *_, derived = normalise(sent, (level, HUMIDITY), with_dew_point=True)
    assert item(derived) == {"d": "temperature,humidity", "n": "dew-point", "u": "Cel", "v": "16.7"}
    at = "2026-03-04T05:06:07.000Z"
    timed = (measured("t", "K", "298.15", at), measured("h", "%RH", "60", at))
    *_, derived = normalise(timed, with_dew_point=True)
    assert item(derived) == {"d": "t,h", "n": "dew-point", "t": at, "u": "Cel", "v": "16.7"}
    assert derived.taken_at == at


@pytest.mark.parametrize(
    "sent",
    [
        (measured("temperature", "Cel", "25"), measured("battery", "%EL", "60")),
        (measured("inner", "Cel", "25"), measured("outer", "Cel", "25"), measured("humidity", "%RH", "60")),
        (measured("temperature", "Cel", "25"), measured("h", "%RH", "60"), measured("g", "%RH", "60")),
        (measured("dew-point", "Cel", "25"), measured("humidity", "%RH", "60")),
        (measured("temperature", "Cel", "25", "2026-03-04T05:06:07.000Z"), measured("humidity", "%RH", "60")),
        (measured("temperature", "Cel", "150"), measured("humidity", "%RH", "60")),
        (measured("temperature", "Cel", "25"), measured("humidity", "%RH", "0")),
    ],
    ids=["no humidity", "two temperatures", "two humidities", "one is there", "two times", "hot", "dry"],
)
def test_where_it_is_not_clear_no_dew_point_is_derived(sent: tuple[Quantity, ...]) -> None:
    """Nothing is guessed, and nothing computed outside the range of the formula."""
    assert normalise(sent, with_dew_point=True) == sent


decimals = st.decimals(-200, 390, allow_nan=False, places=2).map(lambda each: f"{each:f}")


@given(
    value=decimals,
    unit=st.sampled_from(("Cel", "K", "[degF]")),
    calibration=st.sampled_from(
        (TEMPERATURE, parse_calibration({**OFFSET, "slope": "1.01"}, where="x"), None)
    ),
)
def test_every_value_can_be_computed_once_more_from_its_entry(
    value: str, unit: str, calibration: Calibration | None
) -> None:
    """From the indication in the entry and the calibration's entry alone."""
    (found,) = normalise(
        (measured("temperature", unit, value),), () if calibration is None else (calibration,)
    )
    written = item(found)
    named = None
    if "c" in written:
        assert calibration is not None
        form = canonical.encode({**canonical_form_of(calibration)})
        named = parse_calibration(canonical.parse(form, where="entry"), where="entry")
    assert recompute(written, named) == written["v"] == found.value
    assert written.get("i", written["v"]) == measured("temperature", unit, value).value


def canonical_form_of(calibration: Calibration) -> dict[str, canonical.Value]:
    """Give the form on record of one of the calibrations above."""
    correction = {"points": GOOD["points"]} if calibration.points else {"slope": "1.01"}
    return canonical_form({**OFFSET, **correction}, where="test")


def test_a_value_is_not_computed_with_another_calibration_than_the_one_it_names() -> None:
    """That would prove nothing."""
    (found,) = normalise((measured("temperature", "Cel", "5.00"),), BOTH)
    for wrong in (None, HUMIDITY):
        with pytest.raises(InputError, match="the calibration at hand"):
            recompute(item(found), wrong)


def test_a_reading_is_flagged_once_a_calibration_by_which_it_was_corrected_is_overdue() -> None:
    """By when it was taken; a calibration of what is not there, or is not corrected, does not count."""
    due, before = HUMIDITY.due_ms, HUMIDITY.due_ms - 1
    plan = Plan("dev-1", "door", calibrations=BOTH)
    humidity, warmth = measured("humidity", "%RH", "50"), measured("temperature", "Cel", "5")
    assert doubts_of(plan, (warmth, humidity), (due, due)) == ("calibration-due",)
    assert doubts_of(plan, (warmth, humidity), (due, before)) == ()
    assert doubts_of(plan, (warmth,), (due,)) == ()
    assert doubts_of(plan, (measured("humidity", "%RH", "-5"),), (due,)) == ()
    assert doubts_of(Plan("dev-1", "door"), (warmth,), (due,)) == ()


def test_a_reading_of_a_sensor_in_maintenance_is_flagged() -> None:
    """And keeps the other flag."""
    plan = Plan("dev-1", "door", calibrations=BOTH, maintenance="the probe is in the ice bath")
    humidity = measured("humidity", "%RH", "50")
    assert doubts_of(plan, (humidity,), (0,)) == ("maintenance",)
    assert doubts_of(plan, (humidity,), (HUMIDITY.due_ms,)) == ("calibration-due", "maintenance")
