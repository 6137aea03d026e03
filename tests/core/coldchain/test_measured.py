"""Claims about what a reading means to those who judge it: exact thousandths, and a believable time."""

from __future__ import annotations

import pytest

from coldseal.core.coldchain.measured import AHEAD_MS, BEHIND_MS, LARGEST, moment_ms, taken_ms, thousandths

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("4.7", 4_700), ("-0.5", -500), ("0", 0), ("8.0005", 8_000), ("8.0015", 8_002), ("8.00051", 8_001)),
        *(("-8.0005", -8_000), ("1" + "0" * 31, LARGEST), ("-1" + "0" * 30, -LARGEST)),
        ("0.00049999999999999999999999999999", 0),
    ],
)
def test_a_value_is_whole_thousandths(value: str, expected: int) -> None:
    """Rounded half to even where it is finer, and bounded."""
    assert thousandths(value) == expected


@pytest.mark.parametrize(
    ("own", "device", "expected"),
    [
        ("", "", NOW),
        ("", "2027-01-15T07:59:00.000Z", NOW - 60_000),
        ("2027-01-15T07:58:00.000Z", "2027-01-15T07:59:00.000Z", NOW - 120_000),
        ("", "2027-01-15T09:04:59.000+01:00", NOW + AHEAD_MS - 1_000),
        ("", "2027-01-15T08:05:00.001Z", NOW),
        ("", "2026-11-16T08:00:00.000Z", NOW - BEHIND_MS),
        ("", "2026-11-16T07:59:59.999Z", NOW),
        ("", "0001-01-01T00:00:00+23:59", NOW),
    ],
    ids=["none", "device", "own", "ahead", "too-far-ahead", "behind", "too-far-behind", "no-time"],
)
def test_a_sensors_time_is_believed_within_bounds(own: str, device: str, expected: int) -> None:
    """Five minutes ahead and sixty days behind; else the entry's time holds."""
    assert taken_ms(own, device, NOW) == expected


def test_what_is_finer_than_a_millisecond_is_cut_off() -> None:
    """Also before 1970."""
    assert moment_ms("2027-01-15T08:00:00.000999999Z") == NOW
    assert moment_ms("1969-12-31T23:59:59.9999Z") == -1
