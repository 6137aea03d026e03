"""The dew point agrees with published tables, and is the same text on every machine."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain import dewpoint
from coldseal.core.coldchain.dewpoint import dew_point, tenths_exactly


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [
        ("20", "50", "9.3"),  # psychrometric tables: 9.3
        ("25", "60", "16.7"),
        ("5.0", "75.0", "0.9"),
        ("30", "30", "10.5"),
        ("-20", "80", "-22.6"),
        ("0", "100", "0.0"),
        ("-0.04", "100", "0.0"),
        ("-40", "1", "-76.4"),  # the corner: 243.04 * -8.077 / 25.702
        ("50", "100", "50.0"),
        ("50", "1", "-20.2"),  # the corner: 243.04 * -1.598 / 19.223
    ],
)
def test_the_dew_point_is_that_of_the_tables(temperature: str, humidity: str, expected: str) -> None:
    """To a tenth of a degree."""
    assert dew_point(temperature, humidity) == expected


@pytest.mark.parametrize(
    ("temperature", "humidity"), [("-40.01", "50"), ("50.01", "50"), ("20", "0.99"), ("20", "100.01")]
)
def test_there_is_no_dew_point_outside_the_range_of_the_formula(temperature: str, humidity: str) -> None:
    """Its constants were fitted for -40 to 50 Cel."""
    assert dew_point(temperature, humidity) is None


@given(temperature=st.integers(-4000, 5000), humidity=st.integers(10, 1000))
def test_what_doubles_give_is_what_forty_digits_give(temperature: int, humidity: int) -> None:
    """So two machines cannot differ in the last digit."""
    warmth, share = f"{Decimal(temperature).scaleb(-2):f}", f"{Decimal(humidity).scaleb(-1):f}"
    found = dew_point(warmth, share)
    assert found is not None
    assert Decimal(found) == Decimal(tenths_exactly(warmth, share)).scaleb(-1)
    assert Decimal(found) <= Decimal(warmth) + Decimal("0.05")


def test_where_doubles_are_too_close_to_a_tie_forty_digits_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """With so wide a margin that it is always asked: the same results."""
    monkeypatch.setattr(dewpoint, "_NEAR", 1.0)
    assert [dew_point(*each) for each in (("20", "50"), ("-20", "80"))] == ["9.3", "-22.6"]
