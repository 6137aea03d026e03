"""The demo's verdict: what the sensors had acknowledged, against what both logs hold. Pure.

Every acknowledged reading must stand once, in its sensor's order, in the gateway's log and at the
service, every signature checked there, and the evidence bundle must verify. Counts are exact: a
reading is known by device, boot and the device's own sequence number. Nothing is sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from coldseal.core.log.record import parse_entry


class ReadingKey(NamedTuple):
    """What tells one reading of a sensor from all others."""

    device: str
    boot: str
    seq: int


@dataclass(frozen=True, slots=True)
class Held:
    """What one log holds: its leaf hashes in order, and the keys of its readings in order."""

    leaves: tuple[bytes, ...]
    readings: tuple[ReadingKey, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the verdict is made from.

    Args:
        acknowledged: by each device, the keys of its acknowledged readings as it counted them.
        unacknowledged: readings sent and still without acknowledgement when the sensors stopped.
        gateway: the gateway's own log.
        service: what the service stored.
        signatures_verified: entries whose own signature the service has checked.
        refuted: entries whose signature the service found wrong.
        evidence: exit code of `evidence verify` on the bundle, and its last line.
        excursion: what was found of the excursion that was played.
    """

    acknowledged: Mapping[str, Sequence[ReadingKey]]
    unacknowledged: int
    gateway: Held
    service: Held
    signatures_verified: int
    refuted: int
    evidence: tuple[int, str]
    excursion: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict."""

    name: str
    value: str
    expected: str
    is_good: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """All lines; good when every one is."""

    checks: tuple[Check, ...]

    @property
    def is_good(self) -> bool:
        """Whether the promise held."""
        return all(check.is_good for check in self.checks)


def held_by(entries: Iterable[bytes]) -> Held:
    """Read a log's entries into what the verdict compares.

    Raises:
        InputError: an entry is malformed.
    """
    leaves: list[bytes] = []
    readings: list[ReadingKey] = []
    for raw in entries:
        entry = parse_entry(raw)
        leaves.append(entry.leaf_hash)
        if entry.kind == "reading":
            device, boot, seq = (entry.src.get(name) for name in ("dev", "boot", "seq"))
            readings.append(ReadingKey(str(device), str(boot), seq if isinstance(seq, int) else -1))
    return Held(tuple(leaves), tuple(readings))


def judge(found: Findings) -> Verdict:
    """Compare what was promised with what is held."""
    acknowledged = {key for keys in found.acknowledged.values() for key in keys}
    gateway, service = Counter(found.gateway.readings), Counter(found.service.readings)
    lost = len(acknowledged - gateway.keys()) + len(acknowledged - service.keys())
    doubled = _doubled(gateway) + _doubled(service)
    disorder = _out_of_order(found.gateway.readings) + _out_of_order(found.service.readings)
    total = len(acknowledged)
    entries = len(found.gateway.leaves)
    code, said = found.evidence
    return Verdict(
        (
            _equal("readings acknowledged", total, None, is_good=total > 0),
            _equal("sent without acknowledgement", found.unacknowledged, 0),
            _equal("sealed by the gateway", len(found.gateway.readings), total),
            _equal("stored by the service", len(found.service.readings), total),
            _equal("entries that differ", _differing(found.gateway.leaves, found.service.leaves), 0),
            _equal("signatures verified (all entries)", found.signatures_verified, entries),
            _equal("signatures refuted", found.refuted, 0),
            _equal("lost", lost, 0),
            _equal("doubled", doubled, 0),
            _equal("out of order", disorder, 0),
            Check("evidence verify", "OK" if code == 0 else said or f"exit {code}", "OK", code == 0),
            *found.excursion,
        )
    )


def _equal(name: str, value: int, expected: int | None, *, is_good: bool | None = None) -> Check:
    """Make the line of a count; without an expected one the line says itself whether it is good."""
    good = value == expected if is_good is None else is_good
    return Check(name, f"{value:,}", "" if expected is None else f"{expected:,}", good)


def _doubled(held: Counter[ReadingKey]) -> int:
    """Count the copies beyond the first."""
    return held.total() - len(held)


def _out_of_order(readings: Sequence[ReadingKey]) -> int:
    """Count readings that stand behind a later one of the same device and boot."""
    newest: dict[tuple[str, str], int] = {}
    behind = 0
    for device, boot, seq in readings:
        last = newest.get((device, boot), -1)
        behind += seq < last
        newest[device, boot] = max(last, seq)
    return behind


def _differing(ours: Sequence[bytes], theirs: Sequence[bytes]) -> int:
    """Count the places where the two logs do not hold the same entry."""
    shorter = min(len(ours), len(theirs))
    return abs(len(ours) - len(theirs)) + sum(ours[place] != theirs[place] for place in range(shorter))
