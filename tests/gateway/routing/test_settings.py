"""Routes that could not work are refused with file, key, value and cure, before anything runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from coldseal.core.routing.rules import Subject
from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig, load_gateway, ways_out
from coldseal.gateway.routing.form import NONE, Form
from tests.core.routing.entries import READING, SOURCE, entry_of

if TYPE_CHECKING:
    from pathlib import Path

LEAST = """
[gateway]
origin = "example.com/site-7/gw-0001"
site = "site-7"
[mqtt]
certificate = "gw.pem"
key = "gw.key"
client_ca = "ca.pem"
"""
ERP: dict[str, object] = {"name": "erp", "sink": "https-json", "url": "https://erp.example:8443/in"}
BUS: dict[str, object] = {"name": "bus", "sink": "mqtt", "url": "mqtts://bus.example", "ca": "bus.pem"}


def load(folder: Path, *routes: dict[str, object], more: str = "") -> GatewayConfig:
    """Write and load a configuration with routes."""
    text = LEAST + more
    for each in routes:
        tables = {name: value for name, value in each.items() if isinstance(value, dict)}
        rules = each.get("rules", [])
        lines = [
            f"{name} = {written(value)}"
            for name, value in each.items()
            if name != "rules" and name not in tables
        ]
        text += "\n[[routes]]\n" + "\n".join(lines) + "\n"
        for name, table in tables.items():
            text += f"[routes.{name}]\n" + "".join(f'"{key}" = {written(v)}\n' for key, v in table.items())
        assert isinstance(rules, list)
        for rule in rules:
            text += "[[routes.rules]]\n" + "".join(f"{key} = {written(v)}\n" for key, v in rule.items())
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load_gateway(path)


def written(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_the_least_route_is_safe(tmp_path: Path) -> None:
    """It begins now, goes by itself, and every wait has an end."""
    (route,) = load(tmp_path, ERP).routes
    assert (route.begin, route.after, route.batch) == ("now", "commit", 1)
    assert (route.timeout_s, route.retry_initial_s, route.retry_max_s) == (30, 1, 300)
    assert route.quarantine_max == 1_000


def test_every_sink_is_a_way_out(tmp_path: Path) -> None:
    """So firewall rules and the list of ways out know it."""
    config = load(tmp_path, ERP, BUS)
    assert [(way.key, way.url) for way in ways_out(config)] == [
        ("routes.erp.url", "https://erp.example:8443/in"),
        ("routes.bus.url", "mqtts://bus.example"),
    ]


def test_a_sink_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    """Where there is a list."""
    allow = '[[egress.allow]]\nhost = "other.example"\n'
    with pytest.raises(OperatorError, match=r"routes\.erp\.url .* not in egress\.allow"):
        load(tmp_path, ERP, more=allow)


@pytest.mark.parametrize(
    ("route", "what", "cure"),
    [
        (
            ERP | {"url": "http://erp.example/in"},
            "routes.erp.url is 'http://erp.example/in', expected https://",
            "TLS",
        ),
        (
            BUS | {"url": "https://bus.example"},
            "routes.bus.url is 'https://bus.example', expected mqtts://",
            "TLS",
        ),
        (ERP | {"url": "https://ada:secret@erp.example"}, "routes.erp.url: ", "Correct"),
        (ERP | {"certificate": "a.pem"}, "routes.erp has certificate or key alone", "both"),
        (ERP | {"certificate": "a.pem", "key": "a.key"}, "routes.erp.ca is missing", "Set ca"),
        (BUS | {"ca": ""}, "routes.bus.ca is missing", "Set ca"),
        (ERP | {"retry_max_s": 0.5}, "routes.erp.retry_max_s is 0.5", "Raise"),
        (
            ERP | {"after": "receipt"},
            "routes.erp.after is 'receipt', but uplink.url is not set",
            "uplink.url",
        ),
        (
            ERP | {"rules": [{"kinds": ["readings"]}]},
            "routes.erp.rules.kinds has 'readings', expected a kind of entry",
            "'reading'",
        ),
        (
            ERP | {"sink": "epcis", "rules": [{"kinds": ["heartbeat"]}]},
            "'heartbeat', expected a kind that epcis can say",
            "Known here",
        ),
        (ERP | {"rules": [{"tiers": ["grave"]}]}, "tiers", ""),
        (ERP | {"rules": [{"product": ["x"]}]}, "routes.rules.product is not a known key", "profiles"),
        (ERP | {"kind": "epcis"}, "routes.kind is not a known key", ""),
        (ERP | {"sink": "kafka"}, "sink", ""),
        (ERP | {"batch": 0}, "batch", ""),
        (ERP | {"batch": 1_001}, "batch", ""),
        (ERP | {"token": "s3cr3t"}, "expected a reference", ""),
        (
            BUS | {"topic": "a/{place}"},
            "routes.bus.topic is 'a/{place}'",
            "site, kind, device, sensor, asset",
        ),
        (BUS | {"topic": "a/+/b"}, "routes.bus.topic is 'a/+/b'", "without wildcards"),
        (BUS | {"topic": "a/{site"}, "routes.bus.topic is 'a/{site'", "Close"),
        (BUS | {"topic": "a/{}"}, "routes.bus.topic is 'a/{}'", "braces"),
        (BUS | {"topic": ""}, "routes.bus.topic is ''", "braces"),
        (
            ERP | {"ids": {"fridge-3": "fridge 3"}},
            "routes.erp: ids.fridge-3 is 'fridge 3', expected an address",
            "Correct ids.fridge-3",
        ),
        (
            ERP | {"location": "here"},
            "routes.erp: location is 'here', expected an address",
            "Correct location",
        ),
    ],
    ids=lambda found: None if isinstance(found, dict) else "",
)
def test_what_could_not_work_is_refused(
    tmp_path: Path, route: dict[str, object], what: str, cure: str
) -> None:
    """With the file in front, and the way to mend it; no secret is shown."""
    with pytest.raises(OperatorError) as error:
        load(tmp_path, route)
    assert str(tmp_path / "gateway.toml") in error.value.what
    assert what in error.value.what
    assert re.search(re.escape(cure), error.value.hint)
    assert "secret" not in str(error.value)
    assert "s3cr3t" not in str(error.value)


def test_two_routes_of_one_name_are_refused(tmp_path: Path) -> None:
    """They would share a position."""
    with pytest.raises(OperatorError, match="two of them named 'erp'"):
        load(tmp_path, ERP, ERP)


def test_too_many_routes_are_refused(tmp_path: Path) -> None:
    """Each reads the log by itself."""
    with pytest.raises(OperatorError, match="17 tables"):
        load(tmp_path, *(ERP | {"name": f"erp-{number}"} for number in range(17)))


def test_a_topic_has_levels_of_names_alone(tmp_path: Path) -> None:
    """What is not there, or would be another level, is written otherwise."""
    (route,) = load(tmp_path, BUS | {"topic": "x/{site}/{device}/{sensor}/{asset}"}).routes
    form = Form(route, "site-7")
    parcel = form.parcel(entry_of("reading", READING, SOURCE), Subject("reading", "dev-1", "", "a+b/#"))
    assert parcel.topic == f"x/site-7/dev-1/{NONE}/a_b__"
    assert form.is_placing
    assert not Form(load(tmp_path, BUS).routes[0], "site-7").is_placing


@pytest.mark.parametrize("sink", ["https-json", "cloudevents", "epcis"])
def test_a_list_of_one_has_the_key_of_that_one(tmp_path: Path, sink: str) -> None:
    """And one of several has another."""
    (route,) = load(tmp_path, ERP | {"sink": sink, "batch": 5}).routes
    form, entry = Form(route, "site-7"), entry_of("reading", READING, SOURCE)
    parcel = form.parcel(entry, Subject("reading", "dev-1", "door"))
    assert form.says(entry)
    assert form.body([parcel]).key == parcel.key
    joint = form.body([parcel, parcel._replace(seq=2)]).key
    assert joint.startswith("coldseal.example/site-7/gw-0001:1-2:")
    assert form.body([parcel, parcel._replace(seq=2)]).key == joint
