"""Names of things as GS1 has them: which address names one single thing, and which measure is called what.

Promise: an address that passes names one thing, not a class of them, and its check digit is right. Codes are
those of the GS1 web vocabulary and of UN/CEFACT Recommendation 20. Looks nothing up.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from coldseal.errors import InputError

_LINK: Final = re.compile(
    r"https://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[^/?#]+)*?/(00|01|253|255|414|8003|8004|8006|8010|8017|8018)/(.+)"
)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")
_PATH: Final = re.compile(r"([^/?#]+)(?:/21/([^/?#]+))?")

_DIGITS: Final = {"00": 18, "01": 14, "414": 13, "8017": 18, "8018": 18}
"""Length of the number behind each of these identifiers, check digit included."""

_SERIAL: Final = frozenset({"01", "8006"})
"""These name a class, and with a serial number behind 21 one thing of it."""


class Measure(NamedTuple):
    """How a unit is said: type of measurement, and code of the unit."""

    kind: str
    code: str


MEASURES: Final = {
    "Cel": Measure("Temperature", "CEL"),
    "%RH": Measure("RelativeHumidity", "P1"),
    "[degF]": Measure("Temperature", "FAH"),
    "K": Measure("Temperature", "KEL"),
    "%EL": Measure("Dimensionless", "P1"),
    "hPa": Measure("Pressure", "A97"),
    "Pa": Measure("Pressure", "PAL"),
    "V": Measure("Voltage", "VLT"),
    "lx": Measure("Illuminance", "LUX"),
    "ppm": Measure("VolumeFraction", "59"),
    "/": Measure("Dimensionless", "C62"),
}
"""By our units (`coldchain.reading.UNITS`)."""


def require_thing(address: str, *, where: str, key: str) -> None:
    """Insist on the address of one thing.

    Args:
        address: a GS1 Digital Link address, or any other URI that is none.
        where: what is being read, for the error.
        key: its key there.

    Raises:
        InputError: it is no URI; or it names a class; or a number or its check digit is wrong.
    """
    if _URI.fullmatch(address) is None:
        raise InputError(where, key, address, "an address such as https://id.gs1.org/8004/9521234FRIDGE3")
    found = _LINK.fullmatch(address)
    if found is None:
        return
    identifier, rest = found.groups()
    parts = _PATH.fullmatch(rest)
    number, serial = parts.groups() if parts is not None else ("", None)
    if identifier in _SERIAL and not serial:
        raise InputError(
            where, key, address, f"a serial number behind /{identifier}/…/21/: one thing, no class"
        )
    if parts is None:
        raise InputError(where, key, address, f"one value behind /{identifier}/")
    digits = _DIGITS.get(identifier)
    if digits is not None and (len(number) != digits or not _is_checked(number)):
        raise InputError(
            where, key, address, f"{digits} digits behind /{identifier}/, the last a check digit"
        )


def _is_checked(number: str) -> bool:
    """Whether it is digits, and the last one checks the others (GS1 General Specifications 7.9)."""
    if not (number.isascii() and number.isdecimal()):
        return False
    total = sum(int(digit) * (1 if place % 2 == 0 else 3) for place, digit in enumerate(reversed(number)))
    return total % 10 == 0
