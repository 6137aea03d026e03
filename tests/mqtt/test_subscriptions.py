"""Topic filters and who holds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coldseal.mqtt.packets import Subscription
from coldseal.mqtt.subscriptions import (
    MAX_LEVELS,
    FilterError,
    Held,
    SubscriptionTree,
    is_match,
    parse_filter,
)

level = st.sampled_from(["a", "b", "", "$c"])
filters = st.lists(level | st.just("+"), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels) or "a", "/".join([*levels, "#"]), "#"])
)
topics = st.lists(level, min_size=1, max_size=5).map(lambda levels: "/".join(levels) or "a")
groups = st.sampled_from(["", "", "g", "h"])


def _shared(group: str, topic_filter: str) -> str:
    """Write a filter as a shared one."""
    return f"$share/{group}/{topic_filter}" if group else topic_filter


class TestFilters:
    """4.7.1 and 4.8.2: what may stand in a filter."""

    @pytest.mark.parametrize(
        ("text", "group", "levels"),
        [
            ("a/b", "", ("a", "b")),
            ("/", "", ("", "")),
            ("#", "", ("#",)),
            ("+/+/#", "", ("+", "+", "#")),
            ("$SYS/#", "", ("$SYS", "#")),
            ("$share/g/a/#", "g", ("a", "#")),
            ("$share/g//a", "g", ("", "a")),
        ],
    )
    def test_a_good_filter_is_taken_apart(self, text: str, group: str, levels: tuple[str, ...]) -> None:
        """Group and levels."""
        assert parse_filter(text) == (group, levels)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "a\0",
            "#/a",
            "a/#/b",
            "a#",
            "a/b#",
            "+a",
            "a/+b/c",
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "/".join("a" * (MAX_LEVELS + 1)),
        ],
    )
    def test_a_bad_filter_is_refused(self, text: str) -> None:
        """Misplaced wildcards, empty filters, broken shares, and more levels than we go."""
        with pytest.raises(FilterError):
            parse_filter(text)

    @pytest.mark.parametrize(
        ("topic_filter", "topic", "expected"),
        [
            ("sport/tennis/player1/#", "sport/tennis/player1", True),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
            ("sport/#", "sport", True),
            ("sport/tennis/+", "sport/tennis/player1", True),
            ("sport/tennis/+", "sport/tennis/player1/ranking", False),
            ("sport/+", "sport", False),
            ("sport/+", "sport/", True),
            ("+/+", "/finance", True),
            ("/+", "/finance", True),
            ("+", "/finance", False),
            ("#", "$SYS/x", False),
            ("+/monitor/Clients", "$SYS/monitor/Clients", False),
            ("$SYS/#", "$SYS/x", True),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
            ("ACCOUNTS", "Accounts", False),
        ],
    )
    def test_the_examples_of_the_standard_hold(
        self, topic_filter: str, topic: str, *, expected: bool
    ) -> None:
        """4.7.1.2, 4.7.1.3, 4.7.2, 4.7.3, for the tree and for the single filter."""
        assert is_match(parse_filter(topic_filter).levels, topic) is expected
        tree: SubscriptionTree[str] = SubscriptionTree()
        tree.subscribe("me", Held(Subscription(topic_filter)))
        assert bool(tree.match(topic).holders) is expected


class TestTree:
    """One entry for each subscriber and filter."""

    def test_a_second_subscription_to_the_same_filter_replaces_the_first(self) -> None:
        """MQTT-3.8.4-3."""
        tree: SubscriptionTree[str] = SubscriptionTree()
        assert tree.subscribe("me", Held(Subscription("a", 1)))
        assert not tree.subscribe("me", Held(Subscription("a", 2)))
        assert tree.count == 1
        assert tree.match("a").holders == {"me": [Held(Subscription("a", 2))]}

    def test_all_matching_subscriptions_of_one_are_given_together(self) -> None:
        """Whoever delivers decides what an overlap means."""
        tree: SubscriptionTree[str] = SubscriptionTree()
        for topic_filter in ("a/#", "a/+", "+/b", "c"):
            tree.subscribe("me", Held(Subscription(topic_filter)))
        assert {each.subscription.filter for each in tree.match("a/b").holders["me"]} == {"a/#", "a/+", "+/b"}

    def test_a_share_is_apart_from_other_shares_and_from_single_subscriptions(self) -> None:
        """4.8.2: the name and the filter together make the group."""
        tree: SubscriptionTree[str] = SubscriptionTree()
        for text in ("$share/g/a", "$share/h/a", "$share/g/+", "a"):
            tree.subscribe("me", Held(Subscription(text)))
        found = tree.match("a")
        assert list(found.holders) == ["me"]
        assert len(found.groups) == 3

    def test_taking_back_what_is_not_there_changes_nothing(self) -> None:
        """Also where the branch exists, the group does not, or another holds it."""
        tree: SubscriptionTree[str] = SubscriptionTree()
        tree.subscribe("me", Held(Subscription("a/b")))
        for key, text in (("me", "a"), ("me", "x/y"), ("you", "a/b"), ("me", "$share/g/a/b")):
            assert not tree.unsubscribe(key, text)
        assert tree.count == 1

    def test_what_is_taken_back_leaves_no_branches(self) -> None:
        """A device that subscribes and unsubscribes for years costs no memory."""
        tree: SubscriptionTree[str] = SubscriptionTree()
        texts = ("a/b/c", "a/b", "$share/g/a/b/#", "+/#")
        for text in texts:
            tree.subscribe("me", Held(Subscription(text)))
        for text in texts:
            assert tree.unsubscribe("me", text)
        assert tree._root.is_bare

    def test_matching_costs_the_depth_not_the_number(self) -> None:
        """A hundred thousand others are not looked at."""
        tree: SubscriptionTree[int] = SubscriptionTree()
        for number in range(2_000):
            tree.subscribe(number, Held(Subscription(f"site/{number}/cmd/#")))
        assert list(tree.match("site/77/cmd/x").holders) == [77]


class TreeAgainstModel(RuleBasedStateMachine):
    """The tree against a plain list of subscriptions."""

    def __init__(self) -> None:
        """Start both empty."""
        super().__init__()
        self.tree: SubscriptionTree[int] = SubscriptionTree()
        self.model: dict[tuple[int, str], Held] = {}

    @rule(key=st.integers(0, 3), group=groups, text=filters, qos=st.integers(0, 2))
    def subscribe(self, key: int, group: str, text: str, qos: int) -> None:
        """Add to both."""
        held = Held(Subscription(_shared(group, text), qos))
        is_new = (key, held.subscription.filter) not in self.model
        assert self.tree.subscribe(key, held) is is_new
        self.model[key, held.subscription.filter] = held

    @rule(key=st.integers(0, 3), group=groups, text=filters)
    def unsubscribe(self, key: int, group: str, text: str) -> None:
        """Take from both."""
        there = self.model.pop((key, _shared(group, text)), None) is not None
        assert self.tree.unsubscribe(key, _shared(group, text)) is there

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        """Take from both what is there."""
        key, text = data.draw(st.sampled_from(sorted(self.model)))
        del self.model[key, text]
        assert self.tree.unsubscribe(key, text)

    @rule(topic=topics)
    def match(self, topic: str) -> None:
        """Both find the same."""
        found = self.tree.match(topic)
        expected = {(key, text) for (key, text) in self.model if is_match(parse_filter(text).levels, topic)}
        single = {(key, each.subscription.filter) for key, held in found.holders.items() for each in held}
        shared = {
            (key, each.subscription.filter)
            for members in found.groups.values()
            for key, each in members.items()
        }
        assert single | shared == expected
        assert all(text.startswith("$share/") for _, text in shared)

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """The count agrees, and an empty tree has no branches."""
        assert self.tree.count == len(self.model)
        if not self.model:
            assert self.tree._root.is_bare


TestTreeAgainstModel = TreeAgainstModel.TestCase


@given(filters, topics)
def test_one_filter_and_the_tree_agree(text: str, topic: str) -> None:
    """Two ways of matching, one meaning."""
    tree: SubscriptionTree[int] = SubscriptionTree()
    tree.subscribe(1, Held(Subscription(text)))
    assert bool(tree.match(topic).holders) is is_match(parse_filter(text).levels, topic)
