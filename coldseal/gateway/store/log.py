"""The gateway's log on disk: what `commit` returned from is durable, what it raised for may be redone.

One writer for a directory, one group at a time. Opening replays only the tail, and refuses a log
that has lost anything it once held. Entries come sealed: nothing here makes or signs one, decides
when a checkpoint is due, or repairs.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from coldseal.core.log.merkle import CompactRange, leaf_hash, node_hash
from coldseal.core.log.record import frame
from coldseal.errors import ColdsealError, TrustError, UnavailableError
from coldseal.gateway.store.database import PAGE_BYTES, DatabaseError, StoreFullError, translated
from coldseal.gateway.store.disk import DISK, Disk
from coldseal.gateway.store.head import Head
from coldseal.gateway.store.opening import CHAIN, DAY, SETTINGS, SNAPSHOT, chain_state, open_store
from coldseal.gateway.store.packing import Packer
from coldseal.gateway.store.reader import SPAN_LEVEL, TILE_LEVEL
from coldseal.gateway.store.segments import (
    ENDED,
    Addition,
    Segment,
    State,
    create_segment,
    list_segments,
    publish_segment,
    settle_segment,
)
from coldseal.gateway.store.space import Limits, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from coldseal.core.log.record import Chain
    from coldseal.gateway.store.opening import Opened

__all__ = ["Group", "Limits", "Log", "StoreFailedError", "StoreFullError"]

_DAY_MS = 86_400_000
_MIB = 1024 * 1024


class StoreFailedError(TrustError):
    """Nobody can tell any more what is on disk: the log takes nothing until it is opened again."""

    verdict = "store-failed"

    def __init__(self, why: str) -> None:
        """Keep the reason."""
        self.why = why
        super().__init__(f"the log must be opened again before it takes more: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is committed together.

    Args:
        entries: sealed entries, in order; may be empty beside a checkpoint.
        chain: the chain behind them.
        checkpoint: a signed checkpoint over all entries up to here.
        snapshot: the owner's projection of all entries up to here; a start replays only later ones.
        settings: those of the entries that say what the log is: its genesis, keys and configuration.
    """

    entries: Sequence[bytes]
    chain: Chain
    checkpoint: bytes | None = None
    snapshot: bytes | None = None
    settings: Sequence[bytes] = ()


class Log:
    """The log's one writer, among all processes; `open` makes it.

    Attributes:
        reader: reads what is on disk; for the loop's thread only.
        replayed: entries that opening had to look at.
        checkpoint_size: entries below the newest checkpoint.
        packer: packs what has ended.
    """

    def __init__(self, opened: Opened, directory: Path, key: bytes, limits: Limits, disk: Disk) -> None:
        """Take what `open` has established."""
        self.reader = opened.reader
        self.replayed = opened.replayed
        self.checkpoint_size = opened.checkpoint_size
        self._directory, self._key, self._limits, self._disk = directory, key, limits, disk
        self._resources, self._head, self._segment = opened.resources, opened.head, opened.segment
        self._chain = opened.chain
        self._chain_written = opened.state[CHAIN].size
        self._snapshot = opened.state.get(SNAPSHOT)
        self._settings = opened.state[SETTINGS].value if SETTINGS in opened.state else b""
        self._day = int(opened.state[DAY].value)
        self._space = Space(directory, limits, disk)
        self._space.recount(self._segment.path, self._segment.wal)
        self.packer = Packer(directory, key, self._space, disk, lambda: self.size)
        self._failure = ""
        self._lock = asyncio.Lock()
        self._upkeep_due = asyncio.Event()
        self._committer = ThreadPoolExecutor(1, "commit")
        self._copier = ThreadPoolExecutor(1, "copy-wal")

    @classmethod
    def open(
        cls, directory: Path, key: bytes, limits: Limits, *, new: Chain, now_ms: int, disk: Disk = DISK
    ) -> Log:
        """Open the log in a directory, or make it there.

        Args:
            directory: the log's own directory.
            key: the store key, 32 bytes.
            limits: what bounds it.
            new: the chain that a new log begins with; an existing one must have its origin.
            now_ms: UTC now, in milliseconds since 1970.
            disk: what it lies on.

        Raises:
            OperatorError: another process writes it, or origin or store key are others.
            StoreDamagedError: something that the log once held is missing or wrong.
            UnavailableError: a file cannot be read or written.
        """
        opened = open_store(directory, key, new=new, day=now_ms // _DAY_MS, disk=disk)
        return cls(opened, directory, key, limits, disk)

    @property
    def size(self) -> int:
        """Entries on disk."""
        return self._chain.size

    @property
    def chain(self) -> Chain:
        """The chain behind the last entry on disk; a copy, to seal the next group onto."""
        return self._chain.copy()

    @property
    def segment_first(self) -> int:
        """Seq of the first entry in the segment that is being written."""
        return self._segment.first

    @property
    def segment_day(self) -> int:
        """The UTC day that it was begun on, in days since 1970."""
        return self._day

    @property
    def segment_entries(self) -> int:
        """Entries that a segment holds at most."""
        return self._limits.segment_entries

    @property
    def snapshot(self) -> bytes | None:
        """The newest snapshot that opening found; None if there is none."""
        return None if self._snapshot is None else self._snapshot.value

    @property
    def replay(self) -> Iterator[bytes]:
        """The entries behind that snapshot, in order, read as they are asked for."""
        return self.reader.read_from(0 if self._snapshot is None else self._snapshot.size)

    def used_bytes(self) -> int:
        """Give the size of the log's directory."""
        return self._space.used()

    @property
    def space(self) -> Space:
        """What room there is."""
        return self._space

    def close_room(self, is_closed: bool) -> None:  # noqa: FBT001 -- a fault is begun or ended
        """Behave as if there were no room for ordinary entries, or no longer: for a drill."""
        self._space.is_closed = is_closed

    def make_room(self) -> None:
        """Let go of files that were replaced, and count anew what the directory takes up."""
        self.reader.close()
        self._space.recount(self._segment.path, self._segment.wal)

    async def commit(self, group: Group, *, is_own: bool = False) -> None:
        """Make a group durable.

        Args:
            group: what is committed together.
            is_own: entries of the log's own, which may use the reserved space.

        Raises:
            StoreFullError: there is no room; nothing was written.
            UnavailableError: it is not there; this or another group may be tried in its place. Should
                the process die before that, a start may find it after all: whole, or not at all.
            StoreFailedError: it is not known what was written, now or earlier; open the log again.
        """
        async with self._lock:
            self._require_sound()
            chain = group.chain.copy()  # its owner may move on before the commit has ended
            addition = self._addition(group, chain)
            incoming = sum(map(len, group.entries)) + len(group.snapshot or b"")
            self._space.require(incoming, self._segment.pending_pages, is_own=is_own)
            self._segment.begin(addition)
            await _see_through(self._committer, partial(self._commit, addition, chain))
            if self._segment.pending_pages * PAGE_BYTES > self._limits.wal_mb * _MIB:
                self._upkeep_due.set()

    async def roll(self, now_ms: int) -> None:
        """End the segment and begin the next, on the day of `now_ms`; one that is empty goes on.

        Raises:
            UnavailableError: the old one goes on; it may be tried again.
            StoreFailedError: it is not known where the log goes on; open it again.
        """
        async with self._lock:
            self._require_sound()
            if self.size > self._segment.first:
                await _see_through(self._committer, partial(self._roll, now_ms // _DAY_MS))
                self._upkeep_due.set()

    async def maintain(self) -> None:
        """Keep the WAL short, and make ended segments plain files, for as long as this runs.

        Commits go on beside it.

        Raises:
            UnavailableError: the disk fails.
        """
        while True:
            await self._upkeep_due.wait()
            self._upkeep_due.clear()
            with suppress(StoreFullError):  # there may be room at the next commit, which asks again
                self.reader.close()  # it must not hold up what ends
                await _see_through(self._copier, self._settle)
                self.packer.due.set()
                await _see_through(self._copier, self._segment.copy_wal)
                async with self._lock:  # the few pages since: with none left, the next commit starts it anew
                    await _see_through(self._copier, self._segment.copy_wal)

    async def pack(self) -> None:
        """Pack ended segments one after the other, slowly, beside everything else, as long as this runs."""
        await self.packer.run(self.make_room)

    async def close(self) -> None:
        """Finish what is under way, copy the WAL, and let others write.

        Raises:
            UnavailableError: the WAL stays as it is, which loses nothing.
        """
        async with self._lock:
            self._failure = self._failure or "it is closed"
            with self._resources:
                self.reader.close()
                await _see_through(self._copier, self._finish)
        self._committer.shutdown()
        self._copier.shutdown()
        self.packer.close()

    def _require_sound(self) -> None:
        """Raise if an earlier failure left the log in doubt."""
        if self._failure:
            raise StoreFailedError(self._failure)

    def _addition(self, group: Group, chain: Chain) -> Addition:
        """Make a group into rows."""
        before, after = self.size, chain.size
        if after != before + len(group.entries):
            raise ValueError(f"{len(group.entries)} entries behind {before} do not make {after}")
        state = {}
        if group.snapshot is not None:
            state[SNAPSHOT] = State(after, group.snapshot)
        if group.settings:
            state[SETTINGS] = State(after, self._settings + frame(group.settings))
        if state or self._chain_written == 0 or after - self._chain_written >= self._limits.state_entries:
            state[CHAIN] = chain_state(chain)
        return Addition(before, group.entries, after, group.checkpoint, _new_tiles(before, chain), state)

    def _commit(self, addition: Addition, chain: Chain) -> None:
        """Commit, in a thread; only what is durable moves the chain."""
        shown = set(addition.tiles)
        right = [found for found in _right_halves(self._chain.tree, addition.entries) if found not in shown]
        try:
            self._segment.commit(right)
        except DatabaseError:
            if not self._is_durable(addition):
                with translated("the log"):
                    raise
        self._chain = chain
        if CHAIN in addition.state:
            self._chain_written = addition.size
        if SETTINGS in addition.state:
            self._settings = addition.state[SETTINGS].value
        if addition.checkpoint is not None:
            self.checkpoint_size = addition.size
        try:
            self._head.write(Head(addition.size, chain.tree.root()))
            if addition.state or addition.checkpoint is not None:
                self._head.sync()
        except UnavailableError as error:  # the group is durable all the same: the next one is refused
            self._failure = f"the head cannot be written: {error.cause}"

    def _is_durable(self, addition: Addition) -> bool:
        """Look up what became of a commit that raised: some of them are durable."""
        try:
            self._segment.rollback()
            return self._segment.holds(addition)
        except (ColdsealError, DatabaseError) as error:
            self._failure = f"a commit failed and cannot be looked up: {error}"
            raise StoreFailedError(self._failure) from error

    def _roll(self, day: int) -> None:
        """Begin the next segment, in a thread; from the rename on there is no way back."""
        first = self.size
        state = {name: value for name, value in self._segment.state().items() if name != ENDED}
        state |= {CHAIN: chain_state(self._chain), DAY: State(first, str(day).encode())}
        self._segment.end(first)
        draft = create_segment(self._directory, first, self._key, state, disk=self._disk)
        try:
            publish_segment(draft, disk=self._disk)
            following = Segment(self._directory, first, self._key, disk=self._disk)
        except (ColdsealError, OSError) as error:
            self._failure = f"the next segment cannot be opened: {error}"
            raise StoreFailedError(self._failure) from error
        self._segment.abandon()
        self._segment = following
        self._chain_written, self._day = first, day
        self._space.recount(following.path, following.wal)

    def _finish(self) -> None:
        """Copy all there is to copy, in a thread, and close the segment, come what may."""
        try:
            self._settle()
        finally:
            self._segment.close()

    def _settle(self) -> None:
        """Make ended segments plain files, in a thread; one that a reader holds has its turn later."""
        for first in list_segments(self._directory)[:-1]:
            settle_segment(self._directory, first, self._key, disk=self._disk)
        self._space.recount(self._segment.path, self._segment.wal)


def _new_tiles(before: int, chain: Chain) -> list[tuple[int, int, bytes]]:
    """Give the whole subtrees of 256 entries and more that end behind `before`, as (level, index, hash).

    The compact range shows those that the tree consists of now: no right halves, and none within a group.
    """
    tiles = []
    end, hashes = 0, iter(chain.tree.hashes)
    for level in reversed(range(TILE_LEVEL, chain.size.bit_length())):
        if chain.size >> level & 1:
            end += 1 << level
            found = next(hashes)
            if end > before:
                tiles.append((level, (end >> level) - 1, found))
    return tiles


def _right_halves(tree: CompactRange, entries: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
    """Give the whole subtrees of 4096 entries and more that end behind ``tree``, up to the last right half.

    Entries are hashed again for it, as few as possible: those of a group that a right half ends in, before
    its end. That is one group in 8192 entries.
    """
    span = 1 << SPAN_LEVEL
    last = (tree.size + len(entries)) >> SPAN_LEVEL + 1 << SPAN_LEVEL + 1
    if last <= tree.size:
        return []
    above = (tree.size >> SPAN_LEVEL).bit_count()
    left, at = tree.hashes[:above], tree.size
    part = CompactRange.from_hashes(tree.size % span, tree.hashes[above:])
    tiles = []
    for end in range(tree.size // span * span + span, last + 1, span):
        part.extend([leaf_hash(entry) for entry in entries[at - tree.size : end - tree.size]])
        level, index, found = SPAN_LEVEL, (end >> SPAN_LEVEL) - 1, part.root()
        tiles.append((level, index, found))
        while index & 1:
            level, index, found = level + 1, index >> 1, node_hash(left.pop(), found)
            tiles.append((level, index, found))
        left.append(found)
        part, at = CompactRange(), end
    return tiles


async def _see_through(thread: ThreadPoolExecutor, step: Callable[[], None]) -> None:
    """Run a step in a thread; whoever is cancelled meanwhile still waits for its end."""
    running = asyncio.get_running_loop().run_in_executor(thread, step)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        running.exception()
        raise
