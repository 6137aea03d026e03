"""The board shows what it is given, on a terminal and without one."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from coldseal.demo.board import LiveBoard, PlainBoard, Sample, SilentBoard, render_board, render_line
from coldseal.demo.verdict import Check, Verdict

SAMPLE = Sample(
    elapsed_s=12.0,
    duration_s=40.0,
    phase="uplink cut",
    sensors=24,
    per_second=480.4,
    acknowledged=5765,
    waiting=3,
    backlog=1234,
    published=4531,
    receipt_age_s=2.4,
    latency_p50_ms=1.23,
    latency_p99_ms=4.56,
    is_cut=True,
    is_down=False,
)
UNKNOWN = replace(
    SAMPLE,
    backlog=None,
    published=None,
    receipt_age_s=None,
    latency_p50_ms=None,
    latency_p99_ms=None,
    is_down=True,
)
GOOD = Verdict((Check("lost", "0", "0", is_good=True),))
BAD = Verdict((Check("lost", "1", "0", is_good=False), Check("doubled", "0", "0", is_good=True)))


def console(*, terminal: bool) -> tuple[Console, StringIO]:
    """A console of 100 columns and what was written to it."""
    written = StringIO()
    return Console(file=written, width=100, force_terminal=terminal, color_system=None), written


def test_a_line_says_everything_once() -> None:
    """Without a terminal the state is one line."""
    assert render_line(SAMPLE) == (
        "uplink cut: 24 sensors, 480 readings/s, 5,765 acknowledged, 1,234 backlog, 4,531 published, "
        "receipt 2 s ago, PUBACK p50 1.2 ms p99 4.6 ms"
    )


def test_what_is_not_known_is_not_made_up() -> None:
    """While the gateway is down its figures are dashes, not zeros."""
    assert "– backlog, – published, receipt –, PUBACK p50 – p99 –" in render_line(UNKNOWN)


def test_the_board_shows_the_state_of_gateway_and_uplink() -> None:
    """A person sees at once what is cut and what is down."""
    out, written = console(terminal=False)
    out.print(render_board(SAMPLE))
    out.print(render_board(UNKNOWN))
    up, down = written.getvalue().split("coldseal: uplink cut")[1:]
    assert "5,765" in up
    assert "cut" in up
    assert "down" not in up
    assert "down" in down


def test_plain_lines_come_every_two_seconds() -> None:
    """The state twice within two seconds is said once; an event is said at once."""
    out, written = console(terminal=False)
    with PlainBoard(out) as board:
        board.show(SAMPLE)
        board.show(replace(SAMPLE, elapsed_s=13.0))
        board.tell(13.5, "gateway killed")
        board.show(replace(SAMPLE, elapsed_s=14.0))
    lines = written.getvalue().splitlines()
    assert [line[:10] for line in lines] == ["  12.0 s  ", "  13.5 s  ", "  14.0 s  "]
    assert lines[1].endswith("* gateway killed")


def test_plain_lines_hold_no_control_characters() -> None:
    """They are for logs and pipes."""
    out, written = console(terminal=False)
    with PlainBoard(out) as board:
        board.show(SAMPLE)
        board.conclude(GOOD)
    assert "\x1b" not in written.getvalue()


def test_the_live_board_keeps_the_latest_events() -> None:
    """Old events scroll away; the newest stand below the board."""
    out, written = console(terminal=True)
    with LiveBoard(out) as board:
        board.tell(0.0, "first")
        board.show(SAMPLE)
        for number in range(8):
            board.tell(float(number), f"event {number}")
    last = written.getvalue().split("coldseal: uplink cut")[-1]
    assert "event 7" in last
    assert "first" not in last


def test_a_good_verdict_says_so() -> None:
    """Both boards end with the table."""
    for kind in (PlainBoard, LiveBoard):
        out, written = console(terminal=kind is LiveBoard)
        with kind(out) as board:
            board.conclude(GOOD)
        assert "the promise held" in written.getvalue()
        assert "WRONG" not in written.getvalue()


def test_a_bad_verdict_marks_the_bad_line() -> None:
    """Only the line that is wrong is marked."""
    out, written = console(terminal=False)
    PlainBoard(out).conclude(BAD)
    lines = written.getvalue().splitlines()
    assert any("DID NOT HOLD" in line for line in lines)
    assert [("WRONG" in line) for line in lines if "lost" in line or "doubled" in line] == [True, False]


def test_a_silent_board_writes_nothing() -> None:
    """With --json only the answer is printed."""
    with SilentBoard() as board:
        board.show(SAMPLE)
        board.tell(1.0, "cut")
        board.conclude(BAD)
