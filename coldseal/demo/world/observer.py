"""Holds everything that anybody was told in a run against what is on disk: the promise, at each step.

Knows the one history there may be: every entry that was ever shown to anybody, in order. It never shrinks and
never changes. What breaks is kept, the first of it, and ends the run; nothing is raised into the programs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.evidence import Case, Policy, Verdict, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.log.record import frame, parse_entry
from coldseal.demo.world.judging import Judge
from coldseal.demo.world.stage import ORIGIN
from coldseal.demo.world.trace import BrokenPromiseError
from coldseal.gateway.message import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coldseal.core.log.record import Entry
    from coldseal.demo.world.stage import Stage
    from coldseal.demo.world.trace import Trace
    from coldseal.gateway.store.reader import LogReader

_NO_FAULT: Final = frozenset({Verdict.TAIL, Verdict.UNWITNESSED})
"""Verdicts that wait for a witness, whom the bare log does not have."""

_OF_TIME: Final = frozenset({Verdict.CLOCK_DRIFT, Verdict.SILENCE})
"""Verdicts that are right where the clock was set, or the disk was away for long."""

Name = tuple[str, str]
"""A device, and what tells one of its messages from all others."""


class Observer:
    """What is known of one run.

    Args:
        stage: keys.
        mode: how the log is sealed.
        trace: where to note what is seen.

    Attributes:
        entries: the history.
        broken: what did not hold; None as long as all does.
        is_broken: set with it.
        has_odd_times: the clock was set or the disk was away, so that times look odd.
        service: what the service was seen to hold.
    """

    def __init__(self, stage: Stage, mode: str, trace: Trace) -> None:
        """Know nothing yet."""
        keys = stage.admitted
        self._policy = Policy(ORIGIN, keys.record_key, keys.checkpoint_keys, (), quorum=0, mode=mode)
        self._trace = trace
        self.entries: list[bytes] = []
        self.broken: BrokenPromiseError | None = None
        self.is_broken = asyncio.Event()
        self.has_odd_times = False
        self.service: list[bytes] = []
        self._tree = CompactRange()
        self._roots = [self._tree.root()]
        self._head = self._roots[0].hex()
        self._ahead: dict[int, bytes] = {}
        self._sealed: dict[Name, int] = {}
        self._rejected: set[str] = set()
        self._counted = 0
        self._told: dict[Name, str] = {}
        self._latest: dict[str, int] = {}
        self._busy: set[str] = set()
        self._judge = Judge()

    def fail(self, what: str) -> None:
        """Keep what does not hold; the first of it counts."""
        if self.broken is None:
            self.broken = BrokenPromiseError(what)
            self._trace.note("BROKEN", what)
            self.is_broken.set()

    # ---- the gateway

    def acknowledged(self, reader: LogReader, name: Name, outcome: Outcome, digest: str) -> None:
        """A message is answered: unless it was BUSY, it must be on disk now."""
        if outcome is Outcome.BUSY:
            self._busy.add(name[0])
            return
        if name not in self._sealed:
            self._extend(reader.read(len(self.entries)))
        self._told[name] = digest
        if outcome in {Outcome.SEALED, Outcome.DUPLICATE} and name not in self._sealed:
            self.fail(f"{name} was acknowledged as {outcome.name} and is not in the log on disk")
        if (
            outcome in {Outcome.REJECTED, Outcome.REFUSED}
            and not self._counted
            and digest not in self._rejected
        ):
            self.fail(f"{name} was answered with {outcome.name}, and no entry says so")

    def catch_up(self, reader: LogReader) -> None:
        """Read what is new on disk."""
        size = reader.size()
        while len(self.entries) < size and self.broken is None:
            self._extend(reader.read(len(self.entries)))

    def _extend(self, found: Iterable[bytes]) -> None:
        """Add entries to the history, each checked against the one before it."""
        for raw in found:
            entry = parse_entry(raw)
            seq = len(self.entries)
            if (entry.log, entry.seq, entry.prev) != (ORIGIN, seq, self._head):
                self.fail(f"entry {seq} is number {entry.seq} of {entry.log} behind {entry.prev}")
                return
            leaf = leaf_hash(raw)
            self.entries.append(raw)
            self._head = leaf.hex()
            self._tree.append(leaf)
            self._roots.append(self._tree.root())
            self._trace.note("sealed", seq, entry.kind, entry.t, self._head[:12])
            self._hold(seq + 1, self._ahead.pop(seq + 1, None))
            if seq < len(self.service) and self.service[seq] != raw:
                self.fail(f"the service has another entry {seq}")
            self._learn(entry)
            if fault := self._judge.follow(entry):
                self.fail(fault)
            if entry.kind == "excursion":
                self._trace.note("excursion", seq, entry.data["action"])

    def _learn(self, entry: Entry) -> None:
        """Note whose reading it is: none may come twice, and a device's keep their order."""
        device = entry.src.get("dev")
        if entry.kind == "rejected":
            self._rejected.add(str(entry.src.get("sha256")))
            self._counted += "count" in entry.data
        if entry.kind != "reading" or not isinstance(device, str):
            return
        name = device, str(entry.src["sha256"])
        if name in self._sealed:
            self.fail(f"{name} is sealed twice, as {self._sealed[name]} and {entry.seq}")
        self._sealed[name] = entry.seq
        number = entry.src.get("seq")
        if not isinstance(number, int):
            return
        if number <= self._latest.get(device, -1) and device not in self._busy:
            self.fail(f"{device} has its reading {number} behind {self._latest[device]}")
        self._latest[device] = max(number, self._latest.get(device, -1))

    def started(self, reader: LogReader) -> None:
        """A log was opened: everything that was ever shown must be in it, where it was."""
        known = len(self.entries)
        found = list(reader.read_from(0))
        if found[:known] != self.entries:
            at = next((n for n, raw in enumerate(self.entries) if n >= len(found) or found[n] != raw), known)
            self.fail(
                f"the log was opened with {len(found)} entries; entry {at} of {known} is gone or another"
            )
            return
        self._extend(found[known:])
        for name, digest in self._told.items():
            if name not in self._sealed and digest not in self._rejected and not self._counted:
                self.fail(f"{name} was acknowledged and is not in the log that was opened")
        self.verify(reader, is_last=False)

    def verify(self, reader: LogReader, *, is_last: bool) -> None:
        """Verify the whole log, and every checkpoint of it; at last, with every signature."""
        entries, size = self.entries, len(self.entries)
        notes = [found.note for found in reader.checkpoints(-1, size, limit=size + 1)]
        for note in notes:
            self.saw(note)
        if not entries:
            return
        case = Case(
            self._policy,
            Layout(size, ((0, size),), ()),
            notes=notes if is_last else [],
            settings=[entries[0], *reader.settings()],
            is_signature_checked=is_last,
        )
        report = judge(case, [examine(case.rules, 0, frame(entries))])
        for fault in report.faults:
            if fault.verdict in _NO_FAULT or (fault.verdict in _OF_TIME and self.has_odd_times):
                continue
            self.fail(f"the log does not verify: {fault.verdict} at {fault.seq}: {fault.detail}")
        if reader.root(size) != self._roots[size]:
            self.fail(f"the log gives another root over its {size} entries")

    # ---- checkpoints, and the service

    def saw(self, note: bytes) -> None:
        """A checkpoint was seen, anywhere: it must agree with every other."""
        checkpoint = parse_checkpoint_text(parse_note(note).text)
        known = self._ahead.get(checkpoint.size)
        if checkpoint.size < len(self._roots):
            self._hold(checkpoint.size, checkpoint.root)
        elif known is not None and known != checkpoint.root:
            self.fail(f"two checkpoints over {checkpoint.size} entries have two roots")
        else:
            self._ahead[checkpoint.size] = checkpoint.root

    def _hold(self, size: int, root: bytes | None) -> None:
        """Hold a root against the history."""
        if root is not None and root != self._roots[size]:
            self.fail(f"a checkpoint over {size} entries has another root than they have")

    def stored(self, held: Sequence[bytes]) -> None:
        """The service holds this, from its first entry on: a prefix of what the gateway sealed."""
        known = len(self.service)
        if list(held[:known]) != self.service:
            self.fail(f"the service had {known} entries and has {len(held)}, or others")
            return
        self.service = list(held)
        for seq in range(known, min(len(held), len(self.entries))):
            if held[seq] != self.entries[seq]:
                self.fail(f"the service has another entry {seq} than the gateway")
        self._trace.note("stored", len(held))

    # ---- the end

    def finish(self, wanted: Iterable[Name]) -> None:
        """Everything is quiet: all is acknowledged, sealed and delivered."""
        if self.service != self.entries[: len(self.service)] or len(self.service) > len(self.entries):
            self.fail("the service holds what the gateway never sealed")
        for name in wanted:
            if name not in self._sealed:
                self.fail(f"{name} is not in the log at the end")
            elif self._sealed[name] >= len(self.service):
                self.fail(f"{name} is not in the service at the end")
