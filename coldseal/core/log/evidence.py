"""Verifies a log, or a choice of its entries, with public keys alone: chain, tree, keys, anchors, time.

Promise: the report is good only if every entry that is there was signed by the key active at its place, none
is missing from a run, changed, moved or added, and witnesses signed for all of it. Each kind of fault has its
own verdict and names the first bad entry. Works on bytes that somebody else has read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coldseal.core.log.canonical import MAX_INTEGER, encode_base64
from coldseal.core.log.checkpoint import (
    CheckpointSignatureError,
    UnknownKeyError,
    cosigned_at,
    open_checkpoint,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.keys import RECORD, KeyChangeError, KeyHistory, Keys
from coldseal.core.log.merkle import EMPTY_ROOT
from coldseal.core.log.pace import between, millis, without_silence
from coldseal.core.log.record import parse_entry
from coldseal.core.log.rules import CHECKS, Fault, Policy, Rules, Verdict, in_order
from coldseal.core.log.stretch import MAX_FAULTS, Stretch, examine
from coldseal.core.log.succession import After, BrokenLinkError, link_of
from coldseal.core.log.verifier import Algorithm, VerifierKey
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.checkpoint import Checkpoint
    from coldseal.core.log.layout import Cover, Layout
    from coldseal.core.log.record import Entry

__all__ = ["CHECKS", "Case", "Fault", "Policy", "Report", "Rules", "Stretch", "Verdict", "examine", "judge"]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole verdict.

    Attributes:
        first: seq of the first entry in the longest run.
        size: of the log that the evidence is proven to be in.
        faults: everything wrong, most fundamental first; empty means good.
        anchored: entries below this are covered by a checkpoint with the witnesses' quorum.
        anchored_at: time of the newest cosignature in seconds since 1970; 0 if there is none.
        kinds: how many entries of each kind.
        earliest: least time of acceptance.
        latest: greatest time of acceptance.
        unsynchronised: entries whose clock was not synchronised: no fault, but to be known.
        after: what the genesis entry cites of the log before; None if there is none.
        roots: those that checkpoints sign and the entries prove, by size.
    """

    first: int
    size: int
    faults: tuple[Fault, ...]
    anchored: int = 0
    anchored_at: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    earliest: str = ""
    latest: str = ""
    unsynchronised: int = 0
    after: After | None = None
    roots: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def fault_of(self, check: str) -> Fault | None:
        """Give the first fault that a check of :data:`CHECKS` found."""
        return next((fault for fault in self.faults if fault.verdict in CHECKS[check]), None)


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint whose signatures hold, and the times of its witnesses' cosignatures."""

    checkpoint: Checkpoint
    times: tuple[int, ...]


class Case:
    """What can be known before the entries are examined: keys, checkpoints, and the rules that follow.

    Attributes:
        policy: what the verifier trusts.
        layout: which entries there are.
        history: the keys at each place.
        pruned: the sizes up to which the log says that it was pruned.
        after: what the genesis entry cites of the log before.
        rules: for :func:`examine`.
    """

    def __init__(
        self,
        policy: Policy,
        layout: Layout,
        *,
        notes: Sequence[bytes],
        settings: Iterable[bytes],
        is_signature_checked: bool = True,
    ) -> None:
        """Follow the keys and open the checkpoints.

        Args:
            policy: what the verifier trusts.
            layout: which entries there are.
            notes: signed checkpoints, in any order.
            settings: the genesis entry and every entry of kind `key`, `config` or `prune`, in order of seq.
            is_signature_checked: check the entries' own signatures.
        """
        self.policy, self.layout = policy, layout
        self.faults: list[Fault] = []
        self.after: After | None = None
        self.pruned: set[int] = set()
        self._heartbeats: list[tuple[int, int]] = []
        self.history = KeyHistory(policy.origin, Keys(policy.record_key, policy.checkpoint_keys))
        for raw in settings:
            self._learn(raw)
        self.opened: dict[int, Opened] = {}
        for note in notes:
            self._take(note)
        self.rules = Rules(
            policy,
            self.history.record_keys,
            tuple(self._heartbeats),
            self._anchors(),
            is_signature_checked,
            tuple(sorted(self.opened.keys() | self.pruned)),
        )

    def _learn(self, raw: bytes) -> None:
        """Take from an entry what must be known before the others; what cannot be read is faulted later."""
        try:
            entry = parse_entry(raw)
        except InputError:
            return
        if entry.kind in {"genesis", "config"} and (beat := _count(entry.data.get("heartbeat"))):
            self._heartbeats.append((entry.seq + 1, beat))
        if entry.kind == "prune" and (last := _count(entry.data.get("last"))) is not None:
            self.pruned.add(last + 1)
        try:
            if entry.kind == "key":
                self.history.apply(entry)
            elif entry.kind == "genesis" and not entry.seq:
                self.after = link_of(entry)
        except KeyChangeError as error:
            self.faults.append(Fault(Verdict.BAD_KEY_CHANGE, error.seq, error.why))
        except BrokenLinkError as error:
            self.faults.append(Fault(Verdict.LINK, 0, error.why))

    def open(self, data: bytes) -> Opened:
        """Verify a checkpoint with the keys that are active at its size, and its witnesses' cosignatures.

        Raises:
            InputError: it is malformed.
            CheckpointSignatureError: a required key has not signed, or a known key's line does not verify.
        """
        policy = self.policy
        keys = self.history.at(parse_checkpoint_text(parse_note(data).text).size)
        record = VerifierKey(policy.origin, Algorithm.ECDSA, keys.record)
        needed = (*keys.checkpoint, record) if policy.mode == "checkpoint" else keys.checkpoint
        checkpoint, note = open_checkpoint(data, (*keys.checkpoint, record, *policy.witnesses), needed)
        signers = {(line.name, line.key_id) for line in note.signatures}
        times = (cosigned_at(note, key) for key in policy.witnesses if (key.name, key.id) in signers)
        return Opened(checkpoint, tuple(times))

    def _take(self, data: bytes) -> None:
        """Open one of the checkpoints; two roots of one size are a fault of their own."""
        try:
            found = self.open(data)
        except (InputError, CheckpointSignatureError) as error:
            verdict = Verdict.UNKNOWN_KEY if isinstance(error, UnknownKeyError) else Verdict.BAD_CHECKPOINT
            self._fault(verdict, _stated_size(data), str(error))
            return
        size, known = found.checkpoint.size, self.opened.get(found.checkpoint.size)
        if found.checkpoint.origin != self.policy.origin:
            self._fault(Verdict.FOREIGN, size, f"a checkpoint of {found.checkpoint.origin}")
        elif known is not None and known.checkpoint.root != found.checkpoint.root:
            detail = f"two signed checkpoints of size {size} with two roots: a fork"
            self._fault(Verdict.ROOT_MISMATCH, size, detail)
        elif known is None or len(found.times) > len(known.times):
            self.opened[size] = found

    def _fault(self, verdict: Verdict, size: int, detail: str) -> None:
        """Note a fault of a checkpoint at the last entry that it covers."""
        self.faults.append(Fault(verdict, max(0, size - 1), detail))

    def _anchors(self) -> tuple[tuple[int, int], ...]:
        """Give the cosigned sizes, rising, each with the time of the earliest cosignature that covers it.

        The earliest: else one witness whose clock is ahead could let the log's be as far ahead.
        """
        found: list[tuple[int, int]] = []
        earliest = MAX_INTEGER
        for size in sorted(self.opened, reverse=True):
            if times := self.opened[size].times:
                earliest = min(earliest, *times)
                found.append((size, earliest))
        return tuple(found[::-1])

    def quorum_at(self, proven: Iterable[int]) -> dict[int, int]:
        """Give the proven sizes that enough witnesses cosigned, with the time when the last of them did."""
        enough, found = self.policy.quorum, {}
        for size in sorted(proven):
            times = sorted(self.opened[size].times)
            if len(times) >= enough:
                found[size] = times[enough - 1] if enough else max(times, default=0)
        return found


def judge(case: Case, stretches: Iterable[Stretch], others: Iterable[Fault] = ()) -> Report:
    """Join stretches into the log they are and hold it against its checkpoints.

    Args:
        case: what was known before.
        stretches: in order of seq.
        others: faults that somebody else found, in a table or a timestamp.

    Returns:
        The report; it never raises for what is wrong with the evidence.
    """
    join = _Join(case)
    for stretch in stretches:
        join.add(stretch)
    return join.report(others)


class _Join:
    """The log as it is put together from its stretches."""

    def __init__(self, case: Case) -> None:
        """Stand before the first stretch."""
        self._case = case
        self._cover: Cover = case.layout.cover()
        self._faults = list(case.faults)
        self._roots: dict[int, bytes] = {}
        self._proven: set[int] = set()
        self._kinds: Counter[str] = Counter()
        self._times: list[str] = []
        self._unsynchronised = 0
        self._prunings: list[Entry] = []
        self._before: Stretch | None = None
        self._recent = 0
        self._sizes = frozenset(case.rules.sizes)
        self._last = EMPTY_ROOT.hex()
        self._fill()

    def add(self, stretch: Stretch) -> None:
        """Add a stretch behind what is there."""
        recent = len(self._faults)
        self._link(stretch)
        self._recent = recent
        self._faults += stretch.faults
        self._kinds += stretch.kinds
        self._times += filter(None, (stretch.earliest, stretch.latest))
        self._unsynchronised += stretch.unsynchronised
        self._prunings += stretch.prunings
        for level, found in stretch.subtrees:
            self._cover.tree.append_subtree(level, found)
            self._pass(self._cover.tree.size)
        self._last = stretch.last
        self._before = stretch
        self._fill()

    def _link(self, stretch: Stretch) -> None:
        """Check that a stretch follows the one before; ``_recent`` is where that one's faults begin."""
        size = self._cover.tree.size
        if stretch.first != size:
            self._fault(Verdict.GAP, size, f"the next entries begin at {stretch.first}")
            self._cover.skip(stretch.first)
            return
        if self._last and stretch.prev and stretch.prev != self._last:
            self._fault(Verdict.BROKEN_CHAIN, stretch.first, f"prev is {stretch.prev}, expected {self._last}")
        before = self._before
        if before is not None and self._last and before.tail is not None and stretch.head is not None:
            if (before.tail.kind, stretch.head.kind) == ("clock", "boot"):
                recent = self._faults[self._recent :]
                self._faults[self._recent :] = without_silence(recent, stretch.first - 1)
            odd = between(before.tail, stretch.head, self._case.rules.heartbeat_s(stretch.first))
            if odd and not (odd[0] is Verdict.SILENCE and stretch.is_start):
                self._fault(odd[0], stretch.first, odd[1])

    def _fill(self) -> None:
        """Add the hashes that stand for entries which are not there."""
        for size in self._cover.fill():
            self._last, self._before = "", None
            if size % 2:
                self._last = self._cover.tree.hashes[-1].hex()
            self._pass(size)

    def _pass(self, size: int) -> None:
        """Note the tree's root at a size where it counts, and hold it against the checkpoint of that size."""
        if size not in self._sizes or not self._cover.is_whole:
            return
        self._roots[size] = root = self._cover.tree.root()
        opened = self._case.opened.get(size)
        if opened is not None and opened.checkpoint.root == root:
            self._proven.add(size)
        elif opened is not None:
            self._fault(Verdict.ROOT_MISMATCH, size - 1, f"the checkpoint of size {size} signs another root")

    def _fault(self, verdict: Verdict, seq: int, detail: str) -> None:
        """Note a fault."""
        self._faults.append(Fault(verdict, seq, detail))

    def report(self, others: Iterable[Fault]) -> Report:
        """Judge the whole."""
        case, layout = self._case, self._case.layout
        self._faults += others
        size = self._cover.tree.size
        if size != layout.size:
            self._fault(Verdict.GAP, size, f"the entries end at {size}, the bundle speaks of {layout.size}")
        beyond = max(case.opened, default=0)
        if beyond > layout.size:
            detail = f"a signed checkpoint covers {beyond} entries, the evidence ends at {layout.size}"
            self._fault(Verdict.GAP, layout.size, detail)
        for entry in self._prunings:
            if why := self._unproven(entry):
                self._fault(Verdict.PRUNED, entry.seq, why)
        anchors = case.quorum_at(self._proven)
        self._check_revocations(anchors)
        anchored = max(anchors, default=0)
        if not anchors:
            detail = f"no checkpoint carries the cosignatures of {case.policy.quorum} known witnesses"
            self._fault(Verdict.UNWITNESSED, 0, detail)
        elif anchored < layout.size:
            since = max(anchors.values())
            detail = f"{layout.size - anchored} entries have no cosigned checkpoint over them since {since} s"
            self._fault(Verdict.TAIL, anchored, detail)
        return Report(
            first=max(layout.runs, key=lambda run: run[1] - run[0])[0],
            size=layout.size,
            faults=tuple(in_order(self._faults)[:MAX_FAULTS]),
            anchored=anchored,
            anchored_at=max(anchors.values(), default=0),
            kinds=self._kinds,
            earliest=min(self._times, default=""),
            latest=max(self._times, default=""),
            unsynchronised=self._unsynchronised,
            after=case.after,
            roots={size: case.opened[size].checkpoint.root for size in self._proven},
        )

    def _check_revocations(self, anchors: dict[int, int]) -> None:
        """Fault what a revoked key signed and no witness had seen before it fell into wrong hands."""
        for revocation in self._case.history.revocations:
            since = millis(revocation.since)
            good = max((size for size, t in anchors.items() if t * 1000 <= since), default=0)
            begun, ended = self._case.history.span(revocation.use, revocation.key) or (0, None)
            first, end = max(begun, good), self._case.layout.size if ended is None else ended
            held = [max(first, run[0]) for run in self._case.layout.runs if run[1] > first and run[0] < end]
            if held and held[0] < end:
                what = "signed" if revocation.use == RECORD else "fixed in checkpoints"
                detail = f"{what} with {revocation.key}, revoked since {revocation.since}: to be reviewed"
                self._fault(Verdict.REVOKED, held[0], detail)

    def _unproven(self, entry: Entry) -> str:
        """Say what a `prune` entry lacks: a range before it, the root over that, the archive's receipt."""
        first, last = _count(entry.data.get("first")), _count(entry.data.get("last"))
        if first is None or last is None or not first <= last < entry.seq:
            return "what it names as pruned is no range before it"
        root = self._roots.get(last + 1)
        if root is not None and entry.data.get("root") != encode_base64(root):
            return f"its root is not that of the first {last + 1} entries"
        archive = entry.data.get("archive")
        text = archive.get("receipt") if isinstance(archive, dict) else None
        if not isinstance(text, str):
            return "it names no archive receipt"
        try:
            found = self._case.open(text.encode())
        except (InputError, CheckpointSignatureError) as error:
            return f"its archive receipt does not hold: {error}"
        is_over = found.checkpoint.size > last and len(found.times) >= self._case.policy.quorum
        return "" if is_over else "its archive receipt does not cover what was pruned"


def _count(value: Value) -> int | None:
    """Give a number from 0; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _stated_size(data: bytes) -> int:
    """Give the size that a checkpoint states, where it can be read."""
    try:
        return parse_checkpoint_text(parse_note(data).text).size
    except InputError:
        return 0
