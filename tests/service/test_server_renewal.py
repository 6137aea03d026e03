"""The service follows its files for new handshakes; connections that are open live on."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from coldseal.identity.authority import Authority, create_authority
from coldseal.identity.contexts import client_context
from coldseal.service.app import Service
from tests.trial import Site, now, url


@pytest.fixture
def bundle(site: Site) -> Path:
    """Make a file of trusted CAs of its own."""
    path = site.folder / "clients.pem"
    path.write_bytes(site.trust.read_bytes())
    return path


@pytest.fixture
async def service(site: Site, bundle: Path) -> AsyncIterator[Service]:
    """Run a service with that file and a revocation list."""
    crl = site.folder / "pki" / "crl.pem"
    async with site.running(f"tls.client_ca={bundle}", f"tls.crl={crl}") as running:
        yield running


def other_authority(site: Site) -> tuple[Authority, ssl.SSLContext]:
    """Make another CA, and a gateway of it that trusts our service."""
    other = create_authority(site.folder / "other", now=now())
    path = other.issue("gateway", "gw-of-other", now=now())
    return other, client_context(path, path.with_suffix(".key"), site.trust)


def put(service: Service, path: Path, content: bytes) -> None:
    """Replace a file, and let the service look."""
    path.write_bytes(content)
    service._certificate.refresh()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask on an open connection; gives the line of the status."""
    writer.write(b"GET /v1/log?origin=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length is not None
    await reader.readexactly(int(length.group(1)))
    return head.partition(b"\r\n")[0]


async def answers(service: Service, context: ssl.SSLContext) -> bool:
    """Whether a new connection gets any answer."""
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.get(url(service, "/v1/log?origin=x")) as response:
                return response.status > 0
        except (aiohttp.ClientError, OSError):
            return False


async def test_a_ca_that_was_taken_out_is_gone_for_new_callers(
    site: Site, service: Service, bundle: Path
) -> None:
    """And one that was added is trusted; a session that was open goes on over both."""
    _, theirs = other_authority(site)
    ours, new = site.trust.read_bytes(), (site.folder / "other" / "root.pem").read_bytes()
    crl = site.folder / "pki" / "crl.pem"
    port = int(service.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("localhost", port, ssl=site.context())
    try:
        first = await exchange(reader, writer)
        assert (await answers(service, site.context()), await answers(service, theirs)) == (True, False)
        put(service, bundle, ours + new)
        assert await answers(service, site.context())
        put(service, crl, crl.read_bytes() + (site.folder / "other" / "crl.pem").read_bytes())
        assert await answers(service, theirs)
        put(service, bundle, new)
        assert (await answers(service, site.context()), await answers(service, theirs)) == (False, True)
        assert await exchange(reader, writer) == first
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_a_revoked_gateway_is_refused_from_the_next_look_on(site: Site, service: Service) -> None:
    """By a list that was written under the running service."""
    assert await answers(service, site.context())
    site.authority.revoke([site.certificates["gateway"]], now=now())
    service._certificate.refresh()
    assert not await answers(service, site.context())
