"""Whatever the service does, the gateway acknowledges: it says once that it is lost and once that it is back.

Real programs with real sensors, a proxy between them that ends TLS on both sides. The suite plays a few
faults, ``make soak`` rounds of all in random order. COLDSEAL_SEED plays a run again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import time_ns

import aiohttp
import apsw
import pytest

from coldseal.cli.sources import open_source
from coldseal.core.log.evidence import Case, Verdict, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import frame
from coldseal.demo.fleet import Fleet
from coldseal.demo.programs import Program
from coldseal.demo.site import Site, make_fleet, prepare_site, read_gateway, read_service
from coldseal.identity.authority import create_authority, open_authority
from coldseal.identity.contexts import client_context, reload, server_context
from coldseal.service.config import load_service
from coldseal.service.storage.database import open_database
from coldseal.signing.secrets import read_symmetric_key
from tests.campaigns.figures import say
from tests.campaigns.wrong_program import command_of
from tests.faulty import Fault, Proxy
from tests.waiting import until

SEED = int(os.environ.get("COLDSEAL_SEED", "1"))
READY_S = 30.0

CANNED = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>OK</html>",
    "wrong JSON": b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"receipt":1}',
    "no HTTP": b"\x00\xff\xfe garbage\r\n\r\n",
    "endless": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"8000\r\n" + bytes(0x8000) + b"\r\n") * 64,
    "foreign service": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 36\r\n\r\n"
    b'{"detail":"","error":"not-admitted"}',
}


def faults_of(site: Site) -> list[str]:
    """Verify the gateway's log with public keys; its newest entries have no receipt yet."""
    source = open_source(site.gateway_config)
    try:
        entries = source.read(0, source.size)
        layout = Layout(source.size, ((0, source.size),), ())
        case = Case(source.policy, layout, notes=list(source.notes()), settings=source.settings())
        report = judge(case, [examine(case.rules, 0, frame(entries))])
    finally:
        source.close()
    expected = {Verdict.TAIL, Verdict.UNWITNESSED}
    return [f"{fault.verdict} at {fault.seq}" for fault in report.faults if fault.verdict not in expected]


@dataclass
class Stage:
    """The programs, the sensors and what stands between them."""

    site: Site
    http: aiohttp.ClientSession
    gateway: Program
    service: Program
    proxy: Proxy
    fleet: Fleet
    right: Path
    wrong: dict[str, Path]
    patience_s: float = READY_S

    def said(self, event: str) -> int:
        """Count an event of the gateway and its uplink."""
        return self.gateway.log.read_text().count(f'"event":"{event}"')

    async def acknowledging(self, more: int = 60) -> None:
        """Wait until so many readings more are acknowledged."""
        goal = self.fleet.total + more
        await until(lambda: self.fleet.total >= goal, within_s=self.patience_s)

    async def published(self) -> None:
        """Wait until everything that was acknowledged by now has a receipt."""
        size = (await self.status())["size"]
        await until_published(self, size)

    async def status(self) -> dict[str, int]:
        """Ask the gateway."""
        async with self.http.get(f"{self.gateway.url}/status") as response:
            found: dict[str, int] = await response.json()
            return found


async def until_published(stage: Stage, size: int) -> None:
    """Wait for receipts."""

    async def is_done() -> bool:
        return (await stage.status())["published"] >= size

    await until(is_done, within_s=stage.patience_s)


def gateway_of(site: Site, uplink_port: int) -> Program:
    """Give a gateway with short waits."""
    settings = (
        f"mqtt.listen=127.0.0.1:{site.mqtt_port}",
        f"http.listen=127.0.0.1:{site.gateway_http}",
        f"uplink.url=https://localhost:{uplink_port}",
        "uplink.retry_initial_s=0.05",
        "uplink.retry_max_s=0.3",
        "uplink.timeout_s=4",
        "checkpoint.seconds=0.2",
    )
    options = [part for setting in settings for part in ("--set", setting)]
    run = ("gateway", "run", str(site.gateway_config), *options)
    return Program("gateway", run, site.folder, site.gateway_http)


def service_of(site: Site, *more: str) -> Program:
    """Give the service, with further settings."""
    settings = (
        f"service.listen=127.0.0.1:{site.service_port}",
        f"http.listen=127.0.0.1:{site.service_http}",
        *more,
    )
    options = [part for setting in settings for part in ("--set", setting)]
    return Program(
        "service", ("service", "run", str(site.service_config), *options), site.folder, site.service_http
    )


def with_fault(program: Program, fault: str) -> Program:
    """Put a fault into a program, or none."""
    program.command = command_of(fault) if fault else program.command
    return program


def right_now() -> datetime:
    """Give this moment: certificates live by the real clock."""
    return datetime.fromtimestamp(time_ns() / 1e9, UTC)


def wrong_certificates(site: Site) -> dict[str, Path]:
    """Make certificates of the service that nobody may take."""
    now = right_now()
    own = open_authority(site.pki)
    other = create_authority(site.folder / "other-pki", now=now)
    return {
        "wrong CA": other.issue("service", "service", now=now),
        "expired": own.issue("service", "late", now=now - timedelta(days=30)),
        "wrong role": own.issue("gateway", "pretender", now=now),
        "wrong name": own.issue("device", "somebody", now=now),
    }


@asynccontextmanager
async def staged(folder: Path, fault: str = "") -> AsyncIterator[Stage]:
    """Start everything, one program perhaps with a fault, and stop it at the end."""
    site = await prepare_site(folder, 2)
    certificate = next((site.pki / "service").glob("*.pem"))
    inner = server_context(certificate, certificate.with_suffix(".key"), site.pki / "root.pem")
    mine = next((site.pki / "gateway").glob("*.pem"))
    outer = client_context(mine, mine.with_suffix(".key"), site.pki / "root.pem")
    proxy = Proxy(site.service_port, inner, outer)
    async with (
        aiohttp.ClientSession() as http,
        with_fault(service_of(site), fault if fault == "promised-only" else "") as service,
        proxy.running(),
        with_fault(
            gateway_of(site, proxy.port), f"{fault}={site.service_http}" if fault == "waits-for" else ""
        ) as gateway,
    ):
        await service.ready(http, within_s=READY_S)
        await gateway.ready(http, within_s=READY_S)
        stage = Stage(
            site,
            http,
            gateway,
            service,
            proxy,
            make_fleet(site, Random(SEED), interval_s=0.05),
            certificate,
            wrong_certificates(site),
        )
        running = asyncio.ensure_future(stage.fleet.run())
        try:
            yield stage
        finally:
            stage.fleet.stop()
            await running


Played = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def killed(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL, and a start later."""
    await stage.service.kill()
    yield
    await stage.service.start()
    await stage.service.ready(stage.http, within_s=READY_S)


@asynccontextmanager
async def locked(stage: Stage) -> AsyncIterator[None]:
    """Another program holds the ledger's write lock."""
    config = load_service(stage.site.service_config)
    key = read_symmetric_key(config.store.key, stage.site.folder)
    connection: apsw.Connection = open_database(config.service.data / "ledger.db", key)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@asynccontextmanager
async def full(stage: Stage) -> AsyncIterator[None]:
    """The ledger is at its limit."""
    await stage.service.stop()
    async with service_of(stage.site, "store.limit_mb=1") as small:
        await until(lambda: b"service.started" in small.log.read_bytes())
        yield
    await stage.service.start()
    await stage.service.ready(stage.http, within_s=READY_S)


@asynccontextmanager
async def silent(stage: Stage) -> AsyncIterator[None]:
    """Everything is taken and nothing is answered in time."""
    stage.proxy.fault = Fault.SILENT
    yield
    stage.proxy.heal()
    stage.proxy.cut()


@asynccontextmanager
async def ended(stage: Stage) -> AsyncIterator[None]:
    """The gateway's own certificate ends, and is renewed where it stands."""
    own, path = open_authority(stage.site.pki), next((stage.site.pki / "gateway").glob("gw-*.pem"))
    said = stage.said("certificate.expired")
    own.renew(path, now=right_now() - timedelta(days=30))
    yield
    await until(lambda: stage.said("certificate.expired") >= said + 2)  # listener and uplink share it
    own.renew(path, now=right_now())


def speaking(name: str) -> Played:
    """Somebody answers in the service's place."""

    @asynccontextmanager
    async def played(stage: Stage) -> AsyncIterator[None]:
        stage.proxy.canned, stage.proxy.fault = CANNED[name], Fault.SPEAK
        yield
        stage.proxy.heal()
        stage.proxy.cut()

    return played


def showing(name: str) -> Played:
    """The service shows a wrong certificate."""

    @asynccontextmanager
    async def played(stage: Stage) -> AsyncIterator[None]:
        show(stage.proxy.inner, stage.wrong[name])
        stage.proxy.cut()
        yield
        show(stage.proxy.inner, stage.right)
        stage.proxy.cut()

    return played


def show(context: ssl.SSLContext | None, certificate: Path) -> None:
    """Show a certificate to whoever connects from now on."""
    assert context is not None
    reload(context, certificate, certificate.with_suffix(".key"))


FAULTS: dict[str, Played] = {
    "killed": killed,
    "database locked": locked,
    "disk full": full,
    "slow": silent,
    "own certificate ended": ended,
    **{name: speaking(name) for name in CANNED},
    **{name: showing(name) for name in ("wrong CA", "expired", "wrong role", "wrong name")},
}
AT_MOST = {"disk full": 2}
"""Outages in one fault: before the disk is full, the service is started anew."""

SHORT = ("killed", "own certificate ended")


async def play(stage: Stage, fault: str) -> None:
    """Let one fault come and go; it is told once each way, and readings are acknowledged all the time."""
    await stage.published()
    lost, restored = stage.said("uplink.lost"), stage.said("uplink.restored")
    expired = stage.said("certificate.expired")
    assert lost == restored, fault
    async with FAULTS[fault](stage):
        await until(lambda: stage.said("uplink.lost") > lost, within_s=stage.patience_s)
        await stage.acknowledging()
    await stage.acknowledging(10)
    await stage.published()
    times = stage.said("uplink.lost") - lost
    assert 1 <= times <= AT_MOST.get(fault, 1), fault
    assert stage.said("uplink.restored") == restored + times, fault
    ends = stage.said("certificate.expired")
    assert ends == expired + (2 if fault == "own certificate ended" else 0), fault
    assert stage.said("uplink.refused") == stage.said("uplink.rolled-back") == 0, fault


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [0, pytest.param(4, marks=pytest.mark.soak)])
async def test_each_fault_is_told_once_and_loses_nothing(tmp_path: Path, rounds: int) -> None:
    """Killed, locked, full, slow, wrong certificates, nonsense: at the end the service has all of it."""
    chance = Random(SEED)
    order = [fault for _ in range(rounds) for fault in chance.sample(sorted(FAULTS), len(FAULTS))] or SHORT
    async with staged(tmp_path) as stage:
        for fault in order:
            await play(stage, fault)
        stage.fleet.stop()
        await until(lambda: not stage.fleet.waiting)
        await stage.gateway.stop()
        await stage.gateway.start()
        await stage.gateway.ready(stage.http, within_s=READY_S)
        await stage.published()
        acknowledged = {key for keys in stage.fleet.acknowledged.values() for key in keys}
        await stage.gateway.stop()
        await stage.service.stop()
    here = read_gateway(stage.site)
    there, _ = read_service(stage.site)
    say(f"{len(order)} faults, {len(acknowledged)} readings acknowledged meanwhile, seed {SEED}")
    assert acknowledged <= set(there.readings)
    assert len(there.readings) == len(set(there.readings))
    assert there.readings == here.readings[: len(there.readings)]
    assert faults_of(stage.site) == []


async def play_with(fault: str, folder: Path) -> tuple[bool, int]:
    """Kill the service where a program has a fault; gives whether it was found, and the roll-backs told."""
    async with staged(folder, fault) as stage:
        await stage.acknowledging(10)
        stage.patience_s, is_found = 3.0, False
        try:
            await play(stage, "killed")
        except (AssertionError, TimeoutError):
            is_found = True
        if stage.service.has_ended():  # its sensors would wait for ever
            await stage.service.start()
        return is_found, stage.said("uplink.rolled-back")


async def test_a_gateway_that_waits_for_the_service_is_found(tmp_path: Path) -> None:
    """A seeded fault: it answers only while the service runs."""
    assert await play_with("waits-for", tmp_path) == (True, 0)


async def test_a_service_that_only_promises_is_found(tmp_path: Path) -> None:
    """A seeded fault: it gives receipts, and stores nothing but its first batches."""
    is_found, rolled_back = await play_with("promised-only", tmp_path)
    assert is_found
    assert rolled_back > 0
