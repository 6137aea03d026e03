"""The channel speaks only to the service, only over TLS 1.3, only directly, and only for so long."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from coldseal.core.log.delivery.wire import Kind, Receipt, Unavailable
from coldseal.gateway.uplink.https import Channel
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import server_context
from coldseal.identity.peer import Role
from tests.faulty import Fault, Proxy
from tests.gateway.uplink.test_faults import ending_tls, port_of
from tests.sealed import SealedLog
from tests.trial import NAMES, Site, now


def context_of(site: Site, certificate: Path) -> ssl.SSLContext:
    """Give the context of a server with any certificate."""
    return server_context(certificate, certificate.with_suffix(".key"), site.trust)


def channel(site: Site, port: int, *, timeout_s: float = 5.0, host: str = "localhost") -> Channel:
    """Give a channel to a port of loopback."""
    return Channel(f"https://{host}:{port}", site.context(), timeout_s=timeout_s)


async def test_a_batch_goes_up_and_its_receipt_comes_back(site: Site, log: SealedLog) -> None:
    """Also over one connection, again and again."""
    async with site.running() as service, channel(site, port_of(service.address)) as way:
        first = await way.post(log.body(), asyncio.Event())
        second = await way.post(log.body(), asyncio.Event())

    assert isinstance(first, Receipt)
    assert second == first


@pytest.mark.parametrize("role", ["gateway"])
async def test_nothing_is_sent_to_anybody_but_a_service(site: Site, log: SealedLog, role: Role) -> None:
    """Another member of the same CA, even one that may be a server, does not get a byte of a log."""
    got: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            got.append(await reader.read())
        except OSError:
            got.append(b"")
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context_of(site, site.certificates[role]))
    async with server, channel(site, server.sockets[0].getsockname()[1]) as way:
        answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)
    assert f"{NAMES[role]!r} is a {role}, expected a service" in answer.cause
    assert set(got) <= {b""}


async def test_a_service_of_another_ca_is_no_service(site: Site, log: SealedLog) -> None:
    """Only the CA that the configuration names counts, not the system's."""
    other = create_authority(site.folder / "other", now=now())
    certificate = other.issue("service", "service-1", now=now())
    inner = server_context(certificate, certificate.with_suffix(".key"), site.trust)
    proxy = Proxy(1, inner, site.context(), fault=Fault.SPEAK)
    async with proxy.running(), channel(site, proxy.port) as way:
        answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)
    assert "CERTIFICATE_VERIFY_FAILED" in answer.cause
    assert proxy.hits == 0


async def test_a_service_under_another_name_is_no_service(site: Site, log: SealedLog) -> None:
    """The certificate must bear the host of the address."""
    async with site.running() as service, channel(site, port_of(service.address), host="127.0.0.2") as way:
        answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)
    assert answer.kind is Kind.UNREACHABLE


async def test_a_server_that_speaks_only_tls_1_2_is_refused(site: Site, log: SealedLog) -> None:
    """There is no way down."""
    context = context_of(site, site.certificates["service"])
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Proxy(1, context, site.context()).running() as proxy, channel(site, proxy.port) as way:
        answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)


async def test_no_proxy_of_the_environment_is_used(
    site: Site, log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor another CA bundle: the configuration alone says whom to trust."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nonexistent")

    async with site.running() as service, channel(site, port_of(service.address)) as way:
        assert isinstance(await way.post(log.body(), asyncio.Event()), Receipt)


async def test_a_handshake_that_never_ends_times_out(site: Site, log: SealedLog) -> None:
    """A peer that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with channel(site, silent.getsockname()[1], timeout_s=0.2) as way:
            answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)
    assert answer.kind is Kind.TIMEOUT


async def test_an_answer_without_end_is_not_read_to_its_end(site: Site, log: SealedLog) -> None:
    """Its length is bounded, whatever it announces."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    proxy = ending_tls(site, 1, fault=Fault.SPEAK, canned=head + b"x" * 200_000)
    async with site.running() as service:
        proxy.target = port_of(service.address)
        async with proxy.running(), channel(site, proxy.port) as way:
            answer = await way.post(log.body(), asyncio.Event())

    assert isinstance(answer, Unavailable)
    assert (answer.kind, "at most 65536 bytes" in answer.cause) == (Kind.REFUSED, True)
