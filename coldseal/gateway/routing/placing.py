"""What each sensor watches and by which profile, as the log itself has said it so far.

Promise: the answer is that of the register, for the moment that is asked about, whatever was changed since.
Reads the entries that are kept at hand; parses no reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.core.coldchain.register import Register
from coldseal.core.log.record import parse_entry
from coldseal.core.routing.rules import entry_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS: Final = frozenset({"profile", "calibration", "config"})
"""Kinds of entries that the register is made of."""

_MARKS: Final = tuple(f'"kind":"{kind}"'.encode() for kind in sorted(KINDS))


class Placing:
    """The register, made anew when the log has said something new to it.

    Args:
        settings: gives the entries that say what the log is, in order.
    """

    def __init__(self, settings: Callable[[], Sequence[bytes]]) -> None:
        """Know nothing yet."""
        self._settings = settings
        self._register: Register | None = None
        self._seen = 0

    def look(self, first: int, entries: Sequence[bytes]) -> None:
        """Look through entries next to one another, of which the first has the seq ``first``."""
        new = entries[max(0, self._seen - first) :]
        if any(mark in raw for raw in new for mark in _MARKS):
            self._register = None
        self._seen = max(self._seen, first + len(entries))

    def __call__(self, device: str, sensor: str, moment_ms: int) -> tuple[str, str]:
        """Give asset and name of the profile; empty where there is none."""
        if self._register is None:
            self._register = register_of(self._settings())
        plan = self._register.plan(device, sensor, moment_ms)
        return plan.asset, "" if plan.profile is None else plan.profile.name


def register_of(settings: Sequence[bytes]) -> Register:
    """Make the register of the entries that say something to it; what contradicts them is left out."""
    entries = map(parse_entry, settings)
    said = ((entry.kind, entry.data, entry_ms(entry)) for entry in entries if entry.kind in KINDS)
    return Register().with_entries(said)[0]  # the gateway left the faulty ones out as well
