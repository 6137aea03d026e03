"""Checks a run of entries by themselves, in any process: form, signature, place, link, and time.

Promise: every fault of every entry is found here, whatever else is wrong, but for what needs the rest of
the log: its tree, its checkpoints and the stretch before. `evidence` puts stretches together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.authorship import is_signed, verify_entry
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.keys import RECORD
from coldseal.core.log.record import key_id, parse_entry, parse_frames
from coldseal.core.log.rules import Fault, Policy, Rules, Verdict, in_order
from coldseal.core.log.signed import Usual, expect, parse_expected, parse_usual
from coldseal.core.log.table import rows_of, rows_of_parts, rows_of_usual
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coldseal.core.log.record import Entry

MAX_FAULTS: Final = 100
"""Faults kept in one report or stretch; the first ones tell where to look."""

STEP_MS: Final = 250
STEP_PPM: Final = 1000
"""How far wall and boot clock may part between two entries: this, and so much of the time between them."""

DRIFT_MS: Final = 120_000
"""How far an entry's time may lie behind the cosignature that covers it."""

SILENT_BEATS, SILENT_MS = 2.5, 5_000
"""Heartbeats, and milliseconds on top, after which silence must be explained."""

SENSOR_GAP: Final = "gap of a sensor"  # in place of a kind: such a `gap` explains no silence of the log

_READ_WHOLE: Final = frozenset({"boot", "genesis", "prune"})
"""Kinds of which more is checked than every entry has."""

_SECOND: Final = 19
"""Characters of a time before its milliseconds."""

QUIET_MS: Final = SILENT_MS
"""No promise of heartbeats makes so short a time a silence."""


class Mark(NamedTuple):
    """An entry's place in time.

    Attributes:
        t_ms: UTC milliseconds.
        mono_ms: milliseconds since boot.
        boot: which boot.
        kind: of the entry; `SENSOR_GAP` for a gap that is a sensor's and not the log's.
    """

    t_ms: int
    mono_ms: int
    boot: str
    kind: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one process found in a run of entries; the stretches of a log are then joined.

    Attributes:
        first: seq of its first entry.
        prev: what that entry names as its predecessor, hex; empty if it could not be read.
        leaves: leaf hashes of all entries, 32 bytes each.
        faults: the most fundamental :data:`MAX_FAULTS` faults inside.
        kinds: how many entries of each kind.
        earliest: least time of acceptance, RFC 3339; empty if there is none.
        latest: greatest time of acceptance.
        unsynchronised: entries whose clock was not synchronised.
        head: the first entry's place in time; None if it could not be read.
        tail: the last one's.
        is_start: whether its first two entries are a `clock` and a `boot`: silence before them is explained.
        prunings: entries that say what was pruned, for they name a proof.
        table: the entries' rows in the table of readings, where they were asked for.
    """

    first: int
    prev: str = ""
    leaves: bytes = b""
    faults: tuple[Fault, ...] = ()
    kinds: Counter[str] = field(default_factory=Counter)
    earliest: str = ""
    latest: str = ""
    unsynchronised: int = 0
    head: Mark | None = None
    tail: Mark | None = None
    is_start: bool = False
    prunings: tuple[Entry, ...] = ()
    table: str = ""


def examine(rules: Rules, first: int, frames: bytes, *, is_tabled: bool = False) -> Stretch:
    """Check a run of entries by themselves: form, signature, seq, link and time to the one before.

    Args:
        rules: what they are held against.
        first: the seq that the first entry must have.
        frames: framed entries.
        is_tabled: give their rows in the table of readings.

    Raises:
        InputError: the framing is cut.
    """
    return examine_entries(rules, first, parse_frames(frames), is_tabled=is_tabled)


def examine_entries(
    rules: Rules, first: int, entries: Sequence[bytes], *, is_tabled: bool = False
) -> Stretch:
    """Do the same with entries that are out of their frames."""
    found = _Examination(rules, first, is_tabled=is_tabled)
    for seq, raw in enumerate(entries, first):
        leaf = sha256(b"\x00" + raw).digest()  # as leaf_hash; this is the hot path
        if not found.take_expected(seq, raw):
            found.take_any(seq, raw)
        found.leaves.append(leaf)
        found.expected = leaf.hex()
    return found.stretch()


class _Examination:
    """What is known while a stretch is examined."""

    def __init__(self, rules: Rules, first: int, *, is_tabled: bool) -> None:
        """Nothing was looked at yet."""
        self.rules = rules
        self.first = first
        self.prev = self.expected = ""
        self.leaves: list[bytes] = []
        self.faults: list[Fault] = []
        self.kinds: list[str] = []
        self.times: list[str] = []
        self.unsynchronised = 0
        self.head: Mark | None = None
        self.is_start = False
        self.prunings: list[Entry] = []
        self.table: list[str] = []
        self._policy = rules.policy
        self._is_tabled = is_tabled
        self._turn_key(first)
        self._t_ms = self._mono_ms = 0
        self._boot = self._kind = self._second = self._silent = ""
        self._second_ms = 0
        self._beat_s, self._beat_end = rules.heartbeat(first)
        self._turn_anchor(first)

    def fault(self, verdict: Verdict, seq: int, detail: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(verdict, seq, detail))

    @property
    def before(self) -> Mark | None:
        """The place in time of the entry before; None if it could not be read."""
        return Mark(self._t_ms, self._mono_ms, self._boot, self._kind) if self._boot else None

    def take_expected(self, seq: int, raw: bytes) -> bool:
        """Check a reading that stands where it should, as most do.

        Returns:
            False for any other entry, and for one with a fault: nothing is noted, `take_any` looks at it.
        """
        if seq >= self._key_end:
            self._turn_key(seq)
        if not self._boot or not self._expect:
            return False
        found = parse_expected(raw, f'{self._expect}{self.expected}","seq":{seq},"src":')
        if found is None:
            return False
        quantities, dev, t, boot, mono, state, sig, body = found
        if t[:_SECOND] != self._second:
            self._second, self._second_ms = t[:_SECOND], millis(t) - int(t[_SECOND + 1 : -1])
        t_ms, mono_ms = self._second_ms + int(t[_SECOND + 1 : -1]), int(mono)
        passed = t_ms - self._t_ms
        if seq >= self._anchor_end:
            self._turn_anchor(seq)
        if (
            boot != self._boot
            or t_ms > self._latest_ms
            or (
                not (0 <= passed <= QUIET_MS and -STEP_MS <= passed - mono_ms + self._mono_ms <= STEP_MS)
                and self._odd(seq, Mark(t_ms, mono_ms, boot, "reading"))
            )
            or (self.rules.is_signature_checked and not self._is_signed(sig, body))
        ):
            return False
        self._t_ms, self._mono_ms, self._kind = t_ms, mono_ms, "reading"
        self.kinds.append("reading")
        self.times.append(t)
        self.unsynchronised += state == "unsynchronised"
        if self._is_tabled:
            self.table.append(rows_of_parts(seq, t, dev, quantities.groups()))
        return True

    def _is_signed(self, sig: bytes | None, body: bytes) -> bool:
        """Whether an entry bears the signature that it needs here."""
        return self._policy.mode == "checkpoint" if sig is None else is_signed(self._key, sig, body)

    def take_any(self, seq: int, raw: bytes) -> None:
        """Check whatever stands there, and note each fault."""
        usual = parse_usual(raw)
        try:
            if usual is None or usual.kind in _READ_WHOLE:
                self._take_whole(seq, parse_entry(raw))
            else:
                self._take(seq, usual)
                if self._is_tabled:
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
                None,
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
        if self._is_tabled:
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
        self.kinds.append(kind)
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

    def _turn_key(self, seq: int) -> None:
        """Take the key that signs from here on."""
        self._key, self._key_end = self.rules.record_key(seq)
        self._expect = expect(key_id(self._key), self._policy.origin)

    def _time(self, seq: int, entry: Usual) -> None:
        """Hold an entry's time against the one before and against the cosignature that covers it."""
        after = Mark(millis(entry.t), entry.mono, entry.boot, self._silent or entry.kind)
        self._silent = ""
        if seq == self.first:
            self.head = after
        elif odd := self._odd(seq, after):
            self.fault(odd[0], seq, odd[1])
        self._t_ms, self._mono_ms, self._boot, self._kind = after
        if seq >= self._anchor_end:
            self._turn_anchor(seq)
        if after.t_ms > self._latest_ms:
            detail = f"its time {entry.t} lies behind the cosignature over it, {self.rules.anchor(seq)[0]} s"
            self.fault(Verdict.CLOCK_DRIFT, seq, detail)

    def _odd(self, seq: int, after: Mark) -> tuple[Verdict, str] | None:
        """Say what is wrong with the time between an entry and the one before."""
        if seq >= self._beat_end:
            self._beat_s, self._beat_end = self.rules.heartbeat(seq)
        return None if self.before is None else between(self.before, after, self._beat_s)

    def _turn_anchor(self, seq: int) -> None:
        """Take the latest time in milliseconds that entries may have from here on."""
        t, self._anchor_end = self.rules.anchor(seq)
        self._latest_ms = t * 1000 + DRIFT_MS

    def stretch(self) -> Stretch:
        """Give what was found."""
        return Stretch(
            first=self.first,
            prev=self.prev,
            leaves=b"".join(self.leaves),
            faults=tuple(in_order(self.faults)[:MAX_FAULTS]),
            kinds=Counter(self.kinds),
            earliest=min(self.times, default=""),
            latest=max(self.times, default=""),
            unsynchronised=self.unsynchronised,
            head=self.head,
            tail=self.before,
            is_start=self.is_start,
            prunings=tuple(self.prunings),
            table="".join(self.table),
        )


def between(before: Mark, after: Mark, heartbeat_s: int) -> tuple[Verdict, str] | None:
    """Say what is wrong with the time between two entries that follow each other.

    Args:
        before: the one.
        after: the other.
        heartbeat_s: seconds within which an entry was promised; 0 if none was.
    """
    span = after.t_ms - before.t_ms
    if before.boot == after.boot:
        passed = after.mono_ms - before.mono_ms
        parted = abs(span - passed)
        if (
            parted > STEP_MS
            and after.kind != "clock"
            and parted > STEP_MS + abs(passed) * STEP_PPM // 1_000_000
        ):
            return Verdict.CLOCK_STEP, f"{span} ms by the wall clock, {passed} ms by the one that never steps"
        span = passed
    elif after.kind not in {"boot", "clock"}:
        return (
            Verdict.CLOCK_STEP,
            f"the machine was started anew ({before.boot}, {after.boot}) without a word",
        )
    if (
        heartbeat_s
        and span > heartbeat_s * 1000 * SILENT_BEATS + SILENT_MS
        and after.kind not in {"boot", "gap"}
    ):
        return Verdict.SILENCE, f"no entry for {span} ms, a heartbeat was promised every {heartbeat_s} s"
    return None


def without_silence(faults: Iterable[Fault], seq: int) -> list[Fault]:
    """Take away the silence before a `clock` entry: the `boot` directly behind it explains it.

    A gateway that starts on a clock which has stepped seals the one before the other.
    """
    return [fault for fault in faults if (fault.verdict, fault.seq) != (Verdict.SILENCE, seq)]


def differing(policy: Policy, genesis: Entry) -> str | None:
    """Name the first field in which a genesis entry is not what is trusted."""
    expected = {
        "mode": policy.mode,
        "record_key": encode_base64(policy.record_key),
        "checkpoint_keys": [key.encode() for key in policy.checkpoint_keys],
    }
    return next((name for name, value in expected.items() if genesis.data.get(name) != value), None)


def millis(t: str) -> int:
    """Give a time of an entry in UTC milliseconds since 1970."""
    return _minute(t[:16]) + int(t[17:19]) * 1000 + int(t[20:23])


@lru_cache(maxsize=1024)
def _minute(text: str) -> int:
    """Give the first millisecond of a minute; cached, because many entries share one."""
    return int(datetime.fromisoformat(f"{text}:00+00:00").timestamp()) * 1000
