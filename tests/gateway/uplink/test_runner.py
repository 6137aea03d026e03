"""The runner does what the machine says: what it reads, when it waits, and what it writes down first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from coldseal.core.log.delivery.sender import Phase
from coldseal.core.log.delivery.wire import Answer, Kind, Receipt, Unavailable, parse_batch
from coldseal.errors import UnavailableError
from coldseal.gateway.store.reader import LogReader, StoredCheckpoint
from coldseal.gateway.uplink import batches
from coldseal.gateway.uplink import runner as module
from coldseal.gateway.uplink.receipts import Receipts
from tests.gateway.uplink.deliveries import delivering_by, grown
from tests.sealed import SealedLog, cosigned, witness_key
from tests.trial import Site
from tests.waiting import until


class Post:
    """Stands at the other end of the channel: gives receipts, and remembers what came."""

    def __init__(self, answer: Callable[[int], Answer | None] = lambda _number: None) -> None:
        """Take what to answer instead, by the number of the batch."""
        self.batches: list[tuple[int, int]] = []
        self.answer = answer

    async def __call__(self, body: bytes, left: asyncio.Event) -> Answer:
        """Answer one batch."""
        left.set()
        batch = parse_batch(body)
        end = batch.first + len(batch.entries)
        self.batches.append((batch.first, end))
        return self.answer(len(self.batches)) or Receipt(cosigned(batch.note), end, 0)


@pytest.fixture
def trial(site: Site) -> Site:
    """Give a site whose witness is the usual one."""
    site.witness = witness_key()
    return site


async def test_nothing_is_sent_before_there_is_a_log(trial: Site) -> None:
    """The uplink may be started first; it looks again."""
    post = Post()
    async with delivering_by(trial, post) as up:
        await asyncio.sleep(0)
        await trial.store(grown(SealedLog(), 3))
        up.bell.grow()
        await up.published(4)

    assert post.batches == [(0, 4)]


async def test_the_log_is_looked_at_without_a_word_too(trial: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost wake-up costs a pause, not the delivery."""
    monkeypatch.setattr(module, "POLL_S", 0.01)
    async with delivering_by(trial, Post()) as up:
        await asyncio.sleep(0)
        await trial.store(grown(SealedLog(), 3))
        await up.published(4)


async def test_too_many_bytes_end_a_batch_at_an_earlier_checkpoint(
    trial: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long entries make batches of fewer of them."""
    log = grown(SealedLog(), *[10] * 6)
    monkeypatch.setattr(batches, "BATCH_BYTES", 25 * len(log.entries[5]))
    await trial.store(log)
    post = Post()
    async with delivering_by(trial, post) as up:
        await up.published(61)

    assert [end for _, end in post.batches] == [21, 41, 61]


async def test_one_checkpoint_over_too_many_bytes_is_sent_whole(
    trial: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no smaller batch."""
    monkeypatch.setattr(batches, "BATCH_BYTES", 1000)
    await trial.store(grown(SealedLog(), 40, 2))
    post = Post()
    async with delivering_by(trial, post) as up:
        await up.published(43)

    assert post.batches == [(0, 41), (41, 43)]


async def test_one_checkpoint_over_too_many_entries_is_sent_whole(trial: Site) -> None:
    """A batch ends at a checkpoint, whatever its limit says."""
    await trial.store(grown(SealedLog(), 40, 40))
    post = Post()
    async with delivering_by(trial, post, batch_entries=7) as up:
        await up.published(81)

    assert post.batches == [(0, 41), (41, 81)]


async def test_a_slow_link_gets_smaller_batches(trial: Site) -> None:
    """Until one gets through; then they grow again."""
    await trial.store(grown(SealedLog(), *[10] * 10))
    post = Post(lambda number: Unavailable(Kind.TIMEOUT, "slow") if number <= 2 else None)
    async with delivering_by(trial, post, batch_entries=80) as up:
        await up.published(101)

    assert post.batches == [(0, 71), (0, 31), (0, 11), (11, 51), (51, 101)]


async def test_a_receipt_is_on_disk_before_the_published_size_moves(
    trial: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it cannot be written, the uplink ends and nothing counts as delivered."""
    await trial.store(grown(SealedLog(), 3))

    def refuse(_self: object, *_arguments: object) -> None:
        raise UnavailableError("uplink.db", "disk full")

    monkeypatch.setattr(Receipts, "keep", refuse)
    async with delivering_by(trial, Post()) as up:
        running = next(task for task in asyncio.all_tasks() if "Uplink.run" in repr(task))
        await asyncio.wait([running])

        assert isinstance(running.exception(), UnavailableError)
        assert up.uplink.delivery.published == 0
    assert up.uplink.delivery.phase is Phase.SENDING


async def test_a_nudge_cuts_a_wait_short(trial: Site) -> None:
    """A person who has mended something need not wait."""
    await trial.store(grown(SealedLog(), 3))
    post = Post(lambda number: Unavailable(Kind.UNREACHABLE, "down") if number == 1 else None)
    async with delivering_by(trial, post) as up:
        up.uplink._chance = lambda: 1e9
        await until(lambda: up.uplink.delivery.phase is Phase.WAITING)
        up.bell.nudge()
        await up.published(4)


async def test_what_is_stored_of_failures_says_since_when_and_how_often(trial: Site) -> None:
    """For metrics and status; a receipt clears it but the counts."""
    await trial.store(grown(SealedLog(), 3))
    answers: dict[int, Answer] = {
        1: Unavailable(Kind.BUSY, "status 503"),
        2: Unavailable(Kind.TIMEOUT, "slow"),
        3: Receipt(b"garbage", 4, 0),
    }
    post = Post(answers.get)
    async with delivering_by(trial, post) as up:
        await up.published(4)
        status = up.receipts.status()

    assert status.failed == {"busy": 1, "timeout": 1, "refused": 1}
    assert (status.phase, status.failures, status.published) == ("idle", 0, 4)
    assert status.receipt_ms > 0


async def test_a_log_that_cannot_be_read_now_is_looked_at_again(
    trial: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away for a moment costs a pause."""
    monkeypatch.setattr(module, "POLL_S", 0.01)
    await trial.store(grown(SealedLog(), 3))
    looks: list[int] = []
    plain = LogReader.checkpoints

    def refuse_first(reader: LogReader, after: int, upto: int, *, limit: int) -> list[StoredCheckpoint]:
        looks.append(after)
        if len(looks) < 3:
            raise UnavailableError("the store", "busy")
        return plain(reader, after, upto, limit=limit)

    monkeypatch.setattr(LogReader, "checkpoints", refuse_first)
    async with delivering_by(trial, Post()) as up:
        await up.published(4)


async def test_the_next_batch_follows_before_the_answer_while_receipts_come(trial: Site) -> None:
    """Only one ahead, and only once the one before has left; a failure takes it back."""
    await trial.store(grown(SealedLog(), *[10] * 8))
    under_way: list[int] = []
    most: list[int] = []
    plain = Post(lambda number: Unavailable(Kind.BUSY, "503") if number == 4 else None)

    async def post(body: bytes, left: asyncio.Event) -> Answer:
        under_way.append(len(body))
        most.append(len(under_way))
        left.set()
        for _ in range(20):
            await asyncio.sleep(0)
        try:
            return await plain(body, left)
        finally:
            under_way.pop()

    async with delivering_by(trial, post, batch_entries=10) as up:
        await up.published(81)

    assert max(most) <= 2
    covered = sorted(set(plain.batches))
    assert covered[0][0] == 0
    assert covered[-1][1] == 81


async def test_of_a_backlog_one_more_batch_is_read_while_two_are_under_way(trial: Site) -> None:
    """It is at hand when the next receipt comes; a failure takes it back too."""
    await trial.store(grown(SealedLog(), *[10] * 8))
    plain = Post(lambda number: Unavailable(Kind.BUSY, "503") if number == 2 else None)
    gate, under_way = asyncio.Event(), 0

    async def post(body: bytes, left: asyncio.Event) -> Answer:
        nonlocal under_way
        under_way += 1
        left.set()
        if plain.batches:  # the first receipt is out
            await gate.wait()
        return await plain(body, left)

    async with delivering_by(trial, post, batch_entries=10) as up:
        await until(lambda: up.uplink._reading is not None and up.uplink._reading.done())
        assert under_way == 3
        gate.set()
        await up.published(81)
        assert up.uplink._reading is None

    assert max(plain.batches) == (71, 81)
