"""A certificate is asked for in time, never too early, and with bounded waits, whatever the server does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coldseal.core.renewal import (
    TRANSITIONS,
    Alarm,
    Event,
    Life,
    Phase,
    Renewal,
    Terms,
    begin,
    demand,
    due_s,
    failed,
    installed,
    is_over,
    look,
    put_off,
)

DAY_S = 86_400.0
WEEK = Life(1_000_000.0, 1_000_000.0 + 7 * DAY_S)
TERMS = Terms()
CHANCES = st.floats(0, 1, exclude_max=True)


def asked(state: Renewal, now_s: float) -> Renewal:
    """Look until it is asked for."""
    found = look(state, TERMS, now_s=now_s)
    assert found.phase is Phase.ASKED
    return found


def test_every_phase_can_be_left_and_reached() -> None:
    """The table has no dead end, and names every phase and event."""
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) == set(TRANSITIONS.values())
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert all(
        phase is Phase.ASKED or TRANSITIONS[phase, Event.INSTALLED] is Phase.FRESH for phase in set(Phase)
    )


@given(CHANCES, st.floats(60, 1e9))
def test_the_jitter_is_bounded(chance: float, length_s: float) -> None:
    """Due between half of the life and the first alarm, and nothing happens before."""
    life = Life(5.0, 5.0 + length_s)
    due = due_s(life, TERMS, chance=chance)
    assert life.begins_s + length_s / 2 <= due <= life.begins_s + length_s * 0.6
    assert life.alarm(due) is Alarm.NONE
    state = begin(life, TERMS, chance=chance)
    assert look(state, TERMS, now_s=due - 0.001).phase is Phase.FRESH
    assert look(state, TERMS, now_s=due).phase is Phase.ASKED


def test_a_request_is_sent_once_at_a_time() -> None:
    """While one is under way, time does nothing."""
    state = asked(begin(WEEK, TERMS, chance=0), WEEK.ends_s - 1)
    assert look(state, TERMS, now_s=WEEK.ends_s + 1) is state


def test_alarms_come_by_the_share_that_is_left() -> None:
    """A quarter, a tenth, nothing."""
    moments = (0.5, 0.74, 0.76, 0.89, 0.91, 0.999, 1.0, 2.0)
    found = [WEEK.alarm(WEEK.begins_s + 7 * DAY_S * share) for share in moments]
    none, warning, critical, expired = Alarm
    assert found == [none, none, warning, warning, critical, critical, expired, expired]
    assert WEEK.alarm(0.0) is Alarm.NONE  # a clock that was set back to 1970
    assert Life(5.0, 5.0).alarm(4.0) is Alarm.NONE


def test_a_demand_asks_at_once_and_keeps_what_is_under_way() -> None:
    """Also in the midst of a wait."""
    fresh = begin(WEEK, TERMS, chance=0)
    now = WEEK.begins_s + 1
    assert asked(demand(fresh, now_s=now), now)
    waiting = failed(asked(demand(fresh, now_s=now), now), TERMS, now_s=now, chance=0.9)
    assert look(waiting, TERMS, now_s=now).phase is Phase.FAILING
    assert asked(demand(waiting, now_s=now), now).failures == 1
    under_way = asked(demand(fresh, now_s=now), now)
    assert demand(under_way, now_s=now).phase is Phase.ASKED


def test_a_request_that_waits_for_approval_is_sent_again_when_the_server_says() -> None:
    """Within the longest wait, and never at once; that is no failure."""
    state = asked(begin(WEEK, TERMS, chance=0), due_s(WEEK, TERMS, chance=0))
    for retry_after_s, wait_s in ((0, 1), (120, 120), (1e9, TERMS.retry_max_s)):
        waiting = put_off(state, TERMS, retry_after_s=retry_after_s, now_s=0)
        assert (waiting.phase, waiting.wake_s, waiting.failures) == (Phase.PENDING, wait_s, 0)


@given(st.integers(0, 200), CHANCES)
def test_waits_double_up_to_a_bound(failures: int, chance: float) -> None:
    """Each is drawn from the upper half of its ceiling."""
    state = replace(asked(begin(WEEK, TERMS, chance=0), WEEK.begins_s + 4 * DAY_S), failures=failures)
    wait_s = failed(state, TERMS, now_s=WEEK.begins_s + 4 * DAY_S, chance=chance).wake_s - (
        WEEK.begins_s + 4 * DAY_S
    )
    ceiling = min(60 * 2.0 ** min(failures, 24), 3600)
    assert ceiling / 2 - 0.01 <= wait_s <= ceiling + 0.01


def test_what_expired_is_asked_for_at_once_and_then_in_waits() -> None:
    """By another identity: the certificate itself cannot speak any more."""
    late = WEEK.ends_s + 5
    state = asked(begin(WEEK, TERMS, chance=0), late)
    assert is_over(state, now_s=late)
    waiting = failed(state, TERMS, now_s=late, chance=0)
    found = look(waiting, TERMS, now_s=late + 1)
    assert (found.phase, found.wake_s) == (Phase.EXPIRED, waiting.wake_s)
    assert asked(found, waiting.wake_s)


def test_a_clock_that_is_set_back_ends_what_it_began() -> None:
    """An end that was none is forgotten, and a wait that would last for years is cut."""
    late = WEEK.ends_s + 400 * DAY_S
    waiting = failed(asked(begin(WEEK, TERMS, chance=0), late), TERMS, now_s=late, chance=0.5)
    expired = look(waiting, TERMS, now_s=late)
    assert expired.phase is Phase.EXPIRED
    assert not is_over(asked(expired, WEEK.begins_s + 5), now_s=WEEK.begins_s + 5)


def test_what_has_little_left_from_the_start_is_not_asked_for_all_the_time() -> None:
    """As of an authority that ends itself: half of what is left passes first."""
    now = WEEK.ends_s - 1000
    assert installed(WEEK, TERMS, now_s=now, chance=0).wake_s == now + 500
    assert installed(WEEK, TERMS, now_s=WEEK.begins_s, chance=0).wake_s == WEEK.begins_s + 3.5 * DAY_S


class Weather(RuleBasedStateMachine):
    """A server that comes and goes, over months: a driver that wakes when it is told to."""

    @initialize(chance=CHANCES, days=st.floats(0.05, 90))
    def start(self, chance: float, days: float) -> None:
        """Take up a certificate of some life at its first moment."""
        self.now = self.up_since = WEEK.begins_s
        self.length = days * DAY_S
        self.is_up, self.is_approved = True, True
        self.state = begin(Life(self.now, self.now + self.length), TERMS, chance=chance)
        self.renewals = 0

    @rule(share=st.floats(0, 0.7), chance=CHANCES)
    def pass_time(self, share: float, chance: float) -> None:
        """Wake as often as the state says, and ask where it says so."""
        until = self.now + share * self.length
        while self.state.wake_s < until:
            self.now = max(self.now, self.state.wake_s)
            self.ask(chance)
        self.now = until
        self.ask(chance)

    def ask(self, chance: float) -> None:
        """Look, and ask if it is time; no longer wait than the bound was given."""
        before = self.state
        self.state = look(before, TERMS, now_s=self.now)
        if self.state.phase is not Phase.ASKED:
            assert self.state.phase is Phase.FRESH or self.state.wake_s <= self.now + TERMS.retry_max_s
            return
        assert self.now + 0.001 >= before.life.begins_s + self.length / 2, "asked for too early"
        if self.is_up and self.is_approved:
            life = Life(self.now, self.now + self.length)
            self.state = installed(life, TERMS, now_s=self.now, chance=chance)
            self.renewals += 1
        elif self.is_up:
            self.state = put_off(self.state, TERMS, retry_after_s=600, now_s=self.now)
        else:
            self.state = failed(self.state, TERMS, now_s=self.now, chance=chance)

    @rule(is_up=st.booleans(), is_approved=st.booleans())
    def turn(self, is_up: bool, is_approved: bool) -> None:
        """Switch the server off or on, or the person who approves."""
        if is_up and is_approved and not (self.is_up and self.is_approved):
            self.up_since = self.now
        self.is_up, self.is_approved = is_up, is_approved

    @invariant()
    def none_runs_out_while_the_server_answers(self) -> None:
        """What lived a while when the server was back does not end before it was asked for."""
        life = self.state.life
        was_in_time = life.left_s(self.up_since) > max(TERMS.retry_initial_s, 600)
        if self.is_up and self.is_approved and was_in_time:
            assert self.now < life.ends_s
            assert self.state.phase is not Phase.EXPIRED


TestWeather = Weather.TestCase
TestWeather.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.ASKED}))
def test_an_answer_that_nobody_asked_for_is_a_fault_of_the_program(phase: Phase) -> None:
    """The table knows no such move."""
    with pytest.raises(KeyError):
        failed(Renewal(WEEK, 0.0, phase), TERMS, now_s=0, chance=0)
