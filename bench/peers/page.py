"""The table of the peers: on the terminal's width, and as docs/peers.md between its marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.peers.cases import UNDER_WAY, Outcome

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_COLUMNS = (
    *("case", "peer", "acknowledged", "delivered", "lost", "doubled", "order breaks", "messages/s"),
    *("PUBACK p50", "p99", "memory", "CPU each", "fsyncs each", "note"),
)


def table(outcomes: Iterable[Outcome]) -> str:
    """Write outcomes as a Markdown table."""
    lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    lines += (_row(_cells(outcome)) for outcome in outcomes)
    return "\n".join(lines)


def _cells(outcome: Outcome) -> Sequence[str]:
    """Write one outcome; what was not measured stays empty."""
    found = outcome.count
    if found is None:
        return (outcome.case, outcome.peer, "not run", *[""] * 10, outcome.note)
    lost = f"**{found.lost:,}**" if found.lost else "0"
    if found.lost and UNDER_WAY in outcome.note:
        lost = f"≤ {found.lost:,}"
    return (
        outcome.case,
        outcome.peer,
        f"{found.acknowledged:,}",
        f"{found.delivered:,}",
        lost,
        f"{found.doubled:,}",
        f"{found.order_breaks:,}",
        f"{outcome.per_second:,.0f}" if outcome.per_second else "",
        f"{outcome.p50_ms:.1f} ms" if outcome.p50_ms else "",
        f"{outcome.p99_ms:.1f} ms" if outcome.p99_ms else "",
        f"{outcome.memory_mb:.0f} MB" if outcome.memory_mb else "",
        f"{outcome.cpu_us:.0f} µs" if outcome.cpu_us else "",
        "" if outcome.syncs is None else f"{outcome.syncs:.3g}",
        outcome.note,
    )


def _row(cells: Iterable[str]) -> str:
    """Write one row."""
    return f"| {' | '.join(cells)} |"


def write(page: Path, machine: str, outcomes: Sequence[Outcome]) -> None:
    """Put the table between the page's marks."""
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    page.write_text(f"{head}{BEGIN}\n{machine}\n\n{table(outcomes)}\n{END}{tail}", encoding="utf-8")
