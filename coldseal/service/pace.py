"""How fast one caller may ask: so many requests a minute, and ever longer pauses after wrong secrets.

Promises that memory is bounded whoever calls, and that one caller's pauses do not hold another one up. Knows
no request and keeps no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from coldseal.errors import ColdsealError

FREE_GUESSES: Final = 3
"""Wrong secrets before the first pause."""
LONGEST_S: Final = 300.0
CALLERS: Final = 4_096
"""Callers that are remembered; the one that was quiet for the longest is forgotten first."""
_MINUTE_S: Final = 60.0


class PutOffError(ColdsealError):
    """A caller asks too fast, or guessed too often.

    Args:
        wait_s: when it may ask again.
    """

    def __init__(self, wait_s: float) -> None:
        """Keep the pause."""
        self.wait_s = wait_s
        super().__init__(f"put off for {wait_s:.0f} s")


@dataclass
class _Caller:
    """What is remembered of one caller."""

    room: float
    at_s: float
    guesses: int = 0
    until_s: float = 0.0


class Pace:
    """The pace of all callers.

    Args:
        per_minute: requests that one may make in a minute; so many at once, too.
    """

    def __init__(self, per_minute: int) -> None:
        """Remember nobody yet."""
        self._per_minute = per_minute
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def require(self, name: str, now_s: float) -> None:
        """Count a request.

        Raises:
            PutOffError: it comes too early.
        """
        caller = self._find(name, now_s)
        if now_s < caller.until_s:
            raise PutOffError(caller.until_s - now_s)
        room = caller.room + (now_s - caller.at_s) * self._per_minute / _MINUTE_S
        caller.room, caller.at_s = min(float(self._per_minute), room), now_s
        if caller.room < 1:
            raise PutOffError((1 - caller.room) * _MINUTE_S / self._per_minute)
        caller.room -= 1

    def guessed(self, name: str, now_s: float) -> float:
        """Count a wrong secret; says for how long the caller is put off, seconds."""
        caller = self._find(name, now_s)
        caller.guesses += 1
        beyond = caller.guesses - FREE_GUESSES
        pause = min(LONGEST_S, 2.0 ** min(beyond, 16)) if beyond >= 0 else 0.0
        caller.until_s = now_s + pause
        return pause

    def proved(self, name: str) -> None:
        """Forget the wrong secrets of a caller that showed a right one."""
        if name in self._callers:
            self._callers[name].guesses = 0

    def _find(self, name: str, now_s: float) -> _Caller:
        """Give what is remembered of a caller."""
        found = self._callers.pop(name, None) or _Caller(float(self._per_minute), now_s)
        self._callers[name] = found
        while len(self._callers) > CALLERS:
            self._callers.popitem(last=False)
        return found
