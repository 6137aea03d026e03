"""What is known of a sensor from its certificate of calibration, and the exact correction that follows.

Promise: the corrected value is a pure function of the indication's digits and the certificate: whole numbers,
one rounding, half to even. Whoever has both gets the same text, years later and elsewhere.
Files are read in `certificate`; which calibration is in force when is known in `register`.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from typing_extensions import override

from coldseal.core.coldchain.units import KELVIN_AT_ZERO, conversion

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DECIMALS: Final = 12
"""A corrected or converted value has no more decimals than this, whatever the device sent."""

COVERAGE: Final = 2
"""Uncertainties are held expanded by this factor: about 95 % of a normal distribution (GUM, 6.3.3)."""

_NONE: Final = Decimal(0)
_SAME: Final = Decimal(1)


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """One calibration of one quantity of one sensor.

    Args:
        id: first 8 hex digits of SHA-256 over its canonical form: it stands in each reading it corrected.
        device: the device that carries the sensor.
        sensor: its name below the device.
        quantity: what is corrected, as in readings, such as ``temperature``.
        unit: of all numbers here; that of readings after conversion.
        calibrated_ms: when it was calibrated: the beginning of that day, UTC.
        due_ms: from when on it is overdue: the end of the day that the certificate names, UTC.
        points: indication and true value, rising; straight lines between them, and beyond the outermost.
        offset: without points: what is added, after `slope`.
        slope: without points: by what an indication is multiplied.
        uncertainty: expanded uncertainty (k = 2) of a corrected value, thousandths, rounded up.
        certificate: its number.
        laboratory: who issued it.
        from_ms: from when on it holds for readings, UTC milliseconds.
    """

    id: str
    device: str
    sensor: str
    quantity: str
    unit: str
    calibrated_ms: int = 0
    due_ms: int = 2**53 - 1
    points: tuple[tuple[Decimal, Decimal], ...] = ()
    offset: Decimal = _NONE
    slope: Decimal = _SAME
    uncertainty: int = 0
    certificate: str = ""
    laboratory: str = ""
    from_ms: int = 0

    @override
    def __hash__(self) -> int:
        """Hash the id alone, which stands for all the rest: caches ask for it with every reading."""
        return hash(self.id)

    def is_due(self, taken_ms: int) -> bool:
        """Whether a reading taken then comes after the due date."""
        return taken_ms >= self.due_ms

    @property
    def is_offset(self) -> bool:
        """Whether it only adds a constant."""
        return not self.points and self.slope == _SAME


class _Piece(NamedTuple):
    """A straight line up to an indication: ``(factor·x + constant) / divisor``, all whole numbers.

    Attributes:
        upper: numerator of the last indication for which it holds.
        upper_divisor: its denominator.
        factor: see above.
        constant: see above.
        divisor: see above.
    """

    upper: int
    upper_divisor: int
    factor: int
    constant: int
    divisor: int


def correct(calibration: Calibration | None, indication: str, unit: str) -> str:
    """Convert an indication to the unit of readings and correct it, with a single rounding.

    Args:
        calibration: what is known of the sensor; None: it is only converted.
        indication: plain decimal text, as the device sent it.
        unit: its unit.

    Returns:
        Plain decimal text with the decimals that `decimals_after` gives.
    """
    whole, _, fraction = indication.partition(".")
    decimals = len(fraction)
    number, scale = int(whole + fraction), _power(decimals)
    bounded, piece, least, more = _law(calibration, unit)
    after = max(decimals + more, least)
    if after > MAX_DECIMALS:  # noqa: PLR1730 # twice as fast as min() here
        after = MAX_DECIMALS
    for each in bounded:
        if number * each.upper_divisor <= each.upper * scale:
            piece = each
            break
    over = (piece.factor * number + piece.constant * scale) * _power(after)
    found, rest = divmod(over, piece.divisor * scale)
    twice = 2 * rest - piece.divisor * scale
    if twice > 0 or (not twice and found & 1):
        found += 1
    if not after:
        return str(found)
    sign = "-" if found < 0 else ""
    digits = f"{abs(found):0{after + 1}d}"
    return f"{sign}{digits[:-after]}.{digits[-after:]}"


def decimals_after(calibration: Calibration | None, indication: str, unit: str) -> int:
    """Say how many decimals a corrected value has.

    An offset is added exactly: as many as the finer of the two. Kelvin are converted exactly: two at least.
    All else has one more than the indication. Never more than `MAX_DECIMALS`.
    """
    _, _, least, more = _law(calibration, unit)
    return min(max(len(indication.partition(".")[2]) + more, least), MAX_DECIMALS)


_POWERS: Final = tuple(10**each for each in range(33))
_power: Final = _POWERS.__getitem__


@lru_cache(maxsize=16_384)
def _law(calibration: Calibration | None, unit: str) -> tuple[tuple[_Piece, ...], _Piece, int, int]:
    """Put conversion and correction together.

    Returns:
        The lines up to a bound, the last one, the least decimals, and how many more than were sent.
    """
    times, plus = conversion(unit)
    least = KELVIN_AT_ZERO[1] if unit == "K" else 0
    more = int(times.denominator != 1)
    lines = [(Fraction(0), Fraction(1), Fraction(0))]
    if calibration is not None:
        lines = _lines(calibration)
        if calibration.is_offset:
            least = max(least, decimals_of(calibration.offset))
        else:
            more = 1
    pieces = []
    for upper, factor, constant in lines:
        bound = (upper - plus) / times
        slope, height = factor * times, factor * plus + constant
        divisor = slope.denominator * height.denominator
        pieces.append(
            _Piece(
                bound.numerator,
                bound.denominator,
                slope.numerator * height.denominator,
                height.numerator * slope.denominator,
                divisor,
            )
        )
    return tuple(pieces[:-1]), pieces[-1], least, more


def _lines(calibration: Calibration) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Give the straight lines of a calibration: up to where, factor, constant; the last one goes on."""
    points = [(Fraction(shown), Fraction(true)) for shown, true in calibration.points]
    if not points:
        return [(Fraction(0), Fraction(calibration.slope), Fraction(calibration.offset))]
    found: list[tuple[Fraction, Fraction, Fraction]] = []
    for (shown, true), (next_shown, next_true) in pairwise(points):
        factor = (next_true - true) / (next_shown - shown)
        found.append((next_shown, factor, true - factor * shown))
    return found


def decimals_of(number: Decimal) -> int:
    """Say how many decimals a number is written with."""
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def calibration_of(calibrations: Sequence[Calibration], quantity: str, unit: str) -> Calibration | None:
    """Find the calibration of a quantity in a unit, that of readings; None without one."""
    for each in calibrations:
        if each.quantity == quantity and each.unit == unit:
            return each
    return None
