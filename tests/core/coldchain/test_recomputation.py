"""A value that does not follow from its indication and a calibration before it in the log is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from coldseal.core.coldchain.certificate import canonical_form
from coldseal.core.coldchain.recomputation import Recomputation
from coldseal.core.log import canonical
from coldseal.core.log.record import Chain, Entry, parse_entry
from tests.core.coldchain.bad_calibrations import GOOD
from tests.core.log.example_log import ORIGIN, time_quality

FORM = canonical_form(GOOD, where="test")
ID = str(FORM["id"])
Items = list[canonical.Value]
WARM: dict[str, canonical.Value] = {"c": ID, "i": "5.00", "n": "temperature", "u": "Cel", "v": "5.060"}
DAMP: dict[str, canonical.Value] = {"n": "humidity", "u": "%RH", "v": "60"}
DEW: dict[str, canonical.Value] = {"d": "temperature,humidity", "n": "dew-point", "u": "Cel", "v": "-2.1"}
FAHRENHEIT: dict[str, canonical.Value] = {"i": "41.0", "iu": "[degF]", "n": "lid", "u": "Cel", "v": "5.00"}


def entry(kind: str, data: Mapping[str, canonical.Value]) -> Entry:
    """Seal one entry without a signature."""
    src = b'{"dev":"dev-1","sha256":"s"}' if kind == "reading" else b"{}"
    chain = Chain(ORIGIN, "0" * 16)
    t = "2026-03-04T05:06:07.089Z"
    return parse_entry(chain.seal(kind, t, time_quality(1), src, canonical.encode(data), None))


def reading(*items: canonical.Value, sensor: str = "door") -> Entry:
    """Make a reading."""
    return entry("reading", {"q": list(items), "sensor": sensor})


CALIBRATION = entry(
    "calibration", {"calibration": {**FORM, "from": "2026-03-04T05:06:07.000Z"}, "who": "", "why": ""}
)


def after(*entries: Entry) -> Recomputation:
    """Go through entries."""
    found = Recomputation()
    for each in entries:
        found.take(each)
    return found


def test_what_follows_is_counted() -> None:
    """By how it came about."""
    found = after(entry("heartbeat", {}), CALIBRATION, reading(WARM, DAMP, DEW, FAHRENHEIT))
    assert found.differences == []
    counts = (found.readings, found.corrected, found.plain, found.derived, found.converted, found.unknown)
    assert counts == (1, 1, 1, 1, 1, 0)


@pytest.mark.parametrize(
    ("items", "quantity", "expected"),
    [
        ([{**WARM, "v": "5.061"}], "temperature", "5.060"),
        ([{**WARM, "i": "5.01"}], "temperature", "5.070"),
        ([{**FAHRENHEIT, "v": "5.01"}], "lid", "5.00"),
        ([{**DAMP, "i": "61"}], "humidity", "61"),
        ([WARM, DAMP, {**DEW, "v": "-2.2"}], "dew-point", "-2.1"),
        ([WARM, {**DAMP, "v": "0"}, DEW], "dew-point", "within the range of the formula"),
        ([WARM, DEW], "dew-point", "KeyError"),
        ([{**WARM, "i": "warm"}], "temperature", "ValueError"),
        ([{"n": "nothing"}], "nothing", "KeyError"),
    ],
)
def test_what_does_not_follow_is_named(items: Items, quantity: str, expected: str) -> None:
    """With what the entry should say."""
    found = after(CALIBRATION, reading(*items))
    assert [each.quantity for each in found.differences] == [quantity]
    assert expected in found.differences[0].expected


def test_a_value_whose_calibration_is_not_before_it_is_not_known() -> None:
    """Behind it, of another sensor, or none: it proves nothing."""
    found = after(reading(WARM), CALIBRATION, reading(WARM, sensor="lid"), reading({**WARM, "c": "0badcafe"}))
    assert (found.unknown, found.corrected, found.differences) == (3, 0, [])


def test_a_calibration_that_contradicts_its_id_is_none() -> None:
    """Its values are not known, and it is named itself."""
    forged = entry("calibration", {"calibration": {**FORM, "uncertainty": "0.01"}, "who": "", "why": ""})
    found = after(
        forged, entry("calibration", {"calibration": "?"}), reading(WARM), entry("reading", {"q": "?"})
    )
    assert [each.quantity for each in found.differences] == ["calibration", "calibration"]
    assert "which follows from its content" in found.differences[0].expected
    assert found.unknown == 1
