"""Claims about one alarm: the table decides, a delay puts off telling alone, and what is critical stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldseal.core.coldchain.alarm import (
    LOUD,
    TABLE,
    Action,
    Alarm,
    Event,
    State,
    Timing,
    at,
    entry_data,
    handed_data,
    is_heavier,
    quiet_until,
    wanted,
)
from coldseal.core.coldchain.profile import Tier
from coldseal.core.coldchain.register import FOREVER

S, E, A = State, Event, Action

EXPECTED = """
waiting       due           told
waiting       graver        told          escalated
waiting       acknowledged  acknowledged
waiting       gone          over          cleared
waiting       gone-kept     latched
waiting       settled       over          cleared
told          graver        told          escalated
told          waited        told          escalated
told          repeat        told          repeated
told          acknowledged  acknowledged
told          gone          over          cleared
told          gone-kept     latched
told          settled       over          cleared
acknowledged  graver        told          escalated
acknowledged  gone          over          cleared
acknowledged  gone-kept     over          cleared
acknowledged  settled       over          cleared
latched       graver        latched       escalated
latched       waited        latched       escalated
latched       repeat        latched       repeated
latched       acknowledged  over          cleared
latched       back          told
latched       settled       over          cleared
"""
"""Written by hand, as the documentation has it: the table must not change unnoticed."""

TIMING = Timing(repeat_ms=900_000, escalate_ms=600_000, last_step=2)


def alarm(**fields: object) -> Alarm:
    """Make an alarm that is on record and told."""
    known: dict[str, Any] = {
        "about": "a/b/temperature/high/1",
        "kind": "excursion",
        "tier": Tier.WARNING,
        "device": "a",
        "sensor": "b",
        "state": S.TOLD,
        "owed": (),
        "number": 1,
        "due_ms": 0,
        "told_ms": 0,
    }
    return Alarm(**(known | fields))


def test_the_table_is_the_one_that_was_decided() -> None:
    """Row by row."""
    rows = [line.split() for line in EXPECTED.strip().splitlines()]
    said = {(S(row[0]), E(row[1])): (S(row[2]), A(row[3]) if len(row) > 3 else None) for row in rows}
    assert {key: tuple(step) for key, step in TABLE.items()} == said


def test_the_documentation_shows_the_same_table() -> None:
    """Row by row."""
    page = Path(__file__).parents[3] / "docs" / "specs" / "alarms.md"
    assert EXPECTED.strip() in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_the_table_does_not_name_changes_nothing(state: State, event: Event) -> None:
    """All pairs: nothing but state and what is owed ever changes."""
    before = alarm(state=state)
    after = before.happened(event)
    step = TABLE.get((state, event))
    if step is None:
        assert after is before
    else:
        owed = () if step.action is None else (step.action,)
        assert after == msgspec.structs.replace(before, state=step.state, owed=owed)


def test_nothing_leaves_the_end_and_only_a_person_ends_what_is_latched() -> None:
    """By acknowledging, or by a decision about the excursion."""
    assert not [event for state, event in TABLE if state is S.OVER]
    ends = {event for (state, event), step in TABLE.items() if state is S.LATCHED and step.state is S.OVER}
    assert ends == {E.ACKNOWLEDGED, E.SETTLED}


def test_only_loud_states_say_something_again() -> None:
    """Nobody who has acknowledged is told again because time passes."""
    assert {state for state, event in TABLE if event in {E.WAITED, E.REPEAT}} == LOUD


def test_a_delay_puts_off_telling_and_not_the_record() -> None:
    """It is to be put on record at once, and becomes loud when it is due."""
    waiting = alarm(state=S.WAITING, owed=(A.RAISED,), due_ms=5_000, number=0)
    assert wanted(waiting, TIMING, 1) is A.RAISED
    assert at(waiting, 4_999).state is S.WAITING
    assert at(waiting, 5_000).state is S.TOLD


def test_what_grows_worse_is_told_within_its_delay() -> None:
    """A delay is for doors, not for what is grave."""
    waiting = alarm(state=S.WAITING, due_ms=10**9)
    assert waiting.risen(Tier.WARNING) is waiting
    worse = waiting.risen(Tier.CRITICAL)
    assert (worse.state, worse.tier, worse.owed) == (S.TOLD, Tier.CRITICAL, (A.ESCALATED,))
    assert worse.risen(Tier.CRITICAL) is worse
    assert at(worse, 0).state is S.TOLD


@pytest.mark.parametrize("state", [S.WAITING, S.TOLD])
def test_what_is_critical_stays_until_somebody_has_acknowledged(state: State) -> None:
    """Although its cause is gone; a lighter one ends with its cause."""
    assert alarm(state=state, tier=Tier.EXCURSION).gone().state is S.OVER
    kept = alarm(state=state, tier=Tier.CRITICAL).gone()
    assert kept.state is S.LATCHED
    assert kept.happened(E.GONE).state is S.LATCHED
    over = kept.happened(E.ACKNOWLEDGED)
    assert (over.state, over.owed, over.is_settled) == (S.OVER, (A.CLEARED,), False)
    assert over.paid(A.CLEARED).is_settled
    assert alarm(state=state).gone(is_kept=True).state is S.LATCHED


def test_what_a_person_sees_to_is_over_with_its_cause() -> None:
    """Also when it was critical."""
    assert alarm(state=S.ACKNOWLEDGED, tier=Tier.CRITICAL).gone().state is S.OVER


def test_others_are_told_and_it_is_said_again_until_somebody_acknowledges() -> None:
    """First step after step, then the same again and again."""
    loud = alarm()
    assert wanted(loud, TIMING, 599_999) is None
    assert wanted(loud, TIMING, 600_000) is A.ESCALATED
    highest = alarm(step=2)
    assert wanted(highest, TIMING, 899_999) is None
    assert wanted(highest, TIMING, 900_000) is A.REPEATED
    assert wanted(alarm(state=S.ACKNOWLEDGED), TIMING, 10**12) is None
    never = Timing(repeat_ms=0, escalate_ms=0)
    assert wanted(loud, never, 10**12) is None


def test_time_counts_from_the_moment_at_which_people_could_be_told() -> None:
    """Not from the record that was made before."""
    assert wanted(alarm(due_ms=500_000), TIMING, 1_000_000) is None
    assert wanted(alarm(due_ms=500_000), TIMING, 1_100_000) is A.ESCALATED


def test_a_clock_that_was_put_back_delays_nothing_for_longer_than_a_pause() -> None:
    """What was told in the future was told now."""
    ahead = at(alarm(told_ms=10**9), 1_000)
    assert ahead.told_ms == 1_000
    assert wanted(ahead, TIMING, 601_000) is A.ESCALATED


def test_an_alarm_is_looked_at_again_when_time_may_bring_something() -> None:
    """Not before, and not at all where time brings nothing."""
    assert quiet_until(alarm(state=S.WAITING, due_ms=7), TIMING) == 7
    assert quiet_until(alarm(), TIMING) == 600_000
    assert quiet_until(alarm(step=2, told_ms=5), TIMING) == 900_005
    assert quiet_until(alarm(state=S.ACKNOWLEDGED), TIMING) == FOREVER
    assert quiet_until(alarm(), Timing(repeat_ms=0, escalate_ms=0)) == FOREVER


def test_an_entry_says_all_that_a_reader_needs() -> None:
    """Empty fields are left out; an escalation names the next step, up to the last."""
    data = entry_data(alarm(quantity="temperature", seq=7, asset="fridge-3"), A.ESCALATED, TIMING)
    assert data == {
        "about": "a/b/temperature/high/1",
        "action": "escalated",
        "alarm": "excursion",
        "asset": "fridge-3",
        "device": "a",
        "n": 2,
        "quantity": "temperature",
        "sensor": "b",
        "seq": 7,
        "step": 1,
        "text": "",
        "tier": "warning",
    }
    assert entry_data(alarm(step=2), A.ESCALATED, TIMING)["step"] == 2
    raised = entry_data(alarm(), A.RAISED, TIMING, due="2026-01-01T00:00:00.000Z")
    assert (raised["due"], raised["step"], "seq" in raised) == ("2026-01-01T00:00:00.000Z", 0, False)
    assert handed_data(alarm(), 3, "duty") == {
        "about": "a/b/temperature/high/1",
        "action": "notified",
        "n": 3,
        "to": "duty",
    }


def test_tiers_have_an_order() -> None:
    """The heaviest is critical."""
    assert is_heavier(Tier.CRITICAL, Tier.EXCURSION)
    assert not is_heavier(Tier.WARNING, Tier.WARNING)
