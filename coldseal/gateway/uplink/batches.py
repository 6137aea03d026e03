"""Cuts the log into batches: each ends exactly at a signed checkpoint, and is ready for the wire.

Reads what the pure machine asks for, and nothing else; sends nothing. Used by one thread at a time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from coldseal.core.log.checkpoint import Checkpoint, parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.sender import Delivery, Terms, choose, reach
from coldseal.core.log.delivery.wire import encode_batch
from coldseal.errors import UnavailableError
from coldseal.gateway.store.reader import LogReader, StoredCheckpoint

BATCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes of entries in one batch, unless a single checkpoint covers more."""
_ANY_BYTES: Final = 2**62


class Outgoing(NamedTuple):
    """One batch, ready to be sent.

    Attributes:
        first: seq of its first entry.
        checkpoint: where it ends.
        note: that checkpoint, signed.
        body: as it goes over the wire.
        log_size: entries that the log had when it was made.
    """

    first: int
    checkpoint: Checkpoint
    note: bytes
    body: bytes
    log_size: int


class Batches:
    """Makes the batches of one log.

    Args:
        reader: the log.
        terms: how many entries a batch should hold.
    """

    def __init__(self, reader: LogReader, terms: Terms) -> None:
        """Take the parts; nothing is read yet."""
        self._reader = reader
        self._terms = terms

    def next(self, delivery: Delivery) -> Outgoing | None:
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
        body = encode_batch(target.note, delivery.cursor, frames)
        return Outgoing(delivery.cursor, checkpoint, target.note, body, size)

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


def _some(found: StoredCheckpoint | None) -> list[StoredCheckpoint]:
    """Make a list of one or none."""
    return [] if found is None else [found]
