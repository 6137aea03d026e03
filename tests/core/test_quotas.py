"""How much a device may send: bursts, rates, days, and what a refused message costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.quotas import BURST_S, DAY_MS, OVER_QUOTA, OVER_RATE, Limit, Meter, Meters, weigh

steps = st.lists(
    st.tuples(st.integers(min_value=0, max_value=5_000), st.integers(min_value=0, max_value=300)),
    max_size=120,
)


def try_all(meter: Meter, tries: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Send messages, each some milliseconds after the one before; give (moment, size) of those taken."""
    now, taken = 0, []
    for pause, size in tries:
        now += pause
        if not weigh([meter], size, now):
            taken.append((now, size))
    return taken


@given(steps)
def test_no_span_takes_in_more_than_a_burst_and_what_was_earned(tries: list[tuple[int, int]]) -> None:
    """For every pair of moments: messages and bytes between them are at most burst + rate × span."""
    limit = Limit(messages_per_s=2, messages_burst=5, bytes_per_s=100, bytes_burst=400)
    taken = try_all(Meter(limit, 0), tries)
    for first, (began, _) in enumerate(taken):
        for last in range(first, len(taken)):
            span_s = (taken[last][0] - began) / 1000
            size = sum(each for _, each in taken[first : last + 1])
            assert last - first + 1 <= 5 + 2 * span_s + 1e-6
            assert size <= 400 + 100 * span_s + 1e-6


@given(st.integers(min_value=1, max_value=50))
def test_whoever_keeps_to_its_rate_is_never_refused(count: int) -> None:
    """However long it goes on."""
    meter = Meter(Limit(messages_per_s=4, messages_burst=1, bytes_per_s=400, bytes_burst=100), 0)
    assert len(try_all(meter, [(250, 100)] * count)) == count


def test_a_burst_is_had_at_once_and_again_after_a_pause() -> None:
    """Three at once, then one a second; a pause fills it up again and not beyond."""
    meter = Meter(Limit(messages_per_s=1, messages_burst=3), 0)
    assert [weigh([meter], 1, 0) for _ in range(4)] == ["", "", "", OVER_RATE]
    assert [weigh([meter], 1, 1_000) for _ in range(2)] == ["", OVER_RATE]
    assert [weigh([meter], 1, 1_000_000) for _ in range(4)] == ["", "", "", OVER_RATE]


def test_without_a_burst_a_minute_s_worth_is_one() -> None:
    """At least one message, however low the rate."""
    assert Limit(messages_per_s=2, bytes_per_s=10).largest_burst == (2 * BURST_S, 10 * BURST_S)
    assert Limit(messages_per_s=0.001).largest_burst == (1, 0)
    assert weigh([Meter(Limit(messages_per_s=0.001), 0)], 1, 0) == ""


def test_bytes_are_bounded_by_themselves() -> None:
    """A large payload needs what a small one leaves; one larger than the burst is never taken."""
    meter = Meter(Limit(bytes_per_s=10, bytes_burst=100), 0)
    assert [weigh([meter], size, 0) for size in (60, 60, 40, 1)] == ["", OVER_RATE, "", OVER_RATE]
    assert weigh([meter], 101, 10_000_000) == OVER_RATE


@pytest.mark.parametrize(
    ("limit", "size"),
    [(Limit(messages_per_day=3), 0), (Limit(bytes_per_day=30), 10)],
    ids=["messages", "bytes"],
)
def test_a_day_has_its_quota_and_ends_after_24_hours(limit: Limit, size: int) -> None:
    """Counted from the first message of the day; what was refused does not count."""
    meter = Meter(limit, 0)
    assert [weigh([meter], size, 5) for _ in range(5)] == ["", "", "", OVER_QUOTA, OVER_QUOTA]
    assert weigh([meter], size, DAY_MS - 1) == OVER_QUOTA
    assert [weigh([meter], size, DAY_MS) for _ in range(4)] == ["", "", "", OVER_QUOTA]


def test_a_refused_message_takes_nothing_from_any_meter() -> None:
    """The channel's limit refuses; the device's has not been touched."""
    device, channel = Meter(Limit(messages_per_s=1, messages_burst=2), 0), Meter(Limit(messages_per_day=1), 0)
    assert weigh([device, channel], 1, 0) == ""
    assert [weigh([device, channel], 1, 0) for _ in range(5)] == [OVER_QUOTA] * 5
    assert weigh([device], 1, 0) == ""
    assert weigh([device], 1, 0) == OVER_RATE


def test_time_that_goes_back_earns_nothing() -> None:
    """Messages that were stamped a little earlier are judged as if at the same moment."""
    meter = Meter(Limit(messages_per_s=1, messages_burst=1), 5_000)
    assert [weigh([meter], 1, 4_000), weigh([meter], 1, 4_500)] == ["", OVER_RATE]


def test_only_a_limit_that_bounds_something_is_one() -> None:
    """What is left out is free."""
    assert Limit().is_free
    assert not any(
        limit.is_free
        for limit in (
            Limit(messages_per_s=1),
            Limit(bytes_per_s=1),
            Limit(messages_per_day=1),
            Limit(bytes_per_day=1),
        )
    )
    assert weigh([Meter(Limit(), 0)], 10**9, 0) == ""


def test_a_device_has_one_meter_for_each_scope() -> None:
    """The same one however often it is asked for; another device has another."""
    meters, limit = Meters(), Limit(messages_per_s=1)
    found = meters.find("a", "", limit, 0)
    assert meters.find("a", "", limit, 9) is found
    assert meters.find("a", "reading", limit, 0) is not found
    assert meters.find("b", "", limit, 0) is not found
