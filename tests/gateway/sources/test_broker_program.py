"""The real gateway behind a real Mosquitto, killed in the midst: nothing lost or sealed twice, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import pytest

from coldseal.core.log.record import parse_entry
from coldseal.demo.programs import Program, free_ports
from coldseal.gateway.control import ask
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.writer import LOG_FOLDER
from coldseal.mqtt.packets import Connect, Properties, PubAck, Publish, ReasonCode, Version
from coldseal.signing.keys import generate_interop_key, generate_record_key, write_private_key
from coldseal.signing.private_files import write_private_file
from tests.gateway.parts import payload
from tests.gateway.sources.rig import Peer
from tests.mosquitto import DEVICES, BrokerSite, require_mosquitto, running, topic
from tests.trial import STORE_KEY
from tests.waiting import until

READY_S = 30.0
AHEAD = 16


@dataclass
class Device:
    """A device that keeps a reading until the broker has acknowledged it, and sends it again until then.

    Attributes:
        acknowledged: readings that the broker has acknowledged; they are numbered from 0.
        goal: how many it is to have.
    """

    site: BrokerSite
    name: str
    acknowledged: int = 0
    goal: int = 0
    is_ending: bool = False
    times_connected: int = 0
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def allow(self, count: int) -> None:
        """Let it publish so many more."""
        self.goal += count
        self.stirred.set()

    async def run(self) -> None:
        """Publish one reading after the other, over any number of connections."""
        while not self.is_ending:
            with suppress(OSError, AssertionError):  # the broker is away, or has closed
                await self._publish()
            await asyncio.sleep(0)

    async def _publish(self) -> None:
        """Publish on one connection until it ends; what is not acknowledged is repeated in its order."""
        peer = await Peer.open(self.site.port, Version.V5, self.site.context(self.name))
        try:
            answer = await peer.connect(Connect(self.name, Version.V5, True, 60, properties=Properties()))
            assert answer.reason is ReasonCode.SUCCESS
            self.times_connected += 1
            while not self.is_ending:
                numbers = range(self.acknowledged, min(self.acknowledged + AHEAD, self.goal))
                if not numbers:
                    self.stirred.clear()
                    await self.stirred.wait()
                peer.send(*(Publish(topic(self.name), payload(n), 1, packet_id=n + 1) for n in numbers))
                for _ in numbers:
                    assert (await peer.expect(PubAck)).packet_id == self.acknowledged + 1
                    self.acknowledged += 1
        finally:
            await peer.drop()


@pytest.fixture
def site(tmp_path: Path) -> BrokerSite:
    """Give a site with the gateway's keys."""
    require_mosquitto()
    found = BrokerSite(tmp_path)
    write_private_key(tmp_path / "record.pem", generate_record_key())
    write_private_key(tmp_path / "checkpoint.pem", generate_record_key())
    write_private_key(tmp_path / "interop.pem", generate_interop_key())
    write_private_file(tmp_path / "store.key", f"{STORE_KEY.hex()}\n".encode())
    return found


@asynccontextmanager
async def gateway(site: BrokerSite) -> AsyncIterator[tuple[Program, aiohttp.ClientSession]]:
    """Run the gateway's program."""
    (port,) = free_ports(1)
    arguments = ("gateway", "run", str(site.config_file), "--set", f"http.listen=127.0.0.1:{port}")
    async with aiohttp.ClientSession() as http, Program("gateway", arguments, site.folder, port) as program:
        await program.ready(http, within_s=READY_S)
        yield program, http


@asynccontextmanager
async def publishing(site: BrokerSite) -> AsyncIterator[list[Device]]:
    """Let all devices publish while this is open."""
    devices = [Device(site, name) for name in DEVICES]
    runs = [asyncio.ensure_future(device.run()) for device in devices]
    try:
        yield devices
    finally:
        for device in devices:
            device.is_ending = True
            device.stirred.set()
        await asyncio.gather(*runs)


async def publish(devices: list[Device], count: int) -> None:
    """Let each device publish so many more, and wait until the broker has acknowledged them."""
    for device in devices:
        device.allow(count)
    await until(lambda: all(device.acknowledged == device.goal for device in devices), within_s=60)


async def acknowledged_more(device: Device, count: int) -> None:
    """Wait until more than so many further messages of a device were acknowledged."""
    goal = device.acknowledged + count
    await until(lambda: device.acknowledged > goal)


def sealed(site: BrokerSite, device: str) -> list[int]:
    """Give a device's numbers in the order of the log."""
    with closing(LogReader(site.folder / "data" / LOG_FOLDER, STORE_KEY)) as reader:
        entries = [parse_entry(raw) for raw in reader.read_from(0)]
    found = [entry.src["seq"] for entry in entries if entry.kind == "reading" and entry.src["dev"] == device]
    return [number for number in found if isinstance(number, int)]


@pytest.mark.timeout(240)
async def test_a_gateway_that_is_killed_loses_nothing_seals_nothing_twice_and_keeps_the_order(
    site: BrokerSite,
) -> None:
    """SIGKILL in the midst of what three devices publish; the broker keeps what it was not acknowledged."""
    chance = Random(5)
    async with running(site), gateway(site) as (program, http), publishing(site) as devices:
        for _ in range(2):
            flow = asyncio.ensure_future(publish(devices, 400))
            await acknowledged_more(devices[0], chance.randrange(1, 300))
            await program.kill()
            await flow
            await program.start()
            await program.ready(http, within_s=READY_S)
        await publish(devices, 1)
        await until(lambda: last_is_sealed(site, devices))
        for device in devices:
            assert device.times_connected == 1
            assert sealed(site, device.name) == list(range(device.goal))


@pytest.mark.timeout(240)
async def test_a_killed_broker_loses_what_it_had_not_written_down_and_nothing_is_sealed_twice(
    site: BrokerSite,
) -> None:
    """The weaker promise: what it acknowledged since its last database may be gone; the rest is in order."""
    chance = Random(7)
    async with running(site) as broker, gateway(site), publishing(site) as devices:
        for _ in range(2):
            flow = asyncio.ensure_future(publish(devices, 400))
            await acknowledged_more(devices[0], chance.randrange(1, 300))
            broker.kill()
            await broker.start()
            await flow
        await until(lambda: is_connected(site))
        await publish(devices, 1)
        await until(lambda: last_is_sealed(site, devices))
        for device in devices:
            found = sealed(site, device.name)
            assert found == sorted(set(found))
            assert len(found) > device.goal / 2


def last_is_sealed(site: BrokerSite, devices: list[Device]) -> bool:
    """Whether the last reading of each device is in the log."""
    return all(device.goal - 1 in sealed(site, device.name)[-1:] for device in devices)


def is_connected(site: BrokerSite) -> bool:
    """Ask the gateway whether it has the broker."""
    answer = ask(site.folder / "data", {"do": "status"})
    return answer is not None and bool(answer["status"]["broker"]["up"])
