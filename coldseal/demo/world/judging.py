"""The products of the simulated site, and whoever judges its log once more: the same must come of it.

The rule is one: every excursion in the log follows from the entries before it, and none that follows is
missing. Whatever was judged and could not be sealed has left no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coldseal.core.coldchain.profile import canonical_form, parse_profile
from coldseal.core.log import canonical
from coldseal.gateway.evaluating import Evaluator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coldseal.core.coldchain.effects import Effect
    from coldseal.core.log.record import Entry

SENSOR: Final = "door"
_WHO: Final = {"who": "the simulator", "why": "a world has a product"}
_BETWEEN: Final = frozenset({"clock", "segment"})
"""Kinds that the journal puts in wherever it must."""

_PROFILE: Final = {
    "name": "product",
    "version": 1,
    "interval": "2 s",
    "silence": "5 s",
    "quantities": {
        "temperature": {
            "unit": "Cel",
            "low": 2,
            "high": 8,
            "hysteresis": "0.5",
            "limits": [
                {"direction": "high", "at": 8, "tier": "excursion", "single": "2 s", "cumulative": "5 s"},
                {"direction": "low", "at": 1, "tier": "critical", "single": "0 s"},
            ],
            "mkt": {"limit": 8, "window": "1 h"},
        }
    },
}


def value_of(number: int) -> str:
    """Give what a device measures: within, above and below the range, and never the same twice."""
    return f"{number * 5 % 13}.{number:05d}"


def changes(devices: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the entries that have all devices watch one product: kinds, and what they say."""
    profile = parse_profile(_PROFILE, where="the world's product")
    yield "profile", {"profile": canonical_form(profile), "sha256": profile.sha256, **_WHO}
    for number in range(devices):
        said = {
            "asset": "fridge",
            "asset_kind": "fridge",
            "device": f"dev-{number + 1}",
            "sensor": SENSOR,
        }
        yield "config", {"assign": said, **_WHO}
    yield "config", {"assign": {"asset": "fridge", "profile": profile.name, "version": 1}, **_WHO}


class Judge:
    """Judges a log once more, entry by entry."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._evaluator = Evaluator()
        self._expected: list[Effect] = []

    def follow(self, entry: Entry) -> str:
        """Take the next entry; says what should be there instead, or nothing."""
        if entry.kind in _BETWEEN:
            return ""
        if self._expected:
            effect = self._expected.pop(0)
            if entry.kind != effect.kind or canonical.encode(entry.data) != effect.data:
                return f"entry {entry.seq} is no {effect.kind} that says {effect.data.decode()}"
            return ""
        if entry.kind == "excursion" or (entry.kind == "gap" and entry.data.get("over")):
            return f"entry {entry.seq} follows from nothing before it: {entry.raw.decode()}"
        self._expected += self._evaluator.learn(entry.kind, entry.data, entry.src, entry.t)
        return ""
