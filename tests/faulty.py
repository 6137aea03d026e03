"""A network that can be told to misbehave: a proxy between uplink and service.

`Proxy` passes TLS through untouched; given contexts it ends TLS on both sides, so that it can also speak in
the service's place. One fault is on at a time; `heal` ends it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Fault(Enum):
    """What the network does."""

    NONE = auto()
    REFUSE = auto()
    """Connections are cut at once."""
    SILENT = auto()
    """Everything is taken, nothing is passed on."""
    CUT_REQUEST = auto()
    """The connection is cut after `Proxy.cut_after` bytes of a request."""
    CUT_ANSWER = auto()
    """The request gets through; the connection is cut when the answer comes."""
    HALF_ANSWER = auto()
    """Half of the answer comes, then the connection is cut."""
    DELAY_ANSWER = auto()
    """The answer comes after `Proxy.released` is set."""
    DOUBLE_ANSWER = auto()
    """Each answer comes twice."""
    DOUBLE_REQUEST = auto()
    """Each request is sent to the service again, later, by nobody's wish."""
    SPEAK = auto()
    """`Proxy.canned` is answered, the service is not asked."""


@dataclass
class Proxy:
    """A proxy that listens on a free port of loopback."""

    target: int
    inner: ssl.SSLContext | None = None
    outer: ssl.SSLContext | None = None
    fault: Fault = Fault.NONE
    cut_after: int = 10_000
    canned: bytes = b""
    is_once: bool = False
    hits: int = 0
    port: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.inner)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def heal(self) -> None:
        """Behave from now on."""
        self.fault = Fault.NONE
        self.released.set()

    def cut(self) -> None:
        """Cut what is open, so that everybody must connect anew."""
        for writer in self._open:
            writer.transport.abort()

    def hit(self) -> None:
        """Note that the fault has struck; a single one ends with that."""
        self.hits += 1
        if self.is_once:
            self.heal()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one connection with one to the service."""
        task = asyncio.ensure_future(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task])

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do so until either side ends."""
        if self.fault is Fault.REFUSE:
            self.hit()
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(
                "127.0.0.1", self.target, ssl=self.outer, server_hostname="localhost" if self.outer else None
            )
        except OSError:
            writer.transport.abort()
            return
        sent = bytearray()
        self._open.add(writer)
        ways = (self._request(reader, writer, back, sent), self._answer(there, back, writer))
        try:
            await asyncio.gather(*ways)
        except (OSError, ssl.SSLError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()
            back.transport.abort()
        if self.fault is Fault.DOUBLE_REQUEST and sent:
            await self._replay(bytes(sent))

    async def _request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        sent: bytearray,
    ) -> None:
        """Pass requests on."""
        while part := await reader.read(65_536):
            match self.fault:
                case Fault.SILENT:
                    self.hits += 1
                    continue
                case Fault.SPEAK:
                    self.hits += 1
                    writer.write(self.canned)
                    await writer.drain()
                    writer.close()
                    return
                case Fault.CUT_REQUEST if len(sent) + len(part) > self.cut_after:
                    back.write(part[: self.cut_after - len(sent)])
                    await back.drain()
                    self.hit()
                    raise ConnectionAbortedError
                case _:
                    sent += part
                    back.write(part)
                    await back.drain()
        raise ConnectionAbortedError

    async def _answer(
        self, there: asyncio.StreamReader, back: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        """Pass answers back."""
        del back
        while part := await there.read(65_536):
            match self.fault:
                case _ if part == GO_ON:  # no answer yet
                    pass
                case Fault.CUT_ANSWER:
                    self.hit()
                    raise ConnectionAbortedError
                case Fault.HALF_ANSWER:
                    writer.write(part[: len(part) // 2])
                    await writer.drain()
                    self.hit()
                    raise ConnectionAbortedError
                case Fault.DELAY_ANSWER:
                    self.hits += 1
                    await self.released.wait()
                case Fault.DOUBLE_ANSWER:
                    self.hits += 1
                    part += part
                case _:
                    pass
            writer.write(part)
            await writer.drain()
        raise ConnectionAbortedError

    async def _replay(self, sent: bytes) -> None:
        """Send what was sent once more, and listen to nobody."""
        there, back = await asyncio.open_connection(
            "127.0.0.1", self.target, ssl=self.outer, server_hostname="localhost"
        )
        back.write(sent)
        await there.read(65_536)
        self.hits += 1
        back.transport.abort()
