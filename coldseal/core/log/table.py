"""The readings of a log as a table (CSV, RFC 4180): one row for each quantity, exactly what entries give.

The table is for people and their programs; the entries are the evidence. `first_difference` says where a
table is not what its entries give. Tables of bundles from before calibration was known end a column earlier.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from coldseal.core.log.record import parse_entry
from coldseal.core.log.signed import parse_usual
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry
    from coldseal.core.log.signed import Usual

COLUMNS: Final = (
    *("seq", "time", "device", "sensor", "quantity", "value", "unit", "flags"),
    *("indication", "calibration"),
)
HEADER: Final = ",".join(COLUMNS) + "\n"
HEADER_BEFORE: Final = ",".join(COLUMNS[:-2]) + "\n"
"""First lines that a table may have: the one of today, and the one without the last two columns."""

_COMMAS: Final = len(COLUMNS) - 1
_SPECIAL: Final = re.compile(r'[",\r\n]')
_QUANTITY: Final = re.compile(
    r'\{(?:"c":"([^"]*)",)?(?:"d":"[^"]*",)?(?:"i":"([^"]*)",)?(?:"iu":"([^"]*)",)?'
    r'"n":"([^"]*)"(?:,"t":"[^"]*")?,"u":"([^"]*)","v":"([^"]*)"\}'
)
_WITHOUT: Final = ",,\n"  # how a row ends that has neither indication nor calibration
_FIELD: Final = r'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_LAST_TWO: Final = re.compile(rf"({_FIELD}(?:,{_FIELD}){{{_COMMAS - 2}}}),{_FIELD},{_FIELD}\n")
"""A row up to its last two fields; those of it may be longer than the library reads."""


def rows_of(entry: Entry) -> str:
    """Give the rows of an entry; empty for all but readings."""
    quantities = entry.data.get("q")
    if entry.kind != "reading" or not isinstance(quantities, list):
        return ""
    flags = entry.data.get("flags")
    names = [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else []
    head = (str(entry.seq), entry.t, _text(entry.src.get("dev")), _text(entry.data.get("sensor")))
    return "".join(
        _row(
            *head,
            *(_text(each.get(name)) for name in ("n", "v", "u")),
            " ".join(names),
            render_indication(_text(each.get("i")), _text(each.get("iu"))),
            _text(each.get("c")),
        )
        for each in quantities
        if isinstance(each, dict)
    )


def rows_of_usual(found: Usual) -> str:
    """Give the same of an entry that is laid out as a reading is."""
    if found.kind != "reading":
        return ""
    return rows_of_readings([(found.flags, found.q, found.sensor, str(found.seq), found.dev, found.t)])


def rows_of_readings(readings: Sequence[tuple[str, str, str, str, str, str]]) -> str:
    """Give the same of many such readings.

    Args:
        readings: flags, quantities, sensor, seq, device and time of each, as `Parts` has them.
    """
    rows = "".join(
        [f"{seq},{t},{dev},{sensor}".join(_ends(flags, q)) for flags, q, sensor, seq, dev, t in readings]
    )
    if rows.count(",") == _COMMAS * rows.count("\n"):
        return rows
    return "".join(
        _row(seq, t, dev, sensor, name, value, unit, _names(flags), render_indication(i, iu), c)
        for flags, q, sensor, seq, dev, t in readings
        for c, i, iu, name, unit, value in _QUANTITY.findall(q)
    )


@lru_cache(maxsize=4096)
def _ends(flags: str, q: str) -> tuple[str, ...]:
    """Give how the rows of a reading end that has these flags and quantities, behind an empty text.

    Cached, because sensors show few values.
    """
    names = _names(flags)
    return "", *(
        f",{name},{value},{unit},{names},{render_indication(i, iu)},{c}\n"
        for c, i, iu, name, unit, value in _QUANTITY.findall(q)
    )


def _names(flags: str) -> str:
    """Write flags, from the JSON of their list."""
    return flags[2:-2].replace('","', " ")


def table_rows(raw: bytes) -> str:
    """Give the rows of an entry from its bytes; empty where they are none."""
    usual = parse_usual(raw)
    if usual is not None:
        return rows_of_usual(usual)
    try:
        return rows_of(parse_entry(raw))
    except InputError:
        return ""


def rows_before(rows: str) -> str:
    """Give rows without the last two columns, as tables had them once."""
    if rows.count(_WITHOUT) == rows.count("\n") and '"' not in rows:
        return rows.replace(_WITHOUT, "\n")
    return _LAST_TWO.sub(r"\1\n", rows)


def first_difference(table: str, first: int, entries: Sequence[bytes], *, is_before: bool = False) -> int:
    """Name the first entry whose rows are not in a table as they should be.

    Args:
        table: the part of it that should hold these entries' rows.
        first: seq of the first entry.
        entries: that follow each other.
        is_before: the table lacks the last two columns.
    """
    at = 0
    for seq, raw in enumerate(entries, first):
        rows = rows_before(table_rows(raw)) if is_before else table_rows(raw)
        if not table.startswith(rows, at):
            return seq
        at += len(rows)
    return first + len(entries) - 1


def render_indication(indication: str, unit: str) -> str:
    """Write what a sensor showed, with its unit where that was another one."""
    return f"{indication} {unit}" if indication and unit else indication or unit


def _row(*fields: str) -> str:
    """Write a row; a field is quoted only where it must be."""
    quoted = (f'"{text.replace(chr(34), chr(34) * 2)}"' if _SPECIAL.search(text) else text for text in fields)
    return ",".join(quoted) + "\n"


def _text(value: Value) -> str:
    """Write what should be a text and, in the log of somebody else, may be anything."""
    return value if isinstance(value, str) else "" if value is None else str(value)
