"""Readings keep the sensor's digits, and doubts stick to them."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain.reading import (
    FLAG_IMPLAUSIBLE,
    UNITS,
    canonical_decimal,
    encode_reading,
    encode_source,
    parse_quantity,
)
from coldseal.core.log import canonical
from coldseal.errors import InputError


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("4.71", "4.71"),
        ("4.70", "4.70"),
        ("-18", "-18"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("-0.01", "-0.01"),
        ("1e3", "1000"),
        ("1.50E-3", "0.00150"),
        ("-0e0", "0"),
        ("007", "7"),
    ],
)
def test_a_value_keeps_its_digits_and_loses_only_exponent_and_negative_zero(sent: str, kept: str) -> None:
    """The text changes only where the same value has a plainer form."""
    assert canonical_decimal(sent, where="test") == kept


@pytest.mark.parametrize(
    "sent", ["", "NaN", "Infinity", "1,5", " 1", "0x1", "1e100", "--1", "1.", "1e99", "1" * 33]
)
def test_what_is_not_a_short_finite_decimal_is_refused_by_name(sent: str) -> None:
    """The error names field and value."""
    with pytest.raises(InputError) as caught:
        canonical_decimal(sent, where="test")
    assert (caught.value.field, caught.value.value) == ("v", sent)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=6))
def test_no_value_changes_on_the_way(value: Decimal) -> None:
    """Whatever decimal goes in comes out as the same number, in plain form."""
    text = canonical_decimal(str(value), where="test")
    assert Decimal(text) == value
    assert "e" not in text.lower()


@pytest.mark.parametrize("name", ["", "-x", "a b", 'a"', "x" * 65, "é"])
def test_a_name_that_would_need_escaping_is_refused(name: str) -> None:
    """Names go into the entry as they are."""
    with pytest.raises(InputError, match="n is"):
        parse_quantity(name, "Cel", "1", where="test")


def test_an_unknown_unit_is_refused_with_the_list_of_known_ones() -> None:
    """A typing error in a unit must not become a reading."""
    with pytest.raises(InputError, match="Cel") as caught:
        parse_quantity("temperature", "Celsius", "4", where="test")
    assert caught.value.field == "u"


@given(st.sampled_from(sorted(UNITS)), st.booleans())
def test_a_value_beyond_what_a_sensor_can_report_is_flagged_and_kept(unit: str, is_high: bool) -> None:
    """Both bounds of every unit are inclusive."""
    low, high = UNITS[unit]
    edge = Decimal(str(high if is_high else low))
    beyond = edge + (1 if is_high else -1)
    assert parse_quantity("x", unit, str(edge), where="test").is_plausible
    found = parse_quantity("x", unit, str(beyond), where="test")
    assert not found.is_plausible
    assert FLAG_IMPLAUSIBLE in json.loads(encode_reading("door", [found]))["flags"]


def test_the_data_of_a_reading_is_canonical_json() -> None:
    """With and without flags and times of single quantities."""
    plain = parse_quantity("temperature", "Cel", "4.71", where="test")
    timed = parse_quantity("humidity", "%RH", "141", where="test", taken_at="2026-01-01T00:00:00.000Z")
    for data in (
        encode_reading("door", [plain]),
        encode_reading("door", [plain, timed]),
        encode_reading("door", [plain, timed], ["sequence", "maintenance"]),
    ):
        assert canonical.encode(canonical.parse(data, where="test")) == data
    assert b'"flags"' not in encode_reading("door", [plain])
    assert b'"flags":["implausible","maintenance","sequence"]' in data


@given(
    fingerprint=st.sampled_from(["", "ab" * 8]),
    seq=st.none() | st.integers(0, 2**53 - 1),
    boot=st.sampled_from(["", "a1"]),
    taken_at=st.sampled_from(["", "2026-01-01T00:00:00Z"]),
    packet_id=st.none() | st.integers(1, 65535),
)
def test_the_source_of_a_reading_is_canonical_json(
    fingerprint: str, seq: int | None, boot: str, taken_at: str, packet_id: int | None
) -> None:
    """Every combination of what a device gives; the packet id stands in only for a missing sequence."""
    src = encode_source(
        "dev-1", fingerprint, "A" * 43 + "=", seq=seq, boot=boot, taken_at=taken_at, packet_id=packet_id
    )
    found = canonical.parse(src, where="test")
    assert canonical.encode(found) == src
    assert found.get("seq") == seq
    assert found.get("pid") == (packet_id if seq is None else None)
    assert found.get("fp", "") == fingerprint
    assert found.get("boot", "") == boot
    assert found.get("t", "") == taken_at
