"""The logs that the service holds: one writer, commits in groups, the newest heads at hand.

Promises that `append` returns only after the commit that made its batch durable; what waits while one
commit runs goes into the next one. Judges no batch: `ingest` does, under the lock of its log.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from coldseal.core.log.canonical import MAX_INTEGER
from coldseal.core.log.delivery.wire import MAX_REFUTED
from coldseal.errors import UnavailableError
from coldseal.service.storage.announced import MAX_ANNOUNCED
from coldseal.service.storage.sqlite import SqliteLedger
from coldseal.service.storage.tree import LogTree
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from coldseal.core.log.delivery.receiver import Accepted, Head
    from coldseal.core.log.delivery.signatures import Refutation
    from coldseal.service.storage.values import Announced, Evidence, KeptEvidence, Link, Receipted, Summary

MERGE_WAL_BYTES: Final = 32 * 1024 * 1024
"""Written bytes after which the WAL is merged into the database, before the next commit."""

Result = TypeVar("Result")


LEDGER: Final = "ledger.db"
"""Name of the ledger below the data folder."""


class _Write:
    """One change that waits for its commit; ``group`` is set once a commit has taken it."""

    def __init__(self, change: Callable[[SqliteLedger], None], size: int) -> None:
        """Keep what is to be done, and how many bytes it writes."""
        self.change = change
        self.size = size
        self.fault: UnavailableError | None = None
        self.group: asyncio.Future[None] | None = None


class Ledger:
    """All logs held by this service."""

    def __init__(self, store: SqliteLedger) -> None:
        """Take an open store; `open` is the usual way here."""
        self._store = store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ledger-read")
        self._turn = asyncio.Lock()
        self._pending: list[_Write] = []
        self._locks: dict[str, asyncio.Lock] = {}
        self._heads: dict[str, Head] = {}
        self._unmerged = 0
        self.grown = asyncio.Event()
        """Set when entries were stored."""

    @classmethod
    def open(cls, directory: Path, key: bytes, *, limit_bytes: int) -> Ledger:
        """Open the ledger in its directory, which is made if it is missing.

        Raises:
            OperatorError, UnavailableError, PlaintextError: as `SqliteLedger`.
        """
        make_private_folder(directory)
        return cls(SqliteLedger(directory / LEDGER, key, limit_bytes=limit_bytes))

    async def close(self) -> None:
        """Let the last commit end, then close."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._reader.shutdown)
        self._store.close()

    @property
    def size_bytes(self) -> int:
        """Size on disk."""
        return self._store.size_bytes

    @property
    def limit_bytes(self) -> int:
        """Size at which nothing more is taken."""
        return self._store.limit_bytes

    def lock(self, origin: str) -> asyncio.Lock:
        """Give the lock of one log; whoever judges and appends holds it."""
        return self._locks.setdefault(origin, asyncio.Lock())

    async def head(self, origin: str) -> Head:
        """Give the end of one log; to be used under its lock."""
        head = self._heads.get(origin)
        if head is None:  # through the writer, so that an unfinished commit comes first
            loop = asyncio.get_running_loop()
            head = await loop.run_in_executor(self._writer, self._store.head, origin)
            self._heads[origin] = head
        return head

    async def append(
        self,
        origin: str,
        accepted: Accepted,
        receipt: Receipted,
        refuted: Sequence[Refutation],
        *,
        is_verified: bool,
    ) -> None:
        """Store what was accepted, with its receipt; durable on return.

        Args:
            origin: the log, whose lock the caller holds.
            accepted: what is to be stored.
            receipt: for its checkpoint.
            refuted: what is known by now to fail by itself.
            is_verified: whether the new entries' signatures are checked already.

        Raises:
            UnavailableError: not stored, or unknown: the next `head` looks it up.
        """

        def change(store: SqliteLedger) -> None:
            store.append(origin, accepted, receipt, is_verified=is_verified)
            store.refute(origin, refuted)

        self._heads.pop(origin, None)  # unknown until the commit has ended
        await self._commit(change, len(accepted.frames))
        self._heads[origin] = accepted.head
        self.grown.set()

    async def mark_verified(
        self, origin: str, first: int, verified: int, refuted: Sequence[Refutation]
    ) -> None:
        """Keep what the check of signatures found from ``first`` to ``verified``."""

        def change(store: SqliteLedger) -> None:
            store.refute(origin, refuted)
            store.mark_verified(origin, first, verified)

        await self._commit(change)

    async def witnessed(self, origin: str) -> Receipted | None:
        """Give what was cosigned last of a log that is only witnessed; to be used under its lock."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._store.witnessed, origin)

    async def witness(self, origin: str, before: int | None, cosigned: Receipted) -> None:
        """Move a log that is only witnessed, whose lock the caller holds; durable on return.

        Raises:
            UnavailableError: not stored, or unknown.
        """
        await self._commit(lambda store: store.witness(origin, before, cosigned))

    async def keep(self, evidence: Evidence) -> bool:
        """Keep a proof of fault; False if there are too many already."""
        kept: list[bool] = []
        await self._commit(lambda store: kept.append(store.keep(evidence)))
        return kept[-1]

    async def announce(self, origin: str, found: Sequence[Announced]) -> None:
        """Put entries that were told ahead of their order on a log's list; durable on return.

        Raises:
            UnavailableError: not stored, or unknown, or there is no room.
        """

        def change(store: SqliteLedger) -> None:
            if store.size_bytes >= store.limit_bytes:
                raise UnavailableError("the ledger", f"the limit of {store.limit_bytes} bytes is reached")
            store.announced.add(origin, found)

        await self._commit(change)

    async def settle(self, origin: str, seqs: Sequence[int]) -> None:
        """Take entries off a log's list."""
        await self._commit(lambda store: store.announced.remove(origin, seqs))

    async def announced(
        self, origin: str, *, below: int = MAX_INTEGER, limit: int = MAX_ANNOUNCED
    ) -> list[Announced]:
        """Give the newest entries on a log's list, newest first."""
        return await self._read(lambda: self._store.announced.of(origin, below=below, limit=limit))

    async def arrived(self) -> list[tuple[str, int]]:
        """Name the logs of which an entry on the list has come in its order, with their sizes."""
        return await self._read(self._store.announced.arrived)

    async def entries(self, origin: str, first: int, end: int) -> list[bytes]:
        """Give entries ``first`` to ``end``, as far as they are held."""
        return await self._read(lambda: self._store.entries(origin, first, end))

    async def hashes(self, origin: str, level: int, first: int, count: int) -> list[bytes]:
        """Give hashes over subtrees of a level that tiles begin at, as far as they are held."""
        return await self._read(lambda: LogTree(self._store, origin).hashes(level, first, count))

    async def next_bundles(self, origin: str, first: int, limit: int) -> list[tuple[int, int, bytes]]:
        """Give the bundles of ``limit`` entries from ``first`` on: seq of the first entry, count, frames."""
        return await self._read(lambda: self._store.next_bundles(origin, first, limit))

    async def receipt(self, origin: str, size: int | None = None) -> Receipted | None:
        """Give the receipt at a size, or the newest one."""
        return await self._read(lambda: self._store.receipt(origin, size))

    async def summary(self, origin: str) -> tuple[Summary, tuple[int, ...]]:
        """Say how far a log is, and name its newest refuted seqs."""
        return await self._read(
            lambda: (self._store.summary(origin), self._store.refuted(origin, MAX_REFUTED))
        )

    async def settings(self, origin: str) -> tuple[bytes, ...]:
        """Give the entries that say what a log is: its genesis, changes of keys, configuration."""
        return await self._read(lambda: self._store.settings(origin))

    async def refutations(self, origin: str, first: int, end: int) -> list[Refutation]:
        """Give what is held against the entries ``first`` to ``end``."""
        return await self._read(lambda: self._store.refutations(origin, first, end))

    async def totals(self) -> Summary:
        """Say how far all logs are together."""
        return await self._read(self._store.totals)

    async def links(self) -> list[Link]:
        """Give the logs that continue another one, by origin."""
        return await self._read(self._store.links)

    async def successor(self, origin: str) -> str | None:
        """Name the log that continues another one."""
        return await self._read(lambda: self._store.successor(origin))

    async def evidence(self, origin: str) -> list[KeptEvidence]:
        """Give what is kept against a log."""
        return await self._read(lambda: self._store.evidence(origin))

    async def unverified(self) -> list[str]:
        """Name the logs whose signatures are not all checked."""
        return await self._read(self._store.unverified)

    async def _read(self, look: Callable[[], Result]) -> Result:
        """Read beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, look)

    async def _commit(self, change: Callable[[SqliteLedger], None], size: int = 0) -> None:
        """Wait until a change of ``size`` bytes is durable; all that wait at one time share a transaction."""
        write = _Write(change, size)
        self._pending.append(write)
        async with self._turn:
            if write.group is None:
                write.group = self._start_group()
            await asyncio.shield(write.group)
        if write.fault is not None:
            raise write.fault

    def _start_group(self) -> asyncio.Future[None]:
        """Hand everything that waits to the writer's thread."""
        group, self._pending = self._pending, []
        done = asyncio.get_running_loop().run_in_executor(self._writer, self._apply, group)
        for each in group:
            each.group = done
        return done

    def _apply(self, group: Sequence[_Write]) -> None:
        """Make one transaction of a group; a change that fails takes no other one with it."""
        if self._unmerged >= MERGE_WAL_BYTES:  # of earlier groups, whose receipts are out
            self._unmerged = 0
            self._store.merge_wal()
        self._unmerged += sum(write.size for write in group)
        with self._store.transaction():
            for write in group:
                try:
                    with self._store.transaction():
                        write.change(self._store)
                except UnavailableError as fault:
                    write.fault = fault
