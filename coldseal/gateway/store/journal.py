"""Seals and commits one group at a time, with the checkpoints and segment ends that fall due.

Promise: when :meth:`Journal.append` returns, the entries are signed, chained and on disk; when it
raises, none of them is, and the chain stands where it stood. One caller at a time.
Does not decide what is recorded and answers nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from coldseal.core.log import canonical
from coldseal.gateway.clock import render_time
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.sealing import Draft
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.store.sealing import Sealer


_log = Log("gateway.journal")


class Projection(Protocol):
    """State that follows from the entries, written down now and then so that a start is quick."""

    def snapshot(self) -> bytes:
        """Write everything down."""


class Journal:
    """The log's one writer.

    Args:
        log: where entries are stored.
        sealer: makes them, on the chain that the log ends with.
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
        self._fixed_size = log.checkpoint_size
        self._fixed_at_ms = clock.now().mono_ms
        self._snapshot_size = log.size

    @property
    def size(self) -> int:
        """Entries on disk."""
        return self._log.size

    @property
    def checkpoint_size(self) -> int:
        """Entries below the newest checkpoint."""
        return self._fixed_size

    def checkpoint_age_s(self, now: Stamp) -> float:
        """Give the time since the newest checkpoint, or since the start if that is later, in seconds."""
        return (now.mono_ms - self._fixed_at_ms) / 1000

    def draft(self, kind: str, data: bytes, stamp: Stamp, src: bytes = b"{}") -> Draft:
        """Stamp what an entry will say."""
        return Draft(kind, render_time(stamp.t_ms), self._clock.tq_bytes(stamp), src, data)

    async def append(self, drafts: Sequence[Draft], projection: Projection, *, is_own: bool = False) -> None:
        """Seal drafts in order and commit them together.

        Args:
            drafts: what to seal; may be empty, then only a due checkpoint is made.
            projection: written down in the same commit when its turn has come.
            is_own: entries of the log's own, which may use the reserved space.

        Raises:
            UnavailableError: there is no room; nothing was sealed.
        """
        now = self._clock.now()
        if self._log.is_roll_due(now.t_ms):
            await self._roll(now, projection)
        before = self._sealer.chain
        try:
            await self._commit(drafts, projection, now, is_own=is_own, is_last=False)
        except BaseException:
            self._sealer.chain = before
            raise

    async def fix(self, projection: Projection, drafts: Sequence[Draft] = ()) -> None:
        """Commit entries of the log's own with a checkpoint over them, whether due or not."""
        before = self._sealer.chain
        try:
            await self._commit(drafts, projection, self._clock.now(), is_own=True, is_last=True)
        except BaseException:
            self._sealer.chain = before
            raise

    async def _roll(self, now: Stamp, projection: Projection) -> None:
        """Close the segment with an entry and a checkpoint, and begin the next."""
        first, last, reason = self._log.segment_first, self._log.size, self._log.roll_reason(now.t_ms)
        data: dict[str, canonical.Value] = {"first": first, "last": last, "reason": reason}
        await self.fix(projection, [self.draft("segment", canonical.encode(data), now)])
        await self._log.roll(now.t_ms)
        _log.emit(events.SEGMENT_CLOSED, first=first, last=last, reason=reason)

    async def _commit(
        self, drafts: Sequence[Draft], projection: Projection, now: Stamp, *, is_own: bool, is_last: bool
    ) -> None:
        """Seal, add the checkpoint and snapshot that are due, and store all of it at once."""
        entries = await self._sealer.seal(drafts) if drafts else []
        size = self._sealer.chain.size
        is_new = size > self._fixed_size
        is_due = (
            size - self._fixed_size >= self._entries or now.mono_ms - self._fixed_at_ms >= self._interval_ms
        )
        has_checkpoint = is_new and (is_last or is_due or not self._sealer.is_each_signed)
        has_snapshot = is_last or size - self._snapshot_size >= self._snapshot_entries
        if not entries and not has_checkpoint:
            return
        await self._log.commit(
            Group(
                entries=entries,
                chain=self._sealer.chain,
                checkpoint=self._sealer.checkpoint() if has_checkpoint else None,
                snapshot=projection.snapshot() if has_snapshot else None,
            ),
            is_own=is_own,
        )
        if has_checkpoint:
            self._fixed_size, self._fixed_at_ms = size, now.mono_ms
        if has_snapshot:
            self._snapshot_size = size
