"""The demo's work folder: certificates, a service's folder and a gateway's, made by the real commands.

Free ports on loopback are chosen here, and passed as settings when the programs are started. Starts
nothing that stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec

from coldseal.demo.device import Post
from coldseal.demo.fleet import Fleet, open_context
from coldseal.demo.programs import Program, free_ports, prepare
from coldseal.demo.verdict import Held, held_by
from coldseal.gateway.clock import Clock
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.process import LOG_FOLDER
from coldseal.service.config import load_service
from coldseal.service.storage.sqlite import SqliteLedger
from coldseal.service.storage.values import Summary
from coldseal.signing.secrets import read_symmetric_key

ORIGIN = "coldseal.example/demo/gw-0001"
SITE = "demo"
BUNDLE = "demo.coldseal"
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Site:
    """A prepared work folder.

    Args:
        folder: everything stands below it.
        sensors: names of the devices that have certificates.
        mqtt_port: the gateway's listener.
        gateway_http: the gateway's health and metrics.
        service_port: the service's listener.
        service_http: the service's health and metrics.
    """

    folder: Path
    sensors: tuple[str, ...]
    mqtt_port: int
    gateway_http: int
    service_port: int
    service_http: int

    @property
    def pki(self) -> Path:
        """The development CA's folder."""
        return self.folder / "pki"

    @property
    def gateway_config(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway" / "gateway.toml"

    @property
    def service_config(self) -> Path:
        """The service's configuration."""
        return self.folder / "service" / "service.toml"

    @property
    def bundle(self) -> Path:
        """The evidence bundle."""
        return self.folder / BUNDLE

    def gateway(self, uplink_port: int, *more: str) -> Program:
        """Give the gateway, which reaches the service through ``uplink_port``; ``more`` are settings."""
        settings = (
            f"mqtt.listen=127.0.0.1:{self.mqtt_port}",
            f"http.listen=127.0.0.1:{self.gateway_http}",
            f"uplink.url=https://localhost:{uplink_port}",
            f"uplink.retry_max_s={_RETRY_S}",
            "checkpoint.seconds=1",
            *more,
        )
        return self._program("gateway", self.gateway_config, settings, self.gateway_http)

    def service(self) -> Program:
        """Give the service."""
        settings = (
            f"service.listen=127.0.0.1:{self.service_port}",
            f"http.listen=127.0.0.1:{self.service_http}",
        )
        return self._program("service", self.service_config, settings, self.service_http)

    def _program(self, noun: str, config: Path, settings: tuple[str, ...], health_port: int) -> Program:
        """Give a program with settings that its file does not have."""
        options = [part for setting in settings for part in ("--set", setting)]
        return Program(noun, (noun, "run", str(config), *options), self.folder, health_port)


def make_fleet(site: Site, chance: Random, *, interval_s: float) -> Fleet:
    """Give the site's sensors, each with a connection and a weather of its own; they run on this loop.

    Args:
        site: where they publish.
        chance: makes the weather.
        interval_s: pause between two readings of one sensor.
    """
    clock = Clock()
    posts = [
        Post(
            host="127.0.0.1",
            port=site.mqtt_port,
            context=open_context(site.pki, name),
            server_name="localhost",
            site=SITE,
            device=name,
            interval_s=interval_s,
        )
        for name in site.sensors
    ]
    loop = asyncio.get_running_loop()
    return Fleet(posts, now_ms=lambda: clock.now().t_ms, clock=loop.time, chance=chance)


async def prepare_site(folder: Path, sensors: int) -> Site:
    """Make everything that the two programs and the sensors need.

    Raises:
        OperatorError: a command refuses; the hint is what it said.
    """
    pki, gateway, service = (str(folder / name) for name in ("pki", "gateway", "service"))
    made = await prepare("identity", "dev-ca", pki, "--devices", str(sensors), "--json")
    certificates: list[str] = msgspec.json.decode(made)["devices"]
    answer = await prepare("service", "init", service, "--pki", pki, "--json")
    witness: str = msgspec.json.decode(answer)["witness"]
    await prepare(
        *("gateway", "init", gateway, "--origin", ORIGIN, "--site", SITE, "--pki", pki),
        *("--uplink", "https://localhost:8443", "--witness", witness),
    )
    await prepare("service", "admit", f"{service}/service.toml", f"{gateway}/admission.json")
    return Site(folder, tuple(Path(path).stem for path in certificates), *free_ports(4))


def read_gateway(site: Site) -> Held:
    """Read the gateway's whole log, as it stands on disk."""
    config: GatewayConfig = load_gateway(site.gateway_config)
    reader = LogReader(config.gateway.data / LOG_FOLDER, read_symmetric_key(config.store.key, site.folder))
    try:
        size = reader.size()
        entries: list[bytes] = []
        while len(entries) < size:
            entries += reader.read(len(entries))
        return held_by(entries)
    finally:
        reader.close()


def read_service(site: Site) -> tuple[Held, Summary]:
    """Read what the service stored of the gateway's log, and how far it checked it."""
    config = load_service(site.service_config)
    ledger = SqliteLedger(
        config.service.data / "ledger.db",
        read_symmetric_key(config.store.key, site.folder),
        limit_bytes=config.store.limit_mb * 2**20,
    )
    try:
        summary = ledger.summary(ORIGIN)
        return held_by(ledger.entries(ORIGIN, 0, summary.size)), summary
    finally:
        ledger.close()
