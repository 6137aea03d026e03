"""A device that floods gets its burst of single entries; the rest is counted, never lost."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.floods import Floods
from coldseal.core.log.canonical import encode_base64


def test_a_burst_is_admitted_and_the_rest_counted_with_a_running_hash() -> None:
    """The hash lets the sender's own list be checked against the count."""
    floods = Floods(2)
    assert [floods.admits("a", digest, now_ms=0) for digest in ("1", "2", "3", "4")] == [
        True,
        True,
        False,
        False,
    ]
    first = encode_base64(hashlib.sha256(b"3").digest())
    both = encode_base64(hashlib.sha256(f"{first}4".encode()).digest())
    assert floods.take_counted() == [("a", 2, both)]
    assert floods.take_counted() == []


def test_one_device_does_not_spend_what_another_has() -> None:
    """Each device has a bucket of its own."""
    floods = Floods(1)
    assert floods.admits("a", "1", now_ms=0)
    assert not floods.admits("a", "2", now_ms=0)
    assert floods.admits("b", "1", now_ms=0)


def test_while_something_is_counted_nothing_overtakes_it() -> None:
    """The counting entry stands where the flood began, so later single entries wait for it."""
    floods = Floods(1)
    assert floods.admits("a", "1", now_ms=0)
    assert not floods.admits("a", "2", now_ms=0)
    assert not floods.admits("a", "3", now_ms=60_000)
    floods.take_counted()
    assert floods.admits("a", "4", now_ms=60_000)


@given(st.lists(st.integers(0, 5_000), max_size=200), st.integers(1, 30))
def test_single_entries_never_exceed_burst_and_rate(gaps: list[int], per_minute: int) -> None:
    """Over any run: at most the burst, and the rate on top; all the others are on the counter."""
    floods, now, single, counted = Floods(per_minute), 0, 0, 0
    for gap in gaps:
        now += gap
        single += floods.admits("a", "x", now_ms=now)
        counted += sum(count for _, count, _ in floods.take_counted())
    assert single + counted == len(gaps)
    assert single <= per_minute + now * per_minute / 60_000 + 1
