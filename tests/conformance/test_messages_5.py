"""MQTT 5 through the socket: what happens to messages and subscriptions on their way to others."""

from __future__ import annotations

import pytest

from coldseal.gateway.message import Outcome
from coldseal.mqtt.packets import (
    Disconnect,
    Properties,
    PubAck,
    Publish,
    ReasonCode,
    Subscription,
    Version,
)
from tests.gateway.sources.rig import Peer, Rig, Site, running

KEPT = Properties(session_expiry_interval=600)
SAID = Properties(
    payload_format_indicator=1,
    content_type="application/json",
    response_topic="TopicA/B",
    correlation_data=b"\x00\x01",
    user=(("a", "2"), ("c", "3"), ("a", "again")),
)


async def _pair(rig: Rig, **options: object) -> tuple[Peer, Peer]:
    """Connect a reader and a writer."""
    reader = await rig.admitted("reader", device="display", **options)
    return reader, await rig.admitted("writer")


async def test_properties_pass_unchanged(rig: Rig) -> None:
    """MQTT-3.3.2-4, -15, -16, -17, -18, -20: unaltered, and user properties in their order."""
    reader, writer = await _pair(rig)
    await reader.subscribe("TopicA")
    await writer.publish("TopicA", b"x", 2, properties=SAID, retain=True)
    assert (await reader.message()).properties == SAID
    late = await rig.admitted("late")
    await late.subscribe("TopicA")
    assert (await late.message()).properties == SAID


async def test_a_request_finds_its_way_back(rig: Rig) -> None:
    """4.10: the responder answers where the request says, with its correlation data."""
    asking, answering = await _pair(rig)
    await asking.subscribe("TopicA/B")
    await answering.subscribe("TopicA")
    other = await rig.admitted("other")
    await other.publish("TopicA", b"?", properties=SAID)
    request = (await answering.message()).properties
    await answering.publish(
        request.response_topic or "", b"!", properties=Properties(correlation_data=request.correlation_data)
    )
    answer = await asking.message()
    assert (answer.payload, answer.properties.correlation_data) == (b"!", b"\x00\x01")


async def test_a_message_that_is_too_old_is_not_delivered(rig: Rig) -> None:
    """MQTT-3.3.2-5, -6: after its expiry a message is gone; before, the interval says what is left."""
    reader, writer = await _pair(rig, properties=KEPT)
    await reader.subscribe("TopicA")
    await reader.disconnect()
    await writer.publish("TopicA", b"short", properties=Properties(message_expiry_interval=5))
    await writer.publish("TopicA", b"long", 2, properties=Properties(message_expiry_interval=60))
    await writer.publish("TopicA", b"for ever")
    rig.pass_s(10)
    reader, _ = await rig.client("reader", device="display", clean=False, properties=KEPT)
    first, second = await reader.message(), await reader.message()
    assert (first.payload, first.properties.message_expiry_interval) == (b"long", 50)
    assert (second.payload, second.properties.message_expiry_interval) == (b"for ever", None)
    await reader.expect_nothing()


async def test_a_retained_message_expires(rig: Rig) -> None:
    """3.3.2.3.3: an expired retained message is sent to nobody, and forgotten."""
    writer = await rig.admitted("writer")
    await writer.publish("TopicA", b"x", retain=True, properties=Properties(message_expiry_interval=5))
    reader = await rig.admitted("reader")
    await reader.subscribe("TopicA")
    assert 0 < ((await reader.message()).properties.message_expiry_interval or 0) <= 5
    rig.hands.offset_ns += 6 * 10**9
    await reader.subscribe("TopicA")
    await reader.expect_nothing()
    rig.listener.tick()
    assert len(rig.listener.broker.retained) == 0


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_is_too_large_for_a_client_is_not_sent_to_it(rig: Rig, qos: int) -> None:
    """MQTT-3.1.2-24, -25: it is dropped as if it had been sent; the next one comes."""
    reader, writer = await _pair(rig, properties=Properties(maximum_packet_size=64))
    await reader.subscribe("TopicA")
    await writer.publish("TopicA", bytes(100), qos)
    await writer.publish("TopicA", b"small", qos)
    assert (await reader.message()).payload == b"small"
    await reader.expect_nothing()
    assert rig.shown("dropped_total", reason="too-large") == 1


async def test_a_reason_string_too_long_for_a_client_is_left_out(rig: Rig) -> None:
    """MQTT-3.4.2-2: the reason string must not make the packet larger than the client takes."""
    client = await rig.admitted(properties=Properties(maximum_packet_size=48))
    rig.intake.outcome, rig.intake.reason = Outcome.REJECTED, "many words " * 10
    client.send(Publish("TopicA", b"x", 1, packet_id=1))
    answer = await client.expect(PubAck)
    assert (answer.reason, answer.properties.reason_string) == (ReasonCode.PAYLOAD_FORMAT_INVALID, None)


async def test_a_packet_larger_than_allowed_ends_the_connection(site: Site) -> None:
    """MQTT-3.2.2-15: DISCONNECT with 0x95."""
    async with running(site, max_packet_bytes=300) as rig:
        client = await rig.admitted()
        await client.publish("TopicA", bytes(250))
        client.send(Publish("TopicA", bytes(400), 1, packet_id=1))
        (farewell,) = await client.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.PACKET_TOO_LARGE


async def test_a_client_may_call_topics_by_numbers(rig: Rig) -> None:
    """3.3.2.3.4: an alias holds from its first use, and can be given to another topic."""
    client = await rig.admitted()
    for topic, alias, meant in (
        ("TopicA", 1, "TopicA"),
        ("", 1, "TopicA"),
        ("TopicA/B", 1, "TopicA/B"),
        ("TopicA", 16, "TopicA"),
        ("", 1, "TopicA/B"),
        ("", 16, "TopicA"),
    ):
        await client.publish(topic, b"x", properties=Properties(topic_alias=alias))
        assert rig.intake.messages[-1].topic == meant


async def test_aliases_end_with_the_connection(rig: Rig) -> None:
    """MQTT-3.3.2-7: they are not part of the session."""
    client = await rig.admitted(clean=False, properties=KEPT)
    await client.publish("TopicA", b"x", properties=Properties(topic_alias=1))
    await client.drop()
    client, _ = await rig.client(clean=False, properties=KEPT)
    client.send(Publish("", b"x", 1, packet_id=1, properties=Properties(topic_alias=1)))
    (farewell,) = await client.expect_end()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason is ReasonCode.PROTOCOL_ERROR


async def test_an_alias_beyond_the_maximum_ends_the_connection(rig: Rig) -> None:
    """MQTT-3.3.2-9: DISCONNECT with 0x94."""
    client = await rig.admitted()
    client.send(Publish("TopicA", b"x", 1, packet_id=1, properties=Properties(topic_alias=17)))
    (farewell,) = await client.expect_end()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason is ReasonCode.TOPIC_ALIAS_INVALID


async def test_a_client_that_takes_aliases_is_sent_aliases(rig: Rig) -> None:
    """MQTT-3.1.2-26, -27: at most Topic Alias Maximum of them; after its first use the topic is left out."""
    reader, writer = await _pair(rig, properties=Properties(topic_alias_maximum=1))
    await reader.subscribe("TopicA/#")
    seen = []
    for topic in ("TopicA", "TopicA", "TopicA/B", "TopicA"):
        await writer.publish(topic)
        message = await reader.message()
        seen.append((message.topic, message.properties.topic_alias))
    assert seen == [("TopicA", 1), ("", 1), ("TopicA/B", None), ("", 1)]


async def test_a_message_says_which_subscriptions_it_matched(rig: Rig) -> None:
    """MQTT-3.3.4-3, -4: all identifiers of the matching subscriptions, in one copy."""
    reader, writer = await _pair(rig)
    await reader.subscribe("TopicA/#", qos=1, properties=Properties(subscription_identifiers=(456,)))
    await reader.subscribe("TopicA/+", qos=2, properties=Properties(subscription_identifiers=(2,)))
    await reader.subscribe("+/B", qos=0)
    await writer.publish("TopicA/B", b"x", 2)
    message = await reader.message()
    assert set(message.properties.subscription_identifiers) == {456, 2}
    assert message.qos == 2
    await reader.expect_nothing()


async def test_a_retained_message_says_its_subscription(rig: Rig) -> None:
    """3.3.4: also what was kept from before."""
    reader, writer = await _pair(rig)
    await writer.publish("TopicA", retain=True)
    await reader.subscribe("TopicA", properties=Properties(subscription_identifiers=(7,)))
    assert (await reader.message()).properties.subscription_identifiers == (7,)


async def test_an_identifier_from_a_client_ends_its_connection(rig: Rig) -> None:
    """MQTT-3.3.4-6: a PUBLISH to the server has no Subscription Identifier."""
    client = await rig.admitted()
    client.send(Publish("TopicA", b"x", properties=Properties(subscription_identifiers=(1,))))
    (farewell,) = await client.expect_end()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason is ReasonCode.PROTOCOL_ERROR


async def test_a_client_need_not_hear_itself(rig: Rig) -> None:
    """MQTT-3.8.3-3: No Local holds for the own connection only, and for its own subscription only."""
    client, writer = await _pair(rig)
    await client.subscribe(Subscription("TopicA/#", 1, no_local=True))
    await client.publish("TopicA")
    await client.expect_nothing()
    await writer.publish("TopicA", b"other")
    assert (await client.message()).payload == b"other"
    await client.subscribe("TopicA")
    await client.publish("TopicA", b"own")
    assert (await client.message()).payload == b"own"


async def test_a_subscription_may_keep_the_retain_flag(rig: Rig) -> None:
    """3.8.3.1: Retain As Published."""
    reader, writer = await _pair(rig)
    await reader.subscribe(Subscription("TopicA", 1, retain_as_published=True), Subscription("TopicA/B", 1))
    for topic, retain, seen in (
        ("TopicA", True, True),
        ("TopicA", False, False),
        ("TopicA/B", True, False),
    ):
        await writer.publish(topic, retain=retain)
        assert (await reader.message()).retain is seen


async def test_a_subscription_says_when_retained_messages_are_wanted(rig: Rig) -> None:
    """MQTT-3.3.1-9, -10, -11: always, only when it is new, never."""
    reader, writer = await _pair(rig)
    await writer.publish("TopicA", b"kept", retain=True)
    for handling, expected in ((2, 0), (1, 0), (0, 1)):
        await reader.subscribe(Subscription("TopicA", 1, retain_handling=handling))
        assert len(await reader.until_pong()) == expected
    await reader.unsubscribe("TopicA")
    await reader.subscribe(Subscription("TopicA", 1, retain_handling=1))
    assert len(await reader.until_pong()) == 1


async def test_each_filter_is_judged_alone(site: Site) -> None:
    """MQTT-3.8.4-5, 3.9.3: in order, 0x87 where the right is missing, 0x97 where there are too many."""
    async with running(site, grants=(), max_subscriptions=2) as rig:
        client = await rig.admitted()
        own = "coldseal/v1/lab/device-1"
        answer = await client.subscribe(f"{own}/cmd/#", "#", f"{own}/config", f"{own}/cmd/x", f"{own}/cmd/#")
        granted, denied = ReasonCode.GRANTED_QOS_2, ReasonCode.NOT_AUTHORIZED
        assert answer.reasons == (granted, denied, granted, ReasonCode.QUOTA_EXCEEDED, granted)


async def test_a_filter_deeper_than_we_go_is_refused(rig: Rig) -> None:
    """3.9.3: 0x8F for a filter that the server does not accept."""
    client = await rig.admitted()
    answer = await client.subscribe("/".join("a" * 33))
    assert answer.reasons == (ReasonCode.TOPIC_FILTER_INVALID,)


async def test_unsubscribing_says_what_there_was(rig: Rig) -> None:
    """3.11.3: 0x00 or 0x11 for each filter, in order."""
    client = await rig.admitted()
    await client.subscribe("TopicA", "TopicA/B")
    answer = await client.unsubscribe("TopicA", "TopicA", "TopicA/+", "TopicA/B")
    gone, none = ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED
    assert answer.reasons == (gone, none, none, gone)


async def test_a_shared_subscription_gives_each_message_to_one(rig: Rig) -> None:
    """4.8.2: in turn; others with a subscription of their own get all; retained messages are not sent."""
    writer = await rig.admitted("writer")
    await writer.publish("TopicA", b"kept", retain=True)
    members = [await rig.admitted(f"member-{number}") for number in range(3)]
    for member in members:
        await member.subscribe("$share/group/TopicA/#", qos=1)
    loner = await rig.admitted("loner")
    await loner.subscribe(Subscription("TopicA/#", 0, retain_handling=2))
    for number in range(9):
        await writer.publish("TopicA/B", b"%d" % number)
    shares = [
        [each.payload for each in await member.until_pong() if isinstance(each, Publish)]
        for member in members
    ]
    assert sorted(payload for share in shares for payload in share) == [b"%d" % number for number in range(9)]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert len(await loner.until_pong()) == 9


async def test_a_share_of_one_who_is_away_goes_to_another(rig: Rig) -> None:
    """4.8.2: members with a connection come first; with none it waits in a lasting session."""
    writer = await rig.admitted("writer")
    away = await rig.admitted("away", properties=KEPT)
    await away.subscribe("$share/group/TopicA", qos=1)
    await away.disconnect()
    here = await rig.admitted("here")
    await here.subscribe("$share/group/TopicA", qos=1)
    for number in range(4):
        await writer.publish("TopicA", b"%d" % number)
        assert (await here.message()).payload == b"%d" % number
    await here.disconnect()
    await writer.publish("TopicA", b"waits")
    away, _ = await rig.client("away", clean=False, properties=KEPT)
    assert (await away.message()).payload == b"waits"


async def test_both_versions_understand_each_other(rig: Rig) -> None:
    """A 3.1.1 client gets what an MQTT 5 client published, without its properties, and the reverse."""
    new = await rig.admitted("new")
    old = await rig.admitted("old", version=Version.V311)
    await new.subscribe("TopicA")
    await old.subscribe("TopicA/B")
    await new.publish("TopicA/B", b"from 5", 2, properties=SAID)
    assert (await old.message()).payload == b"from 5"
    await old.publish("TopicA", b"from 3.1.1", 2)
    assert (await new.message()).properties == Properties()


async def test_the_gateway_sends_commands(rig: Rig) -> None:
    """A command reaches the session that subscribed, now or when the device comes back."""
    topic = "coldseal/v1/lab/device-1/cmd/interval"
    assert rig.listener.publish(topic, b"60") == 0
    client = await rig.admitted(properties=KEPT)
    await client.subscribe("coldseal/v1/lab/device-1/cmd/#")
    assert rig.listener.publish(topic, b"30") == 1
    assert (await client.message()).payload == b"30"
    await client.disconnect()
    assert rig.listener.publish(topic, b"15") == 1
    client, _ = await rig.client(clean=False, properties=KEPT)
    assert (await client.message()).payload == b"15"
