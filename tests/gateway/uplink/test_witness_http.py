"""Whatever a witness does on the line, an answer comes out, in time, and no alarm."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from coldseal.core.log.cosigning import Answer, Conflict, Cosignatures, Disproved, Nothing
from coldseal.gateway.uplink.witness_http import WitnessChannel
from tests.core.log.example_log import cosign
from tests.sealed import SealedLog
from tests.trial import Site

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(serve: Serve) -> AsyncIterator[int]:
    """Listen on loopback, and answer each connection so."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(status: int, body: bytes, **headers: str) -> Serve:
    """Answer with this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /prefix/add-checkpoint HTTP/1.1\r\n")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)
        await writer.drain()

    return serve


async def ask(port: int, *, timeout_s: float = 5.0) -> Answer:
    """Post to a port of loopback, without TLS."""
    way = f"http://127.0.0.1:{port}/prefix/"
    async with WitnessChannel(way, ssl.create_default_context(), timeout_s=timeout_s) as channel:
        return await channel.post(b"old 0\n\n")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, cosign(b"text\n").encode().encode(), Cosignatures((cosign(b"text\n"),))),
        (409, b"7\n", Conflict(7)),
        (422, b"no", Disproved("no")),
        (403, b"no", Nothing("status 403: no")),
        (302, b"", Nothing("status 302: ")),
    ],
)
async def test_a_witness_is_heard(status: int, body: bytes, expected: Answer) -> None:
    """A redirect is none of the answers, and is not followed."""
    async with answering(saying(status, body, Location="http://127.0.0.1:1/")) as port:
        assert await ask(port) == expected


@pytest.mark.parametrize("body", [b"nonsense", b"", b"x" * 70_000])
async def test_an_answer_that_makes_no_sense_is_nothing(body: bytes) -> None:
    """However long it is."""
    async with answering(saying(200, body)) as port:
        assert isinstance(await ask(port), Nothing)


async def test_a_witness_that_cuts_or_is_away_is_nothing() -> None:
    """No connection, or an end in the midst."""

    async def cut(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with answering(cut) as port:
        assert isinstance(await ask(port), Nothing)
    assert isinstance(await ask(port), Nothing)


async def test_a_witness_that_says_nothing_has_its_time() -> None:
    """Then it is nothing."""
    over = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await over.wait()

    async with answering(silent) as port:
        found = await ask(port, timeout_s=0.1)
        over.set()
    assert isinstance(found, Nothing)
    assert "ime" in found.cause


async def test_a_host_of_another_ca_is_nothing(site: Site, log: SealedLog) -> None:
    """Its name must be proven by the CA that was configured, though its key would be enough."""
    del log
    other = site.folder / "other"
    other.mkdir()
    stranger = Site(other)
    async with stranger.running() as service:
        port = service.address.rpartition(":")[2]
        way = f"https://localhost:{port}/v1/witness"
        async with WitnessChannel(way, site.context(), timeout_s=5) as channel:
            found = await channel.post(b"old 0\n\n")
        async with WitnessChannel(way, stranger.context(), timeout_s=5) as channel:
            heard = await channel.post(b"old 0\n\n")
    assert isinstance(found, Nothing)
    assert replace(found, cause="") == Nothing("")
    assert isinstance(heard, Nothing)
    assert heard.cause.startswith("status 400")
