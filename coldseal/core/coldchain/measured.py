"""What a reading means to those who judge it: values in thousandths, and when each was taken.

Promise: a pure function of what the entry says, so that a replay of the log judges as the gateway did. The
sensor's own time holds where it can be believed, else that of the entry. Judges nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final

AHEAD_MS: Final = 5 * 60 * 1000
"""So far a device's clock may run ahead of the gateway's before it is not believed."""

BEHIND_MS: Final = 60 * 86_400 * 1000
"""So long ago a value may have been taken before its time is not believed."""

LARGEST: Final = 2**53 - 1
"""A value beyond this many thousandths counts as this many: no sensor reports it, and sums stay whole."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DIGITS: Final = 3
_POWERS: Final = (1000, 100, 10, 1)
_EXACT: Final = Context(prec=64, rounding=ROUND_HALF_EVEN)


def taken_ms(own: str, device: str, entry_ms: int) -> int:
    """Give when a value was taken, UTC milliseconds.

    Args:
        own: the quantity's own time, RFC 3339, or empty.
        device: the time that the device gave for the whole message, or empty.
        entry_ms: time of the entry.
    """
    said = own or device
    if not said:
        return entry_ms
    found = moment_ms(said)
    return found if entry_ms - BEHIND_MS <= found <= entry_ms + AHEAD_MS else entry_ms


@lru_cache(maxsize=4096)
def moment_ms(text: str) -> int:
    """Read an RFC 3339 time as UTC milliseconds; what is finer is cut off."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND


@lru_cache(maxsize=8192)
def thousandths(value: str) -> int:
    """Give plain decimal text in thousandths; what is finer is rounded half-even."""
    whole, _, fraction = value.partition(".")
    if len(fraction) > _DIGITS:
        exact = _EXACT.multiply(Decimal(value), Decimal(1000))
        return max(-LARGEST, min(LARGEST, int(exact.to_integral_value(context=_EXACT))))
    found = int(whole + fraction) * _POWERS[len(fraction)]
    return max(-LARGEST, min(LARGEST, found))
