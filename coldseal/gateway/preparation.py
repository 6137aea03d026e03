"""From a message to what will be sealed for it: decode → validate → evaluate.

Promise: a message that was sealed before is known again, one that cannot be taken becomes a rejection, and
every other one a reading with the digits its sensor sent. In doubt a message is new. Seals nothing.
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.reading import FLAG_SEQUENCE, encode_reading, encode_source
from coldseal.core.redelivery import Latest, Redelivery
from coldseal.core.topics import REASONS
from coldseal.errors import InputError
from coldseal.gateway.message import Message, Outcome, outcome_of
from coldseal.gateway.rejections import UNKNOWN_SCHEMA
from coldseal.gateway.schemas import Book, SchemaError
from coldseal.gateway.sources.decode import sensor_of
from coldseal.gateway.store.drafts import Draft

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterable, Sequence

    from coldseal.core.coldchain.effects import Effect
    from coldseal.gateway.clock import Stamp
    from coldseal.gateway.evaluating import Before
    from coldseal.gateway.projection import Projection
    from coldseal.gateway.rejections import Rejections
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.tally import Tally

_SEALED: Final = Outcome.SEALED  # an attribute of an enumeration costs as much as a dictionary


class Item(msgspec.Struct, frozen=True, gc=False):
    """A message on its way: what to seal for it, and what to answer once that is on disk.

    An item of the gateway's own is the same without a device: its entries stand between those of messages.

    Args:
        message: the message.
        outcome: what its sender will be told.
        drafts: what to seal for it; none for a duplicate, or for what is no record.
        reason: the outcome in words; empty when all is well.
        key: by which its redelivery will be known.
        latest: the device's run and sequence before it.
        is_counted: it has no entry of its own, and is answered with the one that counts it.
        before: how judging stood before it; None where it moved nothing.
        entered: who waits for the entries of an item of the gateway's own.
    """

    message: Message
    outcome: Outcome
    drafts: tuple[Draft, ...] = ()
    reason: str = ""
    key: str = ""
    latest: Latest | None = None
    is_counted: bool = False
    before: Before | None = None
    entered: Future[list[bytes]] | None = None


class Preparation:
    """Prepares one message after the other, in the order in which they came.

    Args:
        projection: knows what was sealed lately, and decides what a reading means for its product.
        rejections: makes the entries of what is not taken.
        journal: stamps drafts.
        tally: notes when each sensor was heard.
        book: the schemas that are known; the project's own by default.
    """

    def __init__(
        self,
        *,
        projection: Projection,
        rejections: Rejections,
        journal: Journal,
        tally: Tally,
        book: Book | None = None,
    ) -> None:
        """Take the parts."""
        self._decode = (Book() if book is None else book).decode
        self._projection, self._redelivery = projection, projection.redelivery
        self._evaluator, self._tally = projection.evaluator, tally
        self._rejections, self._journal = rejections, journal

    def prepare(self, message: Message) -> Item:
        """Decode, validate and evaluate a message."""
        digest = b2a_base64(sha256(message.payload).digest(), newline=False).decode()
        if message.refused:
            outcome, why = outcome_of(message.refused), REASONS.get(message.refused, "it is not allowed")
            return self._reject(message, digest, outcome, message.refused, why)
        device, received = message.device, message.received
        sensor = sensor_of(message.topic)
        if sensor is None:  # not a record of the cold chain: passed on to subscribers, not sealed
            return Item(message, _SEALED)
        try:
            decoded = self._decode(message.topic, message.payload, received.t_ms)
        except InputError as error:
            reason = UNKNOWN_SCHEMA if isinstance(error, SchemaError) else "payload"
            return self._reject(message, digest, Outcome.REJECTED, reason, str(error))
        seq, boot = decoded.seq, decoded.boot
        if seq is not None:
            key = Redelivery.key(digest)
            taken = self._redelivery.take(device, key, (boot, seq), may_be_known=True)
        else:
            key = Redelivery.key(digest, message.packet_id)
            taken = self._redelivery.take(device, key, may_be_known=message.redelivered)
        if taken is None:
            return Item(message, Outcome.DUPLICATE)
        latest, goes_back = taken
        self._tally.heard(message.topic, received.t_ms)
        flags = self._journal.doubts(received)
        if goes_back:
            flags = (*flags, FLAG_SEQUENCE)
        if decoded.flags:
            flags = (*flags, *decoded.flags)
        judged = self._evaluator.evaluate(device, sensor, decoded, flags, received.t_ms)
        data = encode_reading(sensor, judged.quantities, judged.flags)
        source = encode_source(
            device,
            message.fingerprint,
            digest,
            seq=seq,
            boot=boot,
            taken_at=decoded.taken_at,
            packet_id=message.packet_id,
            schema=decoded.schema,
        )
        draft = self._journal.draft("reading", data, received, source)
        if judged.before is None:
            return Item(message, _SEALED, (draft,), "", key, latest)
        drafts = (draft, *self.drafts(judged.effects, received)) if judged.effects else (draft,)
        return Item(message, _SEALED, drafts, "", key, latest, before=judged.before)

    def drafts(self, effects: Iterable[Effect], stamp: Stamp) -> Iterable[Draft]:
        """Stamp what judging has found."""
        return [self._journal.draft(each.kind, each.data, stamp) for each in effects]

    def _reject(self, message: Message, digest: str, outcome: Outcome, reason: str, detail: str) -> Item:
        """Seal that a message was not taken, once for each delivery that the sender knows of."""
        key = Redelivery.key(digest, message.packet_id)
        if message.redelivered and self._redelivery.is_known(message.device, key):
            return Item(message, outcome, reason=detail)
        draft = self._rejections.draft(message, digest, reason, detail)
        if draft is None:  # over the rate: answered when the entry that counts it is on disk
            return Item(message, outcome, reason=detail, is_counted=True)
        if message.packet_id is not None:
            self._redelivery.take(message.device, key)
        return Item(message, outcome, (draft,), detail, key, self._redelivery.latest(message.device))

    def counted(self, now: Stamp) -> list[Draft]:
        """Give one entry for each device whose rejections were only counted since the last call."""
        return list(self._rejections.counted(now))

    def forget(self, items: Sequence[Item]) -> None:
        """Take back, newest first, what could not be sealed after all."""
        for item in reversed(items):
            if item.before is not None:
                self._evaluator.undo(item.before)
            if item.key:
                self._redelivery.forget(item.message.device, item.key, item.latest)

    def snapshot(self, waiting: Sequence[Item]) -> bytes | Callable[[], bytes]:
        """Write down what is known of the log: all that was taken in, but for what waits."""
        return self._projection.still(
            ((item.message.device, item.key, item.latest) for item in waiting if item.key),
            (item.before for item in waiting if item.before is not None),
        )
