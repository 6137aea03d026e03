"""What a person sees while the demo runs: a live board on a terminal, plain lines elsewhere.

Everything shown comes in as a frozen ``Sample`` and as events; nothing is measured here, and nothing
decides anything. The verdict is shown as a table in both forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from coldseal.demo.verdict import Verdict

_PLAIN_EVERY_S = 2.0
_EVENTS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one moment; counts are since the start, ``None`` is not known just now.

    Args:
        elapsed_s: since the sensors started.
        duration_s: that they are to run.
        phase: what is being done, in a few words.
        sensors: sensors that are connected.
        per_second: readings acknowledged in the last second.
        acknowledged: readings acknowledged.
        waiting: readings taken and not acknowledged yet.
        backlog: entries without a receipt.
        published: entries that have one.
        receipt_age_s: since the last receipt.
        latency_p50_ms: from publish to acknowledgement, lately.
        latency_p99_ms: the same, the slowest hundredth.
        is_cut: whether the uplink is cut.
        is_down: whether the gateway is down.
    """

    elapsed_s: float
    duration_s: float
    phase: str
    sensors: int
    per_second: float
    acknowledged: int
    waiting: int
    backlog: int | None
    published: int | None
    receipt_age_s: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    is_cut: bool
    is_down: bool


class Board(Protocol):
    """Where the demo shows itself: a live board, plain lines, or nowhere."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, leaving the terminal as it was."""
        ...

    def show(self, sample: Sample) -> None:
        """Show the state."""
        ...

    def tell(self, elapsed_s: float, event: str) -> None:
        """Say that something happened."""
        ...

    def conclude(self, verdict: Verdict) -> None:
        """Show the verdict."""
        ...


class SilentBoard:
    """Shows nothing: the answer is printed as JSON by whoever asked."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def show(self, sample: Sample) -> None:
        """Show nothing."""

    def tell(self, elapsed_s: float, event: str) -> None:
        """Say nothing."""

    def conclude(self, verdict: Verdict) -> None:
        """Conclude nothing."""


class PlainBoard(SilentBoard):
    """Plain lines: an event at once, the state every two seconds."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self._console = console
        self._next_s = 0.0

    @override
    def show(self, sample: Sample) -> None:
        if sample.elapsed_s >= self._next_s:
            self._next_s = sample.elapsed_s + _PLAIN_EVERY_S
            self._line(sample.elapsed_s, render_line(sample))

    @override
    def tell(self, elapsed_s: float, event: str) -> None:
        self._line(elapsed_s, f"* {event}")

    @override
    def conclude(self, verdict: Verdict) -> None:
        self._console.print(render_verdict(verdict))

    def _line(self, elapsed_s: float, text: str) -> None:
        self._console.print(f"{elapsed_s:6.1f} s  {text}", highlight=False, markup=False, soft_wrap=True)


class LiveBoard(SilentBoard):
    """A board that stays in its place, with the latest events below."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``."""
        self._events: list[str] = []
        self._last: Sample | None = None
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)

    @override
    def __enter__(self) -> Self:
        self._live.start()
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @override
    def show(self, sample: Sample) -> None:
        self._last = sample
        self._draw()

    @override
    def tell(self, elapsed_s: float, event: str) -> None:
        self._events.append(f"{elapsed_s:6.1f} s  {event}")
        self._draw()

    @override
    def conclude(self, verdict: Verdict) -> None:
        self._live.stop()
        self._console.print(render_verdict(verdict))

    def _draw(self) -> None:
        events = Text("\n".join(self._events[-_EVENTS_SHOWN:]))
        parts: list[RenderableType] = [events]
        if self._last is not None:
            parts.insert(0, render_board(self._last))
        self._live.update(Group(*parts), refresh=True)


def render_line(sample: Sample) -> str:
    """Render the state as one plain line."""
    return (
        f"{sample.phase}: {sample.sensors} sensors, {sample.per_second:,.0f} readings/s, "
        f"{sample.acknowledged:,} acknowledged, {_count(sample.backlog)} backlog, "
        f"{_count(sample.published)} published, receipt {_age(sample.receipt_age_s)}, "
        f"PUBACK p50 {_ms(sample.latency_p50_ms)} p99 {_ms(sample.latency_p99_ms)}"
    )


def render_board(sample: Sample) -> Panel:
    """Render the state as a board."""
    table = Table.grid(padding=(0, 3), expand=True)
    for _ in range(4):
        table.add_column()
    gateway = Text("down", "bold red") if sample.is_down else Text("up", "green")
    uplink = Text("cut", "bold red") if sample.is_cut else Text("up", "green")
    rows: tuple[tuple[str, RenderableType, str, RenderableType], ...] = (
        ("sensors connected", str(sample.sensors), "gateway", gateway),
        ("readings/s", f"{sample.per_second:,.0f}", "uplink", uplink),
        ("acknowledged", f"{sample.acknowledged:,}", "backlog, entries", _count(sample.backlog)),
        ("waiting for PUBACK", f"{sample.waiting:,}", "published size", _count(sample.published)),
        (
            "PUBACK p50 / p99",
            f"{_ms(sample.latency_p50_ms)} / {_ms(sample.latency_p99_ms)}",
            "last receipt",
            _age(sample.receipt_age_s),
        ),
    )
    for left, value, right, other in rows:
        table.add_row(Text(left, "dim"), value, Text(right, "dim"), other)
    bar = ProgressBar(total=sample.duration_s, completed=min(sample.elapsed_s, sample.duration_s))
    return Panel(Group(table, bar), title=f"coldseal: {sample.phase}", title_align="left")


def render_verdict(verdict: Verdict) -> Table:
    """Render the verdict as a table, the bad lines marked."""
    title = "the promise held" if verdict.is_good else "THE PROMISE DID NOT HOLD"
    table = Table(title=f"Verdict: {title}", title_justify="left")
    table.add_column("check")
    table.add_column("found", justify="right")
    table.add_column("expected", justify="right")
    table.add_column("")
    for check in verdict.checks:
        mark = Text("ok", "green") if check.is_good else Text("WRONG", "bold red")
        table.add_row(check.name, check.value, check.expected, mark)
    return table


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _age(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f} s ago"
