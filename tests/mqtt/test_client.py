"""The client's machine around the messages: connecting, limits, aliases, requests, time, good-byes."""

from __future__ import annotations

import pytest

from coldseal.errors import UnavailableError
from coldseal.mqtt.client import Client, State
from coldseal.mqtt.client_events import (
    Challenged,
    Connected,
    Disconnected,
    Received,
    Refused,
    Subscribed,
    Unsubscribed,
)
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.codec import encode
from coldseal.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolError,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Version,
)
from tests.mqtt.clauses import keeps
from tests.mqtt.server_side import ServerSide, connected, message

BOTH = pytest.mark.parametrize("version", Version)


def refused(side: ServerSide, *packets: Packet) -> ProtocolError:
    """Give packets that the client must refuse; return the error."""
    with pytest.raises(ProtocolError) as caught:
        side.give(*packets)
    assert side.client.state is State.CLOSED
    return caught.value


@BOTH
def test_connect_is_the_first_packet(version: Version) -> None:
    """Nothing but CONNECT leaves before the server has accepted."""
    side = ServerSide(version)
    side.client.publish(message())
    assert side.sent() == [Connect("c", version)]
    assert side.client.state is State.CONNECTING


@BOTH
def test_acceptance_opens_the_connection(version: Version) -> None:
    """CONNACK with success is an event, and from then on messages leave."""
    side = ServerSide(version)
    side.sent()
    assert side.give(ConnAck()) == [Connected(session_present=False)]
    assert side.client.state is State.CONNECTED
    assert side.session.is_established


@keeps(v5="3.2.2-7")
@BOTH
def test_a_refusal_ends_the_connection(version: Version) -> None:
    """CONNACK with another reason is an event, and nothing may follow."""
    side = ServerSide(version)
    assert side.give(ConnAck(reason=ReasonCode.NOT_AUTHORIZED)) == [Refused(ReasonCode.NOT_AUTHORIZED)]
    assert side.client.state is State.CLOSED
    assert side.give(PingResp()) == []


@keeps(v311="3.2.0-1", v5="3.2.0-1")
@BOTH
def test_the_first_packet_of_a_server_is_connack(version: Version) -> None:
    """Anything before it breaks the protocol."""
    assert refused(ServerSide(version), PingResp()).reason is ReasonCode.PROTOCOL_ERROR


@keeps(v5="3.2.0-2")
@BOTH
def test_a_second_connack_is_refused(version: Version) -> None:
    """There is one on a connection."""
    refused(connected(version), ConnAck())


@keeps(v311="3.2.2-1", v5="3.2.2-2")
@BOTH
def test_a_clean_start_has_no_session_at_the_server(version: Version) -> None:
    """Session present after a clean start is a fault."""
    error = refused(ServerSide(version), ConnAck(session_present=True))
    assert error.clause == {Version.V311: "MQTT-3.2.2-1", Version.V5: "MQTT-3.2.2-2"}[version]


@keeps(v5="3.2.2-4")
def test_a_session_that_only_the_server_knows_is_refused() -> None:
    """Without state of its own, a client must not go on with a server's session."""
    side = ServerSide(connect=Connect("c", clean_start=False))
    assert refused(side, ConnAck(session_present=True)).clause == "MQTT-3.2.2-4"


def test_in_3_1_1_a_session_that_only_the_server_knows_is_taken() -> None:
    """That text lets a client go on."""
    side = ServerSide(Version.V311, connect=Connect("c", Version.V311, clean_start=False))
    assert side.give(ConnAck(session_present=True)) == [Connected(session_present=True)]


@keeps(v311="2.3.1-7", v5="2.2.1-6 3.8.4-6")
@BOTH
def test_a_subscription_is_granted_under_its_identifier(version: Version) -> None:
    """SUBACK and UNSUBACK name the request; the identifier is free afterwards."""
    side = connected(version)
    first = side.client.subscribe(Subscription("a"), Subscription("b", 2))
    second = side.client.unsubscribe("c")
    assert side.sent() == [
        Subscribe(first, (Subscription("a"), Subscription("b", 2))),
        Unsubscribe(second, ("c",)),
    ]
    granted = ReasonCode.GRANTED_QOS_0, ReasonCode.UNSPECIFIED_ERROR
    gone = () if version is Version.V311 else (ReasonCode.NO_SUBSCRIPTION_EXISTED,)
    assert side.give(SubAck(first, granted), UnsubAck(second, gone)) == [
        Subscribed(first, granted),
        Unsubscribed(second, gone),
    ]
    assert not side.session._reserved


@keeps(v311="3.8.4-5")
@pytest.mark.parametrize(
    "answer",
    [
        SubAck(1, (ReasonCode.SUCCESS, ReasonCode.SUCCESS)),
        SubAck(2, (ReasonCode.SUCCESS,)),
        UnsubAck(1, (ReasonCode.SUCCESS,)),
    ],
    ids=["too many reasons", "another identifier", "another answer"],
)
@BOTH
def test_an_answer_that_fits_no_request_is_refused(version: Version, answer: Packet) -> None:
    """One reason for each filter, under the identifier of the request, in the packet that answers it."""
    side = connected(version)
    assert side.client.subscribe(Subscription("a")) == 1
    assert refused(side, answer).reason is ReasonCode.PROTOCOL_ERROR


def test_an_ill_request_holds_no_identifier() -> None:
    """A filter that cannot be written is refused at once, and its identifier is free."""
    side = connected()
    with pytest.raises(ProtocolError):
        side.client.subscribe(Subscription("a/#/b"))
    assert not side.session._reserved
    assert side.sent() == []


@pytest.mark.parametrize("request_of", [Client.subscribe, Client.unsubscribe])
def test_requests_and_qos_0_need_a_connection(request_of: object) -> None:
    """What is not held for later is refused without a connection."""
    client = ServerSide().client
    with pytest.raises(UnavailableError):
        client.publish(message(qos=0))
    with pytest.raises(UnavailableError):
        client.subscribe(Subscription("a")) if request_of is Client.subscribe else client.unsubscribe("a")


@keeps(v311="3.1.2-23", v5="3.1.2-20")
@BOTH
def test_silence_is_broken_by_a_ping(version: Version) -> None:
    """PINGREQ leaves before the keep-alive is over, counted from the last packet sent."""
    side = ServerSide(version, connect=Connect("c", version, keep_alive=40))
    side.accept()
    assert side.client.deadline == 30.0
    side.client.tick(29.9)
    assert side.sent() == []
    side.client.tick(30.0)
    assert side.sent(30.0) == [PingReq()]
    assert side.give(PingResp()) == []
    assert side.client.deadline == 60.0
    side.client.publish(message())
    side.sent(50.0)
    assert side.client.deadline == 80.0


@keeps(v5="3.1.2-21 3.2.2-21")
def test_the_servers_keep_alive_counts() -> None:
    """The server's value replaces the one asked for, also when it is none."""
    side = ServerSide(connect=Connect("c", keep_alive=40))
    side.accept(Properties(server_keep_alive=8))
    assert side.client.deadline == 6.0
    assert connected(offered=Properties(server_keep_alive=0)).client.deadline is None


@BOTH
def test_a_server_that_does_not_answer_a_ping_is_given_up(version: Version) -> None:
    """No PINGRESP in time is an unavailable server."""
    side = ServerSide(version, connect=Connect("c", version, keep_alive=40))
    side.accept()
    side.client.tick(30.0)
    side.sent(30.0)
    side.client.tick(39.9)
    with pytest.raises(UnavailableError, match=r"no answer for 10\.0 s"):
        side.client.tick(40.0)
    assert side.client.state is State.CLOSED
    assert side.client.deadline is None


@BOTH
def test_a_server_that_does_not_accept_in_time_is_given_up(version: Version) -> None:
    """The time for CONNACK is bounded, too."""
    side = ServerSide(version)
    assert side.client.deadline == 10.0
    with pytest.raises(UnavailableError):
        side.client.tick(10.0)


def test_nothing_is_timed_before_the_start() -> None:
    """A machine that was not started has no deadline."""
    client = Client(Connect("c"), Session())
    client.tick(1e9)
    assert client.deadline is None
    assert client.take_output(0.0) == b""


@keeps(v311="3.14.4-2", v5="3.14.4-1")
@BOTH
def test_after_disconnect_nothing_is_sent(version: Version) -> None:
    """The good-bye is the last packet; messages wait for another connection."""
    side = connected(version)
    side.client.disconnect()
    side.client.publish(message())
    assert side.sent() == [Disconnect()]
    assert side.give(PingResp()) == []
    assert len(side.session) == 1


def test_a_server_says_good_bye() -> None:
    """DISCONNECT of a server ends the connection with its reason."""
    side = connected()
    assert side.give(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN), PingResp()) == [
        Disconnected(ReasonCode.SERVER_SHUTTING_DOWN)
    ]
    assert side.client.state is State.CLOSED
    assert side.sent() == []


@keeps(v5="3.14.2-2")
def test_a_servers_good_bye_has_no_session_expiry() -> None:
    """Only a client may change it."""
    error = refused(connected(), Disconnect(properties=Properties(session_expiry_interval=1)))
    assert error.clause == "MQTT-3.14.2-2"


def test_in_3_1_1_a_server_says_no_good_bye() -> None:
    """There DISCONNECT is the client's packet."""
    refused(connected(Version.V311), Disconnect())


@pytest.mark.parametrize("packet", [PingReq(), Subscribe(1, (Subscription("a"),)), Unsubscribe(1, ("a",))])
@BOTH
def test_a_servers_packet_is_a_servers(version: Version, packet: Packet) -> None:
    """What only a client may send is refused from a server."""
    refused(connected(version), packet)


@pytest.mark.parametrize(("version", "farewell"), [(Version.V5, True), (Version.V311, False)])
def test_a_server_that_breaks_the_protocol_is_told_so_in_mqtt_5(version: Version, farewell: object) -> None:
    """The last packet names the reason; 3.1.1 has no such packet."""
    side = connected(version)
    with pytest.raises(ProtocolError):
        side.client.receive(b"\x00")
    assert side.sent() == ([Disconnect(ReasonCode.MALFORMED_PACKET)] if farewell else [])


def test_what_came_before_a_fault_counts() -> None:
    """Good packets in the chunk of an ill one are taken, and their events are kept."""
    side = connected()
    side.client.publish(message())
    chunk = encode(Publish("t", b"x"), Version.V5) + encode(PubAck(1), Version.V5) + b"\xff"
    with pytest.raises(ProtocolError):
        side.client.receive(chunk)
    assert len(side.session) == 0
    assert [type(event).__name__ for event in side.client.take_events()] == ["Received", "Acknowledged"]
    assert side.client.take_events() == []


def test_a_fault_behind_a_good_bye_is_nobodys_business() -> None:
    """Nothing counts after DISCONNECT."""
    side = connected()
    events = side.client.receive(encode(Disconnect(), Version.V5) + b"\xff")
    assert events == [Disconnected(ReasonCode.NORMAL_DISCONNECTION)]


@keeps(v5="3.1.2-24")
def test_a_packet_beyond_the_maximum_asked_for_is_refused() -> None:
    """The server must keep the client's Maximum Packet Size."""
    side = connected(asked=Properties(maximum_packet_size=20))
    assert refused(side, Publish("t", bytes(20))).reason is ReasonCode.PACKET_TOO_LARGE
    assert side.sent() == [Disconnect(ReasonCode.PACKET_TOO_LARGE)]


@keeps(v5="3.2.2-11 3.2.2-14 3.2.2-15")
@pytest.mark.parametrize(
    ("offered", "unwanted", "reason"),
    [
        (Properties(maximum_qos=1), Publish("t", b"", 2), ReasonCode.QOS_NOT_SUPPORTED),
        (Properties(maximum_qos=0), Publish("t", b"", 1), ReasonCode.QOS_NOT_SUPPORTED),
        (Properties(retain_available=0), Publish("t", b"", 1, retain=True), ReasonCode.RETAIN_NOT_SUPPORTED),
        (Properties(retain_available=0), Publish("t", b"", retain=True), ReasonCode.RETAIN_NOT_SUPPORTED),
        (Properties(maximum_packet_size=30), Publish("t", bytes(30), 1), ReasonCode.PACKET_TOO_LARGE),
        (Properties(maximum_packet_size=30), Publish("t", bytes(30)), ReasonCode.PACKET_TOO_LARGE),
    ],
)
def test_what_the_server_does_not_take_is_not_sent(
    offered: Properties, unwanted: Publish, reason: ReasonCode
) -> None:
    """A message beyond the server's limits is refused to the caller, and the connection lives on."""
    side = connected(offered=offered)
    with pytest.raises(ProtocolError) as caught:
        side.client.publish(unwanted)
    assert caught.value.reason is reason
    assert side.sent() == []
    side.client.publish(Publish("t", b"", 0))
    assert side.sent() == [Publish("t", b"")]


@keeps(v5="3.2.2-17 3.2.2-18 3.3.2-9")
def test_aliases_stay_within_the_servers_maximum() -> None:
    """The first topics get the numbers; the others go in full, as all do without a maximum."""
    side = connected(offered=Properties(topic_alias_maximum=1))
    for topic in ("a", "b", "a", "b"):
        side.client.publish(Publish(topic, b""))
    alias = Properties(topic_alias=1)
    assert side.sent() == [
        Publish("a", b"", properties=alias),
        Publish("b", b""),
        Publish("", b"", properties=alias),
        Publish("b", b""),
    ]
    plain = connected()
    plain.client.publish(Publish("a", b""))
    assert plain.sent() == [Publish("a", b"")]


@keeps(v5="3.3.2-7")
def test_aliases_end_with_their_connection() -> None:
    """On the next connection topics are in full again, both ways."""
    asked = offered = Properties(topic_alias_maximum=1)
    side = connected(asked=asked, offered=offered)
    side.client.publish(Publish("a", b""))
    side.give(Publish("b", b"", properties=Properties(topic_alias=1)))
    side = connected(session=side.session, asked=asked, offered=offered)
    side.client.publish(Publish("a", b""))
    assert side.sent() == [Publish("a", b"", properties=Properties(topic_alias=1))]
    error = refused(side, Publish("", b"", properties=Properties(topic_alias=1)))
    assert error.reason is ReasonCode.PROTOCOL_ERROR


@keeps(v5="3.3.2-10 3.3.2-11")
def test_the_servers_aliases_stay_within_the_maximum_asked_for() -> None:
    """Every alias up to the maximum is taken and hidden; one above it is refused."""
    side = connected(asked=Properties(topic_alias_maximum=2))
    named = Publish("a", b"1", properties=Properties(topic_alias=2, content_type="x"))
    short = Publish("", b"2", properties=Properties(topic_alias=2))
    assert side.give(named, short) == [
        Received(Publish("a", b"1", properties=Properties(content_type="x"))),
        Received(Publish("a", b"2")),
    ]
    error = refused(side, Publish("a", b"", properties=Properties(topic_alias=3)))
    assert error.reason is ReasonCode.TOPIC_ALIAS_INVALID


@keeps(v5="3.1.2-29")
@pytest.mark.parametrize("said", [Properties(reason_string="why"), Properties(user=(("k", "v"),))])
def test_a_client_that_wants_no_explanations_gets_none(said: Properties) -> None:
    """Reason strings and user properties are then for PUBLISH, CONNACK and DISCONNECT only."""
    asked = Properties(request_problem_information=0)
    side = ServerSide(asked=asked)
    side.sent()
    side.give(ConnAck(properties=said))
    side.client.subscribe(Subscription("a"))
    assert side.give(PubAck(9)) == []
    user = Properties(user=said.user)
    assert side.give(Publish("a", b"", properties=user), PingResp()) == [
        Received(Publish("a", b"", properties=user))
    ]
    error = refused(side, SubAck(1, (ReasonCode.SUCCESS,), said))
    assert error.clause == "MQTT-3.1.2-29"
    assert connected(asked=asked).give(Disconnect(properties=said)) == [
        Disconnected(ReasonCode.NORMAL_DISCONNECTION, said)
    ]


@keeps(v5="3.1.2-30 4.12.0-3")
def test_extended_authentication_goes_step_by_step() -> None:
    """The server's challenge is an event; until CONNACK nothing but AUTH answers it."""
    method = Properties(authentication_method="m")
    step = Auth(ReasonCode.CONTINUE_AUTHENTICATION, method)
    side = ServerSide(asked=method)
    side.client.publish(message())
    assert side.sent() == [Connect("c", properties=method)]
    assert side.give(step) == [Challenged(step)]
    side.client.authenticate(step)
    assert side.sent() == [step]
    assert side.give(ConnAck(properties=method)) == [Connected(session_present=False, properties=method)]
    assert side.give(step) == [Challenged(step)]


@keeps(v5="4.12.0-5 4.12.0-6")
@pytest.mark.parametrize(
    ("asked", "packet", "clause"),
    [
        ("m", ConnAck(), "MQTT-4.12.0-5"),
        ("m", ConnAck(properties=Properties(authentication_method="n")), "MQTT-4.12.0-5"),
        ("m", Auth(properties=Properties(authentication_method="n")), "MQTT-4.12.0-5"),
        (None, ConnAck(properties=Properties(authentication_method="m")), "MQTT-4.12.0-6"),
        (None, Auth(properties=Properties(authentication_method="m")), "MQTT-4.12.0-6"),
        (None, Auth(), "MQTT-4.12.0-6"),
    ],
)
def test_the_server_keeps_to_the_method_asked_for(asked: str | None, packet: Packet, clause: str) -> None:
    """Another method, none, or one unasked breaks the protocol."""
    side = ServerSide(asked=Properties(authentication_method=asked))
    assert refused(side, packet).clause == clause


@pytest.mark.parametrize("late", [PubAck(9), PubComp(9), PubRec(9, ReasonCode.UNSPECIFIED_ERROR)])
def test_a_late_answer_is_let_pass(late: Packet) -> None:
    """An answer for an identifier that is free again says nothing new."""
    side = connected()
    assert side.give(late) == []
    assert side.sent() == []


def test_a_late_pubrec_is_answered_as_unknown() -> None:
    """So that the server can let go of it, too (MQTT 5 section 3.6.2.1)."""
    side = connected()
    assert side.give(PubRec(9)) == []
    assert side.sent() == [PubRel(9, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)]
