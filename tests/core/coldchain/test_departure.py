"""Claims about a sensor that leaves: what is open closes when its moment comes, in its place in the log."""

from __future__ import annotations

from typing import Any

import pytest

from coldseal.core.coldchain.effects import Effect, Judged, Measured
from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.core.coldchain.figures import render_time
from coldseal.core.coldchain.register import Plan
from coldseal.core.log.canonical import parse
from coldseal.errors import InputError
from tests.core.coldchain.series import MINUTE, START_MS, plan_of

LEAVES_MS = START_MS + 10 * MINUTE
HERE = plan_of("fridge")
GONE = Plan(HERE.device, HERE.sensor, from_ms=LEAVES_MS)


def read(evaluation: Evaluation, *values: int, first_ms: int = START_MS) -> Judged:
    """Judge readings every five minutes; gives what came of the last."""
    judged = Judged((), (), ())
    for at, value in enumerate(values):
        t_ms = first_ms + at * 5 * MINUTE
        measured = [Measured("temperature", "Cel", value, t_ms)]
        judged = evaluation.judge(HERE, measured, received_ms=t_ms)
    return judged


def said(effects: tuple[Effect, ...]) -> list[dict[str, Any]]:
    """Read entries."""
    return [dict(parse(each.data, where="test")) for each in effects]


def test_a_planned_release_closes_at_its_moment_and_a_replay_does_so_at_its_entry() -> None:
    """The same state, taken back as any step, and known from the entry alone."""
    evaluation = Evaluation()
    read(evaluation, 5_000, 9_000)
    again = Evaluation.restore(evaluation.snapshot())
    before = evaluation.snapshot()
    left = evaluation.departed([GONE])
    (entry,) = said(left.effects)
    assert (entry["action"], entry["reason"]) == ("closed", "released")
    assert (entry["to"], entry["duration"]) == (render_time(LEAVES_MS), 300)
    assert evaluation.departed([GONE]).effects == ()
    again.followed(entry)
    again.followed(entry)  # once
    assert again.snapshot() == evaluation.snapshot()
    evaluation.undo(left.before)
    assert evaluation.snapshot() == before


def test_what_has_nothing_open_waits_for_its_next_reading() -> None:
    """Nor does anything happen at a post that is still held, or to a sensor that never was there."""
    evaluation = Evaluation()
    assert evaluation.departed([GONE]).effects == ()
    read(evaluation, 5_000)
    before = evaluation.snapshot()
    assert evaluation.departed([GONE, HERE]).effects == ()
    read(evaluation, 9_000, first_ms=START_MS + 5 * MINUTE)
    assert evaluation.departed([HERE]).effects == ()
    assert evaluation.snapshot() != before


def test_entries_that_follow_from_others_move_nothing() -> None:
    """Another reason, another asset, another excursion."""
    evaluation = Evaluation()
    (opened,) = said(read(evaluation, 9_000).effects)
    before = evaluation.snapshot()
    for change in (
        {},
        {"reason": "profile"},
        {"reason": "released", "asset": "other"},
        {"reason": "released", "id": "other"},
        {"reason": "released", "device": "other"},
    ):
        evaluation.followed({**opened, "action": "closed", **change})
    assert evaluation.snapshot() == before


def test_what_a_backlog_opened_after_the_release_can_be_decided() -> None:
    """It is still out of range at its end, and no reading will follow."""
    evaluation = Evaluation()
    read(evaluation, 5_000)
    evaluation.release(HERE, LEAVES_MS)
    came_ms = LEAVES_MS + 60 * MINUTE
    measured = [Measured("temperature", "Cel", 9_000, START_MS + 5 * MINUTE)]
    until = Plan(HERE.device, HERE.sensor, HERE.asset, HERE.profile, until_ms=LEAVES_MS)
    (opened,) = said(evaluation.judge(until, measured, received_ms=came_ms).effects)
    (shown,) = evaluation.open_excursions()
    assert (opened["action"], shown["state"]) == ("opened", "open")
    before = evaluation.snapshot()
    decided = {"verdict": "reject", "who": "Eva", "why": "frozen"}
    with pytest.raises(InputError, match="waits for a disposition"):
        evaluation.close("other", decided, came_ms)
    judged = evaluation.close(str(opened["id"]), decided, came_ms + MINUTE)
    (closed,) = said(judged.effects)
    assert (closed["action"], closed["disposition"]) == ("closed", decided)
    assert evaluation.open_excursions() == []
    evaluation.undo(judged.before)
    assert evaluation.snapshot() == before
