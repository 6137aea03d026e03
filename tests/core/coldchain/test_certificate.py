"""A certificate of calibration is taken whole, or every fault in it is named with key and value."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from coldseal.core.coldchain.certificate import (
    CertificateError,
    canonical_form,
    expanded,
    parse_calibration,
)
from coldseal.core.log import canonical
from tests.core.coldchain.bad_calibrations import BAD, GOOD, changed


@pytest.mark.parametrize("name", BAD, ids=list(BAD))
def test_a_bad_certificate_is_refused_with_key_value_and_what_was_expected(name: str) -> None:
    """The first fault is the message; it names the file that it stands in."""
    change, key, expected = BAD[name]
    with pytest.raises(CertificateError) as caught:
        parse_calibration(changed(change), where="k.toml")
    fault = next(each for each in caught.value.faults if each.field == key)
    assert expected in fault.expected
    assert fault.where == "k.toml"
    assert str(caught.value).startswith("k.toml: ")


def test_all_that_is_wrong_is_said_at_once() -> None:
    """A person corrects a file once."""
    with pytest.raises(CertificateError) as caught:
        parse_calibration(changed({"device": "a b", "due": "2020-01-01", "coverage": 9}), where="k.toml")
    assert [each.field for each in caught.value.faults] == ["device", "coverage", "due"]


def test_a_certificate_is_the_same_from_a_file_and_from_its_entry() -> None:
    """TOML has days and decimals, an entry has texts; both give one calibration, and one id."""
    points = [[Decimal("-20.00"), Decimal("-20.12")], [2, Decimal("2.05")], ["8.00", "8.07"]]
    of_file = {**GOOD, "calibrated": date(2026, 1, 15), "coverage": 2, "points": points}
    form = canonical_form({**of_file, "points": GOOD["points"]}, where="k.toml")
    assert parse_calibration(form, where="entry") == parse_calibration(GOOD, where="k.toml")
    assert canonical.parse(canonical.encode(form), where="test") == form
    assert canonical_form(form, where="entry") == form
    assert parse_calibration(of_file, where="k.toml").points[1] == (Decimal(2), Decimal("2.05"))


def test_the_id_follows_from_the_content() -> None:
    """Any change gives another one."""
    changes: list[dict[str, object]] = [{}, {"due": "2027-01-16"}, {"sensor": "b"}]
    ids = {parse_calibration(changed(each), where="x").id for each in changes}
    assert len(ids) == 3
    assert all(len(each) == 8 for each in ids)


def test_a_day_counts_to_its_end() -> None:
    """A reading on the day that the certificate names is not overdue."""
    found = parse_calibration(GOOD, where="x")
    assert not found.is_due(1_799_971_199_999 + 0)  # 2027-01-14T23:59:59.999Z
    assert not found.is_due(1_800_057_599_999)  # 2027-01-15T23:59:59.999Z
    assert found.is_due(1_800_057_600_000)  # 2027-01-16
    assert found.calibrated_ms == 1_768_435_200_000  # 2026-01-15


def test_an_offset_alone_has_a_slope_of_one() -> None:
    """And a slope alone no offset; zero has no sign."""
    offset = canonical_form(changed({"points": BAD["no unit"][0]["unit"], "offset": "-0.00"}), where="x")
    assert (offset["offset"], offset["slope"]) == ("0.00", "1")
    slope = canonical_form(changed({"points": BAD["no unit"][0]["unit"], "slope": "1.002"}), where="x")
    assert (slope["offset"], slope["slope"]) == ("0", "1.002")
    assert "points" not in slope


@pytest.mark.parametrize(
    ("stated", "coverage", "milli"),
    [("0.10", "2", 100), ("0.05", "1", 100), ("0.15", "3", 100), ("0.0333", "1", 67), ("0", "2", 0)],
)
def test_uncertainty_is_held_expanded_by_two_and_rounded_up(stated: str, coverage: str, milli: int) -> None:
    """A guard band must not come out too small."""
    assert expanded(Decimal(stated), Decimal(coverage)) == milli
    found = parse_calibration(changed({"uncertainty": stated, "coverage": coverage}), where="x")
    assert found.uncertainty == milli
