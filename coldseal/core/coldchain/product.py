"""What a product profile is: ranges, limits of time, mean kinetic temperature; frozen, with exact numbers.

All values are whole thousandths of the profile's unit, all spans whole seconds. Whether a profile is whole
and says the same thing everywhere, `profile.parse_profile` finds out; nothing here checks anything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from coldseal.core.coldchain.document import DIGITS

MILLI: Final = 10**DIGITS
"""All values are whole thousandths of the profile's unit: 4.71 Cel is 4710."""

DELTA_H: Final = 83_144
"""Activation energy where a product has none of its own, J/mol."""


class Tier(StrEnum):
    """How grave something is, the lightest first."""

    NOMINAL = "nominal"
    WARNING = "warning"
    EXCURSION = "excursion"
    CRITICAL = "critical"

    @property
    def weight(self) -> int:
        """How grave it is, as a number: more is graver."""
        return _WEIGHTS[self]


_WEIGHTS: Final = {tier: at for at, tier in enumerate(Tier)}


class Direction(StrEnum):
    """On which side of its range a value is."""

    LOW = "low"
    HIGH = "high"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How long a value may lie at or beyond a limit, in one excursion, in all, or both.

    Args:
        direction: on which side.
        at: the limit, thousandths; it may lie at the edge of the range, beyond it, or within.
        tier: what the excursion becomes when the time is used up.
        single_s: longest time in one excursion, seconds; 0: at once; None: not bounded.
        cumulative_s: longest time in all, over all legs of custody, seconds; None: not bounded.
    """

    direction: Direction
    at: int
    tier: Tier
    single_s: int | None = None
    cumulative_s: int | None = None


class MktRule(msgspec.Struct, frozen=True, kw_only=True):
    """Mean kinetic temperature of a trailing window.

    Args:
        limit: thousandths of Cel.
        window_s: length of the window, seconds.
        delta_h: activation energy, J/mol.
    """

    limit: int
    window_s: int
    delta_h: int = DELTA_H


class QuantityRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one quantity.

    Args:
        quantity: its name, as in readings, such as ``temperature``.
        unit: in which the numbers are, after conversion (`units`): ``Cel``, ``%RH``.
        low: least good value, thousandths; None: no bound below.
        high: largest good value; None: no bound above.
        hysteresis: an excursion ends this far within the range, thousandths.
        recover_after: so many readings there, one behind the other, end it.
        door_open_s: an excursion no longer than this is marked as tolerated and stays a warning.
        alarm_delay_low_s: alarms of the low side are told this much later; the record is not delayed.
        alarm_delay_high_s: the same for the high side.
        limits: those of time, the lightest first.
        mkt: the limit of mean kinetic temperature; None: it is not applicable to this product.
    """

    quantity: str
    unit: str
    low: int | None = None
    high: int | None = None
    hysteresis: int = 0
    recover_after: int = 1
    door_open_s: int = 0
    alarm_delay_low_s: int = 0
    alarm_delay_high_s: int = 0
    limits: tuple[Limit, ...] = ()
    mkt: MktRule | None = None


class ProductProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a profile.

    Args:
        name: by which it is assigned: 1 to 64 of ``A-Z a-z 0-9 . _ -``, beginning with a letter or digit.
        version: counts up from 1; a name and a version mean one profile for ever.
        title: for people.
        interval_s: a reading is expected each so many seconds; one holds for twice as long at most.
        silence_s: a sensor that is silent for longer is a gap with an alarm.
        guard_band: the sensor's uncertainty narrows the range on both sides.
        quantities: one rule for each.
        sha256: hash of its canonical form, hex; empty while it is being made.
    """

    name: str
    version: int
    title: str = ""
    interval_s: int = 60
    silence_s: int = 900
    guard_band: bool = True
    quantities: tuple[QuantityRule, ...] = ()
    sha256: str = ""
