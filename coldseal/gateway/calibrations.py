"""Reads certificates of calibration from TOML files: one sensor's, or several under common facts.

Promise: what is wrong is named with file, key, value and what was expected, all of it at once; numbers keep
their digits. Whether a calibration is on record, or in force, is not known here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from coldseal.core.coldchain.certificate import CertificateError, canonical_form, parse_calibration
from coldseal.errors import InputError, OperatorError
from coldseal.settings import parse_toml

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.log.canonical import Value

MAX_BYTES: Final = 262_144
"""A file that is longer is no certificate."""

SEVERAL: Final = "calibrations"
"""Array of tables, one for each sensor and quantity; what stands above it holds for all of them."""


def read_calibrations(path: Path) -> list[tuple[Calibration, dict[str, Value]]]:
    """Read the calibrations of a file, each with its form on record.

    Raises:
        OperatorError: the file cannot be read, or is no TOML.
        CertificateError: something in it is no calibration; carries all that is wrong.
    """
    document = _document(path)
    tables = document.pop(SEVERAL, None)
    places = [("", document)] if tables is None else _tables(path, document, tables)
    found: list[tuple[Calibration, dict[str, Value]]] = []
    faults: list[InputError] = []
    for place, table in places:
        try:
            read = parse_calibration(table, where=str(path), place=place)
        except CertificateError as error:
            faults += error.faults
        else:
            key = (read.device, read.sensor, read.quantity)
            if any(key == (each.device, each.sensor, each.quantity) for each, _ in found):
                expected = "each sensor and quantity once: two calibrations of one overlap"
                faults.append(InputError(str(path), f"{place}.quantity", read.quantity, expected))
            found.append((read, canonical_form(table, where=str(path))))
    if faults:
        raise CertificateError(faults)
    return found


def _document(path: Path) -> dict[str, object]:
    """Read and parse the file."""
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise OperatorError(f"{path} has {len(content)} bytes", f"A certificate has at most {MAX_BYTES}")
    except OSError as error:
        raise OperatorError(
            f"{path}: {error.strerror}", "Name a certificate's file that is readable"
        ) from error
    return parse_toml(path, content, Decimal)


def _tables(path: Path, document: dict[str, object], tables: object) -> list[tuple[str, dict[str, object]]]:
    """Put what holds for all calibrations into each of them."""
    if not isinstance(tables, list) or not tables or not all(isinstance(each, dict) for each in tables):
        fault = InputError(str(path), SEVERAL, tables, f"tables, each below [[{SEVERAL}]]")
        raise CertificateError([fault])
    return [(f"{SEVERAL}[{place}]", {**document, **each}) for place, each in enumerate(tables)]
