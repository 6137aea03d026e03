"""Whatever a client sends: its own connection ends with the right words, and nothing else is touched."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldseal.mqtt.codec import encode
from coldseal.mqtt.connection import ACCEPTS, State
from coldseal.mqtt.limits import Limits
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
    Will,
)
from coldseal.mqtt.session import Identity
from tests.mqtt.wire import BAD, GOOD, KEPT, Hub, Wire, message

V311, V5 = Version.V311, Version.V5

EVERY: dict[type[Packet], Packet] = {
    Connect: Connect("again"),
    ConnAck: ConnAck(),
    Publish: message(qos=0),
    PubAck: PubAck(1),
    PubRec: PubRec(1, ReasonCode.UNSPECIFIED_ERROR),
    PubRel: PubRel(1),
    PubComp: PubComp(1),
    Subscribe: Subscribe(1, (Subscription("a"),)),
    SubAck: SubAck(1, (ReasonCode.SUCCESS,)),
    Unsubscribe: Unsubscribe(1, ("a",)),
    UnsubAck: UnsubAck(1, (ReasonCode.SUCCESS,)),
    PingReq: PingReq(),
    PingResp: PingResp(),
    Disconnect: Disconnect(),
    Auth: Auth(ReasonCode.REAUTHENTICATE, Properties(authentication_method="x")),
}


def _in_state(hub: Hub, state: State) -> Wire:
    """Give a connection in a state."""
    wire = hub.wire()
    hub.is_admitting = state is not State.CHECKING
    if state is not State.NEW:
        wire.send(Connect("one", properties=KEPT))
    if state is State.CLOSED:
        wire.send(Disconnect())
    hub.save()
    wire.take()
    return wire


def _reasons(packets: list[Packet]) -> list[ReasonCode]:
    """Give the reasons of all farewells and refusals."""
    return [packet.reason for packet in packets if isinstance(packet, Disconnect | ConnAck)]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", EVERY)
def test_each_state_accepts_what_the_table_says(state: State, kind: type[Packet]) -> None:
    """MQTT-3.1.0-1, -2: anything else is a protocol error, and a closed connection hears nothing."""
    hub = Hub()
    wire = _in_state(hub, state)
    wire.send(EVERY[kind])
    packets = wire.take()
    is_welcome = kind in ACCEPTS[state]
    if state is State.CLOSED:
        assert packets == []
    elif is_welcome and kind not in {Auth, Disconnect}:
        assert hub.faults == []
        assert not wire.connection.is_closed
    elif kind is not Disconnect and (state, kind) != (State.CHECKING, Auth):
        assert wire.connection.ended is ReasonCode.PROTOCOL_ERROR
        assert len(hub.faults) == 1
        assert _reasons(packets) == ([] if state is State.NEW else [ReasonCode.PROTOCOL_ERROR])


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
        (b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
    ],
)
def test_an_unknown_version_is_told_so(first: bytes, reason: ReasonCode) -> None:
    """MQTT-3.1.2-2: by the CONNACK of 3.1.1, return code 1, that every client understands."""
    hub = Hub()
    wire = hub.wire(V311)
    wire.send_bytes(first)
    assert wire.connection.take() == b"\x20\x02\x00\x01"
    assert wire.connection.ended is reason


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (V5, b"\x10\x0d\x00\x04MQTT\x05\x01\x00\x00\x00\x00\x00"),
        (V311, b"\x10\x0c\x00\x04MQTT\x04\x01\x00\x00\x00\x00"),
    ],
)
def test_an_ill_connect_is_refused_in_5_and_cut_off_in_311(version: Version, data: bytes) -> None:
    """4.13.1: 5 may say why in CONNACK; 3.1.1 has no word for it."""
    hub = Hub()
    wire = hub.wire(version)
    wire.send_bytes(data)
    assert _reasons(wire.take()) == ([ReasonCode.MALFORMED_PACKET] if version is V5 else [])
    assert wire.connection.is_closed


def test_what_came_before_the_fault_counts() -> None:
    """Good packets in front of a bad one, in the same chunk, are processed."""
    hub = Hub()
    reader = hub.admitted("reader")
    reader.subscribe("a")
    writer = hub.admitted("writer")
    writer.send_bytes(encode(message(), V5) + b"\xff\xff")
    hub.acknowledge()
    assert reader.only(Publish).payload == b"x"
    assert _reasons(writer.take()) == [ReasonCode.MALFORMED_PACKET]


def test_a_fault_in_front_of_a_fault_is_the_one_that_is_told() -> None:
    """The first broken rule ends the connection."""
    hub = Hub()
    wire = hub.admitted()
    wire.send_bytes(
        encode(Auth(ReasonCode.REAUTHENTICATE, Properties(authentication_method="x")), V5) + b"\xff"
    )
    assert _reasons(wire.take()) == [ReasonCode.PROTOCOL_ERROR]
    assert len(hub.faults) == 1


def test_a_fault_right_behind_connect_refuses_it() -> None:
    """The client was not admitted yet: CONNACK says why, and a later admission does nothing."""
    hub = Hub()
    hub.is_admitting = False
    wire = hub.wire()
    wire.send_bytes(encode(Connect("one"), V5) + b"\xff")
    assert _reasons(wire.take()) == [ReasonCode.MALFORMED_PACKET]
    hub.logins[0].connection.admit(Identity("x"), hub.rights, "fresh", hub.now)
    assert wire.take() == []


def test_a_fault_among_early_packets_ends_the_connection_after_connack() -> None:
    """They are looked at once the client is admitted."""
    hub = Hub()
    wire = hub.wire()
    wire.send(
        Connect("one"), Auth(ReasonCode.REAUTHENTICATE, Properties(authentication_method="x")), message()
    )
    assert _reasons(wire.take()) == [ReasonCode.SUCCESS, ReasonCode.PROTOCOL_ERROR]
    assert hub.messages == []


def test_what_follows_a_farewell_is_not_heard() -> None:
    """MQTT-3.14.4-1: not even in the same chunk."""
    hub = Hub()
    wire = hub.admitted()
    wire.send(Disconnect(), message(), PingReq())
    assert hub.messages == []
    assert wire.take() == []


def test_a_long_reason_is_cut() -> None:
    """A reason string shows what was wrong, not all of what was sent."""
    hub = Hub()
    wire = hub.admitted()
    wire.connection.end(ReasonCode.ADMINISTRATIVE_ACTION, "x" * 10_000)
    farewell = wire.only(Disconnect)
    assert len(farewell.properties.reason_string or "") == 200


def test_a_farewell_too_large_for_the_client_goes_without_words() -> None:
    """MQTT-3.14.2-3."""
    hub = Hub()
    wire = hub.admitted(properties=Properties(maximum_packet_size=48))
    wire.connection.end(ReasonCode.ADMINISTRATIVE_ACTION, "many words that do not fit into so few bytes")
    assert wire.only(Disconnect).properties.reason_string is None


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("reason", ReasonCode)
def test_a_connection_can_be_ended_for_any_reason_in_any_state(
    reason: ReasonCode, state: State, version: Version
) -> None:
    """A reason that the packet cannot carry is said as the nearest that it can: ending never fails."""
    hub = Hub()
    hub.is_admitting = state is State.OPEN
    wire = hub.wire(version)
    if state is not State.NEW:
        wire.send(Connect("one", version))
    if state is State.CLOSED:
        wire.lose()
    wire.take()
    wire.connection.end(reason, "in words")
    assert wire.connection.is_closed
    wire.take()


@pytest.mark.parametrize("text", ["\0", "a\nb", "\ud800", "\x7f\x1b[2J", "\U0010ffff", "ünïcödé " * 100])
def test_no_reason_is_too_strange_to_be_said(text: str) -> None:
    """It may hold what a device sent: an acknowledgement must not fail because of it."""
    hub = Hub()
    wire = hub.admitted()
    for qos in (1, 2):
        wire.send(message(qos=qos, packet_id=qos))
        hub.acknowledge(BAD, text)
        said = wire.answer(qos).properties.reason_string
        assert said is not None
        assert said.isprintable()


def test_a_client_too_small_to_be_spoken_to_is_cut_off() -> None:
    """MQTT-3.1.2-24: nothing may be sent that is larger than it takes, CONNACK included."""
    hub = Hub()
    wire = hub.wire()
    wire.send(Connect("one", properties=Properties(maximum_packet_size=20)))
    assert wire.take() == []
    assert wire.connection.is_closed


def test_an_answer_larger_than_the_client_takes_ends_its_connection() -> None:
    """A SUBACK has no smaller form."""
    hub = Hub()
    wire = hub.admitted(properties=Properties(maximum_packet_size=50))
    wire.send(Subscribe(1, tuple(Subscription(f"a/{number}") for number in range(60))))
    assert wire.take() == []
    assert wire.connection.ended is ReasonCode.PACKET_TOO_LARGE


def test_the_gateway_itself_cannot_publish_nonsense() -> None:
    """The caller is told, and nobody is sent anything."""
    hub = Hub()
    wire = hub.admitted()
    wire.subscribe("#")
    with pytest.raises(ProtocolError):
        hub.broker.publish(Publish("a/+", b"x"))
    assert wire.take() == []


class TestSlowReaders:
    """The shell says that a client reads slowly."""

    def test_qos_0_is_dropped_and_the_rest_waits(self) -> None:
        """Within the bounds of the session; it comes in order once the client has caught up."""
        hub = Hub(Limits(max_queued=3))
        reader = hub.admitted()
        reader.subscribe("a")
        reader.connection.congest(is_congested=True, now=hub.now)
        for number in range(5):
            hub.broker.publish(message("a", b"%d" % number, 1))
        hub.broker.publish(message("a", b"fleeting", 0))
        assert reader.take() == []
        assert hub.broker.counts.full == 3
        reader.connection.congest(is_congested=False, now=hub.now)
        found = [packet for packet in reader.take() if isinstance(packet, Publish)]
        assert [each.payload for each in found] == [b"0", b"1", b"2"]

    def test_a_share_goes_to_one_who_reads(self) -> None:
        """A slow member is passed over while there is another."""
        hub = Hub()
        slow, quick = hub.admitted("slow"), hub.admitted("quick")
        for wire in (slow, quick):
            wire.subscribe("$share/g/a")
        slow.connection.congest(is_congested=True, now=hub.now)
        for _ in range(4):
            hub.broker.publish(message("a", qos=0))
        assert len(quick.take()) == 4

    def test_a_share_that_nobody_can_take_is_dropped(self) -> None:
        """And counted."""
        hub = Hub(Limits(max_queued=1))
        for name in ("one", "two"):
            wire = hub.admitted(name)
            wire.subscribe("$share/g/a")
            wire.connection.congest(is_congested=True, now=hub.now)
        assert [hub.broker.publish(message("a")) for _ in range(3)] == [1, 1, 0]

    def test_one_burst_is_bounded_before_the_socket_is_asked(self) -> None:
        """Half of the unsent bytes allowed; the rest is dropped at QoS 0, or comes with the next write."""
        hub = Hub(Limits(max_buffered_bytes=2_000, max_queued_bytes=100_000))
        reader = hub.admitted()
        reader.subscribe("a")
        for qos in (0, 1):
            for number in range(50):
                hub.broker.publish(message("a", b"%02d" % number + bytes(100), qos))
            sizes, found = [], []
            while chunk := reader.take():
                found += [each.payload[:2] for each in chunk if isinstance(each, Publish)]
                sizes.append(len(chunk))
            assert max(sizes) <= 11
            assert found == [b"%02d" % number for number in range(50 if qos else len(found))]
            assert len(found) == (50 if qos else 10)

    def test_asking_for_what_is_retained_again_and_again_is_bounded(self) -> None:
        """A client that does not read what it has asked for is sent no more of it."""
        hub = Hub(Limits(max_buffered_bytes=2_000))
        for number in range(200):
            hub.broker.publish(message(f"a/{number}", bytes(100), 0, retain=True))
        reader = hub.admitted()
        asking = Subscribe(1, (Subscription("#"), Subscription("a/#")))
        reader.send(*[asking] * 50)
        assert reader.connection.unsent < 4_000
        assert hub.broker.counts.full <= 100

    def test_telling_it_before_the_client_is_admitted_does_nothing(self) -> None:
        """There is nothing to send yet."""
        hub = Hub()
        hub.wire().connection.congest(is_congested=True, now=hub.now)

    def test_an_expired_message_is_not_sent_late(self) -> None:
        """A QoS 0 message that expires at once reaches nobody."""
        hub = Hub()
        reader = hub.admitted()
        reader.subscribe("a")
        hub.broker.publish(Publish("a", b"x", properties=Properties(message_expiry_interval=0)))
        assert reader.take() == []
        assert hub.broker.counts.expired == 1

    def test_what_no_packet_can_carry_is_dropped(self) -> None:
        """MQTT-3.1.2-24: counted, and nothing is sent."""
        hub = Hub()
        reader = hub.admitted(properties=Properties(maximum_packet_size=48))
        reader.subscribe("a/#")
        hub.broker.publish(message("a/" + "b" * 60))
        assert reader.take() == []
        assert hub.broker.counts.too_large == 1


packets = st.sampled_from([packet for kind, packet in EVERY.items() if kind is not Connect]) | st.builds(
    message,
    st.sampled_from(["a", "a/b"]),
    st.binary(max_size=8),
    st.integers(0, 2),
    st.integers(1, 3),
    retain=st.booleans(),
)
connects = st.builds(
    Connect,
    st.sampled_from(["", "one", "two"]),
    st.just(V5),
    st.booleans(),
    st.integers(0, 60),
    st.none() | st.just(Will("w", b"x", 1)),
    properties=st.sampled_from([KEPT, Properties(), Properties(receive_maximum=1, topic_alias_maximum=2)]),
)


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(connects, packets, st.binary(max_size=12), st.sampled_from(["lose", "tick", "save"])),
        max_size=40,
    )
)
def test_no_client_can_do_harm(steps: list[Packet | bytes | str]) -> None:
    """Any packets and bytes in any order: no error but the machine's own, nothing kept of who has gone."""
    hub = Hub()
    witness = hub.admitted("witness", device="witness")
    wire = hub.wire()
    for step in steps:
        if isinstance(step, Connect) or wire.connection.is_closed:
            wire.lose()
            wire = hub.wire()
        if isinstance(step, bytes):
            wire.send_bytes(step)
        elif step == "lose":
            wire.lose()
        elif step == "tick":
            hub.pass_s(30)
            witness.send(PingReq())
        elif step == "save":
            hub.save()
        elif not isinstance(step, str):
            wire.send(step)
        for received in hub.messages[::2]:
            received.acknowledge(GOOD)
        del hub.messages[::2]
    wire.lose()
    hub.acknowledge()
    witness.take()
    witness.send(PingReq())
    hub.pass_s(1)
    assert witness.take()[-1] == PingResp()
    assert hub.broker.connections == {witness.connection}
    hub.pass_s(1_000)
    hub.acknowledge()
    assert hub.broker.held_bytes == 0
    assert hub.broker.connections == set()
    assert hub.broker._sessions == {}
    assert hub.broker.tree.count == 0
