"""Who may publish and subscribe where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.topics import (
    EVERY_DEVICE,
    ROOT,
    SCHEME,
    Address,
    Channel,
    Grant,
    Policy,
    check_name,
    covers,
    is_name,
    parse_topic,
)
from coldseal.errors import InputError, OperatorError
from tests.access import matches

SITE = "site-7"
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
level = st.sampled_from(["a", "b", "", "$c"])
filters = st.lists(level | st.just("+"), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"]), "#"])
)
topics = st.lists(level, min_size=1, max_size=5).map("/".join)


def _own(device: str, rest: str) -> str:
    """Write a topic below a device's branch."""
    return f"{ROOT}/{SITE}/{device}/{rest}"


class TestScheme:
    """Topics are taken apart and put together by one table."""

    @given(names, names, st.sampled_from(Channel), names)
    def test_what_is_rendered_is_parsed_to_the_same(
        self, site: str, device: str, channel: Channel, name: str
    ) -> None:
        """Every address of the scheme survives the way out and back."""
        address = Address(site, device, channel, name if SCHEME[channel].is_named else "")
        assert parse_topic(address.render()) == address

    @pytest.mark.parametrize(
        ("topic", "field"),
        [
            ("", "form"),
            ("coldseal/v1/site-7/gauge", "form"),
            ("coldseal/v2/site-7/gauge/status", "form"),
            ("coldseal/v1/site-7/gauge/reading/door/left", "form"),
            ("coldseal/v1//gauge/status", "site"),
            ("coldseal/v1/site 7/gauge/status", "site"),
            ("coldseal/v1/site-7/-gauge/status", "device"),
            ("coldseal/v1/site-7/gauge/weather", "channel"),
            ("coldseal/v1/site-7/gauge/reading", "name"),
            ("coldseal/v1/site-7/gauge/reading/", "name"),
            ("coldseal/v1/site-7/gauge/reading/tür", "name"),
            ("coldseal/v1/site-7/gauge/status/now", "name"),
            ("coldseal/v1/site-7/gauge/config/", "name"),
        ],
    )
    def test_a_topic_outside_the_scheme_is_named_by_its_fault(self, topic: str, field: str) -> None:
        """The error says which part is wrong."""
        with pytest.raises(InputError) as caught:
            parse_topic(topic)
        assert caught.value.field == field

    @pytest.mark.parametrize("name", ["a", "0", "A-b_c.d", "x" * 64])
    def test_a_name_is_one_plain_level(self, name: str) -> None:
        """Letters, digits, and three marks that no shell or topic minds."""
        assert check_name("site", name) == name

    @pytest.mark.parametrize("name", ["", "x" * 65, ".a", "-a", "a/b", "a+", "#", "$a", "é", "a\n", "a b"])
    def test_anything_else_is_no_name(self, name: str) -> None:
        """Nothing that could be a wildcard, a level of its own or another alphabet."""
        assert not is_name(name)


class TestOwnBranch:
    """Without grants a device has its own branch, and in it only its own direction."""

    rights = Policy(SITE).rights("gauge")

    @pytest.mark.parametrize("rest", ["reading/door", "status", "event/restart"])
    def test_a_device_publishes_its_own_readings(self, rest: str) -> None:
        """Readings, status and events below its own name."""
        assert self.rights.may_publish(_own("gauge", rest))

    @pytest.mark.parametrize(
        "topic",
        [
            _own("gauge", "cmd/restart"),
            _own("gauge", "config"),
            _own("gauge", "reading"),
            _own("gauge", "reading/door/left"),
            _own("gauge", "reading/#"),
            _own("gauge", "reading/+"),
            _own("gauge", "status/x"),
            _own("gauge", ""),
            _own("gauge2", "reading/door"),
            _own("other", "reading/door"),
            f"{ROOT}/site-8/gauge/reading/door",
            f"x/{_own('gauge', 'status')}",
            "gauge/status",
            "$SYS/x",
            "",
        ],
    )
    def test_a_device_publishes_nothing_else(self, topic: str) -> None:
        """No commands, no other device, no other site, no topic outside the scheme."""
        assert not self.rights.may_publish(topic)

    @pytest.mark.parametrize(
        "rest", ["cmd/#", "cmd/+", "cmd/restart", "cmd/a/b", "config", "config/#", "cmd"]
    )
    def test_a_device_subscribes_to_what_is_meant_for_it(self, rest: str) -> None:
        """Commands and configuration below its own name, in whole or in part, shared or not."""
        assert self.rights.may_subscribe(_own("gauge", rest))
        assert self.rights.may_subscribe(f"$share/group/{_own('gauge', rest)}")

    @pytest.mark.parametrize(
        "topic_filter",
        [
            "#",
            "+",
            f"{ROOT}/#",
            _own("gauge", "#"),
            _own("gauge", "+/x"),
            _own("gauge", "reading/#"),
            _own("+", "cmd/#"),
            _own("other", "cmd/#"),
            f"{ROOT}/+/gauge/cmd/#",
            "$share/group/#",
            "$share/group",
            "$share",
            "$SYS/#",
            "",
        ],
    )
    def test_a_device_subscribes_to_nothing_else(self, topic_filter: str) -> None:
        """Not to other devices, not to its own readings, not by a wildcard that reaches further."""
        assert not self.rights.may_subscribe(topic_filter)

    @given(names, names, st.sampled_from(Channel), names)
    def test_no_device_can_speak_for_another(
        self, device: str, other: str, channel: Channel, name: str
    ) -> None:
        """Whatever two devices are called, neither may publish below the other's name."""
        topic = _own(other, f"{channel}/{name}")
        assert Policy(SITE).rights(device).may_publish(topic) is (
            device == other and SCHEME[channel].from_device and SCHEME[channel].is_named
        )

    def test_a_name_that_cannot_stand_in_a_topic_has_no_rights(self) -> None:
        """A device called like a wildcard would own every branch."""
        with pytest.raises(InputError):
            Policy(SITE).rights("+")
        with pytest.raises(InputError):
            Policy("a/b")


class TestGrants:
    """Grants add single topics to publish, and filters to subscribe to."""

    policy = Policy(
        SITE,
        (
            Grant("display", publish=(_own("gauge", "cmd/blink"),), subscribe=(_own("+", "reading/#"),)),
            Grant(EVERY_DEVICE, publish=("lab/{site}/{device}",), subscribe=("lab/{device}/#", "news")),
        ),
    )

    def test_a_named_device_has_what_it_was_granted(self) -> None:
        """A technician's display reads all readings and sends one command."""
        rights = self.policy.rights("display")
        assert rights.may_subscribe(_own("+", "reading/#"))
        assert rights.may_subscribe(_own("gauge", "reading/door"))
        assert rights.may_publish(_own("gauge", "cmd/blink"))
        assert not rights.may_publish(_own("gauge", "cmd/restart"))
        assert not rights.may_subscribe(_own("+", "status"))

    def test_other_devices_do_not(self) -> None:
        """A grant for one is not one for all."""
        rights = self.policy.rights("gauge")
        assert not rights.may_subscribe(_own("+", "reading/#"))
        assert not rights.may_publish(_own("gauge", "cmd/blink"))

    def test_a_grant_for_all_is_filled_in_for_each(self) -> None:
        """Placeholders stand for the site and for the holder's own name."""
        rights = self.policy.rights("gauge")
        assert rights.may_publish(f"lab/{SITE}/gauge")
        assert not rights.may_publish(f"lab/{SITE}/display")
        assert rights.may_subscribe("lab/gauge/+")
        assert rights.may_subscribe("news")
        assert not rights.may_subscribe("lab/display/x")

    @pytest.mark.parametrize(
        ("grant", "word"),
        [
            (Grant("a/b"), "device"),
            (Grant(""), "device"),
            (Grant("*", publish=("lab/#",)), "whole topic"),
            (Grant("*", publish=("lab/+/x",)), "whole topic"),
            (Grant("*", publish=("",)), "whole topic"),
            (Grant("*", publish=("$SYS/x",)), "whole topic"),
            (Grant("*", publish=(_own("gauge", "reading/door"),)), "speak for a device"),
            (Grant("*", publish=(_own("{device}", "status"),)), "speak for a device"),
            (Grant("*", publish=(_own("gauge", "receipt"),)), "speak for the gateway"),
            (Grant("*", publish=(f"{ROOT}/x",)), "not in the topic scheme"),
            (Grant("*", subscribe=("",)), "no topic filter"),
            (Grant("*", subscribe=("a/#/b",)), "no topic filter"),
            (Grant("*", subscribe=("a/b+",)), "no topic filter"),
            (Grant("*", subscribe=("a#",)), "no topic filter"),
            (Grant("*", subscribe=("$share/group/a",)), "no topic filter"),
        ],
    )
    def test_a_grant_that_is_too_wide_is_refused(self, grant: Grant, word: str) -> None:
        """With what is wrong, and what to write instead."""
        with pytest.raises(OperatorError, match=word) as caught:
            Policy(SITE, (grant,))
        assert caught.value.hint


class TestCovering:
    """A filter is granted when nothing can match it that the granted one does not match."""

    @given(filters, filters, topics)
    def test_what_is_covered_matches_nothing_more(self, granted: str, asked: str, topic: str) -> None:
        """Held against plain matching: a covered filter's topics are all the granted one's."""
        if covers(granted, asked) and matches(asked, topic):
            assert matches(granted, topic)

    @given(filters)
    def test_every_filter_covers_itself(self, topic_filter: str) -> None:
        """Whoever is granted a filter may subscribe to just that."""
        assert covers(topic_filter, topic_filter)

    @given(filters, topics)
    def test_a_topic_is_covered_by_what_matches_it(self, granted: str, topic: str) -> None:
        """A filter without wildcards is a topic."""
        assert covers(granted, topic) is matches(granted, topic)

    @pytest.mark.parametrize(
        ("granted", "asked"),
        [
            ("a/+", "a/#"),
            ("a/+", "a"),
            ("a/b", "a/+"),
            ("a", "a/b"),
            ("+", "$c"),
            ("#", "$c/#"),
            ("a/b", "a"),
        ],
    )
    def test_a_wider_filter_is_not_covered(self, granted: str, asked: str) -> None:
        """Each of these would reach something that was not granted."""
        assert not covers(granted, asked)
