"""The table of readings is what the entries give, whichever parser read them, and nothing else."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.record import Chain, parse_entry
from coldseal.core.log.signed import parse_usual
from coldseal.core.log.table import (
    COLUMNS,
    HEADER,
    HEADER_BEFORE,
    first_difference,
    rows_before,
    rows_of,
    rows_of_usual,
    table_rows,
)
from tests.core.log.example_log import FOLDER, ORIGIN, time_quality

ENTRIES = (FOLDER / "entries.jsonl").read_bytes().splitlines()
T = "2026-03-04T05:06:07.089Z"

texts = st.text(st.sampled_from('ab,"\r\n ;é'), max_size=4)
quantities = st.fixed_dictionaries(
    {"n": texts, "u": texts, "v": texts}, optional=dict.fromkeys(("c", "d", "i", "iu", "t"), texts)
)


def seal(kind: str, data: dict[str, canonical.Value], src: bytes = b'{"dev":"d","sha256":"s"}') -> bytes:
    """Seal one entry without a signature."""
    return Chain(ORIGIN, "0" * 16).seal(kind, T, time_quality(1), src, canonical.encode(data), None)


@given(
    found=st.lists(quantities, min_size=1, max_size=3),
    sensor=texts,
    flags=st.lists(texts, min_size=1, max_size=2),
)
@example(found=[{"n": "a", "u": "b", "v": "c"}], sensor="a,b", flags=["a"])
@example(found=[{"iu": "a", "n": "a", "u": "b", "v": "c"}], sensor="a,b", flags=["a"])
@example(found=[{"c": "a", "i": "a", "iu": "b", "n": "a", "u": "b", "v": "c"}], sensor="a", flags=["a"])
def test_any_reader_of_csv_gets_back_what_the_entry_says(
    found: list[dict[str, canonical.Value]], sensor: str, flags: list[canonical.Value]
) -> None:
    """RFC 4180; both ways to the rows are one."""
    raw = seal("reading", {"q": list(found), "sensor": sensor, "flags": flags})
    rows = rows_of(parse_entry(raw))
    shown = [" ".join(str(each[name]) for name in ("i", "iu") if each.get(name)) for each in found]
    expected = [
        [
            "0",
            T,
            "d",
            sensor,
            each["n"],
            each["v"],
            each["u"],
            " ".join(map(str, flags)),
            text,
            each.get("c", ""),
        ]
        for each, text in zip(found, shown, strict=True)
    ]
    assert list(csv.reader(io.StringIO(rows, newline=""))) == expected
    before = list(csv.reader(io.StringIO(rows_before(rows), newline="")))
    assert before == [each[:-2] for each in expected]
    assert table_rows(raw) == rows
    usual = parse_usual(raw)
    assert usual is None or rows_of_usual(usual) == rows


def test_the_example_log_gives_a_row_for_each_quantity_of_a_reading() -> None:
    """Nothing for other kinds; the strict parser and the quick one agree on each."""
    table = HEADER + "".join(map(table_rows, ENTRIES))
    lines = table.splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1] == "2,2026-03-04T05:00:02.250Z,truck-12-a,t1,temperature,4.71,Cel,,,"
    assert lines[2] == "3,2026-03-04T05:00:03.250Z,truck-12-a,t1,temperature,4.71,Cel,implausible,,"
    assert len(lines) == 6
    for raw in ENTRIES:
        usual = parse_usual(raw)
        assert usual is None or rows_of_usual(usual) == rows_of(parse_entry(raw))


@pytest.mark.parametrize(
    ("kind", "data", "rows"),
    [
        ("alarm", {"q": [{"n": "a", "u": "b", "v": "c"}], "sensor": "s"}, ""),
        ("reading", {"sensor": "s"}, ""),
        ("reading", {"q": ["?", {"n": 1, "v": None}], "sensor": "s", "flags": 5}, f"0,{T},d,s,1,,,,,\n"),
        ("reading", {"q": [{"n": "a"}], "flags": ["x", 1, "y"]}, f"0,{T},d,,a,,,x y,,\n"),
    ],
)
def test_what_a_log_of_somebody_else_may_say_does_no_harm(
    kind: str, data: dict[str, canonical.Value], rows: str
) -> None:
    """A row is written as far as it can be."""
    assert table_rows(seal(kind, data)) == rows


def test_bytes_that_are_no_entry_have_no_rows() -> None:
    """They are faulted elsewhere."""
    assert table_rows(b"?") == ""


def test_the_first_entry_whose_rows_differ_is_named() -> None:
    """A changed cell, a missing row, an added one."""
    readings = ENTRIES[2:5]
    rows = [table_rows(raw) for raw in readings]
    assert first_difference("".join(rows).replace("4.71", "4.72"), 2, readings) == 2
    assert first_difference(rows[0] + rows[2], 2, readings) == 3
    assert first_difference(rows[0] + rows[1] + rows[1], 2, readings) == 4
    assert first_difference("".join(rows), 2, readings) == 4


def test_a_table_from_before_calibration_was_known_lacks_two_columns() -> None:
    """The quick way, where nothing stands in them, and the long way give the same."""
    corrected = seal("reading", {"q": [{"c": "1", "i": "2", "n": "a", "u": "b", "v": "3"}], "sensor": "s"})
    readings = [*ENTRIES[2:4], corrected]
    rows = "".join(map(table_rows, readings))
    assert rows.endswith(f"0,{T},d,s,a,3,b,,2,1\n")
    before = [line.rsplit(",", 2)[0] for line in (HEADER + rows).splitlines()]
    assert before[0] + "\n" == HEADER_BEFORE
    assert rows_before(rows).splitlines() == before[1:]
    assert rows_before("".join(map(table_rows, readings[:2]))).splitlines() == before[1:4]
    found = rows_before(rows)
    assert first_difference(found.replace("4.71", "4.72"), 2, readings, is_before=True) == 2
    assert first_difference(found.replace(",3,b", ",4,b"), 2, readings, is_before=True) == 4


def test_no_field_is_too_long_to_lose_the_last_two_columns() -> None:
    """What somebody else's log may say is written longer than it stands in the entry."""
    for name in ("\x7f" * 60_000, ',"' * 20_000):
        rows = table_rows(seal("reading", {"q": [{"c": "1,2", "n": [name], "v": "3"}], "sensor": "s"}))
        assert rows.endswith(',3,,,,"1,2"\n')
        assert rows_before(rows * 2) == (rows.removesuffix(',,"1,2"\n') + "\n") * 2
