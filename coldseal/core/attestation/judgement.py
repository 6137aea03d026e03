"""What a verified quote says of a machine: booted as the release's reference values say, or otherwise.

Promises that a change is named by its PCR and the first event that differs. Knows no policy: what becomes of
a changed machine's records is decided elsewhere.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.core.attestation.quotes import Verified

Verdict = Literal["trusted", "changed", "unknown"]


class Measured(NamedTuple):
    """One event as reference values keep it.

    Attributes:
        pcr: where it was measured into.
        digest: by what.
        text: what it was, for a person.
    """

    pcr: int
    digest: bytes
    text: str


class State(NamedTuple):
    """What was booted: PCR values, and the events that led there."""

    values: Mapping[int, bytes]
    events: tuple[Measured, ...]

    @classmethod
    def of(cls, verified: Verified) -> State:
        """Keep of a verified quote what is compared; events of other PCRs are left out."""
        events = (Measured(each.pcr, each.digest, each.render()) for each in verified.log.events)
        return cls(verified.values, tuple(each for each in events if each.pcr in verified.values))


class Reference(NamedTuple):
    """What a release boots to.

    Attributes:
        name: of the release, on one kind of machine.
        gateways: patterns of names to which it applies.
        state: the values that count, and their events.
    """

    name: str
    gateways: tuple[str, ...]
    state: State

    def applies_to(self, gateway: str) -> bool:
        """Whether this gateway may run it."""
        return any(fnmatchcase(gateway, pattern) for pattern in self.gateways)


class Change(NamedTuple):
    """A PCR that is not as it should be.

    Attributes:
        pcr: which one.
        expected: its value by the reference.
        found: its value.
        place: the first event of that PCR that differs, counted from 0 among its events.
        expected_event: what should have been measured there; empty if nothing more.
        found_event: what was measured there; empty if nothing more.
    """

    pcr: int
    expected: bytes
    found: bytes
    place: int
    expected_event: str
    found_event: str

    def render(self) -> str:
        """Say it to a person."""
        should = self.expected_event or "nothing more"
        found = self.found_event or "nothing more"
        return f"PCR {self.pcr}, event {self.place}: {found}; expected {should}"


class Finding(NamedTuple):
    """How a machine stands.

    Attributes:
        verdict: trusted, changed, or unknown where no reference applies to it.
        reference: which one it was held against; empty if none.
        changes: what differs from that.
    """

    verdict: Verdict
    reference: str
    changes: tuple[Change, ...] = ()


def judge(gateway: str, state: State, references: Sequence[Reference]) -> Finding:
    """Hold a state against the references that apply; of several that differ, the nearest one counts."""
    nearest: Finding | None = None
    for reference in references:
        if not reference.applies_to(gateway):
            continue
        changes = compare(state, reference.state)
        if not changes:
            return Finding("trusted", reference.name)
        if nearest is None or len(changes) < len(nearest.changes):
            nearest = Finding("changed", reference.name, changes)
    return nearest or Finding("unknown", "")


def compare(state: State, expected: State) -> tuple[Change, ...]:
    """Name what differs, by PCR; one that the state does not have differs too."""
    changes = []
    for pcr, value in sorted(expected.values.items()):
        found = state.values.get(pcr, b"")
        if found != value:
            place, should, was = _first_difference(pcr, state.events, expected.events)
            changes.append(Change(pcr, value, found, place, should, was))
    return tuple(changes)


def _first_difference(
    pcr: int, found: Sequence[Measured], expected: Sequence[Measured]
) -> tuple[int, str, str]:
    """Find the first event of a PCR that differs, and say what should be there and what is."""
    left = [each for each in expected if each.pcr == pcr]
    right = [each for each in found if each.pcr == pcr]
    place = 0
    while place < min(len(left), len(right)) and left[place].digest == right[place].digest:
        place += 1
    return place, _shown(left, place), _shown(right, place)


def _shown(events: Sequence[Measured], place: int) -> str:
    """Name an event for a person; empty if there is none."""
    if place >= len(events):
        return ""
    return f"{events[place].text} ({events[place].digest.hex()[:16]})"
