"""Readings of one quantity as an SVG file: its range, its limits, excursions, and the figures in words.

Self-contained: no script, no style sheet, no font, nothing from elsewhere. Title and description say in words
what is drawn, for those who hear it; out of range is drawn thicker, not only in another colour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from coldseal.cli.plot import is_beyond, scale_of
from coldseal.core.coldchain.document import render_milli
from coldseal.core.coldchain.product import MILLI

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coldseal.cli.plot import Point, Scale, Span
    from coldseal.core.coldchain.product import QuantityRule

WIDTH: Final = 960
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 40
MAX_POINTS: Final = 2400
_COLOURS: Final = {"w": "#e0a800", "e": "#d9480f", "C": "#a61e4d", "?": "#868e96"}
_WORDS: Final = {"w": "warning", "e": "excursion", "C": "critical", "?": "silent"}


def render_svg(
    points: Sequence[Point],
    rule: QuantityRule,
    spans: Sequence[Span],
    *,
    title: str,
    facts: Sequence[str],
    gap_ms: int,
) -> str:
    """Draw one quantity.

    Args:
        points: in order of time; at least one.
        rule: whose range and limits are drawn.
        spans: excursions and silences of this quantity.
        title: what it is, in a line.
        facts: the figures, in words; they become the description.
        gap_ms: where two readings are further apart, the curve is broken.
    """
    scale = scale_of(points, rule)
    body = [*_background(scale, rule), *_spans(spans, scale), *_curve(points, rule, scale, gap_ms)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="title desc" font-family="sans-serif" font-size="12">'
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        head,
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(" ".join(facts))}</desc>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *body,
        *_axis(scale, rule),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _x(scale: Scale, t_ms: int) -> str:
    """Give the place of a time across."""
    length = max(1, scale.last_ms - scale.first_ms)
    within = min(max(t_ms, scale.first_ms), scale.last_ms) - scale.first_ms
    return f"{LEFT + (WIDTH - LEFT - RIGHT) * within / length:.1f}"


def _y(scale: Scale, value: int) -> str:
    """Give the place of a value down."""
    span = scale.top - scale.bottom
    within = min(max(value, scale.bottom), scale.top)
    return f"{TOP + (HEIGHT - TOP - BOTTOM) * (scale.top - within) / span:.1f}"


def _background(scale: Scale, rule: QuantityRule) -> Iterator[str]:
    """Draw the range, its edges and the limits."""
    top = float(_y(scale, scale.top if rule.high is None else rule.high))
    bottom = float(_y(scale, scale.bottom if rule.low is None else rule.low))
    box = f'x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{bottom - top:.1f}"'
    yield f'<rect {box} fill="#d3f9d8"><title>{escape(_range(rule))}</title></rect>'
    for limit in rule.limits:
        if scale.bottom < limit.at < scale.top:
            name = f"limit {limit.direction.value} {render_milli(limit.at)} {rule.unit}: {limit.tier.value}"
            yield _rule_across(scale, limit.at, name, dash="2 4")
    for bound, name in ((rule.low, "low"), (rule.high, "high")):
        if bound is not None:
            words = f"{name} {render_milli(bound)} {rule.unit}"
            yield _rule_across(scale, bound, words, dash="8 4")
            place = f'x="{WIDTH - RIGHT - 4}" y="{float(_y(scale, bound)) - 4:.1f}" text-anchor="end"'
            yield f'<text {place} fill="#2b8a3e">{escape(words)}</text>'


def _range(rule: QuantityRule) -> str:
    """Say the range."""
    low = "" if rule.low is None else f" from {render_milli(rule.low)}"
    high = "" if rule.high is None else f" to {render_milli(rule.high)}"
    return f"range{low}{high} {rule.unit}"


def _rule_across(scale: Scale, value: int, name: str, *, dash: str) -> str:
    """Draw a line across, with its name."""
    y = _y(scale, value)
    line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"'
    return f'<line {line} stroke="#2b8a3e" stroke-dasharray="{dash}"><title>{escape(name)}</title></line>'


def _spans(spans: Sequence[Span], scale: Scale) -> Iterator[str]:
    """Draw where excursions and silences were, with a mark above each."""
    for span in spans:
        x, end = float(_x(scale, span.from_ms)), float(_x(scale, span.to_ms))
        colour, word = _COLOURS[span.mark], _WORDS[span.mark]
        name = f"{word}: {_minute(span.from_ms)} to {_minute(span.to_ms)}"
        size = f'width="{max(1.0, end - x):.1f}" height="{HEIGHT - TOP - BOTTOM}"'
        yield f'<rect x="{x:.1f}" y="{TOP}" {size} fill={quoteattr(colour)} fill-opacity="0.25">'
        yield f"<title>{escape(name)}</title></rect>"
        yield f'<text x="{x:.1f}" y="{TOP - 4}" fill="#343a40">{word}</text>'


def _curve(points: Sequence[Point], rule: QuantityRule, scale: Scale, gap_ms: int) -> Iterator[str]:
    """Draw the values: broken where none were, thicker where they are out of range."""
    path, beyond = [], []
    for piece in _pieces(points, gap_ms):
        for at, point in enumerate(_thinned(piece, of=len(points))):
            place = f"{_x(scale, point.t_ms)} {_y(scale, point.value)}"
            path.append(f"{'L' if at else 'M'}{place}")
            if is_beyond(point.value, rule):
                beyond.append(f"M{place}h0.01")
    ends = 'fill="none" stroke-linecap="round"'
    yield f'<path d="{"".join(path)}" stroke="#1864ab" stroke-width="1.5" {ends}/>'
    if beyond:
        yield f'<path d="{"".join(beyond)}" stroke="#a61e4d" stroke-width="4" {ends}/>'


def _pieces(points: Sequence[Point], gap_ms: int) -> list[list[Point]]:
    """Part the values where none were for too long."""
    found = [[points[0]]]
    for before, point in pairwise(points):
        if point.t_ms - before.t_ms > gap_ms:
            found.append([])
        found[-1].append(point)
    return found


def _thinned(points: Sequence[Point], *, of: int) -> list[Point]:
    """Keep the least and the greatest value of each of some hundred stretches, in order, and both ends."""
    if of <= MAX_POINTS or len(points) <= MAX_POINTS // 100:
        return [*points]
    width = -(-2 * of // MAX_POINTS)
    kept: list[Point] = []
    for at in range(0, len(points), width):
        part = points[at : at + width]
        kept += sorted({min(part, key=lambda each: each.value), max(part, key=lambda each: each.value)})
    return sorted({points[0], *kept, points[-1]})


def _axis(scale: Scale, rule: QuantityRule) -> Iterator[str]:
    """Write values beside and times below."""
    for part in range(5):
        value = scale.bottom + (scale.top - scale.bottom) * part // 4
        y = float(_y(scale, value)) + 4
        yield f'<text x="{LEFT - 6}" y="{y:.1f}" text-anchor="end">{value / MILLI:.1f}</text>'
    yield f'<text x="{LEFT - 6}" y="{TOP - 8}" text-anchor="end">{escape(rule.unit)}</text>'
    for part, anchor in ((0, "start"), (1, "middle"), (2, "end")):
        t_ms = scale.first_ms + (scale.last_ms - scale.first_ms) * part // 2
        place = f'x="{_x(scale, t_ms)}" y="{HEIGHT - 14}" text-anchor="{anchor}"'
        yield f"<text {place}>{_minute(t_ms)}</text>"


def _minute(t_ms: int) -> str:
    """Write a time to the minute."""
    return f"{datetime.fromtimestamp(t_ms // 1000, UTC):%Y-%m-%d %H:%MZ}"
