"""Finds the next parcels of a route in the log.

Promise: from a place on, every entry that the rules fit is given once, in order; what is not here any more is
named, with where it is. Reads the log in pieces and keeps the last one. Used by one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.record import parse_entry
from coldseal.core.routing.rules import subject_of
from coldseal.errors import UnavailableError
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import PrunedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from coldseal.core.routing.rules import Rules
    from coldseal.gateway.routing.form import Form
    from coldseal.gateway.routing.placing import Placing
    from coldseal.gateway.routing.sink import Parcel
    from coldseal.gateway.store.reader import LogReader

PIECE_ENTRIES: Final = 1_024
PIECE_BYTES: Final = 1 << 20
"""Most that is read at once."""


class Gathered(NamedTuple):
    """What was found.

    Attributes:
        parcels: the next ones, in order.
        end: everything below it has been looked at.
        limit: everything below it could have been.
        kinds: of the parcels' entries.
    """

    parcels: tuple[Parcel, ...]
    end: int
    limit: int
    kinds: tuple[str, ...] = ()


class MissingError(UnavailableError):
    """Entries are not here any more.

    Args:
        first: the first one.
        last: the last one.
        where: what has become of them.
    """

    def __init__(self, first: int, last: int, where: str) -> None:
        """Keep the facts."""
        self.first, self.last, self.where = first, last, where
        super().__init__(f"entries {first} to {last}", where)


class Gathering:
    """The log, as one route sees it.

    Args:
        reader: the log.
        rules: what goes.
        form: makes parcels.
        placing: knows what sensors watch.
        limit: gives the size below which entries may go, of a log of the size given.
    """

    def __init__(
        self, reader: LogReader, rules: Rules, form: Form, placing: Placing, limit: Callable[[int], int]
    ) -> None:
        """Begin with nothing read."""
        self._reader, self._rules, self._form, self._placing = reader, rules, form, placing
        self._limit = limit
        self._is_placing = rules.is_placing or form.is_placing
        self._first, self._piece = 0, list[bytes]()

    def size(self) -> int:
        """Give the size of the log.

        Raises:
            UnavailableError: it cannot be read now.
        """
        return self._reader.size()

    def next(self, position: int, most: int, passed: Collection[int] = ()) -> Gathered:
        """Give the next parcels.

        Args:
            position: where to begin.
            most: no more than these.
            passed: entries that are passed over.

        Raises:
            MissingError: the entry there is not here any more.
            UnavailableError, TrustError: the log cannot be read now, or is damaged.
        """
        limit = self._limit(self._reader.size())
        if position >= limit:
            return Gathered((), position, limit)
        parcels: list[Parcel] = []
        kinds: list[str] = []
        end = position
        for raw in self._read(position, limit):
            found = None if end in passed else self._look(raw)
            end += 1
            if found is not None:
                kind, parcel = found
                parcels.append(parcel)
                kinds.append(kind)
                if len(parcels) == most:
                    break
        return Gathered(tuple(parcels), end, limit, tuple(kinds))

    def one(self, seq: int) -> Parcel:
        """Give the parcel of one entry, whatever the rules say; errors as `next`."""
        (raw,) = self._frames(seq, 1)
        entry = parse_entry(raw)
        return self._form.parcel(entry, subject_of(entry, self._placed))

    def _look(self, raw: bytes) -> tuple[str, Parcel] | None:
        """Give kind and parcel of an entry; None if it does not go."""
        if not self._rules.is_possible(raw):
            return None
        entry = parse_entry(raw)
        subject = subject_of(entry, self._placed)
        if not self._rules.fit(subject) or not self._form.says(entry):
            return None
        return entry.kind, self._form.parcel(entry, subject)

    def _placed(self, device: str, sensor: str, moment_ms: int) -> tuple[str, str]:
        """Say what a sensor watches, if this route wants to know."""
        return self._placing(device, sensor, moment_ms) if self._is_placing else ("", "")

    def _read(self, position: int, limit: int) -> list[bytes]:
        """Give entries from a place on, at least one, none from the limit on."""
        if not self._first <= position < self._first + len(self._piece):
            self._piece = self._frames(position, min(PIECE_ENTRIES, limit - position))
            self._first = position
            if self._is_placing:
                self._placing.look(position, self._piece)
        return self._piece[position - self._first : limit - self._first]

    def _frames(self, first: int, count: int) -> list[bytes]:
        """Read entries.

        Raises:
            MissingError: the first is not here any more.
        """
        try:
            return self._reader.read(first, max_entries=count, max_bytes=PIECE_BYTES)
        except PrunedError as error:
            where = f"they are in the archive {error.pruned.archive}"
            raise MissingError(first, error.pruned.last, where) from error
        except LostError as error:
            raise MissingError(first, error.last, str(error)) from error
