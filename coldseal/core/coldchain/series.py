"""Readings of one sensor as they come out of a table or out of the log, ready to be judged.

Promise: a row that cannot be read is an error that names its line, its column and what was expected; none is
passed over, and a value keeps what it said. Understands tables with a time and one column for each quantity,
those with a time and a value, and the readings.csv of an evidence bundle. Judges nothing.
"""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.effects import Measured
from coldseal.core.coldchain.measured import moment_ms, taken_ms, thousandths
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coldseal.core.coldchain.product import ProductProfile
    from coldseal.core.log.record import Entry

TIME: Final = "time"
VALUE: Final = "value"
_BUNDLE: Final = ("seq", "time", "device", "sensor", "quantity", "value", "unit")
_DELIMITERS: Final = (",", ";", "\t")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?").fullmatch
_COMMA: Final = re.compile(r"(-?[0-9]+),([0-9]+)").fullmatch
_A_TIME: Final = "a time with its zone, such as 2026-03-04T05:06:07Z or 2026-03-04 06:06:07+01:00"


class Row(NamedTuple):
    """What was measured at one time.

    Attributes:
        received_ms: when the gateway had it, UTC milliseconds; in a table, when it was taken.
        measured: its quantities.
    """

    received_ms: int
    measured: tuple[Measured, ...]


class Series(NamedTuple):
    """The readings of one sensor.

    Attributes:
        sensor: its name, as DEVICE/SENSOR; empty where a table names none.
        rows: in the order in which they came.
        left_out: columns that the profile does not judge.
    """

    sensor: str
    rows: list[Row]
    left_out: tuple[str, ...] = ()


def parse_table(text: str, profile: ProductProfile, *, where: str) -> list[Series]:
    """Read a table: one series, or one for each sensor of a bundle's readings.csv.

    Args:
        text: the table, with a line of names above it; columns apart by commas, semicolons or tabs.
        profile: says which columns are judged, and their units.
        where: what is being read; for errors.

    Raises:
        InputError: the first thing that cannot be read.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    header = lines[0] if lines else ""
    delimiter = max(_DELIMITERS, key=header.count)
    rows = enumerate(csv.reader(lines[1:], delimiter=delimiter), 2)
    try:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        found = _Table(names, where, is_comma_decimal=delimiter != ",")
        if set(_BUNDLE) <= set(names):
            return _of_bundle(found, rows)
        return [_of_columns(found, rows, profile)]
    except csv.Error as error:
        raise InputError(where, "table", str(error), "fields of at most 131,072 characters") from error


class _Table:
    """The names of a table's columns, and how its fields are read."""

    def __init__(self, names: Sequence[str], where: str, *, is_comma_decimal: bool) -> None:
        """Take the names, which are shown to people as they are."""
        if not all(name.isprintable() for name in names):
            raise InputError(where, "line 1", names, "names without control characters")
        self.names, self.where, self._is_comma_decimal = names, where, is_comma_decimal

    def fail(self, line: int, column: str, value: object, expected: str) -> InputError:
        """Make the error of one field."""
        return InputError(self.where, f"line {line}, {column}" if column else f"line {line}", value, expected)

    def fields(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
        """Give the rows as fields by name, with their lines; empty lines are passed over."""
        for line, row in rows:
            if row:
                if len(row) != len(self.names):
                    raise self.fail(line, "", row, f"{len(self.names)} columns, as the first line has")
                yield line, {name: field.strip() for name, field in zip(self.names, row, strict=True)}

    def moment(self, line: int, text: str) -> int:
        """Read a time, UTC milliseconds."""
        try:
            found = datetime.fromisoformat(text)
            if found.tzinfo is not None:
                return moment_ms(found.astimezone(UTC).isoformat())
        except (ValueError, OverflowError):  # at the ends of the calendar
            pass
        raise self.fail(line, TIME, text, _A_TIME)

    def value(self, line: int, column: str, text: str) -> int:
        """Read a number, as thousandths."""
        comma = _COMMA(text) if self._is_comma_decimal else None
        plain = f"{comma[1]}.{comma[2]}" if comma else text
        if _NUMBER(plain) is None:
            raise self.fail(line, column, text, "a decimal number such as 4.71")
        return thousandths(plain)


def _of_bundle(table: _Table, rows: Iterable[tuple[int, list[str]]]) -> list[Series]:
    """Read readings.csv: one line for each quantity, those of one entry one behind the other."""
    entries: dict[str, dict[str, Row]] = {}
    for line, fields in table.fields(rows):
        t_ms = table.moment(line, fields[TIME])
        value = table.value(line, VALUE, fields[VALUE])
        measured = Measured(fields["quantity"], fields["unit"], value, t_ms)
        sensor = f"{fields['device']}/{fields['sensor']}"
        if not sensor.isprintable():
            raise table.fail(line, "device", sensor, "names without control characters")
        found = entries.setdefault(sensor, {})
        before = found.get(fields["seq"])
        found[fields["seq"]] = Row(t_ms, (*(before.measured if before else ()), measured))
    return [Series(sensor, [*found.values()]) for sensor, found in sorted(entries.items())]


def _of_columns(table: _Table, rows: Iterable[tuple[int, list[str]]], profile: ProductProfile) -> Series:
    """Read a time, and a value or one column for each quantity."""
    units = {rule.quantity: rule.unit for rule in profile.quantities}
    if TIME not in table.names:
        raise table.fail(1, "", ",".join(table.names), f"a column {TIME!r}, and {' or '.join(units)}")
    if VALUE in table.names and len(units) == 1:
        units = {VALUE: units.popitem()[1]}
        judged = {VALUE: profile.quantities[0].quantity}
    else:
        judged = {name: name for name in units if name in table.names}
    if not judged:
        expected = f"a column for what the profile judges: {', '.join(units)}"
        raise table.fail(1, "", ",".join(table.names), expected)
    found: list[Row] = []
    for line, fields in table.fields(rows):
        t_ms = table.moment(line, fields[TIME])
        measured = tuple(
            Measured(name, units[column], table.value(line, column, fields[column]), t_ms)
            for column, name in judged.items()
            if fields[column]
        )
        if measured:
            found.append(Row(t_ms, measured))
    left = tuple(name for name in table.names if name != TIME and name not in judged)
    return Series("", found, left)


def of_entries(entries: Iterable[Entry], device: str, sensor: str) -> Series:
    """Give the readings of a sensor from the log, with the times by which a gateway judges them."""
    found: list[Row] = []
    for entry in entries:
        if entry.kind != "reading" or (entry.src.get("dev"), entry.data.get("sensor")) != (device, sensor):
            continue
        t_ms, quantities = moment_ms(entry.t), entry.data["q"]
        said = str(entry.src.get("t", ""))
        measured = tuple(
            Measured(
                str(each["n"]),
                str(each["u"]),
                thousandths(str(each["v"])),
                taken_ms(str(each.get("t", "")), said, t_ms),
            )
            for each in (quantities if isinstance(quantities, list) else ())
            if isinstance(each, dict)
        )
        found.append(Row(t_ms, measured))
    return Series(f"{device}/{sensor}", found)
