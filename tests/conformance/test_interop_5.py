"""MQTT 5 through the socket: sessions, wills and flow, as the public interoperability tests ask for them."""

from __future__ import annotations

import pytest

from coldseal.gateway.message import Outcome
from coldseal.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    Version,
    Will,
)
from tests.gateway.sources.rig import PASSWORD, Rig, Site, running

KEPT = Properties(session_expiry_interval=600)


async def test_a_session_lasts_as_long_as_was_asked_for(rig: Rig) -> None:
    """MQTT-3.1.2-23, 3.1.2.11.2: within its expiry interval a session is present, after it it is not."""
    for away, is_present in ((599, True), (601, False)):
        client = await rig.admitted(clean=False, properties=KEPT)
        await client.subscribe("TopicA")
        await client.disconnect()
        rig.pass_s(away)
        client, answer = await rig.client(clean=False)
        assert answer.session_present is is_present
        await client.disconnect()


async def test_a_session_without_an_expiry_interval_ends_with_its_connection(rig: Rig) -> None:
    """3.1.2.11.2: absent means 0."""
    client = await rig.admitted(clean=False)
    await client.disconnect()
    _, answer = await rig.client(clean=False)
    assert not answer.session_present


async def test_the_farewell_can_shorten_a_session(rig: Rig) -> None:
    """3.14.2.2.2: DISCONNECT with another Session Expiry Interval."""
    client = await rig.admitted(clean=False, properties=KEPT)
    client.send(Disconnect(properties=Properties(session_expiry_interval=0)))
    await client.expect_end()
    _, answer = await rig.client(clean=False)
    assert not answer.session_present


async def test_the_farewell_cannot_begin_a_lasting_session(rig: Rig) -> None:
    """3.14.2.2.2: a non-zero interval after CONNECT had none is a protocol error."""
    client = await rig.admitted()
    client.send(Disconnect(properties=KEPT))
    (answer,) = await client.expect_end()
    assert isinstance(answer, Disconnect)
    assert answer.reason is ReasonCode.PROTOCOL_ERROR


async def test_a_longer_session_than_allowed_is_cut_and_said_so(site: Site) -> None:
    """3.2.2.3.2: CONNACK names the interval that the server uses instead."""
    async with running(site, session_expiry_max_s=60) as rig:
        _, answer = await rig.client(properties=KEPT)
        assert answer.properties.session_expiry_interval == 60
        _, answer = await rig.client("two", properties=Properties(session_expiry_interval=30))
        assert answer.properties.session_expiry_interval is None


async def test_the_server_names_its_bounds(site: Site) -> None:
    """3.2.2.3: Receive Maximum, Maximum Packet Size, Topic Alias Maximum."""
    async with running(site, receive_maximum=5, max_packet_bytes=2_000, topic_alias_maximum=3) as rig:
        _, answer = await rig.client()
        found = answer.properties
        assert (found.receive_maximum, found.maximum_packet_size, found.topic_alias_maximum) == (5, 2_000, 3)


async def test_a_client_without_a_name_is_given_one(rig: Rig) -> None:
    """MQTT-3.1.3-6, -7, MQTT-3.2.2-16: a unique one, told in CONNACK; it names the session from then on."""
    client, answer = await rig.client("", properties=KEPT)
    name = answer.properties.assigned_client_identifier
    assert name
    await client.disconnect()
    _, again = await rig.client(name, clean=False)
    assert again.session_present
    assert again.properties.assigned_client_identifier is None
    _, other = await rig.client("")
    assert other.properties.assigned_client_identifier not in {None, name}


@pytest.mark.parametrize(("asked", "told"), [(120, 60), (0, 60), (60, None), (20, None)])
async def test_the_server_says_the_keep_alive_that_holds(site: Site, asked: int, told: int | None) -> None:
    """MQTT-3.1.2-21: the client must use the value that CONNACK names."""
    async with running(site, max_keepalive_s=60) as rig:
        client, answer = await rig.client(keep_alive=asked)
        assert answer.properties.server_keep_alive == told
        holds = told or asked
        rig.pass_s(1.4 * holds)
        await client.expect_nothing()
        rig.pass_s(1.6 * holds)
        (farewell,) = await client.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.KEEP_ALIVE_TIMEOUT


async def test_a_second_connection_is_told_to_the_first(rig: Rig) -> None:
    """MQTT-3.1.4-3: DISCONNECT with 0x8E, then the connection closes."""
    first = await rig.admitted(clean=False, properties=KEPT)
    _, answer = await rig.client(clean=False, properties=KEPT)
    assert answer.session_present
    (farewell,) = await first.expect_end()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason is ReasonCode.SESSION_TAKEN_OVER


async def test_a_will_waits_for_its_delay(rig: Rig) -> None:
    """MQTT-3.1.2-8, 3.1.3.2.2: it is published when the delay has passed, with all its properties."""
    reader = await rig.admitted("reader", device="display")
    await reader.subscribe("wills/#")
    said = Properties(will_delay_interval=30, content_type="text/plain", user=(("a", "b"), ("a", "c")))
    client = await rig.admitted(properties=KEPT, will=Will("wills/one", b"gone", 1, properties=said))
    await client.drop()
    await rig.until(lambda: len(rig.listener.broker.connections) == 1)
    rig.pass_s(29)
    await reader.expect_nothing()
    rig.pass_s(2)
    found = (await reader.message()).properties
    assert (found.content_type, found.user, found.will_delay_interval) == ("text/plain", said.user, None)


async def test_a_client_that_comes_back_in_time_keeps_its_will_unsaid(rig: Rig) -> None:
    """MQTT-3.1.3-9: a new connection before the delay has passed stops the will."""
    reader = await rig.admitted("reader", device="display")
    await reader.subscribe("wills/#")
    will = Will("wills/one", b"gone", properties=Properties(will_delay_interval=30))
    client = await rig.admitted(properties=KEPT, will=will)
    await client.drop()
    await rig.admitted(clean=False, properties=KEPT)
    rig.pass_s(100)
    await reader.expect_nothing()


async def test_the_end_of_a_session_is_the_time_of_its_will(rig: Rig) -> None:
    """3.1.3.2.2: a delay longer than the session ends with the session."""
    reader = await rig.admitted("reader", device="display")
    await reader.subscribe("wills/#")
    will = Will("wills/one", b"gone", properties=Properties(will_delay_interval=3_000))
    client = await rig.admitted(properties=KEPT, will=will)
    await client.drop()
    await rig.until(lambda: len(rig.listener.broker.connections) == 1)
    rig.pass_s(601)
    assert (await reader.message()).payload == b"gone"


async def test_a_new_beginning_publishes_the_will_that_waited(rig: Rig) -> None:
    """3.1.3.2.2: clean start ends the session, and that is the time of its will."""
    reader = await rig.admitted("reader", device="display")
    await reader.subscribe("wills/#")
    will = Will("wills/one", b"gone", properties=Properties(will_delay_interval=30))
    client = await rig.admitted(properties=KEPT, will=will)
    await client.drop()
    await rig.until(lambda: len(rig.listener.broker.connections) == 1)
    await rig.admitted(clean=True)
    assert (await reader.message()).payload == b"gone"


async def test_a_client_may_leave_and_want_its_will_published(rig: Rig) -> None:
    """3.14.2.1: reason code 0x04; the will may be retained (MQTT-3.1.2-15)."""
    client = await rig.admitted(will=Will("wills/one", b"left", 1, retain=True))
    await client.disconnect(ReasonCode.DISCONNECT_WITH_WILL)
    await rig.intake.count(1)
    reader = await rig.admitted("reader")
    await reader.subscribe("wills/#")
    message = await reader.message()
    assert (message.payload, message.retain) == (b"left", True)


async def test_no_more_is_under_way_than_the_client_can_take(rig: Rig) -> None:
    """MQTT-3.3.4-9, 4.9: at most Receive Maximum PUBLISH packets without an answer; QoS 0 is not counted."""
    reader = await rig.admitted("reader", properties=Properties(receive_maximum=2))
    await reader.subscribe("TopicA")
    writer = await rig.admitted("writer")
    for number in range(6):
        await writer.publish("TopicA", b"%d" % number, 1 + number % 2)
    await writer.publish("TopicA", b"unbounded", 0)
    await writer.expect_nothing()
    found = [packet for packet in await reader.until_pong() if isinstance(packet, Publish)]
    assert [each.payload for each in found] == [b"0", b"1", b"unbounded"]
    reader.send(PubAck(found[0].packet_id or 0))
    third = await reader.expect(Publish)
    assert third.payload == b"2"
    reader.send(PubRec(found[1].packet_id or 0))
    await reader.expect(PubRel)
    await reader.expect_nothing()
    reader.send(PubComp(found[1].packet_id or 0))
    assert (await reader.expect(Publish)).payload == b"3"


async def test_a_client_that_sends_more_than_allowed_is_cut_off(site: Site) -> None:
    """MQTT-3.3.4-7: DISCONNECT with 0x93 for more than Receive Maximum without an answer."""
    async with running(site, receive_maximum=3) as rig:
        rig.intake.is_holding = True
        client = await rig.admitted()
        client.send(*(Publish("TopicA", b"x", 1 + number % 2, packet_id=number + 1) for number in range(4)))
        (farewell,) = await client.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


async def test_a_client_that_keeps_to_the_maximum_goes_on_for_ever(site: Site) -> None:
    """4.9: each answer gives back one place, at PUBACK, PUBCOMP and a PUBREC that refuses."""
    async with running(site, receive_maximum=2, grants=()) as rig:
        client = await rig.admitted()
        for number in range(20):
            own, other = f"coldseal/v1/lab/device-1/reading/t{number}", "not/mine"
            assert await client.publish(own, b"x", 1 + number % 2) is ReasonCode.SUCCESS
            assert await client.publish(other, b"x", 1 + number % 2) is ReasonCode.NOT_AUTHORIZED


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_answered_comes_again(rig: Rig, qos: int) -> None:
    """MQTT-4.4.0-1: after clean start 0, with DUP and the same packet identifier."""
    reader = await rig.admitted("reader", properties=KEPT)
    await reader.subscribe("TopicA")
    writer = await rig.admitted("writer")
    for number in range(3):
        await writer.publish("TopicA", b"%d" % number, qos)
    first = [await reader.expect(Publish) for _ in range(3)]
    await reader.drop()
    few = Properties(session_expiry_interval=600, receive_maximum=2)
    reader, answer = await rig.client("reader", clean=False, properties=few)
    assert answer.session_present
    again = [await reader.message() for _ in range(3)]
    assert [(each.packet_id, each.payload, each.dup) for each in again] == [
        (each.packet_id, each.payload, True) for each in first
    ]
    await reader.expect_nothing()


async def test_an_answer_to_nothing_is_told_so(rig: Rig) -> None:
    """4.3.3, 3.6.2.1, 3.7.2.1: 0x92 for an identifier that is not in use."""
    client = await rig.admitted()
    client.send(PubRel(77), PubRec(78), PubAck(79), PubComp(80))
    assert (await client.expect(PubComp)).reason is ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
    assert (await client.expect(PubRel)).reason is ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
    await client.expect_nothing()


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.SEALED, ReasonCode.SUCCESS),
        (Outcome.DUPLICATE, ReasonCode.SUCCESS),
        (Outcome.REJECTED, ReasonCode.PAYLOAD_FORMAT_INVALID),
        (Outcome.REFUSED, ReasonCode.NOT_AUTHORIZED),
    ],
)
async def test_the_answer_says_what_became_of_a_message(
    rig: Rig, qos: int, outcome: Outcome, reason: ReasonCode
) -> None:
    """3.4.2.1, 3.5.2.1: reason code and reason string; a refused message is over with its first answer."""
    client = await rig.admitted()
    rig.intake.outcome = outcome
    rig.intake.reason = "" if reason is ReasonCode.SUCCESS else "in words"
    for packet_id in (1, 1):
        client.send(Publish("TopicA", b"x", qos, packet_id=packet_id))
        answer = await client.expect(PubAck) if qos == 1 else await client.expect(PubRec)
        assert answer.reason is reason
        assert answer.properties.reason_string == (rig.intake.reason or None)
        if qos == 2 and reason is ReasonCode.SUCCESS:
            client.send(PubRel(packet_id))
            await client.expect(PubComp)
    assert len(rig.intake.messages) == 2


async def test_a_client_can_do_without_reason_strings(rig: Rig) -> None:
    """MQTT-3.1.2-29: with Request Problem Information 0 an acknowledgement has none."""
    client = await rig.admitted(properties=Properties(request_problem_information=0))
    rig.intake.outcome, rig.intake.reason = Outcome.REJECTED, "in words"
    client.send(Publish("TopicA", b"x", 1, packet_id=1))
    answer = await client.expect(PubAck)
    assert (answer.reason, answer.properties.reason_string) == (ReasonCode.PAYLOAD_FORMAT_INVALID, None)


async def test_enhanced_authentication_is_refused(rig: Rig) -> None:
    """MQTT-4.12.0-1: a method that the server does not support: CONNACK with 0x8C."""
    peer = await rig.peer()
    said = Properties(authentication_method="SCRAM-SHA-256")
    answer = await peer.connect(Connect("x", username="device-1", password=PASSWORD, properties=said))
    assert answer.reason is ReasonCode.BAD_AUTHENTICATION_METHOD
    assert await peer.expect_end() == []


async def test_an_unasked_auth_packet_ends_the_connection(rig: Rig) -> None:
    """4.12: without an authentication method in CONNECT there is nothing to go on with."""
    client = await rig.admitted()
    client.send(Auth(ReasonCode.REAUTHENTICATE, Properties(authentication_method="x")))
    (farewell,) = await client.expect_end()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason is ReasonCode.PROTOCOL_ERROR


async def test_a_client_may_speak_before_it_is_answered(rig: Rig) -> None:
    """3.1.4: packets right behind CONNECT wait until the client is admitted."""
    peer = await rig.peer()
    peer.send(
        Connect("hasty", username="device-1", password=PASSWORD),
        Publish("TopicA", b"first", 1, packet_id=1),
        Publish("TopicA", b"second", 2, packet_id=2),
    )
    assert isinstance(await peer.next(), ConnAck)
    assert (await peer.expect(PubAck)).packet_id == 1
    assert (await peer.expect(PubRec)).packet_id == 2


async def test_a_refused_client_that_spoke_early_is_not_heard(rig: Rig) -> None:
    """MQTT-3.1.4-6: nothing behind a CONNECT that is refused is processed."""
    peer = await rig.peer()
    peer.send(Connect("x", username="device-1", password=b"wrong"), Publish("TopicA", b"x", 1, packet_id=1))
    (answer,) = await peer.expect_end()
    assert isinstance(answer, ConnAck)
    assert answer.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert rig.intake.messages == []


@pytest.mark.parametrize("version", [Version.V311, Version.V5])
async def test_a_listener_that_ends_says_farewell(site: Site, version: Version) -> None:
    """3.14: DISCONNECT with 0x8B in MQTT 5; 3.1.1 has none. No will is published for our own end."""
    async with running(site) as rig:
        client = await rig.admitted(version=version, will=Will("wills/one", b"gone"))
        await rig.listener.stop()
        told = [packet for packet in await client.expect_end() if isinstance(packet, Disconnect)]
        assert [packet.reason for packet in told] == (
            [ReasonCode.SERVER_SHUTTING_DOWN] if version is Version.V5 else []
        )
        assert rig.intake.messages == []
