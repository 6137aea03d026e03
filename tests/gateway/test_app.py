"""The gateway as a whole: it starts, takes readings in, goes on after a restart, and ends in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import aiohttp
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coldseal.cli.main import run as run_command
from coldseal.core.log.record import Entry, parse_entry
from coldseal.demo.fleet import open_context
from coldseal.errors import OperatorError
from coldseal.gateway import app, program
from coldseal.gateway.administration import ACTIONS, SECOND
from coldseal.gateway.app import Gateway
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.signing.secrets import read_symmetric_key
from tests.gateway.parts import payload
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOPIC = "coldseal/v1/site-7/sensor-01/reading/door"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a gateway, a service and two sensors."""
    folder = tmp_path_factory.mktemp("pki")
    command = ["identity", "dev-ca", str(folder / "ca"), "--devices", "2", "--gateway", "gw-1"]
    assert run_command([*command, "--service", "service"]) == 0
    return folder / "ca"


@pytest.fixture
def config_file(tmp_path: Path, pki: Path) -> Path:
    """A new gateway's configuration, on free ports."""
    folder = tmp_path / "gateway"
    origin = "example.com/site-7/gw-1"
    command = ["gateway", "init", str(folder), "--origin", origin, "--site", "site-7", "--pki", str(pki)]
    assert run_command(command) == 0
    return folder / "gateway.toml"


def load(path: Path, *overrides: str) -> GatewayConfig:
    """Load a configuration with free ports."""
    return load_gateway(path, ("mqtt.listen=127.0.0.1:0", "http.listen=127.0.0.1:0", *overrides))


@asynccontextmanager
async def running(path: Path, *overrides: str) -> AsyncIterator[Gateway]:
    """Run a gateway within this process."""
    config, stop = load(path, *overrides), asyncio.Event()
    gateway = await Gateway.open(config, [str(path), *overrides])
    serving = asyncio.ensure_future(gateway.serve(stop))
    try:
        await until(lambda: bool(gateway.health_address) or serving.done())
        yield gateway
    finally:
        stop.set()
        await serving
        await gateway.close()


def entries_of(path: Path, *overrides: str) -> list[Entry]:
    """Read a gateway's whole log."""
    config = load_gateway(path, overrides)
    reader = LogReader(
        config.gateway.data / app.LOG_FOLDER, read_symmetric_key(config.store.key, path.parent)
    )
    try:
        return [parse_entry(raw) for raw in reader.read_from(0)]
    finally:
        reader.close()


async def publish(pki: Path, port: int, *payloads: bytes) -> None:
    """Publish at QoS 1 with paho, as a device would, and wait for each acknowledgement."""

    def blocking() -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "sensor-01", protocol=mqtt.MQTTv5)
        client.tls_set_context(open_context(pki, "sensor-01"))
        client.connect("localhost", port)
        client.loop_start()
        try:
            for found in payloads:
                client.publish(TOPIC, found, qos=1).wait_for_publish(10)
        finally:
            client.disconnect()
            client.loop_stop()

    await asyncio.to_thread(blocking)


async def ask(gateway: Gateway, path: str) -> Any:  # noqa: ANN401 # any JSON
    """Ask a page of the gateway."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{gateway.health_address}{path}") as answer:
        return await (answer.json() if path != "/metrics" else answer.text())


async def test_a_log_begins_with_its_genesis_and_a_restart_is_recorded(config_file: Path, pki: Path) -> None:
    """genesis, readings, shutdown; then boot, which names the last entry."""
    async with running(config_file) as gateway:
        await publish(pki, gateway.listener.port, payload(1), payload(2))
    async with running(config_file) as gateway:
        await publish(pki, gateway.listener.port, payload(2), payload(3))
    entries = entries_of(config_file)
    assert [entry.kind for entry in entries] == [
        "genesis",
        "reading",
        "reading",
        "shutdown",
        "boot",
        "reading",
        "shutdown",
    ]
    assert entries[0].data["mode"] == "record"
    assert entries[4].data["last"] == entries[3].leaf_hash.hex()
    assert [entry.src["seq"] for entry in entries if entry.kind == "reading"] == [1, 2, 3]


async def test_health_metrics_and_status_tell_what_happens(config_file: Path, pki: Path) -> None:
    """In a technician's words, and for a monitoring system."""
    async with running(config_file, "http.silent_after_s=0.001", "checkpoint.heartbeat_seconds=1") as gateway:
        await publish(pki, gateway.listener.port, payload(1), b"{oops")
        await until(lambda: gateway.log.size >= 4)
        assert await ask(gateway, "/healthz") == {"ok": True, "reasons": []}
        assert (await ask(gateway, "/readyz"))["ok"]
        status = await ask(gateway, "/status")
        metrics = await ask(gateway, "/metrics")
    assert status["origin"] == "example.com/site-7/gw-1"
    assert status["backlog"] == status["size"]
    assert list(status["silent"]) == [TOPIC]
    assert status["uplink"] == "none configured: entries stay here"
    assert 6 < status["certificate_days"] <= 7
    assert 'coldseal_gateway_messages_total{outcome="sealed"} 1.0' in metrics
    assert 'coldseal_gateway_messages_total{outcome="rejected"} 1.0' in metrics
    assert 'coldseal_gateway_certificate_expiry_seconds{certificate="listener"}' in metrics
    (beat, *_) = [entry for entry in entries_of(config_file) if entry.kind == "heartbeat"]
    assert (beat.data["accepted"], beat.data["rejected"]) == (1, 1)


async def test_without_room_it_is_not_ready_and_says_why(config_file: Path, pki: Path) -> None:
    """Healthy, because nothing is stuck; not ready, because nothing is acknowledged."""
    async with running(config_file, "store.limit_mb=2", "store.reserve_mb=1") as gateway:
        many = (payload(number) for number in range(3000))
        filling = asyncio.ensure_future(publish(pki, gateway.listener.port, *many))

        async def is_not_ready() -> bool:
            return not (await ask(gateway, "/readyz"))["ok"]

        await until(is_not_ready, within_s=60)
        assert "store is full" in (await ask(gateway, "/readyz"))["reasons"][0]
        filling.cancel()
        await asyncio.wait({filling}, timeout=20)
    assert entries_of(config_file)[-1].kind == "shutdown", "the log's own entries use the reserve"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"record.pem": "checkpoint.pem"}, "sealed with"),
        ({}, "the log began with 'record'"),
    ],
)
async def test_another_record_key_or_sealing_mode_asks_for_a_new_log(
    config_file: Path, changes: dict[str, str], said: str
) -> None:
    """A log is one key's and one mode's."""
    async with running(config_file):
        pass
    for name, other in changes.items():
        (config_file.parent / name).write_bytes((config_file.parent / other).read_bytes())
    overrides = () if changes else ("gateway.signature=checkpoint",)
    with pytest.raises(OperatorError, match=said) as caught:
        await Gateway.open(load(config_file, *overrides), [])
    assert "new log" in caught.value.hint


async def test_a_renewed_certificate_is_taken_into_use_without_a_break_and_a_wrong_one_is_not(
    config_file: Path, pki: Path
) -> None:
    """SIGHUP does this; connections live on."""

    def serial(port: int) -> bytes:
        context = open_context(pki, "sensor-01")
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    async with running(config_file) as gateway:
        port = gateway.listener.port
        before = await asyncio.to_thread(serial, port)
        assert await asyncio.to_thread(run_command, ["identity", "renew", str(pki)]) == 0
        gateway.reload()
        after = await asyncio.to_thread(serial, port)
        assert before != after
        path = pki / "gateway" / "gw-1.pem"
        good = path.read_bytes()
        path.write_bytes(b"rubbish")
        gateway.reload()
        path.write_bytes(good)
        assert await asyncio.to_thread(serial, port) == after


async def test_a_fault_of_the_listener_ends_the_program_and_leaves_the_log_whole(config_file: Path) -> None:
    """The port is taken: a clear error, and the next start goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = await Gateway.open(load(config_file, f"mqtt.listen={address}"), [])
        with pytest.raises(ExceptionGroup) as caught:
            await gateway.serve(asyncio.Event())
        await gateway.close()
    assert isinstance(caught.value.exceptions[0], OperatorError)
    async with running(config_file):
        pass
    kinds = [entry.kind for entry in entries_of(config_file)]
    assert kinds == ["genesis", "boot", "gap", "config", "shutdown"]  # it listens elsewhere now


def test_the_program_ends_in_order_on_sigterm(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` answers 0, and the log ends with a shutdown."""

    async def then_stop(self: Gateway, stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGTERM)
        await serve(self, stop)

    serve = Gateway.serve
    monkeypatch.setattr(Gateway, "serve", then_stop)
    assert program.run(load(config_file), []) == 0
    assert [entry.kind for entry in entries_of(config_file)] == ["genesis", "shutdown"]


def test_the_program_reports_why_it_cannot_start(config_file: Path) -> None:
    """The cause comes out as the error that it is, for the command line to show."""
    (config_file.parent / "store.key").unlink()
    with pytest.raises(OperatorError, match=r"store\.key"):
        program.run(load(config_file), [])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (config_file.parent / "store.key").write_text("00" * 32)
        (config_file.parent / "store.key").chmod(0o600)
        config = load(config_file, f"mqtt.listen=127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(OperatorError, match="listen"):
            program.run(config, [])


async def test_a_device_without_a_certificate_does_not_get_in(config_file: Path, pki: Path) -> None:
    """TLS 1.3 with client certificates is the default."""
    context = ssl.create_default_context(cafile=pki / "root.pem")

    async def knock(port: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        with closing(writer):
            writer.write(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
            await reader.readexactly(1)

    async with running(config_file) as gateway:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await knock(gateway.listener.port)


async def test_every_request_that_the_gateway_answers_has_a_row_in_the_table_of_roles(
    config_file: Path,
) -> None:
    """One without would be open to nobody, or, worse, decided by nobody."""
    async with running(config_file) as gateway:
        assert set(gateway._control._handlers) == {*ACTIONS, *SECOND, "record", "coldchain"}
