"""Mean kinetic temperature of a trailing window, streaming: each reading costs the same.

Promise: sums are whole numbers, so nothing drifts, and order and machine do not matter. The window holds at
least its length, and at most one part in 120 more. Time without a reading is left out and told. Judges
nothing: whether a product is good is not answered by a mean.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from struct import Struct as Packing
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.coldchain.product import MktRule

BUCKETS: Final = 120
"""Closed buckets of a window; one more is open."""

GAS: Final = Decimal("8.3144")
"""Molar gas constant, J/(mol·K), with the digits of pharmacopoeias: 83.144 kJ/mol over it is 10 000 K."""

ZERO: Final = 273_150
"""0 Cel in thousandths of a kelvin."""

REFERENCE: Final = Decimal("278.15")
"""A value at this temperature, 5 Cel, has the weight `SCALE`."""

SCALE: Final = 10**9
HEAVIEST: Final = 2**63 - 1
"""No value weighs more; with 83.144 kJ/mol it would be one above 490 Cel."""

_SUM, _MS = 12, 4
_PACKED: Final = Packing(">IQI")
"""A bucket: its sum in two parts, 12 bytes together, and its milliseconds."""

_BUCKET: Final = _SUM + _MS
_EMPTY: Final = bytes(_BUCKET)
_HEAD: Final = 8 + 3 * (_SUM + 8)

# Exponential and logarithm of this context are correctly rounded, so every machine gets the same digits.
_EXACT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)


@lru_cache(maxsize=16_384)
def weight(value: int, delta_h: int) -> int:
    """Give how much a temperature counts, as a whole number.

    Args:
        value: thousandths of Cel, above absolute zero.
        delta_h: activation energy, J/mol.
    """
    return _weigh(_EXACT.divide(Decimal(value + ZERO), Decimal(1000)), delta_h)


def _weigh(kelvin: Decimal, delta_h: int) -> int:
    """Do so for a temperature in kelvin."""
    exact = _EXACT
    apart = exact.subtract(exact.divide(1, REFERENCE), exact.divide(1, kelvin))
    factor = exact.exp(exact.multiply(exact.divide(Decimal(delta_h), GAS), apart))
    found = exact.multiply(factor, SCALE)
    return max(1, HEAVIEST if found > HEAVIEST else int(found.to_integral_value(ROUND_HALF_EVEN)))


def threshold(limit: int, delta_h: int) -> int:
    """Give the weight above which a mean, rounded to a thousandth as it is told, is above its limit.

    Args:
        limit: thousandths of Cel.
        delta_h: activation energy, J/mol.
    """
    return _weigh(_EXACT.divide(Decimal(2 * (limit + ZERO) + 1), Decimal(2000)), delta_h)


def mean(total: int, duration_ms: int, delta_h: int) -> int:
    """Give the temperature that would count as much, thousandths of Cel.

    Args:
        total: sum of weights, each times its milliseconds.
        duration_ms: sum of these milliseconds, more than none.
        delta_h: activation energy, J/mol.
    """
    exact = _EXACT
    average = exact.divide(Decimal(total), Decimal(duration_ms * SCALE))
    apart = exact.divide(exact.multiply(GAS, exact.ln(average)), Decimal(delta_h))
    kelvin = exact.divide(1, exact.subtract(exact.divide(1, REFERENCE), apart))
    return int(exact.multiply(kelvin, 1000).to_integral_value(ROUND_HALF_EVEN)) - ZERO


class Window(msgspec.Struct, frozen=True):
    """The rule of a window, made ready.

    Args:
        limit: thousandths of Cel.
        length_ms: its length.
        bucket_ms: the length of one bucket.
        delta_h: activation energy, J/mol.
        threshold: a mean that weighs more is above the limit.
        release: one that weighs no more is so far below it that an excursion ends.
    """

    limit: int
    length_ms: int
    bucket_ms: int
    delta_h: int
    threshold: int
    release: int

    @property
    def key(self) -> str:
        """What another window must share to go on with this one's sums."""
        return f"{self.length_ms}/{self.delta_h}"


def window_of(rule: MktRule, hysteresis: int = 0) -> Window:
    """Make a rule ready; with the hysteresis of its quantity, thousandths of Cel."""
    length_ms = rule.window_s * 1000
    most, back = (threshold(rule.limit - below, rule.delta_h) for below in (0, hysteresis))
    return Window(rule.limit, length_ms, -(-length_ms // BUCKETS), rule.delta_h, most, back)


class Kinetic(msgspec.Struct, frozen=True, gc=False):
    """The sums of a window, and those of the worst one so far.

    Args:
        until_ms: end of the open bucket.
        open: sum of the open bucket: weight × ms.
        open_ms: milliseconds in it.
        total: sum of the whole window.
        total_ms: milliseconds in it.
        worst: sum of the window with the highest mean, of those that readings covered to one half at least.
        worst_ms: milliseconds in that; 0: there was none.
        closed: the closed buckets, oldest first, those directly before the open one.
    """

    until_ms: int
    open: int = 0
    open_ms: int = 0
    total: int = 0
    total_ms: int = 0
    worst: int = 0
    worst_ms: int = 0
    closed: bytes = b""

    def pack(self) -> bytes:
        """Write it down."""
        pairs = ((self.open, self.open_ms), (self.total, self.total_ms), (self.worst, self.worst_ms))
        head = b"".join(total.to_bytes(_SUM) + ms.to_bytes(8) for total, ms in pairs)
        return self.until_ms.to_bytes(8, signed=True) + head + self.closed


def unpack(packed: bytes, *, where: str, is_own: bool = False) -> Kinetic:
    """Read back what `Kinetic.pack` wrote.

    Args:
        packed: the bytes.
        where: what is being read, for the error.
        is_own: it was written here and kept from others' hands: its buckets are not summed up again.

    Raises:
        InputError: it is cut, or does not add up.
    """
    if len(packed) < _HEAD or (len(packed) - _HEAD) % _BUCKET or len(packed) > _HEAD + BUCKETS * _BUCKET:
        raise InputError(where, "mkt", packed[:16], f"{_HEAD} bytes and whole buckets, at most {BUCKETS}")
    numbers = [
        int.from_bytes(packed[at + begin : at + end])
        for at in range(8, _HEAD, _SUM + 8)
        for begin, end in ((0, _SUM), (_SUM, _SUM + 8))
    ]
    until_ms, (now, now_ms, total, total_ms, worst, worst_ms) = (
        int.from_bytes(packed[:8], signed=True),
        numbers,
    )
    kept = Kinetic(until_ms, now, now_ms, total, total_ms, worst, worst_ms, packed[_HEAD:])
    if is_own:
        return kept
    buckets = [(kept.open, kept.open_ms), *_buckets(kept.closed)]
    if any(share < ms for share, ms in [*buckets, (kept.worst, kept.worst_ms)]):
        raise InputError(where, "mkt", "weightless time", "a weight of at least one for each millisecond")
    if (kept.total, kept.total_ms) != (sum(each[0] for each in buckets), sum(each[1] for each in buckets)):
        raise InputError(where, "mkt", kept.total_ms, "the sum of its buckets")
    return kept


def begin(window: Window, now_ms: int) -> Kinetic:
    """Begin with a first reading, which has no time yet."""
    return Kinetic((now_ms // window.bucket_ms + 1) * window.bucket_ms)


def is_covered(kept: Kinetic, window: Window) -> bool:
    """Whether readings cover enough of the window for its mean to say something: one half."""
    return 2 * kept.total_ms >= window.length_ms


def is_above(kept: Kinetic, window: Window) -> bool:
    """Whether the mean, rounded to a thousandth, is above its limit."""
    return kept.total > window.threshold * kept.total_ms


def is_back(kept: Kinetic, window: Window) -> bool:
    """Whether the mean, rounded to a thousandth, is below its limit by the hysteresis."""
    return kept.total <= window.release * kept.total_ms


def height(kept: Kinetic) -> int:
    """Give the mean of a window that is not empty as a weight, rounded up; `mean` gives its temperature."""
    return -(-kept.total // kept.total_ms)


def move(kept: Kinetic, window: Window, value: int, *, from_ms: int, held_ms: int, now_ms: int) -> Kinetic:
    """Let a value count for a while, and the window end at a newer reading.

    Args:
        kept: the sums so far.
        window: the rule.
        value: what was measured, thousandths of Cel.
        from_ms: since when; not before the open bucket.
        held_ms: for how long; not beyond ``now_ms``.
        now_ms: when the newer reading was taken.
    """
    if now_ms >= kept.until_ms:
        kept = _roll(kept, window, weight(value, window.delta_h), from_ms, from_ms + held_ms, now_ms=now_ms)
        held_ms = 0
    share = weight(value, window.delta_h) * held_ms
    total, total_ms = kept.total + share, kept.total_ms + held_ms
    worst, worst_ms = kept.worst, kept.worst_ms
    if 2 * total_ms >= window.length_ms and total * worst_ms >= worst * total_ms:
        worst, worst_ms = total, total_ms
    until_ms, closed = kept.until_ms, kept.closed
    return Kinetic(
        until_ms, kept.open + share, kept.open_ms + held_ms, total, total_ms, worst, worst_ms, closed
    )


def _roll(kept: Kinetic, window: Window, each: int, from_ms: int, end_ms: int, *, now_ms: int) -> Kinetic:
    """Do the same with a weight, where a bucket ends in between."""
    while from_ms < end_ms or kept.until_ms <= now_ms:
        if from_ms < end_ms:
            piece = max(0, min(end_ms, kept.until_ms) - from_ms)
            kept = _with_open(kept, each * piece, piece)
            from_ms += piece
        if kept.until_ms <= now_ms:
            ahead = from_ms if from_ms < end_ms else now_ms
            kept = _advance(
                kept, window, max(1, ahead // window.bucket_ms + 1 - kept.until_ms // window.bucket_ms)
            )
    return kept


def _with_open(kept: Kinetic, share: int, ms: int) -> Kinetic:
    """Add to the open bucket."""
    return msgspec.structs.replace(
        kept,
        open=kept.open + share,
        open_ms=kept.open_ms + ms,
        total=kept.total + share,
        total_ms=kept.total_ms + ms,
    )


def _advance(kept: Kinetic, window: Window, steps: int) -> Kinetic:
    """Close the open bucket and open one that is so many further; what is too old leaves the window."""
    until_ms = kept.until_ms + steps * window.bucket_ms
    if steps > BUCKETS:
        return Kinetic(until_ms, worst=kept.worst, worst_ms=kept.worst_ms)
    closing = kept.open.to_bytes(_SUM) + kept.open_ms.to_bytes(_MS)
    closed = b"%b%b%b" % (kept.closed, closing, _EMPTY * (steps - 1))
    gone = max(0, len(closed) - BUCKETS * _BUCKET)
    left = _buckets(closed[:gone])
    return Kinetic(
        until_ms,
        total=kept.total - sum(each[0] for each in left),
        total_ms=kept.total_ms - sum(each[1] for each in left),
        worst=kept.worst,
        worst_ms=kept.worst_ms,
        closed=closed[gone:],
    )


def _buckets(packed: bytes) -> list[tuple[int, int]]:
    """Give sum and milliseconds of each bucket."""
    return [(high << 64 | low, ms) for high, low, ms in _PACKED.iter_unpack(packed)]


def rebase(kept: Kinetic, window: Window, now_ms: int) -> Kinetic:
    """Let the window end now, where the clock was put back: its sums stay, as time that has passed."""
    return msgspec.structs.replace(kept, until_ms=begin(window, now_ms).until_ms)


def exchange(kept: Kinetic, window: Window, value: int, from_ms: int, to_ms: int, *, sign: int) -> Kinetic:
    """Add or take away time that is past, for a reading that came late.

    Args:
        kept: the sums so far.
        window: the rule.
        value: thousandths of Cel.
        from_ms: beginning of the time.
        to_ms: its end, not beyond the open bucket; what is older than the window is left out.
        sign: 1 adds, -1 takes away.
    """
    each = weight(value, window.delta_h) * sign
    first_ms = kept.until_ms - (len(kept.closed) // _BUCKET + 1) * window.bucket_ms
    closed, total, total_ms = bytearray(kept.closed), 0, 0
    now, now_ms = kept.open, kept.open_ms
    from_ms = max(from_ms, first_ms)
    while from_ms < to_ms:
        place = (from_ms - first_ms) // window.bucket_ms
        end_ms = min(to_ms, first_ms + (place + 1) * window.bucket_ms)
        piece = (end_ms - from_ms) * sign
        share = each * (end_ms - from_ms)
        total, total_ms = total + share, total_ms + piece
        at = place * _BUCKET
        if at == len(closed):
            now, now_ms = now + share, now_ms + piece
        else:
            there, there_ms = _buckets(bytes(closed[at : at + _BUCKET]))[0]
            closed[at : at + _BUCKET] = (there + share).to_bytes(_SUM) + (there_ms + piece).to_bytes(_MS)
        from_ms = end_ms
    total, total_ms = kept.total + total, kept.total_ms + total_ms
    return Kinetic(kept.until_ms, now, now_ms, total, total_ms, kept.worst, kept.worst_ms, bytes(closed))
