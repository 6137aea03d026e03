"""Claims about all alarms: they follow from the entries, and from fewer of them alike; all are told."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coldseal.core.coldchain.alarm import Action, Alarm, State, Timing, entry_data, handed_data
from coldseal.core.coldchain.alarms import Alarms, Condition, Fact, Recipient, tier_of
from coldseal.core.coldchain.profile import Tier

TIMING = Timing(repeat_ms=900_000, escalate_ms=600_000, last_step=1)
DUTY, HEAD = Recipient("duty"), Recipient("head", step=1)
PEOPLE = (DUTY, HEAD)
MINUTE = 60_000


class Log:
    """A log in which alarms are put on record as a gateway does, and a clock."""

    def __init__(self, delay_ms: int = 0) -> None:
        """Begin empty."""
        self.facts: list[Fact] = []
        self.now_ms = 1_000_000
        self.delay_ms = delay_ms
        self.alarms = Alarms(self._delay)

    def _delay(self, _data: object) -> int:
        """Delay as the profile says: the same, whenever it is asked."""
        return self.delay_ms

    def seal(self, kind: str, **data: object) -> str:
        """Put an entry on disk."""
        self.facts.append(Fact(len(self.facts), self.now_ms, kind, data))
        return self.alarms.learn(self.facts[-1])

    def excursion(self, action: str, tier: str = "warning", name: str = "one", **more: object) -> str:
        """Seal an entry of an excursion."""
        side = {"quantity": "temperature", "direction": "high", "extreme": "9.2", "unit": "Cel"}
        where = {"asset": "fridge-3", "device": "dev-1", "sensor": "door", "from": "2026-01-01T00:00:00.000Z"}
        return self.seal("excursion", id=name, action=action, tier=tier, **side, **where, **more)

    def settle(self) -> list[Action]:
        """Put on record all that is wanted now."""
        done: list[Action] = []
        while found := self.alarms.wanted(TIMING, self.now_ms):
            for alarm, action in found:
                self.seal("alarm", **entry_data(alarm, action, TIMING))
                done.append(action)
        return done

    def tell(self) -> list[str]:
        """Hand over all that people are to be told, and put that on record."""
        found = self.alarms.notices(PEOPLE)
        for alarm, name in found:
            self.seal("alarm", **handed_data(alarm, alarm.number, name))
        return [name for _, name in found]

    def pass_min(self, minutes: float) -> list[Action]:
        """Let time pass."""
        self.now_ms += round(minutes * MINUTE)
        return self.settle()

    def again(self, seqs: list[int] | None = None) -> Alarms:
        """Make the alarms again, from all entries or from some."""
        found = Alarms(self._delay)
        for fact in self.facts:
            if seqs is None or fact.seq in seqs:
                found.learn(fact)
        found.wanted(TIMING, self.now_ms)
        return found

    @property
    def only(self) -> Alarm:
        """The one alarm that there is."""
        (found,) = self.alarms
        return found


def test_an_excursion_is_told_when_its_own_record_is_there() -> None:
    """Not before."""
    log = Log()
    assert log.excursion("opened") == "one"
    assert log.alarms.notices(PEOPLE) == []
    assert log.settle() == [Action.RAISED]
    assert log.tell() == ["duty"]
    assert log.tell() == []
    assert log.only.text == (
        "fridge-3 (dev-1/door): temperature too high, 9.2 Cel at worst since 2026-01-01T00:00:00.000Z"
    )


def test_a_mean_above_its_limit_is_told_in_its_own_words() -> None:
    """It is no side of a range."""
    log = Log()
    log.excursion("opened", "excursion")
    log.facts[-1].data["direction"] = "mkt"  # type: ignore[index] # a dict, made above
    again = Alarms(lambda _: 0)
    again.learn(log.facts[-1])
    (alarm,) = again
    assert "mean kinetic temperature too high, 9.2 Cel" in alarm.text


def test_a_door_that_is_shut_within_the_delay_disturbs_nobody() -> None:
    """Begin and end are on record; nobody is told either."""
    log = Log(delay_ms=1_000_000 + 10 * MINUTE)
    log.excursion("opened")
    assert log.settle() == [Action.RAISED]
    assert log.tell() == []
    log.pass_min(5)
    log.excursion("recovered", tolerated=True)
    assert log.settle() == [Action.CLEARED]
    assert log.tell() == []
    assert [each.about for each in log.alarms.forget(PEOPLE, before_ms=0)] == ["one"]


def test_a_delay_ends() -> None:
    """By time alone."""
    log = Log(delay_ms=1_000_000 + 10 * MINUTE)
    log.excursion("opened")
    log.settle()
    assert log.pass_min(10) == []
    assert log.tell() == ["duty"]


def test_what_begins_critical_is_told_at_once() -> None:
    """Whatever the delay."""
    log = Log(delay_ms=10**12)
    log.excursion("opened", tier="critical")
    log.settle()
    assert log.tell() == ["duty"]


def test_nobody_acknowledges_so_others_are_told_and_all_are_told_again() -> None:
    """Then somebody does, and it is quiet; the end is told to those who know of it."""
    log = Log()
    log.excursion("opened")
    log.settle()
    assert log.tell() == ["duty"]
    assert log.pass_min(10) == [Action.ESCALATED]
    assert log.tell() == ["duty", "head"]
    assert log.pass_min(14.9) == []
    assert log.pass_min(0.1) == [Action.REPEATED]
    assert log.tell() == ["duty", "head"]
    log.seal("ack", about="one", who="ann", why="on my way")
    assert log.pass_min(600) == []
    assert (log.only.state, log.only.by, log.only.why) == (State.ACKNOWLEDGED, "ann", "on my way")
    log.excursion("recovered")
    assert log.settle() == [Action.CLEARED]
    assert log.tell() == ["duty", "head"]
    assert len(log.alarms.forget(PEOPLE, before_ms=0)) == 1
    assert len(log.alarms) == 0


def test_who_could_not_be_reached_in_time_is_told_that_it_was() -> None:
    """Unless somebody has seen to it."""
    log = Log()
    log.excursion("opened")
    log.settle()
    log.excursion("recovered")
    assert log.alarms.notices(PEOPLE) == []
    log.settle()
    assert log.tell() == ["duty"]
    log.excursion("opened", name="two")
    log.settle()
    log.seal("ack", about="two", who="ann", why="I was there")
    log.excursion("recovered", name="two")
    log.settle()
    assert log.tell() == []


def test_who_acknowledged_is_told_when_it_grows_worse() -> None:
    """And others at once."""
    log = Log()
    log.excursion("opened")
    log.settle()
    log.tell()
    log.seal("ack", about="one", who="ann", why="door")
    log.excursion("escalated", tier="excursion")
    assert log.settle() == [Action.ESCALATED]
    assert log.tell() == ["duty", "head"]


def test_a_critical_alarm_outlives_its_excursion() -> None:
    """It is said again until a person acknowledges, also after a new start."""
    log = Log()
    log.excursion("opened", tier="critical")
    log.settle()
    log.excursion("recovered", tier="critical")
    assert log.settle() == []
    assert log.only.state is State.LATCHED
    assert log.pass_min(10) == [Action.ESCALATED]
    (again,) = log.again()
    assert again.state is State.LATCHED
    log.seal("ack", about="one", who="ann", why="moved the goods")
    assert log.settle() == [Action.CLEARED]


def test_an_excursion_found_afterwards_must_be_acknowledged() -> None:
    """Its cause is over already."""
    log = Log()
    log.excursion("retrospective")
    assert log.settle() == [Action.RAISED]
    assert log.tell() == ["duty"]
    assert (log.only.kind, log.only.state) == ("retrospective", State.LATCHED)
    assert "found afterwards" in log.only.text


def test_a_decision_about_the_excursion_ends_its_alarm() -> None:
    """So does a release of its sensor."""
    log = Log()
    log.excursion("opened", tier="critical")
    log.excursion("closed", tier="critical")
    assert log.settle() == [Action.RAISED, Action.CLEARED]
    assert log.only.text.endswith("; closed")


def test_a_silent_sensor_is_an_alarm_until_it_is_heard() -> None:
    """The gap stands once in the log."""
    log = Log()
    gap = {"cause": "silent", "device": "dev-1", "sensor": "door", "from": "2026-01-01T00:00:00.000Z"}
    assert log.seal("gap", id="gap-1", **gap) == "gap-1"
    assert log.seal("gap", id="gap-1", **gap) == "gap-1"
    assert log.settle() == [Action.RAISED]
    assert log.only.text == "dev-1/door: silent since 2026-01-01T00:00:00.000Z"
    assert log.only.tier is Tier.EXCURSION
    log.alarms.heard(lambda _alarm: False)
    assert log.settle() == []
    log.alarms.heard(lambda _alarm: True)
    assert log.settle() == [Action.CLEARED]


def test_the_second_entry_of_a_gap_ends_the_alarm_and_raises_none() -> None:
    """The sensor was heard again, or left; somebody who joins late learns of nothing."""
    log = Log()
    gap = {"cause": "silent", "device": "dev-1", "sensor": "door", "from": "2026-01-01T00:00:00.000Z"}
    log.seal("gap", id="gap-1", **gap)
    assert log.settle() == [Action.RAISED]
    log.seal("gap", id="gap-1", over=True, **gap)
    assert log.settle() == [Action.CLEARED]
    late = Log()
    late.seal("gap", id="gap-1", over=True, **gap)
    assert late.settle() == []


def test_entries_about_nothing_that_is_open_change_nothing() -> None:
    """Gaps of other causes, ends of what is forgotten, words about nothing, sensors in maintenance."""
    log = Log()
    assert log.seal("gap", cause="crash", id="x") == ""
    assert log.excursion("recovered") == ""
    assert log.excursion("closed") == ""
    assert log.excursion("opened", maintenance=True) == ""
    assert log.seal("ack", about="one", who="ann", why="?") == ""
    assert log.seal("alarm", about="one", action="cleared", n=2, step=0, tier="warning") == ""
    assert log.seal("alarm", about="one", action="notified", n=1, to="duty") == ""
    assert log.seal("reading", q=[]) == ""
    assert log.alarms.find("one") is None


def test_an_alarm_whose_cause_was_pruned_is_made_from_its_own_entry() -> None:
    """It can be acknowledged."""
    log = Log()
    log.seal("alarm", about="one", action="raised", alarm="excursion", n=1, step=0, tier="what", text="warm")
    assert (log.only.tier, log.only.text, log.only.seq, log.only.owed) == (Tier.CRITICAL, "warm", -1, ())
    assert tier_of("warning") is Tier.WARNING


def full(tier: Tier = Tier.EXCURSION) -> Condition:
    """Make a condition of the gateway."""
    return Condition("storage", "storage", tier, f"the store is full soon: {tier}")


def test_what_should_not_be_so_is_an_alarm_while_it_is_so() -> None:
    """It may grow worse; what was critical is kept, and loud again when it is back."""
    log = Log()
    log.alarms.watch([full()], log.now_ms)
    assert log.settle() == [Action.RAISED]
    log.alarms.watch([full(Tier.CRITICAL)], log.now_ms)
    assert log.settle() == [Action.ESCALATED]
    assert log.only.text.endswith("critical")
    states = []
    for seen in ([], [full(Tier.CRITICAL)]):
        log.alarms.watch(seen, log.now_ms)
        states.append(log.only.state)
    assert states == [State.LATCHED, State.TOLD]
    log.seal("ack", about="storage", who="ann", why="new disk")
    log.alarms.watch([], log.now_ms)
    assert log.settle() == [Action.CLEARED]
    assert log.alarms.essential() == [0, 1, 2, 3]
    log.alarms.forget((), before_ms=0)
    assert log.alarms.essential() == []


def test_a_worse_condition_is_still_worse_after_a_start() -> None:
    """Who had acknowledged the lighter one is told."""
    log = Log()
    log.alarms.watch([full()], log.now_ms)
    log.settle()
    log.seal("ack", about="storage", who="ann", why="I see")
    log.alarms.watch([full(Tier.CRITICAL)], log.now_ms)
    log.settle()
    (again,) = log.again()
    assert (again.state, again.tier) == (State.TOLD, Tier.CRITICAL)


def test_a_delay_that_is_on_record_holds_after_the_cause_was_pruned() -> None:
    """The alarm's own entry says until when nobody is told."""
    log = Log()
    said = {"alarm": "excursion", "n": 1, "step": 0, "tier": "warning", "due": "1970-01-01T00:26:40.000Z"}
    log.seal("alarm", about="one", action="raised", **said)
    assert log.only.due_ms == 1_600_000
    assert log.tell() == []
    log.pass_min(10)
    assert log.tell() == ["duty"]


def test_a_clock_that_was_put_back_does_not_keep_an_alarm_quiet() -> None:
    """It is looked at again, and told anew a pause later."""
    log = Log()
    log.excursion("opened")
    log.settle()
    log.tell()
    log.now_ms -= 500_000
    assert log.settle() == []
    assert log.pass_min(10) == [Action.ESCALATED]


def test_a_storm_is_put_on_record_in_parts() -> None:
    """Nothing of it is forgotten; what is open is counted."""
    log = Log()
    for number in range(5):
        log.excursion("opened", name=str(number), tier="excursion" if number else "critical")
    parts = []
    while found := log.alarms.wanted(TIMING, log.now_ms, most=2):
        parts.append(len(found))
        for alarm, action in found:
            log.seal("alarm", **entry_data(alarm, action, TIMING))
    assert parts == [2, 2, 1]
    log.seal("ack", about="1", who="ann", why="seen")
    log.excursion("recovered", name="2", tier="excursion")
    assert log.alarms.counts() == {"critical": 1, "excursion": 3, "": 3}


def test_recipients_choose_by_tier_kind_and_asset() -> None:
    """What is empty stands for all."""
    log = Log()
    log.excursion("opened", tier="excursion")
    log.settle()
    people = (
        Recipient("a", tiers=(Tier.CRITICAL,)),
        Recipient("b", tiers=(Tier.EXCURSION,), kinds=("excursion",), assets=("fridge-3",)),
        Recipient("c", kinds=("silence",)),
        Recipient("d", assets=("fridge-4",)),
        Recipient("e", step=1),
    )
    assert [name for _, name in log.alarms.notices(people)] == ["b"]


def test_the_end_waits_for_whoever_cannot_be_told_but_not_for_ever() -> None:
    """A day, as the gateway has it."""
    log = Log()
    log.excursion("opened")
    log.settle()
    log.tell()
    log.excursion("recovered")
    log.settle()
    assert log.alarms.forget(PEOPLE, before_ms=log.now_ms) == []
    assert len(log.alarms.forget(PEOPLE, before_ms=log.now_ms + 1)) == 1


WEIGHTS = ("warning", "excursion", "critical")


class Restarts(RuleBasedStateMachine):
    """Whatever happens: the entries make the same alarms again, and those named as essential do, too."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.log = Log()
        self.names: list[str] = []
        self.open_at: dict[str, int] = {}

    @rule(tier=st.sampled_from(range(3)))
    def open(self, tier: int) -> None:
        """An excursion opens."""
        name = f"x{len(self.names)}"
        self.names.append(name)
        self.open_at[name] = tier
        self.log.excursion("opened", tier=WEIGHTS[tier], name=name)

    @precondition(lambda self: bool(self.open_at))
    @rule(data=st.data())
    def escalate(self, data: st.DataObject) -> None:
        """One becomes heavier, or as heavy as before for another reason."""
        name = data.draw(st.sampled_from(sorted(self.open_at)))
        self.open_at[name] = data.draw(st.integers(self.open_at[name], 2))
        self.log.excursion("escalated", tier=WEIGHTS[self.open_at[name]], name=name)

    @precondition(lambda self: bool(self.open_at))
    @rule(data=st.data(), is_closed=st.booleans())
    def end(self, data: st.DataObject, *, is_closed: bool) -> None:
        """One ends, and perhaps somebody decides about it."""
        name = data.draw(st.sampled_from(sorted(self.open_at)))
        tier = WEIGHTS[self.open_at.pop(name)]
        self.log.excursion("recovered", tier=tier, name=name)
        if is_closed:
            self.log.excursion("closed", tier=tier, name=name)

    @precondition(lambda self: bool(self.names))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Somebody acknowledges something, be it over or not."""
        self.log.seal("ack", about=data.draw(st.sampled_from(self.names)), who="ann", why="seen")

    @rule(minutes=st.sampled_from([0, 1, 11, 16]))
    def wait(self, minutes: int) -> None:
        """Time passes, and what is wanted is put on record."""
        self.log.pass_min(minutes)

    @rule()
    def tell(self) -> None:
        """People are told."""
        self.log.tell()

    @rule(is_over=st.booleans())
    def forget(self, is_over: bool) -> None:
        """What is over is let go of."""
        self.log.alarms.forget(PEOPLE, before_ms=self.log.now_ms + is_over)

    @invariant()
    def are_made_again(self) -> None:
        """From what is essential: nothing is missing, nothing else, nobody is told twice or not at all."""
        self.log.alarms.wanted(TIMING, self.log.now_ms)
        again = self.log.again(self.log.alarms.essential())
        assert list(again) == list(self.log.alarms)
        assert again.notices(PEOPLE) == self.log.alarms.notices(PEOPLE)
        assert again.essential() == self.log.alarms.essential()

    @invariant()
    def is_never_lost(self) -> None:
        """What is critical and unacknowledged is loud, or about to be put on record."""
        for each in self.log.alarms:
            if each.tier is Tier.CRITICAL and not each.by:
                assert each.state is not State.ACKNOWLEDGED


Restarts.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestRestarts = Restarts.TestCase
