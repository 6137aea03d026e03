"""The log's one writer: seals groups onto the tip of the chain, then makes them durable, in that order.

Promise: when :meth:`Journal.commit` returns, a group is signed, chained and on disk; when it raises,
neither it nor any sealed behind it is, and the chain stands where the disk does. The next group may be
sealed while one commits. Checkpoints and segment ends that fall due are part of a group. Answers nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log import canonical
from coldseal.errors import UnavailableError
from coldseal.gateway.clock import render_time
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.sealing import Draft
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldseal.core.log.record import Chain
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.store.sealing import Sealer

DAY_MS: Final = 86_400_000

_log = Log("gateway.journal")


class Sealed(msgspec.Struct, frozen=True):
    """A group that is sealed and not on disk yet.

    Args:
        group: what is to be committed.
        attempt: which run of the chain it was sealed in: a failed commit begins a new one.
        is_own: it may use the reserved space.
        ends: why the segment ends with it, ``entries`` or ``day``; empty if it goes on.
        t_ms: when it was sealed, UTC milliseconds.
    """

    group: Group | None
    attempt: int
    is_own: bool
    ends: str
    t_ms: int


class Journal:
    """Seals and commits; one caller seals at a time, and one commits, in the same order.

    Args:
        log: where entries are stored.
        sealer: makes them.
        clock: gives the moment.
        checkpoint_entries: entries after which a checkpoint is due.
        checkpoint_seconds: seconds after which one is due, if anything is new.
        snapshot_entries: entries after which the projection is written down.
    """

    def __init__(  # the settings of one deep part
        self,
        log: EntryLog,
        sealer: Sealer,
        clock: Clock,
        *,
        checkpoint_entries: int,
        checkpoint_seconds: float,
        snapshot_entries: int = 16_384,
    ) -> None:
        """Take the parts; nothing is written yet."""
        self._log, self._sealer, self._clock = log, sealer, clock
        self._entries, self._interval_ms = checkpoint_entries, checkpoint_seconds * 1000
        self._snapshot_entries = snapshot_entries
        self._attempt = 0
        self._snapshot_size = log.size
        self._fixed_at_ms = clock.now().mono_ms
        self._stamp: Stamp | None = None
        self._moment = "", b""
        self._tip: Chain
        self._fixed = self._first = self._day = 0
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
            self._stamp = stamp
            self._moment = render_time(stamp.t_ms), self._clock.tq_bytes(stamp)
        return Draft(kind, *self._moment, src, data)

    async def seal(
        self,
        drafts: Sequence[Draft],
        snapshot: Callable[[], bytes],
        *,
        is_own: bool = False,
        is_fixed: bool = False,
    ) -> Sealed:
        """Seal drafts in order onto the tip of the chain.

        Args:
            drafts: what to seal; may be empty, then only what is due is made.
            snapshot: writes down the projection of all entries up to these; asked when its turn has come.
            is_own: entries of the log's own, which may use the reserved space.
            is_fixed: a checkpoint is made over them, whether due or not.

        Raises:
            UnavailableError: a commit failed meanwhile; these drafts are not sealed.
        """
        attempt, now = self._attempt, self._clock.now()
        entries, chain = await self._sealer.seal(self._tip, drafts)
        ends = self._ending(chain.size, now)
        if ends:
            data: dict[str, canonical.Value] = {"first": self._first, "last": chain.size, "reason": ends}
            last = self.draft("segment", canonical.encode(data), now)
            (closing,), chain = await self._sealer.seal(chain, [last])
            entries.append(closing)
        if attempt != self._attempt:
            raise UnavailableError("the log", "the group before this one could not be written")
        self._tip = chain
        has_checkpoint = chain.size > self._fixed and (
            is_fixed or bool(ends) or self._is_due(chain.size, now)
        )
        has_snapshot = is_fixed or chain.size - self._snapshot_size >= self._snapshot_entries
        if not entries and not has_checkpoint:
            return Sealed(None, attempt, is_own, "", now.t_ms)
        if has_checkpoint:
            self._fixed, self._fixed_at_ms = chain.size, now.mono_ms
        if has_snapshot:
            self._snapshot_size = chain.size
        if ends:
            self._first, self._day = chain.size, now.t_ms // DAY_MS
        note = self._sealer.checkpoint(chain) if has_checkpoint else None
        group = Group(
            entries=entries, chain=chain, checkpoint=note, snapshot=snapshot() if has_snapshot else None
        )
        return Sealed(group, attempt, is_own, ends, now.t_ms)

    async def commit(self, sealed: Sealed) -> None:
        """Make a sealed group durable, and end the segment behind it if that is due.

        Raises:
            UnavailableError: nothing of it was written; everything sealed since is void.
        """
        if sealed.attempt != self._attempt:
            raise UnavailableError("the log", "the group before this one could not be written")
        if sealed.group is None:
            return
        try:
            await self._log.commit(sealed.group, is_own=sealed.is_own)
        except BaseException:
            self._attempt += 1
            self._begin_attempt()
            raise
        if sealed.ends:
            await self._roll(sealed)

    async def append(self, drafts: Sequence[Draft], snapshot: Callable[[], bytes]) -> None:
        """Seal and commit entries of the log's own, with a checkpoint over them."""
        await self.commit(await self.seal(drafts, snapshot, is_own=True, is_fixed=True))

    async def _roll(self, sealed: Sealed) -> None:
        """Begin the next segment; where that cannot be done now, a later group ends this one again."""
        first, last = self._log.segment_first, self._log.size - 1
        try:
            await self._log.roll(sealed.t_ms)
        except UnavailableError:
            self._first, self._day = self._log.segment_first, self._log.segment_day
            return
        _log.emit(events.SEGMENT_CLOSED, first=first, last=last, reason=sealed.ends)

    def _begin_attempt(self) -> None:
        """Put the tip back to where the disk is."""
        self._tip = self._log.chain
        self._fixed = self._log.checkpoint_size
        self._first, self._day = self._log.segment_first, self._log.segment_day

    def _is_due(self, size: int, now: Stamp) -> bool:
        """Tell whether a checkpoint is due; entries without signatures need one in each group."""
        return (
            not self._sealer.is_each_signed
            or size - self._fixed >= self._entries
            or now.mono_ms - self._fixed_at_ms >= self._interval_ms
        )

    def _ending(self, size: int, now: Stamp) -> str:
        """Say why the segment ends here, or nothing: it is long enough, or a new day has begun."""
        count = size - self._first
        if count >= self._log.segment_entries:
            return "entries"
        return "day" if count and now.t_ms // DAY_MS != self._day else ""
