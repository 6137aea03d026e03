"""A pure broker with clients that are wires: bytes passed by hand, time told, durability confirmed."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from coldseal.mqtt.broker import Broker
from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.connection import Fault, Login
from coldseal.mqtt.inbound import Received
from coldseal.mqtt.limits import Limits
from coldseal.mqtt.outbox import Item
from coldseal.mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    Properties,
    PubAck,
    Publish,
    PubRec,
    ReasonCode,
    Subscribe,
    Subscription,
    Version,
    Will,
)
from coldseal.mqtt.session import Changes, Identity, RetainedRecord, SessionKey, SessionRecord
from coldseal.mqtt.subscribing import Denied

GOOD, BAD, BUSY, FORBIDDEN = range(4)
ANSWERS = {
    GOOD: ReasonCode.SUCCESS,
    BAD: ReasonCode.PAYLOAD_FORMAT_INVALID,
    BUSY: ReasonCode.SERVER_BUSY,
    FORBIDDEN: ReasonCode.NOT_AUTHORIZED,
}
KEPT = Properties(session_expiry_interval=600)
Kind = TypeVar("Kind", bound=Packet)


class Rights(msgspec.Struct):
    """May do everything but what is listed."""

    forbidden: set[str] = msgspec.field(default_factory=set)

    def may_publish(self, topic: str) -> bool:
        """Whether this topic is not forbidden."""
        return topic not in self.forbidden

    def may_will(self, topic: str, *, retain: bool) -> bool:
        """Whether this topic is not forbidden, retained or not."""
        del retain
        return topic not in self.forbidden

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether this filter is not forbidden."""
        return topic_filter not in self.forbidden


class Disk:
    """What a store would hold after each group that was written."""

    def __init__(self) -> None:
        """Start empty."""
        self.sessions: dict[SessionKey, SessionRecord] = {}
        self.items: dict[tuple[SessionKey, int], bytes] = {}
        self.retained: dict[str, RetainedRecord] = {}
        self.groups = 0

    def write(self, changes: Changes) -> None:
        """Write a group."""
        self.groups += 1
        for key, record in changes.sessions.items():
            if record is None:
                self.sessions.pop(key, None)
            else:
                self.sessions[key] = record
        for place, item in changes.messages.items():
            if item is None:
                self.items.pop(place, None)
            else:
                self.items[place] = msgspec.msgpack.encode(item)
        for topic, kept in changes.retained.items():
            if kept is None:
                self.retained.pop(topic, None)
            else:
                self.retained[topic] = kept


class Wire:
    """A client of a pure broker."""

    def __init__(self, hub: Hub, version: Version) -> None:
        """Open a connection; nothing is sent yet."""
        self.hub, self.version = hub, version
        self.connection = hub.broker.open(hub.now)
        self._decoder = Decoder(version=version)

    def send(self, *packets: Packet) -> None:
        """Send packets in one chunk."""
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes."""
        self.connection.receive(data, self.hub.now)
        self.hub.collect()

    def take(self) -> list[Packet]:
        """Give what may leave by now: nothing that waits for the disk."""
        data = self.connection.take()
        self.connection.move_up()
        return self._decoder.feed(data)

    def only(self, kind: type[Kind]) -> Kind:
        """Give the one packet that may leave, of this kind."""
        packets = self.take()
        assert len(packets) == 1, packets
        assert isinstance(packets[0], kind), packets
        return packets[0]

    def answer(self, qos: int) -> PubAck | PubRec:
        """Give the one packet that may leave, the first answer to a message of this QoS."""
        return self.only(PubAck) if qos == 1 else self.only(PubRec)

    def is_read(self) -> bool:
        """Whether a shell would read on."""
        return not self.connection.is_loaded

    def subscribe(self, *filters: str, qos: int = 2) -> None:
        """Subscribe, and forget the answer."""
        self.send(Subscribe(1, tuple(Subscription(each, qos) for each in filters)))
        self.hub.save()
        self.take()

    def lose(self) -> None:
        """The socket is gone."""
        self.connection.lost(self.hub.now)
        self.hub.collect()


class Hub:
    """A broker with a disk; messages and faults are kept as they come."""

    def __init__(self, limits: Limits | None = None, disk: Disk | None = None) -> None:
        """Start, with what the disk holds."""
        self.now = 1_000.0
        self.limits = limits or Limits()
        self.disk = disk or Disk()
        self.rights = Rights()
        self.woken = 0
        self.messages: list[Received] = []
        self.faults: list[Fault] = []
        self.denied: list[Denied] = []
        self.logins: list[Login] = []
        self.is_admitting = True
        self.broker = self._start()

    def _start(self) -> Broker:
        """Make a broker from what the disk holds."""
        broker = Broker(self.limits, ANSWERS, self._wake, self.now)
        kept: dict[SessionKey, list[Item]] = {}
        for (key, _), item in self.disk.items.items():
            kept.setdefault(key, []).append(msgspec.msgpack.decode(item, type=Item))
        broker.restore(self.disk.sessions.items(), kept, self.disk.retained.values(), self.now)
        return broker

    def _wake(self) -> None:
        """There is output."""
        self.woken += 1

    def collect(self) -> None:
        """See to the events; whoever logs in is let in."""
        while self.broker.events:
            events, self.broker.events = self.broker.events, []
            for event in events:
                if isinstance(event, Received):
                    self.messages.append(event)
                elif isinstance(event, Fault):
                    self.faults.append(event)
                elif isinstance(event, Denied):
                    self.denied.append(event)
                else:
                    self.logins.append(event)
                    if self.is_admitting:
                        name = event.connect.username or "gauge"
                        event.connection.admit(Identity(name), self.rights, "fresh", self.now)

    def save(self) -> None:
        """Write what has changed, and confirm it."""
        changes = self.broker.take_changes()
        if changes is not None:
            self.disk.write(changes)
            self.broker.confirm(changes.group)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.broker.tick(self.now)
        self.collect()

    def restart(self) -> None:
        """The process ends without a word; another begins with what is on disk."""
        self.messages.clear()
        self.broker = self._start()

    def wire(self, version: Version = Version.V5) -> Wire:
        """Open a connection."""
        return Wire(self, version)

    def connect(
        self,
        client_id: str = "one",
        *,
        version: Version = Version.V5,
        device: str = "gauge",
        clean: bool = True,
        keep_alive: int = 0,
        will: Will | None = None,
        properties: Properties | None = None,
    ) -> tuple[Wire, ConnAck]:
        """Connect a client, let it in, write its session; give it with its CONNACK."""
        wire = self.wire(version)
        said = properties or Properties()
        wire.send(Connect(client_id, version, clean, keep_alive, will, device, None, said))
        self.save()
        packets = wire.take()
        answer = packets[0]
        assert isinstance(answer, ConnAck)
        for packet in packets[1:]:
            wire.connection.write(encode(packet, version))
        return wire, answer

    def admitted(self, client_id: str = "one", **options: object) -> Wire:
        """Connect a client that must be let in."""
        wire, answer = self.connect(client_id, **options)  # type: ignore[arg-type] # the same options
        assert answer.reason is ReasonCode.SUCCESS
        return wire

    def acknowledge(self, outcome: int = GOOD, text: str = "") -> None:
        """Acknowledge all messages, in order."""
        messages, self.messages = self.messages, []
        for message in messages:
            message.acknowledge(outcome, text)


def message(
    topic: str = "a",
    payload: bytes = b"x",
    qos: int = 1,
    packet_id: int = 1,
    *,
    retain: bool = False,
    dup: bool = False,
) -> Publish:
    """Make a PUBLISH."""
    return Publish(topic, payload, qos, retain, dup, packet_id if qos else None)
