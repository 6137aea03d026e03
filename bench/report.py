"""Rows of the benchmark: a value, its yardstick in the same run, their ratio, the goal, met or not.

Pure, but for the two files that it writes. A row that could not be measured says so; it is never
shown as met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from rich.table import Table

BEGIN = "<!-- figures: begin -->"
END = "<!-- figures: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Args:
        key: name for ``--only``.
        figure: what was measured.
        value: how much; ``None`` when it could not be measured.
        unit: of value and yardstick.
        yardstick: what it is compared with; empty: the value stands for itself.
        against: how much that was in the same run.
        goal: bound of the ratio, or of the value where there is no yardstick.
        sense: whether the goal is a floor or a ceiling.
        note: how it was measured, or why it was not.
    """

    key: str
    figure: str
    value: float | None
    unit: str
    yardstick: str = ""
    against: float | None = None
    goal: float | None = None
    sense: Literal["≥", "≤"] = "≥"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value by yardstick."""
        if self.value is None or not self.against:
            return None
        return self.value / self.against

    @property
    def judged(self) -> float | None:
        """What the goal is held against."""
        return self.ratio if self.yardstick else self.value

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; ``None`` where there is none."""
        if self.goal is None:
            return None
        if self.judged is None:
            return False
        return self.judged >= self.goal if self.sense == "≥" else self.judged <= self.goal


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark: where, how, and its rows."""

    machine: str
    python: str
    software: str
    is_quick: bool
    rows: tuple[Row, ...]


HEADINGS = ("figure", "value", "yardstick", "ratio", "goal", "met")


def cells(row: Row) -> tuple[str, ...]:
    """Render a row, a text for each heading."""
    yardstick = f"{row.yardstick}: {_number(row.against)} {row.unit}" if row.yardstick else ""
    goal = (
        ""
        if row.goal is None
        else f"{row.sense} {_number(row.goal)}{'' if row.yardstick else ' ' + row.unit}"
    )
    met = {True: "yes", False: "**no**", None: ""}[row.is_met]
    value = "not measured" if row.value is None else f"{_number(row.value)} {row.unit}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return row.figure, value, yardstick, ratio, goal, met


def render_table(rows: Sequence[Row]) -> Table:
    """Render for a terminal."""
    table = Table(title="coldseal: figures of one run", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in {"value", "ratio", "goal"} else "left")
    for row in rows:
        style = "red" if row.is_met is False else ""
        table.add_row(*(cell.replace("**", "") for cell in cells(row)), style=style)
    return table


def render_markdown(run: Run) -> str:
    """Render for the documentation."""
    lines = [
        f"{run.machine}; Python {run.python}; {run.software}{'; quick run' if run.is_quick else ''}.",
        "",
        f"| {' | '.join(HEADINGS)} | how |",
        f"|{'---|' * (len(HEADINGS) + 1)}",
    ]
    lines += [f"| {' | '.join(cells(row))} | {row.note} |" for row in run.rows]
    return "\n".join(lines)


def replace_between_markers(page: str, text: str) -> str:
    """Put ``text`` between the markers of a page.

    Raises:
        ValueError: the page has no markers.
    """
    before, found, rest = page.partition(BEGIN)
    _, also, after = rest.partition(END)
    if not (found and also):
        raise ValueError(f"expected {BEGIN} and {END} in the page")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def write(run: Run, page: Path, data: Path) -> None:
    """Write the table into the page, and everything as JSON beside it."""
    page.write_text(replace_between_markers(page.read_text(), render_markdown(run)))
    shown = [
        {name: getattr(row, name) for name in Row.__slots__} | {"ratio": row.ratio, "met": row.is_met}
        for row in run.rows
    ]
    body = {"machine": run.machine, "python": run.python, "software": run.software, "quick": run.is_quick}
    data.write_bytes(msgspec.json.format(msgspec.json.encode(body | {"rows": shown}), indent=1) + b"\n")


def _number(value: float | None) -> str:
    """Render with three digits or as a whole number."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
