"""Claims about plots in the terminal: each mark says what it means without colour."""

from __future__ import annotations

from coldseal.cli.plot import Point, Span, render_plot
from coldseal.cli.svg import render_svg
from tests.core.coldchain.profiles import VACCINE, profile

RULE = profile().quantities[0]
LOW_ONLY = profile('name = "a"\nversion = 1\n[quantities.t]\nunit = "Cel"\nlow = 2\n').quantities[0]
HIGH_ONLY = profile('name = "a"\nversion = 1\n[quantities.t]\nunit = "Cel"\nhigh = 2\n').quantities[0]
MINUTE = 60_000


def points(*values: int) -> list[Point]:
    """Give values in Cel, a minute apart."""
    return [Point(at * MINUTE, value * 1000) for at, value in enumerate(values)]


def test_what_is_out_of_range_has_another_mark_and_colour_only_repeats_it() -> None:
    """One column for each value here; the lines of the range are named."""
    plain = render_plot(points(5, 9, 5, 1), RULE, [], width=4, height=9)
    coloured = render_plot(points(5, 9, 5, 1), RULE, [], width=4, height=9, is_coloured=True)
    text = "\n".join(plain)
    assert (text.count("#"), text.count("•")) == (2, 2)
    assert text.count("─ high 8") == text.count("─ low 2") == 1
    assert [line.replace("\x1b[31;1m", "").replace("\x1b[0m", "") for line in coloured] == plain
    assert "\n".join(coloured).count("\x1b[31;1m#\x1b[0m") == 2


def test_what_is_within_never_hides_what_is_beyond() -> None:
    """Where many values share a place."""
    crowd = [Point(at, 7_990 + at % 2 * 20) for at in range(100)]
    text = "\n".join(render_plot(crowd, RULE, [], width=3, height=4))
    assert "#" in text
    assert "•" not in text.replace("\n", "")[: text.index("#")]


def test_limits_that_can_be_seen_are_drawn() -> None:
    """Those far away would flatten the curve."""
    both = VACCINE.replace(
        "[quantities.temperature.mkt]",
        '[[quantities.temperature.limits]]\ndirection = "high"\nat = 12\ntier = "critical"\nsingle = "0 s"\n'
        '[[quantities.temperature.limits]]\ndirection = "low"\nat = -30\ntier = "critical"\nsingle = "0 s"\n'
        "[quantities.temperature.mkt]",
    )
    rule = profile(both).quantities[0]
    text = render_plot(points(5, 14), rule, [], width=10, height=12)
    assert sum("·····" in line for line in text) == 1
    assert sum("·" in line for line in render_plot(points(5, 5), rule, [], width=10, height=12)) == 0
    drawn = render_svg(points(5, 14), rule, [], title="a", facts=[], gap_ms=MINUTE)
    assert "limit high 12 Cel: critical" in drawn
    assert "limit low -30" not in drawn


def test_spans_are_letters_below_the_plot() -> None:
    """What is later is on top; a moment is one column."""
    spans = [Span(MINUTE, 3 * MINUTE, "w"), Span(3 * MINUTE, 3 * MINUTE, "C")]
    found = render_plot(points(5, 9, 9, 20, 5), RULE, spans, width=5, height=5)
    assert found[-2].endswith(" wwC")
    assert found[-1].endswith("w warning, e excursion, C critical, ? silent")


def test_a_side_without_a_bound_has_no_line() -> None:
    """In the terminal and in the drawing; one value alone can be drawn."""
    for rule, has, has_not in ((LOW_ONLY, "low 2", "high"), (HIGH_ONLY, "high 2", "low")):
        for text in (
            "\n".join(render_plot(points(5), rule, [])),
            render_svg(points(5), rule, [], title="t", facts=[], gap_ms=MINUTE).partition("<desc")[2],
        ):
            assert has in text
            assert has_not not in text


def test_a_drawing_is_broken_where_readings_are_missing_and_escapes_what_it_is_given() -> None:
    """Two pieces; a name with signs of markup is text."""
    values = [*points(5, 5, 5), *(Point(each.t_ms + 600_000, each.value) for each in points(6, 6))]
    text = render_svg(values, RULE, [], title="<b>&", facts=["a < b"], gap_ms=2 * MINUTE)
    curve = text.partition('<path d="')[2].partition('"')[0]
    assert (curve.count("M"), curve.count("L")) == (2, 3)
    assert "&lt;b&gt;&amp;" in text
    assert "<b>" not in text


def test_many_readings_are_thinned_but_no_extreme_is_lost() -> None:
    """Of ten thousand, a few thousand places; the one that matters is there."""
    values = [Point(at * MINUTE, 5000 + at % 7) for at in range(10_000)]
    values[5_000] = Point(5_000 * MINUTE, 30_000)
    text = render_svg(values, RULE, [], title="t", facts=[], gap_ms=2 * MINUTE)
    assert text.count("L") < 3_000
    assert text.count("h0.01") == 1
