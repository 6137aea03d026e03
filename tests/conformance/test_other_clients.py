"""Clients that others wrote publish and subscribe with the listener, plain and over TLS, in both versions."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from typing import TYPE_CHECKING

import aiomqtt
import gmqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions

from coldseal.gateway.message import Outcome
from coldseal.mqtt.packets import Properties, Version
from tests.gateway.sources.rig import DEADLINE_S, PASSWORD, Rig, Site, running

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties as Said
    from paho.mqtt.reasoncodes import ReasonCode as Reason

V311, V5 = Version.V311, Version.V5
PAHO = {V311: MQTTProtocolVersion.MQTTv311, V5: MQTTProtocolVersion.MQTTv5}
DOORS = ("plain", "tls")


class Paho:
    """A paho client in its own thread; what happens is brought into the loop."""

    def __init__(self, rig: Rig, site: Site, version: Version, door: str, client_id: str) -> None:
        """Prepare the client; ``connect`` starts it."""
        loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[tuple[str, object]] = asyncio.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=PAHO[version])
        self._port = rig.listener.port if door == "tls" else rig.listener.plain_port

        def put(kind: str, value: object) -> None:
            loop.call_soon_threadsafe(self.events.put_nowait, (kind, value))

        def connected(
            _c: paho.Client, _u: object, _f: paho.ConnectFlags, reason: Reason, _p: Said | None
        ) -> None:
            put("connected", reason.value)

        def published(_c: paho.Client, _u: object, _mid: int, reason: Reason, _p: Said | None) -> None:
            put("published", reason.value)

        def subscribed(
            _c: paho.Client, _u: object, _mid: int, reasons: list[Reason], _p: Said | None
        ) -> None:
            put("subscribed", [reason.value for reason in reasons])

        self.client.on_connect = connected
        self.client.on_publish = published
        self.client.on_subscribe = subscribed
        self.client.on_message = lambda _c, _u, message: put("message", message)
        if door == "tls":
            self.client.tls_set_context(site.device("device-1"))
        else:
            self.client.username_pw_set("device-1", PASSWORD.decode())

    async def connect(self) -> None:
        """Connect and start the thread."""
        await asyncio.to_thread(self.client.connect, "localhost", self._port)
        self.client.loop_start()
        assert await self.expect("connected") == 0

    async def expect(self, kind: str) -> object:
        """Wait for the next event of a kind; others are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found, value = await self.events.get()
                if found == kind:
                    return value

    async def stop(self) -> None:
        """Leave."""
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("version", [V311, V5])
async def test_paho_publishes_and_subscribes(rig: Rig, site: Site, version: Version, door: str) -> None:
    """Every QoS, there and back, with retained messages."""
    client = Paho(rig, site, version, door, "paho")
    await client.connect()
    try:
        client.client.subscribe("TopicA/#", 2)
        await client.expect("subscribed")
        for qos in (0, 1, 2):
            client.client.publish("TopicA/B", b"qos %d" % qos, qos, retain=qos == 2)
            message = await client.expect("message")
            assert isinstance(message, paho.MQTTMessage)
            assert (message.topic, message.payload, message.qos) == ("TopicA/B", b"qos %d" % qos, qos)
        client.client.unsubscribe("TopicA/#")
        client.client.subscribe("TopicA/B", 1)
        message = await client.expect("message")
        assert isinstance(message, paho.MQTTMessage)
        assert (message.retain, message.qos) == (True, 1)
    finally:
        await client.stop()


async def test_paho_hears_why_a_message_was_not_accepted(rig: Rig, site: Site) -> None:
    """The reason code of MQTT 5 reaches the publisher."""
    client = Paho(rig, site, V5, "plain", "paho")
    await client.connect()
    try:
        for outcome, reason in ((Outcome.REJECTED, 0x99), (Outcome.REFUSED, 0x87), (Outcome.SEALED, 0)):
            rig.intake.outcome, rig.intake.reason = outcome, "in words" * bool(reason)
            client.client.publish("TopicA", b"x", 1)
            assert await client.expect("published") == reason
    finally:
        await client.stop()


async def test_paho_uses_what_is_new_in_5(rig: Rig, site: Site) -> None:
    """Session expiry, subscription options, user properties and message expiry."""
    client = Paho(rig, site, V5, "tls", "paho")
    await client.connect()
    try:
        options = SubscribeOptions(qos=1, noLocal=True)
        client.client.subscribe("TopicA", options=options)
        await client.expect("subscribed")
        client.client.publish("TopicA", b"own", 1)
        await client.expect("published")
        said = Properties(user=(("k", "v"),), message_expiry_interval=60)
        await (await rig.admitted("other", device="device-2")).publish("TopicA", b"foreign", properties=said)
        message = await client.expect("message")
        assert isinstance(message, paho.MQTTMessage)
        assert isinstance(message.properties, PahoProperties)
        assert message.payload == b"foreign"
        assert vars(message.properties)["UserProperty"] == [("k", "v")]
    finally:
        await client.stop()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("version", [V311, V5])
async def test_mosquitto_publishes_and_subscribes(rig: Rig, site: Site, version: Version, door: str) -> None:
    """The command-line clients, each QoS."""
    for qos in ("0", "1", "2"):
        topic, count = f"TopicA/{'BC'[qos == '1']}", len(rig.intake.messages)
        reader = await _mosquitto(
            "mosquitto_sub", rig, site, version, door, "-t", topic, "-q", qos, "-C", "1", "-F", "%t %q %p"
        )
        await rig.until(lambda: rig.listener.broker.has_audience)
        writer = await _mosquitto(
            "mosquitto_pub", rig, site, version, door, "-t", topic, "-q", qos, "-m", f"at {qos}"
        )
        assert await writer.wait() == 0
        async with asyncio.timeout(DEADLINE_S):
            out, _ = await reader.communicate()
        assert out.decode().strip() == f"{topic} {qos} at {qos}"
        assert len(rig.intake.messages) == count + 1
        await rig.until(lambda: not rig.listener.broker.has_audience)


async def test_mosquitto_is_told_that_it_may_not(rig: Rig, site: Site) -> None:
    """A subscription that is refused ends the command with a word of why."""
    reader = await _mosquitto("mosquitto_sub", rig, site, V5, "plain", "-t", "$SYS/#", "-C", "1")
    async with asyncio.timeout(DEADLINE_S):
        _, errors = await reader.communicate()
    assert b"denied" in errors.lower()


async def _mosquitto(
    program: str, rig: Rig, site: Site, version: Version, door: str, *arguments: str
) -> asyncio.subprocess.Process:
    """Start one of mosquitto's clients."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing: apt-get install mosquitto-clients")
    spoken = ["-V", "mqttv311" if version is V311 else "mqttv5", "-h", "localhost"]
    if door == "tls":
        certificate = site.certificate("device-1")
        spoken += ["-p", str(rig.listener.port), "--cafile", str(site.trust)]
        spoken += ["--cert", str(certificate), "--key", str(certificate.with_suffix(".key"))]
    else:
        spoken += ["-p", str(rig.listener.plain_port), "-u", "device-1", "-P", PASSWORD.decode()]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(path, *spoken, *arguments, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("version", [V311, V5])
async def test_gmqtt_publishes_and_subscribes(rig: Rig, site: Site, version: Version, door: str) -> None:
    """An independent asyncio client."""
    came: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue()
    subscribed = asyncio.Event()
    client = gmqtt.Client("gmqtt")

    def on_message(_client: object, topic: str, payload: bytes, qos: int, _properties: object) -> int:
        came.put_nowait((topic, payload, qos))
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    context: ssl.SSLContext | bool = False
    port = rig.listener.plain_port
    if door == "tls":
        context, port = site.device("device-1"), rig.listener.port
    else:
        client.set_auth_credentials("device-1", PASSWORD.decode())
    async with asyncio.timeout(DEADLINE_S):
        await client.connect("localhost", port, ssl=context, version=int(version))
        client.subscribe("TopicA/#", qos=2)
        await subscribed.wait()
        for qos in (0, 1, 2):
            client.publish("TopicA/B", b"qos %d" % qos, qos=qos)
            assert await came.get() == ("TopicA/B", b"qos %d" % qos, qos)
        await client.disconnect()


@pytest.mark.parametrize("version", [V311, V5])
async def test_aiomqtt_publishes_and_subscribes(version: Version, site: Site) -> None:
    """The asyncio client on paho needs a loop of the standard library; the listener runs there as well."""
    await asyncio.to_thread(asyncio.run, _aiomqtt(version, site))


async def _aiomqtt(version: Version, site: Site) -> None:
    """Run listener and client on the present loop."""
    async with (
        running(site) as rig,
        asyncio.timeout(DEADLINE_S),
        aiomqtt.Client(
            "localhost",
            rig.listener.port,
            protocol=aiomqtt.ProtocolVersion.V311 if version is V311 else aiomqtt.ProtocolVersion.V5,
            tls_context=site.device("device-1"),
        ) as client,
    ):
        await client.subscribe("TopicA", qos=1)
        await client.publish("TopicA", b"hello", qos=1)
        message = await anext(aiter(client.messages))
        assert message.payload == b"hello"
