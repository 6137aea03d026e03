"""A site whose certificates come from a CA with an enrolment server, run as real programs under readings.

Each round renews every certificate: listener and uplink by the gateway itself, the service's by another hand,
one device's by what keeps devices alive. Looked at afterwards: who shows what, who was cut, what was lost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec

from coldseal.core.renewal import Terms
from coldseal.demo.device import Post
from coldseal.demo.fleet import Fleet
from coldseal.demo.programs import Program, free_ports, prepare, run_command
from coldseal.demo.site import ORIGIN, SITE, Site, read_gateway, read_service
from coldseal.demo.verdict import Held
from coldseal.drill.rotation import _first, _shown
from coldseal.gateway.clock import Clock
from coldseal.gateway.control import ask
from coldseal.gateway.uplink.keeping import Bundles, Desk, Keeper, Renewer, read_leaf
from coldseal.gateway.uplink.renewals import KEPT, Standing, read_standings
from coldseal.identity.authority import Authority, open_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.files import replace_private_file
from coldseal.identity.overlap import Begin, begin_authority, retire, roll_over, trusted_root
from coldseal.identity.pair import Pair
from coldseal.identity.roots import create_root, open_root
from coldseal.identity.trust import parse_bundle
from coldseal.mqtt.packets import Connect, ReasonCode, Version
from coldseal.settings import Address
from tests.gateway.sources.rig import Peer
from tests.trial import now
from tests.waiting import until

READY_S = 60.0
WITHIN_S = 30.0
TRIES = 3
"""A device asks again, as a real one does, where the server did not answer in time."""


@dataclass
class Town:
    """All of it.

    Attributes:
        folder: everything stands below it.
        sensors: how many devices.
        interval_s: pause between two readings of one.
        renewals: certificates that were renewed, by whose they are.
        probes: connections that were opened to look, and left again.
        retries: requests of devices that brought nothing and were sent again.
        findings: what was not as it should be.
    """

    folder: Path
    sensors: int = 6
    interval_s: float = 0.03
    renewals: dict[str, int] = field(default_factory=dict)
    probes: int = 0
    retries: int = 0
    findings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the CA and every certificate."""
        self.pki, self.roots = self.folder / "pki", self.folder / "roots"
        for name in ("root", "ca"):
            path = self.folder / f"{name}.pass"
            path.write_text(f"a passphrase of the {name}\n")
            path.chmod(0o600)
        self._root_pass, own = (f"file:{self.folder / name}.pass" for name in ("root", "ca"))
        self._begin = Begin(name="town", passphrase=own)
        begin_authority(
            self.pki, create_root(self.roots, self._root_pass, name="town", now=now()), self._begin, now=now()
        )
        authority = self.authority
        self.service_pair = _pair(authority.issue("service", "localhost", now=now()))
        self.uplink_pair = _pair(authority.issue("gateway", "gw-0001", now=now()))
        self.listener_pair = _pair(authority.issue("gateway", "gw-listener", now=now()))
        self.names = [f"sensor-{number:02d}" for number in range(1, self.sensors + 1)]
        self.devices = {name: _pair(authority.issue("device", name, now=now())) for name in self.names}
        self.trusts = {who: self._trust(who) for who in ("service", "gateway", *self.names)}
        ports = free_ports(5)
        self.est = f"https://localhost:{ports.pop()}"
        self.site = Site(self.folder, tuple(self.names), *ports)
        self._session: aiohttp.ClientSession

    @property
    def authority(self) -> Authority:
        """The CA as it is now."""
        return open_authority(self.pki)

    def _trust(self, who: str) -> Path:
        """Give somebody a file of trusted CAs of its own."""
        folder = self.folder / "trust" / who
        folder.mkdir(parents=True)
        (folder / "root.pem").write_bytes((self.pki / "root.pem").read_bytes())
        return folder / "root.pem"

    async def prepare(self) -> None:
        """Set up both programs by their commands."""
        service, gateway = self.folder / "service", self.folder / "gateway"
        made = await prepare("service", "init", str(service), "--pki", str(self.pki), "--json")
        witness: str = msgspec.json.decode(made)["witness"]
        await prepare(
            *("gateway", "init", str(gateway), "--origin", ORIGIN, "--site", SITE, "--pki", str(self.pki)),
            *("--uplink", "https://localhost:8443", "--witness", witness),
        )
        await prepare("service", "admit", f"{service}/service.toml", f"{gateway}/admission.json")

    def service(self) -> Program:
        """Give the service, with its enrolment server."""
        settings = (
            f"service.listen=127.0.0.1:{self.site.service_port}",
            f"http.listen=127.0.0.1:{self.site.service_http}",
            f"tls.client_ca={self.trusts['service']}",
            f"est.listen=127.0.0.1:{self.est.rpartition(':')[2]}",
            f"est.authority={self.pki}",
            "est.requests_per_minute=100000",
        )
        return self.site._program("service", self.site.service_config, settings, self.site.service_http)

    def settings(self) -> tuple[str, ...]:
        """Give what the gateway's file does not say."""
        trust, own = self.trusts["gateway"], self.listener_pair
        return (
            f"mqtt.certificate={own.certificate}",
            f"mqtt.key={own.key}",
            f"mqtt.client_ca={trust}",
            f"uplink.ca={trust}",
            f"enrolment.url={self.est}",
            "enrolment.retry_initial_s=0.2",
            "enrolment.retry_max_s=1",
        )

    def gateway(self) -> Program:
        """Give the gateway, which renews by itself."""
        return self.site.gateway(self.site.service_port, *self.settings())

    async def by_command(self, noun: str, verb: str, *options: str) -> None:
        """Give a command that has the running gateway renew; a bad answer is a finding."""
        listen = f"mqtt.listen=127.0.0.1:{self.site.mqtt_port}"
        settings = (listen, f"uplink.url=https://localhost:{self.site.service_port}", *self.settings())
        given = [part for each in settings for part in ("--set", each)]
        code, said = await run_command(noun, verb, str(self.site.gateway_config), *options, *given)
        if code:
            self.findings.append(f"coldseal {noun} {verb} ended with {code}: {said}")

    def fleet(self, chance: Random) -> Fleet:
        """Give the devices, each with its own certificate."""
        clock = Clock()
        posts = [
            Post(
                host="127.0.0.1",
                port=self.site.mqtt_port,
                context=self.context(name),
                server_name="localhost",
                site=SITE,
                device=name,
                interval_s=self.interval_s,
            )
            for name in self.names
        ]
        return Fleet(
            posts, now_ms=lambda: clock.now().t_ms, clock=asyncio.get_running_loop().time, chance=chance
        )

    def context(self, name: str) -> ssl.SSLContext:
        """Give what a device shows and trusts now."""
        pair = self.devices[name]
        with pair.steady():
            return client_context(pair.certificate, pair.key, self.trusts[name])

    def status(self) -> dict[str, Any]:
        """Ask the gateway how it is."""
        answer = ask(self.folder / "gateway" / "data", {"do": "status"})
        assert answer is not None
        found: dict[str, Any] = answer["status"]
        return found

    # What is renewed

    def standings(self) -> dict[str, Standing]:
        """Read how the gateway's renewals stand."""
        return read_standings(self.folder / "gateway" / "data" / KEPT)

    async def renew_gateway(self) -> None:
        """Have the gateway renew its two certificates, and wait until both have come."""
        before = self.standings()
        ask(self.folder / "gateway" / "data", {"do": "renew", "why": "a test"})

        def are_renewed() -> bool:
            after = self.standings()
            return len(after) == 2 and all(
                each.renewals > before.get(name, Standing()).renewals for name, each in after.items()
            )

        await self._expect(are_renewed, "the gateway renews its certificates")
        self._count("listener", "uplink")

    def renew_service(self) -> None:
        """Renew the service's certificate with a new key, as a person or another program may."""
        pair, authority = self.service_pair, self.authority
        leaf = authority.certify(pair.next_key().public_key(), "service", "localhost", now=now())
        pair.install(authority.chain(leaf))
        self._count("service")

    async def renew_device(self, name: str) -> None:
        """Renew a device's certificate as it does that itself."""
        trust = self.trusts[name]
        keeper = Keeper(
            name,
            self.devices[name],
            Desk(self.est, trust, timeout_s=20),
            Bundles((trust,), trust.with_name("announced.pem")),
            Terms(retry_initial_s=0.1, retry_max_s=1),
            lambda: 0.5,
            lambda: now().timestamp(),
        )
        renewer = Renewer([keeper], trust.with_name(KEPT), now_s=lambda: now().timestamp())
        for _ in range(TRIES):
            renewer.demand()
            await renewer.round()
            if not keeper.state.failures:
                self._count("device")
                return
            self.retries += 1
        self.findings.append(f"{name} is not renewed: {keeper.standing.fault}")

    async def round(self, number: int) -> None:
        """Renew all, and see that all is shown and nobody is locked out."""
        name = self.names[number % self.sensors]
        await self.renew_gateway()
        self.renew_service()
        await self.renew_device(name)
        await self.see_shown()
        await self.probe(name)

    async def see_shown(self) -> None:
        """Wait until listener and service show what stands in their files."""
        for what, port, pair in (
            ("listener", self.site.mqtt_port, self.listener_pair),
            ("service", self.site.service_port, self.service_pair),
            ("enrolment server", int(self.est.rpartition(":")[2]), self.service_pair),
        ):

            def is_shown(port: int = port, pair: Pair = pair) -> bool:
                return _shown(Address(f"127.0.0.1:{port}")) == _first(pair.certificate)

            await self._expect(is_shown, f"the {what} shows its new certificate")

    async def probe(self, name: str) -> None:
        """Connect once more with a device's newest certificate, and leave."""
        try:
            peer = await Peer.open(self.site.mqtt_port, Version.V5, self.context(name))
            answer = await peer.connect(Connect("probe"))
            assert answer.reason is ReasonCode.SUCCESS, answer
            await peer.disconnect()
        except (OSError, AssertionError, TimeoutError) as fault:
            self.findings.append(f"{name} is not let in: {fault}")
        else:
            self.probes += 1

    async def see_refused(self, old: Pair) -> None:
        """Try a certificate of a CA that was retired: whoever lets it in trusts what it should not."""
        context = client_context(old.certificate, old.key, self.trusts[self.names[0]])
        try:
            peer = await Peer.open(self.site.mqtt_port, Version.V5, context)
        except OSError:
            return
        try:
            await peer.connect(Connect("refused"))
        except (OSError, AssertionError, TimeoutError):
            return
        finally:
            await peer.drop()
        self.probes += 1
        self.findings.append("a certificate of a retired CA is let in")

    def keep_old(self) -> Pair:
        """Keep a copy of a device's pair as it is now."""
        pair, folder = self.devices[self.names[0]], self.folder / "old"
        folder.mkdir(exist_ok=True)
        for path in (pair.certificate, pair.key):
            replace_private_file(folder / path.name, path.read_bytes())
        return _pair(folder / pair.certificate.name)

    # Roll-over of the CA

    async def pass_on(self) -> None:
        """Roll the CA over from beginning to end: all renew below both, and the old one is let in no more."""
        old = self.keep_old()
        await self.begin_roll_over()
        await self.renew_all()
        self.see_trust()
        self.end_roll_over()
        await self.renew_all()
        self.see_trust()
        await self.see_refused(old)

    async def begin_roll_over(self) -> None:
        """Make a new root and a new issuing CA, and wait until it issues; the old ones are trusted still."""
        old = open_root(self.roots, self._root_pass, trusted_root(self.roots, self.authority))
        new = create_root(self.roots, self._root_pass, name="town", now=now())
        issuer = roll_over(self.pki, old, new, self._begin, now=now()).issuer.certificate.subject
        self._share_with_service()
        name = self.names[0]
        async with asyncio.timeout(WITHIN_S):  # the server looks at its CA each second
            while read_leaf(self.devices[name].certificate).issuer != issuer:
                await self.renew_device(name)

    def end_roll_over(self) -> None:
        """Take the old ones out."""
        retire(self.pki, now=now(), is_forced=True)
        self._share_with_service()

    def _share_with_service(self) -> None:
        """Give the service what its CA trusts now, as whoever runs it does."""
        self.trusts["service"].write_bytes((self.pki / "root.pem").read_bytes())

    async def renew_all(self) -> None:
        """Renew everything, every device too."""
        for number in range(self.sensors):
            await self.renew_device(self.names[number])
        await self.round(0)

    def see_trust(self) -> None:
        """Hold each file of trusted CAs against the CA's own."""
        wanted = set(parse_bundle((self.pki / "root.pem").read_bytes()))
        for who, path in self.trusts.items():
            if set(parse_bundle(path.read_bytes())) != wanted:
                self.findings.append(f"{who} does not trust what the CA shows")

    # What came of it

    async def _expect(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something; that it does not happen is a finding."""
        try:
            await until(lambda: asyncio.to_thread(is_so), within_s=WITHIN_S)
        except TimeoutError:
            self.findings.append(f"not within {WITHIN_S:g} s: {what}")

    def see_connections(self, fleet: Fleet) -> None:
        """Hold the connections that ended against those opened only to look, and ask the devices."""
        ended = self.status()["connections_ended"]
        made = sum(device.connections for device in fleet._devices)
        if ended != self.probes or made != self.sensors:
            self.findings.append(
                f"{ended - self.probes} connections were cut, {made - self.sensors} made anew"
            )

    def see_readings(self, fleet: Fleet) -> tuple[int, int, int]:
        """Hold what was acknowledged against both logs; gives acknowledged, lost and doubled."""
        acknowledged = {key for keys in fleet.acknowledged.values() for key in keys}
        held: list[Held] = [read_gateway(self.site), read_service(self.site)[0]]
        lost = sum(len(acknowledged - set(each.readings)) for each in held)
        doubled = sum(len(each.readings) - len(set(each.readings)) for each in held)
        if lost or doubled or fleet.unacknowledged or fleet.repeated:
            counts = f"lost {lost}, doubled {doubled}, open {fleet.unacknowledged}, repeated {fleet.repeated}"
            self.findings.append(counts)
        return len(acknowledged), lost, doubled

    def _count(self, *whose: str) -> None:
        """Count renewals."""
        for each in whose:
            self.renewals[each] = self.renewals.get(each, 0) + 1


@asynccontextmanager
async def living(town: Town, chance: Random) -> AsyncIterator[tuple[Fleet, Program]]:
    """Run both programs and the devices; gives the devices and the gateway."""
    await town.prepare()
    fleet = town.fleet(chance)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        service = await stack.enter_async_context(town.service())
        await service.ready(http, within_s=READY_S)
        gateway = await stack.enter_async_context(town.gateway())
        await gateway.ready(http, within_s=READY_S)
        running = asyncio.ensure_future(fleet.run())
        await until(lambda: fleet.connected == town.sensors, within_s=READY_S)
        try:
            yield fleet, gateway
        finally:
            fleet.stop()
            await running


async def delivered(town: Town, fleet: Fleet) -> None:
    """Let the devices end, and wait until all that they sent has its receipt."""
    fleet.stop()
    await until(lambda: not fleet.waiting, within_s=READY_S)
    size = town.status()["size"]
    await until(lambda: town.status()["published"] >= size, within_s=READY_S)


def _pair(certificate: Path) -> Pair:
    """Name the pair of a certificate."""
    return Pair(certificate, certificate.with_suffix(".key"))
