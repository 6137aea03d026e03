"""Messages of the client's machine: the flows of QoS 0, 1 and 2 both ways, windows, order, repeating."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coldseal.errors import UnavailableError
from coldseal.mqtt.client import State
from coldseal.mqtt.client_events import Acknowledged, Received
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Packet,
    Properties,
    ProtocolError,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    Subscribe,
    Subscription,
    Version,
)
from tests.mqtt.clauses import keeps
from tests.mqtt.server_side import ServerSide, connected, message

BOTH = pytest.mark.parametrize("version", Version)


def publishes(packets: list[Packet]) -> list[tuple[int | None, str, bool]]:
    """Return identifier, payload and DUP of the PUBLISH packets."""
    return [
        (packet.packet_id, packet.payload.decode(), packet.dup)
        for packet in packets
        if isinstance(packet, Publish)
    ]


@keeps(v311="4.3.1-1", v5="4.3.1-1")
@BOTH
def test_qos_0_is_sent_once(version: Version) -> None:
    """Without identifier and DUP, and nothing is held."""
    side = connected(version)
    assert side.client.publish(message(qos=0)) is None
    assert side.sent() == [Publish("t", b"m")]
    assert len(side.session) == 0


@keeps(v311="2.3.1-6 4.3.2-1", v5="2.2.1-5 4.3.2-1 4.3.2-2 4.3.2-3")
@BOTH
def test_qos_1_is_held_until_puback(version: Version) -> None:
    """A new identifier, no DUP, and unacknowledged until the answer with the same identifier."""
    side = connected(version)
    first, second = side.client.publish(message("1")), side.client.publish(message("2"))
    assert first is not None
    assert second is not None
    assert publishes(side.sent()) == [(first, "1", False), (second, "2", False)]
    assert first != second
    assert side.give(PubAck(second)) == [Acknowledged(second)]
    assert len(side.session) == 1
    assert side.give(PubAck(first)) == [Acknowledged(first)]
    assert len(side.session) == 0


@keeps(v311="4.3.3-1", v5="4.3.3-1 4.3.3-2 4.3.3-3 4.3.3-4 4.3.3-5")
@BOTH
def test_qos_2_goes_in_four_steps(version: Version) -> None:
    """PUBLISH, PUBREC, PUBREL, PUBCOMP, all under one identifier; done only at the end."""
    side = connected(version)
    packet_id = side.client.publish(message(qos=2))
    assert packet_id is not None
    assert side.sent() == [Publish("t", b"m", 2, packet_id=packet_id)]
    assert side.give(PubRec(packet_id)) == []
    assert side.sent() == [PubRel(packet_id)]
    assert len(side.session) == 1
    assert side.give(PubComp(packet_id)) == [Acknowledged(packet_id)]
    assert len(side.session) == 0


@keeps(v311="2.3.1-2", v5="3.3.4-1")
@pytest.mark.parametrize(
    ("qos", "answer"), [(1, PubRec(1)), (1, PubComp(1)), (2, PubAck(1)), (2, PubComp(1))]
)
@BOTH
def test_the_answer_of_another_qos_is_refused(version: Version, qos: int, answer: Packet) -> None:
    """The answer is determined by the QoS of the PUBLISH."""
    side = connected(version)
    assert side.client.publish(message(qos=qos)) == 1
    with pytest.raises(ProtocolError) as caught:
        side.give(answer)
    assert caught.value.reason is ReasonCode.PROTOCOL_ERROR
    assert side.client.state is State.CLOSED


@keeps(v5="4.4.0-2")
@pytest.mark.parametrize(("qos", "kind"), [(1, PubAck), (2, PubRec)])
def test_a_refused_message_is_done(qos: int, kind: type[PubAck | PubRec]) -> None:
    """A reason of 0x80 and more ends the flow: no PUBREL, no repeating, and the reason is told."""
    side = connected()
    packet_id = side.client.publish(message(qos=qos))
    assert packet_id is not None
    side.sent()
    said = Properties(reason_string="not yours")
    answer = kind(packet_id, ReasonCode.NOT_AUTHORIZED, said)
    assert side.give(answer) == [Acknowledged(packet_id, ReasonCode.NOT_AUTHORIZED, said)]
    assert side.sent() == []
    assert connected(session=side.session).sent() == []


@keeps(v5="3.3.4-7 4.9.0-1 4.9.0-2")
def test_no_more_than_receive_maximum_are_under_way() -> None:
    """The window is the server's; each answer opens it by one, in the order of offering."""
    side = connected(offered=Properties(receive_maximum=2))
    for text in "12345":
        side.client.publish(message(text, 2 if text == "2" else 1))
    assert [text for _, text, _ in publishes(side.sent())] == ["1", "2"]
    side.give(PubRec(2))
    assert side.sent() == [PubRel(2)]
    side.give(PubAck(1))
    assert [text for _, text, _ in publishes(side.sent())] == ["3"]
    side.give(PubComp(2), PubAck(3))
    assert [text for _, text, _ in publishes(side.sent())] == ["4", "5"]


@keeps(v5="3.3.4-8 4.9.0-3")
def test_a_full_window_holds_back_nothing_else() -> None:
    """Other packets, and QoS 0, leave at once."""
    side = connected(offered=Properties(receive_maximum=1))
    for text in "12":
        side.client.publish(message(text))
    side.sent()
    side.client.subscribe(Subscription("a"))
    side.client.publish(message("0", 0))
    side.give(Publish("a", b"", 1, packet_id=7))
    side.client.acknowledge(7)
    assert side.sent() == [Subscribe(3, (Subscription("a"),)), Publish("t", b"0"), PubAck(7)]


def test_the_clients_own_window_may_be_smaller() -> None:
    """The smaller of both bounds counts."""
    side = ServerSide(max_in_flight=1)
    side.accept(Properties(receive_maximum=5))
    side.client.publish(message("1"))
    side.client.publish(message("2"))
    assert len(side.sent()) == 1


@keeps(v311="2.3.1-3 3.3.1-1 4.4.0-1 4.6.0-1", v5="3.3.1-1 4.4.0-1 4.6.0-1")
@BOTH
def test_after_a_reconnect_the_unacknowledged_are_repeated_in_order(version: Version) -> None:
    """With DUP, under their own identifiers, in the original order, before anything new."""
    side = connected(version)
    for text in "123":
        side.client.publish(message(text))
    side.give(PubAck(2))
    side = ServerSide(version, side.session)
    side.client.publish(message("4"))
    side.accept(session_present=True)
    assert publishes(side.sent()) == [(1, "1", True), (3, "3", True), (4, "4", False)]


@keeps(v311="4.6.0-4", v5="4.3.3-6 4.6.0-4")
@BOTH
def test_after_pubrec_only_pubrel_is_repeated(version: Version) -> None:
    """In the order of the PUBRECs; the messages themselves never again."""
    side = connected(version)
    for text in "123":
        side.client.publish(message(text, 2))
    side.give(PubRec(3), PubRec(1))
    assert side.sent()[3:] == [PubRel(3), PubRel(1)]
    side = connected(version, side.session)
    assert side.sent() == [PubRel(3), PubRel(1), Publish("t", b"2", 2, dup=True, packet_id=2)]
    side.give(PubRec(1))  # the server may have lost the first PUBREL
    assert side.sent() == [PubRel(1)]


@keeps(v5="3.2.2-5")
@BOTH
def test_a_session_that_the_server_lost_starts_anew(version: Version) -> None:
    """What the server had taken is done, the others are new messages without DUP, in order."""
    side = connected(version)
    for text in "123":
        side.client.publish(message(text, 2))
    side.give(PubRec(2))
    side.session.received.add(5)
    side = ServerSide(version, side.session)
    assert side.accept(session_present=False) == [Acknowledged(2)]
    assert publishes(side.sent()) == [(1, "1", False), (3, "3", False)]
    assert not side.session.received


def test_a_repeated_window_is_kept_too() -> None:
    """A server that allows less after the reconnect gets less at a time."""
    side = connected()
    for text in "123":
        side.client.publish(message(text, 2))
    side.give(PubRec(1))
    side = connected(session=side.session, offered=Properties(receive_maximum=2))
    assert side.sent() == [PubRel(1), Publish("t", b"2", 2, dup=True, packet_id=2)]
    side.give(PubComp(1))
    assert publishes(side.sent()) == [(3, "3", True)]


def test_a_held_message_that_this_server_never_takes_is_given_back() -> None:
    """Offered before the limits were known, it is answered with the reason; the others go on."""
    side = ServerSide()
    side.client.publish(message("x" * 100))
    side.client.publish(message("y"))
    assert side.accept(Properties(maximum_packet_size=50)) == [Acknowledged(1, ReasonCode.PACKET_TOO_LARGE)]
    assert publishes(side.sent()) == [(2, "y", False)]
    assert len(side.session) == 1


def test_an_ill_message_is_refused_before_it_is_held() -> None:
    """It could not be sent on any connection."""
    side = ServerSide()
    with pytest.raises(ProtocolError):
        side.client.publish(message(topic="a/#"))
    assert len(side.session) == 0


def test_a_full_session_takes_no_more() -> None:
    """The bound is the caller's to meet: nothing is dropped silently."""
    side = ServerSide(session=Session(max_held=2))
    side.client.publish(message("1"))
    side.session.reserve()
    with pytest.raises(UnavailableError, match="2 messages wait"):
        side.client.publish(message("2"))


@keeps(v311="2.3.1-4", v5="2.2.1-4")
def test_identifiers_in_use_are_passed_over() -> None:
    """After 65,535 the count starts again and leaves out what is not answered."""
    session = Session()
    session.offer(message())
    session.reserve()
    session._last_id = 65_534
    assert [session.offer(message()) for _ in range(3)] == [65_535, 3, 4]
    side = connected()
    side.give(Publish("t", b"", 1, packet_id=1))
    with pytest.raises(ProtocolError) as caught:  # and a server must do the same
        side.give(Publish("t", b"", 1, packet_id=1))
    assert caught.value.clause == "MQTT-2.2.1-4"


@keeps(v311="4.3.2-2 4.5.0-2", v5="4.3.2-4 4.3.2-5 4.5.0-2")
@BOTH
def test_a_received_qos_1_message_is_answered_when_it_is_settled(version: Version) -> None:
    """PUBACK waits for ``acknowledge``; afterwards the same identifier is a new message, DUP or not."""
    side = connected(version)
    first = Publish("t", b"1", 1, packet_id=7)
    assert side.give(first) == [Received(first)]
    assert side.sent() == []
    side.client.acknowledge(7)
    assert side.sent() == [PubAck(7)]
    again = msgspec.structs.replace(first, dup=True)
    assert side.give(again) == [Received(again)]


@keeps(v311="4.3.3-2", v5="4.3.3-8 4.3.3-10 4.3.3-11 4.3.3-12")
@BOTH
def test_a_received_qos_2_message_is_delivered_once(version: Version) -> None:
    """Until PUBREL a repeated PUBLISH only gets its PUBREC again, also after a reconnect."""
    side = connected(version)
    sent = Publish("t", b"1", 2, packet_id=7)
    assert side.give(sent) == [Received(sent)]
    side.client.acknowledge(7)
    assert side.sent() == [PubRec(7)]
    side = connected(version, side.session)
    again = msgspec.structs.replace(sent, dup=True)
    assert side.give(again) == []
    assert side.sent() == [PubRec(7)]
    assert side.give(PubRel(7)) == []
    assert side.sent() == [PubComp(7)]
    assert side.give(sent) == [Received(sent)]


@keeps(v5="4.3.3-9")
def test_a_qos_2_message_that_was_refused_may_come_again() -> None:
    """After PUBREC with a failure the identifier means a new message."""
    side = connected()
    sent = Publish("t", b"1", 2, packet_id=7)
    side.give(sent)
    side.client.acknowledge(7, ReasonCode.QUOTA_EXCEEDED)
    assert side.sent() == [PubRec(7, ReasonCode.QUOTA_EXCEEDED)]
    assert side.give(sent) == [Received(sent)]


@BOTH
def test_a_pubrel_for_nothing_is_answered(version: Version) -> None:
    """In MQTT 5 with 0x92, so that the server knows; 3.1.1 has only the answer."""
    side = connected(version)
    side.give(PubRel(7))
    reason = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if version is Version.V5 else ReasonCode.SUCCESS
    assert side.sent() == [PubComp(7, reason)]


@keeps(v311="4.6.0-2 4.6.0-3", v5="4.6.0-2 4.6.0-3")
@BOTH
def test_answers_leave_in_the_order_of_the_messages(version: Version) -> None:
    """One that is settled early waits for those before it."""
    side = connected(version)
    side.give(*(Publish("t", b"", 2 - number % 2, packet_id=number) for number in (5, 6, 7, 8)))
    for number in (8, 6):
        side.client.acknowledge(number)
    assert side.sent() == []
    side.client.acknowledge(5)
    assert side.sent() == [PubAck(5), PubRec(6)]
    side.client.acknowledge(7)
    assert side.sent() == [PubAck(7), PubRec(8)]


def test_only_a_waiting_message_can_be_acknowledged() -> None:
    """An identifier of an earlier connection means nothing on this one."""
    side = connected()
    side.give(Publish("t", b"", 1, packet_id=1))
    with pytest.raises(KeyError):
        connected(session=side.session).client.acknowledge(1)


@keeps(v5="3.3.4-9")
def test_a_server_keeps_the_receive_maximum_asked_for() -> None:
    """Messages without their last answer count: PUBACK, and PUBCOMP at QoS 2."""
    side = connected(asked=Properties(receive_maximum=2))
    one, two, three = (Publish("t", b"", 2, packet_id=number) for number in (1, 2, 3))
    side.give(one, two)
    side.client.acknowledge(1)
    side.client.acknowledge(2)
    side.give(PubRel(1), three)
    with pytest.raises(ProtocolError) as caught:
        side.give(Publish("t", b"", 1, packet_id=4))
    assert caught.value.reason is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


class Redelivery(RuleBasedStateMachine):
    """A client that loses its connection at any moment, with a server that may have read any part.

    The server is a model: it remembers what it took charge of, and forgets its session now and then.
    """

    def __init__(self) -> None:
        """Nothing was sent."""
        super().__init__()
        self.offered: list[tuple[int, str, int]] = []
        self.arrived: list[str] = []
        self.done: set[str] = set()
        self.texts: dict[int, str] = {}
        self.known: set[int] = set()

    @initialize(version=st.sampled_from(Version), window=st.integers(1, 4))
    def connect(self, version: Version, window: int) -> None:
        """Connect for the first time."""
        self.version, self.window = version, window
        self.side = ServerSide(version, max_in_flight=window)
        self.side.accept()

    @rule(qos=st.integers(1, 2))
    def publish(self, qos: int) -> None:
        """Offer a message."""
        text = str(len(self.offered))
        packet_id = self.side.client.publish(message(text, qos))
        assert packet_id is not None
        self.offered.append((packet_id, text, qos))
        self.texts[packet_id] = text

    @rule(answers=st.integers(0, 3))
    def serve(self, answers: int) -> None:
        """The server reads what was sent and answers the first packets of it."""
        packets = self.side.sent()
        assert len(packets) <= self.window + len(self.known)
        for packet in packets[:answers]:
            if isinstance(packet, Publish):
                self._take(packet)
            elif isinstance(packet, PubRel):
                self.known.discard(packet.packet_id)
                self._hear(PubComp(packet.packet_id))
        if answers < len(packets):  # the rest is lost with the connection
            self.reconnect(is_lost=False)

    def _take(self, packet: Publish) -> None:
        assert packet.packet_id is not None
        text = packet.payload.decode()
        if packet.qos == 1:
            self.arrived.append(text)
            self._hear(PubAck(packet.packet_id))
            return
        if packet.packet_id not in self.known:
            self.known.add(packet.packet_id)
            self.arrived.append(text)
        self._hear(PubRec(packet.packet_id))

    def _hear(self, answer: Packet) -> None:
        for event in self.side.give(answer):
            assert isinstance(event, Acknowledged)
            self.done.add(self.texts[event.packet_id])

    @rule(is_lost=st.booleans())
    def reconnect(self, is_lost: bool) -> None:
        """The connection breaks; the server may have lost its half of the session."""
        self.side = ServerSide(self.version, self.side.session, max_in_flight=self.window)
        if is_lost:
            self.known.clear()
        for event in self.side.accept(session_present=not is_lost):
            assert isinstance(event, Acknowledged)
            self.done.add(self.texts[event.packet_id])

    @precondition(lambda self: self.offered)
    @rule()
    def drain(self) -> None:
        """With a server that answers everything, everything arrives."""
        for _ in range(4 * len(self.offered) + 4):
            self.serve(answers=10_000)
        assert len(self.side.session) == 0
        assert self.done == {text for _, text, _ in self.offered}

    @invariant()
    def nothing_is_done_that_has_not_arrived(self) -> None:
        """An acknowledgement is the server's word."""
        assert self.done <= set(self.arrived)

    @invariant()
    def qos_2_arrives_once_and_all_in_order(self) -> None:
        """Duplicates only at QoS 1 or after a lost session; first arrivals in the order offered."""
        first = list(dict.fromkeys(self.arrived))
        assert first == sorted(first, key=int)


TestRedelivery = Redelivery.TestCase
TestRedelivery.settings = settings(stateful_step_count=30)


@given(st.lists(st.sampled_from(["offer", "settle"]), max_size=50))
def test_a_session_counts_what_it_holds(steps: list[str]) -> None:
    """Offered minus settled, whatever the order."""
    session, held = Session(), []
    for step in steps:
        if step == "offer":
            held.append(session.offer(Publish("t", b"", 1, properties=NO_PROPERTIES)))
            session.next_due()
        elif held:
            session.settle(PubAck(held.pop()))
        assert len(session) == len(held)
