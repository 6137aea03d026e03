"""What is kept of one client: its outbox, its record, and what is retained for everyone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from typing_extensions import override

from coldseal.mqtt.limits import Limits
from coldseal.mqtt.outbox import FLOW, Delivery, Item, Outbox, Phase
from coldseal.mqtt.packets import (
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    Subscription,
    Will,
)
from coldseal.mqtt.retained import Retained
from coldseal.mqtt.session import (
    RESTART_GRACE_S,
    Identity,
    Notes,
    RetainedRecord,
    Session,
    SessionKey,
)
from coldseal.mqtt.subscriptions import Held, is_match

REFUSED = ReasonCode.UNSPECIFIED_ERROR


def _outbox(*, items: int = 10, size: int = 1_000, maximum: int = 10) -> tuple[Outbox, list[int]]:
    """Make an outbox whose client is there, and the list of the changes it notes."""
    noted: list[int] = []
    outbox = Outbox(items, size, noted.append)
    outbox.attach(maximum)
    return outbox, noted


def _sent(outbox: Outbox) -> Publish:
    """Give the next packet, which must be a PUBLISH."""
    packet = outbox.next(0.0)
    assert isinstance(packet, Publish)
    return packet


class TestOutbox:
    """QoS 1 and 2 towards a client (MQTT 4.3, 4.4, 4.9)."""

    def test_qos_1_is_over_with_puback(self) -> None:
        """4.3.2."""
        outbox, noted = _outbox()
        outbox.offer(1, Delivery("a", b"x", 1))
        packet = _sent(outbox)
        assert (packet.packet_id, packet.dup) == (1, False)
        assert outbox.settle(PubAck(1)) is Phase.DONE
        assert len(outbox) == 0
        assert noted == [1, 1, 1]

    def test_qos_2_is_over_with_pubcomp(self) -> None:
        """4.3.3."""
        outbox, noted = _outbox()
        outbox.offer(1, Delivery("a", b"x", 2))
        _sent(outbox)
        assert outbox.settle(PubRec(1)) is Phase.RELEASED
        assert outbox.settle(PubRec(1)) is Phase.RELEASED
        assert outbox.settle(PubComp(1)) is Phase.DONE
        assert noted == [1, 1, 1, 1]

    @pytest.mark.parametrize("answer", [PubAck(1, REFUSED), PubRec(1, REFUSED)])
    def test_a_refused_message_is_not_sent_again(self, answer: PubAck | PubRec) -> None:
        """4.3.2, 4.3.3: a reason code of 0x80 or more ends it."""
        outbox, _ = _outbox()
        outbox.offer(1, Delivery("a", b"x", 1 if isinstance(answer, PubAck) else 2))
        _sent(outbox)
        assert outbox.settle(answer) is Phase.DONE
        outbox.attach(10)
        assert outbox.next(0.0) is None

    @pytest.mark.parametrize("qos", [1, 2])
    @pytest.mark.parametrize("phase", [Phase.PUBLISHED, Phase.RELEASED])
    @pytest.mark.parametrize("kind", [PubAck, PubRec, PubComp])
    def test_only_the_answers_of_the_table_move_a_message(
        self, qos: int, phase: Phase, kind: type[PubAck | PubRec | PubComp]
    ) -> None:
        """Any other answer is ignored: the message stays where it is."""
        outbox, _ = _outbox()
        outbox.restore([Item(1, Delivery("a", b"x", qos), phase, 9)])
        assert outbox.settle(kind(9)) is FLOW.get((qos, phase, kind))
        assert outbox.settle(kind(8)) is None

    def test_no_more_is_under_way_than_the_client_takes(self) -> None:
        """4.9: the quota is given back with the last answer."""
        outbox, _ = _outbox(maximum=2)
        for number in range(4):
            outbox.offer(number, Delivery("a", b"%d" % number, 2))
        assert [_sent(outbox).payload for _ in range(2)] == [b"0", b"1"]
        assert outbox.next(0.0) is None
        outbox.settle(PubRec(1))
        assert outbox.next(0.0) is None
        outbox.settle(PubComp(1))
        assert _sent(outbox).payload == b"2"

    def test_what_was_under_way_is_repeated_in_order(self) -> None:
        """MQTT-4.4.0-1, 4.6.0-1: DUP, the same identifiers, before anything new."""
        outbox, _ = _outbox()
        for number in range(3):
            outbox.offer(number, Delivery("a", b"%d" % number, 2))
            _sent(outbox)
        outbox.offer(3, Delivery("a", b"new", 1))
        outbox.settle(PubRec(2))
        outbox.attach(2)
        first, second, third = _sent(outbox), outbox.next(0.0), _sent(outbox)
        assert (first.packet_id, first.dup, first.payload) == (1, True, b"0")
        assert second == PubRel(2)
        assert (third.packet_id, third.dup) == (3, True)
        assert outbox.next(0.0) is None
        outbox.settle(PubRec(1))
        outbox.settle(PubComp(1))
        assert _sent(outbox).payload == b"new"

    def test_an_answer_before_its_repetition_spares_it(self) -> None:
        """A client may answer what it got on the last connection."""
        outbox, _ = _outbox()
        outbox.offer(1, Delivery("a", b"x", 1))
        _sent(outbox)
        outbox.attach(10)
        assert outbox.settle(PubAck(1)) is Phase.DONE
        assert outbox.next(0.0) is None

    def test_repetition_keeps_to_the_new_quota(self) -> None:
        """A client that comes back smaller gets one after the other."""
        outbox, _ = _outbox()
        for number in range(3):
            outbox.offer(number, Delivery("a", b"x", 1))
            _sent(outbox)
        outbox.attach(1)
        assert _sent(outbox).packet_id == 1
        assert outbox.next(0.0) is None
        outbox.settle(PubAck(1))
        assert _sent(outbox).packet_id == 2

    def test_it_is_bounded_in_messages_and_in_bytes(self) -> None:
        """The one too many is refused, and nothing else is lost."""
        outbox, _ = _outbox(items=2)
        assert outbox.offer(1, Delivery("a", b"x", 1))
        assert outbox.offer(2, Delivery("a", b"x", 1))
        assert not outbox.offer(3, Delivery("a", b"x", 1))
        outbox, _ = _outbox(size=100)
        assert outbox.offer(1, Delivery("a", bytes(60), 1))
        assert not outbox.offer(2, Delivery("a", bytes(60), 1))
        _sent(outbox)
        outbox.settle(PubAck(1))
        assert outbox.offer(3, Delivery("a", bytes(60), 1))

    def test_an_expired_message_is_not_begun(self) -> None:
        """MQTT-3.3.2-5; one that was begun is carried through."""
        outbox, _ = _outbox()
        outbox.offer(1, Delivery("a", b"old", 1, expires_at=5.0))
        outbox.offer(2, Delivery("a", b"begun", 1, expires_at=50.0))
        packet = outbox.next(10.0)
        assert isinstance(packet, Publish)
        assert (packet.payload, packet.properties.message_expiry_interval) == (b"begun", 40)
        assert outbox.expired == 1
        outbox.attach(10)
        again = outbox.next(60.0)
        assert isinstance(again, Publish)
        assert (again.dup, again.properties.message_expiry_interval) == (True, 1)

    def test_a_message_that_cannot_be_sent_is_let_go(self) -> None:
        """MQTT-3.1.2-25: as if it had been sent and answered."""
        outbox, _ = _outbox(maximum=1)
        outbox.offer(1, Delivery("a", b"big", 1))
        outbox.offer(2, Delivery("a", b"x", 1))
        outbox.discard(_sent(outbox).packet_id or 0)
        assert _sent(outbox).payload == b"x"

    def test_identifiers_in_use_are_passed_over(self) -> None:
        """MQTT-2.2.1-4: also after the numbers have gone round."""
        outbox, _ = _outbox(items=70_000, size=10**9, maximum=65_535)
        outbox.restore([Item(0, Delivery("a", b"", 1), Phase.PUBLISHED, 2)])
        for number in range(1, 65_536):
            outbox.offer(number, Delivery("a", b"", 1))
        used = [_sent(outbox).packet_id for _ in range(65_534)]
        assert len(set(used)) == 65_534
        assert 2 not in used
        assert outbox.next(0.0) is None

    def test_waiting_messages_can_be_sorted_out(self) -> None:
        """When a right is lost, what waits because of it goes."""
        outbox, _ = _outbox()
        for number, topic in enumerate(("a", "b", "a")):
            outbox.offer(number, Delivery(topic, b"x", 1))
        outbox.keep_only(lambda topic: topic == "b")
        assert _sent(outbox).topic == "b"
        assert outbox.next(0.0) is None


class OutboxToClient(RuleBasedStateMachine):
    """A client that keeps to the standard, behind connections and processes that fail at any point."""

    def __init__(self) -> None:
        """Begin connected, with nothing sent."""
        super().__init__()
        self.outbox, _ = _outbox(items=1_000, size=10**6, maximum=3)
        self.offered: list[bytes] = []
        self.arrived: list[bytes] = []
        self.received: set[int] = set()
        self.under_way: list[Publish | PubRel] = []

    @rule(qos=st.sampled_from([1, 2]))
    def offer(self, qos: int) -> None:
        """Somebody publishes."""
        payload = b"%d at %d" % (len(self.offered), qos)
        assert self.outbox.offer(len(self.offered), Delivery("a", payload, qos))
        self.offered.append(payload)

    @rule()
    def send(self) -> None:
        """The next packet goes out."""
        packet = self.outbox.next(0.0)
        if packet is not None:
            self.under_way.append(packet)

    @precondition(lambda self: self.under_way)
    @rule()
    def answer(self) -> None:
        """The client takes a packet and answers."""
        packet = self.under_way.pop(0)
        packet_id = packet.packet_id or 0
        if isinstance(packet, PubRel):
            self.received.discard(packet_id)
            self.outbox.settle(PubComp(packet_id))
        elif packet.qos == 1:
            self.arrived.append(packet.payload)
            self.outbox.settle(PubAck(packet_id))
        else:
            if packet_id not in self.received:
                self.received.add(packet_id)
                self.arrived.append(packet.payload)
            self.outbox.settle(PubRec(packet_id))
            self.under_way.append(PubRel(packet_id))

    @rule()
    def lose_the_answer(self) -> None:
        """The client takes a packet, and the connection ends before its answer arrives."""
        for packet in self.under_way[:1]:
            if isinstance(packet, PubRel):
                self.received.discard(packet.packet_id)
            elif packet.qos == 1 or packet.packet_id not in self.received:
                self.arrived.append(packet.payload)
                if packet.qos == 2:
                    self.received.add(packet.packet_id or 0)
        self.reconnect()

    @rule()
    def reconnect(self) -> None:
        """The connection ends, and the client comes back."""
        self.under_way.clear()
        self.outbox.attach(3)

    @rule()
    def restart(self) -> None:
        """The process ends; all that it noted is there again."""
        kept = [item for number in self.outbox.numbers() if (item := self.outbox.find(number))]
        self.outbox, _ = _outbox(items=1_000, size=10**6, maximum=3)
        self.outbox.restore(kept)
        self.reconnect()

    @override
    def teardown(self) -> None:
        """Everything arrives: at QoS 2 once and in order, at QoS 1 at least once."""
        self.reconnect()
        while len(self.outbox):
            self.send()
            if self.under_way:
                self.answer()
        exactly = [payload for payload in self.arrived if payload.endswith(b"2")]
        assert exactly == [payload for payload in self.offered if payload.endswith(b"2")]
        assert set(self.arrived) == set(self.offered)


TestOutboxToClient = OutboxToClient.TestCase


class TestSession:
    """What is written down of a session, and when."""

    key = SessionKey("gauge", "gauge-1")

    def _session(self, *, expiry_s: int = 60) -> tuple[Session, Notes]:
        """Make a session."""
        notes = Notes()
        session = Session(self.key, Identity("gauge", "f" * 32), Limits(), notes)
        session.expiry_s = expiry_s
        return session, notes

    def test_a_session_that_ends_with_its_connection_is_never_noted(self) -> None:
        """A publisher that begins clean causes no write at all."""
        session, notes = self._session(expiry_s=0)
        session.note()
        session.outbox.offer(1, Delivery("a", b"x", 1))
        assert notes.is_empty
        assert notes.count == 0

    def test_a_lasting_session_is_noted_with_its_messages(self) -> None:
        """Rows are named here; what they hold is read when the group is taken."""
        session, notes = self._session()
        session.note()
        session.outbox.offer(7, Delivery("a", b"x", 1))
        assert (notes.sessions, notes.messages) == ({self.key}, {(self.key, 7)})
        assert notes.count == 2
        notes.clear()
        assert notes.is_empty
        assert notes.group == 2

    def test_the_record_brings_everything_back(self) -> None:
        """Subscriptions, received identifiers, the will and its time."""
        session, _ = self._session()
        session.subscriptions = {"a": Held(Subscription("a", 1), 5)}
        session.inbound = {3: None}
        session.will, session.will_at, session.ends_at = Will("w", b"x"), 90.0, 150.0
        again, _ = self._session(expiry_s=0)
        again.restore(session.record(), now=100.0)
        assert again.record() == session.record()

    def test_a_restart_gives_the_client_time_to_come_back(self) -> None:
        """A connection that was open has ended; its will waits a minute, and its session begins to run."""
        session, _ = self._session(expiry_s=600)
        session.will = Will("w", b"x")
        session.restore(session.record(), now=100.0)
        assert (session.ends_at, session.will_at) == (700.0, 100.0 + RESTART_GRACE_S)

    def test_a_session_without_connection_has_no_way_out(self) -> None:
        """Whoever delivers then queues."""
        session, _ = self._session()
        assert session.outbound is None


def _record(topic: str, size: int = 1, owner: str = "gauge") -> RetainedRecord:
    """Make a retained message."""
    return RetainedRecord(owner, Delivery(topic, bytes(size), 1, retain=True, properties=Properties()))


class TestRetained:
    """3.3.1.3, within bounds."""

    @pytest.mark.parametrize(
        ("limits", "fits", "too_many"),
        [
            (Limits(max_retained=2), [_record("a"), _record("b")], _record("c")),
            (Limits(max_retained_per_device=1), [_record("a"), _record("b", owner="x")], _record("c")),
            (Limits(max_retained_bytes=10), [_record("a", 5), _record("b", 5)], _record("c")),
            (Limits(max_retained_bytes=10), [_record("a", 5)], _record("a", 11)),
        ],
    )
    def test_each_bound_holds(
        self, limits: Limits, fits: list[RetainedRecord], too_many: RetainedRecord
    ) -> None:
        """The one too many is not kept; a newer one of a kept topic may take its place."""
        retained = Retained(limits)
        for record in fits:
            assert retained.put(record)
        assert not retained.put(too_many)
        assert retained.put(fits[0])
        assert len(retained) == len(fits)

    def test_a_topic_can_change_hands(self) -> None:
        """The count of each owner follows."""
        retained = Retained(Limits(max_retained_per_device=1))
        assert retained.put(_record("a", owner="one"))
        assert retained.put(_record("a", owner="two"))
        assert retained.put(_record("b", owner="one"))
        assert not retained.put(_record("c", owner="two"))

    def test_clearing_leaves_nothing_behind(self) -> None:
        """Neither branches nor counts."""
        retained = Retained(Limits())
        for topic in ("a/b/c", "a/b", "a"):
            retained.put(_record(topic))
        assert [retained.remove(topic) for topic in ("a/b", "a/b/c", "a", "a")] == [True, True, True, False]
        assert (len(retained), retained._bytes, retained._owners, retained._root.children) == (0, 0, {}, {})

    @given(
        st.lists(
            st.lists(st.sampled_from(["a", "b", "", "$c"]), min_size=1, max_size=4).map("/".join), max_size=12
        ),
        st.lists(st.sampled_from(["a", "b", "", "$c", "+"]), min_size=1, max_size=4),
        st.booleans(),
    )
    def test_finding_agrees_with_matching(self, topics: list[str], levels: list[str], is_open: bool) -> None:
        """The tree of topics finds what each topic alone would match."""
        wanted = (*levels, "#") if is_open else tuple(levels)
        retained = Retained(Limits())
        for topic in topics:
            if topic:
                retained.put(_record(topic))
        found = sorted(record.delivery.topic for record in retained.match(wanted))
        assert found == sorted({topic for topic in topics if topic and is_match(wanted, topic)})


def test_an_interval_never_exceeds_what_a_packet_can_carry() -> None:
    """Also when the clock was put back while the gateway was away (3.3.2.3.3: four bytes)."""
    packet = Delivery("a", b"", 0, expires_at=2.0**40).publish(now=0.0)
    assert packet.properties.message_expiry_interval == 2**32 - 1


def test_a_delivery_without_expiry_lasts() -> None:
    """Only a message that says so grows old."""
    assert not Delivery("a", b"", 0).is_expired(10**9)
    assert Delivery("a", b"", 0, expires_at=5.0).is_expired(5.0)
    assert not Delivery("a", b"", 0, expires_at=5.0).is_expired(4.9)
