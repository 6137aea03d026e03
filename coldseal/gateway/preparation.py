"""From a message to what will be sealed for it: decode → validate → evaluate.

Promise: a message that was sealed before is known again, one that cannot be taken becomes a rejection, and
every other one a reading with the digits its sensor sent. In doubt a message is new. Seals nothing.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.reading import FLAG_SEQUENCE, encode_reading, encode_source
from coldseal.core.redelivery import Latest, Redelivery
from coldseal.core.topics import REASONS
from coldseal.errors import InputError
from coldseal.gateway.message import Message, Outcome, outcome_of
from coldseal.gateway.sources.decode import Decoded, decode, sensor_of
from coldseal.gateway.store.drafts import Draft

if TYPE_CHECKING:
    from coldseal.gateway.clock import Stamp
    from coldseal.gateway.rejections import Rejections
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.tally import Tally

_SEALED: Final = Outcome.SEALED  # an attribute of an enumeration costs as much as a dictionary

Evaluate = Callable[[str, str, Decoded], tuple[Sequence[str], Sequence[Draft]]]
"""Given device, sensor and what was measured: flags for the reading, and entries to seal right behind it."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """A message on its way: what to seal for it, and what to answer once that is on disk.

    Args:
        message: the message.
        outcome: what its sender will be told.
        drafts: what to seal for it; none for a duplicate, or for what is no record.
        reason: the outcome in words; empty when all is well.
        key: by which its redelivery will be known.
        latest: the device's run and sequence before it.
        is_counted: it has no entry of its own, and is answered with the one that counts it.
    """

    message: Message
    outcome: Outcome
    drafts: tuple[Draft, ...] = ()
    reason: str = ""
    key: str = ""
    latest: Latest | None = None
    is_counted: bool = False


class Preparation:
    """Prepares one message after the other, in the order in which they came.

    Args:
        redelivery: knows what was sealed lately.
        rejections: makes the entries of what is not taken.
        journal: stamps drafts.
        evaluate: decides what a reading means for its product.
        tally: notes when each sensor was heard.
    """

    def __init__(
        self,
        *,
        redelivery: Redelivery,
        rejections: Rejections,
        journal: Journal,
        evaluate: Evaluate,
        tally: Tally,
    ) -> None:
        """Take the parts."""
        self._redelivery, self._rejections, self._journal = redelivery, rejections, journal
        self._evaluate, self._tally = evaluate, tally

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
            decoded = decode(message.payload, received_ms=received.t_ms)
        except InputError as error:
            return self._reject(message, digest, Outcome.REJECTED, "payload", str(error))
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
        flags, effects = self._evaluate(device, sensor, decoded)
        if goes_back:
            flags = (*flags, FLAG_SEQUENCE)
        if doubts := self._journal.doubts(received):
            flags = (*flags, *doubts)
        data = encode_reading(sensor, decoded.quantities, flags)
        source = encode_source(
            device,
            message.fingerprint,
            digest,
            seq=seq,
            boot=boot,
            taken_at=decoded.taken_at,
            packet_id=message.packet_id,
        )
        draft = self._journal.draft("reading", data, received, source)
        return Item(message, _SEALED, (draft, *effects) if effects else (draft,), "", key, latest)

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
            if item.drafts:
                self._redelivery.forget(item.message.device, item.key, item.latest)

    def snapshot(self, waiting: Sequence[Item]) -> bytes:
        """Write down which messages are sealed: all that are known, but for those that wait."""
        unsealed = (item for item in waiting if item.drafts)
        return self._redelivery.snapshot((item.message.device, item.key, item.latest) for item in unsealed)
