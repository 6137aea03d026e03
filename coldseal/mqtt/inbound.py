"""Messages from one client: aliases, Receive Maximum, QoS 2 identifiers, and answers in order.

Nothing is answered on arrival. A message becomes a ``Received``, and its PUBACK or PUBREC is made
when somebody has acknowledged it, in the order in which the messages came (MQTT-4.6.0-2, -3).
Passing it on to subscribers happens at that moment, never before. Rights are not checked here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from coldseal.mqtt.encode import encode_puback_bytes
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    ProtocolError,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    Version,
)

if TYPE_CHECKING:
    from coldseal.mqtt.connection import Connection
    from coldseal.mqtt.session import Identity, Session

_SUCCESS = ReasonCode.SUCCESS
_BUSY = ReasonCode.SERVER_BUSY  # in no PUBACK or PUBREC: it stands for waiting, and is never sent
_FAILED = 0x80
_EXACTLY_ONCE = 2


class Settler(Protocol):
    """Whoever waits for an acknowledgement: a connection's inbound half, or the broker for a will."""

    def settle(self, received: Received, outcome: int, text: str) -> None:
        """Take the outcome of a message."""


class Received(msgspec.Struct, eq=False):
    """A message that passed the protocol's checks; its taker calls ``acknowledge`` once, at any time.

    Args:
        publish: the message, with its topic.
        identity: who sent it.
        client_id: from which of its sessions.
        settler: who is told what became of it.
        answer: what became of it; None while nothing is known.
        text: the same in words.
        is_weighed: its taker has found it within its sender's rate; handed over again, it need not be asked.
    """

    publish: Publish
    identity: Identity
    client_id: str
    settler: Settler
    answer: ReasonCode | None = None
    text: str = ""
    is_weighed: bool = False

    def acknowledge(self, outcome: int, text: str = "") -> None:
        """Say what became of it: an outcome that the broker has an answer for, and the reason in words."""
        self.settler.settle(self, outcome, text)


class Inbound:
    """The receiver's half of one connection.

    ``load`` counts the messages handed over and not yet acknowledged; ``retry`` holds those that nobody
    could take: they are handed over again, and what comes behind them waits with them. No client is answered
    for one: a PUBACK with an error ends a message in MQTT 5 (MQTT-4.4.0-2), and it would not be sent again.
    """

    __slots__ = ("_aliases", "_broker", "_client_id", "_connection", "_maximum", "_pending", "_session",
                 "_unfinished", "_version", "load", "retry")  # fmt: skip

    def __init__(self, connection: Connection, session: Session, version: Version) -> None:
        """Start with nothing under way on this connection."""
        self._connection = connection
        self._broker = connection.broker
        self._session = session
        self._client_id = session.key.client_id
        self._version = version
        self._maximum = connection.broker.limits.receive_maximum
        self._aliases: dict[int, str] = {}
        self._pending: deque[Received] = deque()
        self._unfinished = 0
        self.load = 0
        self.retry: list[Received] = []

    def publish(self, publish: Publish) -> None:
        """Take a PUBLISH in.

        Raises:
            ProtocolError: an alias, the quota or a property breaks the standard.
        """
        if publish.properties is not NO_PROPERTIES:
            publish = self._resolve(publish)
        received = Received(publish, self._session.identity, self._client_id, self)
        if publish.qos:
            if publish.qos == _EXACTLY_ONCE and self._is_known(publish, received):
                return
            if self._unfinished >= self._maximum and self._version is Version.V5:
                expected = f"at most {self._maximum} unacknowledged messages"
                found = self._unfinished + 1
                raise ProtocolError(
                    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, "MQTT-3.3.4-7", "PUBLISH", found, expected
                )
            self._unfinished += 1
            self._pending.append(received)
        broker = self._broker
        self.load += 1
        broker.held_bytes += len(publish.payload)
        if self.retry:
            self.retry.append(received)  # one client's messages keep their order
        else:
            broker.events.append(received)

    def release(self, packet: PubRel) -> None:
        """Take a PUBREL in: the identifier is free again (MQTT-4.3.3-11)."""
        session, packet_id = self._session, packet.packet_id
        if session.inbound.get(packet_id, self) is None:
            del session.inbound[packet_id]
            session.note()
            self._finish()
            self._connection.send(PubComp(packet_id))
        else:
            self._connection.send(PubComp(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
        self._promise()

    def _promise(self) -> None:
        """An answer about an identifier must still be true after a restart."""
        if self._session.is_durable:
            self._connection.hold()

    def settle(self, received: Received, outcome: int, text: str) -> None:
        """Take the outcome of a message, and answer whatever is now first in line."""
        broker, publish = self._broker, received.publish
        answer = broker.answers[outcome]
        if answer is _BUSY and not self._connection.is_closed:
            self.retry.append(received)
            self._connection.wake()
            return
        received.answer = answer
        received.text = text
        broker.held_bytes -= len(publish.payload)
        self.load -= 1
        if self.load == self._maximum >> 1:  # half of the bound: the shell may read again
            self._connection.wake()
        if not publish.qos:
            if publish.retain or broker.tree.count:
                self._pass_on(received)
            return
        pending = self._pending
        if pending[0] is received:
            self._answer(pending.popleft())
            while pending and pending[0].answer is not None:
                self._answer(pending.popleft())

    @property
    def can_be_told(self) -> bool:
        """Whether the client understands why its messages wait, if the connection is ended for that."""
        return self._version is Version.V5

    @property
    def is_loaded(self) -> bool:
        """Whether so much waits for its outcome that no more should be read.

        An MQTT 5 client is read on while its messages wait: its Receive Maximum stops it, and its pings are
        answered, so that it does not come back and send everything anew.
        """
        broker = self._broker
        if broker.held_bytes > broker.limits.max_held_bytes:
            return True
        if self.retry and self._version is Version.V5:
            return self.load >= 2 * self._maximum
        return self.load >= self._maximum or bool(self.retry)

    def take_retries(self) -> list[Received]:
        """Give what must be handed over again; the caller does so."""
        retry, self.retry = self.retry, []
        return retry

    def close(self) -> None:
        """The connection is gone: nobody waits for what could not be taken."""
        for received in self.take_retries():
            received.answer = _BUSY
            self.load -= 1
            self._broker.held_bytes -= len(received.publish.payload)
            if received.publish.qos:
                self._withdraw(received)
                self._forget(received)

    def hand_over(self, received: Received) -> None:
        """Another connection of the session answers for this message from now on."""
        self.load -= 1
        self._withdraw(received)

    def _is_known(self, publish: Publish, received: Received) -> bool:
        """Whether this QoS 2 identifier is in use: then nothing is handed over again (MQTT-4.3.3-10)."""
        inbound, packet_id = self._session.inbound, publish.packet_id or 0
        if packet_id not in inbound:
            inbound[packet_id] = received
            return False
        waiting = inbound[packet_id]
        if waiting is None:
            self._connection.send(PubRec(packet_id))
            self._promise()
        elif waiting.settler is not self:  # it came on an earlier connection; its PUBREC is due on this one
            if isinstance(waiting.settler, Inbound):
                waiting.settler.hand_over(waiting)
            waiting.settler = self
            self._pending.append(waiting)
            self._unfinished += 1
            self.load += 1
        return True

    def _withdraw(self, received: Received) -> None:
        """Take a message out of the line, and let those behind it move up."""
        pending = self._pending
        pending.remove(received)
        while pending and pending[0].answer is not None:
            self._answer(pending.popleft())

    def _forget(self, received: Received) -> None:
        """Free a QoS 2 identifier whose message was not taken."""
        inbound, packet_id = self._session.inbound, received.publish.packet_id or 0
        if inbound.get(packet_id) is received:
            del inbound[packet_id]

    def _answer(self, received: Received) -> None:
        """Pass a message on and answer its sender; whatever must be durable first holds the answer back."""
        publish, answer = received.publish, received.answer or _SUCCESS
        broker, connection = self._broker, self._connection
        count = broker.notes.count
        packet_id = publish.packet_id or 0
        if publish.retain or broker.tree.count:
            self._pass_on(received)
        if publish.qos == 1:
            if self._unfinished:
                self._unfinished -= 1
            if received.text:
                connection.send(PubAck(packet_id, answer, connection.explain(received.text)))
            elif connection.dialogue is not None:
                connection.write(encode_puback_bytes(packet_id, self._version, answer))
        else:
            self._answer_qos_2(received, packet_id, answer)
        if broker.notes.count != count:
            connection.hold()

    def _answer_qos_2(self, received: Received, packet_id: int, answer: ReasonCode) -> None:
        """Note the identifier as received, or free it when the message is refused (MQTT 4.3.3)."""
        if answer >= _FAILED and (self._version is Version.V5 or answer is _BUSY):
            del self._session.inbound[packet_id]
            self._finish()
        else:
            self._session.inbound[packet_id] = None
            self._session.note()
        properties = self._connection.explain(received.text)
        self._connection.send(PubRec(packet_id, answer, properties))

    def _pass_on(self, received: Received) -> None:
        """Give a message to the subscribers, if it was accepted."""
        if (received.answer or _SUCCESS) < _FAILED:
            self._broker.route(received.publish, self._session.key)

    def _finish(self) -> None:
        """One message less counts towards the Receive Maximum (MQTT 4.9)."""
        if self._unfinished:
            self._unfinished -= 1

    def _resolve(self, publish: Publish) -> Publish:
        """Put the topic in the place of its alias (MQTT 3.3.2.3.4) and refuse what only a server may send."""
        properties = publish.properties
        if properties.subscription_identifiers:
            raise ProtocolError(
                ReasonCode.PROTOCOL_ERROR,
                "MQTT-3.3.4-6",
                "subscription identifier",
                "present",
                "none from a client",
            )
        alias = properties.topic_alias
        if alias is None:
            return publish
        maximum = self._broker.limits.topic_alias_maximum
        if alias > maximum:
            reason, expected = ReasonCode.TOPIC_ALIAS_INVALID, f"1 to {maximum}"
            raise ProtocolError(reason, "MQTT-3.3.2-9", "topic alias", alias, expected)
        topic = publish.topic or self._aliases.get(alias)
        if topic is None:
            expected = "a topic with it at its first use"
            raise ProtocolError(ReasonCode.PROTOCOL_ERROR, "5.0 3.3.2.3.4", "topic alias", alias, expected)
        self._aliases[alias] = topic
        properties = msgspec.structs.replace(properties, topic_alias=None)
        return msgspec.structs.replace(publish, topic=topic, properties=properties)
