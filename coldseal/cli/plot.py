"""Readings of one quantity as a plot for the terminal: its range, its limits, and what lies beyond them.

Works without colour: what is out of range has another mark than what is within, and a line below the plot
says where an excursion was, by a letter for its tier. Colour only repeats that.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.document import render_milli
from coldseal.core.coldchain.product import MILLI, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.coldchain.product import QuantityRule

HEIGHT: Final = 15
WIDTH: Final = 72
MARKS: Final = {Tier.WARNING: "w", Tier.EXCURSION: "e", Tier.CRITICAL: "C"}
SILENT: Final = "?"
_WITHIN, _BEYOND, _EDGE, _LIMIT, _EMPTY = "•", "#", "─", "·", " "
_RED: Final = "\x1b[31;1m"
_PLAIN: Final = "\x1b[0m"


class Point(NamedTuple):
    """A value, thousandths, and when it was taken, UTC milliseconds."""

    t_ms: int
    value: int


class Span(NamedTuple):
    """From when to when something was, and its mark: the tier of an excursion, or silence."""

    from_ms: int
    to_ms: int
    mark: str


class Scale(NamedTuple):
    """What lies at the edges of a plot."""

    first_ms: int
    last_ms: int
    bottom: int
    top: int

    def across(self, t_ms: int, width: int) -> int:
        """Give the column of a time, 0 to width - 1."""
        length = max(1, self.last_ms - self.first_ms)
        return max(0, min(width - 1, (t_ms - self.first_ms) * width // length))

    def up(self, value: int, height: int) -> int:
        """Give the line of a value, 0 at the bottom."""
        return max(0, min(height - 1, (value - self.bottom) * height // max(1, self.top - self.bottom)))


def scale_of(points: Sequence[Point], rule: QuantityRule) -> Scale:
    """Let all values and the whole range be seen, and limits where they are near."""
    values = [point.value for point in points]
    values += [bound for bound in (rule.low, rule.high) if bound is not None]
    least, most = min(values), max(values)
    margin = max((most - least) // 12, MILLI // 10)
    return Scale(points[0].t_ms, max(point.t_ms for point in points), least - margin, most + margin)


def is_beyond(value: int, rule: QuantityRule) -> bool:
    """Whether a value lies out of range, whatever the sensor's uncertainty."""
    return (rule.low is not None and value < rule.low) or (rule.high is not None and value > rule.high)


def render_plot(
    points: Sequence[Point],
    rule: QuantityRule,
    spans: Sequence[Span],
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    is_coloured: bool = False,
) -> list[str]:
    """Draw a plot, line by line.

    Args:
        points: in order of time; at least one.
        rule: whose range and limits are drawn.
        spans: excursions and silences of this quantity.
        width: columns of the plot without the labels.
        height: lines of the plot without the axis.
        is_coloured: also in colour.
    """
    scale = scale_of(points, rule)
    grid = [[_EMPTY] * width for _ in range(height)]
    names: dict[int, str] = {}
    for limit in rule.limits:
        if scale.bottom < limit.at < scale.top:
            _line(grid, names, scale.up(limit.at, height), _LIMIT, "")
    for bound, name in ((rule.low, "low"), (rule.high, "high")):
        if bound is not None:
            _line(grid, names, scale.up(bound, height), _EDGE, f" {name} {render_milli(bound)}")
    _draw(grid, points, rule, scale)
    labels = _labels(scale, height)
    margin = max(len(label) for label in labels.values())
    found = []
    for at in reversed(range(height)):
        tick = "┤" if at in labels else "│"
        text = "".join(grid[at])
        if is_coloured:
            text = text.replace(_BEYOND, f"{_RED}{_BEYOND}{_PLAIN}")
        found.append(f"{labels.get(at, ''):>{margin}} {tick}{text}{names.get(at, '')}".rstrip())
    found.append(f"{'':>{margin}} └{'─' * width}")
    found.append(f"{'':>{margin}}  {_times(scale, width)}")
    if spans:
        found.append(f"{'':>{margin}}  {_strip(spans, scale, width)}".rstrip())
        found.append(f"{'':>{margin}}  w warning, e excursion, C critical, {SILENT} silent")
    return found


def _line(grid: list[list[str]], names: dict[int, str], at: int, mark: str, name: str) -> None:
    """Draw a line across, and name it at its end."""
    grid[at] = [mark] * len(grid[at])
    names[at] = names.get(at, "") + name


def _draw(grid: list[list[str]], points: Sequence[Point], rule: QuantityRule, scale: Scale) -> None:
    """Mark every value; what is beyond is never hidden by what is within."""
    height, width = len(grid), len(grid[0])
    for point in points:
        column, line = scale.across(point.t_ms, width), scale.up(point.value, height)
        if is_beyond(point.value, rule):
            grid[line][column] = _BEYOND
        elif grid[line][column] != _BEYOND:
            grid[line][column] = _WITHIN


def _labels(scale: Scale, height: int) -> dict[int, str]:
    """Name every fifth line or so."""
    step = max(1, (height - 1) // 3)
    lines = range(0, height, step)
    span = scale.top - scale.bottom
    return {at: f"{(scale.bottom + span * (2 * at + 1) // (2 * height)) / MILLI:.1f}" for at in lines}


def _times(scale: Scale, width: int) -> str:
    """Write the first and the last time."""
    first, last = (_minute(t_ms) for t_ms in (scale.first_ms, scale.last_ms))
    return f"{first}{last:>{max(0, width - len(first))}}"


def _minute(t_ms: int) -> str:
    """Write a time to the minute."""
    return f"{datetime.fromtimestamp(t_ms // 1000, UTC):%Y-%m-%d %H:%MZ}"


def _strip(spans: Sequence[Span], scale: Scale, width: int) -> str:
    """Draw one line that says where what was."""
    strip = [_EMPTY] * width
    for span in spans:
        for column in range(scale.across(span.from_ms, width), scale.across(span.to_ms, width) + 1):
            strip[column] = span.mark
    return "".join(strip)
