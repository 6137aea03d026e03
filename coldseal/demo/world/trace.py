"""What happened in a run, line by line, and one hash over all of it: two runs of a seed must agree in it.

Keeps the newest lines to be shown; the hash is over every line there was.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from coldseal.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN: Final = 4_000
"""Lines kept to be shown."""


class BrokenPromiseError(TrustError):
    """Something did not hold that must hold at every moment."""

    verdict = "promise-broken"


class Trace:
    """The lines of one run.

    Args:
        time: gives virtual seconds.

    Attributes:
        lines: the newest ones.
        counts: how many lines there were with each first word.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        """Begin with nothing."""
        self._time = time
        self._hash = hashlib.sha256()
        self.lines: deque[str] = deque(maxlen=SHOWN)
        self.counts: Counter[str] = Counter()

    def note(self, what: str, *facts: object) -> None:
        """Note what happened; the same run must give the same text."""
        line = f"{self._time():14.6f} {what} {' '.join(map(str, facts))}".rstrip()
        self._hash.update(f"{line}\n".encode())
        self.lines.append(line)
        self.counts[what] += 1

    def digest(self) -> str:
        """Give the hash over all lines."""
        return self._hash.hexdigest()
