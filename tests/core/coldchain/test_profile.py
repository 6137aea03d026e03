"""Claims about profiles: what is wrong is named, what is right has one canonical form."""

from __future__ import annotations

import hashlib
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from coldseal.core.coldchain.document import render_milli, render_span, span, thousandths
from coldseal.core.coldchain.product import DELTA_H
from coldseal.core.coldchain.profile import (
    ProfileError,
    Tier,
    canonical_form,
    digest,
    is_same,
    parse_profile,
)
from coldseal.core.coldchain.register import Register
from coldseal.core.log import canonical
from coldseal.errors import InputError
from tests.core.coldchain.profiles import VACCINE, profile

BAD = tomllib.loads(Path(__file__).with_name("bad_profiles.toml").read_text(encoding="utf-8"))
GOOD: str = BAD["good"]


def load(text: str) -> dict[str, Any]:
    """Read TOML with exact numbers."""
    return tomllib.loads(text, parse_float=Decimal)


def test_the_good_profile_that_the_bad_ones_are_made_of_is_good() -> None:
    """Else they would be wrong for another reason."""
    assert parse_profile(load(GOOD), where="good.toml").name == "vaccine-a"


@pytest.mark.parametrize("case", BAD["cases"], ids=[case["name"] for case in BAD["cases"]])
def test_what_is_wrong_is_named_with_file_key_value_and_what_was_expected(case: dict[str, Any]) -> None:
    """All of it, in the order of the document, and nothing else."""
    assert case["old"] in GOOD
    with pytest.raises(ProfileError) as caught:
        parse_profile(load(GOOD.replace(case["old"], case["new"], 1)), where="a.toml")
    said = [str(each) for each in caught.value.faults]
    assert len(said) == len(case["says"]), said
    for found, expected in zip(said, case["says"], strict=True):
        assert found.startswith(f"a.toml: {expected}"), found
    assert str(caught.value) == said[0]


def test_there_are_many_cases_with_names_of_their_own() -> None:
    """At least forty."""
    names = [case["name"] for case in BAD["cases"]]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"name": "a", "version": 1}, "quantities is [], expected 1 to 16 tables"),
        ({"name": "a", "version": 1, "quantities": {}}, "quantities is [], expected 1 to 16 tables"),
        ({"name": "a", "version": 1, "quantities": 3}, "quantities is 3, expected a table"),
        ({"name": "a", "version": 1, "quantities": {"t": 3}}, "quantities.t is 3, expected a table"),
        (
            {"name": "a", "version": 1, "quantities": {"a b": {"unit": "Cel", "low": 1}}},
            "quantities.a b is 'a b', expected a quantity's name",
        ),
        (
            {"name": "a", "version": 1, "quantities": {"t": {"unit": "Cel", "low": 1, "limits": {}}}},
            "quantities.t.limits is {}, expected at most 16 tables, each written below [[quantities.",
        ),
        (
            {"name": "a", "version": 1, "quantities": {"t": {"unit": "Cel", "low": 1, "limits": [1]}}},
            "quantities.t.limits is [1], expected at most 16 tables",
        ),
        (
            {"name": "a", "version": 1, "quantities": {"t": {"unit": "Cel"}}},
            "quantities.t is 'without low and high', expected at least one of them",
        ),
        (
            {
                "name": "a",
                "version": 1,
                "quantities": {
                    "t": {"unit": "Cel", "low": 1, "mkt": {"limit": 3, "window": "1 h"}},
                },
            },
            "quantities.t.mkt is '3', expected no such table, or a high: it is about warmth",
        ),
        (
            {
                "name": "a",
                "version": 1,
                "quantities": {
                    "t": {"unit": "Cel", "high": 1, "mkt": {"limit": 3, "window": "1 h"}},
                },
            },
            "quantities.t.mkt.limit is '3', expected at most high (1)",
        ),
    ],
    ids=range(10),
)
def test_a_document_of_another_shape_is_refused(document: dict[str, Any], said: str) -> None:
    """Such as what a program wrote that thought it knew."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(document, where="a.toml")
    assert str(caught.value).startswith(f"a.toml: {said}")


def test_the_canonical_form_reads_as_the_same_profile_and_has_one_hash() -> None:
    """Every value is written out, so that a later default cannot change what was meant."""
    found = profile()
    form = canonical_form(found)
    assert parse_profile(form, where="entry") == found
    assert parse_profile(canonical.parse(canonical.encode(form), where="entry"), where="entry") == found
    assert found.sha256 == digest(found) == hashlib.sha256(canonical.encode(form)).hexdigest()
    assert form == {
        "guard_band": False,
        "interval": 300,
        "name": "vaccine-a",
        "quantities": {
            "temperature": {
                "alarm_delay_high": 0,
                "alarm_delay_low": 0,
                "door_open": 0,
                "high": "8",
                "hysteresis": "0.5",
                "limits": [
                    {"at": "8", "cumulative": 7200, "direction": "high", "single": 3600, "tier": "excursion"}
                ],
                "low": "2",
                "mkt": {"delta_h": "83.144", "limit": "8", "window": 86400},
                "recover_after": 2,
                "unit": "Cel",
            }
        },
        "silence": 1200,
        "title": "",
        "version": 1,
    }


@pytest.mark.parametrize("bound", ["low = 1", "high = -1.5"])
def test_a_side_without_a_bound_is_absent_in_the_canonical_form(bound: str) -> None:
    """And stays so."""
    found = profile(f'name = "a"\nversion = 1\n[quantities.t]\nunit = "Cel"\n{bound}\n')
    assert parse_profile(canonical_form(found), where="entry") == found


def test_how_a_number_or_a_span_is_written_changes_no_hash() -> None:
    """8, 8.0, "8.00" and 1 h, 60 min, 3600 are the same."""
    one = profile()
    other = profile(
        VACCINE,
        ("high = 8\n", 'high = "8.00"\n'),
        ("at = 8", "at = 8.0"),
        ('"1 h"', '"60 min"'),
        ('"2 h"', "7200"),
        ('"24 h"', '"1 d"'),
        ("hysteresis = 0.5", "hysteresis = 5e-1"),
    )
    assert one == other
    assert profile(VACCINE, ("high = 8\n", "high = 8.001\n"), ("at = 8", "at = 9")).sha256 != one.sha256


def test_a_version_that_says_nothing_new_is_none() -> None:
    """It is refused, so that each version on record is a change."""
    who: dict[str, object] = {"who": "Eva", "why": "a test"}
    register, first = Register(), profile()
    for found in (first, profile(VACCINE, ("version = 1", "version = 2"), ("low = 2", "low = 3"))):
        data = {"profile": canonical_form(found), "sha256": found.sha256, **who}
        register = register.with_entry("profile", data, 0)
    same = profile(VACCINE, ("version = 1", "version = 3"), ("low = 2", "low = 3.0"))
    with pytest.raises(InputError, match="expected something that version 2 does not say already"):
        register.with_entry("profile", {"profile": canonical_form(same), "sha256": same.sha256, **who}, 0)
    assert is_same(first, profile(VACCINE, ("version = 1", "version = 9")))
    assert not is_same(first, same)


def test_what_is_not_said_has_its_usual_value() -> None:
    """As the documentation says it."""
    found = profile(
        'name = "a"\nversion = 1\n[quantities.t]\nunit = "Cel"\nhigh = 1\nmkt = {limit = 1, window = 3600}\n'
    )
    assert (found.interval_s, found.silence_s, found.guard_band, found.title) == (60, 900, True, "")
    (rule,) = found.quantities
    assert (rule.low, rule.hysteresis, rule.recover_after, rule.door_open_s, rule.limits) == (
        None,
        0,
        1,
        0,
        (),
    )
    assert rule.mkt is not None
    assert rule.mkt.delta_h == DELTA_H == 83_144


def test_tiers_have_an_order() -> None:
    """The lightest first."""
    assert sorted(Tier, key=lambda tier: tier.weight) == [*Tier]


def test_a_limit_may_lie_within_the_range() -> None:
    """Such as a budget above 7 °C of a product that is good up to 8 °C; on the low side as well."""
    found = profile(VACCINE, ("at = 8", "at = 7"))
    assert found.quantities[0].limits[0].at == 7000
    low = profile(VACCINE, ('direction = "high"\nat = 8', 'direction = "low"\nat = 3'))
    assert low.quantities[0].limits[0].at == 3000


def test_a_door_may_be_open_for_longer_than_one_side_may_be_left() -> None:
    """What is never allowed below may be tolerated above."""
    below = (
        '\n[[quantities.temperature.limits]]\ndirection = "low"\nat = 2\ntier = "critical"\nsingle = "0 s"\n'
    )
    found = profile(
        VACCINE,
        ("recover_after = 2", 'recover_after = 2\ndoor_open = "10 min"'),
        ("\n[quantities.temperature.mkt]", f"{below}[quantities.temperature.mkt]"),
    )
    assert found.quantities[0].door_open_s == 600


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (8, 8000), ("-0.5", -500), (Decimal("1E+1"), 10_000), (0.1, 100), (Decimal(0), 0), ("00.10", 100),
        ("1_0", None), (" 1", None), ("", None), ([], None), (10**10, None), (float("nan"), None),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_number_is_exact_or_none(value: object, expected: int | None) -> None:
    """In thousandths."""
    assert thousandths(value) == expected


@pytest.mark.parametrize("value", [0, 1, 999, 1000, -1, -500, 4710, -8000, 12_345_678])
def test_thousandths_are_written_with_the_digits_they_need(value: int) -> None:
    """And read back as the same."""
    assert thousandths(render_milli(value)) == value
    assert not render_milli(value).endswith((".", ".0", "00") if value % 1000 else (".",))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (90, "90 s"),
        (3600, "1 h"),
        (86_400, "24 h"),
        (2_592_000, "30 d"),
    ],
)
def test_a_span_is_written_in_the_largest_fitting_unit(seconds: int, text: str) -> None:
    """And read back as the same."""
    assert render_span(seconds) == text
    assert span(text) == seconds
