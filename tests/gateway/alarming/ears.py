"""Those who are told, for tests: a webhook and a mail server on loopback; they take what comes, or refuse."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


@dataclass
class Ear:
    """A server that hears.

    Attributes:
        port: where it listens.
        heard: what was said, in order.
        paths: what was asked for, with what stands in front of it.
        is_deaf: whether it refuses all.
        location: where it sends callers instead, if anywhere.
    """

    port: int = 0
    heard: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    is_deaf: bool = False
    location: str = ""

    @property
    def titles(self) -> list[str]:
        """Titles of what was said."""
        return [each["title"] for each in self.heard]


@asynccontextmanager
async def webhook(context: ssl.SSLContext | None = None) -> AsyncIterator[Ear]:
    """Run a webhook."""
    ear = Ear()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            ear.paths.append(head.split(" ")[1])
            lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0].partition(":")[2]) if lengths else 0)
            status = "500 Deaf" if ear.is_deaf else "200 OK"
            if ear.location:
                status = f"307 Elsewhere\r\nLocation: {ear.location}"
            elif not ear.is_deaf:
                ear.heard.append(msgspec.json.decode(body))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    ear.port = server.sockets[0].getsockname()[1]
    try:
        yield ear
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def mailbox() -> AsyncIterator[Ear]:
    """Run a mail server (RFC 5321), as far as a client needs it."""
    ear = Ear()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ear\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    ear.heard.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                    writer.write(b"250 taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"550 deaf\r\n" if ear.is_deaf and verb == b"MAIL" else b"250 ear\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    ear.port = server.sockets[0].getsockname()[1]
    try:
        yield ear
    finally:
        server.close()
        await server.wait_closed()
