"""A real Mosquitto for tests, with the configuration that `broker-config mosquitto` writes and nothing else.

On loopback and a free port, below a folder of the test's own; it is ended by its pid when the block ends.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from coldseal.gateway.broker_setup import render_files, write_files
from coldseal.gateway.brokering import CONFIGURATION
from coldseal.gateway.clock import Clock
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.governance import open_policy
from coldseal.gateway.sources.broker.generation import Generation
from coldseal.gateway.sources.broker.report import Report
from coldseal.gateway.sources.broker.source import BrokerSource, Way
from coldseal.identity.authority import Authority, create_authority
from coldseal.identity.contexts import client_context
from coldseal.mqtt.packets import ConnAck, Connect, Properties, ReasonCode, Version
from coldseal.observe.metrics import GatewayMetrics
from tests.gateway.sources.rig import Peer
from tests.waiting import until

if TYPE_CHECKING:
    import ssl

    from coldseal.gateway.sources.handover import Intake
    from coldseal.identity.peer import Role

SITE = "lab"
GATEWAY = "gw-1"
DEVICES = ("dev-1", "dev-2", "dev-3")
SERVER = "broker"
LASTING = Properties(session_expiry_interval=3_600)

_REGISTRY = """
[[classes]]
name = "logger"
channels = [
    { channel = "reading" },
    { channel = "status", retain = true, will = true },
    { channel = "event", names = ["door"] },
    { channel = "cmd", names = ["blink"] },
    { channel = "config" },
    { channel = "receipt" },
]
"""


def require_mosquitto() -> None:
    """Skip a test where there is no Mosquitto; under CI a skip is a failure."""
    if shutil.which("mosquitto") is None:
        pytest.skip("needs Debian's mosquitto")


def now() -> datetime:
    """Give this moment: certificates live by the real clock."""
    return datetime.fromtimestamp(Clock().now().t_ms / 1000, UTC)


def free_port() -> int:
    """Find a port that nobody listens on, below those that the system gives to callers meanwhile."""
    while True:
        port = SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class BrokerSite:
    """A folder with a CA, certificates, a registry, a gateway's configuration and the broker's files."""

    def __init__(self, folder: Path, devices: Sequence[str] = DEVICES, registry: str = "") -> None:
        """Make all of it; the broker does not run yet."""
        self.folder, self.port = folder, free_port()
        self.authority: Authority = create_authority(folder / "ca", now=now() - timedelta(minutes=2))
        self.broker = self.authority.issue("service", SERVER, now=now())
        self.gateway = self.authority.issue("gateway", GATEWAY, now=now())
        self.trust = folder / "ca" / "root.pem"
        self.crl = folder / "ca" / "crl.pem"
        self.files = folder / "mosquitto"
        self.pid_file = folder / "mosquitto.pid"
        self.config_file = folder / "gateway.toml"
        (folder / "persistence").mkdir()
        carried = "".join(
            f'[[devices]]\nname = "{name}"\nclass = "logger"\nsensors = ["door", "core"]\n'
            for name in devices
        )
        (folder / "registry.toml").write_text(registry or f"{_REGISTRY}{carried}")
        self.config_file.write_text(
            f'[gateway]\norigin = "test.example/lab/{GATEWAY}"\nsite = "{SITE}"\n'
            '[mqtt]\nlisten = ""\n'
            '[http]\nlisten = "127.0.0.1:0"\n'
            '[topics]\nregistry = "registry.toml"\nstrict = true\n'
            f'[broker]\naddress = "localhost:{self.port}"\ncertificate = "{self.gateway}"\n'
            f'key = "{self.gateway.with_suffix(".key")}"\nca = "{self.trust}"\npid_file = "{self.pid_file}"\n'
            "retry_initial_s = 0.05\nretry_max_s = 0.2\n"
            f'[broker.mosquitto]\nfolder = "{self.files}"\nlisten = "127.0.0.1:{self.port}"\nuser = "root"\n'
            f'certificate = "{self.broker}"\nkey = "{self.broker.with_suffix(".key")}"\n'
            f'client_ca = "{self.trust}"\ncrl = "{self.crl}"\npersistence = "{folder / "persistence"}"\n'
        )

    def config(self, *overrides: str) -> GatewayConfig:
        """Load the gateway's configuration."""
        return load_gateway(self.config_file, overrides)

    def write(self, *overrides: str) -> None:
        """Write the broker's files."""
        config = self.config(*overrides)
        write_files(render_files(config.broker, open_policy(config)), self.files)

    def certificate(self, name: str, role: Role = "device") -> Path:
        """Give a holder's certificate, made at its first use."""
        path = self.folder / "ca" / role / f"{name}.pem"
        return path if path.exists() else self.authority.issue(role, name, now=now())

    def context(self, name: str, role: Role = "device") -> ssl.SSLContext:
        """Make the TLS context of a client."""
        certificate = self.certificate(name, role)
        return client_context(certificate, certificate.with_suffix(".key"), self.trust)

    def revoke(self, *names: str) -> None:
        """Put devices on the revocation list; a list is later than the CA, and not of the future."""
        self.authority.revoke([self.certificate(name) for name in names], now=now())


class Mosquitto:
    """A running broker.

    Attributes:
        log: what it says.
    """

    def __init__(self, site: BrokerSite) -> None:
        """Not running yet."""
        self._site = site
        self.log = site.folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it takes connections and signals."""
        said = len(self.log.read_bytes()) if self.log.exists() else 0
        command = ["mosquitto", "-c", str(self._site.files / CONFIGURATION)]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)  # noqa: ASYNC220 # it is quick

        def runs() -> bool:
            """Whether it says so; one that has ended will not."""
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            return b" running\n" in self.log.read_bytes()[said:]

        await until(runs)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, in order or by SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def kill(self) -> None:
        """End it as a power failure would."""
        self.stop(signal.SIGKILL)

    def hang_up(self) -> None:
        """Tell it to read its files again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


@asynccontextmanager
async def running(site: BrokerSite, *overrides: str) -> AsyncIterator[Mosquitto]:
    """Write the files and run a broker with them."""
    site.write(*overrides)
    broker = Mosquitto(site)
    await broker.start()
    try:
        yield broker
    finally:
        broker.stop()


async def connect(
    site: BrokerSite,
    name: str,
    *,
    role: Role = "device",
    client_id: str = "",
    clean: bool = True,
    properties: Properties | None = None,
    version: Version = Version.V5,
) -> tuple[Peer, ConnAck]:
    """Open a client's connection; give it with the broker's answer."""
    peer = await Peer.open(site.port, version, site.context(name, role))
    greeting = Connect(client_id or name, version, clean, 60, properties=properties or Properties())
    return peer, await peer.connect(greeting)


@asynccontextmanager
async def client(site: BrokerSite, name: str, **options: object) -> AsyncIterator[Peer]:
    """Hold a client that was let in, and drop it at the end."""
    peer, answer = await connect(site, name, **options)  # type: ignore[arg-type] # the same options
    assert answer.reason is ReasonCode.SUCCESS, answer
    try:
        yield peer
    finally:
        await peer.drop()


class Watched(Report):
    """The source's voice, with what it said."""

    def __init__(self, address: str) -> None:
        """Start with metrics of its own."""
        self.metrics = GatewayMetrics()
        self.losses: list[str] = []
        self.times_forgotten = 0
        super().__init__(address, self.metrics)

    @override
    def lost(self, error: Exception) -> None:
        """Remember why."""
        self.losses.append(str(error))
        super().lost(error)

    @override
    def forgotten(self) -> None:
        """Count it."""
        self.times_forgotten += 1
        super().forgotten()


@asynccontextmanager
async def sourcing(
    site: BrokerSite, intake: Intake, *overrides: str, is_cut: bool = False
) -> AsyncIterator[tuple[BrokerSource, Watched]]:
    """Run the source in front of an intake; at the end it stops in order, or is cut off as by a crash."""
    config = site.config(*overrides)
    broker = config.broker
    assert broker.address is not None
    report = Watched(str(broker.address))
    source = BrokerSource(
        broker,
        broker.address,
        site=SITE,
        client_id=GATEWAY,
        policy=open_policy(config),
        intake=intake,
        clock=Clock(),
        report=report,
        generation=Generation(site.folder / "generation"),
        way=Way(lambda: site.context(GATEWAY, "gateway"), lambda: ["127.0.0.1"]),
        chance=lambda: 0.5,
    )
    running = asyncio.ensure_future(source.run())
    try:
        yield source, report
    finally:
        if is_cut:
            running.cancel()
            await asyncio.wait([running])
        else:
            await source.stop()
            await running


def topic(device: str = "dev-1", sensor: str = "door") -> str:
    """Give a reading's topic."""
    return f"coldseal/v1/{SITE}/{device}/reading/{sensor}"
