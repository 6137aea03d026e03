"""Claims about legs of custody: whichever way an asset goes, what was used up counts once."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldseal.core.coldchain.effects import Measured
from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.errors import InputError
from tests.core.coldchain.series import MINUTE, START_MS, plan_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = "temperature/high/8/warning"


class Site:
    """A gateway that an asset comes to.

    Args:
        origin: its log.
        asset: what it calls the asset; by default the name that its sensor has for it.
    """

    def __init__(self, origin: str) -> None:
        """Begin with a sensor that has not measured anything."""
        self.origin, self.evaluation = origin, Evaluation()
        self.plan = plan_of("fridge")
        self.asset = self.plan.asset
        self._times = count(START_MS, 5 * MINUTE)

    def warm(self, times: int) -> None:
        """Have the asset beyond its range, five minutes at a time."""
        for value in [9_000] * times + [5_000]:
            t_ms = next(self._times)
            measured = [Measured("temperature", "Cel", value, t_ms)]
            self.evaluation.judge(self.plan, measured, received_ms=t_ms)

    def give(self, other: Site) -> None:
        """Hand over what was used up."""
        other.take(self, self.evaluation.leg(self.asset))

    def take(self, other: Site, leg: Mapping[str, object]) -> None:
        """Take a statement over."""
        there, here = f"{other.origin} {other.asset}", f"{self.origin} {self.asset}"
        self.evaluation.carry(self.asset, leg, source=there, here=here)

    @property
    def used(self) -> int:
        """Intervals of five minutes that are used up, in all."""
        found = {
            f"{each['quantity']}/{each['direction']}/{each['at']}/{each['tier']}": each["total"]
            for each in self.evaluation.totals(self.asset)
        }
        return int(str(found.get(LIMIT, 0))) // 300

    def restart(self) -> None:
        """Go on from a snapshot."""
        self.evaluation = Evaluation.restore(self.evaluation.snapshot())


def test_what_comes_back_counts_once() -> None:
    """Two at the first gateway, three at the second, one more at the first meanwhile: six."""
    one, two = Site("example.com/one"), Site("example.com/two")
    one.warm(2)
    one.give(two)
    two.warm(3)
    assert two.used == 5
    one.warm(1)
    two.give(one)
    assert one.used == 6
    one.restart()
    one.give(two)
    assert two.used == 6
    two.give(one)
    assert one.used == 6  # nothing new


def test_two_ways_from_one_place_to_another_count_its_part_once() -> None:
    """Over two carriers."""
    one, left, right, end = (Site(f"example.com/{name}") for name in ("one", "left", "right", "end"))
    one.warm(2)
    for carrier in (left, right):
        one.give(carrier)
        carrier.warm(1)
        carrier.give(end)
    assert end.used == 4


def test_another_asset_of_the_same_gateway_is_another_part() -> None:
    """Under a new name the old part is carried in."""
    one, two = Site("example.com/one"), Site("example.com/two")
    one.warm(2)
    one.give(two)
    again = Site(one.origin)
    again.asset = "asset-0"
    leg = two.evaluation.leg(two.asset)
    again.evaluation.carry("lot-b", leg, source=f"{two.origin} {two.asset}", here=f"{one.origin} lot-b")
    (used,) = {each["total"] for each in again.evaluation.totals("lot-b")}
    assert used == 600


def test_what_a_gateway_has_lost_of_its_own_is_counted_as_the_leg_says() -> None:
    """Never less than somebody has stated: it began anew, and its own part comes back to it."""
    one, two = Site("example.com/one"), Site("example.com/two")
    one.warm(3)
    one.give(two)
    anew = Site(one.origin)
    anew.warm(1)
    two.give(anew)
    assert anew.used == 3
    anew.give(two)
    assert two.used == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_whichever_way_it_goes_every_part_counts_once(seed: int) -> None:
    """By the newest that each place has heard of every other."""
    chance = random.Random(seed)
    sites = [Site(f"example.com/{each}") for each in range(3)]
    heard = [[0, 0, 0] for _ in sites]
    for _ in range(25):
        at, to = chance.sample(range(3), 2)
        if chance.random() < 0.4:
            times = chance.randrange(1, 4)
            sites[at].warm(times)
            heard[at][at] += times
        else:
            sites[at].give(sites[to])
            heard[to] = [max(pair) for pair in zip(heard[at], heard[to], strict=True)]
        if chance.random() < 0.1:
            sites[to].restart()
        assert [each.used for each in sites] == [sum(each) for each in heard]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"legs": []}, "legs is .*, expected an object of at most 100"),
        ({"legs": {"one": {}}}, "legs is 'one', expected a log and an asset"),
        ({"legs": {"a b": {LIMIT: -1}}}, "whole milliseconds"),
        ({"carried": {LIMIT: 5}}, "expected parts that add up to what was carried in"),
        ({"carried": {LIMIT: 5}, "legs": {"a b": {LIMIT: 4}}}, "expected parts that add up"),
        ({"carried": {LIMIT: 15}, "legs": {"a b": {LIMIT: 15}}}, "no more than in all, 10"),
    ],
    ids=["list", "name", "negative", "no-parts", "other-sum", "more-than-all"],
)
def test_what_cannot_be_reckoned_is_refused(changes: dict[str, object], message: str) -> None:
    """Nothing has changed."""
    site = Site("example.com/one")
    before = site.evaluation.snapshot()
    with pytest.raises(InputError, match=message):
        site.take(site, {"totals": {LIMIT: 10}, "carried": {}, "mkt": {}, **changes})
    assert site.evaluation.snapshot() == before


def test_of_two_windows_the_one_that_ended_later_goes_on() -> None:
    """What comes back has the warmth of the way; what is older than what is here is left."""
    one, two = Site("example.com/one"), Site("example.com/two")
    one.warm(20)
    leg = one.evaluation.leg(one.asset)
    one.give(two)
    assert two.evaluation.leg(two.asset)["mkt"] == leg["mkt"]
    two.warm(60)
    two.evaluation.release(two.plan, START_MS + 6 * 60 * MINUTE)
    later = two.evaluation.leg(two.asset)["mkt"]
    assert later != leg["mkt"]
    one.evaluation.release(one.plan, START_MS + 2 * 60 * MINUTE)
    two.give(one)
    assert one.evaluation.leg(one.asset)["mkt"] == later
    two.take(one, leg)
    assert two.evaluation.leg(two.asset)["mkt"] == later
