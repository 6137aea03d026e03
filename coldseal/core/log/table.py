"""The readings of a log as a table (CSV, RFC 4180): one row for each quantity, exactly what entries give.

The table is for people and their programs; the entries are the evidence. `first_difference` says where a
table is not what its entries give.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coldseal.core.log.record import parse_entry
from coldseal.core.log.signed import parse_usual
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry
    from coldseal.core.log.signed import Usual

COLUMNS: Final = ("seq", "time", "device", "sensor", "quantity", "value", "unit", "flags")
HEADER: Final = ",".join(COLUMNS) + "\n"

_COMMAS: Final = len(COLUMNS) - 1
_SPECIAL: Final = re.compile(r'[",\r\n]')
_QUANTITY: Final = re.compile(r'\{"n":"([^"]*)"(?:,"t":"[^"]*")?,"u":"([^"]*)","v":"([^"]*)"\}')


def rows_of(entry: Entry) -> str:
    """Give the rows of an entry; empty for all but readings."""
    quantities = entry.data.get("q")
    if entry.kind != "reading" or not isinstance(quantities, list):
        return ""
    flags = entry.data.get("flags")
    names = [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else []
    head = (str(entry.seq), entry.t, _text(entry.src.get("dev")), _text(entry.data.get("sensor")))
    return "".join(
        _row(*head, *(_text(each.get(name)) for name in ("n", "v", "u")), " ".join(names))
        for each in quantities
        if isinstance(each, dict)
    )


def rows_of_usual(found: Usual) -> str:
    """Give the same of an entry that is laid out as a reading is."""
    if found.kind != "reading":
        return ""
    return rows_of_parts(found.seq, found.t, found.dev, (found.flags, found.q, found.sensor))


def rows_of_parts(seq: int, t: str, dev: str, data: Sequence[str | None]) -> str:
    """Give the same of such a reading's parts.

    Args:
        seq: its place.
        t: its time.
        dev: JSON of the device's name.
        data: JSON of its flags, quantities and sensor, of texts without escapes.
    """
    flags, q, sensor = data[0], data[1] or "", data[2] or ""
    flags = "" if flags is None else flags[2:-2].replace('","', " ")
    head = f"{seq},{t},{dev[1:-1]},{sensor[1:-1]}"
    quantities = _QUANTITY.findall(q)
    rows = "".join([f"{head},{name},{value},{unit},{flags}\n" for name, unit, value in quantities])
    if rows.count(",") == _COMMAS * len(quantities):
        return rows
    begin = (str(seq), t, dev[1:-1], sensor[1:-1])
    return "".join(_row(*begin, name, value, unit, flags) for name, unit, value in quantities)


def table_rows(raw: bytes) -> str:
    """Give the rows of an entry from its bytes; empty where they are none."""
    usual = parse_usual(raw)
    if usual is not None:
        return rows_of_usual(usual)
    try:
        return rows_of(parse_entry(raw))
    except InputError:
        return ""


def first_difference(table: str, first: int, entries: Sequence[bytes]) -> int:
    """Name the first entry whose rows are not in a table as they should be.

    Args:
        table: the part of it that should hold these entries' rows.
        first: seq of the first entry.
        entries: that follow each other.
    """
    at = 0
    for seq, raw in enumerate(entries, first):
        rows = table_rows(raw)
        if not table.startswith(rows, at):
            return seq
        at += len(rows)
    return first + len(entries) - 1


def _row(*fields: str) -> str:
    """Write a row; a field is quoted only where it must be."""
    quoted = (f'"{text.replace(chr(34), chr(34) * 2)}"' if _SPECIAL.search(text) else text for text in fields)
    return ",".join(quoted) + "\n"


def _text(value: Value) -> str:
    """Write what should be a text and, in the log of somebody else, may be anything."""
    return value if isinstance(value, str) else "" if value is None else str(value)
