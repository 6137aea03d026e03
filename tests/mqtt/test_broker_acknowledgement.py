"""Nothing is acknowledged before somebody has taken it, and answers keep their order."""

from __future__ import annotations

import itertools

import pytest

from coldseal.mqtt.limits import Limits
from coldseal.mqtt.packets import (
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    Version,
)
from tests.mqtt.wire import BAD, BUSY, FORBIDDEN, GOOD, KEPT, Hub, message

V311, V5 = Version.V311, Version.V5


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_is_not_answered_on_arrival(version: Version, qos: int) -> None:
    """The promise: the answer comes when somebody has acknowledged, and only then."""
    hub = Hub()
    wire = hub.admitted(version=version)
    wire.send(message(qos=qos), PingReq())
    assert [type(packet) for packet in wire.take()] == [PingResp]
    hub.acknowledge()
    assert wire.answer(qos).packet_id == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_answers_leave_in_the_order_of_the_messages(order: tuple[int, ...]) -> None:
    """MQTT-4.6.0-2, -3: whatever the order in which they were acknowledged."""
    hub = Hub()
    wire = hub.admitted()
    wire.send(*(message(qos=1 + number % 2, packet_id=number + 10) for number in range(4)))
    answered: list[int] = []
    for count, index in enumerate(order, 1):
        hub.messages[index].acknowledge(GOOD)
        answered += [packet.packet_id for packet in wire.take() if isinstance(packet, PubAck | PubRec)]
        ready = next(number for number in range(5) if number not in order[:count])
        assert answered == [number + 10 for number in range(ready)]


def test_subscribers_get_messages_in_the_order_of_their_arrival() -> None:
    """MQTT-4.6.0-6: also when they were acknowledged the other way round, and never before."""
    hub = Hub()
    reader, writer = hub.admitted("reader"), hub.admitted("writer")
    reader.subscribe("a")
    writer.send(*(message(payload=b"%d" % number, packet_id=number + 1) for number in range(3)))
    for received in reversed(hub.messages):
        assert reader.take() == []
        received.acknowledge(GOOD)
    found = [packet for packet in reader.take() if isinstance(packet, Publish)]
    assert [each.payload for each in found] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("outcome", [BAD, FORBIDDEN])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [V311, V5])
def test_what_was_not_accepted_reaches_nobody(version: Version, qos: int, outcome: int) -> None:
    """A rejected or refused message is answered, and neither passed on nor retained."""
    hub = Hub()
    reader, writer = hub.admitted("reader"), hub.admitted("writer", version=version)
    reader.subscribe("a")
    writer.send(message(qos=qos, retain=True))
    hub.acknowledge(outcome, "in words")
    assert reader.take() == []
    assert len(hub.broker.retained) == 0
    if qos:
        answer = writer.answer(qos)
        assert answer.reason is (hub.broker.answers[outcome] if version is V5 else ReasonCode.SUCCESS)


@pytest.mark.parametrize("version", [V311, V5])
def test_a_refused_qos_2_message_is_over_at_once_in_5_and_carried_through_in_311(version: Version) -> None:
    """4.3.3: a PUBREC with a failure ends the flow; 3.1.1 knows no failure."""
    hub = Hub()
    wire = hub.admitted(version=version)
    wire.send(message(qos=2))
    hub.acknowledge(FORBIDDEN)
    wire.take()
    wire.send(PubRel(1))
    expected = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if version is V5 else ReasonCode.SUCCESS
    assert wire.only(PubComp).reason is expected


def test_the_answer_to_a_closed_connection_is_dropped_without_a_trace() -> None:
    """One client that left must not disturb the acknowledgements of the others in its group."""
    hub = Hub()
    gone, stays = hub.admitted("gone"), hub.admitted("stays")
    gone.send(*(message(qos=qos, packet_id=qos + 1) for qos in range(3)))
    stays.send(message())
    gone.lose()
    hub.acknowledge()
    assert stays.only(PubAck).packet_id == 1
    assert hub.broker.held_bytes == 0
    assert gone.connection not in hub.broker.connections


def test_a_message_whose_sender_has_left_still_reaches_the_others() -> None:
    """It was accepted; that its sender will send it again is another matter."""
    hub = Hub()
    reader, writer = hub.admitted("reader"), hub.admitted("writer")
    reader.subscribe("a")
    writer.send(message())
    writer.lose()
    hub.acknowledge()
    assert reader.only(Publish).payload == b"x"


class TestBusy:
    """Nobody could take the message: the sender must keep it, or we try again for it."""

    @pytest.mark.parametrize("version", [V311, V5])
    def test_what_comes_behind_it_waits_with_it(self, version: Version) -> None:
        """One client's messages keep their order, whatever finds room."""
        hub = Hub()
        wire = hub.admitted(version=version)
        wire.send(message(payload=b"1"))
        hub.acknowledge(BUSY, "the disk is full")
        wire.send(message(payload=b"2", packet_id=2))
        assert [each.publish.payload for each in hub.messages] == []
        assert wire.connection.dialogue is not None
        hub.messages = wire.connection.dialogue.inbound.take_retries()
        assert [each.publish.payload for each in hub.messages] == [b"1", b"2"]
        for each in hub.messages:
            each.acknowledge(GOOD)
        assert len(wire.take()) == 2

    @pytest.mark.parametrize("version", [V311, V5])
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_its_sender_is_not_answered_until_it_is_taken(self, version: Version, qos: int) -> None:
        """The message is handed over again; MQTT 5 is read on, because its Receive Maximum bounds it."""
        hub = Hub()
        wire = hub.admitted(version=version)
        wire.send(message(qos=qos))
        hub.acknowledge(BUSY)
        assert wire.take() == []
        assert wire.is_read() is (version is V5)
        assert wire.connection.dialogue is not None
        hub.messages = wire.connection.dialogue.inbound.take_retries()
        assert wire.is_read()
        hub.acknowledge()
        assert len(wire.take()) == (1 if qos else 0)
        assert hub.broker.held_bytes == 0

    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_one_that_leaves_meanwhile_leaves_nothing_behind(self, qos: int) -> None:
        """The message is its sender's again; a QoS 2 identifier is free for the repetition."""
        hub = Hub()
        wire = hub.admitted(version=V311, clean=False)
        wire.send(message(qos=qos), message(payload=b"y", packet_id=2))
        hub.messages[0].acknowledge(BUSY)
        hub.messages[1].acknowledge(GOOD)
        wire.lose()
        assert hub.broker.held_bytes == 0
        hub.messages.clear()
        wire = hub.admitted(version=V311, clean=False)
        wire.send(message(qos=qos, dup=qos > 0))
        assert len(hub.messages) == 1

    def test_an_answer_that_comes_after_the_end_is_not_tried_again(self) -> None:
        """There is nobody to be told, and nobody to wait for."""
        hub = Hub()
        wire = hub.admitted(version=V311, clean=False)
        wire.send(message(qos=1), message(qos=2, packet_id=2), message(qos=0))
        wire.lose()
        hub.acknowledge(BUSY)
        assert hub.broker.held_bytes == 0
        wire = hub.admitted(version=V311, clean=False)
        wire.send(message(qos=2, packet_id=2, dup=True))
        assert len(hub.messages) == 1


class TestQos2:
    """MQTT-4.3.3-8 to -12, receiver's side."""

    def test_a_repetition_before_the_answer_is_the_same_message(self) -> None:
        """Not handed over again; one PUBREC."""
        hub = Hub()
        wire = hub.admitted()
        wire.send(message(qos=2), message(qos=2, dup=True))
        assert len(hub.messages) == 1
        hub.acknowledge()
        assert wire.only(PubRec).packet_id == 1

    def test_a_repetition_after_the_answer_is_answered_again(self) -> None:
        """Until PUBREL comes."""
        hub = Hub()
        wire = hub.admitted()
        wire.send(message(qos=2))
        hub.acknowledge()
        wire.take()
        wire.send(message(qos=2, dup=True))
        assert wire.only(PubRec).reason is ReasonCode.SUCCESS
        wire.send(PubRel(1))
        wire.only(PubComp)
        wire.send(message(qos=2))
        assert len(hub.messages) == 1

    def test_an_answer_due_from_an_earlier_connection_comes_on_the_new_one(self) -> None:
        """The client repeats while the message still waits: one message, one PUBREC, where the client is."""
        hub = Hub()
        old = hub.admitted(properties=KEPT)
        old.send(message(qos=2), message(payload=b"behind", packet_id=2))
        old.lose()
        new = hub.admitted(clean=False, properties=KEPT)
        new.send(message(qos=2, dup=True))
        assert len(hub.messages) == 2
        hub.acknowledge()
        hub.save()
        assert new.only(PubRec).packet_id == 1

    def test_what_was_acknowledged_after_the_end_is_known_at_the_next_connection(self) -> None:
        """The session remembers; the repetition is not handed over."""
        hub = Hub()
        old = hub.admitted(properties=KEPT)
        old.send(message(qos=2))
        old.lose()
        hub.acknowledge()
        new = hub.admitted(clean=False, properties=KEPT)
        new.send(message(qos=2, dup=True))
        hub.save()
        assert new.only(PubRec).packet_id == 1
        assert hub.messages == []

    def test_a_session_that_began_anew_knows_nothing_of_the_old_one(self) -> None:
        """A late acknowledgement must not mark an identifier of the new session as received."""
        hub = Hub()
        old = hub.admitted(properties=KEPT)
        old.send(message(qos=2))
        new = hub.admitted(clean=True, properties=KEPT)
        new.send(message(payload=b"other", qos=2))
        assert len(hub.messages) == 2
        hub.messages[0].acknowledge(GOOD)
        hub.save()
        assert new.take() == []
        hub.messages[1].acknowledge(GOOD)
        hub.save()
        assert new.only(PubRec).packet_id == 1


class TestBounds:
    """What a client may have under way."""

    def test_a_client_is_not_read_while_too_much_waits(self) -> None:
        """3.1.1 knows no Receive Maximum: the bound is to stop reading. At half of it the shell is woken."""
        hub = Hub(Limits(receive_maximum=8))
        wire = hub.admitted(version=V311)
        wire.send(*(message(packet_id=number + 1) for number in range(8)))
        assert not wire.is_read()
        hub.broker.ready.clear()
        wire.take()
        for received in hub.messages[:4]:
            received.acknowledge(GOOD)
        assert wire.is_read()
        assert hub.broker.ready == [wire.connection]

    def test_qos_0_wakes_the_shell_too(self) -> None:
        """It has no answer that would."""
        hub = Hub(Limits(receive_maximum=4))
        wire = hub.admitted()
        wire.take()
        wire.send(*(message(qos=0) for _ in range(4)))
        assert not wire.is_read()
        hub.broker.ready.clear()
        hub.acknowledge()
        assert hub.broker.ready == [wire.connection]

    def test_nobody_is_read_while_too_many_bytes_wait(self) -> None:
        """A bound over all connections."""
        hub = Hub(Limits(max_held_bytes=100))
        wires = [hub.admitted(f"client-{number}", device=f"d{number}") for number in range(3)]
        for wire in wires:
            wire.send(message(payload=bytes(40)))
        assert not any(wire.is_read() for wire in wires)
        hub.acknowledge()
        assert all(wire.is_read() for wire in wires)

    def test_a_client_that_is_not_read_is_not_called_silent(self) -> None:
        """Its PINGREQ may be waiting in the socket."""
        hub = Hub(Limits(receive_maximum=1))
        wire = hub.admitted(version=V311, keep_alive=10)
        wire.send(message())
        hub.pass_s(100)
        assert wire.connection.ended is None
        hub.acknowledge()
        hub.pass_s(1)
        assert wire.connection in hub.broker.ready
        assert hub.broker.connections == set()


class TestHolding:
    """What was promised must be on disk first."""

    def test_a_clean_publisher_causes_no_write(self) -> None:
        """The hot path: connect, publish at every QoS, leave."""
        hub = Hub()
        wire = hub.admitted()
        for qos in (0, 1, 2):
            wire.send(message(qos=qos, packet_id=qos + 1))
        hub.acknowledge()
        wire.send(PubRel(3), Disconnect())
        assert hub.broker.notes.count == 0
        assert hub.disk.groups == 0

    def test_suback_waits_for_the_disk(self) -> None:
        """MQTT 4.1: a subscription that was confirmed survives."""
        hub = Hub()
        wire = hub.admitted(properties=KEPT)
        wire.send(Subscribe(1, (Subscription("a"),)))
        assert wire.take() == []
        hub.save()
        wire.only(SubAck)

    def test_the_answer_to_a_retained_message_waits_for_the_disk(self) -> None:
        """And the one to a message that waits for an absent client."""
        hub = Hub()
        reader = hub.admitted("reader", properties=KEPT)
        reader.subscribe("b")
        reader.lose()
        hub.save()
        writer = hub.admitted("writer")
        for packet in (message("a", retain=True), message("b")):
            writer.send(packet)
            hub.acknowledge()
            assert writer.take() == []
            hub.save()
            writer.only(PubAck)

    def test_others_do_not_wait(self) -> None:
        """Only the connection whose answer depends on it."""
        hub = Hub()
        keeper, other = hub.admitted("keeper", properties=KEPT), hub.admitted("other")
        keeper.send(Subscribe(1, (Subscription("a"),)))
        other.send(message())
        hub.acknowledge()
        assert other.only(PubAck).packet_id == 1
        assert keeper.take() == []

    def test_pubrec_and_pubrel_wait_for_the_disk(self) -> None:
        """QoS 2 both ways: what was received, and what was released, is known after a restart."""
        hub = Hub()
        wire = hub.admitted(properties=KEPT)
        wire.subscribe("a")
        wire.send(message(qos=2))
        hub.acknowledge()
        assert wire.take() == []
        hub.save()
        found = wire.take()
        assert [type(packet) for packet in found] == [Publish, PubRec]
        wire.send(PubRec(1))
        assert wire.take() == []
        hub.save()
        assert wire.only(PubRel).packet_id == 1

    def test_a_connection_that_is_ended_says_no_more_than_is_true(self) -> None:
        """Answers that waited for the disk are not sent with the farewell."""
        hub = Hub()
        wire = hub.admitted(properties=KEPT)
        wire.send(Subscribe(1, (Subscription("a"),)))
        wire.connection.end(ReasonCode.ADMINISTRATIVE_ACTION)
        assert wire.only(Disconnect).reason is ReasonCode.ADMINISTRATIVE_ACTION

    def test_a_message_to_a_lasting_session_waits_for_the_disk(self) -> None:
        """Else its identifier could be given to another message after a restart, which QoS 2 would double."""
        hub = Hub()
        wire = hub.admitted(properties=KEPT)
        wire.subscribe("a")
        hub.broker.publish(message("a", qos=2))
        assert wire.take() == []
        hub.save()
        wire.only(Publish)

    def test_output_leaves_group_by_group(self) -> None:
        """Changes that never cease must not hold answers back for ever."""
        hub = Hub()
        wire = hub.admitted(properties=KEPT)
        for number in range(1, 5):
            wire.send(Subscribe(number, (Subscription(f"a/{number}"),)))
            changes = hub.broker.take_changes()
            assert changes is not None
            wire.send(Subscribe(number + 100, (Subscription(f"b/{number}"),)))
            hub.broker.confirm(changes.group)
            assert [packet.packet_id for packet in wire.take() if isinstance(packet, SubAck)][-1] == number
            assert wire.connection.is_held

    def test_a_repeated_answer_waits_for_what_it_says(self) -> None:
        """Also when the change behind it was made on an earlier connection and is still being written."""
        hub = Hub()
        old = hub.admitted(properties=KEPT)
        old.send(message(qos=2), message(qos=2, packet_id=2))
        hub.acknowledge()
        hub.save()
        old.take()
        old.send(PubRel(2))
        old.lose()
        new = hub.admitted(clean=False, properties=KEPT)
        new.send(message(qos=2, dup=True))
        new.only(PubRec)
        new.send(PubRel(1))
        changes = hub.broker.take_changes()
        assert changes is not None
        new.send(PubRel(1))
        assert new.take() == []
        hub.broker.confirm(changes.group)
        assert [type(packet) for packet in new.take()] == [PubComp, PubComp]

    def test_a_farewell_does_not_let_an_answer_out_early(self) -> None:
        """SUBSCRIBE and DISCONNECT in one chunk: SUBACK still waits."""
        hub = Hub()
        wire = hub.admitted(properties=KEPT)
        wire.send(Subscribe(1, (Subscription("a"),)), Disconnect())
        assert wire.take() == []
        hub.save()
        wire.only(SubAck)
