"""Listener, pipeline and log together: what a device is told is what the log holds at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coldseal.core.topics import NOT_AUTHORISED, Policy
from coldseal.gateway.clock import Stamp
from coldseal.gateway.message import Message
from coldseal.gateway.sources.guard import Guard
from coldseal.gateway.sources.handover import Handover
from coldseal.gateway.sources.mqtt import MqttListener
from coldseal.gateway.sources.report import Report
from coldseal.mqtt.inbound import Received
from coldseal.mqtt.packets import PubAck, Publish, PubRec, ReasonCode, Version
from coldseal.mqtt.session import Identity
from coldseal.observe.metrics import GatewayMetrics
from tests.gateway.parts import Hands, Parts, digest, open_parts, payload
from tests.gateway.sources.rig import Hands as RigHands
from tests.gateway.sources.rig import Intake, Rig, Site

OWN = "coldseal/v1/lab/device-1/reading/door"


@asynccontextmanager
async def _sealing(site: Site, folder: Path) -> AsyncIterator[tuple[Rig, Parts]]:
    """Run a listener in front of a real pipeline on a real log."""
    hands = Hands()
    async with open_parts(folder, hands, per_minute=5) as parts:
        listener = MqttListener(
            site.config(),
            policy=Policy("lab"),
            intake=parts.pipeline,
            clock=hands.clock(),
            metrics=parts.metrics,
        )
        running = asyncio.ensure_future(parts.pipeline.run())
        await listener.start()
        rig = Rig(listener, Intake(), parts.metrics, RigHands())
        try:
            yield rig, parts
        finally:
            await rig.drop_all()
            await listener.stop()
            parts.pipeline.stop()
            await running


@pytest.mark.parametrize("version", [Version.V311, Version.V5])
@pytest.mark.parametrize("qos", [1, 2])
async def test_an_acknowledged_reading_is_in_the_log(
    site: Site, tmp_path: Path, version: Version, qos: int
) -> None:
    """With its device, topic's sensor, and hash, at the moment when the answer arrives."""
    async with _sealing(site, tmp_path) as (rig, parts):
        client = await rig.admitted(version=version)
        for seq in range(5):
            data = payload(seq)
            assert await client.publish(OWN, data, qos, packet_id=seq + 1) is ReasonCode.SUCCESS
            last = parts.entries("reading")[-1]
            assert (last.src["dev"], last.src["sha256"], last.data["sensor"]) == (
                "device-1",
                digest(data),
                "door",
            )
        assert len(parts.entries("reading")) == 5


async def test_a_repeated_reading_is_acknowledged_and_sealed_once(site: Site, tmp_path: Path) -> None:
    """By DUP and packet id, or by the device's own sequence."""
    async with _sealing(site, tmp_path) as (rig, parts):
        client = await rig.admitted()
        for dup in (False, True):
            client.send(Publish(OWN, payload(None), 1, dup=dup, packet_id=3))
            assert (await client.expect(PubAck)).reason is ReasonCode.SUCCESS
        for _ in range(2):
            assert await client.publish(OWN, payload(7), 1) is ReasonCode.SUCCESS
        assert len(parts.entries("reading")) == 2


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_not_taken_is_answered_with_its_reason_and_sealed_as_rejected(
    site: Site, tmp_path: Path, qos: int
) -> None:
    """Not understood: 0x99. Forbidden: 0x87. Both in the log, none as a reading."""
    async with _sealing(site, tmp_path) as (rig, parts):
        client = await rig.admitted()
        for number, (topic, data, reason) in enumerate(
            (
                (OWN, b"no reading", ReasonCode.PAYLOAD_FORMAT_INVALID),
                (OWN.replace("device-1", "device-2"), payload(1), ReasonCode.NOT_AUTHORIZED),
            ),
            1,
        ):
            client.send(Publish(topic, data, qos, packet_id=number))
            answer = await client.expect(PubAck) if qos == 1 else await client.expect(PubRec)
            assert answer.reason is reason
            assert answer.properties.reason_string
            last = parts.entries("rejected")[-1]
            assert (last.src["sha256"], last.src["topic"]) == (digest(data), topic)
        assert parts.entries("reading") == []


async def test_a_flood_of_forbidden_messages_at_qos_0_does_not_stop_a_device(
    site: Site, tmp_path: Path
) -> None:
    """Beyond the rate they are counted, and the device's readings still come through."""
    async with _sealing(site, tmp_path) as (rig, parts):
        client = await rig.admitted()
        for _ in range(300):
            client.send(Publish("not/mine", b"x", 0))
        assert await client.publish(OWN, payload(1), 1) is ReasonCode.SUCCESS
        parts.pipeline.tick()
        await rig.until(lambda: rig.listener.broker.held_bytes == 0)
        assert await client.publish(OWN, payload(2), 1) is ReasonCode.SUCCESS
        assert len(parts.entries("rejected")) == 6


def test_the_memory_of_judged_topics_is_bounded() -> None:
    """A device that invents topics for ever is judged for ever, and nothing grows."""
    taken: list[Message] = []

    class Taking:
        """An intake that only keeps."""

        is_full = False

        def submit(self, message: Message) -> None:
            """Keep a message."""
            taken.append(message)

    class Nobody:
        """Whoever waits for no outcome."""

        def settle(self, received: Received, outcome: int, text: str) -> None:
            """Forget it."""

    policy, metrics = Policy("lab"), GatewayMetrics()
    guard = Guard(policy, Taking(), None, Report(metrics), clock=Hands().clock(), links={})
    handover = Handover(policy, Taking(), guard, 128)
    for number in range(20_000):
        handover.hand_over(
            Received(Publish(f"topic/{number}", b""), Identity("device-1"), "one", Nobody()), Stamp(0, 0)
        )
    handover.hand_over(Received(Publish(OWN, b""), Identity("device-1"), "one", Nobody()), Stamp(0, 0))
    assert {message.refused for message in taken[:-1]} == {NOT_AUTHORISED}
    assert taken[-1].refused == ""
    assert len(handover._permits) < 16_385
