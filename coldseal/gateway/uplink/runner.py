"""Delivers the log: reads what to send, sends it, keeps the receipt, waits when told to.

Follows the pure machine `coldseal.core.log.delivery.sender` and does what its steps say. Promises that the
published size moves only after the receipt is on disk. While one batch is on its way, the next one is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

import msgspec

from coldseal.core.log.checkpoint import Checkpoint, cosigned_at, parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.sender import (
    Delivery,
    Event,
    Phase,
    RolledBackError,
    Step,
    Terms,
    begin,
    choose,
    delivered,
    reach,
    settle,
)
from coldseal.core.log.delivery.wire import Answer, Gap, Kind, Receipt, Stale, Unavailable, encode_batch
from coldseal.errors import UnavailableError
from coldseal.gateway.store.reader import LogReader, StoredCheckpoint
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus
from coldseal.observe import events
from coldseal.observe.logs import Log

POLL_S: Final = 1.0
"""Longest pause before the log is looked at again, if nobody says that it has grown."""
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes of entries in one batch, unless a single checkpoint covers more."""

_ANY_BYTES: Final = 2**62

Result = TypeVar("Result")

_log = Log("uplink.runner")


class Outgoing(NamedTuple):
    """One batch, ready to be sent."""

    first: int
    checkpoint: Checkpoint
    body: bytes
    log_size: int


class Bell:
    """Rings when the log has grown, or when a person wants delivery to go on."""

    def __init__(self) -> None:
        """Start silent."""
        self._grown = asyncio.Event()
        self._nudged = asyncio.Event()

    def grow(self) -> None:
        """Say that there is more to send."""
        self._grown.set()

    def nudge(self) -> None:
        """Say that delivery should try again now, even if it is held."""
        self._nudged.set()
        self._grown.set()

    async def wait_growth(self, limit_s: float) -> None:
        """Wait until the log has grown, at most for a while."""
        await _wait(self._grown, limit_s)

    async def wait_nudge(self, limit_s: float | None) -> None:
        """Wait for a person, at most for a while."""
        await _wait(self._nudged, limit_s)


async def _wait(event: asyncio.Event, limit_s: float | None) -> None:
    """Wait for an event, at most for a while, and take it back."""
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


class Uplink:
    """Delivers one log to one service.

    Args:
        reader: the log.
        receipts: where receipts and state are kept.
        post: sends a batch, gives the answer.
        terms: witness, batch size and waits.
        bell: rings when there is something to do.
        chance: gives a number in [0, 1) for each wait.
        now_ms: wall time, Unix milliseconds.
    """

    def __init__(
        self,
        reader: LogReader,
        receipts: Receipts,
        post: Callable[[bytes], Awaitable[Answer]],
        terms: Terms,
        *,
        bell: Bell,
        chance: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        """Begin where the newest stored receipt ended."""
        self._reader = reader
        self._receipts = receipts
        self._post = post
        self._terms = terms
        self._bell = bell
        self._chance = chance
        self._now_ms = now_ms
        newest = receipts.newest()
        self._delivery = begin(newest.size if newest else 0)
        self._status = UplinkStatus(
            published=self._delivery.published, receipt_ms=newest.received_ms if newest else 0
        )
        self._next: Outgoing | None = None
        self._delay_s = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="uplink-disk")

    async def close(self) -> None:
        """Let what is being read or written end; files may be closed then."""
        await asyncio.to_thread(self._thread.shutdown)

    @property
    def delivery(self) -> Delivery:
        """The state."""
        return self._delivery

    async def run(self) -> None:
        """Deliver, for ever."""
        await self._aside(self._receipts.note, self._status)
        while True:
            await self.step()

    async def step(self) -> None:
        """Do what the phase asks for, once."""
        match self._delivery.phase:
            case Phase.WAITING:
                await self._bell.wait_nudge(self._delay_s)
                self._delivery = self._delivery.after(Event.DUE)
            case Phase.HELD:
                await self._bell.wait_nudge(None)
                self._delivery = self._delivery.after(Event.RESUMED)
            case _:
                await self._deliver()

    async def _deliver(self) -> None:
        """Send the next batch and do what follows from the answer; pause if there is none."""
        batch = self._next or await self._aside(self._prepare, self._delivery)
        self._next = None
        if batch is None:
            await self._bell.wait_growth(POLL_S)
            return
        self._delivery = self._delivery.after(Event.CHOSEN)
        hoped = delivered(self._delivery, batch.checkpoint.size)
        answer, following = await asyncio.gather(self._post(batch.body), self._aside(self._prepare, hoped))
        after, step = settle(
            self._delivery,
            batch.checkpoint,
            answer,
            self._terms,
            log_size=batch.log_size,
            chance=self._chance(),
        )
        await self._record(batch, answer, after, step)
        self._delivery, self._delay_s = after, step.delay_s
        if step.receipt is not None:
            self._next = following

    async def _aside(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Read or write in the one thread that uses log and receipts."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _prepare(self, delivery: Delivery) -> Outgoing | None:
        """Read the next batch; None if nothing new is covered by a checkpoint, or nothing can be read."""
        try:
            size = self._reader.size()
            nearest = self._reader.checkpoints(delivery.floor, size, limit=1)
            if not nearest:
                return None
            limit = min(size, reach(delivery, self._terms))
            found = [*nearest, *_some(self._reader.checkpoint_at_most(limit))]
            end = choose(delivery, sorted(each.size for each in found), limit)
            target = next(each for each in found if each.size == end)
            target, frames = self._read(delivery, target, nearest[0])
        except UnavailableError:
            return None
        checkpoint = parse_checkpoint_text(parse_note(target.note).text)
        return Outgoing(delivery.cursor, checkpoint, encode_batch(target.note, delivery.cursor, frames), size)

    def _read(
        self, delivery: Delivery, target: StoredCheckpoint, nearest: StoredCheckpoint
    ) -> tuple[StoredCheckpoint, bytes]:
        """Read the entries up to ``target``, or up to an earlier checkpoint if they are too many bytes."""
        first = delivery.cursor
        if target.size == first:
            return target, b""
        part = self._reader.read_frames(first, max_entries=target.size - first, max_bytes=BATCH_BYTES)
        if first + part.count == target.size:
            return target, part.frames
        earlier = self._reader.checkpoint_at_most(first + part.count)
        if earlier is None or earlier.size <= delivery.floor:
            earlier = nearest
        whole = self._reader.read_frames(first, max_entries=earlier.size - first, max_bytes=_ANY_BYTES)
        return earlier, whole.frames

    async def _record(self, batch: Outgoing, answer: Answer, after: Delivery, step: Step) -> None:
        """Keep the receipt and the state on disk, and tell what a person should know."""
        status = self._describe(answer, after)
        if step.receipt is None:
            await self._aside(self._receipts.note, status)
        else:
            cosigned_s = cosigned_at(parse_note(step.receipt.note), self._terms.witness)
            kept = StoredReceipt(step.receipt.size, cosigned_s, status.receipt_ms, step.receipt.note)
            await self._aside(self._receipts.keep, kept, status)
        before, self._status = self._status, status
        self._tell(batch, before, step)

    def _describe(self, answer: Answer, after: Delivery) -> UplinkStatus:
        """Bring the state up to date."""
        status, now = self._status, self._now_ms()
        failed = dict(status.failed)
        if after.phase is Phase.IDLE and isinstance(answer, Receipt):
            return UplinkStatus(
                phase=after.phase,
                published=after.published,
                receipt_ms=now,
                failed=failed,
                signatures_verified=answer.signatures_verified,
                refuted=answer.refuted,
            )
        is_failure = not isinstance(answer, Stale | Gap) or after.phase is Phase.HELD
        if is_failure:
            kind = answer.kind if isinstance(answer, Unavailable) else Kind.REFUSED
            failed[kind] = failed.get(kind, 0) + 1
        return msgspec.structs.replace(
            status,
            phase=after.phase,
            failures=after.failures,
            fault=after.fault,
            failed=failed,
            failed_since_ms=status.failed_since_ms or (now if is_failure else 0),
        )

    def _tell(self, batch: Outgoing, before: UplinkStatus, step: Step) -> None:
        """Write events: an outage once when it begins and once when it ends."""
        status = self._status
        size = batch.checkpoint.size
        if isinstance(step.alarm, RolledBackError):
            _log.emit(events.UPLINK_ROLLED_BACK, published=step.alarm.published, size=step.alarm.size)
        elif step.alarm is not None:
            _log.emit(
                events.UPLINK_REFUSED,
                error=step.alarm.verdict,
                first=batch.first,
                size=size,
                detail=str(step.alarm),
            )
        elif status.failed_since_ms and not before.failed_since_ms:
            _log.emit(events.UPLINK_LOST, since=status.failed_since_ms, cause=status.fault)
        if step.receipt is None:
            return
        _log.emit(events.UPLINK_RECEIPT, size=size, entries=size - batch.first)
        if before.failed_since_ms:
            lost_s = (status.receipt_ms - before.failed_since_ms) / 1000
            _log.emit(events.UPLINK_RESTORED, lost_s=lost_s, backlog=max(0, batch.log_size - size))
        if fresh := sorted(set(status.refuted) - set(before.refuted)):
            _log.emit(events.UPLINK_REFUTED, seqs=fresh)


def _some(found: StoredCheckpoint | None) -> list[StoredCheckpoint]:
    """Make a list of one or none."""
    return [] if found is None else [found]
