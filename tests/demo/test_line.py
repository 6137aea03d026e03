"""The line carries bytes both ways until it is cut, and again once it is restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from coldseal.demo.line import Line
from tests.waiting import until


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that sends everything back and closes when the client does; yields its port."""
    answering: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        await asyncio.gather(*filter(None, answering), return_exceptions=True)


async def ask(line: Line, question: bytes) -> bytes:
    """Send through the line, end, and read everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    try:
        writer.write(question)
        writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_the_line_carries_bytes_both_ways() -> None:
    """What goes in comes out unchanged, to the end."""
    question = bytes(range(256)) * 4000
    async with echo() as port, Line(port) as line:
        assert await ask(line, question) == question


async def test_a_cut_ends_a_connection_in_the_middle() -> None:
    """A connection that is open when the line is cut breaks."""
    async with echo() as port, Line(port) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(b"half")
        assert await reader.readexactly(4) == b"half"
        line.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.transport.abort()


async def test_a_cut_line_takes_no_connection_until_it_is_restored() -> None:
    """While cut nothing comes through; afterwards everything does again."""
    async with echo() as port, Line(port) as line:
        line.cut()
        assert await ask(line, b"lost") == b""
        line.restore()
        assert await ask(line, b"kept") == b"kept"


async def test_a_line_to_nowhere_closes_its_connections() -> None:
    """A service that is down looks like a closed connection, not like a hang."""
    async with echo() as port:
        pass
    async with Line(port) as line:
        assert await ask(line, b"anyone?") == b""


async def test_connections_are_forgotten_when_they_end() -> None:
    """A long demo keeps no dead connection."""
    async with echo() as port, Line(port) as line:
        for _ in range(3):
            assert await ask(line, b"x") == b"x"
        await until(lambda: not line._writers)
