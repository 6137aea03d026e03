"""Bounds how many rejected messages of one device get an entry each; the rest are counted together.

Promise: no device can fill the log with refusals, and none of its refusals goes unrecorded: what is
over the rate is counted, with a running hash of what was sent, until one entry says it all.
Pure; time comes in as monotonic milliseconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from coldseal.core.log.canonical import encode_base64

FULL: Final = 60_000
"""Milliseconds in which a device earns ``rate`` single entries."""


@dataclass(slots=True)
class _Bucket:
    """What one device has left, and what it has on the counter."""

    tokens: float
    at_ms: int
    count: int = 0
    digest: str = ""


class Floods:
    """One token bucket for each device.

    Args:
        per_minute: rejected messages of one device that get an entry of their own each minute;
            also the size of a burst.
    """

    def __init__(self, per_minute: int) -> None:
        """Begin with every device's bucket full."""
        self._per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}

    def admits(self, device: str, digest: str, *, now_ms: int) -> bool:
        """Tell whether this rejection gets an entry of its own; if not, it is now on the counter.

        Args:
            device: who sent it.
            digest: SHA-256 of the payload, base64; the counter keeps SHA-256 over all of them, in order.
            now_ms: monotonic milliseconds.
        """
        bucket = self._buckets.get(device)
        if bucket is None:
            bucket = self._buckets[device] = _Bucket(float(self._per_minute), now_ms)
        earned = (now_ms - bucket.at_ms) * self._per_minute / FULL
        bucket.tokens = min(float(self._per_minute), bucket.tokens + earned)
        bucket.at_ms = now_ms
        if bucket.tokens >= 1 and not bucket.count:
            bucket.tokens -= 1
            return True
        bucket.count += 1
        bucket.digest = encode_base64(hashlib.sha256(f"{bucket.digest}{digest}".encode()).digest())
        return False

    def take_counted(self) -> list[tuple[str, int, str]]:
        """Empty all counters: (device, count, running hash) of each device that has something on it."""
        taken = []
        for device, bucket in self._buckets.items():
            if bucket.count:
                taken.append((device, bucket.count, bucket.digest))
                bucket.count, bucket.digest = 0, ""
        return taken
