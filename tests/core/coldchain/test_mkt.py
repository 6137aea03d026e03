"""Mean kinetic temperature: the formula, its properties, and the window that trails behind."""

from __future__ import annotations

from decimal import Decimal, getcontext
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain import mkt
from coldseal.core.coldchain.mkt import BUCKETS, SCALE, Kinetic, mean, weight
from coldseal.core.coldchain.product import DELTA_H, MktRule
from coldseal.errors import InputError

values = st.integers(-25_000, 60_000)
spans = st.integers(1, 7_200_000)
pieces = st.lists(st.tuples(values, spans), min_size=1, max_size=40)
DAY = MktRule(limit=8_000, window_s=86_400)
HOUR_MS = 3_600_000


def _mean(given: list[tuple[int, int]], delta_h: int = DELTA_H) -> int:
    """Give the mean of values with their durations."""
    total = sum(weight(value, delta_h) * span for value, span in given)
    return mean(total, sum(span for _, span in given), delta_h)


def _oracle(given: list[tuple[int, int]], delta_h: int = DELTA_H) -> Decimal:
    """Work the formula out as it is written, with 60 digits, in Cel."""
    getcontext().prec = 60
    heat = Decimal(delta_h) / Decimal("8.3144")
    total = sum(
        (
            Decimal(span) * (-heat / (Decimal(value) / 1000 + Decimal("273.15"))).exp()
            for value, span in given
        ),
        Decimal(0),
    )
    return heat / -(total / sum(span for _, span in given)).ln() - Decimal("273.15")


def test_the_worked_example_of_the_formula() -> None:
    """Six hours at 2 and six at 8: 5.536, and not 5, nor 5.15."""
    by_hand = 10_000 / -log((exp(-10_000 / 275.15) + exp(-10_000 / 281.15)) / 2) - 273.15
    assert _mean([(2_000, 6 * HOUR_MS), (8_000, 6 * HOUR_MS)]) == round(by_hand * 1000) == 5_536


@given(pieces, st.sampled_from([60_000, DELTA_H, 120_000]))
def test_it_is_what_the_formula_says_to_a_thousandth(given: list[tuple[int, int]], delta_h: int) -> None:
    """Weights in whole numbers lose less than the last digit that is shown."""
    assert abs(_mean(given, delta_h) - _oracle(given, delta_h) * 1000) <= Decimal("0.6")


@given(pieces)
def test_it_is_at_least_the_mean_weighted_by_time(given: list[tuple[int, int]]) -> None:
    """Heat counts more than cold."""
    plain = sum(value * span for value, span in given) / sum(span for _, span in given)
    assert _mean(given) >= plain - 0.6


@given(values, spans, st.sampled_from([10_000, 60_000, DELTA_H, 250_000]))
def test_a_constant_is_its_own_mean(value: int, span: int, delta_h: int) -> None:
    """To the thousandth, whatever the activation energy."""
    assert _mean([(value, span)], delta_h) == value


@given(pieces, st.randoms())
def test_the_order_does_not_matter(given: list[tuple[int, int]], chance: object) -> None:
    """Sums are whole numbers."""
    mixed = sorted(given, key=lambda _: chance.random())  # type: ignore[attr-defined] # drawn by Hypothesis
    assert _mean(mixed) == _mean(given)


@given(pieces, st.integers(0, 39), st.integers(1, 20_000))
def test_more_heat_is_never_a_lower_mean(given: list[tuple[int, int]], at: int, more: int) -> None:
    """Whichever of the values is raised."""
    raised = list(given)
    value, span = raised[at % len(given)]
    raised[at % len(given)] = (value + more, span)
    assert _mean(raised) >= _mean(given)


@given(pieces, st.integers(1, 1000))
def test_durations_count_and_not_readings(given: list[tuple[int, int]], parts: int) -> None:
    """A value cut into many short ones weighs as much as before."""
    value, span = given[0]
    cut = [(value, span // parts)] * parts + [(value, span - span // parts * parts)]
    assert _mean(cut + given[1:]) == _mean(given)


@given(pieces, st.integers(-20_000, 40_000), st.sampled_from([60_000, DELTA_H, 120_000]))
def test_a_mean_is_above_its_limit_when_it_is_told_to_be(
    given: list[tuple[int, int]], limit: int, delta_h: int
) -> None:
    """Rounded to the thousandth that an entry says; also where the limit lies next to the mean."""
    total, span = sum(weight(value, delta_h) * each for value, each in given), sum(each for _, each in given)
    kept = Kinetic(0, total=total, total_ms=span)
    found = mean(total, span, delta_h)
    for most in (limit, found - 1, found, found + 1):
        window = mkt.window_of(MktRule(limit=most, window_s=3_600, delta_h=delta_h))
        assert mkt.is_above(kept, window) == (found > most)
    assert mean(mkt.height(kept), 1, delta_h) in {found, found + 1}


def test_weights_stay_within_their_field() -> None:
    """However hot, and however cold: at least one, and never beyond what a bucket can hold."""
    assert weight(5_000, DELTA_H) == SCALE
    assert weight(-200_000, 1_000_000) == 1
    assert weight(200_000, 1_000_000) == mkt.HEAVIEST == weight(150_000, 1_000_000)
    assert weight(-90_000, DELTA_H) > 1


readings = st.lists(
    st.tuples(values, st.sampled_from([60_000, 300_000, 300_000, 900_000, 5 * HOUR_MS, 50 * HOUR_MS])),
    min_size=1,
    max_size=120,
)


@given(readings, st.integers(0, 2 * HOUR_MS), st.sampled_from([3_600, 86_400]))
def test_the_window_holds_the_time_that_it_trails(
    given: list[tuple[int, int]], begin: int, window_s: int
) -> None:
    """At least its length, at most a bucket more; by a sum over all readings, ten minutes each at most."""
    window = mkt.window_of(MktRule(limit=8_000, window_s=window_s))
    kept, t_ms, held = mkt.begin(window, begin), begin, []
    for value, passed in given:
        held_ms = min(passed, 600_000)
        held.append((value, t_ms, t_ms + held_ms))
        kept = mkt.move(kept, window, value, from_ms=t_ms, held_ms=held_ms, now_ms=t_ms + passed)
        t_ms += passed
    first = kept.until_ms - (BUCKETS + 1) * window.bucket_ms
    assert t_ms - window.length_ms - window.bucket_ms <= first <= t_ms - window.length_ms
    parts = [(weight(value, DELTA_H), end - max(at, first)) for value, at, end in held if end > first]
    assert kept.total == sum(each * span for each, span in parts)
    assert kept.total_ms == sum(span for _, span in parts)
    assert mkt.unpack(kept.pack(), where="test") == kept
    if kept.worst_ms:
        assert 2 * kept.worst_ms >= window.length_ms
        if 2 * kept.total_ms >= window.length_ms:
            assert mean(kept.worst, kept.worst_ms, DELTA_H) >= mean(kept.total, kept.total_ms, DELTA_H)


def test_the_worst_window_is_kept_when_it_has_passed() -> None:
    """A hot day, then two cold ones."""
    window = mkt.window_of(DAY)
    kept = mkt.begin(window, 0)
    for hour in range(72):
        value = 9_000 if hour < 24 else 3_000
        kept = mkt.move(
            kept, window, value, from_ms=hour * HOUR_MS, held_ms=HOUR_MS, now_ms=(hour + 1) * HOUR_MS
        )
    assert mean(kept.total, kept.total_ms, DELTA_H) == 3_000
    assert mean(kept.worst, kept.worst_ms, DELTA_H) == 9_000


def test_time_can_be_given_from_one_value_to_another() -> None:
    """In open and closed buckets alike; what is older than the window is left alone."""
    window = mkt.window_of(DAY)
    kept = mkt.begin(window, 0)
    kept = mkt.move(kept, window, 5_000, from_ms=0, held_ms=30 * 60_000, now_ms=30 * 60_000)
    same = mkt.exchange(kept, window, 5_000, 60_000, 29 * 60_000, sign=-1)
    assert same.total_ms == 120_000
    other = mkt.exchange(same, window, 9_000, 60_000, 29 * 60_000, sign=1)
    assert other.total == 120_000 * SCALE + 28 * 60_000 * weight(9_000, DELTA_H)
    assert mkt.unpack(other.pack(), where="test") == other
    assert mkt.exchange(kept, window, 9_000, -600_000, -60_000, sign=1) == kept


def test_a_clock_that_is_put_back_moves_the_window_with_it() -> None:
    """The sums stay."""
    window = mkt.window_of(DAY)
    kept = mkt.move(mkt.begin(window, 0), window, 5_000, from_ms=0, held_ms=60_000, now_ms=HOUR_MS)
    moved = mkt.rebase(kept, window, 600_000)
    assert moved.until_ms == 720_000
    assert (moved.total, moved.total_ms, moved.closed) == (kept.total, kept.total_ms, kept.closed)


@pytest.mark.parametrize("cut", [0, 10, 67, 69, 68 + 15])
def test_sums_that_are_cut_are_refused(cut: int) -> None:
    """With the name of what was read."""
    window = mkt.window_of(DAY)
    kept = mkt.move(mkt.begin(window, 0), window, 5_000, from_ms=0, held_ms=60_000, now_ms=HOUR_MS)
    with pytest.raises(InputError, match=r"leg: mkt is .* expected 68 bytes and whole buckets"):
        mkt.unpack(kept.pack()[:cut], where="leg")


def test_sums_that_do_not_add_up_are_refused() -> None:
    """A window cannot hold more than its buckets, nor time that weighs nothing."""
    for weightless in (Kinetic(720_000, 4, 5, 4, 5), Kinetic(720_000, 5, 5, 5, 5, 0, 9)):
        with pytest.raises(InputError, match="weightless time"):
            mkt.unpack(weightless.pack(), where="leg")
    with pytest.raises(InputError, match="the sum of its buckets"):
        mkt.unpack(Kinetic(720_000, 5, 5, 6, 5).pack(), where="leg")
