"""Units of measure: which one a reading is kept in, and the exact way there.

Promise: temperatures are kept in Cel, whatever the device uses; every conversion is a ratio of whole numbers,
so that nothing is lost before the one rounding that `calibration` does. All codes are UCUM's.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

KELVIN_AT_ZERO: Final = (27_315, 2)
"""0 Cel in K, by definition: digits and decimals (SI brochure, 9th edition, 2.3.1)."""

_IDENTITY: Final = (Fraction(1), Fraction(0))

CONVERSIONS: Final[dict[str, tuple[str, Fraction, Fraction]]] = {
    "[degF]": ("Cel", Fraction(5, 9), Fraction(-160, 9)),  # UCUM: degf(5 K/9)
    "K": ("Cel", Fraction(1), Fraction(-KELVIN_AT_ZERO[0], 10 ** KELVIN_AT_ZERO[1])),
}
"""Units that are converted: to which, the factor, and what is added after it."""


def unit_kept(unit: str) -> str:
    """Give the unit in which a reading with this one is kept."""
    found = CONVERSIONS.get(unit)
    return unit if found is None else found[0]


def conversion(unit: str) -> tuple[Fraction, Fraction]:
    """Give factor and constant from a unit to the one that is kept."""
    found = CONVERSIONS.get(unit)
    return _IDENTITY if found is None else found[1:]
