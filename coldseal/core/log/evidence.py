"""Verifies a stretch of a log with public keys alone: every signature, the chain, the tree, the anchors.

Promise: the report is good only if every entry is signed by the log's key, none is missing, changed,
moved or added, and witnesses signed for all of it. Each kind of fault has its own verdict and names
the first bad entry. Works on bytes that somebody else has read; stretches can be examined in any process.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    CheckpointSignatureError,
    VerifierKey,
    cosigned_at,
    open_checkpoint,
)
from coldseal.core.log.delivery.signatures import verify_entry
from coldseal.core.log.merkle import EMPTY_ROOT, HASH_SIZE, CompactRange, leaf_hash
from coldseal.core.log.record import parse_entry, parse_frames
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_FAULTS: Final = 100
"""Faults kept in one report or stretch; the first ones tell where to look."""


class Verdict(StrEnum):
    """The kinds of fault, in the order in which they are looked for."""

    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    WRONG_KEY = "wrong-key"
    BAD_SIGNATURE = "bad-signature"
    GAP = "gap"
    BROKEN_CHAIN = "broken-chain"
    FOREIGN = "foreign-log"
    GENESIS = "genesis-mismatch"
    ROOT_MISMATCH = "root-mismatch"
    BAD_CHECKPOINT = "bad-checkpoint"
    UNWITNESSED = "not-witnessed"
    TAIL = "tail-not-anchored"


CHECKS: Final[dict[str, tuple[Verdict, ...]]] = {
    "every entry well-formed": (Verdict.MALFORMED,),
    "every entry signed by the log's record key": (
        Verdict.UNSIGNED,
        Verdict.WRONG_KEY,
        Verdict.BAD_SIGNATURE,
    ),
    "sequence without gap": (Verdict.GAP, Verdict.FOREIGN, Verdict.GENESIS),
    "hash chain unbroken": (Verdict.BROKEN_CHAIN,),
    "Merkle root equals each checkpoint": (Verdict.ROOT_MISMATCH,),
    "checkpoints signed by both keys": (Verdict.BAD_CHECKPOINT,),
    "cosigned by enough witnesses": (Verdict.UNWITNESSED,),
    "nothing behind the last cosigned checkpoint": (Verdict.TAIL,),
}
"""What is checked, in order, and the verdicts that each check can end with."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the verifier trusts.

    Attributes:
        origin: the log's name.
        record_key: SubjectPublicKeyInfo DER of the key that signs entries.
        checkpoint_keys: all of them must have signed each checkpoint.
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


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one process found in a run of entries; the stretches of a log are then joined.

    Attributes:
        first: seq of its first entry.
        prev: what that entry names as its predecessor, hex; empty if it could not be read.
        leaves: leaf hashes of all entries, 32 bytes each.
        faults: the first :data:`MAX_FAULTS` faults inside.
        kinds: how many entries of each kind.
        earliest: least time of acceptance, RFC 3339; empty if there is none.
        latest: greatest time of acceptance.
        unsynchronised: entries whose clock was not synchronised.
    """

    first: int
    prev: str
    leaves: bytes
    faults: tuple[Fault, ...]
    kinds: Counter[str]
    earliest: str
    latest: str
    unsynchronised: int


@dataclass(frozen=True, slots=True)
class Report:
    """The whole verdict.

    Attributes:
        first: seq of the first entry looked at.
        size: tree size at the end of the entries.
        faults: everything wrong, most fundamental first; empty means good.
        anchored: entries below this are covered by a checkpoint with the witnesses' quorum.
        anchored_at: time of the newest cosignature in seconds since 1970; 0 if there is none.
        kinds: how many entries of each kind.
        earliest: least time of acceptance.
        latest: greatest time of acceptance.
        unsynchronised: entries whose clock was not synchronised: no fault, but to be known.
    """

    first: int
    size: int
    faults: tuple[Fault, ...]
    anchored: int
    anchored_at: int
    kinds: Counter[str] = field(default_factory=Counter)
    earliest: str = ""
    latest: str = ""
    unsynchronised: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def fault_of(self, check: str) -> Fault | None:
        """Give the first fault that a check of :data:`CHECKS` found."""
        return next((fault for fault in self.faults if fault.verdict in CHECKS[check]), None)


def examine(policy: Policy, first: int, frames: bytes) -> Stretch:
    """Check a run of entries by themselves: form, signature, seq, and each one's link to the one before.

    Args:
        policy: whose log and keys.
        first: the seq that the first entry must have.
        frames: framed entries.

    Raises:
        InputError: the framing is cut.
    """
    faults: list[Fault] = []
    kinds: Counter[str] = Counter()
    leaves: list[bytes] = []
    times: list[str] = []
    first_prev = expected = ""
    unsynchronised = 0
    for seq, raw in enumerate(parse_frames(frames), first):
        try:
            entry = parse_entry(raw)
        except InputError as error:
            leaf = leaf_hash(raw)
            faults.append(Fault(Verdict.MALFORMED, seq, str(error)))
        else:
            leaf = entry.leaf_hash
            if seq == first:
                first_prev = expected = entry.prev
            if (reason := verify_entry(policy.record_key, policy.mode, entry)) is not None:
                faults.append(Fault(Verdict(reason), seq, f"kind {entry.kind}, kid {entry.kid}"))
            if entry.log != policy.origin:
                faults.append(Fault(Verdict.FOREIGN, seq, f"log is {entry.log}, expected {policy.origin}"))
            if entry.seq != seq:
                faults.append(Fault(Verdict.GAP, seq, f"seq is {entry.seq}, expected {seq}"))
            if entry.prev != expected:
                faults.append(Fault(Verdict.BROKEN_CHAIN, seq, f"prev is {entry.prev}, expected {expected}"))
            if seq == 0 and (entry.kind != "genesis" or entry.data.get("mode") != policy.mode):
                detail = (
                    f"the log begins with {entry.kind}, mode {entry.data.get('mode')}; expected {policy.mode}"
                )
                faults.append(Fault(Verdict.GENESIS, seq, detail))
            kinds[entry.kind] += 1
            times.append(entry.t)
            unsynchronised += entry.tq["s"] == "unsynchronised"
        leaves.append(leaf)
        expected = leaf.hex()
    return Stretch(
        first,
        first_prev,
        b"".join(leaves),
        tuple(faults[:MAX_FAULTS]),
        kinds,
        min(times, default=""),
        max(times, default=""),
        unsynchronised,
    )


def judge(
    policy: Policy, prior: CompactRange, stretches: Iterable[Stretch], notes: Sequence[bytes]
) -> Report:
    """Join stretches into the log they are and hold it against its checkpoints.

    Args:
        policy: whose log, which keys, how many witnesses.
        prior: compact range over the entries before the first stretch; it is proven together with the rest,
            because the root of every checkpoint covers it.
        stretches: in order of seq.
        notes: signed checkpoints, in any order.

    Returns:
        The report; it never raises for what is wrong with the evidence.
    """
    first, tree = prior.size, prior.copy()
    faults, checkpoints = _open_all(policy, notes, first)
    kinds: Counter[str] = Counter()
    times: list[str] = []
    unsynchronised, last = 0, _last_leaf(prior)
    for stretch in stretches:
        if stretch.first != tree.size:
            faults.append(Fault(Verdict.GAP, tree.size, f"the next stretch begins at {stretch.first}"))
        elif last and stretch.prev and stretch.prev != last:
            faults.append(
                Fault(Verdict.BROKEN_CHAIN, stretch.first, f"prev is {stretch.prev}, expected {last}")
            )
        faults += stretch.faults
        kinds += stretch.kinds
        times += filter(None, (stretch.earliest, stretch.latest))
        unsynchronised += stretch.unsynchronised
        for at in range(0, len(stretch.leaves), HASH_SIZE):
            tree.append(stretch.leaves[at : at + HASH_SIZE])
            if (known := checkpoints.get(tree.size)) is not None and known[0].root != tree.root():
                detail = f"the checkpoint of size {tree.size} signs another root"
                faults.append(Fault(Verdict.ROOT_MISMATCH, tree.size - 1, detail))
        last = stretch.leaves[-HASH_SIZE:].hex()
    anchored, anchored_at = _anchor(policy, checkpoints, tree.size, faults)
    order = {verdict: place for place, verdict in enumerate(Verdict)}
    faults.sort(key=lambda fault: (order[fault.verdict], fault.seq))
    return Report(
        first, tree.size, tuple(faults[:MAX_FAULTS]), anchored, anchored_at,
        kinds, min(times, default=""), max(times, default=""), unsynchronised,
    )  # fmt: skip


Opened = dict[int, tuple[Checkpoint, tuple[int, ...]]]
"""Size → checkpoint and the times of its witnesses' cosignatures."""


def _open_all(policy: Policy, notes: Sequence[bytes], first: int) -> tuple[list[Fault], Opened]:
    """Verify every checkpoint's signatures; two roots of one size are a fault of their own."""
    faults: list[Fault] = []
    opened: Opened = {}
    record = VerifierKey(policy.origin, Algorithm.ECDSA, policy.record_key)
    needed = (*policy.checkpoint_keys, record) if policy.mode == "checkpoint" else policy.checkpoint_keys
    for data in notes:
        try:
            checkpoint, note = open_checkpoint(
                data, (*policy.checkpoint_keys, record, *policy.witnesses), needed
            )
        except (InputError, CheckpointSignatureError) as error:
            faults.append(Fault(Verdict.BAD_CHECKPOINT, first, str(error)))
            continue
        if checkpoint.origin != policy.origin:
            faults.append(Fault(Verdict.FOREIGN, first, f"a checkpoint of {checkpoint.origin}"))
            continue
        signers = {(line.name, line.key_id) for line in note.signatures}
        times = tuple(cosigned_at(note, key) for key in policy.witnesses if (key.name, key.id) in signers)
        known = opened.get(checkpoint.size)
        if known is not None and known[0].root != checkpoint.root:
            detail = f"two signed checkpoints of size {checkpoint.size} with different roots: a fork"
            faults.append(Fault(Verdict.ROOT_MISMATCH, checkpoint.size - 1, detail))
        elif known is None or len(times) > len(known[1]):
            opened[checkpoint.size] = (checkpoint, times)
    return faults, opened


def _anchor(policy: Policy, opened: Opened, size: int, faults: list[Fault]) -> tuple[int, int]:
    """Find how far the witnesses' quorum reaches, and fault what lies beyond it or was cut off."""
    anchored, anchored_at = 0, 0
    for found, (_, times) in sorted(opened.items()):
        if len(times) >= policy.quorum:
            anchored, anchored_at = found, max(times, default=0)
    if anchored == 0:
        detail = f"no checkpoint carries the cosignatures of {policy.quorum} known witnesses"
        faults.append(Fault(Verdict.UNWITNESSED, 0, detail))
    elif anchored < size:
        detail = f"{size - anchored} entries have no cosigned checkpoint over them"
        faults.append(Fault(Verdict.TAIL, anchored, detail))
    beyond = max(opened, default=0)
    if beyond > size:
        detail = f"a signed checkpoint covers {beyond} entries, the evidence ends at {size}"
        faults.append(Fault(Verdict.GAP, size, detail))
    return min(anchored, size), anchored_at


def _last_leaf(prior: CompactRange) -> str:
    """Name the last leaf before the evidence where the range shows it, in hex; else empty."""
    if prior.size == 0:
        return EMPTY_ROOT.hex()
    return prior.hashes[-1].hex() if prior.size % 2 else ""
