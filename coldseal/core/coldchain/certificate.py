"""Certificates of calibration: from what a person wrote down to a `Calibration`, and to the form on record.

Promise: what passes here is whole, rising, plausible and exact; all that is wrong is named at once, each with
key, value and what was expected. The id follows from the content, so that it cannot stand for another one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.calibration import COVERAGE, Calibration
from coldseal.core.coldchain.document import Document, DocumentError
from coldseal.core.coldchain.reading import UNITS
from coldseal.core.coldchain.units import CONVERSIONS, unit_kept
from coldseal.core.log import canonical

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value

MAX_POINTS: Final = 32
MAX_CORRECTION: Final[Mapping[str, Decimal]] = {
    "Cel": Decimal(5),
    "%RH": Decimal(15),
    "hPa": Decimal(20),
    "V": Decimal(1),
}
"""A sensor that is off by more needs repair, not calibration; other units: a tenth of their range."""

SLOPES: Final = (Decimal("0.8"), Decimal("1.25"))
"""By what an indication may be multiplied."""

ID_DIGITS: Final = 8

KEYS: Final = frozenset(
    {
        *("calibrated", "certificate", "coverage", "device", "due", "laboratory", "offset", "points"),
        *("quantity", "sensor", "slope", "uncertainty", "unit"),
    }
)
"""What a calibration may say; on record it has its `id` as well."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_QUANTITY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}", re.ASCII)
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,120}")
_ID: Final = re.compile(r"[0-9a-f]{8}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,7}(?:\.[0-9]{1,6})?", re.ASCII).fullmatch
_A_NAME: Final = "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
_A_NUMBER: Final = 'a decimal number such as "0.12", with at most 6 decimals'
_A_DAY: Final = "a day such as 2026-03-01"
_PAIR: Final = 2
_MAX_COVERAGE: Final = 4
_LONGEST_DAYS: Final = 3653
_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)


class CertificateError(DocumentError):
    """A calibration is not whole, or not plausible."""


def parse_calibration(document: Mapping[str, object], *, where: str, place: str = "") -> Calibration:
    """Read a calibration, as it stands in a TOML file or in an entry.

    Args:
        document: days as such or as text; numbers as decimals or as text, never as binary floats.
        where: what is being read, such as the file's name; for errors.
        place: the key below which it stands, for errors.

    Raises:
        CertificateError: it is not whole, or not plausible; it carries all that is wrong.
    """
    found = Document(document, where=where, place=place)
    found.only(KEYS | {"id"})
    read = Calibration(
        id="",
        device=found.text("device", _NAME, _A_NAME),
        sensor=found.text("sensor", _NAME, _A_NAME),
        quantity=found.text("quantity", _QUANTITY, "a quantity as in readings, such as temperature"),
        unit=_unit(found),
        certificate=found.text("certificate", _TEXT, "the certificate's number: 1 to 120 characters"),
        laboratory=found.text("laboratory", _TEXT, "who issued it: 1 to 120 characters"),
        points=_points(found),
        offset=_number(found, "offset", Decimal(0)),
        slope=_number(found, "slope", Decimal(1)),
    )
    uncertainty, coverage = _uncertainty(found)
    calibrated, due = _days(found)
    if not found.faults:
        _plausible(found, read)
    if found.faults:
        raise CertificateError(found.faults)
    read = msgspec.structs.replace(
        read,
        calibrated_ms=_ms(calibrated),
        due_ms=_ms(due) + _DAY_MS,
        uncertainty=expanded(uncertainty, coverage),
    )
    form = _form(read, calibrated, due, uncertainty, coverage)
    name = hashlib.sha256(canonical.encode(form)).hexdigest()[:ID_DIGITS]
    if found.has("id") and found.text("id", _ID, "8 hex digits") != name:
        found.fault("id", document["id"], f"{name}, which follows from its content")
        raise CertificateError(found.faults)
    return msgspec.structs.replace(read, id=name)


def canonical_form(document: Mapping[str, object], *, where: str) -> dict[str, Value]:
    """Give a calibration as an entry holds it: its id, days as text, numbers as decimal text.

    Raises:
        CertificateError: it is none.
    """
    read = parse_calibration(document, where=where)
    found = Document(document, where=where)
    (uncertainty, coverage), (calibrated, due) = _uncertainty(found), _days(found)
    return {"id": read.id, **_form(read, calibrated, due, uncertainty, coverage)}


def expanded(uncertainty: Decimal, coverage: Decimal) -> int:
    """Give an uncertainty that was stated with a coverage factor as thousandths with k = 2, rounded up."""
    exact = uncertainty * 1000 * COVERAGE / coverage
    return int(exact.to_integral_value(ROUND_CEILING))


def _form(
    read: Calibration, calibrated: date, due: date, uncertainty: Decimal, coverage: Decimal
) -> dict[str, Value]:
    """Write out what a calibration says."""
    correction: dict[str, Value] = {
        "points": [[_written(shown), _written(true)] for shown, true in read.points],
    }
    if not read.points:
        correction = {"offset": _written(read.offset), "slope": _written(read.slope)}
    return {
        "calibrated": calibrated.isoformat(),
        "certificate": read.certificate,
        "coverage": _written(coverage),
        "device": read.device,
        "due": due.isoformat(),
        "laboratory": read.laboratory,
        "quantity": read.quantity,
        "sensor": read.sensor,
        "uncertainty": _written(uncertainty),
        "unit": read.unit,
        **correction,
    }


def _written(number: Decimal) -> str:
    """Write a number without exponent, and zero without a sign."""
    return f"{number:f}" if number else f"{abs(number):f}"


def _unit(found: Document) -> str:
    """Read the unit, which is that of readings."""
    said = found.table.get("unit")
    if isinstance(said, str) and said in CONVERSIONS:
        kept = unit_kept(said)
        found.fault("unit", said, f"{kept}: readings are converted to it before they are corrected")
        return ""
    known = ", ".join(each for each in UNITS if each not in CONVERSIONS)
    return found.text("unit", _UNIT, f"one of {known}")


_UNIT: Final = re.compile("|".join(re.escape(each) for each in UNITS if each not in CONVERSIONS))


def _number(found: Document, name: str, default: Decimal) -> Decimal:
    """Read a number exactly."""
    if not found.has(name):
        return default
    number = exact(found.table[name])
    if number is None:
        found.fault(name, found.table[name], _A_NUMBER)
        return default
    return number


def exact(value: object) -> Decimal | None:
    """Give a number that is written as a decimal, a whole number or text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return Decimal(text) if _DECIMAL(text) is not None else None


def _points(found: Document) -> tuple[tuple[Decimal, Decimal], ...]:
    """Read the points: what the sensor showed, and what was true."""
    if not found.has("points"):
        if not (found.has("offset") or found.has("slope")):
            found.fault("points", None, "points, or an offset and a slope")
        return ()
    for other in ("offset", "slope"):
        if found.has(other):
            found.fault(other, found.table[other], "either points, or an offset and a slope")
    said = found.table["points"]
    if not isinstance(said, list | tuple) or not _PAIR <= len(said) <= MAX_POINTS:
        found.fault("points", said, f"2 to {MAX_POINTS} pairs of indication and true value")
        return ()
    pairs = []
    for place, each in enumerate(said):
        both = [exact(value) for value in each] if isinstance(each, list | tuple) else []
        if len(both) != _PAIR or both[0] is None or both[1] is None:
            found.fault(f"points[{place}]", each, f"indication and true value, each {_A_NUMBER}")
        else:
            pairs.append((both[0], both[1]))
    return tuple(pairs)


def _uncertainty(found: Document) -> tuple[Decimal, Decimal]:
    """Read the uncertainty and the factor by which it is expanded, as the certificate states them."""
    if not found.has("uncertainty"):
        found.fault("uncertainty", None, "it to be there: the uncertainty that the certificate states")
    uncertainty = _number(found, "uncertainty", Decimal(0))
    coverage = _number(found, "coverage", Decimal(COVERAGE))
    if uncertainty < 0:
        found.fault("uncertainty", uncertainty, "0 or more")
    if not 1 <= coverage <= _MAX_COVERAGE:
        found.fault("coverage", coverage, f"the factor k of the uncertainty, 1 to {_MAX_COVERAGE}; usually 2")
    return uncertainty, coverage


def _days(found: Document) -> tuple[date, date]:
    """Read when it was calibrated and when it is due again."""
    calibrated, due = _day(found, "calibrated"), _day(found, "due")
    if calibrated is None or due is None:
        return _EPOCH, _EPOCH
    if due <= calibrated:
        found.fault("due", due.isoformat(), f"a day after {calibrated.isoformat()}, when it was calibrated")
    elif (due - calibrated).days > _LONGEST_DAYS:
        found.fault("due", due.isoformat(), "a day at most ten years after it was calibrated")
    return calibrated, due


def _day(found: Document, name: str) -> date | None:
    """Read a day."""
    said = found.table.get(name)
    if isinstance(said, date) and not isinstance(said, datetime) and said >= _EPOCH:
        return said
    if isinstance(said, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", said, re.ASCII):
        try:
            day = date.fromisoformat(said)
        except ValueError:
            day = _EPOCH
        if day > _EPOCH:
            return day
    found.fault(name, str(said) if isinstance(said, date) else said, _A_DAY)
    return None


def _ms(day: date) -> int:
    """Give the beginning of a day, UTC milliseconds."""
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _plausible(found: Document, read: Calibration) -> None:
    """Hold a correction against what a sensor that works can need."""
    low, high = (Decimal(str(bound)) for bound in UNITS[read.unit])
    most = MAX_CORRECTION.get(read.unit, (high - low) / 10)
    limit = f"a correction of at most {_written(most.normalize())} {read.unit}"
    if not SLOPES[0] <= read.slope <= SLOPES[1]:
        found.fault("slope", read.slope, f"{SLOPES[0]} to {SLOPES[1]}")
    if abs(read.offset) > most:
        found.fault("offset", read.offset, limit)
    for place, (shown, true) in enumerate(read.points):
        if not low <= shown <= high:
            found.fault(f"points[{place}]", shown, f"an indication of {low} to {high} {read.unit}")
        if abs(true - shown) > most:
            found.fault(f"points[{place}]", f"{shown} → {true}", limit)
    for place, (before, behind) in enumerate(pairwise(read.points), start=1):
        if behind[0] <= before[0]:
            found.fault(f"points[{place}]", behind[0], f"an indication above {before[0]}: points rise")
        elif behind[1] <= before[1]:
            found.fault(f"points[{place}]", behind[1], f"a true value above {before[1]}: points rise")
