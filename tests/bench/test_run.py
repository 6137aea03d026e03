"""The benchmark runs the rows that were asked for, and reports the ones that failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import run
from bench.programs import MeasurementError
from bench.report import Row
from bench.rows import Bench
from bench.run import ROWS


def good(_bench: Bench) -> Iterator[Row]:
    """A row that is measured."""
    yield Row(key="good", figure="something", value=2.0, unit="/s", goal=1)


def broken(_bench: Bench) -> Iterator[Row]:
    """A row that cannot be measured."""
    yield from ()
    raise MeasurementError("the gateway ended")


def test_an_unknown_row_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It names the rows that there are."""
    assert run.bench(only=["speed"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ROWS)


def test_a_row_that_fails_is_shown_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts as missed, and the exit code says so."""
    monkeypatch.setitem(ROWS, "broken", broken)
    monkeypatch.setitem(ROWS, "good", good)
    assert run.bench(only=["broken", "good"], folder=tmp_path) == 1
    shown = capsys.readouterr().out
    assert "not measured" in shown
    assert "something" in shown


def test_goals_that_are_met_give_zero_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The work folder is removed, and the page is not touched by a part of the rows."""
    before = run.PAGE.read_bytes()
    monkeypatch.setitem(ROWS, "good", good)
    assert run.bench(only=["good"], folder=tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
    assert run.PAGE.read_bytes() == before


def test_every_row_has_a_name_and_a_description() -> None:
    """The names are what `--only` takes."""
    assert all(measure.__doc__ for measure in ROWS.values())
    assert len(ROWS) == 20
