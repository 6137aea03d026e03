"""Rules say which entries go, by what they are about; the key of an entry is the same at every time."""

from __future__ import annotations

import pytest

from coldseal.core.coldchain.profile import Tier
from coldseal.core.log.canonical import Value
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.routing.rules import Rules, Subject, entry_ms, idempotency_key, subject_of
from coldseal.gateway.tables.routes import RouteRule
from tests.core.routing.entries import (
    DISPOSITION,
    EXCURSION,
    READING,
    SILENCE,
    SOURCE,
    entry_of,
)
from tests.sealed import ORIGIN


def placed(device: str, sensor: str, moment_ms: int) -> tuple[str, str]:
    """Know one sensor."""
    return ("fridge-3", "refrigerated") if (device, sensor) == ("dev-1", "door") and moment_ms else ("", "")


def test_a_reading_is_about_its_sensor_and_what_the_register_says_of_it() -> None:
    """The entry itself does not name the asset."""
    found = subject_of(entry_of("reading", READING, SOURCE), placed)
    assert found[:6] == ("reading", "dev-1", "door", "fridge-3", "refrigerated", "")


def test_what_an_excursion_names_itself_is_not_asked_for() -> None:
    """It was sealed with what was in force then."""
    found = subject_of(entry_of("excursion", EXCURSION), lambda *_: pytest.fail("asked"))
    assert found[:6] == ("excursion", "dev-1", "door", "fridge-3", "refrigerated", "excursion")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("disposition", DISPOSITION),
        ("ack", {"about": EXCURSION["id"], "who": "Ada", "why": "seen"}),
        ("gap", {"cause": "silent", "id": SILENCE["id"]}),
    ],
    ids=["disposition", "ack", "gap"],
)
def test_what_is_said_about_an_excursion_is_about_its_sensor(kind: str, data: dict[str, Value]) -> None:
    """Its id begins with device and sensor."""
    found = subject_of(entry_of(kind, data), placed)
    assert found[1:5] == ("dev-1", "door", "fridge-3", "refrigerated")


def test_an_entry_of_the_log_itself_is_about_nothing() -> None:
    """Nobody is asked then."""
    found = subject_of(entry_of("heartbeat", {"accepted": 1, "about": "x"}), lambda *_: pytest.fail("asked"))
    assert found[:6] == ("heartbeat", "", "", "", "", "")


def test_the_moment_is_that_of_the_measurement_where_it_can_be_believed() -> None:
    """The quantity's own time before the device's, and that before the entry's; a wild one not at all."""
    entry = entry_of("reading", READING, SOURCE)
    own = entry_of("reading", {"q": [{"n": "x", "t": "2026-11-22T05:00:00.000Z"}], "sensor": "door"}, SOURCE)
    dated = entry_of("reading", READING, {**SOURCE, "t": "2026-11-22T05:10:00.000Z"})
    wild = entry_of("reading", {"q": ["?"], "sensor": "door"}, {**SOURCE, "t": "2026-11-22T05:10:00"})
    moments = [subject_of(each, placed).taken_ms - entry_ms(entry) for each in (entry, own, dated, wild)]
    assert moments == [0, -1_428_123, -828_123, 0]


def test_a_route_without_rules_takes_everything() -> None:
    """But only what its form can say."""
    assert Rules((), "lab").fit(Subject("heartbeat"))
    assert Rules((), "lab").is_possible(b"")
    assert not Rules((), "lab", {"reading"}).fit(Subject("heartbeat"))
    assert not Rules((), "lab", {"reading"}).is_possible(b'"kind":"heartbeat"')


@pytest.mark.parametrize(
    ("rule", "is_fit"),
    [
        (RouteRule(kinds=("excursion", "alarm")), True),
        (RouteRule(kinds=("reading",)), False),
        (RouteRule(sites=("lab", "other")), True),
        (RouteRule(sites=("other",)), False),
        (RouteRule(devices=("dev-1",)), True),
        (RouteRule(devices=("dev-2",)), False),
        (RouteRule(sensors=("door",)), True),
        (RouteRule(sensors=("core",)), False),
        (RouteRule(assets=("fridge-3",)), True),
        (RouteRule(assets=("pallet-1",)), False),
        (RouteRule(profiles=("refrigerated",)), True),
        (RouteRule(profiles=("frozen",)), False),
        (RouteRule(tiers=(Tier.EXCURSION, Tier.CRITICAL)), True),
        (RouteRule(tiers=(Tier.CRITICAL,)), False),
        (RouteRule(kinds=("excursion",), tiers=(Tier.CRITICAL,)), False),
    ],
)
def test_a_rule_fits_where_all_that_it_asks_for_is_so(rule: RouteRule, is_fit: bool) -> None:
    """Of several values, one is enough."""
    subject = subject_of(entry_of("excursion", EXCURSION), placed)
    assert Rules((rule,), "lab").fit(subject) is is_fit


def test_one_rule_of_several_is_enough() -> None:
    """All excursions, and the readings of one product."""
    rules = Rules(
        (RouteRule(kinds=("excursion",)), RouteRule(kinds=("reading",), profiles=("frozen",))), "lab"
    )
    assert rules.is_placing
    assert rules.fit(Subject("excursion"))
    assert rules.fit(Subject("reading", profile="frozen"))
    assert not rules.fit(Subject("reading", profile="refrigerated"))


def test_an_entry_without_what_is_asked_for_does_not_go() -> None:
    """A reading has no tier."""
    assert not Rules((RouteRule(tiers=(Tier.WARNING,)),), "lab").fit(Subject("reading"))


@pytest.mark.parametrize("possible", [(), ("excursion", "gap")], ids=["any-form", "few-words"])
def test_the_look_at_bytes_never_leaves_out_what_fits(possible: tuple[str, ...]) -> None:
    """It may let through what does not."""
    rules = Rules((RouteRule(kinds=("excursion", "reading")),), "lab", possible)
    assert rules.is_possible(entry_of("excursion", EXCURSION).raw)
    assert rules.is_possible(entry_of("reading", READING).raw) is (not possible)
    assert not rules.is_possible(entry_of("heartbeat", {}).raw)
    assert not rules.is_placing


def test_the_key_is_made_of_log_place_and_leaf_hash() -> None:
    """Whoever has the entry can make it too."""
    entry = entry_of("reading", READING, SOURCE)
    assert idempotency_key(entry) == f"{ORIGIN}:1:{leaf_hash(entry.raw).hex()}"
