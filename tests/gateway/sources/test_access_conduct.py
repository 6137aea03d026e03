"""A rogue device with a good certificate: it is cut off, alarmed and kept out, and nobody else notices.

No time passes in these tests but what they let pass: what happens here happens within no second at all.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import argon2
import pytest

from coldseal.core.conduct import Conduct
from coldseal.core.quotas import OVER_QUOTA, OVER_RATE, Limit
from coldseal.core.registry import ChannelRule, Device, DeviceClass, Registry
from coldseal.core.topics import BLOCKED, NOT_AUTHORISED, WILL, Channel, Policy
from coldseal.gateway.message import Outcome
from coldseal.gateway.sources.mqtt import MqttListener
from coldseal.mqtt.packets import Connect, Disconnect, PubAck, Publish, ReasonCode, Version, Will
from coldseal.observe import logs
from tests.gateway.parts import Hands, Parts, digest, faults_of, open_parts, payload
from tests.gateway.sources.rig import PASSWORD, SITE, Intake, Peer, Rig, Site, running
from tests.gateway.sources.rig import Hands as RigHands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BRANCH = f"coldseal/v1/{SITE}"
FLEET = tuple(f"good-{number}" for number in range(20))
ROGUE = "rogue"
BLOCK_S = 60
LIMIT = Limit(messages_per_s=1, messages_burst=3)


def policy(limit: Limit = LIMIT) -> Policy:
    """Make the policy of a site with twenty loggers and a rogue that is one of them."""
    kind = DeviceClass("logger", (ChannelRule(Channel.READING), ChannelRule(Channel.STATUS)), limit=limit)
    devices = tuple(Device(name, "logger", ("t",)) for name in (*FLEET, ROGUE))
    return Policy(SITE, (), Registry((kind,), devices), is_strict=True)


def topic_of(device: str) -> str:
    """Name the topic of a device's readings."""
    return f"{BRANCH}/{device}/reading/t"


class Place:
    """A listener with a real pipeline on a real log, and hands on its clock."""

    def __init__(self, rig: Rig, parts: Parts, hands: Hands, lines: io.StringIO) -> None:
        """Take the parts."""
        self.rig, self.parts, self.hands, self._lines = rig, parts, hands, lines

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and do what is done once a second."""
        self.hands.pass_ms(round(seconds * 1000))
        self.rig.listener.tick()
        self.parts.pipeline.tick()

    def told(self, event: str) -> list[dict[str, object]]:
        """Give the log lines of one event."""
        lines = [json.loads(line) for line in self._lines.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def rejected(self) -> Counter[str]:
        """Count what was sealed as rejected, by reason; what was counted together counts as many."""
        found: Counter[str] = Counter()
        for entry in self.parts.entries("rejected"):
            data = entry.data
            found[str(data["reason"])] += int(str(data.get("count", 1)))
        return found

    async def tls(self, site: Site, device: str, version: Version = Version.V5) -> Peer:
        """Connect with a certificate."""
        peer = await self.rig.tls_peer(site.device(device), version)
        answer = await peer.connect(Connect(f"{device}-1", version))
        assert answer.reason is ReasonCode.SUCCESS
        return peer


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a password file for everybody."""
    path = tmp_path_factory.mktemp("conduct") / "passwords"
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    path.write_text("".join(f"{name}:{hashed}\n" for name in (*FLEET, ROGUE)))
    path.chmod(0o600)
    return path


@asynccontextmanager
async def guarded(
    site: Site, folder: Path, passwords: Path, rules: Policy | None = None, tolerated: int = 10
) -> AsyncIterator[Place]:
    """Run a listener that cuts devices off, in front of a real pipeline."""
    hands, lines = Hands(round(site.now.timestamp() * 1000)), io.StringIO()
    logs.configure(stream=lines, is_readable=False)
    async with open_parts(folder, hands, per_minute=5) as parts:
        listener = MqttListener(
            site.config(passwords=passwords),
            policy=rules or policy(),
            intake=parts.pipeline,
            clock=hands.clock(),
            metrics=parts.metrics,
            conduct=Conduct(tolerated, BLOCK_S, 600),
        )
        sealing = asyncio.ensure_future(parts.pipeline.run())
        await listener.start()
        rig = Rig(listener, Intake(), parts.metrics, RigHands())
        try:
            yield Place(rig, parts, hands, lines)
        finally:
            await rig.drop_all()
            await listener.stop()
            parts.pipeline.stop()
            await sealing
            logs.configure()


@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_a_device_that_speaks_as_another_is_cut_off_alarmed_and_kept_out(
    site: Site, tmp_path: Path, passwords: Path, version: Version
) -> None:
    """At its first try: every connection ends, the try is sealed, an alarm is raised, the door stays shut."""
    forged = payload(1, "2.0")
    async with guarded(site, tmp_path, passwords) as place:
        rogue, other = await place.tls(site, ROGUE, version), await place.rig.peer(version)
        await other.connect(Connect("rogue-2", version, username=ROGUE, password=PASSWORD))
        rogue.send(Publish(topic_of("good-1"), forged, 1, packet_id=1))
        for peer in (rogue, other):
            said = [packet for packet in await peer.expect_end() if isinstance(packet, Disconnect)]
            expected = [ReasonCode.NOT_AUTHORIZED] if version is Version.V5 else []
            assert [packet.reason for packet in said] == expected
        (alarm,) = place.told("device.blocked")
        assert (alarm["device"], alarm["topic"], alarm["reason"], alarm["level"]) == (
            ROGUE,
            topic_of("good-1"),
            NOT_AUTHORISED,
            "critical",
        )
        await place.rig.until(lambda: bool(place.parts.entries("rejected")))
        (entry,) = place.parts.entries("rejected")
        assert (entry.src["dev"], entry.src["topic"], entry.src["sha256"]) == (
            ROGUE,
            topic_of("good-1"),
            digest(forged),
        )
        assert place.parts.entries("reading") == []
        _, answer = await place.rig.client(version=version, device=ROGUE)
        banned = ReasonCode.BANNED if version is Version.V5 else ReasonCode.NOT_AUTHORIZED
        assert answer.reason is banned
        await place.rig.until(lambda: place.rejected() == {NOT_AUTHORISED: 1, BLOCKED: 1})
        assert place.rig.shown("connections_refused_total", reason=BLOCKED) == 1
        assert place.rig.shown("device_blocks_total", reason=NOT_AUTHORISED) == 1
        assert set(faults_of(place.parts)) <= {"not-witnessed", "tail-not-anchored"}


async def test_a_device_may_come_back_when_its_time_is_over(
    site: Site, tmp_path: Path, passwords: Path
) -> None:
    """Not a second before; and when it goes on, it is out for twice as long."""
    async with guarded(site, tmp_path, passwords) as place:
        rogue = await place.tls(site, ROGUE)
        rogue.send(Publish(topic_of("good-1"), b"x", 0))
        await rogue.expect_end()
        place.pass_s(BLOCK_S - 1)
        _, answer = await place.rig.client(device=ROGUE)
        assert answer.reason is ReasonCode.BANNED
        assert place.rig.shown("devices_blocked") == 1
        place.pass_s(1)
        assert [line["device"] for line in place.told("device.unblocked")] == [ROGUE]
        assert place.rig.shown("devices_blocked") == 0
        again = await place.rig.admitted(device=ROGUE)
        assert await again.publish(topic_of(ROGUE), payload(1)) is ReasonCode.SUCCESS
        again.send(Publish(topic_of("good-1"), b"x", 0))
        await again.expect_end()
        assert [line["seconds"] for line in place.told("device.blocked")] == [BLOCK_S, 2 * BLOCK_S]


async def test_a_will_in_another_s_name_is_as_grave(site: Site, tmp_path: Path, passwords: Path) -> None:
    """It is refused at CONNECT, sealed with its payload, and the device is out."""
    async with guarded(site, tmp_path, passwords) as place:
        will = Will(f"{BRANCH}/good-1/status", b"I am gone")
        _, answer = await place.rig.client(device=ROGUE, will=will)
        assert answer.reason is ReasonCode.NOT_AUTHORIZED
        _, answer = await place.rig.client(device=ROGUE)
        assert answer.reason is ReasonCode.BANNED
        await place.rig.until(lambda: place.rejected() == {WILL: 1, BLOCKED: 1})
        assert place.parts.entries("rejected")[0].src["sha256"] == digest(b"I am gone")
        assert place.told("device.right-refused")[0]["topic"] == will.topic


async def test_subscriptions_that_are_refused_again_and_again_end_in_a_cut(
    site: Site, tmp_path: Path, passwords: Path
) -> None:
    """Ten are tolerated in a minute; all are sealed, those beyond the bound of the log as a count."""
    async with guarded(site, tmp_path, passwords) as place:
        rogue = await place.rig.admitted(device=ROGUE)
        for _ in range(10):
            assert (await rogue.subscribe("#")).reasons == (ReasonCode.NOT_AUTHORIZED,)
        rogue.send(Publish(f"{BRANCH}/{ROGUE}/reading/unknown", b"x", 0))
        await rogue.expect_end()
        place.pass_s(1)
        await place.rig.until(lambda: place.rejected() == {"subscribe": 5, "rate": 6})


@pytest.mark.parametrize("qos", [1, 2])
async def test_an_mqtt_5_device_over_its_rate_is_told_and_then_cut_off(
    site: Site, tmp_path: Path, passwords: Path, qos: int
) -> None:
    """0x97 for each message over the burst, sealed as rejected; 0x96 once that goes on."""
    async with guarded(site, tmp_path, passwords) as place:
        device = await place.rig.admitted(device=ROGUE)
        answers = [
            await device.publish(topic_of(ROGUE), payload(seq), qos, packet_id=seq + 1) for seq in range(3)
        ]
        assert set(answers) == {ReasonCode.SUCCESS}
        assert await device.publish(topic_of(ROGUE), payload(3), qos) is ReasonCode.QUOTA_EXCEEDED
        (entry,) = place.parts.entries("rejected")
        assert (entry.data["reason"], entry.src["sha256"]) == (OVER_RATE, digest(payload(3)))
        place.pass_s(1)
        assert await device.publish(topic_of(ROGUE), payload(4), qos) is ReasonCode.SUCCESS
        device.send(*(Publish(topic_of(ROGUE), payload(5), qos, packet_id=each + 1) for each in range(20)))
        said = await device.expect_end()
        assert [each.reason for each in said if isinstance(each, Disconnect)] == [
            ReasonCode.MESSAGE_RATE_TOO_HIGH
        ]
        assert place.told("device.blocked")[0]["reason"] == OVER_RATE
        place.pass_s(1)
        await place.rig.until(lambda: place.rejected().total() == 21)
        assert len(place.parts.entries("reading")) == 4
        await place.rig.until(lambda: place.rig.shown("messages_total", outcome="limited") == 21)


@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_a_device_over_its_rate_is_slowed_and_loses_nothing(
    site: Site, tmp_path: Path, passwords: Path, version: Version
) -> None:
    """What is over the rate waits, in order, and is answered in time: in 3.1.1, and where `waits` is set."""
    rules = policy(replace(LIMIT, waits=version is Version.V5))
    async with guarded(site, tmp_path, passwords, rules) as place:
        device = await place.rig.admitted(device=ROGUE, version=version)
        device.send(*(Publish(topic_of(ROGUE), payload(seq), 1, packet_id=seq + 1) for seq in range(30)))
        for packet_id in range(1, 31):
            while not device.has_come():
                try:
                    async with asyncio.timeout(0.02):
                        await device._read("an answer")
                except TimeoutError:
                    place.pass_s(1)
            assert (await device.expect(PubAck)).packet_id == packet_id
        assert place.parts.entries("rejected") == []
        assert [entry.src["seq"] for entry in place.parts.entries("reading")] == list(range(30))
        assert place.hands.mono_ms - 1_000 >= 27_000


async def test_a_3_1_1_device_that_does_not_wait_for_its_answers_is_cut_off(
    site: Site, tmp_path: Path, passwords: Path
) -> None:
    """Twice Receive Maximum may wait; more is a flood, refused and sealed; what waited is not answered."""
    async with guarded(site, tmp_path, passwords) as place:
        device = await place.rig.admitted(device=ROGUE, version=Version.V311)
        device.send(*(Publish(topic_of(ROGUE), payload(seq), 1, packet_id=seq + 1) for seq in range(400)))
        answers = [each for each in await device.expect_end() if isinstance(each, PubAck)]
        assert len(answers) <= 3
        place.pass_s(1)
        await place.rig.until(lambda: place.rejected().total() >= 11)
        assert place.told("device.blocked")[0]["reason"] == OVER_RATE
        await place.rig.until(lambda: place.rig.listener.broker.held_bytes == 0)


@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_a_full_disk_uses_up_nobody_s_rate(site: Site, passwords: Path, version: Version) -> None:
    """What waits for room was weighed once: tried again however often, it is not refused for its rate."""
    intake, hands = Intake(), RigHands()
    intake.outcome = Outcome.BUSY
    conduct = Conduct(10, BLOCK_S, 600)
    async with running(
        site, policy=policy(), passwords=passwords, intake=intake, hands=hands, conduct=conduct
    ) as rig:
        device = await rig.admitted(device=ROGUE, version=version)
        device.send(*(Publish(topic_of(ROGUE), payload(seq), 1, packet_id=seq + 1) for seq in range(3)))
        await intake.count(3)
        for _ in range(20):
            count = len(intake.messages)
            rig.listener.tick()
            await intake.count(count + 3)
            await rig.until(lambda: waiting(rig) == 3)
        assert not any(message.refused for message in intake.messages)
        intake.outcome = Outcome.SEALED
        rig.listener.tick()
        assert [(await device.expect(PubAck)).packet_id for _ in range(3)] == [1, 2, 3]


def waiting(rig: Rig) -> int:
    """Count the messages that found no room."""
    dialogues = [each.dialogue for each in rig.listener.broker.connections]
    return sum(len(each.inbound.retry) for each in dialogues if each is not None)


@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_a_daily_quota_is_refused_in_both_versions(
    site: Site, tmp_path: Path, passwords: Path, version: Version
) -> None:
    """Nobody can wait for tomorrow: it is sealed as rejected, and answered as such where that can be said."""
    async with guarded(site, tmp_path, passwords, policy(Limit(messages_per_day=2))) as place:
        device = await place.rig.admitted(device=ROGUE, version=version)
        answers = [await device.publish(topic_of(ROGUE), payload(seq)) for seq in range(3)]
        last = ReasonCode.QUOTA_EXCEEDED if version is Version.V5 else ReasonCode.SUCCESS
        assert answers == [ReasonCode.SUCCESS, ReasonCode.SUCCESS, last]
        assert place.rejected() == {OVER_QUOTA: 1}


async def test_twenty_devices_keep_their_service_while_one_floods(
    site: Site, tmp_path: Path, passwords: Path
) -> None:
    """All of their readings are sealed and acknowledged; of the flood, each message read is on record."""
    rules = policy(Limit(messages_per_s=10, messages_burst=50))
    async with guarded(site, tmp_path, passwords, rules) as place:
        fleet = {name: await place.rig.admitted(device=name) for name in FLEET}
        answers: Counter[ReasonCode] = Counter()
        flood = [Publish(topic_of(ROGUE), payload(None, f"{number}.5"), 0) for number in range(500)]
        for seq in range(10):
            rogue, answer = await place.rig.client(device=ROGUE)
            if answer.reason is ReasonCode.SUCCESS:
                rogue.send(*flood)
            for device in fleet.values():
                device.send(Publish(topic_of(device_name(fleet, device)), payload(seq), 1, packet_id=1))
            for device in fleet.values():
                answers[(await device.expect(PubAck)).reason] += 1
            place.pass_s(1)
        assert answers == {ReasonCode.SUCCESS: 200}
        sealed = Counter(str(entry.src["dev"]) for entry in place.parts.entries("reading"))
        assert all(sealed[name] == 10 for name in FLEET)
        assert sealed[ROGUE] == 50
        assert len(place.told("device.blocked")) == 1
        place.pass_s(1)
        await place.rig.until(lambda: place.rejected().total() == 500 - 50 + 9)


def device_name(fleet: dict[str, Peer], device: Peer) -> str:
    """Name a device of the fleet."""
    return next(name for name, each in fleet.items() if each is device)


async def test_without_a_conduct_nobody_is_cut_off(site: Site, tmp_path: Path) -> None:
    """Each try is refused and sealed, and the connection stays, as before there was one."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts:
        listener = MqttListener(
            site.config(),
            policy=Policy(SITE),
            intake=parts.pipeline,
            clock=hands.clock(),
            metrics=parts.metrics,
        )
        sealing = asyncio.ensure_future(parts.pipeline.run())
        await listener.start()
        rig = Rig(listener, Intake(), parts.metrics, RigHands())
        device = await rig.admitted()
        for _ in range(40):
            assert await device.publish(topic_of("device-2")) is ReasonCode.NOT_AUTHORIZED
        listener.tick()
        assert await device.publish(topic_of("device-1"), payload(1)) is ReasonCode.SUCCESS
        await rig.drop_all()
        await listener.stop()
        parts.pipeline.stop()
        await sealing
