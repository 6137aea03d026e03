"""What holds of judging whatever is measured: nothing is lost, nothing depends on when it is done."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldseal.core.coldchain.effects import Effect, Measured
from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.core.coldchain.excursion import TRANSITIONS, Action, Event, State, diagram
from coldseal.core.coldchain.mkt import begin, mean, move, window_of
from coldseal.core.coldchain.product import MktRule
from coldseal.core.log.canonical import parse
from tests.core.coldchain.series import MINUTE, START_MS, Given, draw, judge_all, plan_of

HYSTERESIS = 500
"""Of the fridge's profile."""

seeds = st.integers(0, 2**32)
walks = st.lists(
    st.tuples(st.integers(-3_000, 18_000), st.sampled_from([1, 5, 5, 5, 8, 10, 11, 60])),
    min_size=2,
    max_size=80,
)


def _readings(walk: list[tuple[int, int]], profile: str = "fridge") -> list[Given]:
    """Give readings in order: values, each so many minutes behind the one before."""
    plan, t_ms, found = plan_of(profile), START_MS, []
    for value, minutes in walk:
        t_ms += minutes * MINUTE
        found.append(Given(plan, [Measured("temperature", "Cel", value, t_ms)], t_ms))
    return found


def _used(evaluation: Evaluation) -> dict[str, int]:
    """Give seconds used up of each limit of the first asset."""
    return {
        f"{each['direction']}/{each['at']}/{each['tier']}": int(str(each["total"]))
        for each in evaluation.totals("asset-0")
    }


@given(walks)
def test_hysteresis_never_loses_a_minute_out_of_range(walk: list[tuple[int, int]]) -> None:
    """By a sum over all readings, each held until the next, ten minutes at most."""
    evaluation = Evaluation()
    judge_all(evaluation, _readings(walk))
    held = [(value, min(minutes, 10) * 60) for (value, _), (_, minutes) in pairwise(walk)]
    used = _used(evaluation)
    assert used.get("high/8/warning", 0) == sum(span for value, span in held if value > 8_000)
    assert used.get("high/15/critical", 0) == sum(span for value, span in held if value >= 15_000)
    assert used.get("low/2/warning", 0) == sum(span for value, span in held if value < 2_000)


@given(walks)
def test_every_excursion_opens_and_ends_once_and_its_times_add_up(walk: list[tuple[int, int]]) -> None:
    """Opened, escalated to something graver, recovered; what is out of range lies in exactly one of them."""
    effects = judge_all(Evaluation(), _readings([*walk, (5_000, 5), (5_000, 5), (5_000, 5)]))
    entries = [parse(each.data, where="test") for each in effects]
    by_id: dict[str, list[dict[str, object]]] = {}
    for entry in entries:
        by_id.setdefault(str(entry["id"]), []).append(dict(entry))
    weights = {"warning": 1, "excursion": 2, "critical": 3}
    for each in by_id.values():
        actions = [entry["action"] for entry in each]
        assert actions == ["opened"] + ["escalated"] * (len(each) - 2) + ["recovered"]
        tiers = [weights[str(entry["tier"])] for entry in each]
        assert tiers[:-1] == sorted(set(tiers[:-1]))
        assert tiers[-1] == tiers[-2]
    singles = {"high": 0, "low": 0}
    totals = {"high": 0, "low": 0}
    for entry in entries:
        limits = entry["limits"]
        assert isinstance(limits, list)
        assert isinstance(limits[0], dict)
        if entry["action"] == "recovered":
            singles[str(entry["direction"])] += int(str(limits[0]["single"]))
            totals[str(entry["direction"])] = int(str(limits[0]["total"]))
    assert singles == totals


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_undo_restores_exactly(seed: int) -> None:
    """Newest first, over readings of all kinds, silence, release, carried legs and dispositions."""
    chance = random.Random(seed)
    evaluation = Evaluation()
    effects: list[Effect] = []
    given = list(draw(chance, 240))
    while given:
        group, given = given[:8], given[8:]
        before = evaluation.snapshot()
        steps = [evaluation.judge(each.plan, each.measured, received_ms=each.received_ms) for each in group]
        steps.append(evaluation.silent(group[-1].received_ms + 30 * MINUTE, [group[-1].plan]))
        if chance.random() < 0.1:
            steps.append(evaluation.release(group[0].plan, group[-1].received_ms))
        if chance.random() < 0.1:
            leg = evaluation.leg("asset-0")
            steps.append(evaluation.carry("asset-1", leg, source="example.com/there asset-0"))
        waiting = [each for each in evaluation.open_excursions() if each["state"] == "recovered"]
        if waiting:
            disposition = {"verdict": "accept", "who": "Eva", "why": "seen"}
            steps.append(evaluation.close(str(waiting[0]["id"]), disposition, group[-1].received_ms))
        after = evaluation.snapshot()
        befores = [each.before for each in steps]
        assert evaluation.snapshot(befores) == before  # what is not sealed is not in the snapshot
        for each in reversed(befores):
            evaluation.undo(each)
        assert evaluation.snapshot() == before
        evaluation = Evaluation.restore(before)
        for each in group:
            effects += evaluation.judge(each.plan, each.measured, received_ms=each.received_ms).effects
        assert after  # and once more from there
    assert effects


def _again(seed: int, count: int) -> tuple[list[Effect], list[Effect]]:
    """Judge the same readings in one go, and with restarts and groups that fail in between."""
    given = list(draw(random.Random(seed), count, sensors=9))
    once = judge_all(Evaluation(), given)
    chance, evaluation, again = random.Random(seed + 1), Evaluation(), []
    at = 0
    while at < len(given):
        group = given[at : at + chance.randrange(1, 60)]
        judged = [evaluation.judge(each.plan, each.measured, received_ms=each.received_ms) for each in group]
        if chance.random() < 0.2:
            for each in reversed(judged):
                evaluation.undo(each.before)
            continue
        again += [effect for each in judged for effect in each.effects]
        at += len(group)
        if chance.random() < 0.2:
            evaluation = Evaluation.restore(evaluation.snapshot())
    return once, again


def test_a_replay_gives_the_same_bytes() -> None:
    """20,000 readings, judged in one go and with restarts and failing groups; a million in the campaign."""
    once, again = _again(6, 20_000)
    assert once == again
    kinds = {(each.kind, parse(each.data, where="test").get("action")) for each in once}
    assert {action for kind, action in kinds if kind == "excursion"} >= {
        "opened",
        "escalated",
        "recovered",
        "retrospective",
    }


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_readings_out_of_order_count_as_if_they_had_come_in_their_turn(seed: int) -> None:
    """Time at each limit and the sums of the window are those of the sorted readings."""
    chance = random.Random(seed)
    walk = [(chance.randrange(-3_000, 18_000), chance.choice([1, 5, 5, 5, 8, 10, 11, 60])) for _ in range(60)]
    in_order = _readings(walk)
    mixed = sorted(in_order[1:-1], key=lambda each: each.received_ms + chance.randrange(60) * MINUTE)
    straight, other = Evaluation(), Evaluation()
    judge_all(straight, in_order)
    come_ms = in_order[-1].received_ms
    judge_all(other, [each._replace(received_ms=come_ms) for each in [in_order[0], *mixed, in_order[-1]]])
    assert _used(other) == _used(straight)
    (one,), (two,) = (list(each._posts.values()) for each in (straight, other))
    sums = []
    for track in (one.tracks[0], two.tracks[0]):
        assert track is not None
        assert track.kinetic is not None
        sums.append((track.kinetic.total, track.kinetic.total_ms))
    assert sums[0] == sums[1]


def test_no_mean_leads_to_recovery() -> None:
    """Nothing but readings, a person or a release ends an excursion: the events of the table say so."""
    ends = {
        event for (_, event), (after, _) in TRANSITIONS.items() if after in {State.RECOVERED, State.CLOSED}
    }
    assert ends == {Event.ENOUGH, Event.BRIEF, Event.RELEASED, Event.DISPOSED}
    from_open = {after for (before, _), (after, _) in TRANSITIONS.items() if before is State.RECOVERED}
    assert from_open == {State.CLOSED}


@pytest.mark.parametrize("seed", range(3))
def test_the_same_readings_recover_at_the_same_time_whatever_the_mean(seed: int) -> None:
    """With and without a rule for the mean, the entries about values differ in nothing but that figure."""
    chance = random.Random(seed)
    profile = plan_of("fridge").profile
    assert profile is not None
    (rule,) = profile.quantities
    without = type(profile)(
        **{name: getattr(profile, name) for name in profile.__struct_fields__ if name != "quantities"},
        quantities=(
            type(rule)(**{name: getattr(rule, name) for name in rule.__struct_fields__ if name != "mkt"}),
        ),
    )
    walk = [(chance.randrange(-1_000, 17_000), 5) for _ in range(300)]
    one = judge_all(Evaluation(), _readings(walk))
    plan = plan_of(without)
    two = judge_all(Evaluation(), [each._replace(plan=plan) for each in _readings(walk)])
    values = [each for each in one if b'"direction":"mkt"' not in each.data]
    assert [parse(each.data, where="") | {"mkt": ""} for each in values] == [
        parse(each.data, where="") | {"mkt": ""} for each in two
    ]


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_mean_above_its_limit_is_told_when_its_logarithm_says_so(seed: int) -> None:
    """By the mean of each window, rounded: without the threshold that saves the logarithm."""
    chance = random.Random(seed)
    walk = [
        (chance.choice([3_000, 7_500, 8_000, 8_100, 11_000]), 10) for _ in range(chance.randrange(90, 400))
    ]
    given, window = _readings(walk), window_of(MktRule(limit=8_000, window_s=86_400))
    kept, under_way, inside, expected = begin(window, given[0].received_ms), False, 0, []
    for before, each in pairwise(given):
        (was,), (now,) = before.measured, each.measured
        held_ms = now.taken_ms - was.taken_ms
        kept = move(kept, window, was.value, from_ms=was.taken_ms, held_ms=held_ms, now_ms=now.taken_ms)
        if 2 * kept.total_ms < window.length_ms:
            continue
        now_at = mean(kept.total, kept.total_ms, window.delta_h)
        inside = inside + 1 if now_at <= window.limit - HYSTERESIS else 0
        if (now_at > window.limit and not under_way) or (under_way and inside == 2):
            under_way = not under_way
            expected.append(("opened" if under_way else "recovered", each.received_ms))
    found = []
    evaluation = Evaluation()
    for each in given:
        for effect in evaluation.judge(each.plan, each.measured, received_ms=each.received_ms).effects:
            data = parse(effect.data, where="test")
            if data["direction"] == "mkt":
                found.append((data["action"], each.received_ms))
    assert found == expected


def test_every_state_is_reached_and_left_by_the_table_alone() -> None:
    """And the diagram of the specification shows every transition that leads elsewhere or is told of."""
    reached = {after for after, _ in TRANSITIONS.values()}
    assert reached == set(State)
    assert {before for before, _ in TRANSITIONS} == set(State) - {State.CLOSED}
    told = {action for _, action in TRANSITIONS.values() if action is not None}
    assert told == set(Action) - {Action.RETROSPECTIVE}
    drawn = diagram()
    assert drawn.startswith("stateDiagram-v2")
    assert "open --> recovered: enough / recovered" in drawn
    page = Path(__file__).parents[3] / "docs" / "specs" / "excursions.md"
    assert f"```mermaid\n{drawn}\n```" in page.read_text(encoding="utf-8")
