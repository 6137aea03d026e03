"""The registry: what it makes of each device's rights, and what it refuses to mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.cases import ANY_DEVICE, Action, Case, builtin_cases, decide, gather
from coldseal.core.quotas import Limit
from coldseal.core.registry import Bounds, ChannelRule, Device, DeviceClass, Namespace, Registry
from coldseal.core.topics import ROOT, Channel, Grant, Listing, Policy
from coldseal.errors import OperatorError

SITE = "site-7"
BRANCH = f"{ROOT}/{SITE}"
SLOW = Limit(messages_per_s=1)
DAILY = Limit(messages_per_day=10)
LOGGER = DeviceClass(
    "logger",
    (
        ChannelRule(Channel.READING, schema="json-1", max_payload_bytes=500, limit=DAILY),
        ChannelRule(Channel.STATUS, may_retain=True, may_will=True),
        ChannelRule(Channel.EVENT, ("door",)),
        ChannelRule(Channel.COMMAND),
        ChannelRule(Channel.CONFIG),
    ),
    publish=("plant/{device}",),
    subscribe=("plant/orders",),
    max_payload_bytes=1_000,
    limit=SLOW,
)
DISPLAY = DeviceClass(
    "display", (ChannelRule(Channel.COMMAND, ("blink", "dim")), ChannelRule(Channel.RECEIPT))
)
REGISTRY = Registry(
    (LOGGER, DISPLAY),
    (
        Device("gauge", "logger", ("door", "shelf")),
        Device("wall", "display", publish=(f"{BRANCH}/gauge/cmd/blink",), subscribe=(f"{BRANCH}/+/status",)),
    ),
    (Namespace("plant", "text", 64),),
)
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")


def own(device: str, tail: str) -> str:
    """Write a topic below a device's branch."""
    return f"{BRANCH}/{device}/{tail}"


class TestListing:
    """Every right of a registered device is written out."""

    def test_a_device_s_topics_are_enumerated(self) -> None:
        """Sensors, status, kinds of events and further topics; commands and configuration to hear."""
        gauge, wall = Policy(SITE, (), REGISTRY).listing()
        publish = [own("gauge", tail) for tail in ("reading/door", "reading/shelf", "status", "event/door")]
        hear = (own("gauge", "cmd/#"), own("gauge", "config"), "plant/orders")
        assert gauge == Listing("gauge", (*publish, "plant/gauge"), hear)
        heard = (own("wall", "cmd/blink"), own("wall", "cmd/dim"), own("wall", "receipt"), own("+", "status"))
        assert wall == Listing("wall", (own("gauge", "cmd/blink"),), heard)

    def test_grants_count_for_registered_devices_too(self) -> None:
        """Listed behind the registry's topics; such a topic may be retained, as ever."""
        grant = Grant("*", ("lab/{device}", "lab/all"), ("news", "plant/orders"))
        policy = Policy(SITE, (grant,), REGISTRY)
        gauge = policy.listing()[0]
        assert gauge.publish[-2:] == ("lab/all", "lab/gauge")
        assert gauge.subscribe[-2:] == ("plant/orders", "news")
        assert policy.rights("gauge").may_will("lab/gauge", retain=True)
        assert policy.bounds("gauge", "lab/gauge") == Bounds("", 1_000, (("", SLOW),))

    @given(names, names, st.sampled_from(["reading/door", "status", "event/door", "config", "cmd/x", "#"]))
    def test_no_registered_device_speaks_for_another(self, device: str, other: str, tail: str) -> None:
        """Whatever two devices are called."""
        registry = replace(REGISTRY, devices=(Device(device, "logger", ("door",)),))
        for is_strict in (True, False):
            rights = Policy(SITE, (), registry, is_strict=is_strict).rights(device)
            is_own = device == other and tail in {"reading/door", "status", "event/door"}
            assert rights.may_publish(own(other, tail)) is is_own

    @given(names, st.lists(names, min_size=1, max_size=5, unique=True))
    def test_no_listing_has_a_wildcard_to_publish(self, device: str, sensors: list[str]) -> None:
        """Only whole topics, each of which the device may publish."""
        registry = replace(REGISTRY, devices=(Device(device, "logger", tuple(sensors)),))
        policy = Policy(SITE, (), registry)
        (listed,) = policy.listing()
        assert all("+" not in topic and "#" not in topic for topic in listed.publish)
        assert all(policy.rights(device).may_publish(topic) for topic in listed.publish)
        assert len(listed.publish) == len(sensors) + 3


class TestRights:
    """What is not written is not granted."""

    rights = Policy(SITE, (), REGISTRY).rights("gauge")

    @pytest.mark.parametrize(
        "tail", ["reading/lid", "reading", "event/fire", "receipt", "", "reading/door/x"]
    )
    def test_a_sensor_or_event_that_is_not_registered_is_refused(self, tail: str) -> None:
        """Also below the device's own branch."""
        assert not self.rights.may_publish(own("gauge", tail))

    def test_only_what_says_so_may_be_retained_or_be_a_will(self) -> None:
        """Status here, nothing else; a retained will needs both."""
        assert self.rights.may_retain(own("gauge", "status"))
        assert not self.rights.may_retain(own("gauge", "reading/door"))
        assert self.rights.may_will(own("gauge", "status"), retain=True)
        assert not self.rights.may_will(own("gauge", "event/door"), retain=False)
        assert not self.rights.may_will(own("wall", "status"), retain=False)
        quiet = replace(LOGGER, channels=(ChannelRule(Channel.STATUS, may_will=True),))
        registry = Registry((quiet,), (Device("bell", "logger"),), REGISTRY.namespaces)
        rights = Policy(SITE, (), registry).rights("bell")
        assert rights.may_will(own("bell", "status"), retain=False)
        assert not rights.may_will(own("bell", "status"), retain=True)

    def test_a_strict_policy_knows_registered_devices_alone(self) -> None:
        """Others have no right at all; else they have their own branch, as ever, and no bounds."""
        strict, open_one = Policy(SITE, (), REGISTRY, is_strict=True), Policy(SITE, (), REGISTRY)
        assert strict.is_known("gauge")
        assert not strict.is_known("stranger")
        stranger = strict.rights("stranger")
        assert not stranger.may_publish(own("stranger", "status"))
        assert not stranger.may_publish("")
        assert not stranger.may_subscribe(own("stranger", "cmd/#"))
        assert open_one.is_known("stranger")
        assert open_one.rights("stranger").may_will(own("stranger", "status"), retain=True)
        assert open_one.bounds("stranger", own("stranger", "status")) is None
        assert open_one.devices == ("gauge", "wall")

    def test_bounds_follow_the_channel_the_class_and_the_device(self) -> None:
        """The narrower word counts; the device's own limit stands in the place of its class's."""
        policy = Policy(SITE, (), REGISTRY)
        over_all = (("", SLOW),)
        assert policy.bounds("gauge", own("gauge", "reading/door")) == Bounds(
            "json-1", 500, (("reading", DAILY), *over_all)
        )
        assert policy.bounds("gauge", own("gauge", "status")) == Bounds("", 1_000, over_all)
        assert policy.bounds("gauge", "plant/gauge") == Bounds("text", 64, over_all)
        assert policy.bounds("wall", own("gauge", "cmd/blink")) == Bounds()
        faster = Limit(messages_per_s=9)
        registry = replace(REGISTRY, devices=(Device("gauge", "logger", ("door",), limit=faster),))
        found = Policy(SITE, (), registry).bounds("gauge", own("gauge", "status"))
        assert found == Bounds("", 1_000, (("", faster),))

    def test_speaking_as_another_is_told_from_an_unknown_topic(self) -> None:
        """Another device's branch, or that of the same name at another site."""
        policy = Policy(SITE, (), REGISTRY)
        for topic in (
            own("wall", "status"),
            own("wall", ""),
            f"{ROOT}/other/gauge/status",
            own("wall", "x/y/z"),
        ):
            assert policy.is_as_another("gauge", topic)
        for topic in (
            own("gauge", "cmd/x"),
            f"{ROOT}/{SITE}",
            "plant/wall",
            "$SYS/x",
            "",
            f"x{own('wall', 'x')}",
        ):
            assert not policy.is_as_another("gauge", topic)


def registry(**changes: object) -> Registry:
    """Make a registry of one class and one device, with something changed in either."""
    kind: dict[str, Any] = {"name": "logger", "channels": LOGGER.channels}
    device: dict[str, Any] = {"name": "gauge", "kind": "logger", "sensors": ("door",)}
    for name, value in changes.items():
        table, _, key = name.partition("_")
        (kind if table == "class" else device)[key] = value
    return Registry(
        (DeviceClass(**kind),),
        (Device(**device),),
        (Namespace("plant"),),
        "reg.toml",
    )


class TestRefusals:
    """What is too wide or contradicts itself is refused with file, key, value and cure."""

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (registry(device_name="a/b"), "devices: name 'a/b'"),
            (registry(device_kind="lamp"), "devices 'gauge': class 'lamp'"),
            (registry(device_sensors=("+",)), "devices 'gauge': sensors '+'"),
            (registry(device_sensors=("#",)), "devices 'gauge': sensors '#'"),
            (registry(device_sensors=("door", "door")), "devices 'gauge': sensors 'door'"),
            (registry(device_sensors=()), "devices 'gauge': sensors is missing"),
            (registry(class_channels=()), "devices 'gauge': sensors 'door'"),
            (registry(device_publish=("plant/#",)), "devices 'gauge': publish 'plant/#'"),
            (registry(device_publish=("plant/+/x",)), "devices 'gauge': publish 'plant/+/x'"),
            (registry(device_publish=("$SYS/x",)), "devices 'gauge': publish '$SYS/x'"),
            (registry(device_publish=("other/x",)), "devices 'gauge': publish 'other/x'"),
            (registry(device_publish=("plantation/x",)), "devices 'gauge': publish 'plantation/x'"),
            (registry(device_publish=(own("wall", "status"),)), "would speak for a device"),
            (registry(device_subscribe=("a/#/b",)), "devices 'gauge': subscribe 'a/#/b'"),
            (registry(device_limit=Limit(messages_burst=3)), "limit.messages_burst '3'"),
            (registry(class_limit=Limit(bytes_burst=3)), "classes 'logger': limit.bytes_burst '3'"),
            (registry(class_name=""), "classes: name"),
            (registry(class_publish=("plant/#",)), "classes 'logger': publish 'plant/#'"),
            (
                registry(class_channels=(ChannelRule(Channel.READING), ChannelRule(Channel.READING))),
                "channels 'reading': channel 'reading'",
            ),
            (registry(class_channels=(ChannelRule(Channel.READING, ("door",)),)), "names 'door'"),
            (registry(class_channels=(ChannelRule(Channel.EVENT),)), "channels 'event': names is missing"),
            (registry(class_channels=(ChannelRule(Channel.EVENT, ("+",)),)), "channels 'event': names '+'"),
            (registry(class_channels=(ChannelRule(Channel.CONFIG, may_retain=True),)), "channels 'config'"),
            (replace(registry(), namespaces=(Namespace("plant/#"),)), "namespaces: root 'plant/#'"),
            (replace(registry(), namespaces=(Namespace("coldseal/x"),)), "namespaces: root 'coldseal/x'"),
            (replace(registry(), namespaces=(Namespace("$SYS"),)), "namespaces: root"),
            (replace(registry(), devices=registry().devices * 2), "devices: name 'gauge'"),
        ],
        ids=lambda value: None if isinstance(value, Registry) else value,
    )
    def test_each_names_its_place_and_its_cure(self, made: Registry, said: str) -> None:
        """Nothing wrong is read as something else."""
        with pytest.raises(OperatorError) as caught:
            Policy(SITE, (), made)
        assert caught.value.what.startswith("reg.toml: ")
        assert said in caught.value.what
        assert caught.value.hint

    def test_a_strict_policy_refuses_a_grant_for_nobody(self) -> None:
        """A name that is not registered would have rights that it can never use."""
        with pytest.raises(OperatorError, match="ghost is not registered"):
            Policy(SITE, (Grant("ghost", subscribe=("news",)),), REGISTRY, is_strict=True)
        assert Policy(SITE, (Grant("*"), Grant("wall")), REGISTRY, is_strict=True)


class TestCases:
    """Questions to a policy."""

    def test_a_sound_policy_refuses_every_built_in_case(self) -> None:
        """With a registry, strict or not, and without one."""
        for policy in (
            Policy(SITE),
            Policy(SITE, (), REGISTRY),
            Policy(SITE, (), REGISTRY, is_strict=True),
            Policy(SITE, (), replace(REGISTRY, devices=REGISTRY.devices[:1]), is_strict=True),
        ):
            tried = list(builtin_cases(policy))
            assert len(tried) >= 30 * max(1, len(policy.devices))
            assert not any(case.is_allowed or decide(policy, case) for case in tried)
        assert {case.device for case in builtin_cases(Policy(SITE))} == {ANY_DEVICE}

    def test_a_policy_that_is_too_wide_is_found_by_them(self) -> None:
        """A grant of all topics to hear."""
        policy = Policy(SITE, (Grant("*", subscribe=("#",)),))
        assert any(decide(policy, case) for case in builtin_cases(policy))

    @pytest.mark.parametrize(
        ("action", "topic", "expected"),
        [
            (Action.CONNECT, "", True),
            (Action.PUBLISH, own("gauge", "reading/door"), True),
            (Action.PUBLISH, own("gauge", "reading/lid"), False),
            (Action.RETAIN, own("gauge", "status"), True),
            (Action.RETAIN, own("gauge", "reading/door"), False),
            (Action.RETAIN, own("wall", "status"), False),
            (Action.WILL, own("gauge", "status"), True),
            (Action.WILL, own("gauge", "event/door"), False),
            (Action.SUBSCRIBE, own("gauge", "cmd/+"), True),
            (Action.SUBSCRIBE, own("gauge", "+"), False),
        ],
    )
    def test_each_action_is_answered_by_the_right_that_it_needs(
        self, action: Action, topic: str, expected: bool
    ) -> None:
        """As the listener would."""
        policy = Policy(SITE, (), REGISTRY, is_strict=True)
        assert decide(policy, Case("gauge", action, topic, is_allowed=expected)) is expected
        assert not decide(policy, Case("stranger", action, topic, is_allowed=expected))

    def test_a_written_case_stands_in_the_place_of_a_built_in_one(self) -> None:
        """So that a site can say that it means what it allows."""
        policy = Policy(SITE, (Grant("*", subscribe=("#",)),))
        written = Case(ANY_DEVICE, Action.SUBSCRIBE, "#", is_allowed=True)
        found = gather(policy, [written])
        assert found[0] is written
        assert len(found) == len(list(builtin_cases(policy)))
