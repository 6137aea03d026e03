"""The log's one writer: has groups sealed onto the tip of the chain, and makes them durable, in that order.

Promise: when :meth:`Journal.commit` returns, a group is signed, chained and on disk; when it raises,
neither it nor any handed over behind it is, and the chain stands where the disk does. Groups may be handed
over while one commits. Checkpoints and segment ends that fall due are part of a group. Answers nobody.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log import canonical
from coldseal.core.log.record import parse_entry
from coldseal.errors import UnavailableError
from coldseal.gateway.clock import render_time
from coldseal.gateway.store.clockwatch import ClockWatch, moment_of
from coldseal.gateway.store.drafts import Draft
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import PrunedError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Mapping, Sequence

    from coldseal.core.log.record import Chain
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.store.clockwatch import Moment
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.store.sealing import Entries, Keys, Sealer

    Snapshot = Callable[[], bytes | Callable[[], bytes]]
    """Writes the projection down, or gives what does so in a thread."""

DAY_MS: Final = 86_400_000
SETTINGS: Final = frozenset({"genesis", "key", "config", "profile", "calibration"})
"""Kinds of entries that say what the log is and how readings are judged; they are kept at hand."""

NOTABLE: Final = frozenset(
    {"excursion", "gap", "alarm", "ack", "disposition", "import", "profile", "calibration", "config"}
)
"""Kinds of entries that others are told of once they are on disk."""

URGENT: Final = frozenset({"excursion"})
"""Kinds of entries that get a checkpoint at once."""

_MARKED: Final = SETTINGS | NOTABLE
_log = Log("gateway.journal")


class Handed(msgspec.Struct, frozen=True):
    """A group that was handed over to be sealed, and is not on disk yet.

    Args:
        entries: what it becomes; None where there is nothing to commit.
        attempt: which run of the chain it belongs to: a failed commit begins a new one.
        is_own: it may use the reserved space.
        has_checkpoint: a checkpoint is made over it.
        is_bare: it changes the keys, and is nothing without its checkpoint.
        snapshot: the projection of all entries up to it, where it is written down; or what writes that.
        ends: why the segment ends with it, ``entries`` or ``day``; empty if it goes on.
        t_ms: when it was handed over, UTC milliseconds.
        moment: what its last entry says of the clock.
        added: places of the `clock` entries in it that nobody handed over.
        settings: places of the entries in it that say what the log is.
        notable: places of those that others are told of.
    """

    entries: Future[Entries | None] | None
    attempt: int
    is_own: bool
    has_checkpoint: bool = False
    is_bare: bool = False
    snapshot: bytes | Callable[[], bytes] | None = None
    ends: str = ""
    t_ms: int = 0
    moment: Moment | None = None
    added: tuple[int, ...] = ()
    settings: tuple[int, ...] = ()
    notable: tuple[int, ...] = ()

    def sealed(self) -> list[bytes]:
        """Give the entries that its drafts became, in their order; once it is committed."""
        found = None if self.entries is None else self.entries.result()
        entries = [] if found is None else found.entries
        return [raw for place, raw in enumerate(entries) if place not in self.added]


class Journal:
    """Has groups sealed and commits them, in the order in which they were handed over.

    Args:
        log: where entries are stored.
        sealer: makes them.
        clock: gives the moment.
        checkpoint_entries: entries after which a checkpoint is due.
        checkpoint_seconds: seconds after which one is due, if anything is new.
        pause_s: least seconds between two by a chip or token that are due for their entries.
        snapshot_entries: entries after which the projection is written down.
        heard: told of the entries of the kinds `NOTABLE`, in their order, once they are on disk.

    Attributes:
        heard: the same.
        key_fault: why the checkpoint key cannot sign now; until it can, entries go on without checkpoints.
    """

    def __init__(  # the settings of one deep part
        self,
        log: EntryLog,
        sealer: Sealer,
        clock: Clock,
        *,
        checkpoint_entries: int,
        checkpoint_seconds: float,
        pause_s: float = 0,
        snapshot_entries: int = 16_384,
        heard: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        """Take the parts; nothing is written yet."""
        self._log, self._sealer, self._clock = log, sealer, clock
        self._entries, self._interval_ms = checkpoint_entries, checkpoint_seconds * 1000
        self._snapshot_entries, self._pause_ms = snapshot_entries, pause_s * 1000
        self.heard = heard
        self.key_fault = ""
        self._attempt = 0
        self._is_urgent = False
        self._snapshot_size = log.size
        self._fixed_at_ms = clock.now().mono_ms
        self._stamp: Stamp | None = None
        self._moment = "", b""
        self._doubts: tuple[str, ...] = ()
        self._durable = _last_moment(log)
        self._watch = ClockWatch(self._durable)
        self._boot_first = _first_of_boot(log, clock.status().boot, self._durable)
        self._size = self._fixed = self._first = self._day = 0
        self._begin_attempt()

    @property
    def checkpoint_size(self) -> int:
        """Entries below the newest checkpoint on disk."""
        return self._log.checkpoint_size

    def checkpoint_age_s(self, now: Stamp) -> float:
        """Give the time since the newest checkpoint, or since the start if that is later, in seconds."""
        return (now.mono_ms - self._fixed_at_ms) / 1000

    def draft(self, kind: str, data: bytes, stamp: Stamp, src: bytes = b"{}") -> Draft:
        """Stamp what an entry will say; messages that came in one read share their stamp."""
        if stamp is not self._stamp:
            self._turn(stamp)
        t, tq = self._moment
        return Draft(kind, t, tq, src, data)

    def doubts(self, stamp: Stamp) -> tuple[str, ...]:
        """Give the flags for a reading with this stamp: that its time may be off, as its ``tq`` will say."""
        if stamp is not self._stamp:
            self._turn(stamp)
        return self._doubts

    def _turn(self, stamp: Stamp) -> None:
        """Take a new stamp, and what the clock says of it."""
        self._stamp = stamp
        self._moment = render_time(stamp.t_ms), self._clock.tq_bytes(stamp)
        self._doubts = self._clock.doubts
        self._watch.look(stamp, self._moment[1])

    def hand_over(
        self,
        drafts: Sequence[Draft],
        snapshot: Snapshot,
        *,
        is_own: bool = False,
        is_fixed: bool = False,
        is_bare: bool = False,
    ) -> Handed:
        """Hand drafts over to be sealed in order, behind all that was handed over before.

        Args:
            drafts: what to seal; may be empty, then only what is due is made.
            snapshot: writes down the projection of all entries up to these; asked at once, if at all.
            is_own: entries of the log's own, which may use the reserved space.
            is_fixed: a checkpoint is made over them, whether due or not.
            is_bare: nothing is sealed with them: neither the end of a segment nor a word on the clock.
        """
        now = self._clock.now()
        added: tuple[int, ...] = ()
        ends = "" if is_bare or self.key_fault else self._ending(self._size + len(drafts), now)
        if not is_bare:
            drafts, added = self._explained(drafts, now, is_last=bool(ends))
        size = self._size + len(drafts)
        if ends:
            data: dict[str, canonical.Value] = {"first": self._first, "last": size, "reason": ends}
            drafts = [*drafts, self.draft("segment", canonical.encode(data), now)]
            size += 1
        marked = [(place, draft.kind) for place, draft in enumerate(drafts) if draft.kind in _MARKED]
        self._is_urgent = self._is_urgent or any(kind in URGENT for _, kind in marked)
        has_checkpoint = size > self._fixed and (is_fixed or bool(ends) or self._is_due(size, now))
        has_checkpoint = has_checkpoint and (is_bare or not self.key_fault)
        if not drafts and not has_checkpoint:
            return Handed(None, self._attempt, is_own)
        entries = self._sealer.seal(drafts)
        self._size = size
        if has_checkpoint:
            self._fixed, self._fixed_at_ms, self._is_urgent = size, now.mono_ms, False
        taken = None
        if is_fixed or size - self._snapshot_size >= self._snapshot_entries:
            self._snapshot_size, taken = size, snapshot()
        if ends:
            self._first, self._day = size, now.t_ms // DAY_MS
        settings = tuple(place for place, kind in marked if kind in SETTINGS)
        notable = tuple(place for place, kind in marked if kind in NOTABLE)
        return Handed(
            entries, self._attempt, is_own, has_checkpoint, is_bare, taken, ends, now.t_ms,
            self._watch.sealed, added, settings, notable,
        )  # fmt: skip

    async def commit(self, handed: Handed) -> None:
        """Make a group durable once it is sealed, and end the segment behind it if that is due.

        Raises:
            UnavailableError: nothing of it was written; everything handed over since is void.
        """
        if handed.attempt != self._attempt:
            raise UnavailableError("the log", "the group before this one could not be written")
        if handed.entries is None:
            return
        try:
            await self._commit(handed, await handed.entries)
        except BaseException:
            self._attempt += 1
            self._begin_attempt()
            raise
        self._durable = handed.moment
        sealed = handed.entries.result() if handed.notable else None
        if self.heard is not None and sealed is not None:
            self.heard([sealed.entries[place] for place in handed.notable])
        if self.key_fault:  # nothing was fixed, and no segment ended, since then
            self._fixed = self._log.checkpoint_size
            self._first, self._day = self._log.segment_first, self._log.segment_day
        elif handed.ends:
            await self._roll(handed)

    async def _commit(self, handed: Handed, sealed: Entries | None) -> None:
        """Write a group, with its checkpoint."""
        if sealed is None:
            raise UnavailableError("the log", "the chain was begun anew meanwhile")
        entries, chain = sealed
        chain.kid = self._sealer.kid
        note = await self._fix(chain, handed) if handed.has_checkpoint else None
        settings = [entries[place] for place in handed.settings]
        taken = handed.snapshot
        snapshot = taken if taken is None or isinstance(taken, bytes) else await to_thread(taken)
        group = Group(entries=entries, chain=chain, checkpoint=note, snapshot=snapshot, settings=settings)
        await self._log.commit(group, is_own=handed.is_own)

    async def _fix(self, chain: Chain, handed: Handed) -> bytes | None:
        """Sign the chain as it stands; None where the key's holder is away: entries are signed without it."""
        if self.key_fault and not handed.is_bare:
            return None
        try:
            return await self._sealer.fix(chain)
        except UnavailableError as error:
            if handed.is_bare or not self._sealer.is_each_signed:
                raise
            self.key_fault = str(error)
            return None

    async def probe(self) -> None:
        """Try whether the checkpoint key signs again; from then on checkpoints are made as before.

        Raises:
            UnavailableError: chip or token is still away.
        """
        await self._sealer.fix(self._log.chain.copy())
        self.key_fault = ""

    async def append(self, drafts: Sequence[Draft], snapshot: Snapshot) -> list[bytes]:
        """Seal and commit entries of the log's own, with a checkpoint over them; gives the entries."""
        handed = self.hand_over(drafts, snapshot, is_own=True, is_fixed=True)
        await self.commit(handed)
        return handed.sealed()

    async def change_keys(
        self, data: Callable[[int], Mapping[str, canonical.Value]], keys: Keys, snapshot: Snapshot
    ) -> None:
        """Seal a change of keys and use the new ones behind it; nothing else may be under way.

        Args:
            data: given the seq of the `key` entry, what it says.
            keys: all keys as they are from then on.
            snapshot: as for :meth:`hand_over`.

        Raises:
            UnavailableError: nothing was written; the keys are as they were.
        """
        # the process beside opens its key by name: until `renew`, it seals nothing
        await self.commit(self.hand_over([], snapshot, is_own=True))  # what is due, goes before
        draft = self.draft("key", canonical.encode(data(self._size)), self._clock.now())
        handed = self.hand_over([draft], snapshot, is_own=True, is_fixed=True, is_bare=True)
        before = self._sealer.change(keys)
        try:
            await self.commit(handed)
        except BaseException:
            self._sealer.change(before)
            raise
        self.key_fault = ""

    def renew(self) -> None:
        """Say that the key files are those in use: from now on whoever seals beside may open them."""
        self._sealer.renew()

    async def _roll(self, handed: Handed) -> None:
        """Begin the next segment; where that cannot be done now, a later group ends this one again."""
        first, last = self._log.segment_first, self._log.size - 1
        try:
            await self._log.roll(handed.t_ms)
        except UnavailableError:
            self._first, self._day = self._log.segment_first, self._log.segment_day
            return
        _log.emit(events.SEGMENT_CLOSED, first=first, last=last, reason=handed.ends)

    def _explained(
        self, drafts: Sequence[Draft], now: Stamp, *, is_last: bool
    ) -> tuple[Sequence[Draft], tuple[int, ...]]:
        """Have a `clock` entry put in wherever wall time stepped or the trust in it changed.

        Nothing to seal is the occasion to look at the clock itself.
        """
        probe = self.draft("clock", b"{}", now) if is_last or not drafts else None
        if drafts and self._watch.lets_pass(drafts[-1], now):
            return drafts, ()
        return self._watch.explain(drafts, probe, about=self._clock.provenance, first=self._boot_first)

    def _begin_attempt(self) -> None:
        """Put the tip back to where the disk is."""
        self._watch.put_back(self._durable)
        self._sealer.begin(self._log.chain)
        self._size = self._log.size
        self._fixed = self._log.checkpoint_size
        self._first, self._day = self._log.segment_first, self._log.segment_day

    def _is_due(self, size: int, now: Stamp) -> bool:
        """Tell whether a checkpoint is due; entries without signatures need one in each group."""
        return (
            not self._sealer.is_each_signed
            or ((self._is_urgent or size - self._fixed >= self._entries) and self._has_paused(now))
            or now.mono_ms - self._fixed_at_ms >= self._interval_ms
        )

    def _has_paused(self, now: Stamp) -> bool:
        """Tell whether a chip or token may be asked again: it signs a few times a second."""
        return not self._sealer.is_held or now.mono_ms - self._fixed_at_ms >= self._pause_ms

    def _ending(self, size: int, now: Stamp) -> str:
        """Say why the segment ends here, or nothing: it is long enough, or a new day has begun."""
        count = size - self._first
        if count >= self._log.segment_entries:
            return "entries"
        return "day" if count and now.t_ms // DAY_MS != self._day else ""


def _first_of_boot(log: EntryLog, boot: str, last: Moment | None) -> int:
    """Find the first entry of this boot that is still here: those of one boot stand together in a log."""
    if last is None or last.boot != boot:
        return log.size
    first, known = 0, log.size - 1
    while first < known:
        middle = (first + known) // 2
        if _boot_of(log, middle) == boot:
            known = middle
        else:
            first = middle + 1
    return known


def _boot_of(log: EntryLog, seq: int) -> str:
    """Name the boot of an entry; nothing, where it was pruned or lost."""
    try:
        (raw,) = log.reader.read(seq, max_entries=1)
    except (LostError, PrunedError):
        return ""
    return str(parse_entry(raw).tq["boot"])


def _last_moment(log: EntryLog) -> Moment | None:
    """Give what the log's last entry says of the clock."""
    for raw in log.reader.read(log.size - 1, max_entries=1) if log.size else ():
        entry = parse_entry(raw)
        return moment_of(entry.t, entry.tq)
    return None
