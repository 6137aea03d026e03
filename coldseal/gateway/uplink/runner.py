"""Delivers the log: reads what to send, sends it, keeps the receipt, waits when told to.

Follows the pure machine `coldseal.core.log.delivery.sender` and does what its steps say. Promises that the
published size moves only after the receipt is on disk. While one batch is under way, the next one follows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from coldseal.core.log.checkpoint import cosigned_at, parse_note
from coldseal.core.log.delivery.sender import (
    Delivery,
    Event,
    Phase,
    RolledBackError,
    Step,
    Terms,
    begin,
    delivered,
    settle,
)
from coldseal.core.log.delivery.wire import Answer, Gap, Kind, Receipt, Stale, Unavailable
from coldseal.errors import TrustError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.batches import Batches, Outgoing
from coldseal.gateway.uplink.cosignatures import UplinkEvidence
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus
from coldseal.observe import events
from coldseal.observe.logs import Log

POLL_S: Final = 1.0
"""Longest pause before the log is looked at again, if nobody says that it has grown."""

Result = TypeVar("Result")

Post = Callable[[bytes, asyncio.Event], Coroutine[None, None, Answer]]
"""Sends a batch, sets the event once it has left, and gives the answer; never raises."""

_log = Log("uplink.runner")


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


class _Flight:
    """One batch under way."""

    def __init__(self, batch: Outgoing, post: Post, *, is_ahead: bool = False) -> None:
        """Send it off; ``is_ahead`` of the answer to the batch before it."""
        self.batch = batch
        self.is_ahead = is_ahead
        self.left = asyncio.Event()
        self.answer = asyncio.ensure_future(self._fly(post))

    async def _fly(self, post: Post) -> Answer:
        """Wait for the answer; whatever happens, the batch has left by then."""
        try:
            return await post(self.batch.body, self.left)
        finally:
            self.left.set()


class Uplink:
    """Delivers one log to one service.

    Args:
        reader: the log.
        receipts: where receipts and state are kept.
        post: sends a batch, says when it has left, and gives the answer; never raises.
        terms: witness, batch size and waits.
        bell: rings when there is something to do.
        chance: gives a number in [0, 1) for each wait.
        now_ms: wall time, Unix milliseconds.
    """

    def __init__(
        self,
        reader: LogReader,
        receipts: Receipts,
        post: Post,
        terms: Terms,
        *,
        bell: Bell,
        chance: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        """Begin where the newest stored receipt ended."""
        self._batches = Batches(reader, terms)
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
        self._flight: _Flight | None = None
        self._reading: asyncio.Future[Outgoing | None] | None = None
        self._is_flowing = False
        self.is_met = False
        """Whether the service has given a receipt since this began: it knows this log as it is."""
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
        """Deliver, for ever.

        Raises:
            UnavailableError: a receipt or the state cannot be written.
            TrustError: the log is damaged.
        """
        await self.aside(self._receipts.note, self._status)
        try:
            while True:
                await self.step()
        finally:
            self._drop()

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
        batch = self._next or await self.aside(self._batches.next, self._delivery)
        if batch is None:
            await self._bell.wait_growth(POLL_S)
            return
        flight = self._flight or _Flight(batch, self._post)
        self._next = self._flight = None
        self._delivery = self._delivery.after(Event.CHOSEN)
        try:
            await self._look_ahead(flight)
            answer = await flight.answer
            if flight.is_ahead and isinstance(answer, Gap):
                answer = Gap(batch.first)  # it may have overtaken the batch before it: it goes again, alone
        finally:
            flight.answer.cancel()
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
        self._is_flowing = step.receipt is not None
        self.is_met |= self._is_flowing
        if not self._is_flowing:
            self._drop()

    async def _look_ahead(self, flight: _Flight) -> None:
        """Read the next batch while one is under way, and send it too as long as receipts come.

        It goes out once the one before has left. The service takes the batches of a log one by one, so it
        has nothing to do twice; should the one before fail, nobody looks at the answer to this one. Of a
        backlog, the batch behind it is read meanwhile.
        """
        hoped = delivered(self._delivery, flight.batch.checkpoint.size)
        reading, self._reading = self._reading or self._read(hoped), None
        self._next = await reading
        if self._next is not None and self._is_flowing:
            await flight.left.wait()
            if not flight.answer.done():
                self._flight = _Flight(self._next, self._post, is_ahead=True)
                size = self._next.checkpoint.size
                if self._next.log_size - size >= self._terms.batch_entries:  # a whole one is there
                    self._reading = self._read(delivered(hoped, size))

    def _read(self, delivery: Delivery) -> asyncio.Future[Outgoing | None]:
        """Begin to read the batch that such a state asks for."""
        return asyncio.ensure_future(self.aside(self._batches.next, delivery))

    def _drop(self) -> None:
        """Forget the next batches, which were chosen in the hope of a receipt."""
        if self._flight is not None:
            self._flight.answer.cancel()
        if self._reading is not None and not self._reading.cancel():
            self._reading.exception()  # whoever reads there next meets it
        self._next = self._flight = self._reading = None

    async def aside(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Read or write in the one thread that uses log and receipts."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _record(self, batch: Outgoing, answer: Answer, after: Delivery, step: Step) -> None:
        """Keep the receipt and the state on disk, and tell what a person should know."""
        status = self._describe(answer, after)
        if step.alarm is not None:
            await self.aside(self._keep_evidence, batch, answer, step.alarm)
        if step.receipt is None:
            await self.aside(self._receipts.note, status)
        else:
            cosigned_s = cosigned_at(parse_note(step.receipt.note), self._terms.witness)
            kept = StoredReceipt(step.receipt.size, cosigned_s, status.receipt_ms, step.receipt.note)
            await self.aside(self._receipts.keep, kept, status)
        before, self._status = self._status, status
        self._tell(batch, before, step)

    def _keep_evidence(self, batch: Outgoing, answer: Answer, alarm: TrustError) -> None:
        """Keep what contradicts the service's own receipts, or its refusal of what was sent."""
        newest = self._receipts.newest()
        found = UplinkEvidence(
            t_ms=self._now_ms(),
            witness="",
            verdict=alarm.verdict,
            size=batch.checkpoint.size,
            detail=str(alarm),
            note=answer.note if isinstance(answer, Receipt) else batch.note,
            held=newest.note if newest else b"",
        )
        self._receipts.cosignatures.keep_evidence(found)

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
