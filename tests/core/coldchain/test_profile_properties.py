"""Properties of profiles: one form for each, a ProfileError for anything else, differences that turn."""

from __future__ import annotations

import copy
import tomllib
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from coldseal.core.coldchain.document import render_milli, render_span, span, thousandths
from coldseal.core.coldchain.product import ProductProfile
from coldseal.core.coldchain.profile import ProfileError, canonical_form, digest, parse_profile
from coldseal.core.coldchain.revision import Effect, diff
from coldseal.core.log import canonical
from coldseal.gateway.profiles import render_toml
from tests.core.coldchain.profiles import profile

FORM = canonical_form(profile())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**13), 10**13),
    st.floats(),
    st.decimals(),
    st.text(max_size=8),
    st.sampled_from(["8", "1 h", "high", "Cel", "critical", "-0.5"]),
)
KEYS = st.sampled_from(["name", "version", "quantities", "temperature", "limits", "mkt", "at", "low", "unit"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def profiles(draw: st.DrawFn) -> ProductProfile:
    """Draw a profile that is good."""
    low = draw(st.integers(-90_000, 20_000))
    high = low + draw(st.integers(1_000, 30_000))
    hours = draw(st.lists(st.integers(1, 500), min_size=1, max_size=3, unique=True))
    tiers = draw(st.permutations(["warning", "excursion", "critical"]))[: len(hours)]
    order = ["warning", "excursion", "critical"]
    steps = zip(sorted(tiers, key=order.index), sorted(hours, reverse=True), strict=True)
    beyond = draw(st.integers(1, 5_000))
    limits: list[object] = [
        {"direction": "high", "at": render_milli(high + at * beyond), "tier": tier, "single": f"{hour} h"}
        for at, (tier, hour) in enumerate(steps)
    ]
    rule: dict[str, object] = {"unit": "Cel", "low": render_milli(low), "high": render_milli(high)}
    rule["hysteresis"] = render_milli(draw(st.integers(0, (high - low - 1) // 2)))
    rule["limits"] = limits
    if high > 0 and draw(st.booleans()):
        rule["mkt"] = {"limit": render_milli(high), "window": f"{draw(st.integers(1, 300))} d"}
    document: dict[str, object] = {"name": "p", "version": draw(st.integers(1, 99))}
    document["quantities"] = {"temperature": rule}
    return parse_profile(document, where="drawn")


@given(profiles())
@settings(max_examples=100, deadline=None)
def test_the_canonical_form_of_a_profile_reads_as_the_profile(found: ProductProfile) -> None:
    """Also out of the bytes of an entry."""
    raw = canonical.encode(canonical_form(found))
    assert parse_profile(canonical.parse(raw, where="entry"), where="entry") == found


@given(profiles(), st.text(max_size=20).filter(str.isprintable), st.sampled_from(["temperature", "a.b/c:d"]))
@settings(max_examples=100, deadline=None)
def test_a_profile_written_as_a_file_reads_as_the_same(found: ProductProfile, title: str, name: str) -> None:
    """Whatever its title, and whatever the name of its quantity."""
    (rule,) = found.quantities
    changed = replace(found, title=title, quantities=(replace(rule, quantity=name),))
    read = parse_profile(tomllib.loads(render_toml(changed), parse_float=Decimal), where="written")
    assert read == replace(changed, sha256=digest(changed))


@given(profiles(), profiles())
@settings(max_examples=100, deadline=None)
def test_differences_turn_round(one: ProductProfile, other: ProductProfile) -> None:
    """Stricter one way is laxer the other way; the same profile has none."""
    there, back = diff(one, other), diff(other, one)
    turned = {Effect.STRICTER: Effect.LAXER, Effect.LAXER: Effect.STRICTER, Effect.OTHER: Effect.OTHER}
    assert {(each.key, each.before, each.after, each.effect) for each in there} == {
        (each.key, each.after, each.before, turned[each.effect]) for each in back
    }
    assert bool(there) == (canonical_form(one) != canonical_form(other))


@given(TREES)
@settings(max_examples=200, deadline=None)
def test_whatever_is_handed_in_is_a_profile_or_a_profile_error(tree: object) -> None:
    """Nobody's file ends a program."""
    _read(tree if isinstance(tree, dict) else {"quantities": tree})


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), TREES)
@settings(max_examples=200, deadline=None)
def test_a_good_profile_with_one_value_changed_is_a_profile_or_a_profile_error(
    way: list[int], value: object
) -> None:
    """Wherever that value stands."""
    document: Any = copy.deepcopy(FORM)
    place = document
    for at, step in enumerate(way):
        keys = sorted(place) if isinstance(place, dict) else [*range(len(place))]
        if not keys:
            return
        key = keys[step % len(keys)]
        if at == len(way) - 1 or not isinstance(place[key], dict | list):
            place[key] = value
            break
        place = place[key]
    _read(document)


def _read(document: Any) -> None:  # noqa: ANN401 # anything at all
    """Read a document that may be none."""
    faults: tuple[object, ...] = ()
    try:
        found = parse_profile(document, where="drawn")
    except ProfileError as error:
        faults = error.faults
    else:
        assert parse_profile(canonical_form(found), where="again") == found
        return
    assert faults
    assert all(str(each).startswith("drawn: ") for each in faults)


@given(st.integers(-(10**10), 10**10))
def test_thousandths_are_written_and_read_back(value: int) -> None:
    """As text, and as TOML's exact number."""
    text = render_milli(value)
    assert thousandths(text) == thousandths(Decimal(text)) == value


@given(st.integers(0, 10**8))
def test_spans_are_written_and_read_back(seconds: int) -> None:
    """In whatever unit they are shown."""
    assert span(render_span(seconds)) == seconds
