"""Events are valid by the schema that GS1 publishes, say what the entry says, and are the same each time."""

from __future__ import annotations

import copy
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coldseal.core.log.canonical import Value
from coldseal.core.routing.epcis import (
    KINDS,
    Places,
    encode_document,
    encode_event,
    event_uuid,
    has_words,
)
from coldseal.core.routing.rules import Subject, subject_of
from tests.core.routing.entries import (
    DISPOSITION,
    EXCURSION,
    READING,
    SILENCE,
    SOURCE,
    entry_of,
)
from tests.sealed import ORIGIN, TIME

SCHEMA = json.loads((Path(__file__).parents[2] / "vectors" / "epcis" / "epcis-2.0.schema.json").read_bytes())
FRIDGE = "https://id.gs1.org/8004/9521234FRIDGE3"
PLACES = Places({"fridge-3": FRIDGE}, "https://id.gs1.org/414/9506000134307")

_formats = jsonschema.FormatChecker(formats=())


@_formats.checks("uri")
def is_uri(found: object) -> bool:
    """Whether a text has a scheme; a compact one (JSON-LD) has its prefix there."""
    return (
        not isinstance(found, str)
        or re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+", found) is not None
    )


@_formats.checks("date-time", raises=ValueError)
def is_moment(found: object) -> bool:
    """Whether a text is a time with a zone."""
    return not isinstance(found, str) or datetime.fromisoformat(found).tzinfo is not None


_validator = jsonschema.Draft7Validator(SCHEMA, format_checker=_formats)


def placed(_device: str, _sensor: str, _moment_ms: int) -> tuple[str, str]:
    """Say what every sensor watches."""
    return "fridge-3", "refrigerated"


def event_of(
    kind: str, data: dict[str, Value], source: dict[str, Value] | None = None, places: Places = PLACES
) -> dict[str, Any]:
    """Give a valid event."""
    entry = entry_of(kind, data, source)
    found: dict[str, Any] = json.loads(encode_event(entry, subject_of(entry, placed), places, is_alone=True))
    _validator.validate(found)
    return found


def test_a_reading_becomes_a_sensor_event_with_a_report_of_each_quantity() -> None:
    """With numbers as the entry has them, in GS1's words; indication and calibration beside them."""
    found = event_of("reading", READING, SOURCE)
    (element,) = found["sensorElementList"]
    assert (found["type"], found["action"], found["bizStep"]) == (
        "ObjectEvent",
        "OBSERVE",
        "sensor_reporting",
    )
    assert found["epcList"] == [FRIDGE]
    assert element["sensorMetadata"] == {"deviceID": f"https://{ORIGIN}/devices/dev-1/door", "time": TIME}
    assert element["sensorReport"] == [
        {
            "type": "Temperature",
            "uom": "CEL",
            "value": 4.71,
            "coldseal:quantity": "temperature",
            "coldseal:indication": "4.9",
            "coldseal:calibration": "cal-9",
        },
        {
            "type": "RelativeHumidity",
            "uom": "P1",
            "value": 41,
            "coldseal:quantity": "humidity",
            "time": "2026-11-22T05:20:00.000Z",
        },
    ]


def test_an_event_names_the_entry_that_is_the_evidence() -> None:
    """By log, place and leaf hash."""
    entry = entry_of("reading", READING, SOURCE)
    found = event_of("reading", READING, SOURCE)
    assert found["coldseal:origin"] == ORIGIN
    assert found["coldseal:seq"] == 1
    assert found["coldseal:leafHash"] == entry.leaf_hash.hex()
    assert found["@context"][1] == {"coldseal": "https://coldseal.example/epcis/"}


def test_the_same_entry_has_the_same_id_and_another_has_another() -> None:
    """A version 8 UUID, which says nothing but that."""
    one, other = entry_of("reading", READING, SOURCE), entry_of("reading", READING)
    assert event_uuid(one) == event_uuid(entry_of("reading", READING, SOURCE)) != event_uuid(other)
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", event_uuid(one)
    )


@pytest.mark.parametrize("action", ["opened", "escalated", "retrospective"])
def test_an_excursion_is_an_alarm_while_it_lasts(action: str) -> None:
    """From its first reading to now, by the rules of its profile."""
    found = event_of("excursion", EXCURSION | {"action": action})
    (element,) = found["sensorElementList"]
    (report,) = element["sensorReport"]
    assert report["exception"] == "ALARM_CONDITION"
    assert (report["value"], report["maxValue"], report["uom"]) == (9.02, 9.31, "CEL")
    assert report["coldseal:mkt"] == EXCURSION["mkt"]
    assert element["sensorMetadata"]["startTime"] == EXCURSION["from"]
    assert element["sensorMetadata"]["bizRules"] == f"https://{ORIGIN}/profiles/refrigerated"
    assert (found["eventTime"], found["coldseal:tier"]) == (EXCURSION["to"], "excursion")


def test_a_mean_above_its_limit_is_reported_as_a_mean() -> None:
    """Not as a value that was measured."""
    data = EXCURSION | {"direction": "mkt"}
    (report,) = event_of("excursion", data)["sensorElementList"][0]["sensorReport"]
    assert report["meanValue"] == 9.02
    assert not {"value", "minValue", "maxValue"} & report.keys()


def test_an_excursion_that_is_over_is_no_alarm() -> None:
    """On the low side the extreme is the least."""
    data = EXCURSION | {"action": "recovered", "direction": "low", "extreme": "-0.5", "profile": {}}
    (report,) = event_of("excursion", data, places=Places({}))["sensorElementList"][0]["sensorReport"]
    assert "exception" not in report
    assert report["minValue"] == -0.5


def test_a_silent_sensor_is_an_error() -> None:
    """Without a value: there is none."""
    (report,) = event_of("gap", SILENCE)["sensorElementList"][0]["sensorReport"]
    assert report == {"type": "coldseal:silence", "exception": "ERROR_CONDITION"}


@pytest.mark.parametrize(
    ("verdict", "disposition"),
    [("accept", "conformant"), ("reject", "non_conformant"), ("quarantine", "unavailable"), ("?", "unknown")],
)
def test_only_a_person_says_that_a_product_is_good_or_bad(verdict: str, disposition: str) -> None:
    """In the words of the core business vocabulary."""
    found = event_of("disposition", DISPOSITION | {"verdict": verdict})
    assert (found["bizStep"], found["disposition"]) == ("inspecting", disposition)
    assert found["coldseal:excursion"] == DISPOSITION["excursion"]
    assert "disposition" not in event_of("excursion", EXCURSION)


def test_what_has_no_address_is_named_in_our_words_alone() -> None:
    """And the place is that of the log."""
    found = event_of("reading", READING, SOURCE, Places({}))
    assert found["epcList"] == []
    assert found["coldseal:asset"] == "fridge-3"
    assert found["readPoint"] == {"id": f"https://{ORIGIN}"}


def test_what_a_later_version_says_otherwise_still_becomes_an_event() -> None:
    """An unknown unit, a value that is none, names that need quoting, flags, quantities of another form."""
    data: dict[str, Value] = {
        "flags": ["clock"],
        "q": ["?", {"n": "gas level", "u": "mol", "v": "many"}],
        "sensor": "door",
    }
    entry = entry_of("reading", data, SOURCE)
    subject = Subject("reading", "dev/1", "Tür", taken_ms=0)
    found = json.loads(encode_event(entry, subject, PLACES, is_alone=True))
    _validator.validate(found)
    (element,) = found["sensorElementList"]
    assert element["sensorMetadata"]["deviceID"] == f"https://{ORIGIN}/devices/dev%2F1/T%C3%BCr"
    assert element["sensorReport"] == [
        {"type": "coldseal:gas%20level", "coldseal:quantity": "gas level", "coldseal:flags": ["clock"]}
    ]
    assert (
        json.loads(encode_event(entry_of("reading", {"sensor": "door"}), subject, PLACES, is_alone=False))[
            "sensorElementList"
        ][0]["sensorReport"]
        == []
    )


def test_an_excursion_of_which_little_is_known_still_becomes_an_event() -> None:
    """Without profile, value or extreme."""
    entry = entry_of("excursion", {"action": "opened", "quantity": "temperature", "unit": "Cel"})
    found = json.loads(encode_event(entry, Subject("excursion", "dev-1", "door"), PLACES, is_alone=True))
    _validator.validate(found)
    assert "bizRules" not in found["sensorElementList"][0]["sensorMetadata"]


def test_only_some_kinds_have_words() -> None:
    """Of gaps, the silence of a sensor."""
    assert all(has_words(entry_of(kind, {"cause": "silent"})) for kind in KINDS)
    assert not has_words(entry_of("gap", {"cause": "power"}))
    assert not has_words(entry_of("heartbeat", {}))


def test_a_document_holds_events_in_order() -> None:
    """They have no context of their own there, and the whole is valid."""
    entries = [entry_of("reading", READING, SOURCE), entry_of("excursion", EXCURSION)]
    events = [encode_event(each, subject_of(each, placed), PLACES, is_alone=False) for each in entries]
    found = json.loads(encode_document(events, TIME))
    _validator.validate(found)
    listed = found["epcisBody"]["eventList"]
    assert [each["coldseal:kind"] for each in listed] == ["reading", "excursion"]
    assert all("@context" not in each for each in listed)
    assert (found["type"], found["schemaVersion"], found["creationDate"]) == ("EPCISDocument", "2.0", TIME)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("eventTime",), "yesterday"),
        (("eventTimeZoneOffset",), "Z"),
        (("action",), "LOOK"),
        (("bizStep",), "looking"),
        (("sensorElementList", 0, "sensorReport", 0, "type"), "Warmth"),
        (("sensorElementList", 0, "sensorReport", 0, "value"), "4.71"),
        (("readPoint",), {}),
        (("epcList",), ["fridge 3"]),
    ],
    ids=lambda found: ".".join(map(str, found)) if isinstance(found, tuple) else "",
)
def test_the_schema_refuses_what_is_no_event(path: tuple[str | int, ...], value: object) -> None:
    """So that the tests above mean something."""
    broken: Any = copy.deepcopy(event_of("reading", READING, SOURCE))
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        _validator.validate(broken)
