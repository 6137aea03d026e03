"""Entries as sensor events of GS1 EPCIS 2.0, in JSON-LD.

Promise: an event says of a thing what the entry says of it, and names log, place and leaf hash of that entry,
which alone is the evidence. The same entry gives the same event with the same id. What EPCIS has no words
for gives no event. Judges nothing: that a product is good or bad is only said where a person has said it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.routing.links import MEASURES
from coldseal.core.routing.rules import idempotency_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry
    from coldseal.core.routing.rules import Subject

MEDIA_TYPE: Final = "application/ld+json"
VERSION: Final = "2.0"
KINDS: Final = frozenset({"reading", "excursion", "gap", "disposition"})
"""Kinds that can become events; of gaps only the silence of a sensor."""

NAMESPACE: Final = "https://coldseal.example/epcis/"
"""Of what events say beyond the standard; it is a name, nothing is to be found there."""

_CONTEXT: Final = ("https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"coldseal": NAMESPACE})
_ALARM: Final = "ALARM_CONDITION"
_ERROR: Final = "ERROR_CONDITION"
_OBSERVED: Final = "sensor_reporting"
_OVER: Final = frozenset({"recovered", "closed"})
_VERDICTS: Final = {
    "accept": "conformant",
    "release": "conformant",
    "reject": "non_conformant",
    "quarantine": "unavailable",
}
"""Dispositions of the core business vocabulary, by what a person has decided."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._~-]")
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Places(NamedTuple):
    """What things and places are called outside.

    Attributes:
        ids: address of each asset that has one.
        location: address of the place; empty: that of the log's origin.
    """

    ids: Mapping[str, str]
    location: str = ""


def encode_event(entry: Entry, subject: Subject, places: Places, *, is_alone: bool) -> bytes:
    """Give the event of an entry that `has_words`.

    Args:
        entry: the entry.
        subject: what it is about.
        places: what things are called.
        is_alone: it goes by itself, and so has its own context; else it is to go into a document.
    """
    made = _event(entry, subject, places)
    return _encode({"@context": _CONTEXT, **made} if is_alone else made)


def encode_document(events: Iterable[bytes], created: str) -> bytes:
    """Give a document with events, as it is captured.

    Args:
        events: as `encode_event` gives them, not alone.
        created: time of the document, RFC 3339.
    """
    return _encode(
        {
            "@context": _CONTEXT,
            "type": "EPCISDocument",
            "schemaVersion": VERSION,
            "creationDate": created,
            "epcisBody": {"eventList": [msgspec.Raw(event) for event in events]},
        }
    )


def has_words(entry: Entry) -> bool:
    """Whether an entry becomes an event."""
    if entry.kind == "gap":
        return entry.data.get("cause") == "silent"
    return entry.kind in KINDS


def event_uuid(entry: Entry) -> str:
    """Give the event's id: a UUID made of the entry's key (RFC 9562 5.8), the same each time."""
    drawn = bytearray(hashlib.sha256(idempotency_key(entry).encode()).digest()[:16])
    drawn[6] = drawn[6] & 0x0F | 0x80
    drawn[8] = drawn[8] & 0x3F | 0x80
    text = drawn.hex()
    return f"urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _event(entry: Entry, subject: Subject, places: Places) -> dict[str, object]:
    """Make the event."""
    data, thing = entry.data, places.ids.get(subject.asset)
    event: dict[str, object] = {
        "type": "ObjectEvent",
        "eventID": event_uuid(entry),
        "eventTime": _text(data, "to") or _text(data, "noticed") or _render(subject.taken_ms),
        "eventTimeZoneOffset": "+00:00",
        "epcList": [] if thing is None else [thing],
        "action": "OBSERVE",
        "bizStep": _OBSERVED,
        "readPoint": {"id": places.location or f"https://{entry.log}"},
        "coldseal:origin": entry.log,
        "coldseal:seq": entry.seq,
        "coldseal:leafHash": entry.leaf_hash.hex(),
        "coldseal:kind": entry.kind,
    }
    for name in ("asset", "profile", "tier"):
        if found := getattr(subject, name):
            event[f"coldseal:{name}"] = found
    if entry.kind == "disposition":
        verdict = _text(data, "verdict")
        event |= {"bizStep": "inspecting", "disposition": _VERDICTS.get(verdict, "unknown")}
        event["coldseal:excursion"] = _text(data, "excursion")
        return event
    event["sensorElementList"] = [_element(entry, subject)]
    return event


def _element(entry: Entry, subject: Subject) -> dict[str, object]:
    """Make what the sensor has to say."""
    data = entry.data
    device = f"{_quote(subject.device)}/{_quote(subject.sensor)}"
    about: dict[str, object] = {"deviceID": f"https://{entry.log}/devices/{device}"}
    if entry.kind == "reading":
        about["time"] = _render(subject.taken_ms)
        return {"sensorMetadata": about, "sensorReport": _reports(data)}
    about |= {"startTime": _text(data, "from") or entry.t, "endTime": _text(data, "to") or entry.t}
    if subject.profile:
        about["bizRules"] = f"https://{entry.log}/profiles/{_quote(subject.profile)}"
    report = _silence() if entry.kind == "gap" else _excursion(data)
    return {"sensorMetadata": about, "sensorReport": [report]}


def _reports(data: Mapping[str, Value]) -> list[dict[str, object]]:
    """Make a report of each quantity of a reading."""
    quantities, flags = data.get("q"), data.get("flags")
    reports: list[dict[str, object]] = []
    for each in quantities if isinstance(quantities, list) else []:
        if not isinstance(each, dict):
            continue
        report = _measured(_text(each, "n"), _text(each, "u"))
        _add_number(report, "value", _text(each, "v"))
        if moment := _text(each, "t"):
            report["time"] = moment
        if flags:
            report["coldseal:flags"] = flags
        if "i" in each:
            report |= {"coldseal:indication": each["i"], "coldseal:calibration": each.get("c", "")}
        reports.append(report)
    return reports


def _excursion(data: Mapping[str, Value]) -> dict[str, object]:
    """Make the report of an excursion: how far, how long, and that it is an alarm while it lasts."""
    direction, extreme = _text(data, "direction"), _text(data, "extreme")
    report = _measured(_text(data, "quantity"), _text(data, "unit"))
    if _text(data, "action") not in _OVER:
        report["exception"] = _ALARM
    if direction == "mkt":
        _add_number(report, "meanValue", _text(data, "value"))
    else:
        _add_number(report, "value", _text(data, "value"))
        _add_number(report, "minValue" if direction == "low" else "maxValue", extreme)
    for name in ("action", "area", "direction", "duration", "id", "limit", "mkt"):
        if name in data:
            report[f"coldseal:{name}"] = data[name]
    return report


def _silence() -> dict[str, object]:
    """Make the report of a sensor that is not heard."""
    return {"type": "coldseal:silence", "exception": _ERROR}


def _measured(name: str, unit: str) -> dict[str, object]:
    """Begin a report with what is measured, and in which unit."""
    measure = MEASURES.get(unit)
    said: dict[str, object] = {"type": f"coldseal:{_quote(name)}"}
    if measure is not None:
        said = {"type": measure.kind, "uom": measure.code}
    return {**said, "coldseal:quantity": name}


def _text(found: Mapping[str, Value], name: str) -> str:
    """Give a text; empty where there is none."""
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _add_number(report: dict[str, object], name: str, value: str) -> None:
    """Add a number, exactly as the entry has it, if it is one."""
    if _NUMBER.fullmatch(value) is not None:
        report[name] = Decimal(value)


def _render(moment_ms: int) -> str:
    """Write a moment, ms since 1970, as RFC 3339."""
    moment = _EPOCH + timedelta(milliseconds=moment_ms)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _quote(name: str) -> str:
    """Write a name as a part of an address (RFC 3986 2.1)."""
    return _UNSAFE.sub(lambda found: b"%%%02X" % ord(found[0]), name.encode()).decode()
