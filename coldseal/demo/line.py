"""The line between gateway and service: a TCP relay on loopback that can be cut and restored.

A cut aborts every connection in the middle of whatever it carries and refuses new ones until the
line is restored. It sees TLS bytes only, and neither changes, delays nor keeps any.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Line:
    """A relay to one port; used as ``async with Line(port) as line``."""

    def __init__(self, target_port: int) -> None:
        """Relay to ``target_port`` on loopback once entered."""
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None] | None] = set()
        self.is_cut = False
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port, ``self.port``."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut for good, and wait until every connection is closed."""
        self.cut()
        self._server.close()
        await asyncio.gather(*filter(None, self._relays))
        await self._server.wait_closed()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next round

    def cut(self) -> None:
        """Abort all connections and refuse new ones."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        """Take connections again."""
        self.is_cut = False

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both sides end or the line is cut."""
        task = asyncio.current_task()
        self._relays.add(task)
        self._writers.add(writer)
        try:
            if self.is_cut:
                return
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            return
        else:
            self._writers.add(onward)
            try:
                await asyncio.gather(_carry(reader, onward), _carry(onward_reader, writer))
            finally:
                self._writers.discard(onward)
                onward.transport.abort()
        finally:
            self._relays.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction to its end, and pass the end on."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
