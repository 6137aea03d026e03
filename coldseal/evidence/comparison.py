"""Holds the table of readings against what the entries give, without reading all of it at once."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from coldseal.core.log.evidence import Fault, Verdict
from coldseal.core.log.table import HEADER, HEADER_BEFORE, first_difference
from coldseal.evidence.files import TABLE
from coldseal.evidence.reader import MAX_ENTRIES, Archive
from coldseal.evidence.work import cut

if TYPE_CHECKING:
    from coldseal.core.log.evidence import Stretch
    from coldseal.evidence.reader import Bundle

_DETAIL: Final = f"{TABLE} is not what the entries give"


class TableComparison:
    """Goes through the table beside the entries; the first difference counts.

    Attributes:
        fault: the difference, None if there is none.
        header: the table's first line; of what is no table, something else.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Open the table, and compare its first line."""
        self.fault: Fault | None = None
        self._bundle = bundle
        self._archive = Archive(bundle.path)
        self._file = self._archive.open(TABLE)
        self._last = 0
        self.header = self._file.read(len(HEADER_BEFORE)).decode(errors="replace")
        if self.header != HEADER_BEFORE:
            self.header += self._file.read(len(HEADER) - len(HEADER_BEFORE)).decode(errors="replace")
            if self.header != HEADER:
                self._differ(0)

    def compare(self, stretch: Stretch) -> None:
        """Compare the rows of the next stretch."""
        if self.fault is not None or not stretch.table_size:
            return
        found = self._file.read(stretch.table_size)
        if sha256(found).digest() != stretch.table_sum:
            self._differ(self._find(stretch, found))
        self._last = stretch.first + stretch.count - 1

    def finish(self) -> None:
        """Insist on the table's end."""
        if self.fault is None and self._file.read(1):
            self._differ(self._last)
        self._file.close()
        self._archive.close()

    def _differ(self, seq: int) -> None:
        """Note the difference."""
        self.fault = Fault(Verdict.CSV, seq, _DETAIL)

    def _find(self, stretch: Stretch, found: bytes) -> int:
        """Name the entry, where only its stretch is known."""
        places = range(stretch.first, stretch.first + stretch.count)
        entries: list[bytes] = []
        for file in self._bundle.files:
            if any(first in places for first, _ in file.pieces):
                pieces, _ = cut(file, self._archive.read(file.name, MAX_ENTRIES))
                entries += (raw for run, held in pieces if run[0] in places for raw in held)
        table = found.decode(errors="replace")
        return first_difference(table, stretch.first, entries, is_before=self.header == HEADER_BEFORE)
