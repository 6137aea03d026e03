"""Who is let in, whose session it is, and what is there again after a restart."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from typing_extensions import override

from coldseal.mqtt.limits import Limits
from coldseal.mqtt.packets import (
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
    Subscribe,
    Subscription,
    Version,
    Will,
)
from coldseal.mqtt.session import RESTART_GRACE_S, Identity
from coldseal.mqtt.subscribing import Denied
from tests.mqtt.wire import KEPT, Hub, Wire, message

V311, V5 = Version.V311, Version.V5


class TestAdmission:
    """Who may come in."""

    def test_the_shell_decides_who_it_is(self) -> None:
        """CONNECT only asks; until it is decided nothing is answered and nothing is done."""
        hub = Hub()
        hub.is_admitting = False
        wire = hub.wire()
        wire.send(Connect("one"), message())
        assert wire.take() == []
        assert hub.messages == []
        assert not wire.is_read()
        hub.logins[0].connection.admit(Identity("gauge"), hub.rights, "fresh", hub.now)
        wire.only(ConnAck)
        hub.collect()
        assert [each.identity.name for each in hub.messages] == ["gauge"]

    def test_an_answer_for_a_caller_who_has_left_does_nothing(self) -> None:
        """A password check may take longer than a caller's patience."""
        hub = Hub()
        hub.is_admitting = False
        wire = hub.wire()
        wire.send(Connect("one"))
        wire.lose()
        hub.logins[0].connection.admit(Identity("gauge"), hub.rights, "fresh", hub.now)
        hub.logins[0].connection.refuse(ReasonCode.NOT_AUTHORIZED)
        assert wire.take() == []
        assert hub.broker.connections == set()

    @pytest.mark.parametrize(
        ("version", "reason", "told"),
        [
            (V5, ReasonCode.QUOTA_EXCEEDED, ReasonCode.QUOTA_EXCEEDED),
            (V5, ReasonCode.NOT_AUTHORIZED, ReasonCode.NOT_AUTHORIZED),
            (V311, ReasonCode.QUOTA_EXCEEDED, ReasonCode.SERVER_UNAVAILABLE),
            (V311, ReasonCode.SERVER_BUSY, ReasonCode.SERVER_UNAVAILABLE),
            (V311, ReasonCode.NOT_AUTHORIZED, ReasonCode.NOT_AUTHORIZED),
            (V311, ReasonCode.MALFORMED_PACKET, None),
        ],
    )
    def test_a_refusal_is_said_in_the_words_of_the_version(
        self, version: Version, reason: ReasonCode, told: ReasonCode | None
    ) -> None:
        """3.2.2.2 and 3.1.1 table 3.1; what 3.1.1 has no word for closes without one."""
        hub = Hub()
        hub.is_admitting = False
        wire = hub.wire(version)
        wire.send(Connect("one", version))
        wire.connection.refuse(reason, "in words")
        packets = wire.take()
        assert [packet.reason for packet in packets if isinstance(packet, ConnAck)] == (
            [told] if told else []
        )
        assert wire.connection.ended is reason

    def test_a_silent_caller_is_sent_away(self) -> None:
        """Half a CONNECT is no CONNECT: the time runs from the opening."""
        hub = Hub(Limits(connect_timeout_s=10))
        wire = hub.wire()
        hub.pass_s(6)
        wire.send_bytes(b"\x10\x20\x00\x04MQTT")
        hub.pass_s(6)
        assert wire.connection.is_closed
        assert hub.broker.connections == set()

    def test_a_device_has_a_bounded_number_of_connections(self) -> None:
        """0x97; taking over an own session is no new connection, and other devices are not touched."""
        hub = Hub(Limits(max_connections_per_device=2))
        for name in ("one", "two", "two"):
            hub.admitted(name)
        _, answer = hub.connect("three")
        assert answer.reason is ReasonCode.QUOTA_EXCEEDED
        hub.admitted("three", device="other")

    def test_a_device_has_a_bounded_number_of_sessions(self) -> None:
        """Also without connections; old names still work."""
        hub = Hub(Limits(max_sessions_per_device=2))
        for name in ("one", "two"):
            hub.admitted(name, properties=KEPT).lose()
        _, answer = hub.connect("three", properties=KEPT)
        assert answer.reason is ReasonCode.QUOTA_EXCEEDED
        hub.admitted("two", clean=False)

    def test_there_is_a_bounded_number_of_sessions(self) -> None:
        """Over all devices."""
        hub = Hub(Limits(max_sessions=2))
        for name in ("one", "two"):
            hub.admitted("x", device=name)
        _, answer = hub.connect("x", device="three")
        assert answer.reason is ReasonCode.QUOTA_EXCEEDED

    def test_a_will_without_right_is_no_way_round(self) -> None:
        """0x87 in CONNACK."""
        hub = Hub()
        hub.rights.forbidden.add("w")
        _, answer = hub.connect(will=Will("w", b"x"))
        assert answer.reason is ReasonCode.NOT_AUTHORIZED


class TestTakingOver:
    """MQTT-3.1.4-3."""

    def test_a_connection_without_lasting_session_leaves_nothing(self) -> None:
        """The new one begins anew, even without clean start."""
        hub = Hub()
        hub.admitted().subscribe("a")
        _, answer = hub.connect(clean=False)
        assert not answer.session_present
        assert not hub.broker.has_audience

    def test_the_old_connection_is_told_and_its_socket_does_no_harm(self) -> None:
        """0x8E; losing the old socket afterwards does not touch the session."""
        hub = Hub()
        old = hub.admitted(properties=KEPT)
        new = hub.admitted(clean=False, properties=KEPT)
        assert old.only(Disconnect).reason is ReasonCode.SESSION_TAKEN_OVER
        old.lose()
        old.send_bytes(b"\xc0\x00")
        assert old.take() == []
        new.subscribe("a")
        hub.broker.publish(Publish("a", b"x"))
        new.only(Publish)

    def test_the_will_of_the_old_connection_is_published(self) -> None:
        """Its network connection ended without a farewell; a delay would have spared it."""
        hub = Hub()
        hub.admitted("one", properties=KEPT, will=Will("w", b"now"))
        hub.admitted("one", clean=False, properties=KEPT)
        hub.admitted(
            "two", properties=KEPT, will=Will("w", b"later", properties=Properties(will_delay_interval=9))
        )
        hub.admitted("two", clean=False, properties=KEPT)
        hub.pass_s(100)
        assert [each.publish.payload for each in hub.messages] == [b"now"]


class TestWills:
    """3.1.2.5 and 3.1.3.2.2."""

    def test_a_will_goes_the_way_of_every_message(self) -> None:
        """It is handed over with its owner's identity, and reaches others when it is accepted."""
        hub = Hub()
        reader = hub.admitted("reader")
        reader.subscribe("w")
        client = hub.admitted(device="door", will=Will("w", b"gone", 1))
        client.lose()
        (received,) = hub.messages
        assert (received.identity.name, received.client_id, received.publish.packet_id) == (
            "door",
            "one",
            None,
        )
        assert reader.take() == []
        hub.acknowledge()
        assert reader.only(Publish).payload == b"gone"

    def test_a_will_that_is_not_accepted_reaches_nobody(self) -> None:
        """Like every message."""
        hub = Hub()
        reader = hub.admitted("reader")
        reader.subscribe("w")
        hub.admitted(will=Will("w", b"gone", 1)).lose()
        hub.acknowledge(3)
        assert reader.take() == []

    def test_a_protocol_fault_is_an_end_without_farewell(self) -> None:
        """4.13."""
        hub = Hub()
        client = hub.admitted(will=Will("w", b"gone"))
        client.send_bytes(b"\xff")
        assert len(hub.messages) == 1

    def test_our_own_end_is_nobodys_will(self) -> None:
        """A gateway that is restarted must not report its devices as gone."""
        hub = Hub()
        wire = hub.admitted(will=Will("w", b"gone"))
        hub.broker.stop()
        hub.collect()
        assert wire.only(Disconnect).reason is ReasonCode.SERVER_SHUTTING_DOWN
        hub.pass_s(1_000)
        assert hub.messages == []


class TestRights:
    """Rights are those of the present configuration, not of the day of the subscription."""

    def test_a_lost_right_ends_its_subscription_at_the_next_connection(self) -> None:
        """With what waits only because of it."""
        hub = Hub()
        client = hub.admitted(properties=KEPT)
        client.subscribe("a", "b/#")
        client.lose()
        for topic in ("a", "b/c", "a"):
            hub.broker.publish(message(topic))
        hub.rights.forbidden.add("a")
        client, answer = hub.connect(clean=False, properties=KEPT)
        assert answer.session_present
        assert client.only(Publish).topic == "b/c"
        assert hub.broker.publish(message("a")) == 0
        hub.save()
        (record,) = hub.disk.sessions.values()
        assert [held.subscription.filter for held in record.subscriptions] == ["b/#"]
        assert hub.denied == [Denied(Identity("gauge"), "a", is_lost=True)]

    def test_each_refused_filter_is_noticed(self) -> None:
        """For the shell: the others of the same packet are granted."""
        hub = Hub()
        hub.rights.forbidden |= {"a", "$share/g/b"}
        hub.admitted().subscribe("a", "c", "$share/g/b")
        assert hub.denied == [Denied(Identity("gauge"), topic) for topic in ("a", "$share/g/b")]

    def test_a_refused_will_is_noticed_with_its_payload(self) -> None:
        """And its client is not let in."""
        hub = Hub()
        hub.rights.forbidden.add("w")
        assert hub.connect(will=Will("w", b"gone"))[1].reason is ReasonCode.NOT_AUTHORIZED
        assert hub.denied == [Denied(Identity("gauge"), "w", is_will=True, payload=b"gone")]


class TestRestart:
    """What is on disk is a session; the rest is gone with the process."""

    def test_a_session_is_there_again(self) -> None:
        """Subscriptions, waiting messages, identifiers of QoS 2 both ways, retained messages."""
        hub = Hub()
        reader = hub.admitted("reader", properties=KEPT)
        reader.send(
            Subscribe(1, (Subscription("a", 2),), Properties(subscription_identifiers=(5,))),
            message("t", qos=2, packet_id=9),
        )
        hub.acknowledge()
        hub.broker.publish(message("a", b"1", 2))
        hub.broker.publish(message("a", b"2", 1))
        hub.broker.publish(message("r", b"kept", retain=True))
        reader.send(PubRec(1))
        hub.save()
        hub.restart()
        reader, answer = hub.connect("reader", clean=False, properties=KEPT)
        assert answer.session_present
        again = reader.take()
        assert again[0] == PubRel(1)
        assert isinstance(again[1], Publish)
        assert (again[1].payload, again[1].dup, again[1].packet_id) == (b"2", True, 2)
        assert again[1].properties.subscription_identifiers == (5,)
        reader.send(message("t", qos=2, packet_id=9, dup=True))
        assert reader.only(PubRec).packet_id == 9
        assert hub.messages == []
        reader.subscribe("r")
        hub.broker.publish(message("a", b"3"))
        hub.save()
        assert [packet.payload for packet in reader.take() if isinstance(packet, Publish)] == [b"3"]

    def test_a_session_that_ended_is_not(self) -> None:
        """Neither it nor its messages stay on disk."""
        hub = Hub()
        reader = hub.admitted("reader", properties=KEPT)
        reader.subscribe("a")
        hub.broker.publish(message("a"))
        hub.save()
        assert hub.disk.items
        reader.lose()
        hub.pass_s(601)
        hub.save()
        assert (hub.disk.sessions, hub.disk.items) == ({}, {})

    def test_a_session_that_ceases_to_last_leaves_the_disk(self) -> None:
        """By farewell, or by the next CONNECT."""
        hub = Hub()
        for end in ("farewell", "connect"):
            reader = hub.admitted("reader", clean=True, properties=KEPT)
            reader.subscribe("a")
            hub.broker.publish(message("a"))
            hub.save()
            assert hub.disk.items
            if end == "farewell":
                reader.send(Disconnect(properties=Properties(session_expiry_interval=0)))
            else:
                hub.admitted("reader", clean=False)
            hub.save()
            assert (hub.disk.sessions, hub.disk.items) == ({}, {})

    def test_a_session_that_begins_to_last_comes_to_the_disk_whole(self) -> None:
        """With what it held before."""
        hub = Hub()
        reader = hub.admitted("reader")
        reader.subscribe("a")
        hub.broker.publish(message("a"))
        hub.broker.change_expiry(next(iter(hub.broker._sessions.values())), 60)
        hub.save()
        assert len(hub.disk.items) == 1

    def test_time_goes_on_while_the_process_is_away(self) -> None:
        """A session may end, and a message may grow old, meanwhile."""
        hub = Hub()
        reader = hub.admitted("reader", properties=KEPT)
        reader.subscribe("a")
        reader.lose()
        hub.broker.publish(Publish("a", b"x", 1, properties=Properties(message_expiry_interval=50)))
        hub.save()
        hub.now += 100
        hub.restart()
        reader, answer = hub.connect("reader", clean=False, properties=KEPT)
        assert answer.session_present
        assert reader.take() == []
        reader.lose()
        hub.save()
        hub.now += 1_000
        hub.restart()
        hub.pass_s(0)
        _, answer = hub.connect("reader", clean=False)
        assert not answer.session_present

    def test_a_will_waits_for_its_client_after_a_restart(self) -> None:
        """The client has a minute to come back before its will is published."""
        for comes_back in (True, False):
            hub = Hub()
            hub.admitted(properties=KEPT, will=Will("w", b"gone"))
            hub.save()
            hub.restart()
            hub.pass_s(RESTART_GRACE_S - 1)
            if comes_back:
                hub.admitted(clean=False, properties=KEPT)
            hub.pass_s(2)
            assert len(hub.messages) == (0 if comes_back else 1)

    def test_numbers_go_on_after_the_highest(self) -> None:
        """A new message must not take the row of an old one."""
        hub = Hub()
        reader = hub.admitted("reader", properties=KEPT)
        reader.subscribe("a")
        reader.lose()
        for payload in (b"1", b"2"):
            hub.broker.publish(message("a", payload))
        hub.save()
        hub.restart()
        hub.broker.publish(message("a", b"3"))
        hub.save()
        hub.restart()
        reader, _ = hub.connect("reader", clean=False, properties=KEPT)
        assert [packet.payload for packet in reader.take() if isinstance(packet, Publish)] == [
            b"1",
            b"2",
            b"3",
        ]


class Delivery(RuleBasedStateMachine):
    """A publisher, a subscriber, and a broker whose connections and process fail at any point.

    The broker writes and confirms only when a rule says so; what it says before that must be true.
    """

    def __init__(self) -> None:
        """Connect both, each with a lasting session."""
        super().__init__()
        self.hub = Hub()
        self.sent: list[bytes] = []
        self.unanswered: dict[int, Publish | PubRel] = {}
        self.next_id = 1
        self.got: list[bytes] = []
        self.open_ids: set[int] = set()
        self.reader = self._reader()
        self.reader.send(Subscribe(1, (Subscription("a", 2),)))
        self.hub.save()
        self.writer = self._writer()
        self._read()

    def _reader(self) -> Wire:
        return self.hub.admitted("reader", clean=False, properties=KEPT)

    def _writer(self) -> Wire:
        wire = self.hub.admitted("writer", clean=False, properties=KEPT)
        wire.take()
        for packet in self.unanswered.values():
            if isinstance(packet, Publish):
                wire.send(message("a", packet.payload, packet.qos, packet.packet_id or 0, dup=True))
            else:
                wire.send(packet)
        return wire

    @rule(qos=st.sampled_from([1, 2]))
    def publish(self, qos: int) -> None:
        """The publisher sends one more."""
        payload = b"%d at %d" % (len(self.sent), qos)
        self.sent.append(payload)
        packet = message("a", payload, qos, self.next_id)
        self.unanswered[self.next_id] = packet
        self.next_id += 1
        self.writer.send(packet)

    @rule()
    def acknowledge(self) -> None:
        """Everything handed over is accepted."""
        self.hub.acknowledge()

    @rule()
    def write(self) -> None:
        """The disk gets what has changed."""
        self.hub.save()

    @rule()
    def hear(self) -> None:
        """The publisher reads its answers."""
        for packet in self.writer.take():
            if isinstance(packet, PubAck | PubComp):
                self.unanswered.pop(packet.packet_id, None)
            elif isinstance(packet, PubRec):
                self.unanswered[packet.packet_id] = PubRel(packet.packet_id)
                self.writer.send(PubRel(packet.packet_id))

    @rule()
    def read(self) -> None:
        """The subscriber reads and answers."""
        self._read()

    def _read(self) -> None:
        for packet in self.reader.take():
            if isinstance(packet, PubRel):
                self.open_ids.discard(packet.packet_id)
                self.reader.send(PubComp(packet.packet_id))
            elif isinstance(packet, Publish):
                number = packet.packet_id or 0
                if packet.qos == 1:
                    self.got.append(packet.payload)
                    self.reader.send(PubAck(number))
                else:
                    if number not in self.open_ids:
                        self.open_ids.add(number)
                        self.got.append(packet.payload)
                    self.reader.send(PubRec(number))

    @rule(who=st.sampled_from(["reader", "writer"]))
    def lose(self, who: str) -> None:
        """A connection fails, and its client comes back."""
        if who == "reader":
            self.reader.lose()
            self.reader = self._reader()
        else:
            self.writer.lose()
            self.writer = self._writer()

    @precondition(lambda self: not self.hub.messages)
    @rule()
    def crash(self) -> None:
        """The process ends with whatever is on disk; both clients come back.

        What was handed over and not accepted is the log's matter, so there is none of it here.
        """
        self.hub.restart()
        self.reader, self.writer = self._reader(), self._writer()

    @override
    def teardown(self) -> None:
        """At QoS 2 everything arrives once and in order; at QoS 1 at least once."""
        self.lose("writer")
        for _ in range(4 * len(self.sent) + 8):
            self.acknowledge()
            self.write()
            self.hear()
            self.read()
        assert self.unanswered == {}
        once = [payload for payload in self.got if payload.endswith(b"2")]
        assert once == [payload for payload in self.sent if payload.endswith(b"2")]
        assert set(self.got) == set(self.sent)


TestDelivery = Delivery.TestCase
