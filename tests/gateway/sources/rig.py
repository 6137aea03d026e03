"""What tests of the listener share: a running listener, a small pipeline, and a client that speaks packets.

The pipeline takes a message, and acknowledges it in a later turn of the loop, as a commit would. The
client sends whatever it is told, right or wrong, and waits for answers against a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import argon2

from coldseal.core.topics import Grant, Policy
from coldseal.gateway.clock import Clock
from coldseal.gateway.message import Message, Outcome, outcome_of
from coldseal.gateway.sources.door import DoorLimits
from coldseal.gateway.sources.mqtt import MqttListener
from coldseal.gateway.sources.sessions import SessionStore
from coldseal.gateway.tables.intake import Mqtt
from coldseal.identity.authority import Authority, create_authority
from coldseal.identity.contexts import client_context
from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
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
from coldseal.observe.metrics import GatewayMetrics
from coldseal.settings import Address

if TYPE_CHECKING:
    import ssl

    from coldseal.core.conduct import Conduct
    from coldseal.identity.peer import Role

SITE = "lab"
PASSWORD = b"a password for tests"
STORE_KEY = bytes(range(32))
DEADLINE_S = 20.0
OPEN = Grant(
    device="*",
    publish=("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA", "wills/one", "wills/two"),
    subscribe=("#",),
)
"""Shared topics, as the public interoperability tests use them."""

Kind = TypeVar("Kind", bound=Packet)


class Hands:
    """A clock that runs, and can be put forward."""

    def __init__(self) -> None:
        """Start at the right time."""
        self.offset_ns = self.step_ns = 0

    def clock(self) -> Clock:
        """Make a gateway's clock that reads this one; a step is one of wall time alone."""
        return Clock(
            wall_ns=lambda: time.time_ns() + self.offset_ns + self.step_ns,
            boot_ns=lambda: time.monotonic_ns() + self.offset_ns,
        )


class Intake:
    """A pipeline in small: keeps what it gets and acknowledges it one turn of the loop later.

    Attributes:
        outcome: what the next messages are acknowledged with.
        reason: the words that go with it.
        is_holding: messages wait for ``release``.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.messages: list[Message] = []
        self.outcome = Outcome.SEALED
        self.reason = ""
        self.is_holding = False
        self.is_full = False
        self._waiting: list[Message] = []
        self._arrived = asyncio.Event()

    def submit(self, message: Message) -> None:
        """Take a message."""
        self.messages.append(message)
        self._arrived.set()
        if self.is_holding:
            self._waiting.append(message)
        else:
            asyncio.get_running_loop().call_soon(self._acknowledge, message)

    def _acknowledge(self, message: Message) -> None:
        """Acknowledge one; what the policy forbids is refused."""
        outcome = outcome_of(message.refused) if message.refused else self.outcome
        message.acknowledge(outcome, message.refused or self.reason)

    def release(self, order: Callable[[list[Message]], Iterable[Message]] = list) -> None:
        """Acknowledge what was held, in an order of choice."""
        waiting, self._waiting = self._waiting, []
        for message in order(waiting):
            self._acknowledge(message)

    async def count(self, number: int) -> list[Message]:
        """Wait until so many messages have come."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.messages) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return self.messages


class Peer:
    """A client that sends and expects packets; the rig drops its socket at the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: Version) -> None:
        """Take an open stream."""
        self.version = version
        self._reader, self._writer = reader, writer
        self._decoder = Decoder(version=version)
        self._came: list[Packet] = []

    @classmethod
    async def open(
        cls, port: int, version: Version = Version.V5, context: ssl.SSLContext | None = None
    ) -> Self:
        """Open a socket; nothing is sent yet."""
        host = "localhost" if context else None
        streams = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        return cls(*streams, version)

    async def drop(self) -> None:
        """Cut the connection, as a power failure would."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    def server_certificate(self) -> bytes:
        """Give the certificate that the listener showed, as DER."""
        secured: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return secured.getpeercert(binary_form=True) or b""

    def stop_reading(self) -> None:
        """Leave what comes in the socket."""
        cast("asyncio.ReadTransport", self._writer.transport).pause_reading()

    def start_reading(self) -> None:
        """Read again."""
        cast("asyncio.ReadTransport", self._writer.transport).resume_reading()

    def send(self, *packets: Packet) -> None:
        """Send packets in one write."""
        self._writer.write(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes."""
        self._writer.write(data)

    async def expect(self, kind: type[Kind]) -> Kind:
        """Wait for the next packet of a kind; others that came before it are kept."""
        seen = 0
        while True:
            for index, packet in enumerate(self._came[seen:], seen):
                if isinstance(packet, kind):
                    return self._came.pop(index)  # type: ignore[return-value] # of that kind
            seen = len(self._came)
            await self._read(f"{kind.__name__} was expected, {self._came} had come")

    async def next(self) -> Packet:
        """Wait for the next packet of any kind."""
        while not self._came:
            await self._read("a packet was expected")
        return self._came.pop(0)

    async def _read(self, why: str) -> None:
        """Read until some packet comes."""
        count = len(self._came)
        async with asyncio.timeout(DEADLINE_S):
            while len(self._came) == count:
                data = await self._reader.read(65_536)
                assert data, f"closed, but {why}"
                self._came += self._decoder.feed(data)

    async def until_pong(self) -> list[Packet]:
        """Ping, and give all that came before the answer: what has not come by then was not sent."""
        self.send(PingReq())
        found: list[Packet] = []
        while not isinstance(packet := await self.next(), PingResp):
            found.append(packet)
        return found

    def has_come(self) -> bool:
        """Whether some packet was read and not asked for yet."""
        return bool(self._came)

    async def expect_nothing(self) -> None:
        """Hold that nothing is under way to this client."""
        assert await self.until_pong() == []

    async def expect_end(self) -> list[Packet]:
        """Wait until the other side has closed; give the packets that came before."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                while data := await self._reader.read(65_536):
                    self._came += self._decoder.feed(data)
            except ConnectionError:
                pass
        found, self._came = self._came, []
        return found

    async def connect(self, connect: Connect) -> ConnAck:
        """Send CONNECT and wait for CONNACK."""
        self.send(connect)
        return await self.expect(ConnAck)

    async def subscribe(
        self, *filters: str | Subscription, qos: int = 2, properties: Properties | None = None
    ) -> SubAck:
        """Subscribe and wait for the answer."""
        asked = tuple(Subscription(each, qos) if isinstance(each, str) else each for each in filters)
        self.send(Subscribe(1, asked, properties or Properties()))
        return await self.expect(SubAck)

    async def unsubscribe(self, *filters: str) -> UnsubAck:
        """Unsubscribe and wait for the answer."""
        self.send(Unsubscribe(2, filters))
        return await self.expect(UnsubAck)

    async def publish(
        self,
        topic: str,
        payload: bytes = b"x",
        qos: int = 1,
        *,
        packet_id: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> ReasonCode:
        """Publish, go through the flow, and give the reason code of its first answer."""
        number = packet_id if qos else None
        self.send(Publish(topic, payload, qos, retain, False, number, properties or Properties()))
        if qos == 1:
            return (await self.expect(PubAck)).reason
        if qos == 2:
            received = await self.expect(PubRec)
            if received.reason < ReasonCode.UNSPECIFIED_ERROR:
                self.send(PubRel(packet_id))
                await self.expect(PubComp)
            return received.reason
        return ReasonCode.SUCCESS

    async def message(self) -> Publish:
        """Wait for a message and answer it."""
        message = await self.expect(Publish)
        number = message.packet_id or 0
        if message.qos == 1:
            self.send(PubAck(number))
        elif message.qos == 2:
            self.send(PubRec(number))
            await self.expect(PubRel)
            self.send(PubComp(number))
        return message

    async def disconnect(self, reason: ReasonCode = ReasonCode.NORMAL_DISCONNECTION) -> None:
        """Leave with a farewell, and wait until the other side has closed."""
        self.send(Disconnect(reason))
        await self.expect_end()


class Rig:
    """A running listener with its surroundings."""

    def __init__(self, listener: MqttListener, intake: Intake, metrics: GatewayMetrics, hands: Hands) -> None:
        """Take the parts; ``running`` makes them."""
        self.listener, self.intake, self.metrics, self.hands = listener, intake, metrics, hands
        self._peers: list[Peer] = []

    def pass_s(self, seconds: float) -> None:
        """Let time pass, as the listener sees it."""
        self.hands.offset_ns += round(seconds * 1e9)
        self.listener.tick()

    async def peer(self, version: Version = Version.V5) -> Peer:
        """Open a socket to the plain door."""
        return self._kept(await Peer.open(self.listener.plain_port, version))

    async def tls_peer(self, context: ssl.SSLContext, version: Version = Version.V5) -> Peer:
        """Open a socket to the TLS door."""
        return self._kept(await Peer.open(self.listener.port, version, context))

    def _kept(self, peer: Peer) -> Peer:
        """Remember a peer, to drop it at the end."""
        self._peers.append(peer)
        return peer

    async def drop_all(self) -> None:
        """Drop every socket."""
        for peer in self._peers:
            await peer.drop()

    async def client(
        self,
        client_id: str = "one",
        *,
        version: Version = Version.V5,
        device: str = "device-1",
        clean: bool = True,
        keep_alive: int = 0,
        will: Will | None = None,
        properties: Properties | None = None,
    ) -> tuple[Peer, ConnAck]:
        """Open a socket and connect with a password; give the client and the CONNACK."""
        peer = await self.peer(version)
        answer = await peer.connect(
            Connect(client_id, version, clean, keep_alive, will, device, PASSWORD, properties or Properties())
        )
        return peer, answer

    async def admitted(self, client_id: str = "one", **options: object) -> Peer:
        """Connect a client that must be let in."""
        peer, answer = await self.client(client_id, **options)  # type: ignore[arg-type] # the same options
        assert answer.reason is ReasonCode.SUCCESS, answer
        return peer

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something inside the listener, against a deadline."""
        await until(is_true)

    def shown(self, name: str, **labels: str) -> float:
        """Read a metric."""
        self.listener.show()
        return self.metrics.registry.get_sample_value(f"coldseal_gateway_{name}", labels) or 0.0


async def until(is_true: Callable[[], bool]) -> None:
    """Poll a condition against a deadline."""
    end = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


class Site:
    """A folder with a CA, certificates and a password file."""

    def __init__(self, folder: Path) -> None:
        """Make all of it; the hashes are cheap, because many tests log in."""
        self.folder = folder
        self._lists = 0
        self.now = datetime.fromtimestamp(Clock().now().t_ms / 1000, UTC)
        self.authority: Authority = create_authority(folder / "ca", now=self.now)
        self.gateway = self.authority.issue("gateway", "gw-1", now=self.now)
        hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        names = ("device-1", "device-2", "device-3", "display")
        self.passwords = folder / "passwords"
        self.passwords.write_text("".join(f"{name}:{hasher.hash(PASSWORD)}\n" for name in names))
        self.passwords.chmod(0o600)

    @property
    def trust(self) -> Path:
        """The file that everybody trusts."""
        return self.folder / "ca" / "root.pem"

    def config(self, **changes: object) -> Mqtt:
        """Make a configuration with both doors on free ports."""
        settings: dict[str, Any] = {
            "listen": Address("127.0.0.1:0"),
            "plain_listen": Address("127.0.0.1:0"),
            "certificate": self.gateway,
            "key": self.gateway.with_suffix(".key"),
            "client_ca": self.trust,
            "passwords": self.passwords,
            "max_connections_per_device": 50,
        }
        settings.update(changes)
        return Mqtt(**settings)

    def device(self, name: str, role: Role = "device") -> ssl.SSLContext:
        """Make the TLS context of a client with a certificate of its own."""
        certificate = self.certificate(name, role)
        return client_context(certificate, certificate.with_suffix(".key"), self.trust)

    def certificate(self, name: str, role: Role = "device") -> Path:
        """Give a client's certificate, made at its first use."""
        path = self.folder / "ca" / role / f"{name}.pem"
        return path if path.exists() else self.authority.issue(role, name, now=self.now)

    def renew_gateway(self) -> None:
        """Give the gateway a new certificate in the same place."""
        self.authority.renew(self.gateway, now=self.now)

    def crl(self) -> Path:
        """Give the revocation list, made at its first use."""
        return self.revoke()

    def revoke(self, *names: str) -> Path:
        """Revoke devices; each list is later than the last."""
        self._lists += 1
        when = self.now - timedelta(minutes=4) + timedelta(seconds=self._lists)
        return self.authority.revoke([self.certificate(name) for name in names], now=when)


@asynccontextmanager
async def running(
    site: Site,
    *,
    store: Path | None = None,
    kept: SessionStore | None = None,
    grants: Iterable[Grant] = (OPEN,),
    doors: DoorLimits | None = None,
    intake: Intake | None = None,
    hands: Hands | None = None,
    keep: Callable[[bytes, str], None] = lambda _der, _fingerprint: None,
    policy: Policy | None = None,
    conduct: Conduct | None = None,
    **changes: object,
) -> AsyncIterator[Rig]:
    """Run a listener; with ``store`` or ``kept`` its sessions are kept there."""
    intake, hands = intake or Intake(), hands or Hands()
    metrics = GatewayMetrics()
    opened = SessionStore.open(store, STORE_KEY) if store else None
    listener = MqttListener(
        site.config(**changes),
        policy=policy or Policy(SITE, grants),
        intake=intake,
        clock=hands.clock(),
        metrics=metrics,
        store=opened or kept,
        doors=doors,
        keep=keep,
        conduct=conduct,
    )
    await listener.start()
    rig = Rig(listener, intake, metrics, hands)
    try:
        yield rig
    finally:
        await rig.drop_all()
        intake.is_holding = False
        intake.release()
        await listener.stop()
        if opened is not None:
            opened.close()
