"""The dew point over water, derived from temperature and relative humidity by the Magnus formula.

Promise: the same two texts give the same text on every machine; outside of the range for which the constants
were fitted there is no answer. It is derived, never measured, and says so on record.

"""

# The constants: Alduchov and Eskridge, Improved Magnus Form Approximation of Saturation Vapor Pressure,
# Journal of Applied Meteorology 35 (1996), pages 601-609: over water, -40 to 50 Cel, pressure within 0.4 %.
# The WMO defines relative humidity over water at all temperatures (Guide no. 8), so is the dew point.

from __future__ import annotations

from decimal import Context, Decimal
from math import log
from typing import Final

FACTOR: Final = "17.625"
TEMPERATURE: Final = "243.04"
"""The two constants of the Magnus formula, the second in Cel."""

COLDEST: Final = -40
WARMEST: Final = 50
DRIEST: Final = 1
"""The range: Cel, and %RH, of which there are 100 at most."""

_PER_CENT: Final = 100
_FACTOR, _TEMPERATURE = float(FACTOR), float(TEMPERATURE)
_NEAR: Final = 1e-6  # far more than doubles can be off here, far less than a tenth
_EXACT: Final = Context(prec=40)
_LEAST: Final = -1000
_TENTHS: Final = tuple(
    f"{'-' if each < 0 else ''}{abs(each) // 10}.{abs(each) % 10}" for each in range(_LEAST, 501)
)
"""Every answer there can be, and more: from -76.4 (-40 Cel, 1 %RH) to 50.0."""


def dew_point(temperature: str, humidity: str) -> str | None:
    """Give the dew point in Cel with one decimal, half to even; None outside the range.

    Args:
        temperature: Cel, plain decimal text.
        humidity: %RH over water, plain decimal text.
    """
    warmth, share = float(temperature), float(humidity)
    if not (COLDEST <= warmth <= WARMEST and DRIEST <= share <= _PER_CENT):
        return None
    gamma = log(share / _PER_CENT) + _FACTOR * warmth / (_TEMPERATURE + warmth)
    tenths = 10 * _TEMPERATURE * gamma / (_FACTOR - gamma)
    found = round(tenths)
    if abs(abs(tenths - found) - 0.5) < _NEAR:  # too close for doubles: they need not agree on two machines
        found = tenths_exactly(temperature, humidity)
    return _TENTHS[found - _LEAST]


def tenths_exactly(temperature: str, humidity: str) -> int:
    """Give the dew point in tenths of Cel, computed with 40 digits."""
    factor, constant = Decimal(FACTOR), Decimal(TEMPERATURE)
    warmth, share = Decimal(temperature), Decimal(humidity) / _PER_CENT
    slope = _EXACT.divide(_EXACT.multiply(factor, warmth), _EXACT.add(constant, warmth))
    gamma = _EXACT.add(_EXACT.ln(share), slope)
    return round(_EXACT.divide(_EXACT.multiply(10 * constant, gamma), _EXACT.subtract(factor, gamma)))
