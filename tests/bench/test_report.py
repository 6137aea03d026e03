"""A ratio is value by yardstick, a goal is met or it is not, and nothing unmeasured is met."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench.report import (
    BEGIN,
    END,
    Row,
    Run,
    cells,
    render_markdown,
    render_table,
    replace_between_markers,
    write,
)

FAST = Row(
    key="a", figure="acknowledged", value=30_000, unit="/s", yardstick="signing", against=40_000, goal=0.7
)
SLOW = Row(key="b", figure="memory", value=130, unit="MB", goal=100, sense="≤")
BARE = Row(key="c", figure="signing", value=41_234.5, unit="/s")
MISSING = Row(
    key="d", figure="drain", value=None, unit="/s", yardstick="verifying", against=9, goal=0.8, note="no"
)
RUN = Run("a machine", "3.11", "coldseal 0", is_quick=False, rows=(FAST, SLOW, BARE, MISSING))


def test_a_ratio_is_value_by_yardstick() -> None:
    """Both from the same run."""
    assert FAST.ratio == 0.75
    assert BARE.ratio is None


@pytest.mark.parametrize(("row", "met"), [(FAST, True), (SLOW, False), (BARE, None), (MISSING, False)])
def test_a_goal_is_met_or_it_is_not(row: Row, met: bool | None) -> None:
    """A floor, a ceiling, no goal, and a row without a value."""
    assert row.is_met is met


@pytest.mark.parametrize(("value", "met"), [(99.9, False), (100.0, True), (100.1, True)])
def test_a_goal_is_met_at_its_bound(value: float, met: bool) -> None:
    """Exactly the goal is enough."""
    assert Row(key="e", figure="f", value=value, unit="", goal=100).is_met is met


def test_cells_show_units_and_bounds() -> None:
    """A reader sees what was compared with what."""
    assert cells(FAST) == ("acknowledged", "30,000 /s", "signing: 40,000 /s", "0.75", "≥ 0.7", "yes")
    assert cells(SLOW) == ("memory", "130 MB", "", "", "≤ 100 MB", "**no**")
    assert cells(MISSING)[1] == "not measured"


def test_the_page_is_changed_between_its_markers_only() -> None:
    """Text before and after stays, and a second run replaces the first."""
    page = f"# Title\n{BEGIN}\nold\n{END}\nafter\n"
    once = replace_between_markers(page, "new")
    assert once == f"# Title\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replace_between_markers(once, "new") == once


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_markers_is_refused(page: str) -> None:
    """The table is never appended somewhere."""
    with pytest.raises(ValueError, match="expected"):
        replace_between_markers(page, "new")


def test_a_run_is_written_as_page_and_as_data(tmp_path: Path) -> None:
    """The JSON holds what the table shows, and whether each goal was met."""
    page, data = tmp_path / "performance.md", tmp_path / "performance.json"
    page.write_text(f"{BEGIN}\n{END}\n")
    write(RUN, page, data)
    assert render_markdown(RUN) in page.read_text()
    body = msgspec.json.decode(data.read_bytes())
    assert [row["met"] for row in body["rows"]] == [True, False, None, False]
    assert body["rows"][0]["ratio"] == 0.75


def test_the_terminal_shows_every_row() -> None:
    """Also the ones that missed their goal."""
    console = Console(width=160)
    with console.capture() as captured:
        console.print(render_table(RUN.rows))
    for row in RUN.rows:
        assert row.figure in captured.get()
