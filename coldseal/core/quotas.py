"""How much a device may send: token buckets for messages and bytes, and counts for a day.

Promise: no span of time takes in more than its burst and what was earned in it, and a message that is over
takes nothing away from those that are not. Pure; time comes in as monotonic milliseconds. Punishes nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY_MS: Final = 86_400_000
BURST_S: Final = 60
"""Seconds of its rate that a device may send at once where no burst is given."""

OVER_RATE: Final = "over-rate"
OVER_QUOTA: Final = "over-quota"


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be sent; 0 stands for no bound.

    Args:
        messages_per_s: messages in a second, in the long run.
        messages_burst: messages at once, after a pause; 0: a minute's worth.
        bytes_per_s: payload bytes in a second, in the long run.
        bytes_burst: payload bytes at once, after a pause; 0: a minute's worth.
        messages_per_day: messages in 24 hours, counted from the first.
        bytes_per_day: payload bytes in 24 hours, counted from the first.
        waits: what is over the rate shall wait at its sender, not be refused, wherever that is possible.
    """

    messages_per_s: float = 0
    messages_burst: int = 0
    bytes_per_s: float = 0
    bytes_burst: int = 0
    messages_per_day: int = 0
    bytes_per_day: int = 0
    waits: bool = False

    @property
    def is_free(self) -> bool:
        """Whether nothing is bounded."""
        return not (self.messages_per_s or self.bytes_per_s or self.messages_per_day or self.bytes_per_day)

    @property
    def largest_burst(self) -> tuple[float, float]:
        """Messages and bytes that may come at once; a burst is at least one message."""
        messages = self.messages_burst or max(1.0, self.messages_per_s * BURST_S)
        return float(messages), float(self.bytes_burst or self.bytes_per_s * BURST_S)


class Meter:
    """What one limit has left.

    Args:
        limit: the limit.
        now_ms: monotonic milliseconds.
    """

    __slots__ = (
        "_at_ms",
        "_byte_rate",
        "_bytes",
        "_day_bytes",
        "_day_messages",
        "_day_ms",
        "_limit",
        "_message_rate",
        "_messages",
        "_most_bytes",
        "_most_messages",
    )  # fmt: skip

    def __init__(self, limit: Limit, now_ms: int) -> None:
        """Start with a full burst and an empty day."""
        self._limit = limit
        self._most_messages, self._most_bytes = limit.largest_burst
        self._messages, self._bytes = self._most_messages, self._most_bytes
        self._message_rate, self._byte_rate = limit.messages_per_s / 1000, limit.bytes_per_s / 1000
        self._at_ms = self._day_ms = now_ms
        self._day_messages = self._day_bytes = 0

    def why_not(self, size: int, now_ms: int) -> str:
        """Say why a message of ``size`` payload bytes is too much now; empty if it is not. Takes nothing."""
        limit = self._limit
        passed = now_ms - self._at_ms
        if passed > 0:
            self._at_ms = now_ms
            if now_ms - self._day_ms >= DAY_MS:
                self._day_ms, self._day_messages, self._day_bytes = now_ms, 0, 0
            earned = self._messages + passed * self._message_rate
            self._messages = min(self._most_messages, earned)
            earned = self._bytes + passed * self._byte_rate
            self._bytes = min(self._most_bytes, earned)
        if limit.messages_per_day and self._day_messages >= limit.messages_per_day:
            return OVER_QUOTA
        if limit.bytes_per_day and self._day_bytes + size > limit.bytes_per_day:
            return OVER_QUOTA
        if self._message_rate and self._messages < 1:
            return OVER_RATE
        return OVER_RATE if self._byte_rate and self._bytes < size else ""

    def take(self, size: int) -> None:
        """Take a message that is not too much."""
        self._messages -= 1
        self._bytes -= size
        self._day_messages += 1
        self._day_bytes += size


def weigh(meters: Iterable[Meter], size: int, now_ms: int) -> str:
    """Take a message from all of its meters, or from none and say why."""
    for meter in meters:
        why = meter.why_not(size, now_ms)
        if why:
            return why
    for meter in meters:
        meter.take(size)
    return ""


class Meters:
    """The meters of all devices, made when they are first needed."""

    def __init__(self) -> None:
        """Start with none."""
        self._meters: dict[tuple[str, str], Meter] = {}

    def find(self, device: str, scope: str, limit: Limit, now_ms: int) -> Meter:
        """Give the meter of a device for one scope: a channel, or empty for all that it sends."""
        found = self._meters.get((device, scope))
        if found is None:
            found = self._meters[device, scope] = Meter(limit, now_ms)
        return found
