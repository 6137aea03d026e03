"""A full store makes devices wait, loses nothing, and goes on by itself: a real gateway, a real client."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from coldseal.demo.fleet import open_context
from coldseal.gateway.message import Outcome
from coldseal.gateway.store.disk import Disk
from coldseal.gateway.store.log import Limits
from tests.gateway.parts import Answers, Hands, open_parts, payload
from tests.gateway.test_app import TOPIC, ask, config_file, entries_of, pki, running
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from coldseal.gateway.app import Gateway

__all__ = ["config_file", "pki"]

V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
COUNT = 3_000
MIB = 1024 * 1024
SMALL = ("store.limit_mb=4", "store.reserve_mb=1", "checkpoint.heartbeat_seconds=1")


class Device:
    """A device that publishes readings and keeps each until it is acknowledged.

    Attributes:
        answers: reason codes of acknowledgements, in order.
        reasons: why its connections ended.
    """

    def __init__(self, pki: Path, version: MQTTProtocolVersion) -> None:
        """Make it; it connects when told."""
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            "sensor-01",
            protocol=version,
            clean_session=False if version is V311 else None,
        )
        self.client.tls_set_context(open_context(pki, "sensor-01"))
        self.client.max_inflight_messages_set(40)
        self.client.reconnect_delay_set(1, 1)
        self.answers: list[int] = []
        self.reasons: list[int] = []
        self.client.on_publish = lambda _client, _data, _number, code, _more: self.answers.append(code.value)
        self.client.on_disconnect = lambda _client, _data, _flags, code, _more: self.reasons.append(
            code.value
        )

    @asynccontextmanager
    async def publishing(self, port: int, count: int = COUNT) -> AsyncIterator[None]:
        """Connect and offer readings; at the end it leaves."""
        await asyncio.to_thread(self._connect, port)
        self.client.loop_start()
        for number in range(1, count + 1):
            self.client.publish(TOPIC, payload(number), qos=1)
        try:
            yield
        finally:
            self.client.disconnect()
            await asyncio.to_thread(self.client.loop_stop)

    def _connect(self, port: int) -> None:
        """Open a session that lasts."""
        if self.client.protocol is V311:
            self.client.connect("localhost", port, keepalive=2)
            return
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # untyped there
        lasting.SessionExpiryInterval = 600
        self.client.connect("localhost", port, keepalive=2, clean_start=False, properties=lasting)


async def fill(gateway: Gateway) -> int:
    """Wait until nothing more is taken, and see that the log's own entries still are."""

    async def is_full() -> bool:
        return not (await ask(gateway, "/readyz"))["ok"]

    await until(is_full, within_s=60)
    size = gateway.log.size
    await until(lambda: gateway.log.size >= size + 2)
    return size


def require_all(path: Path, device: Device, count: int, *settings: str) -> None:
    """Everything is acknowledged, sealed once, and in order."""
    assert device.answers == [0] * count
    entries = entries_of(path, *settings)
    assert [entry.src["seq"] for entry in entries if entry.kind == "reading"] == list(range(1, count + 1))
    assert [entry for entry in entries if entry.kind == "heartbeat"]


@pytest.mark.parametrize("version", [V311, V5])
async def test_a_full_store_makes_a_device_wait_until_there_is_room(
    config_file: Path, pki: Path, capsys: pytest.CaptureFixture[str], version: MQTTProtocolVersion
) -> None:
    """Room comes by itself when a segment ends and is packed; an MQTT 5 client stays connected meanwhile."""
    device = Device(pki, version)
    async with running(config_file, *SMALL) as gateway, device.publishing(gateway.listener.port):
        size = await fill(gateway)
        acknowledged = len(device.answers)
        assert 200 < acknowledged < COUNT
        await until(lambda: gateway.log.size >= size + 4)  # longer than the keep-alive
        assert len(device.answers) == acknowledged
        assert device.reasons == [] or version is V311
        await gateway.log.roll(0)
        await until(lambda: len(device.answers) == COUNT, within_s=60)
        await until(lambda: _is_ready(gateway))
        await until(lambda: not gateway._instruments._was_full)  # it is said within a second
    require_all(config_file, device, COUNT)
    told = capsys.readouterr().err
    assert told.count("store.full") == told.count("store.free") >= 1
    assert told.count("store.segment-packed") >= 1


async def _is_ready(gateway: Gateway) -> bool:
    """Whether readings are taken."""
    return bool((await ask(gateway, "/readyz"))["ok"])


@contextmanager
def small_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Make the folder a file system of 12 MiB; says whether it is a real one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        try:
            yield True
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return

    def free_bytes(_disk: Disk, directory: Path) -> int:
        return 12 * MIB - sum(path.stat().st_size for path in directory.parent.rglob("*") if path.is_file())

    monkeypatch.setattr(Disk, "free_bytes", free_bytes)
    yield False


async def test_a_full_file_system_makes_a_device_wait_until_there_is_room(
    config_file: Path, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has filled it, the reserve too; nothing is lost, and it goes on when that is gone."""
    device, data = Device(pki, V311), tmp_path / "small"
    with small_disk(data, monkeypatch) as is_real:
        settings = (f"gateway.data={data}", "store.reserve_mb=1", "checkpoint.heartbeat_seconds=1")
        async with (
            running(config_file, *settings) as gateway,
            device.publishing(gateway.listener.port, 2_000),
        ):
            await until(lambda: len(device.answers) > 100)
            ballast = data / "ballast"
            with ballast.open("wb", 0) as file:
                try:
                    while is_real or file.tell() < 12 * MIB:
                        file.write(bytes(4096))
                except OSError:
                    pass

            async def is_full() -> bool:
                return not await _is_ready(gateway)

            await until(is_full, within_s=60)
            acknowledged = len(device.answers)
            assert acknowledged < 2_000
            ballast.unlink()
            await until(lambda: len(device.answers) == 2_000, within_s=60)
        require_all(config_file, device, 2_000, *settings)


@pytest.mark.parametrize("kind", ["heartbeat", "gap", "prune", "boot", "shutdown", "alarm"])
async def test_the_logs_own_entries_still_go_in(tmp_path: Path, kind: str) -> None:
    """The reserve is theirs; so is the end of the segment, behind which it is packed: then there is room."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, limits=Limits(limit_mb=3, reserve_mb=2)) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        number = 0
        while Outcome.BUSY not in [outcome for _, outcome, _ in answers.given]:
            for _ in range(100):
                number += 1
                parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
            await answers.reach(number)
        first, size = parts.log.segment_first, parts.log.size
        draft = parts.journal.draft(kind, b"{}", hands.clock().now())
        assert await parts.journal.append([draft], parts.redelivery.snapshot)
        hands.pass_ms(86_400_000)
        parts.pipeline.record("heartbeat", b"{}")
        await until(lambda: parts.log.segment_first > first)
        assert parts.log.size > size
        assert [entry.kind for entry in parts.entries(kind, "segment")][-1] == "segment"
        await parts.log.packer.pack_all(parts.log.make_room)
        parts.pipeline.submit(answers.to("again", payload(number), hands=hands))
        await answers.reach(number + 1)
        assert answers.outcomes[-1] == ("again", Outcome.SEALED)
        parts.pipeline.stop()
        await running
