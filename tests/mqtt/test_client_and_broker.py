"""The two machines played against each other: bytes pass between them, whole, in pieces, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.mqtt.client import Client, State
from coldseal.mqtt.client_events import Acknowledged, Event, Received, Subscribed
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.packets import Connect, Properties, Publish, ReasonCode, Subscription, Version
from tests.mqtt.wire import Hub


class Pair:
    """A client machine connected to a broker machine; what the broker takes is acknowledged at once."""

    def __init__(self, hub: Hub, session: Session, version: Version, piece: int = 1_000_000) -> None:
        """Connect; bytes go over in pieces of a size."""
        held = Properties(session_expiry_interval=600, topic_alias_maximum=4)
        clean = version is Version.V5 and not session.is_established
        connect = Connect("one", version, clean, 60, username="gauge", properties=held)
        self.hub, self.piece = hub, piece
        self.connection = hub.broker.open(hub.now)
        self.client = Client(connect, session)
        self.events: list[Event] = []
        self.arrived: list[Publish] = []
        self.client.start(hub.now)

    def run(self, *, rounds: int = 50) -> None:
        """Pass bytes until both are silent."""
        for _ in range(rounds):
            up = self.pass_up()
            down = self.connection.take()
            for data in self._pieces(down):
                self.events += self.client.receive(data)
            self._answer()
            if not up and not down:
                return

    def pass_up(self) -> bytes:
        """Let the broker read and take what the client wrote; its answers stay with it."""
        up = self.client.take_output(self.hub.now)
        for data in self._pieces(up):
            self.connection.receive(data, self.hub.now)
        self.hub.collect()
        self.arrived += [received.publish for received in self.hub.messages]
        self.hub.acknowledge()
        self.hub.save()
        return up

    def _pieces(self, data: bytes) -> list[bytes]:
        return [data[at : at + self.piece] for at in range(0, len(data), self.piece)]

    def _answer(self) -> None:
        """Acknowledge what came."""
        for event in self.events:
            if isinstance(event, Received) and event.message.packet_id in self.client._inbound._owed:
                self.client.acknowledge(event.message.packet_id)

    def lose(self) -> None:
        """The connection breaks; what was written is lost."""
        self.client.take_output(self.hub.now)
        self.connection.lost(self.hub.now)
        self.hub.collect()
        self.hub.messages.clear()


def received(pair: Pair) -> list[bytes]:
    """Return the payloads that the client has received."""
    return [event.message.payload for event in pair.events if isinstance(event, Received)]


@pytest.mark.parametrize("version", Version)
def test_the_client_gets_its_own_messages_back_through_the_broker(version: Version) -> None:
    """Every QoS up and down, over one connection."""
    pair = Pair(Hub(), Session(), version)
    pair.run()
    assert pair.client.state is State.CONNECTED
    asked = pair.client.subscribe(Subscription("t/#", 2))
    pair.run()
    assert Subscribed(asked, (ReasonCode.GRANTED_QOS_2,)) in pair.events
    for qos in (0, 1, 2, 1, 0):
        pair.client.publish(Publish(f"t/{qos}", str(qos).encode(), qos))
    pair.run()
    assert sorted(received(pair)) == [b"0", b"0", b"1", b"1", b"2"]
    assert sum(isinstance(event, Acknowledged) for event in pair.events) == 3
    assert len(pair.client.session) == 0


@given(
    version=st.sampled_from(Version),
    steps=st.lists(st.sampled_from(["publish 1", "publish 2", "run", "lose", "lose answers"]), max_size=25),
    piece=st.integers(1, 40),
)
def test_whatever_breaks_the_broker_has_everything_in_the_end(
    version: Version, steps: list[str], piece: int
) -> None:
    """Each message is taken at least once, QoS 2 exactly once, and each has its answer."""
    hub, session = Hub(), Session()
    pair = Pair(hub, session, version, piece)
    arrived: list[Publish] = []
    count = 0
    for step in [*steps, "lose", "run"]:
        if step.startswith("publish"):
            pair.client.publish(Publish("t", str(count).encode(), int(step[-1])))
            count += 1
        elif step == "run":
            pair.run()
        else:
            if step == "lose answers":
                pair.pass_up()
            pair.lose()
            arrived += pair.arrived
            pair = Pair(hub, session, version, piece)
    arrived += pair.arrived
    assert len(session) == 0
    assert {packet.payload for packet in arrived} == {str(number).encode() for number in range(count)}
    twice = [packet.payload for packet in arrived if packet.qos == 2]
    assert len(twice) == len(set(twice))
