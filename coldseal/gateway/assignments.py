"""Reads a table (CSV) that says which sensors watch which assets, and which profiles hold there.

Promise: what is wrong is named with file, line, column, value and what was expected, all of it at once.
Whether sensors and profiles are known is not known here.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.changes import A_NAME, ASSET_KINDS, NAME
from coldseal.errors import InputError, OperatorError
from coldseal.settings import nearest

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 4_194_304
"""A file that is longer is no such table."""

COLUMNS: Final = ("asset", "kind", "sensor", "profile")
"""Columns, in any order; the first one must be there."""


SHOWN: Final = 8
"""Faults that the message tells."""


class Row(NamedTuple):
    """A line of the table; what is empty is not said there.

    Attributes:
        line: its number.
        asset: the asset.
        kind: what it is.
        sensor: that watches it, as DEVICE/SENSOR.
        profile: that holds for it, as NAME/VERSION, or NAME for its newest version.
    """

    line: int
    asset: str
    kind: str
    sensor: str
    profile: str


class AssignmentsError(OperatorError):
    """A table is wrong.

    Args:
        path: the file.
        faults: all that is wrong, each with line and column.
    """

    def __init__(self, path: Path, faults: list[InputError]) -> None:
        """Say the first of them, and how many there are."""
        count, self.faults = len(faults), faults
        said = "; ".join(map(str, faults[:SHOWN])) + ("; …" if count > SHOWN else "")
        super().__init__(f"{path}: {said}", "Correct it" if count == 1 else f"Correct all {count} of them")


def read_assignments(path: Path) -> list[Row]:
    """Read a table.

    Raises:
        OperatorError: it cannot be read, or is no table.
        AssignmentsError: lines of it are wrong; carries all that is.
    """
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise OperatorError(f"{path} has {len(content)} bytes", f"A table has at most {MAX_BYTES}")
        text = content.decode("utf-8-sig").splitlines()
        mark = ";" if text and ";" in text[0] else ","  # as spreadsheets write where the comma is decimal
        lines = csv.reader(text, delimiter=mark, strict=True)
        first, *rest = [(lines.line_num, [field.strip() for field in fields]) for fields in lines] or [
            (1, [])
        ]
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}", "Name a table's file that is readable") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise OperatorError(f"{path}: no CSV in UTF-8: {error}", "Export it again as such") from error
    names = _names(path, first[1])
    faults: list[InputError] = []
    rows = [row for line, fields in rest if any(fields) and (row := _row(names, line, fields, faults))]
    _require_once(rows, faults)
    if faults:
        raise AssignmentsError(path, faults)
    if not rows:
        raise OperatorError(
            f"{path} says nothing", "Write a line for each sensor, below the names of columns"
        )
    return rows


def _names(path: Path, names: list[str]) -> list[str]:
    """Read the first line.

    Raises:
        OperatorError: a column is unknown, doubled or missing.
    """
    for name in names:
        if name not in COLUMNS or names.count(name) > 1:
            what = f"{path}: line 1 has the column {name!r}, expected each of {', '.join(COLUMNS)} once"
            raise OperatorError(what, nearest(name, COLUMNS))
    if "asset" not in names:
        raise OperatorError(f"{path}: line 1 has no column asset", f"Begin with: {','.join(COLUMNS)}")
    return names


def _row(names: list[str], line: int, fields: list[str], faults: list[InputError]) -> Row | None:
    """Read one line; notes what is wrong with it."""
    where, before = f"line {line}", len(faults)
    if len(fields) != len(names):
        faults.append(InputError(where, "columns", len(fields), f"{len(names)}, as line 1 has"))
        return None
    said = dict(zip(names, fields, strict=True))
    row = Row(line, *(said.get(name, "") for name in COLUMNS))
    device, _, sensor = row.sensor.partition("/")
    profile, slash, version = row.profile.partition("/")
    is_version = not slash or (version.isascii() and version.isdecimal())
    for is_good, column, value, expected in (
        (_is_name(row.asset), "asset", row.asset, A_NAME),
        (row.kind in {"", *ASSET_KINDS}, "kind", row.kind, f"one of {', '.join(ASSET_KINDS)}, or nothing"),
        (not row.sensor or (_is_name(device) and _is_name(sensor)), "sensor", row.sensor, "DEVICE/SENSOR"),
        (
            not row.profile or (_is_name(profile) and is_version),
            "profile",
            row.profile,
            "NAME or NAME/VERSION",
        ),
        (row.sensor or row.profile, "sensor", "", "a sensor or a profile: the line assigns nothing"),
    ):
        if not is_good:
            faults.append(InputError(where, column, value, expected))
    return row if len(faults) == before else None


def _is_name(text: str) -> bool:
    """Whether an asset, a device, a sensor or a profile may be called so."""
    return NAME.fullmatch(text) is not None


def _require_once(rows: list[Row], faults: list[InputError]) -> None:
    """Note a sensor that is in two lines, and an asset that has two kinds or two profiles."""
    sensors: dict[str, int] = {}
    facts: dict[tuple[str, str], tuple[str, int]] = {}
    for row in rows:
        where = f"line {row.line}"
        if row.sensor and (line := sensors.setdefault(row.sensor, row.line)) != row.line:
            faults.append(
                InputError(where, "sensor", row.sensor, f"each sensor once: line {line} has it, too")
            )
        for column, value in (("kind", row.kind), ("profile", row.profile)):
            known, line = facts.setdefault((row.asset, column), (value, row.line)) if value else (value, 0)
            if known != value:
                faults.append(InputError(where, column, value, f"{known}, as {row.asset} has in line {line}"))
