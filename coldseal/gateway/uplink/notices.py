"""Tells urgent entries ahead of their order while a backlog drains in front of them, the newest first.

A notice delivers nothing: published size, receipts and batches know nothing of it. What cannot be told is in
the log all the same, and comes in its place. Reads each entry of a backlog once more, a stretch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Final

from coldseal.core.log.delivery.notices import (
    Finder,
    Notice,
    Outbox,
    Request,
    Told,
    encode_notices,
)
from coldseal.core.log.delivery.sender import Delivery, Phase, Terms, reach
from coldseal.core.log.delivery.wire import Unavailable
from coldseal.core.log.merkle import inclusion_proof
from coldseal.errors import UnavailableError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.runner import POLL_S, Bell, Uplink
from coldseal.observe import events
from coldseal.observe.logs import Log

STRETCH: Final = 4_096
"""Entries that are looked through at once."""
STRETCHES: Final = 4
"""Stretches in each direction between two requests."""
SOON: Final = 4
"""A backlog that is gone after so many more looks, at the pace since the last one, needs no notices."""

Post = Callable[[bytes], Coroutine[None, None, Told | Unavailable]]
"""Posts a request and gives the answer; never raises."""

_log = Log("uplink.notices")


class Announcer:
    """Tells the urgent entries of one log.

    Args:
        uplink: how delivery stands, and the thread that reads.
        reader: the log.
        post: posts a request and gives the answer; never raises.
        terms: those of delivery.
        finder: knows what is urgent.
        bell: rings when the log has grown.
        chance: gives a number in [0, 1) for each wait.
    """

    def __init__(
        self,
        uplink: Uplink,
        reader: LogReader,
        post: Post,
        terms: Terms,
        finder: Finder,
        *,
        bell: Bell,
        chance: Callable[[], float],
    ) -> None:
        """Take the parts; nothing is read yet."""
        self._uplink, self._reader, self._post = uplink, reader, post
        self._terms, self._finder, self._bell, self._chance = terms, finder, bell, chance
        self._outbox = Outbox()
        self._low = self._high = -1
        self._due = 0
        self._failures = 0

    async def run(self) -> None:
        """Look and tell, for ever.

        Raises:
            TrustError: the log is damaged.
        """
        while self._finder.kinds:
            await self.step()

    async def step(self) -> None:
        """Look once, tell what there is, and wait: for more after an answer, for longer without one."""
        delivery = self._uplink.delivery
        is_trusted = self._uplink.is_met and delivery.phase is not Phase.HELD
        body = await self._uplink.aside(self._prepare, delivery) if is_trusted else b""
        if body:
            self._settle(answer := await self._post(body))
            if isinstance(answer, Unavailable):
                delay_s = self._terms.retry.delay(self._failures, self._chance(), answer.after_s)
                await self._bell.wait_nudge(delay_s)
                return
        await self._bell.wait_growth(POLL_S)

    def _settle(self, answer: Told | Unavailable) -> None:
        """Take over what the service says."""
        if isinstance(answer, Unavailable):
            self._failures += 1
            return
        self._failures = 0
        self._outbox.settle(answer)
        for seq, reason in answer.refused.items():
            _log.emit(events.NOTICE_NOT_TAKEN, seq=seq, reason=reason)

    def _prepare(self, delivery: Delivery) -> bytes:
        """Make the next request; empty if nothing urgent waits behind the next batch."""
        try:
            size = self._reader.size()
            due = reach(delivery, self._terms)
            went, self._due = due - (self._due or due), due
            if size <= due or self._low < 0:
                self._low = self._high = size
            if size - due <= SOON * went:
                return b""
            self._look_ahead(size)
            self._look_back(due)
            self._outbox.forget(due)
            return self._write(size)
        except UnavailableError:
            return b""

    def _look_ahead(self, size: int) -> None:
        """Look through what was sealed since."""
        for _ in range(STRETCHES):
            end = min(size, self._high + STRETCH)
            self._look(self._high, end)
            self._high = end

    def _look_back(self, due: int) -> None:
        """Look through what lies between the next batch and what was seen."""
        for _ in range(STRETCHES):
            first = max(due, self._low - STRETCH)
            self._look(first, self._low)
            self._low = min(self._low, first)

    def _look(self, first: int, end: int) -> None:
        """Look through the entries ``first`` to ``end``."""
        while first < end:
            found = self._reader.read_frames(first, max_entries=end - first)
            self._outbox.add(self._finder.find(first, found.frames))
            first += found.count

    def _write(self, size: int) -> bytes:
        """Write the newest ones down, each with its proof if the newest checkpoint covers it."""
        newest = self._outbox.newest()
        if not newest:
            return b""
        covering = self._reader.checkpoint_at_most(size)
        upto, note = covering if covering is not None else (0, b"")
        notices = [
            Notice(raw, tuple(inclusion_proof(seq, upto, self._reader.nodes)) if seq < upto else None)
            for seq, raw in newest
        ]
        return encode_notices(Request(note, tuple(notices)))
