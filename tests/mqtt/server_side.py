"""The other end of a client machine in tests: reads what it wrote and hands it packets."""

from __future__ import annotations

from coldseal.mqtt.client import Client
from coldseal.mqtt.client_events import Event
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.packets import NO_PROPERTIES, ConnAck, Connect, Packet, Properties, Publish, Version


class ServerSide:
    """One connection of a client to a server that is played by the test.

    Args:
        version: the version spoken.
        session: what the client kept.
        asked: the properties of CONNECT.
        connect: the whole CONNECT, in place of the two before.
        max_in_flight: the client's own window.
    """

    def __init__(
        self,
        version: Version = Version.V5,
        session: Session | None = None,
        *,
        asked: Properties = NO_PROPERTIES,
        connect: Connect | None = None,
        max_in_flight: int = 65_535,
    ) -> None:
        """Start the client; its CONNECT waits to be read."""
        self.version = version
        self.session = Session() if session is None else session
        connect = connect or Connect("c", version, self.session.is_established is False, properties=asked)
        self.client = Client(connect, self.session, max_in_flight=max_in_flight)
        self.client.start(0.0)
        self._decoder = Decoder()

    def sent(self, now: float = 0.0) -> list[Packet]:
        """Return the packets that the client has sent since the last look."""
        return self._decoder.feed(self.client.take_output(now))

    def give(self, *packets: Packet) -> list[Event]:
        """Send packets to the client and return its events."""
        return self.client.receive(b"".join(encode(packet, self.version) for packet in packets))

    def accept(self, offered: Properties = NO_PROPERTIES, *, session_present: bool = False) -> list[Event]:
        """Accept the connection; return the events behind ``Connected``."""
        assert isinstance(self.sent()[0], Connect)
        return self.give(ConnAck(session_present, properties=offered))[1:]


def connected(
    version: Version = Version.V5,
    session: Session | None = None,
    *,
    asked: Properties = NO_PROPERTIES,
    offered: Properties = NO_PROPERTIES,
) -> ServerSide:
    """Return an accepted connection; a session that was used before is present."""
    side = ServerSide(version, session, asked=asked)
    side.accept(offered, session_present=side.session.is_established)
    return side


def message(text: str = "m", qos: int = 1, topic: str = "t") -> Publish:
    """Return an application message."""
    return Publish(topic, text.encode(), qos)
