"""The list of ways out on real connections: nobody else gets a byte of a request; each refusal says why."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.core.log.delivery.wire import Receipt, Unavailable
from coldseal.errors import UnavailableError
from coldseal.gateway.egress import IGNORED, KEPT, EgressWatch, Guard, Rule, pin_of
from coldseal.gateway.endpoints import Endpoint
from coldseal.gateway.uplink.authority import AuthorityChannel
from coldseal.gateway.uplink.companion import Companion
from coldseal.gateway.uplink.contact import ask_note
from coldseal.gateway.uplink.guarded import note_failure, verified_chain
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.uplink.names import system_names
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import server_context
from coldseal.observe.logs import configure as configure_logs
from coldseal.observe.metrics import GatewayMetrics
from tests.gateway.uplink.deliveries import grown
from tests.gateway.uplink.test_faults import port_of
from tests.gateway.uplink.test_process import configure, program
from tests.sealed import ORIGIN, SealedLog
from tests.trial import Site, now
from tests.waiting import until

OTHER_PIN = "x" * 43 + "="


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Catch log lines."""
    stream = io.StringIO()
    configure_logs(stream=stream, is_readable=False)
    yield stream
    configure_logs()


def causes(lines: io.StringIO) -> list[str]:
    """Give the causes of the refusals that were said."""
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [each["cause"] for each in said if each["event"] == "egress.refused"]


@dataclass
class Listener:
    """A server that counts who comes, and keeps what it is sent inside TLS."""

    port: int = 0
    calls: int = 0
    got: bytearray = field(default_factory=bytearray)
    ended: int = 0

    @asynccontextmanager
    async def open(self, context: ssl.SSLContext | None, host: str = "127.0.0.1") -> AsyncIterator[Listener]:
        """Listen until the block ends; with TLS only who has shaken hands is counted."""
        server = await asyncio.start_server(self._serve, host, 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read to the end."""
        self.calls += 1
        try:
            while part := await reader.read(65_536):
                self.got += part
                if part.endswith(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            pass
        finally:
            writer.close()
            self.ended += 1


def guard(port: int, *, host: str = "localhost", **rule: object) -> Guard:
    """Give a list of one endpoint."""
    return Guard((Rule(Endpoint(host, port), **rule),), system_names)  # type: ignore[arg-type] # by name


def pins_of(path: Path) -> list[str]:
    """Give the pins of a PEM chain."""
    return [
        pin_of(each.public_bytes(Encoding.DER)) for each in x509.load_pem_x509_certificates(path.read_bytes())
    ]


def service_context(site: Site) -> ssl.SSLContext:
    """Give the context of a listener with the service's own certificate."""
    certificate = site.certificates["service"]
    return server_context(certificate, certificate.with_suffix(".key"), site.trust)


async def test_any_key_of_the_chain_may_be_pinned(site: Site, log: SealedLog) -> None:
    """The service's own, its issuer's, the root's; a second pin is there for a roll-over."""
    pins = [*pins_of(site.certificates["service"]), *pins_of(site.trust)]
    assert len(set(pins)) == 3
    async with site.running() as service:
        port = port_of(service.address)
        for pin in pins:
            way = Channel(
                f"https://localhost:{port}",
                site.context(),
                timeout_s=5,
                guard=guard(port, pins=(OTHER_PIN, pin), ca=site.trust),
            )
            async with way:
                assert isinstance(await way.post(log.body(), asyncio.Event()), Receipt)


@pytest.mark.parametrize("wrong", ["pin", "authority"])
async def test_a_wrong_pin_or_ca_gets_no_byte(
    site: Site, log: SealedLog, lines: io.StringIO, wrong: str
) -> None:
    """The certificate is one of the service itself, which its CA has signed: the list alone refuses it."""
    rule = {"pins": (OTHER_PIN,)} if wrong == "pin" else {"ca": site.certificates["gateway"]}
    if wrong == "authority":
        other = create_authority(site.folder / "other", now=now())
        rule = {"ca": other.folder / "root.pem"}
    async with Listener().open(service_context(site)) as listener:
        listed = guard(listener.port, **rule)
        url = f"https://localhost:{listener.port}"
        async with Channel(url, site.context(), timeout_s=5, guard=listed) as way:
            for _ in range(3):
                answer = await way.post(log.body(), asyncio.Event())
                assert isinstance(answer, Unavailable)
                assert f"is refused ({wrong})" in answer.cause
        with pytest.raises(UnavailableError, match="is refused"):
            await asyncio.to_thread(ask_note, url, ORIGIN, site.context(), timeout_s=5, guard=listed)
        await until(lambda: listener.ended == listener.calls)

    assert not listener.got
    assert causes(lines) == [wrong]


@pytest.mark.parametrize(
    "listed",
    [Endpoint("localhost", 1), Endpoint("service.example", 0), Endpoint("localhost", 0, is_tls=False)],
    ids=["port", "host", "open"],
)
async def test_what_is_not_listed_is_not_even_connected_to(
    site: Site, log: SealedLog, lines: io.StringIO, listed: Endpoint
) -> None:
    """By name and by address; nothing arrives."""
    async with Listener().open(None) as listener:
        rules = (Rule(listed._replace(port=listed.port or listener.port)),)
        for host in ("localhost", "127.0.0.1"):
            url, allowed = f"https://{host}:{listener.port}", Guard(rules, system_names)
            async with Channel(url, site.context(), timeout_s=5, guard=allowed) as way:
                answer = await way.post(log.body(), asyncio.Event())
            assert isinstance(answer, Unavailable)
            with pytest.raises(UnavailableError, match="not-listed"):
                await asyncio.to_thread(ask_note, url, ORIGIN, site.context(), timeout_s=5, guard=allowed)

    assert listener.calls == 0
    assert causes(lines) == ["not-listed", "not-listed"]


async def test_pinned_addresses_are_connected_to_whatever_the_name_says(site: Site, log: SealedLog) -> None:
    """No resolver is asked for it; TLS still asks for the name."""
    async with site.running() as service:
        port = port_of(service.address)
        listed = guard(port, addresses=("127.0.0.1",))
        async with Channel(f"https://localhost:{port}", site.context(), timeout_s=5, guard=listed) as way:
            assert isinstance(await way.post(log.body(), asyncio.Event()), Receipt)
        elsewhere = guard(port, addresses=("127.0.0.9",))
        async with Channel(f"https://localhost:{port}", site.context(), timeout_s=5, guard=elsewhere) as way:
            assert isinstance(await way.post(log.body(), asyncio.Event()), Unavailable)


async def test_a_name_that_leads_elsewhere_is_not_connected_to(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """All its answers lie outside the networks of its entry."""
    async with Listener().open(None) as listener:
        listed = guard(listener.port, networks=("198.51.100.0/24",))
        async with Channel(
            f"https://localhost:{listener.port}", site.context(), timeout_s=5, guard=listed
        ) as way:
            answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)
    assert listener.calls == 0
    assert causes(lines) == ["address"]


def wrong_peers(site: Site) -> dict[str, tuple[ssl.SSLContext, str]]:
    """Make servers that are not the service, by what is wrong with each."""
    moment = now()
    authority = site.authority
    early = authority.issue("service", "early", now=moment + timedelta(days=1))
    late = authority.issue("service", "late", now=moment - timedelta(days=30), days=7)
    stranger = create_authority(site.folder / "stranger", now=moment).issue("service", "one", now=moment)
    found = {
        "not-yet-valid": (early, "localhost"),
        "expired": (late, "localhost"),
        "authority": (stranger, "localhost"),
        "role": (site.certificates["gateway"], "localhost"),
        "name": (site.certificates["service"], "127.0.0.2"),
    }
    return {
        cause: (server_context(path, path.with_suffix(".key"), site.trust), host)
        for cause, (path, host) in found.items()
    }


@pytest.mark.parametrize("cause", ["not-yet-valid", "expired", "authority", "role", "name"])
async def test_each_wrong_peer_is_refused_under_its_own_name(
    site: Site, log: SealedLog, lines: io.StringIO, cause: str
) -> None:
    """Said once, by both clients; not a byte of a request arrives."""
    context, host = wrong_peers(site)[cause]
    is_address = host != "localhost"  # its certificate bears another address of the same loopback
    async with Listener().open(context, host if is_address else "127.0.0.1") as listener:
        url = f"https://{host}:{listener.port}"
        listed = guard(listener.port, host=host, addresses=() if is_address else ("127.0.0.1",))
        async with Channel(url, site.context(), timeout_s=5, guard=listed) as way:
            assert isinstance(await way.post(log.body(), asyncio.Event()), Unavailable)
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(ask_note, url, ORIGIN, site.context(), timeout_s=5, guard=listed)

    assert not listener.got
    assert causes(lines) == [cause]


async def test_a_peer_that_speaks_an_older_tls_is_refused(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """By the one protocol that is spoken here."""
    old, certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), site.certificates["service"]
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller, suppress(ssl.SSLError):
                        old.wrap_socket(caller, server_side=True)

        serving = asyncio.create_task(asyncio.to_thread(refuse))
        port = server.getsockname()[1]
        listed = guard(port, addresses=("127.0.0.1",))
        async with Channel(f"https://localhost:{port}", site.context(), timeout_s=5, guard=listed) as way:
            assert isinstance(await way.post(log.body(), asyncio.Event()), Unavailable)
        server.shutdown(socket.SHUT_RDWR)
        await serving

    assert causes(lines) == ["protocol"]


def test_a_fault_of_the_line_is_no_refusal(lines: io.StringIO) -> None:
    """And what OpenSSL will find tomorrow is a refusal without a finer name."""
    listed = guard(1)
    note_failure(listed, Endpoint("localhost", 1), ssl.SSLError(1, "[SSL: UNEXPECTED_EOF] cut"))
    assert causes(lines) == []
    fault = ssl.SSLCertVerificationError(1, "odd")
    fault.verify_code, fault.verify_message = 99, "odd"
    note_failure(listed, Endpoint("localhost", 1), fault)

    assert causes(lines) == ["certificate"]


class _Newer(ssl.SSLObject):
    """A session of a later Python, in which the chain is public."""

    def get_verified_chain(self) -> list[bytes]:
        """Give it."""
        return [b"leaf", b"root"]


def test_the_chain_is_read_as_later_versions_give_it() -> None:
    """From Python 3.13 on it needs no door at the back."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = _Newer
    session = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")

    assert verified_chain(session) == [b"leaf", b"root"]


async def test_no_variable_of_the_environment_leads_elsewhere(site: Site, log: SealedLog) -> None:
    """Neither a proxy nor other CAs, passwords or a place for keys; each of them by itself."""
    async with site.running() as service:
        for name in IGNORED:
            await deliver_under(name, site, log, f"https://localhost:{port_of(service.address)}")


async def deliver_under(name: str, site: Site, log: SealedLog, url: str) -> None:
    """Set one variable, and see that every client goes its way all the same."""
    place = site.folder / "from-the-environment"
    place.write_text("machine localhost login thief password word\nlocalhost thief.example\n")
    if name == "SSLKEYLOGFILE":
        place.unlink()
    async with Listener().open(None) as listener:
        elsewhere = f"http://127.0.0.1:{listener.port}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, elsewhere if "PROXY" in name.upper() else str(place))
            async with Channel(url, site.context(), timeout_s=5) as way:
                assert isinstance(await way.post(log.body(), asyncio.Event()), Receipt), name
            assert await asyncio.to_thread(ask_note, url, ORIGIN, site.context(), timeout_s=5), name
            async with AuthorityChannel(f"http://127.0.0.1:{listener.port}/", timeout_s=5) as asking:
                await asking.post(b"\r\n\r\n")

    assert (listener.calls, b"POST / HTTP/1.1" in listener.got) == (1, True), name
    assert b"uthorization" not in listener.got, name
    assert place.exists() == (name != "SSLKEYLOGFILE")


async def test_the_uplink_starts_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that libraries read before a program's first line."""
    for name in IGNORED:
        monkeypatch.setenv(name, "/nonexistent")
    made, out = Companion([], bytes(32)), tmp_path / "out"
    code = "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)) + '\\n')"
    made._command = (sys.executable, "-c", code, str(out))
    running = asyncio.ensure_future(made.run())
    await until(lambda: out.exists() and out.read_text().endswith("\n"))
    running.cancel()
    await asyncio.wait({running})

    found = json.loads(out.read_text())
    assert not set(IGNORED).intersection(found)
    assert found["PATH"] == os.environ["PATH"]


async def test_an_authority_over_tls_is_trusted_by_the_list_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    """Its CA comes from its entry; the system's do not know it, and no variable adds one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(site.trust))
    certificate = site.certificates["service"]
    context = server_context(certificate, certificate.with_suffix(".key"), None)
    async with Listener().open(context) as listener:
        url = f"https://localhost:{listener.port}/tsa"
        async with AuthorityChannel(url, timeout_s=5) as way:
            assert isinstance(await way.post(b"\r\n\r\n"), Unavailable)
        assert not listener.got
        listed = guard(listener.port, ca=site.trust)
        async with AuthorityChannel(url, timeout_s=5, ca=site.trust, guard=listed) as way:
            answer = await way.post(b"\r\n\r\n")

    assert isinstance(answer, Unavailable)
    assert "404" in answer.cause
    assert causes(lines) == ["authority"]


async def test_a_service_that_is_down_is_an_outage_and_no_refusal(site: Site, lines: io.StringIO) -> None:
    """Nothing of it is an alarm of the list; nor is a connection that is cut while hands are shaken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"https://localhost:{port}"
    with pytest.raises(UnavailableError):
        await asyncio.to_thread(ask_note, url, ORIGIN, site.context(), timeout_s=5)

    async def cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(cut, "127.0.0.1", port):
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(ask_note, url, ORIGIN, site.context(), timeout_s=5)

    assert causes(lines) == []


async def test_a_refusal_of_the_uplink_is_counted_by_the_gateway(site: Site, log: SealedLog) -> None:
    """From the configuration's list to the metric; the service has not been sent anything."""
    await site.store(grown(log, 5))
    watch = EgressWatch(site.gateway / KEPT, metrics := GatewayMetrics())
    async with site.running() as service:
        port = port_of(service.address)
        path = configure(site, port)
        with path.open("a") as file:
            file.write(f'[[egress.allow]]\nhost = "localhost"\nport = {port}\npins = ["{OTHER_PIN}"]\n')
        async with program(str(path)) as process:
            await until(lambda: looked(watch) or process.returncode is not None)
            assert process.returncode is None
        taken = service._ingest.finished

    assert taken == 0
    assert list(watch.status()) == [f"https://localhost:{port}"]
    assert 'egress_refused_total{cause="pin"} 0.0' not in metrics.render().decode()


def looked(watch: EgressWatch) -> bool:
    """Look once; whether something is refused."""
    watch.tick()
    return bool(watch.status())
