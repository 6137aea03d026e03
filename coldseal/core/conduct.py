"""Which devices are kept out: counts refusals, and cuts off whoever goes on or speaks as another.

Promise: a device that is refused more often than is tolerated, or once gravely, is out from that moment on,
for a time that doubles with each cut. Pure; time comes in as monotonic milliseconds. Closes no connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

MINUTE_MS: Final = 60_000


class Blocked(NamedTuple):
    """A device that is kept out.

    Args:
        device: its name.
        reason: why, as a refusal's reason.
        seconds: for how much longer.
        cuts: how often it was cut off in a row.
    """

    device: str
    reason: str
    seconds: float
    cuts: int


@dataclass(slots=True)
class _Standing:
    """What is known of one device; a block that has been seen to end has no reason."""

    tokens: float
    at_ms: int
    until_ms: int = 0
    cuts: int = 0
    reason: str = ""


class Conduct:
    """The standing of every device that was ever refused.

    Args:
        tolerated: refusals in a minute without consequence.
        first_s: how long a device is kept out after a first cut, in seconds.
        longest_s: how long at most; after as long without a cut, the next one is a first one again.
    """

    def __init__(self, tolerated: int, first_s: float, longest_s: float) -> None:
        """Begin with nobody out."""
        self._tolerated = tolerated
        self._first_ms, self._longest_ms = round(first_s * 1000), round(max(first_s, longest_s) * 1000)
        self._standings: dict[str, _Standing] = {}

    def refused(self, device: str, reason: str, *, is_grave: bool, now_ms: int) -> float:
        """Count a refusal; give for how many seconds the device is out from now on, or 0.

        A device that is out already is not cut off again for what it had sent before.
        """
        standing = self._standings.get(device)
        if standing is None:
            standing = self._standings[device] = _Standing(float(self._tolerated), now_ms)
        if now_ms < standing.until_ms:
            return 0.0
        earned = (now_ms - standing.at_ms) * self._tolerated / MINUTE_MS
        standing.tokens = min(float(self._tolerated), standing.tokens + earned)
        standing.at_ms = now_ms
        if standing.tokens >= 1 and not is_grave:
            standing.tokens -= 1
            return 0.0
        if now_ms - standing.until_ms >= self._longest_ms:
            standing.cuts = 0
        span_ms = min(self._longest_ms, self._first_ms << min(standing.cuts, 32))
        standing.cuts += 1
        standing.until_ms, standing.reason = now_ms + span_ms, reason
        standing.tokens = float(self._tolerated)
        return span_ms / 1000

    def out_s(self, device: str, now_ms: int) -> float:
        """Give for how many more seconds a device is kept out; 0 if it is not."""
        standing = self._standings.get(device)
        return 0.0 if standing is None else max(0, standing.until_ms - now_ms) / 1000

    def blocked(self, now_ms: int) -> list[Blocked]:
        """Name the devices that are kept out, those with the longest rest first."""
        found = [
            Blocked(device, standing.reason, (standing.until_ms - now_ms) / 1000, standing.cuts)
            for device, standing in self._standings.items()
            if standing.until_ms > now_ms
        ]
        return sorted(found, key=lambda each: (-each.seconds, each.device))

    def unblock(self, device: str, now_ms: int) -> bool:
        """Let a device in again; False if it was not out. Its next cut is a first one."""
        standing = self._standings.get(device)
        if standing is None or standing.until_ms <= now_ms:
            return False
        del self._standings[device]
        return True

    def take_ended(self, now_ms: int) -> list[str]:
        """Name the devices whose time has ended since the last call."""
        ended = []
        for device, standing in self._standings.items():
            if standing.reason and standing.until_ms <= now_ms:
                standing.reason = ""
                ended.append(device)
        return ended
