"""Claims about tables of assignments: every fault is named by line and column, and none is half read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.assignments import MAX_BYTES, AssignmentsError, Row, read_assignments

if TYPE_CHECKING:
    from pathlib import Path

TABLE = "asset,kind,sensor,profile\nfridge-1,fridge,dev-1/door,vaccine/2\nfridge-1,,dev-1/core,\n"
ROWS = [
    Row(2, "fridge-1", "fridge", "dev-1/door", "vaccine/2"),
    Row(3, "fridge-1", "", "dev-1/core", ""),
]


def written(folder: Path, content: str | bytes) -> Path:
    """Write a table."""
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        TABLE.replace(",", ";"),
        "\ufeff" + TABLE.replace("\n", "\r\n"),
        "profile,asset,sensor,kind\nvaccine/2,fridge-1,dev-1/door,fridge\n,fridge-1, dev-1/core ,\n",
        TABLE + ",,,\n\n",
    ],
    ids=["plain", "semicolons", "as a spreadsheet saves it", "another order", "empty lines"],
)
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, content: str) -> None:
    """Whatever its commas, line ends, columns and empty lines."""
    assert read_assignments(written(tmp_path, content)) == ROWS


def test_a_column_that_says_nothing_may_be_left_out(tmp_path: Path) -> None:
    """Of an asset that is known, a sensor is enough."""
    assert read_assignments(written(tmp_path, "asset,sensor\na,d/s\n")) == [Row(2, "a", "", "d/s", "")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,fridg,d/s,", "kind is 'fridg', expected one of fridge, freezer,"),
        ("ä,fridge,d/s,", "asset is 'ä', expected 1 to 64 of"),
        ("a,fridge,ds,", "sensor is 'ds', expected DEVICE/SENSOR"),
        ("a,fridge,d/s/t,", "sensor is 'd/s/t', expected DEVICE/SENSOR"),
        ("a,fridge,d/s,p/", "profile is 'p/', expected NAME or NAME/VERSION"),
        ("a,fridge,d/s,p/٣", "profile is 'p/٣', expected NAME or NAME/VERSION"),
        ("a,fridge,,", "sensor is '', expected a sensor or a profile"),
        ("a,fridge", "columns is 2, expected 4"),
        ("fridge-2,,dev-1/door,", "sensor is 'dev-1/door', expected each sensor once: line 2"),
        ("fridge-1,room,d/s,", "kind is 'room', expected fridge, as fridge-1 has in line 2"),
        ("fridge-1,,d/s,other", "profile is 'other', expected vaccine/2, as fridge-1 has in line 2"),
    ],
)
def test_a_wrong_line_is_named_with_its_column(tmp_path: Path, line: str, said: str) -> None:
    """And what was expected there."""
    path = written(tmp_path, f"{TABLE}{line}\n")
    with pytest.raises(AssignmentsError) as caught:
        read_assignments(path)
    assert caught.value.what.startswith(f"{path}: line 4: {said}")
    assert caught.value.hint == "Correct it"


def test_all_faults_are_found_and_the_first_ones_told(tmp_path: Path) -> None:
    """So that a long table is mended at once."""
    path = written(tmp_path, TABLE + "a,b,c/d,\n" * 20)
    with pytest.raises(AssignmentsError, match=r"line 4: kind .*; line 11: kind .*; …") as caught:
        read_assignments(path)
    assert (len(caught.value.faults), caught.value.hint) == (20, "Correct all 20 of them")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("asset,kid\n", "line 1 has the column 'kid', expected each of asset, kind, sensor, profile once"),
        ("asset,asset\n", "line 1 has the column 'asset', expected each of"),
        ("kind,sensor\n", "line 1 has no column asset"),
        ("", "line 1 has no column asset"),
        ("asset,kind\n,\n", "says nothing"),
        (b"asset\xff", "no CSV in UTF-8"),
        ('asset\n"x', "no CSV in UTF-8"),
        ("x" * (MAX_BYTES + 1), f"has {MAX_BYTES + 1} bytes"),
    ],
    ids=["unknown", "doubled", "missing", "empty", "without a line", "bytes", "cut", "long"],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    """As a whole."""
    with pytest.raises(OperatorError, match=said):
        read_assignments(written(tmp_path, content))


def test_a_table_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    """With the next move."""
    with pytest.raises(OperatorError, match="No such file or directory"):
        read_assignments(tmp_path / "none.csv")
