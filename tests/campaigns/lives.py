"""Lives of a log, chosen by a seed and recorded below the encryption, to replay what may go wrong in them.

Everything happens on one thread, so that a seed always leads to the same steps: also a copy of the WAL in the
midst of a commit, and a commit in the midst of a copy.
"""

from __future__ import annotations

import asyncio
import selectors
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, Self, TypeVar

from typing_extensions import override

from coldseal.core.log import canonical
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.demo.disk import SimulatedDisk, put
from coldseal.gateway.store import pruned
from coldseal.gateway.store.log import Group, Limits, Log
from coldseal.gateway.store.pruned import Pruned
from coldseal.gateway.store.reader import LogReader
from tests.gateway.store.logs import KEY, NOW_MS, group, new_chain, note

LIMITS: Final = Limits(reserve_mb=0, wal_mb=0, state_entries=40)
ACKNOWLEDGED, SEALED, SEEN = "acknowledged", "sealed", "checkpoint seen"
"""Marks in a recording: entries that somebody was told of; that were made; below the last checkpoint."""

_TQ: Final = b'{"boot":"00000000","err":1,"mono":1,"off":0,"s":"synchronised"}'
_TIME: Final = "2026-01-01T00:00:00.000Z"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a folder of our own is made in it
_T = TypeVar("_T")


class _Impatient(selectors.DefaultSelector):
    """Never waits, and says how long it should have waited."""

    waited = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look once."""
        self.waited += timeout or 0.0
        return super().select(0)


class InlineLoop(asyncio.SelectorEventLoop):
    """Runs in place what is meant for a thread, and lets time pass where it should wait."""

    def __init__(self) -> None:
        """Take a selector that does not wait."""
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    @override
    def time(self) -> float:
        """Give the time, with what was not waited for."""
        return super().time() + self._impatient.waited

    @override
    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., _T], *args: object
    ) -> asyncio.Future[_T]:
        """Call it now."""
        del executor
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- handed on to whoever waits
            done.set_exception(error)
        return done


def at_once(step: Coroutine[Any, Any, None]) -> None:
    """Drive a step that never waits to its end."""
    with suppress(StopIteration):
        step.send(None)
        raise AssertionError("it waits")


def work_folder() -> Path:
    """Make a folder in memory, where there is such a place."""
    place = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    return Path(tempfile.mkdtemp(prefix="coldseal-campaign-", dir=place))


class Remains(NamedTuple):
    """What a power cut left, and how far the log had come."""

    files: dict[str, bytes]
    entries: list[bytes]
    marks: dict[str, int]


class Life:
    """A log that lives in a folder of its own.

    Args:
        seed: chooses what happens.
        steps: how much.
        disk: what it lies on.
        is_hasty: acknowledge before the commit, to show that this would be found.
        after: what an earlier life has left; None for a new log.

    Attributes:
        disk: what it lies on.
        folder: where.
        entries: all that were made, in order.
    """

    def __init__(
        self,
        seed: int,
        steps: int,
        *,
        disk: SimulatedDisk | None = None,
        is_hasty: bool = False,
        after: Remains | None = None,
    ) -> None:
        """Make the folder."""
        self.disk = SimulatedDisk(is_recording=True) if disk is None else disk
        self.root = work_folder()
        self.folder = self.root / "log"
        self.entries: list[bytes] = []
        self.counts: dict[str, int] = {}
        self._chance = Random(seed)
        self._steps, self._is_hasty, self._after = steps, is_hasty, after
        self._snapshot = 0
        self._reader: LogReader | None = None
        self._actions: list[tuple[Callable[[], Coroutine[Any, Any, None]], int]] = [
            (self.commit, 12),
            (self.copy, 2),
            (self.copy_amid_a_commit, 2),
            (self.commit_amid_a_copy, 2),
            (self.roll, 2),
            (self.upkeep, 2),
            (self.pack, 1),
            (self.prune, 2),
            (self.restart, 1),
            (self.crash, 1),
            (self.read, 1),
        ]

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root)

    def run(self) -> None:
        """Live."""
        with asyncio.Runner(loop_factory=InlineLoop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        """Do one thing after another."""
        if self._after is not None:
            self._rise(self._after)
        self.log = self._open()
        if self._after is None:
            await self.commit_entry("genesis", {})
        else:
            self.entries = self._after.entries[: self.log.size]
            self._snapshot = self.log.reader.snapshot_size()
            self.disk.mark(ACKNOWLEDGED, self.log.size)
            self.disk.mark(SEALED, self.log.size)
        tour = self._tour() if self._after is None else []
        for action in (*tour, *self._chosen()):
            name = action.__name__
            self.counts[name] = self.counts.get(name, 0) + 1
            await action()
        self._leave()
        await self.log.close()

    def _tour(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Give what is in every life: each thing once, and where it counts."""
        first = (self.commit, self.commit_amid_a_copy, self.roll, self.copy_amid_a_commit, self.read)
        then = (self.roll, self.commit_snapshot, self.copy, self.upkeep, self.prune, self.commit, self.roll)
        return [*first, *then, self.commit, self.pack, self.crash, self.commit, self.restart]

    def _chosen(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Choose what else happens."""
        actions, weights = zip(*self._actions, strict=True)
        return self._chance.choices(actions, weights, k=self._steps)

    def _rise(self, after: Remains) -> None:
        """Begin with what an earlier life has left."""
        put(after.files, self.folder)
        self.disk.adopt(self.folder)
        for what, size in after.marks.items():
            self.disk.mark(what, size)

    def _open(self) -> Log:
        """Open the log, as a start does."""
        log = Log.open(self.folder, KEY, LIMITS, new=new_chain(), now_ms=NOW_MS, disk=self.disk)
        pruned.complete(log.reader, self.folder, KEY, disk=self.disk)
        return log

    async def commit(self) -> None:
        """Commit a group of readings."""
        count = self._chance.choice((1, 1, 2, 3, 8, 30))
        is_rich = self._chance.random() < 0.3
        made = group(
            self.log,
            count,
            length=self._chance.choice((0, 0, 700)),
            has_checkpoint=is_rich or self._chance.random() < 0.3,
            snapshot=f"behind {len(self.entries) + count}".encode() if is_rich else None,
        )
        await self._commit(made)

    async def commit_snapshot(self) -> None:
        """Commit a group with all that may go with one."""
        await self._commit(group(self.log, 2, has_checkpoint=True, snapshot=b"behind what is to be pruned"))

    async def commit_entry(self, kind: str, data: dict[str, canonical.Value]) -> None:
        """Commit one entry of a kind, with a checkpoint."""
        chain = self.log.chain
        raw = chain.seal(kind, _TIME, _TQ, b"", canonical.encode(data), None)
        await self._commit(Group(entries=[raw], chain=chain, checkpoint=note(chain)))

    async def _commit(self, made: Group) -> None:
        """Commit, and acknowledge behind it."""
        self.entries += made.entries
        size = len(self.entries)
        self.disk.mark(SEALED, size)
        if self._is_hasty:
            self.disk.mark(ACKNOWLEDGED, size)
        await self.log.commit(made)
        self.disk.mark(ACKNOWLEDGED, size)
        if made.checkpoint is not None:
            self.disk.mark(SEEN, size)
        if made.snapshot is not None:
            self._snapshot = size

    async def copy(self) -> None:
        """Copy the WAL."""
        self.log._segment.copy_wal()

    async def copy_amid_a_commit(self) -> None:
        """Copy the WAL while pages are being written to it."""
        self._once(self._chance.randrange(4), "-wal", self.log._segment.copy_wal)
        await self.commit()
        self.disk.heal()

    async def commit_amid_a_copy(self) -> None:
        """Commit while pages are being copied out of the WAL."""
        self._once(self._chance.randrange(4), ".db", lambda: at_once(self.commit()))
        self.log._segment.copy_wal()
        self.disk.heal()

    def _once(self, after: int, ending: str, action: Callable[[], None]) -> None:
        """Do something at a step of a file, behind so many others."""
        left = [after]

        def look(name: str) -> None:
            if name.endswith(ending):
                left[0] -= 1
                if left[0] < 0:
                    self.disk.heal()
                    action()

        self.disk.at_step = look

    async def roll(self) -> None:
        """End the segment."""
        await self.log.roll(NOW_MS)

    async def upkeep(self) -> None:
        """Let the upkeep do all that is due."""
        self.log._upkeep_due.set()
        upkeep = asyncio.ensure_future(self.log.maintain())
        for _ in range(30):
            await asyncio.sleep(0)
        upkeep.cancel()
        await asyncio.gather(upkeep, return_exceptions=True)

    async def pack(self) -> None:
        """Pack what has ended."""
        self._leave()
        self.log._settle()
        await self.log.packer.pack_all(self.log.make_room)

    async def prune(self) -> None:
        """Send what has ended to an archive, as far as a start does not read it again."""
        self._leave()
        self.log._settle()
        whole = [
            (first, end)
            for first, end, found in self.log.reader.closed_segments()
            if found is None and end <= self._snapshot
        ]
        if not whole:
            return
        about = Pruned(whole[0][0], whole[-1][1] - 1, f"{whole[0][0]}.coldseal", "A" * 43 + "=")
        for left in pruned.list_drafts(self.folder):
            pruned.discard(left, disk=self.disk)
        drafts = [
            pruned.write_draft(self.log.reader, self.folder, KEY, first, about, disk=self.disk)
            for first, _ in whole
        ]
        for draft in drafts:
            pruned.arm(draft, KEY, self.log.size, disk=self.disk)
        if self._chance.random() < 0.3:  # others get in between
            await self.commit()
        seq = self.log.size
        archive: dict[str, canonical.Value] = {"name": about.archive, "sha256": about.sha256}
        await self.commit_entry("prune", {"archive": archive, "first": about.first, "last": about.last})
        if self._chance.random() < 0.2:  # the next start finishes it
            return
        for draft in drafts:
            pruned.finish(draft, KEY, seq, disk=self.disk)
        self.log.make_room()

    async def restart(self) -> None:
        """Close and open."""
        self._leave()
        await self.log.close()
        self.log = self._open()

    async def crash(self) -> None:
        """Open without having closed."""
        self._leave()
        abandon(self.log)
        self.log = self._open()

    async def read(self) -> None:
        """Begin to read like another process, or leave off: what is read stays in the WAL a while longer."""
        if self._reader is None:
            self._reader = LogReader(self.folder, KEY, disk=self.disk)
            self._reader.read(len(self.entries) - 1)
        else:
            self._leave()

    def _leave(self) -> None:
        """End the reading."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def abandon(log: Log) -> None:
    """Leave a log as a kill would."""
    log._resources.close()
    log._committer.shutdown()
    log._copier.shutdown()
    log.packer.close()


class Expected:
    """What a log of these entries must be, at each size."""

    def __init__(self, entries: list[bytes]) -> None:
        """Hash them all."""
        self.entries = entries
        tree = CompactRange()
        self.roots = [tree.root()]
        self.heads = [new_chain().head]
        for raw in entries:
            leaf = leaf_hash(raw)
            tree.append(leaf)
            self.roots.append(tree.root())
            self.heads.append(leaf.hex())
