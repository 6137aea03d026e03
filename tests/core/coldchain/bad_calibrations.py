"""Certificates that are refused: the change in a good one, the key that is named, what was expected."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

GOOD: Final[dict[str, object]] = {
    "calibrated": "2026-01-15",
    "certificate": "K-2026-0417",
    "coverage": "2",
    "device": "dev-1",
    "due": "2027-01-15",
    "laboratory": "Calibration Laboratory of the Test",
    "points": [["-20.00", "-20.12"], ["2.00", "2.05"], ["8.00", "8.07"]],
    "quantity": "temperature",
    "sensor": "door",
    "uncertainty": "0.10",
    "unit": "Cel",
}
"""A certificate that passes."""

ABSENT: Final = object()
"""Stands for a key that is taken out."""

BAD: Final[dict[str, tuple[dict[str, object], str, str]]] = {
    "unknown key": ({"temprature": "1"}, "temprature", "no such key"),
    "misspelt key": ({"uncertainy": "1"}, "uncertainy", "did you mean 'uncertainty'?"),
    "no device": ({"device": ABSENT}, "device", "it to be there"),
    "device with a slash": ({"device": "a/b"}, "device", "1 to 64 of A-Z a-z 0-9 . _ -"),
    "device that is a number": ({"device": 7}, "device", "1 to 64 of"),
    "no sensor": ({"sensor": ""}, "sensor", "1 to 64 of"),
    "quantity with a space": ({"quantity": "air temperature"}, "quantity", "a quantity as in readings"),
    "no certificate": ({"certificate": ABSENT}, "certificate", "the certificate's number"),
    "certificate of two lines": ({"certificate": "a\nb"}, "certificate", "the certificate's number"),
    "laboratory that is too long": ({"laboratory": "x" * 121}, "laboratory", "1 to 120 characters"),
    "unit that nobody knows": ({"unit": "C"}, "unit", "one of Cel, %RH"),
    "no unit": ({"unit": ABSENT}, "unit", "one of Cel, %RH"),
    "unit that is converted": ({"unit": "[degF]"}, "unit", "Cel: readings are converted to it before"),
    "kelvin": ({"unit": "K"}, "unit", "Cel: readings are converted to it before"),
    "no day": ({"calibrated": ABSENT}, "calibrated", "a day such as 2026-03-01"),
    "day that does not exist": ({"calibrated": "2026-02-30"}, "calibrated", "a day such as"),
    "day with a time": ({"due": "2027-01-15T00:00:00Z"}, "due", "a day such as"),
    "moment of TOML": ({"due": datetime(2027, 1, 15, tzinfo=UTC)}, "due", "a day such as"),
    "day before all days": ({"calibrated": date(1969, 12, 31)}, "calibrated", "a day such as"),
    "due before it was calibrated": ({"due": "2026-01-14"}, "due", "a day after 2026-01-15"),
    "due on the same day": ({"due": "2026-01-15"}, "due", "a day after 2026-01-15"),
    "due after eleven years": ({"due": "2037-01-15"}, "due", "at most ten years"),
    "neither points nor an offset": ({"points": ABSENT}, "points", "points, or an offset and a slope"),
    "points and an offset": ({"offset": "0.1"}, "offset", "either points, or an offset and a slope"),
    "points and a slope": ({"slope": "1.01"}, "slope", "either points, or an offset and a slope"),
    "a single point": ({"points": [["2.00", "2.05"]]}, "points", "2 to 32 pairs"),
    "33 points": ({"points": [[str(i), str(i)] for i in range(33)]}, "points", "2 to 32 pairs"),
    "points that are a text": ({"points": "2.00"}, "points", "2 to 32 pairs"),
    "a point of three numbers": (
        {"points": [["1", "1"], ["2", "2", "2"]]},
        "points[1]",
        "indication and true value",
    ),
    "a point that is a number": ({"points": [["1", "1"], 2]}, "points[1]", "indication and true value"),
    "a point with a word": ({"points": [["1", "one"], ["2", "2"]]}, "points[0]", "a decimal number such as"),
    "points that fall": (
        {"points": [["8.00", "8.07"], ["2.00", "2.05"]]},
        "points[1]",
        "an indication above 8.00",
    ),
    "a point twice": (
        {"points": [["2.00", "2.05"], ["2.00", "2.06"]]},
        "points[1]",
        "above 2.00: points rise",
    ),
    "true values that fall": (
        {"points": [["2.00", "2.05"], ["2.10", "2.04"]]},
        "points[1]",
        "a true value above 2.05",
    ),
    "a correction of six degrees": (
        {"points": [["2.00", "2.05"], ["8.00", "14.01"]]},
        "points[1]",
        "a correction of at most 5 Cel",
    ),
    "a point that no sensor shows": (
        {"points": [["2.00", "2.05"], ["201.00", "200.00"]]},
        "points[1]",
        "an indication of -273.15 to 200.0 Cel",
    ),
    "an offset of six degrees": (
        {"points": ABSENT, "offset": "-6"},
        "offset",
        "a correction of at most 5 Cel",
    ),
    "an offset that is a binary float": (
        {"points": ABSENT, "offset": 0.1},
        "offset",
        "a decimal number such as",
    ),
    "an offset that is true": ({"points": ABSENT, "offset": True}, "offset", "a decimal number such as"),
    "an offset with an exponent": ({"points": ABSENT, "offset": "1e-1"}, "offset", "at most 6 decimals"),
    "an offset of seven decimals": (
        {"points": ABSENT, "offset": "0.0000001"},
        "offset",
        "at most 6 decimals",
    ),
    "a slope of two": ({"points": ABSENT, "slope": "2"}, "slope", "0.8 to 1.25"),
    "a slope of nought": ({"points": ABSENT, "slope": 0}, "slope", "0.8 to 1.25"),
    "humidity that is off by a fifth": (
        {"unit": "%RH", "quantity": "humidity", "points": ABSENT, "offset": "20"},
        "offset",
        "a correction of at most 15 %RH",
    ),
    "light that is off by half its range": (
        {"unit": "lx", "quantity": "light", "points": ABSENT, "offset": "100000"},
        "offset",
        "a correction of at most 20000 lx",
    ),
    "no uncertainty": ({"uncertainty": ABSENT}, "uncertainty", "it to be there"),
    "uncertainty below nought": ({"uncertainty": "-0.1"}, "uncertainty", "0 or more"),
    "uncertainty that is a word": ({"uncertainty": "little"}, "uncertainty", "a decimal number such as"),
    "coverage factor of nought": ({"coverage": 0}, "coverage", "the factor k of the uncertainty, 1 to 4"),
    "coverage factor of five": ({"coverage": 5}, "coverage", "the factor k of the uncertainty, 1 to 4"),
    "an id of another one": ({"id": "0badcafe"}, "id", "which follows from its content"),
    "an id of another form": ({"id": "17"}, "id", "8 hex digits"),
}
"""Name of each, and why it is refused."""


def changed(change: dict[str, object]) -> dict[str, object]:
    """Give the good certificate with a change."""
    return {name: value for name, value in {**GOOD, **change}.items() if value is not ABSENT}
