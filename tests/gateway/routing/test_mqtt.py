"""Another broker, a real Mosquitto over TLS, gets every entry at QoS 1 with its key, also over restarts."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from coldseal.gateway.clock import Clock
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.routing.form import Form
from coldseal.gateway.routing.mqtt import KEY, MqttSink, Way
from coldseal.gateway.routing.sink import Away, Parcel, Refused, Verdict
from coldseal.gateway.routing.sinks import client_id_of
from coldseal.mqtt.packets import (
    ConnAck,
    Connect,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
)
from tests.core.routing.entries import EXCURSION
from tests.gateway.routing.rig import Grounds
from tests.gateway.sources.rig import Peer
from tests.mosquitto import free_port, require_mosquitto
from tests.sealed import ORIGIN
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Broker:
    """A Mosquitto of its own, on TLS, with passwords and an access list.

    Attributes:
        port: where it listens.
    """

    def __init__(self, grounds: Grounds, more: str = "") -> None:
        """Write its files; it does not run yet."""
        self._grounds, self.port = grounds, free_port()
        self._folder = grounds.site.folder
        self._log = self._folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        certificate = grounds.site.certificates["service"]
        access, passwords = self._folder / "acl", self._folder / "passwords.mosquitto"
        access.write_text("topic deny coldseal/site-7/alarm\ntopic readwrite coldseal/#\n")
        user = client_id_of(ORIGIN, "bus")
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(passwords), user, "a-token"], check=True, capture_output=True
        )
        access.write_text(f"user {user}\ntopic deny coldseal/site-7/alarm\ntopic readwrite coldseal/#\n")
        for path in (access, passwords):
            path.chmod(0o600)
        (self._folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nuser root\ncertfile {certificate}\n"
            f"keyfile {certificate.with_suffix('.key')}\ntls_version tlsv1.3\nallow_anonymous false\n"
            f"password_file {passwords}\nacl_file {access}\n{more}\n"
        )

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtts://localhost:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it takes connections."""
        said = len(self._log.read_bytes()) if self._log.exists() else 0
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 # it is quick
                ["mosquitto", "-c", str(self._folder / "mosquitto.conf")], stdout=out, stderr=out
            )
        await until(lambda: b" running\n" in self._log.read_bytes()[said:])

    def kill(self) -> None:
        """End it as a power failure would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(20)
            self._process = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Peer]:
        """Hold a client that hears everything."""
        context = ssl.create_default_context(cafile=str(self._grounds.site.trust))
        peer = await Peer.open(self.port, context=context)
        user = client_id_of(ORIGIN, "bus")
        peer.send(Connect("listener", keep_alive=60, username=user, password=b"a-token"))
        assert (await peer.expect(ConnAck)).reason is ReasonCode.SUCCESS
        peer.send(Subscribe(1, (Subscription("coldseal/#", 1),)))
        await peer.expect(SubAck)
        try:
            yield peer
        finally:
            await peer.drop()


@pytest.fixture
def token(grounds: Grounds) -> str:
    """Give the setting that names the token."""
    path = grounds.site.folder / "bus.token"
    path.write_text("a-token")
    path.chmod(0o600)
    return 'token = "file:bus.token"'


@asynccontextmanager
async def broker_of(grounds: Grounds, more: str = "") -> AsyncIterator[Broker]:
    """Run a broker."""
    require_mosquitto()
    broker = Broker(grounds, more)
    await broker.start()
    try:
        yield broker
    finally:
        broker.kill()


async def heard(peer: Peer, count: int) -> list[Publish]:
    """Take so many messages, and acknowledge each."""
    found: list[Publish] = []
    while len(found) < count:
        message = await peer.expect(Publish)
        found.append(message)
        if message.packet_id is not None:
            peer.send(PubAck(message.packet_id))
    return found


async def test_entries_are_messages_with_their_key(grounds: Grounds, token: str) -> None:
    """In order, on the topic that the route says, in the form that it says."""
    async with broker_of(grounds) as broker, broker.listening() as peer:
        topic = f'topic = "coldseal/{{site}}/{{kind}}/{{asset}}"\n{token}'
        grounds.route("bus", broker.url, topic, sink="mqtt", batch=10)
        await grounds.grow(12)
        await grounds.seal("excursion", EXCURSION | {"asset": "fridge/3"})
        async with grounds.routing() as running:
            await running.at("bus", 14)
        found = await heard(peer, 14)
    assert [json.loads(each.payload)["seq"] for each in found] == [*range(14)]
    assert [dict(each.properties.user)[KEY] for each in found] == grounds.keys(range(14))
    assert {each.topic for each in found} == {
        "coldseal/site-7/genesis/-",
        "coldseal/site-7/reading/-",
        "coldseal/site-7/excursion/fridge_3",
    }
    assert {(each.qos, each.properties.content_type) for each in found} == {(1, "application/json")}


async def test_a_broker_that_dies_and_comes_back_gets_the_rest(grounds: Grounds, token: str) -> None:
    """What it acknowledged does not go again; what it did not, does."""
    async with broker_of(grounds) as broker:
        grounds.route("bus", broker.url, f'payload = "cloudevents"\n{token}', sink="mqtt", batch=4)
        await grounds.grow(5)
        async with grounds.routing() as running:
            await running.at("bus", 6)
            broker.kill()
            await grounds.grow(5)
            await running.until(lambda: running.status("bus").failed.get("unreachable", 0) > 1)
            await broker.start()
            async with broker.listening() as peer:
                await running.at("bus", 11)
                found = await heard(peer, 1)
    assert json.loads(found[-1].payload)["type"] == "coldseal.reading.v1"
    assert grounds.position("bus") == 11


async def test_what_the_broker_does_not_allow_is_put_aside(grounds: Grounds, token: str) -> None:
    """By its access list; the others go on, on the same connection."""
    async with broker_of(grounds) as broker, broker.listening() as peer:
        grounds.route("bus", broker.url, token, sink="mqtt", batch=5)
        place = await grounds.seal("alarm", {"about": EXCURSION["id"], "action": "raised"})
        await grounds.grow(2)
        async with grounds.routing() as running:
            await running.at("bus", 4)
            assert running.status("bus").aside == 1
        found = await heard(peer, 3)
    assert sorted({json.loads(each.payload)["seq"] for each in found}) == [0, 2, 3]
    with closing(grounds.kept()) as kept:
        (aside,) = kept.aside("bus")
    assert (aside.seq, aside.kind, aside.status) == (place, "alarm", "NOT_AUTHORIZED")


async def test_what_is_too_large_for_the_broker_is_put_aside(grounds: Grounds, token: str) -> None:
    """It said so when it let us in."""
    async with broker_of(grounds, "max_packet_size 1200") as broker:
        grounds.route("bus", broker.url, token, sink="mqtt", batch=5)
        await grounds.seal("access", {"what": "x" * 2_000})
        await grounds.grow(1)
        async with grounds.routing() as running:
            await running.at("bus", 3)
    with closing(grounds.kept()) as kept:
        assert [(each.seq, each.status) for each in kept.aside("bus") if each.kind == "access"] == [
            (1, "PACKET_TOO_LARGE")
        ]


async def test_a_wrong_token_is_no_fault_of_an_entry(grounds: Grounds, token: str) -> None:
    """Nothing is put aside; once it is right, everything goes."""
    (grounds.site.folder / "bus.token").write_text("wrong")
    async with broker_of(grounds) as broker:
        grounds.route("bus", broker.url, token, sink="mqtt")
        await grounds.grow(1)
        async with grounds.routing() as running:
            await running.until(lambda: "bus" in running.routes.board.routes)
            await running.until(lambda: running.status("bus").failed.get("unreachable", 0) > 1)
            assert running.status("bus").aside == 0
            (grounds.site.folder / "bus.token").write_text("a-token")
            await running.at("bus", 2)


def sink_to(grounds: Grounds, port: int, addresses: Sequence[str] = ("127.0.0.1",)) -> MqttSink:
    """Make a sink to a port of loopback that waits a tenth of a second."""
    grounds.route("bus", f"mqtts://localhost:{port}", sink="mqtt")
    (route,) = grounds.config().routes
    short = type(route)(name="bus", sink="mqtt", url=route.url, timeout_s=0.1)
    context = ssl.create_default_context(cafile=str(grounds.site.trust))
    way = Way(endpoint_of(route.url), lambda: context, lambda: addresses)
    media_type = Form(route, "lab").media_type
    return MqttSink(short, media_type, way=way, client_id="bus", token=None, clock=Clock())


PARCEL = Parcel(7, "log:7:ab", "2026-11-22T05:23:48.123Z", b"{}", "coldseal/lab/reading")


async def test_a_broker_that_says_nothing_times_out(grounds: Grounds) -> None:
    """It speaks TLS, and then no word."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=grounds.server())
    async with server:
        sink = sink_to(grounds, server.sockets[0].getsockname()[1])
        verdict = await sink.send((PARCEL,))
        await sink.close()
    assert isinstance(verdict.fault, Away)
    assert verdict.fault.cause == "timeout"


async def test_a_name_without_an_address_is_nowhere(grounds: Grounds) -> None:
    """There is nothing to connect to."""
    verdict = await sink_to(grounds, 1, ()).send((PARCEL,))
    assert verdict == Verdict(0, Away("unreachable", "its name has no address"))


def test_what_was_taken_counts_from_the_first_on(grounds: Grounds) -> None:
    """What is behind the first fault goes again, with its key."""
    sink = sink_to(grounds, 1)
    away = Away("timeout", "late")
    sink._answers = {1: ReasonCode.SUCCESS, 2: ReasonCode.NO_MATCHING_SUBSCRIBERS, 3: ReasonCode.SERVER_BUSY}
    assert sink._judge([1, 2], None) == Verdict(2)
    assert sink._judge([1, 9, 2], away) == Verdict(1, away)
    assert sink._judge([1, 3, 2], None) == Verdict(1, Away("busy", "SERVER_BUSY"))
    assert sink._judge([ReasonCode.TOPIC_NAME_INVALID, 1], None) == Verdict(
        0, Refused("TOPIC_NAME_INVALID", "reason 0x90")
    )
