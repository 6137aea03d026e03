"""The main path: decode → validate → evaluate → seal → commit → acknowledge.

Promise: whoever is answered SEALED has its reading signed, chained and on disk. Messages keep the
order in which they were submitted; all that arrive while one group commits make the next.
It knows no transport and no limit of one: a source asks ``is_full`` before it reads on.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from coldseal.core.coldchain.reading import FLAG_SEQUENCE, encode_reading, encode_source
from coldseal.core.redelivery import Redelivery
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.message import Message, Outcome
from coldseal.gateway.sources.decode import Decoded, decode, sensor_of
from coldseal.gateway.store.sealing import Draft

if TYPE_CHECKING:
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.rejections import Rejections
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.tally import Tally

Evaluate = Callable[[str, str, Decoded], tuple[Sequence[str], Sequence[Draft]]]
"""Given device, sensor and what was measured: flags for the reading, and entries to seal right behind it."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """A message on its way: what to seal for it, and what to answer once that is on disk."""

    message: Message
    outcome: Outcome
    drafts: tuple[Draft, ...] = ()
    reason: str = ""
    key: str = ""
    is_counted: bool = False


class Pipeline:
    """Takes messages in, one group at a time through the journal, and answers each.

    Args:
        journal: seals and commits.
        redelivery: knows what was sealed lately.
        rejections: makes the entries of what is not taken.
        clock: gives the moment.
        evaluate: decides what a reading means for its product.
        tally: counts what happens.
        max_pending: messages that may wait for a commit.
        window_s: time that a commit waits for more messages, in seconds.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        redelivery: Redelivery,
        rejections: Rejections,
        clock: Clock,
        evaluate: Evaluate,
        tally: Tally,
        max_pending: int,
        window_s: float = 0,
    ) -> None:
        """Take the parts; nothing runs yet."""
        self._journal, self._redelivery, self._rejections = journal, redelivery, rejections
        self._clock, self._evaluate, self._tally = clock, evaluate, tally
        self._max_pending, self._window_s = max_pending, window_s
        self._pending: list[Item] = []
        self._counted: list[Item] = []
        self._own: list[Draft] = []
        self._arrived = asyncio.Event()
        self._is_stopping = False

    @property
    def is_full(self) -> bool:
        """Tell a source to stop reading until its earlier messages are answered."""
        return len(self._pending) >= self._max_pending

    def submit(self, message: Message) -> None:
        """Take a message in; its ``acknowledge`` is called once its group is on disk."""
        item = self._prepare(message)
        if not item.is_counted:
            self._pending.append(item)
            self._arrived.set()
        elif message.qos:  # nobody waits for an answer to the others
            self._counted.append(item)

    def record(self, kind: str, data: bytes) -> None:
        """Seal an entry of the log's own, such as a heartbeat, with the next group."""
        self._own.append(self._journal.draft(kind, data, self._clock.now()))
        self._arrived.set()

    def tick(self) -> None:
        """Once a second: seal what was only counted, and let a due checkpoint be made."""
        counts = list(self._rejections.counted(self._clock.now()))
        if counts:
            self._own += counts
            self._pending += self._counted
            self._counted = []
        self._arrived.set()

    def stop(self) -> None:
        """Let :meth:`run` end once nothing is pending."""
        self._is_stopping = True
        self.tick()

    async def run(self) -> None:
        """Commit group after group until stopped."""
        while not self._is_stopping or self._pending or self._own:
            await self._arrived.wait()
            await asyncio.sleep(self._window_s)  # one turn of the loop at least: others' bytes are read first
            self._arrived.clear()
            group, self._pending = self._pending, []
            own, self._own = self._own, []
            try:
                await self._commit(own, group)
            except UnavailableError as error:
                self._give_back(group, str(error))
                self._own = [] if self._is_stopping else own + self._own

    async def _commit(self, own: list[Draft], group: list[Item]) -> None:
        """Commit a group and answer everyone in it: the promise is the order of the middle statements."""
        self._tally.begun(len(group), since := self._clock.now())
        drafts = [*own, *(draft for item in group for draft in item.drafts)]
        await self._journal.append(drafts, self._redelivery, is_own=not group)
        for item in group:
            item.message.acknowledge(item.outcome, item.reason)
        self._tally.committed(group, since, self._clock.now())

    def _give_back(self, group: list[Item], reason: str) -> None:
        """Answer BUSY: nothing was sealed, so nothing may be remembered as sealed."""
        for item in group:
            if item.drafts:
                self._redelivery.forget(item.message.device, item.key)
            item.message.acknowledge(Outcome.BUSY, reason)
        self._tally.turned_away(len(group))

    def _prepare(self, message: Message) -> Item:
        """Decode, validate and evaluate a message."""
        digest = hashlib.sha256(message.payload).hexdigest()
        if message.refused:
            return self._reject(message, digest, Outcome.REFUSED, message.refused, "the topic is not granted")
        sensor = sensor_of(message.topic)
        if sensor is None:  # not a record of the cold chain: passed on to subscribers, not sealed
            return Item(message, Outcome.SEALED)
        try:
            decoded = decode(message.payload, received_ms=message.received.t_ms)
        except InputError as error:
            return self._reject(message, digest, Outcome.REJECTED, "payload", str(error))
        has_name = decoded.seq is not None
        key = Redelivery.key(digest, None if has_name else message.packet_id)
        if (has_name or message.redelivered) and self._redelivery.is_known(message.device, key):
            return Item(message, Outcome.DUPLICATE)
        self._redelivery.remember(message.device, key)
        self._tally.heard(message.topic, message.received.t_ms)
        flags, effects = self._evaluate(message.device, sensor, decoded)
        if decoded.seq is not None and self._redelivery.goes_back(message.device, decoded.boot, decoded.seq):
            flags = (*flags, FLAG_SEQUENCE)
        data = encode_reading(sensor, decoded.quantities, flags)
        source = encode_source(
            message.device,
            message.fingerprint,
            digest,
            seq=decoded.seq,
            boot=decoded.boot,
            taken_at=decoded.taken_at,
            packet_id=message.packet_id,
        )
        draft = self._journal.draft("reading", data, message.received, source)
        return Item(message, Outcome.SEALED, (draft, *effects), key=key)

    def _reject(self, message: Message, digest: str, outcome: Outcome, reason: str, detail: str) -> Item:
        """Seal that a message was not taken, once for each delivery that the sender knows of."""
        key = Redelivery.key(digest, message.packet_id)
        if message.redelivered and self._redelivery.is_known(message.device, key):
            return Item(message, outcome, reason=detail)
        draft = self._rejections.draft(message, digest, reason, detail)
        if draft is None:  # over the rate: answered when the entry that counts it is on disk
            return Item(message, outcome, reason=detail, is_counted=True)
        if message.packet_id is not None:
            self._redelivery.remember(message.device, key)
        return Item(message, outcome, (draft,), detail, key)
