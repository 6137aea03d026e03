"""What a verifier trusts, what entries are held against, and the names of all that can be wrong with them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coldseal.core.log.canonical import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldseal.core.log.checkpoint import VerifierKey


class Verdict(StrEnum):
    """The kinds of fault, in the order in which they are looked for."""

    DAMAGED = "bundle-damaged"
    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    WRONG_KEY = "wrong-key"
    BAD_SIGNATURE = "bad-signature"
    GAP = "gap"
    FOREIGN = "foreign-log"
    GENESIS = "genesis-mismatch"
    BROKEN_CHAIN = "broken-chain"
    ROOT_MISMATCH = "root-mismatch"
    BAD_CHECKPOINT = "bad-checkpoint"
    UNKNOWN_KEY = "unknown-key"
    UNWITNESSED = "not-witnessed"
    BAD_KEY_CHANGE = "bad-key-change"
    REVOKED = "revoked-key"
    CLOCK_STEP = "clock-step"
    CLOCK_DRIFT = "clock-drift"
    SILENCE = "silence"
    PRUNED = "pruned-unproven"
    CSV = "csv-mismatch"
    TIMESTAMP = "bad-timestamp"
    COUNTER = "bad-counter"
    LINK = "broken-link"
    TAIL = "tail-not-anchored"


CHECKS: Final[dict[str, tuple[Verdict, ...]]] = {
    "bundle complete and undamaged": (Verdict.DAMAGED,),
    "every entry well-formed": (Verdict.MALFORMED,),
    "every entry signed by the key active at its place": (
        Verdict.UNSIGNED,
        Verdict.WRONG_KEY,
        Verdict.BAD_SIGNATURE,
    ),
    "sequence without gap, from the right log": (Verdict.GAP, Verdict.FOREIGN, Verdict.GENESIS),
    "hash chain unbroken": (Verdict.BROKEN_CHAIN,),
    "Merkle root equals each checkpoint": (Verdict.ROOT_MISMATCH,),
    "checkpoints signed by both keys": (Verdict.BAD_CHECKPOINT, Verdict.UNKNOWN_KEY),
    "cosigned by enough witnesses": (Verdict.UNWITNESSED,),
    "key changes proven, no key revoked": (Verdict.BAD_KEY_CHANGE, Verdict.REVOKED),
    "time without step, drift or silence": (Verdict.CLOCK_STEP, Verdict.CLOCK_DRIFT, Verdict.SILENCE),
    "pruned ranges archived": (Verdict.PRUNED,),
    "table of readings equals the entries": (Verdict.CSV,),
    "timestamps valid": (Verdict.TIMESTAMP,),
    "counter of segments certified and rising": (Verdict.COUNTER,),
    "continues the log that it cites": (Verdict.LINK,),
    "nothing behind the last cosigned checkpoint": (Verdict.TAIL,),
}
"""What is checked, in order, and the verdicts that each check can end with."""

_ORDER = {verdict: place for place, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Policy:
    """What the verifier trusts.

    Attributes:
        origin: the log's name.
        record_key: SubjectPublicKeyInfo DER of the key that the log began with; later ones are in the log.
        checkpoint_keys: those that the log began with; all of them must sign each checkpoint.
        witnesses: cosigner keys.
        quorum: how many witnesses must have cosigned.
        mode: ``record``, or ``checkpoint`` where entries carry no signature of their own.
    """

    origin: str
    record_key: bytes
    checkpoint_keys: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...]
    quorum: int = 1
    mode: str = "record"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        verdict: its kind.
        seq: the first entry concerned.
        detail: what was found, for people.
    """

    verdict: Verdict
    seq: int
    detail: str


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Bring faults in order: the most fundamental kind first, and of one kind the first entry."""
    return sorted(faults, key=lambda fault: (_ORDER[fault.verdict], fault.seq))


@dataclass(frozen=True, slots=True)
class Rules:
    """What entries are held against; known before the first one is looked at.

    Attributes:
        policy: whose log, and which sealing mode.
        record_keys: each record key with the first seq that it signs, in order.
        heartbeats: seconds within which the log promised an entry, each with the first seq it holds for.
        anchors: size of each cosigned checkpoint, rising, and the time (seconds since 1970) of the
            earliest cosignature on it or on a later one.
        is_signature_checked: without it the entries' own signatures are taken as they are.
        sizes: of the log, rising, at which its root is to be known.
    """

    policy: Policy
    record_keys: tuple[tuple[int, bytes], ...]
    heartbeats: tuple[tuple[int, int], ...] = ()
    anchors: tuple[tuple[int, int], ...] = ()
    is_signature_checked: bool = True
    sizes: tuple[int, ...] = ()

    def heartbeat_s(self, seq: int) -> int:
        """Give the seconds within which an entry was promised before this one; 0 if none was."""
        return self.heartbeat(seq)[0]

    def heartbeat(self, seq: int) -> tuple[int, int]:
        """Give the same, and the seq from which on another promise holds."""
        place = bisect_right(self.heartbeats, seq, key=lambda found: found[0])
        end = self.heartbeats[place][0] if place < len(self.heartbeats) else MAX_INTEGER
        return self.heartbeats[place - 1][1] if place else 0, end

    def record_key(self, seq: int) -> tuple[bytes, int]:
        """Give the key that must have signed an entry, and the seq from which on it is another one."""
        place = bisect_right(self.record_keys, seq, key=lambda found: found[0])
        end = self.record_keys[place][0] if place < len(self.record_keys) else MAX_INTEGER
        return self.record_keys[place - 1][1], end

    def anchor(self, seq: int) -> tuple[int, int]:
        """Give the time of the earliest cosignature over an entry, and the seq from which on it is another.

        Both are without end if nobody has cosigned it.
        """
        place = bisect_right(self.anchors, seq, key=lambda found: found[0])
        if place == len(self.anchors):
            return MAX_INTEGER, MAX_INTEGER
        size, t = self.anchors[place]
        return t, size
