"""What an admitted client asks for, and the answers: every packet that may come while a connection is open.

One handler for each packet type, chosen by the table ``HANDLERS``. It does not decide whether the
client may be here, and ends nothing by itself: a broken rule is raised, a farewell is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from coldseal.mqtt.inbound import Inbound
from coldseal.mqtt.outbound import Outbound
from coldseal.mqtt.packets import (
    Auth,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    ProtocolError,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Unsubscribe,
    Version,
)
from coldseal.mqtt.subscribing import find_retained, subscribe, unsubscribe

if TYPE_CHECKING:
    from coldseal.mqtt.connection import Connection
    from coldseal.mqtt.outbox import Answer
    from coldseal.mqtt.packets import Connect
    from coldseal.mqtt.session import Session
    from coldseal.mqtt.subscribing import Rights


class Dialogue:
    """The open part of a connection: its session, its rights, and both directions of messages."""

    __slots__ = ("_connection", "_rights", "_version", "inbound", "outbound", "session")

    def __init__(self, connection: Connection, session: Session, rights: Rights, connect: Connect) -> None:
        """Begin with what the client's CONNECT asked for."""
        self._connection = connection
        self._rights = rights
        self._version = connect.version
        self.session = session
        self.inbound = Inbound(connection, session, connect.version)
        self.outbound = Outbound(connection, session, connect.version, connect.properties)

    def take(self, packet: Packet) -> None:
        """Do what a packet asks for.

        Raises:
            ProtocolError: it breaks a rule; the connection must end.
        """
        HANDLERS[type(packet)](self, packet)

    def on_publish(self, packet: Publish) -> None:
        """Take a message in."""
        self.inbound.publish(packet)

    def on_release(self, packet: PubRel) -> None:
        """Finish a QoS 2 message from the client."""
        self.inbound.release(packet)

    def on_answer(self, packet: Answer) -> None:
        """Take the client's answer to a message of ours."""
        self.outbound.settle(packet)

    def on_subscribe(self, packet: Subscribe) -> None:
        """Subscribe, answer, then send what is retained (MQTT 3.8.4)."""
        broker = self._connection.broker
        answer, fresh = subscribe(broker, self.session, self._rights, packet)
        if self._version is Version.V311:  # it knows only one refusal (3.1.1 3.9.3)
            reasons = tuple(min(reason, ReasonCode.UNSPECIFIED_ERROR) for reason in answer.reasons)
            answer = SubAck(answer.packet_id, reasons)
        self._connection.send(answer)
        for delivery in chain.from_iterable(find_retained(broker, held) for held in fresh):
            if not broker.deliver(self.session, delivery) and self.outbound.is_full:
                break  # the client must read before it asks for more

    def on_unsubscribe(self, packet: Unsubscribe) -> None:
        """Unsubscribe and answer."""
        self._connection.send(unsubscribe(self._connection.broker, self.session, packet))

    def on_ping(self, _: PingReq) -> None:
        """Say that somebody is there (MQTT-3.12.4-1)."""
        self._connection.send(PingResp())

    def on_disconnect(self, packet: Disconnect) -> None:
        """The client leaves; with reason 0x00 its will is void (MQTT-3.1.2-10)."""
        session, expiry = self.session, packet.properties.session_expiry_interval
        if expiry is not None:
            if expiry and not session.is_durable:
                field, expected = "session expiry interval", "0, as in CONNECT"
                raise ProtocolError(ReasonCode.PROTOCOL_ERROR, "5.0 3.14.2.2.2", field, expiry, expected)
            self._connection.broker.change_expiry(session, expiry)
        if packet.reason is ReasonCode.NORMAL_DISCONNECTION:
            session.will = None
        self._connection.close(packet.reason)

    def on_auth(self, _: Auth) -> None:
        """Nothing was agreed on in CONNECT that could go on here (5.0 4.12)."""
        expected = "none without a method in CONNECT"
        raise ProtocolError(ReasonCode.PROTOCOL_ERROR, "5.0 4.12", "packet", "AUTH", expected)


HANDLERS: Final[dict[type[Packet], Callable[[Dialogue, Any], None]]] = {
    Publish: Dialogue.on_publish,
    PubAck: Dialogue.on_answer,
    PubRec: Dialogue.on_answer,
    PubComp: Dialogue.on_answer,
    PubRel: Dialogue.on_release,
    Subscribe: Dialogue.on_subscribe,
    Unsubscribe: Dialogue.on_unsubscribe,
    PingReq: Dialogue.on_ping,
    Disconnect: Dialogue.on_disconnect,
    Auth: Dialogue.on_auth,
}
"""What a client may send while its connection is open (5.0 table 2-1), and who sees to it."""
