"""Reads the tables of a document, key by key, and gathers all that is wrong with them.

Promise: whatever is not exactly as asked for is a fault that names the key, the value and what was expected;
an unknown key names the nearest known one; a number is exact. Knows no key by name and reads no file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DIGITS: Final = 3
"""Decimals of a number: it is held as whole thousandths of its unit."""

_SIZE: Final = 9  # digits before the point: what is larger is no value of a sensor

UNIT_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
"""What a span of time is written in."""

_SPAN: Final = re.compile(r"([0-9]{1,9}) ?(s|min|h|d)").fullmatch
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?").fullmatch
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]*").fullmatch


class DocumentError(InputError):
    """A document is not what it should be.

    Args:
        faults: all that is wrong with it, in the order in which it was found.
    """

    def __init__(self, faults: Sequence[InputError]) -> None:
        """Keep them; the message is that of the first."""
        self.faults = tuple(faults)
        first = faults[0]
        super().__init__(first.where, first.field, first.value, first.expected)


class Bounds(NamedTuple):
    """The least and the largest value that makes sense, and how it is written."""

    least: int
    most: int
    form: str


class Document:
    """One table of a document, and the faults found in all of it.

    Args:
        table: what stands there.
        where: what is being read, such as a file's name; for errors.
        place: key of this table, empty for the outermost.
        faults: what is wrong so far; shared by the tables of one document.
    """

    def __init__(
        self,
        table: Mapping[str, object],
        *,
        where: str,
        place: str = "",
        faults: list[InputError] | None = None,
    ) -> None:
        """Begin with a table of which nothing is read."""
        self._table, self._place = table, place
        self.where = where
        self.faults: list[InputError] = [] if faults is None else faults

    @property
    def table(self) -> Mapping[str, object]:
        """What stands there, as it was handed in."""
        return self._table

    def key(self, name: str) -> str:
        """Give the full name of a key of this table."""
        return f"{self._place}.{name}" if self._place else name

    def fault(self, name: str, value: object, expected: str) -> None:
        """Note that a key is not as it should be."""
        shown = str(value) if isinstance(value, Decimal) else value
        self.faults.append(InputError(self.where, self.key(name) if name else self._place, shown, expected))

    def only(self, known: Iterable[str]) -> None:
        """Note every key that is not known here."""
        names = sorted(known)
        for name in self._table:
            if name not in names:
                close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
                meant = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(names)}"
                self.fault(str(name), self._table[name], f"no such key; {meant}")

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return name in self._table

    def text(self, name: str, pattern: re.Pattern[str], expected: str, default: str | None = None) -> str:
        """Read a text; ``""`` and a fault where there is none."""
        found = self._table.get(name, default)
        if isinstance(found, str) and pattern.fullmatch(found) and _TEXT(found):
            return found
        self._refuse(name, expected)
        return ""

    def flag(self, name: str, *, default: bool) -> bool:
        """Read true or false."""
        found = self._table.get(name, default)
        if isinstance(found, bool):
            return found
        self._refuse(name, "true or false")
        return default

    def count(self, name: str, bounds: Bounds, default: int | None = None) -> int:
        """Read a whole number within bounds; the least and a fault where there is none."""
        found = self._table.get(name, default)
        if isinstance(found, int) and not isinstance(found, bool) and bounds.least <= found <= bounds.most:
            return found
        self._refuse(name, bounds.form)
        return bounds.least

    def number(self, name: str, bounds: Bounds, default: int | None = None) -> int:
        """Read a number, as thousandths; it must be there unless there is a default."""
        found = self.number_or_none(name, bounds)
        if found is None and default is None and name not in self._table:
            self._refuse(name, bounds.form)
        return found if found is not None else bounds.least if default is None else default

    def number_or_none(self, name: str, bounds: Bounds) -> int | None:
        """Read a number, as thousandths; None where the key is absent or at fault."""
        return self._bounded(name, bounds, thousandths)

    def seconds(self, name: str, bounds: Bounds, default: int | None = None) -> int:
        """Read a span of time such as ``"30 min"``; it must be there unless there is a default."""
        found = self.seconds_or_none(name, bounds)
        if found is None and default is None and name not in self._table:
            self._refuse(name, bounds.form)
        return found if found is not None else bounds.least if default is None else default

    def seconds_or_none(self, name: str, bounds: Bounds) -> int | None:
        """Read a span of time; None where the key is absent or at fault."""
        return self._bounded(name, bounds, span)

    def _bounded(self, name: str, bounds: Bounds, read: Callable[[object], int | None]) -> int | None:
        """Read what must lie within bounds."""
        if name not in self._table:
            return None
        found = read(self._table[name])
        if found is not None and bounds.least <= found <= bounds.most:
            return found
        self._refuse(name, bounds.form)
        return None

    def inner(self, name: str) -> Document | None:
        """Give a table inside this one; None where it is absent or none."""
        found = self._table.get(name)
        if isinstance(found, Mapping):
            return Document(found, where=self.where, place=self.key(name), faults=self.faults)
        if name in self._table:
            self._refuse(name, "a table")
        return None

    def several(self, name: str, most: int) -> list[Document]:
        """Give the tables of an array; none where the key is absent or at fault."""
        found = self._table.get(name, [])
        if not isinstance(found, list) or len(found) > most or not all(isinstance(i, Mapping) for i in found):
            self._refuse(name, f"at most {most} tables, each written below [[{self.key(name)}]]")
            return []
        places = (f"{self.key(name)}[{at}]" for at in range(len(found)))
        return [
            Document(each, where=self.where, place=place, faults=self.faults)
            for each, place in zip(found, places, strict=True)
        ]

    def names(self) -> list[str]:
        """Give the keys of this table, sorted."""
        return sorted(map(str, self._table))

    def _refuse(self, name: str, expected: str) -> None:
        """Note a key that is absent or not as expected."""
        if name in self._table:
            self.fault(name, self._table[name], expected)
        else:
            self.fault(name, None, f"it to be there: {expected}")


def thousandths(value: object) -> int | None:
    """Give a number, written as such or as text, in whole thousandths; None if it is none or finer."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, str) and _NUMBER(value) is None:
        return None
    exact = Decimal(str(value))
    if not exact.is_finite() or (exact and abs(exact.adjusted()) > _SIZE):
        return None
    ratio, per = exact.as_integer_ratio()
    whole, rest = divmod(ratio * 10**DIGITS, per)
    return None if rest else whole


def render_milli(value: int) -> str:
    """Write thousandths as the shortest decimal text: 4710 is ``4.71``, 8000 is ``8``."""
    whole, rest = divmod(abs(value), 10**DIGITS)
    digits = f"{rest:0{DIGITS}d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def span(value: object) -> int | None:
    """Give a span of time in seconds: ``"30 min"``, or a whole number of seconds; None if it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    found = _SPAN(value) if isinstance(value, str) else None
    return int(found[1]) * UNIT_SECONDS[found[2]] if found else None


def render_span(seconds: int) -> str:
    """Write a span of time in the largest unit that gives a whole number: 86400 is ``24 h``."""
    hours = UNIT_SECONDS["h"]
    if seconds and seconds % UNIT_SECONDS["d"] == 0 and seconds > 3 * UNIT_SECONDS["d"]:
        return f"{seconds // UNIT_SECONDS['d']} d"
    if seconds and seconds % hours == 0:
        return f"{seconds // hours} h"
    if seconds and seconds % 60 == 0:
        return f"{seconds // 60} min"
    return f"{seconds} s"
