"""A quick look at the new entries of a batch: their hashes, and which are not plainly readings in place.

Promises that an entry which it does not call odd is a reading of the log, with the seq and the predecessor
that its place demands. Parses nothing and refuses nothing: `receiver` looks again at what is odd, and
whether the rest of an entry is well-formed, `signatures` finds out.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.log.record import frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coldseal.core.log.delivery.wire import Batch

_PREV = b',"prev":"'
_LEAF = sha256(b"\x00")  # RFC 6962 2.1; a copy of it takes less than a new one


class Seen(NamedTuple):
    """What was seen.

    Attributes:
        size: of the log that is held: seq of the first new entry.
        entries: the new ones.
        frames: the same, framed.
        leaves: their leaf hashes.
        odd: seqs of those that are no reading in its place, or perhaps none.
    """

    size: int
    entries: Sequence[bytes] = ()
    frames: bytes = b""
    leaves: Sequence[bytes] = ()
    odd: Sequence[int] = ()

    def oddities(self) -> Iterator[tuple[int, bytes]]:
        """Give seq and bytes of the odd ones."""
        return ((seq, self.entries[seq - self.size]) for seq in self.odd)


def look(origin: str, size: int, last: bytes, batch: Batch) -> Seen:
    """Look at a batch, which may repeat some of what is held; one that begins behind that shows nothing.

    In canonical bytes ``,"prev":"`` cannot stand inside a string (its quotes would be escaped), so
    where it occurs once it is the body's own, and kind, log and seq stand next to it. Where each entry that
    is not odd has it, and all frames together have no more beside what the odd ones have, each has it once.

    Args:
        origin: the log.
        size: entries of it that are held.
        last: leaf hash of the last one of these.
        batch: what came.
    """
    overlap = size - batch.first
    if not 0 <= overlap < len(batch.entries):
        return Seen(size)
    entries = batch.entries[overlap:] if overlap else batch.entries
    frames = frame(entries) if overlap else batch.frames
    before = f',"kind":"reading","log":"{origin}","prev":"'  # an origin needs no escaping
    leaves: list[bytes] = []
    odd: list[int] = []
    new, add = _LEAF.copy, leaves.append
    place = 0
    for seq, entry in enumerate(entries, size):
        link = f'{before}{last.hex()}","seq":{seq},'.encode()
        if not entry.startswith(link, place):  # where the entry before has it
            found = entry.find(link)
            if found < 0:
                odd.append(seq)
            else:
                place = found
        leaf = new()
        leaf.update(entry)
        last = leaf.digest()
        add(last)
    inside = sum(entries[seq - size].count(_PREV) for seq in odd)
    if frames.count(_PREV) != len(entries) - len(odd) + inside:
        missed = set(odd)
        odd = [seq for seq, raw in enumerate(entries, size) if seq in missed or raw.count(_PREV) != 1]
    return Seen(size, entries, frames, leaves, odd)


def is_in_place(origin: str, seq: int, prev: bytes, raw: bytes) -> bool:
    """Whether an entry, of whatever kind, certainly has its log, seq and predecessor; no says nothing."""
    link = f',"log":"{origin}","prev":"{prev.hex()}","seq":{seq},'.encode()
    return link in raw and raw.count(_PREV) == 1
