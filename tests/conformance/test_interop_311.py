"""MQTT 3.1.1 through the socket: what the public interoperability tests ask of a server."""

from __future__ import annotations

import pytest

from coldseal.mqtt.packets import (
    Connect,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    Subscription,
    Version,
    Will,
)
from tests.gateway.sources.rig import PASSWORD, Rig, Site, running

V311 = Version.V311


async def test_what_is_published_at_each_qos_arrives_at_each_qos(rig: Rig) -> None:
    """3.1.1 4.3: the three qualities of service, there and back."""
    client = await rig.admitted(version=V311)
    answer = await client.subscribe("TopicA")
    assert answer.reasons == (ReasonCode.GRANTED_QOS_2,)
    for qos in (0, 1, 2):
        assert await client.publish("TopicA", b"qos %d" % qos, qos) is ReasonCode.SUCCESS
        message = await client.message()
        assert (message.topic, message.payload, message.qos, message.retain) == (
            "TopicA",
            b"qos %d" % qos,
            qos,
            False,
        )
    await client.disconnect()


@pytest.mark.parametrize(("subscribed", "expected"), [(0, (0, 0, 0)), (1, (0, 1, 1)), (2, (0, 1, 2))])
async def test_a_message_arrives_at_the_lower_qos_of_both(
    rig: Rig, subscribed: int, expected: tuple[int, int, int]
) -> None:
    """MQTT-3.8.4-6: the QoS is the minimum of what was published and what was granted."""
    reader = await rig.admitted("reader", version=V311)
    await reader.subscribe("TopicA", qos=subscribed)
    writer = await rig.admitted("writer", version=V311)
    for qos in (0, 1, 2):
        await writer.publish("TopicA", b"x", qos)
        assert (await reader.message()).qos == expected[qos]


async def test_retained_messages_come_with_a_new_subscription(rig: Rig) -> None:
    """MQTT-3.3.1-6, -8: the last retained message of each matching topic is sent, with RETAIN set."""
    writer = await rig.admitted("writer", version=V311)
    for qos, topic in enumerate(("TopicA/B", "Topic/C", "TopicA/C")):
        await writer.publish(topic, b"old", qos, retain=True)
        await writer.publish(topic, b"qos %d" % qos, qos, retain=True)
    reader = await rig.admitted("reader", version=V311)
    await reader.subscribe("+/+")
    found = sorted([await reader.message() for _ in range(3)], key=lambda each: each.payload)
    assert [(each.payload, each.qos, each.retain) for each in found] == [
        (b"qos 0", 0, True),
        (b"qos 1", 1, True),
        (b"qos 2", 2, True),
    ]


async def test_a_message_to_a_standing_subscription_is_not_marked_as_retained(rig: Rig) -> None:
    """MQTT-3.3.1-9: RETAIN is 0 when the subscription stood before the message."""
    client = await rig.admitted(version=V311)
    await client.subscribe("TopicA")
    await client.publish("TopicA", b"now", retain=True)
    assert (await client.message()).retain is False


async def test_an_empty_retained_message_clears_the_topic(rig: Rig) -> None:
    """MQTT-3.3.1-10, -11: nothing is kept, and nothing is sent to a later subscriber."""
    client = await rig.admitted(version=V311)
    await client.publish("TopicA", b"kept", retain=True)
    await client.publish("TopicA", b"", retain=True)
    await client.subscribe("TopicA")
    await client.expect_nothing()


async def test_an_empty_client_id_needs_a_clean_session(rig: Rig) -> None:
    """MQTT-3.1.3-7, -8: with Clean Session the server finds a name, without it the return code is 2."""
    first, answer = await rig.client("", version=V311)
    assert (answer.reason, answer.session_present) == (ReasonCode.SUCCESS, False)
    await first.disconnect()
    second = await rig.peer(V311)
    second.send_bytes(bytes.fromhex("100c00044d5154540400000a0000"))
    (refusal,) = await second.expect_end()
    assert refusal.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID  # type: ignore[union-attr] # a CONNACK


@pytest.mark.parametrize("qos", [1, 2])
async def test_messages_wait_for_a_client_that_is_away(rig: Rig, qos: int) -> None:
    """MQTT-3.1.2-5: QoS 1 and 2 messages are kept for the session and come at the next connection."""
    reader = await rig.admitted("reader", version=V311, clean=False)
    await reader.subscribe("TopicA")
    await reader.disconnect()
    writer = await rig.admitted("writer", version=V311)
    for number in range(5):
        await writer.publish("TopicA", b"%d" % number, qos)
    reader, answer = await rig.client("reader", version=V311, clean=False)
    assert answer.session_present
    assert [(await reader.message()).payload for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_clean_session_begins_with_nothing(rig: Rig) -> None:
    """MQTT-3.1.2-6: subscriptions and messages of the last session are gone, and so is its presence."""
    first = await rig.admitted("one", version=V311, clean=False)
    await first.subscribe("TopicA")
    await first.disconnect()
    second, answer = await rig.client("one", version=V311, clean=True)
    assert not answer.session_present
    await second.publish("TopicA")
    await second.expect_nothing()


async def test_overlapping_subscriptions_deliver_once_at_the_highest_qos(rig: Rig) -> None:
    """MQTT-3.3.5-1: the maximum QoS of all matching subscriptions holds; one copy is sent."""
    client = await rig.admitted(version=V311)
    await client.subscribe(Subscription("TopicA/#", 2), Subscription("TopicA/+", 1))
    await client.publish("TopicA/C", b"overlap", 2)
    assert (await client.message()).qos == 2
    await client.expect_nothing()


async def test_a_subscription_is_replaced_by_one_with_the_same_filter(rig: Rig) -> None:
    """MQTT-3.8.4-3: the new QoS holds, and retained messages are sent again."""
    client = await rig.admitted(version=V311)
    await client.publish("TopicA", b"kept", retain=True)
    await client.subscribe("TopicA", qos=0)
    assert (await client.message()).qos == 0
    await client.subscribe("TopicA", qos=1)
    assert (await client.message()).qos == 1
    await client.publish("TopicA", b"new")
    assert (await client.message()).payload == b"new"
    await client.expect_nothing()


async def test_a_silent_client_is_cut_off_and_its_will_is_published(rig: Rig) -> None:
    """MQTT-3.1.2-24, -8: after 1.5 times the keep-alive the connection ends as if the network had failed."""
    reader = await rig.admitted("reader", version=V311)
    await reader.subscribe("wills/#")
    silent = await rig.admitted("silent", version=V311, keep_alive=10, will=Will("wills/one", b"gone", 1))
    rig.pass_s(14)
    await silent.expect_nothing()
    rig.pass_s(16)
    await silent.expect_end()
    message = await reader.message()
    assert (message.payload, message.qos) == (b"gone", 1)


async def test_a_farewell_takes_the_will_back(rig: Rig) -> None:
    """MQTT-3.14.4-3: on DISCONNECT the will is discarded."""
    reader = await rig.admitted("reader", version=V311)
    await reader.subscribe("wills/#")
    client = await rig.admitted("client", version=V311, will=Will("wills/one", b"gone"))
    await client.disconnect()
    await reader.expect_nothing()


async def test_what_was_not_acknowledged_comes_again_after_a_reconnection(rig: Rig) -> None:
    """MQTT-4.4.0-1: PUBLISH with DUP and the same identifier, then PUBREL, in the order they were sent."""
    reader = await rig.admitted("reader", version=V311, clean=False)
    await reader.subscribe("TopicA")
    writer = await rig.admitted("writer", version=V311)
    await writer.publish("TopicA", b"one", 1)
    await writer.publish("TopicA", b"two", 2)
    await writer.publish("TopicA", b"three", 2)
    first, second, third = [await reader.expect(Publish) for _ in range(3)]
    reader.send(PubRec(second.packet_id or 0))
    await reader.expect(PubRel)
    await reader.drop()
    reader, answer = await rig.client("reader", version=V311, clean=False)
    assert answer.session_present
    again = await reader.expect(Publish)
    assert (again.payload, again.dup, again.packet_id) == (b"one", True, first.packet_id)
    assert (await reader.expect(PubRel)).packet_id == second.packet_id
    again = await reader.expect(Publish)
    assert (again.payload, again.dup, again.packet_id) == (b"three", True, third.packet_id)


async def test_a_subscription_without_right_fails_alone(site: Site) -> None:
    """MQTT-3.8.4-5: each filter has its own return code, 0x80 for the one that is refused."""
    async with running(site, grants=()) as rig:
        client = await rig.admitted(version=V311)
        own = "coldseal/v1/lab/device-1/cmd/#"
        answer = await client.subscribe(own, "coldseal/v1/lab/device-2/cmd/#", "#")
        failed = ReasonCode.UNSPECIFIED_ERROR
        assert answer.reasons == (ReasonCode.GRANTED_QOS_2, failed, failed)


async def test_a_leading_wildcard_does_not_match_dollar_topics(rig: Rig) -> None:
    """MQTT-4.7.2-1, through the gateway's own publishing, as clients may not write there."""
    client = await rig.admitted(version=V311)
    await client.subscribe("#", "+/info")
    rig.listener.publish("$SYS/info", b"hidden")
    await client.expect_nothing()


async def test_an_unsubscribed_filter_delivers_no_more(rig: Rig) -> None:
    """MQTT-3.10.4-2, -4: UNSUBACK, and no new messages for the client; other filters stay."""
    client = await rig.admitted(version=V311)
    await client.subscribe("TopicA", "TopicA/B", "Topic/C")
    await client.unsubscribe("TopicA", "nobody/holds/this")
    await client.publish("TopicA", b"no")
    await client.publish("TopicA/B", b"yes")
    assert (await client.message()).payload == b"yes"
    await client.expect_nothing()


async def test_a_second_connection_takes_the_session_over(rig: Rig) -> None:
    """MQTT-3.1.4-2: the first connection is closed, its will is published, and the session goes on."""
    reader = await rig.admitted("reader", version=V311)
    await reader.subscribe("wills/#")
    first = await rig.admitted("one", version=V311, clean=False, will=Will("wills/one", b"taken over"))
    await first.subscribe("TopicA")
    second, answer = await rig.client("one", version=V311, clean=False)
    assert answer.session_present
    assert await first.expect_end() == []
    assert (await reader.message()).payload == b"taken over"
    await second.publish("TopicA")
    await second.message()


async def test_the_same_client_id_of_another_device_is_another_session(rig: Rig) -> None:
    """A session belongs to a device and a client id: nobody can take over or see another device's."""
    first = await rig.admitted("shared", version=V311, clean=False, device="device-1")
    await first.subscribe("TopicA")
    second, answer = await rig.client("shared", version=V311, clean=False, device="device-2")
    assert not answer.session_present
    await second.publish("TopicA")
    await second.expect_nothing()
    await first.message()


async def test_a_message_of_a_lasting_session_is_received_once_at_qos_2(rig: Rig) -> None:
    """MQTT-4.3.3-2: until PUBREL comes, the same identifier is the same message; its PUBREC is repeated."""
    client = await rig.admitted(version=V311, clean=False)
    await client.subscribe("TopicA", qos=0)
    client.send(Publish("TopicA", b"once", 2, packet_id=7))
    await client.expect(PubRec)
    assert (await client.message()).payload == b"once"
    await client.drop()
    client, _ = await rig.client(version=V311, clean=False)
    client.send(Publish("TopicA", b"once", 2, dup=True, packet_id=7))
    await client.expect(PubRec)
    client.send(PubRel(7))
    assert len(await client.until_pong()) == 1
    assert len(rig.intake.messages) == 1


@pytest.mark.parametrize(
    ("username", "password"), [("device-1", b"wrong password"), ("nobody", PASSWORD), ("a/b", PASSWORD)]
)
async def test_a_wrong_password_is_refused(rig: Rig, username: str, password: bytes) -> None:
    """3.1.1 table 3.1: return code 4, then the connection closes (MQTT-3.1.4-5: nothing else is answered)."""
    peer = await rig.peer(V311)
    answer = await peer.connect(Connect("x", V311, username=username, password=password))
    assert answer.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert await peer.expect_end() == []


async def test_a_will_where_the_device_may_not_publish_is_refused(rig: Rig) -> None:
    """Return code 5: a will is a publish like any other."""
    peer, answer = await rig.client(version=V311, will=Will("coldseal/v1/lab/device-2/status", b"x"))
    assert answer.reason is ReasonCode.NOT_AUTHORIZED
    await peer.expect_end()
