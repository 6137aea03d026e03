"""A correction is exact, rounded once, monotone, and follows from indication and certificate alone."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain.calibration import (
    MAX_DECIMALS,
    Calibration,
    calibration_of,
    correct,
    decimals_after,
)
from coldseal.core.coldchain.certificate import parse_calibration
from coldseal.core.coldchain.units import CONVERSIONS, conversion, unit_kept
from tests.core.coldchain.bad_calibrations import GOOD

THREE = parse_calibration(GOOD, where="test")


def of(**how: object) -> Calibration:
    """Make a calibration of an offset, a slope, or points."""
    table = {name: value for name, value in GOOD.items() if name != "points"}
    return parse_calibration({**table, **how}, where="test")


indications = st.decimals(-80, 80, allow_nan=False, places=2).map(lambda each: f"{each:f}")
numbers = st.integers(-5_000, 5_000).map(lambda each: f"{Decimal(each).scaleb(-3):f}")


@pytest.mark.parametrize(
    ("indication", "unit", "expected"),
    [
        ("2.00", "Cel", "2.050"),
        ("8.00", "Cel", "8.070"),
        ("5.00", "Cel", "5.060"),
        ("-20.00", "Cel", "-20.120"),
        ("-25.00", "Cel", "-25.159"),  # beyond the points the outermost line goes on: 5.00 * 22.17/22 below
        ("20", "Cel", "20.1"),  # 20.11: one decimal more than the indication
        ("275.15", "K", "2.050"),
        ("35.6", "[degF]", "2.05"),
    ],
)
def test_between_points_and_beyond_them_the_correction_is_a_straight_line(
    indication: str, unit: str, expected: str
) -> None:
    """Worked out by hand from the certificate: -20 → -20.12, 2 → 2.05, 8 → 8.07."""
    assert correct(THREE, indication, unit) == expected


@pytest.mark.parametrize(
    ("indication", "offset", "expected"),
    [
        ("4.71", "0.13", "4.84"),
        ("4.7", "-0.125", "4.575"),
        ("5", "0.5", "5.5"),
        ("5", "1", "6"),
        ("-0.05", "0.05", "0.00"),
        ("4.7000", "0.1", "4.8000"),
    ],
)
def test_an_offset_is_added_exactly(indication: str, offset: str, expected: str) -> None:
    """With the decimals of the finer of the two."""
    assert correct(of(offset=offset), indication, "Cel") == expected


@pytest.mark.parametrize(
    ("unit", "indication", "expected"),
    [
        ("[degF]", "32", "0.0"),
        ("[degF]", "40.1", "4.50"),
        ("[degF]", "-40", "-40.0"),
        ("[degF]", "40.9", "4.94"),
        ("[degF]", "31", "-0.6"),
        ("K", "273.15", "0.00"),
        ("K", "277", "3.85"),
        ("K", "277.861", "4.711"),
        ("Cel", "4.710", "4.710"),
    ],
)
def test_degrees_fahrenheit_and_kelvin_become_degrees_celsius(
    unit: str, indication: str, expected: str
) -> None:
    """Kelvin exactly; Fahrenheit with one decimal more than was sent, half to even."""
    assert correct(None, indication, unit) == expected


@given(indication=indications, offset=numbers)
def test_an_offset_is_exact_for_any_two_numbers(indication: str, offset: str) -> None:
    """The sum of two decimals, nothing else."""
    assert Decimal(correct(of(offset=offset), indication, "Cel")) == Decimal(indication) + Decimal(offset)


@given(one=indications, other=indications)
def test_a_correction_keeps_order(one: str, other: str) -> None:
    """Who is warmer stays warmer, or level within the rounding."""
    low, high = sorted((one, other), key=Decimal)
    assert Decimal(correct(THREE, low, "Cel")) <= Decimal(correct(THREE, high, "Cel"))


@given(
    indication=indications, slope=st.integers(800, 1250), offset=numbers, unit=st.sampled_from(("Cel", "K"))
)
def test_a_correction_is_the_exact_value_rounded_once(
    indication: str, slope: int, offset: str, unit: str
) -> None:
    """Held against fractions, and the rounding of the decimal module."""
    calibration = of(slope=f"{Decimal(slope).scaleb(-3):f}", offset=offset)
    factor, constant = conversion(unit)
    converted = Fraction(indication) * factor + constant
    exact = converted * Fraction(slope, 1000) + Fraction(offset)
    found = correct(calibration, indication, unit)
    decimals = decimals_after(calibration, indication, unit)
    assert len(found.partition(".")[2]) == decimals
    step = Fraction(1, 10**decimals)
    assert abs(Fraction(found) - exact) <= step / 2
    context = Context(prec=60, rounding=ROUND_HALF_EVEN)
    quotient = context.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    assert Decimal(found) == context.quantize(quotient, Decimal(1).scaleb(-decimals))


@given(celsius=indications)
def test_a_conversion_and_back_gives_what_was_sent(celsius: str) -> None:
    """Within the digits: what a device shows in °F or K is at most half a last digit off."""
    for unit, (kept, factor, constant) in CONVERSIONS.items():
        shown = (Fraction(celsius) - constant) / factor
        sent = f"{Decimal(round(shown * 1000)).scaleb(-3):f}"
        assert abs(Fraction(correct(None, sent, unit)) - Fraction(celsius)) <= Fraction(6, 10_000)
        assert (kept, unit_kept(kept)) == ("Cel", "Cel")


def test_ties_go_to_the_even_digit() -> None:
    """Half of the last digit goes up or down by which of the two is even."""
    calibration = of(slope="1.05")
    assert correct(calibration, "0.1", "Cel") == "0.10"  # 0.105
    assert correct(calibration, "0.3", "Cel") == "0.32"  # 0.315
    assert correct(calibration, "-0.1", "Cel") == "-0.10"
    assert correct(calibration, "-0.3", "Cel") == "-0.32"


def test_no_value_gets_more_than_twelve_decimals() -> None:
    """What a device sends finer is rounded."""
    assert (
        correct(THREE, f"4.{'1' * 20}", "Cel").partition(".")[2]
        == correct(THREE, f"4.{'1' * 25}", "Cel").partition(".")[2]
    )
    assert len(correct(THREE, f"4.{'1' * 20}", "Cel").partition(".")[2]) == MAX_DECIMALS


def test_a_calibration_is_found_by_quantity_and_unit() -> None:
    """That of humidity does not touch temperature, nor one in another unit."""
    assert calibration_of((THREE,), "temperature", "Cel") is THREE
    assert calibration_of((THREE,), "humidity", "%RH") is None
    assert calibration_of((THREE,), "temperature", "%RH") is None


def test_calibrations_of_one_content_are_one_key_of_a_cache() -> None:
    """Equal where all is equal, and hashed by the id alone."""
    again = parse_calibration(GOOD, where="test")
    assert again == THREE
    assert hash(again) == hash(THREE) == hash(THREE.id)
