"""Commits in groups: durable on return, one failure alone, and an unknown outcome is looked up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from coldseal.core.log.delivery.receiver import Accepted, Head
from coldseal.core.log.delivery.signatures import Refutation
from coldseal.errors import UnavailableError
from coldseal.service import ledger as module
from coldseal.service.ledger import Ledger
from coldseal.service.storage.sqlite import SqliteLedger
from coldseal.service.storage.values import Receipted
from tests.service.test_storage import KEY, ORIGIN, evidence, piece
from tests.waiting import until


class GatedStore(SqliteLedger):
    """A store whose commits wait at a gate, are counted, and can fail after they are durable."""

    def __init__(self, path: Path) -> None:
        """Open it with the gate open."""
        self.gate = threading.Event()
        self.gate.set()
        self.commits = 0
        self.merges = 0
        self.is_failing_after = False
        self._depth = 0
        super().__init__(path, KEY, limit_bytes=2**30)

    @override
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Wait, commit, count, perhaps fail."""
        self._depth += 1
        try:
            if self._depth == 1:
                self.gate.wait()
            with super().transaction():
                yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.commits += 1
            if self.is_failing_after:
                self.is_failing_after = False
                raise UnavailableError("the disk", "it failed after the commit")

    @override
    def merge_wal(self) -> None:
        """Count."""
        self.merges += 1
        super().merge_wal()


@pytest.fixture
async def store(tmp_path: Path) -> GatedStore:
    """Give a store that a ledger will own."""
    store = GatedStore(tmp_path / "ledger.db")
    store.commits = 0
    return store


@pytest.fixture
async def ledger(store: GatedStore) -> AsyncIterator[Ledger]:
    """Give a ledger over the gated store."""
    ledger = Ledger(store)
    yield ledger
    store.gate.set()
    await ledger.close()


async def append(ledger: Ledger, accepted: Accepted, *, origin: str = ORIGIN) -> None:
    """Store a batch, as `ingest` does under the lock."""
    async with ledger.lock(origin):
        receipt = Receipted(accepted.head.size, 1, accepted.head.root, b"note")
        await ledger.append(origin, accepted, receipt, accepted.refuted, is_verified=False)


async def test_a_batch_is_on_disk_when_append_returns(ledger: Ledger, store: GatedStore) -> None:
    """Not before: while the commit is held, nobody gets an answer."""
    store.gate.clear()
    waiting = asyncio.ensure_future(append(ledger, piece(0, b"a")))
    await until(lambda: store._depth == 1)
    assert not waiting.done()

    store.gate.set()
    await waiting

    assert store.entries(ORIGIN, 0, 9) == [b"a"]
    assert await ledger.head(ORIGIN) == piece(0, b"a").head


async def test_what_waits_during_a_commit_shares_the_next_one(ledger: Ledger, store: GatedStore) -> None:
    """Twenty batches of twenty logs take two commits."""
    store.gate.clear()
    waiting = [
        asyncio.ensure_future(append(ledger, piece(0, b"a"), origin=f"coldseal.example/{n}"))
        for n in range(20)
    ]
    await until(lambda: store._depth == 1 and len(ledger._pending) == 19)

    store.gate.set()
    await asyncio.gather(*waiting)

    assert store.commits == 2


async def test_a_batch_that_fails_fails_alone(ledger: Ledger, store: GatedStore) -> None:
    """The others of its group are stored and answered."""
    store.gate.clear()
    batches = {"coldseal.example/0": piece(0, b"a"), "coldseal.example/1": piece(5, b"x")}
    waiting = [
        asyncio.ensure_future(append(ledger, batch, origin=origin)) for origin, batch in batches.items()
    ]
    await until(lambda: store._depth == 1)
    store.gate.set()

    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert results[0] is None
    assert isinstance(results[1], UnavailableError)
    assert await ledger.head("coldseal.example/1") == Head()


async def test_a_commit_that_fails_after_it_was_durable_is_looked_up(
    ledger: Ledger, store: GatedStore
) -> None:
    """The caller is told that it is unknown; the next look at the head finds it stored."""
    store.is_failing_after = True

    with pytest.raises(UnavailableError):
        await append(ledger, piece(0, b"a"))

    assert (await ledger.head(ORIGIN)).size == 1
    await append(ledger, piece(1, b"b"))
    assert store.entries(ORIGIN, 0, 9) == [b"a", b"b"]


async def test_a_caller_that_gives_up_leaves_no_doubt_behind(ledger: Ledger, store: GatedStore) -> None:
    """Its commit goes on; the next one for that log sees what became of it."""
    store.gate.clear()
    leaving = asyncio.ensure_future(append(ledger, piece(0, b"a")))
    await until(lambda: store._depth == 1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    looking = asyncio.ensure_future(ledger.head(ORIGIN))

    store.gate.set()

    assert (await looking).size == 1


async def test_a_follower_is_served_although_its_leader_gave_up(ledger: Ledger, store: GatedStore) -> None:
    """The group is committed whoever still waits for it."""
    store.gate.clear()
    first = asyncio.ensure_future(append(ledger, piece(0, b"a"), origin="coldseal.example/0"))
    await until(lambda: store._depth == 1)
    leader = asyncio.ensure_future(append(ledger, piece(0, b"b"), origin="coldseal.example/1"))
    follower = asyncio.ensure_future(append(ledger, piece(0, b"c"), origin="coldseal.example/2"))
    await until(lambda: len(ledger._pending) == 2)
    leader.cancel()
    store.gate.set()

    await asyncio.gather(first, follower)

    assert store.entries("coldseal.example/2", 0, 9) == [b"c"]


async def test_closing_lets_the_last_commit_end(store: GatedStore, tmp_path: Path) -> None:
    """What was handed over before is on disk after."""
    ledger = Ledger(store)
    store.gate.clear()
    last = asyncio.ensure_future(append(ledger, piece(0, b"a")))
    await until(lambda: store._depth == 1)
    closing = asyncio.ensure_future(ledger.close())
    store.gate.set()
    await asyncio.gather(last, closing)

    again = Ledger.open(tmp_path, KEY, limit_bytes=2**30)
    assert (await again.head(ORIGIN)).size == 1
    await again.close()


async def test_the_wal_is_merged_outside_of_commits(
    ledger: Ledger, store: GatedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After enough was written, and not before: the receipt for what was written does not wait for it."""
    monkeypatch.setattr(module, "MERGE_WAL_BYTES", 1000)
    await append(ledger, piece(0, b"a"))
    await append(ledger, piece(1, bytes(2000)))
    assert store.merges == 0

    await append(ledger, piece(2, b"b"))
    await append(ledger, piece(3, b"c"))

    assert store.merges == 1
    assert len(await ledger.entries(ORIGIN, 0, 9)) == 4


async def test_growth_is_told(ledger: Ledger) -> None:
    """Whoever checks signatures behind waits for it."""
    assert not ledger.grown.is_set()

    await append(ledger, piece(0, b"a"))

    assert ledger.grown.is_set()


async def test_evidence_and_findings_are_durable_on_return(ledger: Ledger, store: GatedStore) -> None:
    """They use the same commits."""
    await append(ledger, piece(0, b"a", b"b"))
    assert await ledger.keep(evidence(1))
    found = Refutation(1, bytes(32), "bad-signature")

    await ledger.mark_verified(ORIGIN, 0, 2, [found])

    assert store.refutations(ORIGIN, 0, 9) == [found]
    summary, refuted = await ledger.summary(ORIGIN)
    assert (summary.verified, refuted) == (2, (1,))
    assert [each.evidence for each in await ledger.evidence(ORIGIN)] == [evidence(1)]
    assert await ledger.unverified() == []
    assert ledger.size_bytes > 0
    assert ledger.limit_bytes == 2**30
