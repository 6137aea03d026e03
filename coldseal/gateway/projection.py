"""What the intake knows of the log: which messages are sealed, and how far judging is. One snapshot for both.

Promise: it follows from the entries alone; a snapshot and the entries behind it give the same as all entries.
A part of a snapshot that cannot be read is made anew from what the log holds, and that is said; it is never a
reason not to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.core.log.record import parse_entry
from coldseal.core.redelivery import Redelivery
from coldseal.gateway.evaluating import Evaluator, is_change
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import PrunedError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from coldseal.core.log.record import Entry
    from coldseal.core.redelivery import Latest
    from coldseal.gateway.evaluating import Before
    from coldseal.gateway.store.reader import LogReader

_MARK: Final = b"\x00coldseal projection 1\n"
"""Begins a snapshot with both parts; one without it is that of redelivery alone."""

MANY: Final = 256
"""Sensors that are judged, from which on a snapshot is written in a thread."""

_LENGTH: Final = 8
_PART: Final = 4096
_log = Log("gateway.projection")


class Projection:
    """Both parts.

    Args:
        redelivery: knows what was sealed lately.
        evaluator: judges readings.
    """

    def __init__(self, redelivery: Redelivery, evaluator: Evaluator | None = None) -> None:
        """Take the parts."""
        self.redelivery = redelivery
        self.evaluator = Evaluator() if evaluator is None else evaluator

    def replay(self, entry: Entry) -> None:
        """Follow an entry of the log."""
        self.redelivery.learn(entry.src)
        self.evaluator.learn(entry.kind, entry.data, entry.src, entry.t)

    def snapshot(self) -> bytes:
        """Write down what follows from the entries."""
        return self._still((), ())()

    def still(
        self, unsealed: Iterable[tuple[str, str, Latest | None]] = (), befores: Iterable[Before] = ()
    ) -> bytes | Callable[[], bytes]:
        """Write the same down without what is under way and not sealed.

        Of many sensors that takes longer than messages can wait: then it gives what does it in a thread.
        """
        write = self._still(unsealed, befores)
        return write() if self.evaluator.evaluation.size < MANY else write

    def _still(
        self, unsealed: Iterable[tuple[str, str, Latest | None]], befores: Iterable[Before]
    ) -> Callable[[], bytes]:
        """Give what writes it down as it is now."""
        known, judged = self.redelivery.snapshot(unsealed), self.evaluator.still(befores)
        return lambda: b"%b%b%b%b" % (_MARK, len(known).to_bytes(_LENGTH), known, judged())

    @classmethod
    def restore(cls, reader: LogReader, snapshot: bytes | None, *, window: int) -> Self:
        """Give what follows from all entries: from the newest snapshot on, as far as it can be read.

        Args:
            reader: reads the log.
            snapshot: the newest one; None if there is none.
            window: messages remembered for each device.
        """
        place = 0 if snapshot is None else reader.snapshot_size()
        settings = [entry for raw in reader.settings() if (entry := parse_entry(raw)).seq < place]
        judged = _parts(snapshot or b"")[1]
        evaluator = Evaluator.restore(judged, settings) if judged else Evaluator()
        found = cls(sealed_lately(snapshot, window=window), evaluator)
        if evaluator is None or (not judged and any(is_change(each.kind, each.data) for each in settings)):
            for raw in surviving(reader, 0, place):
                entry = parse_entry(raw)
                found.evaluator.learn(entry.kind, entry.data, entry.src, entry.t)
            _log.emit(events.JUDGING_REBUILT, size=place)
        for raw in surviving(reader, place, reader.size()):
            found.replay(parse_entry(raw))
        return found


def sealed_lately(snapshot: bytes | None, *, window: int) -> Redelivery:
    """Read the part of a snapshot that knows messages."""
    return Redelivery.restore(_parts(snapshot or b"")[0], window=window)


def surviving(reader: LogReader, first: int, end: int) -> Iterator[bytes]:
    """Give the entries that are still here, in order: neither pruned nor lost."""
    until = end
    while first < end:
        try:
            part = reader.read(first, max_entries=min(_PART, until - first))
        except (PrunedError, LostError) as gone:
            if gone.seq > first:  # what stands before it in this part is here
                until = gone.seq
            else:
                first = 1 + (gone.pruned.last if isinstance(gone, PrunedError) else gone.last)
                until = end
        else:
            yield from part
            first += len(part)
            until = end if first >= until else until


def _parts(snapshot: bytes) -> tuple[bytes, bytes]:
    """Take a snapshot apart."""
    if not snapshot.startswith(_MARK):
        return snapshot, b""
    at = len(_MARK) + _LENGTH
    end = at + int.from_bytes(snapshot[len(_MARK) : at])
    return snapshot[at:end], snapshot[end:]
