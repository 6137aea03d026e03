"""Who is cut off, for how long, and who is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.conduct import Blocked, Conduct

NAME = "gauge"


def refuse(conduct: Conduct, now_ms: int, *, is_grave: bool = False, device: str = NAME) -> float:
    """Refuse something of a device."""
    return conduct.refused(device, "over-rate", is_grave=is_grave, now_ms=now_ms)


def test_speaking_as_another_is_out_at_once() -> None:
    """The first time."""
    conduct = Conduct(30, 60, 3_600)
    assert refuse(conduct, 0, is_grave=True) == 60
    assert conduct.out_s(NAME, 20_000) == 40
    assert conduct.out_s("other", 20_000) == 0


def test_other_refusals_are_tolerated_up_to_a_number_in_a_minute() -> None:
    """Three are, the fourth is not; whoever is refused seldom never is out."""
    conduct = Conduct(3, 60, 3_600)
    assert [refuse(conduct, 0) for _ in range(4)] == [0, 0, 0, 60]
    seldom = Conduct(3, 60, 3_600)
    assert not any(refuse(seldom, number * 20_000) for number in range(1_000))


def test_whoever_is_out_is_not_cut_off_again_for_what_came_before() -> None:
    """What was under way when it was cut off changes nothing."""
    conduct = Conduct(1, 10, 100)
    assert [refuse(conduct, 0), refuse(conduct, 0)] == [0, 10]
    assert [refuse(conduct, moment, is_grave=True) for moment in range(0, 10_000, 100)] == [0] * 100
    assert conduct.out_s(NAME, 10_000) == 0


def test_each_further_cut_doubles_the_time_and_a_long_good_while_forgets_it() -> None:
    """10, 20, 40, 80, then the longest; after as long without one it is 10 again."""
    conduct, now, spans = Conduct(1, 10, 100), 0, []
    for _ in range(6):
        span = refuse(conduct, now, is_grave=True)
        spans.append(span)
        now += round(span * 1000)
    assert spans == [10, 20, 40, 80, 100, 100]
    assert refuse(conduct, now + 99_999, is_grave=True) == 100
    assert refuse(conduct, now + 99_999 + 200_000, is_grave=True) == 10


def test_a_longest_time_below_the_first_is_the_first() -> None:
    """A configuration that says so does not shorten it."""
    assert refuse(Conduct(1, 60, 5), 0, is_grave=True) == 60


def test_who_is_out_can_be_named_and_let_in() -> None:
    """The longest rest first; whoever was let in begins anew."""
    conduct = Conduct(1, 10, 100)
    assert not conduct.unblock("b", 0)
    for moment, device in ((0, "a"), (1_000, "b"), (1_000, "c")):
        refuse(conduct, moment, is_grave=True, device=device)
    assert conduct.blocked(2_000) == [
        Blocked("b", "over-rate", 9, 1),
        Blocked("c", "over-rate", 9, 1),
        Blocked("a", "over-rate", 8, 1),
    ]
    assert conduct.unblock("b", 2_000)
    assert not conduct.unblock("b", 2_000)
    assert [each.device for each in conduct.blocked(2_000)] == ["c", "a"]
    assert refuse(conduct, 3_000, is_grave=True, device="b") == 10
    assert conduct.blocked(200_000) == []
    assert not conduct.unblock("a", 200_000)


def test_the_end_of_a_block_is_told_once() -> None:
    """And that of somebody who was let in is not: that was told then."""
    conduct = Conduct(1, 10, 100)
    refuse(conduct, 0, device="quiet")
    for device in ("a", "b"):
        refuse(conduct, 0, is_grave=True, device=device)
    conduct.unblock("b", 1)
    assert [conduct.take_ended(moment) for moment in (9_999, 10_000, 10_001)] == [[], ["a"], []]


@given(st.lists(st.tuples(st.integers(0, 90_000), st.booleans()), max_size=100))
def test_nobody_is_out_for_longer_than_the_longest_time(tries: list[tuple[int, bool]]) -> None:
    """Whatever it does, and it is out from the moment of its cut."""
    conduct, now = Conduct(5, 30, 300), 0
    for pause, is_grave in tries:
        now += pause
        was_out = conduct.out_s(NAME, now) > 0
        span = refuse(conduct, now, is_grave=is_grave)
        assert span == 0 or (not was_out and 30 <= span <= 300 and conduct.out_s(NAME, now) == span)
        assert not (is_grave and not was_out) or span
