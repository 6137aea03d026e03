"""Checks a run of entries by themselves, in any process: form, signature, place, link, and time.

Promise: every fault of every entry is found here, whatever else is wrong, but for what needs the rest of
the log: its tree, its checkpoints and the stretch before. `evidence` puts stretches together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from coldseal.core.log.authorship import are_signed, verify_entry
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.keys import RECORD
from coldseal.core.log.layout import fold
from coldseal.core.log.pace import (
    DRIFT_MS,
    SENSOR_GAP,
    Mark,
    between,
    follow,
    millis,
    without_silence,
)
from coldseal.core.log.record import key_id, parse_entry, parse_frames
from coldseal.core.log.rules import Fault, Policy, Rules, Verdict, in_order
from coldseal.core.log.signed import Parts, Usual, parse_parts, parse_usual, signatures_of, signer_of
from coldseal.core.log.table import HEADER_BEFORE, rows_before, rows_of, rows_of_readings, rows_of_usual
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from coldseal.core.log.record import Entry

MAX_FAULTS: Final = 100
"""Faults kept in one report or stretch; the first ones tell where to look."""

_READ_WHOLE: Final = frozenset({"boot", "genesis", "prune"})
"""Kinds of which more is checked than every entry has."""

_SIGNER: Final = Parts._fields.index("signer")
_AT_ONCE: Final = 256
"""Entries that are read at once."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one process found in a run of entries; the stretches of a log are then joined.

    Attributes:
        first: seq of its first entry.
        prev: what that entry names as its predecessor, hex; empty if it could not be read.
        count: how many entries.
        last: leaf hash of the last one, hex; empty if there is none.
        subtrees: level and hash of the complete subtrees that stand for all of them, as `fold` makes them.
        faults: the most fundamental :data:`MAX_FAULTS` faults inside.
        kinds: how many entries of each kind.
        earliest: least time of acceptance, RFC 3339; empty if there is none.
        latest: greatest time of acceptance.
        unsynchronised: entries whose clock was not synchronised.
        head: the first entry's place in time; None if it could not be read.
        tail: the last one's.
        is_start: whether its first two entries are a `clock` and a `boot`: silence before them is explained.
        prunings: entries that say what was pruned, for they name a proof.
        table_size: bytes of the entries' rows in the table of readings, where they were asked for.
        table_sum: SHA-256 of these.
    """

    first: int
    prev: str = ""
    count: int = 0
    last: str = ""
    subtrees: tuple[tuple[int, bytes], ...] = ()
    faults: tuple[Fault, ...] = ()
    kinds: Counter[str] = field(default_factory=Counter)
    earliest: str = ""
    latest: str = ""
    unsynchronised: int = 0
    head: Mark | None = None
    tail: Mark | None = None
    is_start: bool = False
    prunings: tuple[Entry, ...] = ()
    table_size: int = 0
    table_sum: bytes = b""


def examine(rules: Rules, first: int, frames: bytes) -> Stretch:
    """Check a run of entries by themselves: form, signature, seq, link and time to the one before.

    Args:
        rules: what they are held against.
        first: the seq that the first entry must have.
        frames: framed entries.

    Raises:
        InputError: the framing is cut.
    """
    return examine_entries(rules, first, parse_frames(frames))


def examine_entries(rules: Rules, first: int, entries: Sequence[bytes], *, header: str = "") -> Stretch:
    """Do the same with entries that are out of their frames.

    Args:
        rules: what they are held against.
        first: the seq that the first entry must have.
        entries: that follow each other.
        header: first line of the table of readings that their rows are to be in; empty for none.
    """
    found = _Examination(rules, first, header, is_hopeful=True)
    found.take(entries)
    if not all(are_signed(key, signatures) for key, signatures in found.unverified.items()):
        found = _Examination(rules, first, header, is_hopeful=False)
        found.take(entries)
    return found.stretch()


class _Examination:
    """What is known while a stretch is examined.

    Attributes:
        unverified: by record key, the signatures that were left to the end, for a core does many of one sort
            faster; empty if nobody was hopeful. Unless all hold, nothing of what was found counts.
    """

    def __init__(self, rules: Rules, first: int, header: str, *, is_hopeful: bool) -> None:
        """Nothing was looked at yet."""
        self.rules = rules
        self.first = first
        self.unverified: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self.prev = self.expected = ""
        self.leaves: list[bytes] = []
        self.faults: list[Fault] = []
        self.kinds: Counter[str] = Counter()
        self.times: list[str] = []
        self.unsynchronised = 0
        self.head: Mark | None = None
        self.is_start = False
        self.prunings: list[Entry] = []
        self.table: list[str] = []
        self._policy = rules.policy
        self._header = header
        self._is_hopeful = is_hopeful
        self._t_ms = self._mono_ms = 0
        self._boot = self._kind = self._silent = ""
        self._turn(first)

    def fault(self, verdict: Verdict, seq: int, detail: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(verdict, seq, detail))

    @property
    def before(self) -> Mark | None:
        """The place in time of the entry before; None if it could not be read."""
        return Mark(self._t_ms, self._mono_ms, self._boot, self._kind) if self._boot else None

    def take(self, entries: Sequence[bytes]) -> None:
        """Check all entries."""
        for at in range(0, len(entries), _AT_ONCE):
            self._take_some(self.first + at, entries[at : at + _AT_ONCE])

    def _take_some(self, first: int, entries: Sequence[bytes]) -> None:
        """Check entries: readings that follow each other at once, as most do, and others one by one."""
        leaves = [sha256(b"\x00" + raw).digest() for raw in entries]  # as leaf_hash; this is the hot path
        links = [self.expected, *map(bytes.hex, leaves)]
        parts = parse_parts(entries)
        at = 0
        while at < len(entries):
            if first + at >= self._until:
                self._turn(first + at)
            end = self._end_of_readings(first, at, parts)
            run = slice(at, end)
            if not self._take_readings(first + at, entries[run], parts[run], links[run]):
                end = max(end, at + 1)
                for place in range(at, end):
                    self.expected = links[place]
                    self.take_any(first + place, entries[place])
            at = end
        self.leaves += leaves
        self.expected = links[-1]

    def _end_of_readings(self, first: int, at: int, parts: Sequence[tuple[str, ...]]) -> int:
        """Say where readings end that begin here, are of the log and its key, and have the same rules."""
        if not self._boot:  # nothing is known of the entry before
            return at
        end = min(len(parts), self._until - first)
        return next((place for place in range(at, end) if parts[place][_SIGNER] != self._signer), end)

    def _take_readings(
        self, first: int, entries: Sequence[bytes], parts: Sequence[tuple[str, ...]], links: list[str]
    ) -> bool:
        """Check such readings at once.

        Returns:
            False if there are none, or a fault is in one: nothing is noted, `take_any` looks at each.
        """
        if not parts:
            return False
        flags, q, sensor, _, prev, seqs, dev, times, boots, monos, states, sigs = zip(*parts, strict=True)
        if (
            list(prev) != links
            or list(seqs) != [str(seq) for seq in range(first, first + len(seqs))]
            or boots.count(self._boot) != len(boots)
        ):
            return False
        before = Mark(self._t_ms, self._mono_ms, self._boot, self._kind)
        last = follow(before, times, monos, heartbeat_s=self._beat_s, latest_ms=self._latest_ms)
        signatures = signatures_of(entries, sigs)
        if last is None or signatures is None or not self._are_signed(sigs, signatures):
            return False
        self._t_ms, self._mono_ms, self._boot, self._kind = last
        self.kinds["reading"] += len(seqs)
        self.times += min(times), max(times)
        self.unsynchronised += states.count("unsynchronised")
        if self._header:
            self.table.append(rows_of_readings(tuple(zip(flags, q, sensor, seqs, dev, times, strict=True))))
        return True

    def _are_signed(self, texts: Collection[str], signatures: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether readings bear the signatures that they need here; the hopeful say so before they know."""
        if not self.rules.is_signature_checked:
            return True
        if self._policy.mode != "checkpoint" and "" in texts:
            return False
        hashed = [(sig, sha256(body).digest()) for sig, body in signatures]
        if self._is_hopeful:
            self.unverified.setdefault(self._key, []).extend(hashed)
            return True
        return are_signed(self._key, hashed)

    def take_any(self, seq: int, raw: bytes) -> None:
        """Check whatever stands there, and note each fault."""
        usual = parse_usual(raw)
        try:
            if usual is None or usual.kind in _READ_WHOLE:
                self._take_whole(seq, parse_entry(raw))
            else:
                self._take(seq, usual)
                if self._header:
                    self.table.append(rows_of_usual(usual))
        except InputError as error:
            self.fault(Verdict.MALFORMED, seq, str(error))
            self._boot = ""

    def _take_whole(self, seq: int, entry: Entry) -> None:
        """Check an entry whose contents matter, or are laid out in another way than a reading's."""
        mono = entry.tq["mono"]
        self._silent = SENSOR_GAP if (entry.kind, entry.data.get("cause")) == ("gap", "silent") else ""
        if entry.kind == "boot" and self._boot and self._kind == "clock":
            self.faults = without_silence(self.faults, seq - 1)
            self.is_start = self.is_start or seq - 1 == self.first
        self._take(
            seq,
            Usual(
                entry.body,
                "",
                "",
                "",
                entry.kid,
                entry.kind,
                entry.log,
                entry.prev,
                entry.seq,
                "",
                entry.t,
                str(entry.tq["boot"]),
                mono if isinstance(mono, int) else 0,
                str(entry.tq["s"]),
                entry.sig,
            ),
        )
        policy = self.rules.policy
        if seq == 0 and entry.kind == "genesis" and (field := differing(policy, entry)):
            self.fault(Verdict.GENESIS, seq, f"its {field} is {entry.data.get(field)}, not what is trusted")
        if entry.kind == "prune":
            self.prunings.append(entry)
        if self._header:
            self.table.append(rows_of(entry))

    def _take(self, seq: int, entry: Usual) -> None:
        """Check what every entry has."""
        kind, prev = entry.kind, entry.prev
        if seq == self.first:
            self.prev = self.expected = prev
        if self.rules.is_signature_checked:
            self._verify(seq, entry)
        if entry.log != self._policy.origin:
            self.fault(Verdict.FOREIGN, seq, f"log is {entry.log}, expected {self._policy.origin}")
        if entry.seq != seq:
            self.fault(Verdict.GAP, seq, f"seq is {entry.seq}, expected {seq}")
        if prev != self.expected:
            self.fault(Verdict.BROKEN_CHAIN, seq, f"prev is {prev}, expected {self.expected}")
        if (seq == 0) != (kind == "genesis"):
            self.fault(Verdict.GENESIS, seq, f"entry {seq} is of kind {kind}")
        self.kinds[kind] += 1
        self.times.append(entry.t)
        self.unsynchronised += entry.state == "unsynchronised"
        self._time(seq, entry)

    def _verify(self, seq: int, entry: Usual) -> None:
        """Check the entry's signature with the key that is active at the seq which it states.

        Where that is not its place, something is missing or moved: a gap, and not another key's work.
        """
        key = self._key if entry.seq == seq else self.rules.record_key(entry.seq)[0]
        mode = RECORD if entry.kind == "key" else self._policy.mode
        if reason := verify_entry(key, mode, entry):
            self.fault(Verdict(reason), seq, f"kind {entry.kind}, kid {entry.kid}")

    def _turn(self, seq: int) -> None:
        """Take the rules that hold from here on, and until where: key, heartbeats, latest time."""
        self._key, key_end = self.rules.record_key(seq)
        self._beat_s, beat_end = self.rules.heartbeat(seq)
        t, anchor_end = self.rules.anchor(seq)
        self._until = min(key_end, beat_end, anchor_end)
        self._signer = signer_of(key_id(self._key), self._policy.origin)
        self._latest_ms = t * 1000 + DRIFT_MS

    def _time(self, seq: int, entry: Usual) -> None:
        """Hold an entry's time against the one before and against the cosignature that covers it."""
        after = Mark(millis(entry.t), entry.mono, entry.boot, self._silent or entry.kind)
        self._silent = ""
        if seq == self.first:
            self.head = after
        elif self.before is not None and (odd := between(self.before, after, self._beat_s)):
            self.fault(odd[0], seq, odd[1])
        self._t_ms, self._mono_ms, self._boot, self._kind = after
        if after.t_ms > self._latest_ms:
            detail = f"its time {entry.t} lies behind the cosignature over it, {self.rules.anchor(seq)[0]} s"
            self.fault(Verdict.CLOCK_DRIFT, seq, detail)

    def stretch(self) -> Stretch:
        """Give what was found."""
        rows = "".join(self.table)
        table = (rows_before(rows) if self._header == HEADER_BEFORE else rows).encode()
        return Stretch(
            first=self.first,
            prev=self.prev,
            count=len(self.leaves),
            last=self.leaves[-1].hex() if self.leaves else "",
            subtrees=tuple(fold(self.first, b"".join(self.leaves), self.rules.sizes)),
            faults=tuple(in_order(self.faults)[:MAX_FAULTS]),
            kinds=self.kinds,
            earliest=min(self.times, default=""),
            latest=max(self.times, default=""),
            unsynchronised=self.unsynchronised,
            head=self.head,
            tail=self.before,
            is_start=self.is_start,
            prunings=tuple(self.prunings),
            table_size=len(table),
            table_sum=sha256(table).digest() if table else b"",
        )


def differing(policy: Policy, genesis: Entry) -> str | None:
    """Name the first field in which a genesis entry is not what is trusted."""
    expected = {
        "mode": policy.mode,
        "record_key": encode_base64(policy.record_key),
        "checkpoint_keys": [key.encode() for key in policy.checkpoint_keys],
    }
    return next((name for name, value in expected.items() if genesis.data.get(name) != value), None)
