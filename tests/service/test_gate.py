"""The service's listening socket: few are half-way in, nobody for long, and a flood is one line."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import socket
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.identity.contexts import server_context
from coldseal.observe.logs import configure
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service import gate
from coldseal.service.gate import Gate, GateLimits
from tests.trial import Site
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Scarce:
    """A real listening socket for whose callers no file descriptor is left, for a while.

    Attributes:
        faults: how often there is none.
    """

    def __init__(self, inner: socket.socket) -> None:
        """Have none for nobody yet."""
        self.inner, self.faults = inner, 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a caller in, or fail as the system does."""
        if self.faults:
            self.faults -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self.inner.accept()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # whatever the socket has
        """Give what the socket has."""
        return getattr(self.inner, name)


class Door:
    """A gate with room for two callers, one line of memory, and a clock that is moved by hand."""

    def __init__(self, folder: Path, *, half_open: int = 2, handshake_s: float = 30.0) -> None:
        """Listen on loopback."""
        site = Site(folder)
        paper = site.certificates["service"]
        context = server_context(paper, paper.with_suffix(".key"), site.trust)
        self.socket = Scarce(socket.create_server(("127.0.0.1", 0)))
        self.port, self.now_s, self.metrics = self.socket.getsockname()[1], 0.0, ServiceMetrics()
        self.stream = io.StringIO()
        configure(stream=self.stream, is_readable=False)
        self.gate = Gate(
            self.socket,  # type: ignore[arg-type] # a socket in all that is asked of it
            context,
            asyncio.Protocol,
            listens="api",
            metrics=self.metrics,
            limits=GateLimits(half_open, half_open, handshake_s),
            now_s=lambda: self.now_s,
        )
        self.gate.open()

    def call(self) -> socket.socket:
        """Call, and say nothing."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def said(self) -> list[str]:
        """Give the reasons of the refusals that were said."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [each["reason"] for each in lines if each["event"] == "handshake.refused"]

    def counted(self, reason: str) -> float:
        """Give how often a reason was counted."""
        return float(self.metrics.handshakes_refused.labels(reason)._value.get())


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """Give a door, which is closed at the end."""
    made = Door(tmp_path)
    yield made
    made.gate.close()
    made.gate.close()  # twice is once
    await made.gate.wait_closed()
    assert made.gate.half_open == 0


async def test_beyond_the_bound_a_caller_is_turned_away_and_there_is_room_again(door: Door) -> None:
    """Without a word, before any handshake."""
    with ExitStack() as stack:
        silent = [stack.enter_context(door.call()) for _ in range(2)]
        await until(lambda: door.gate.half_open == 2)
        third = stack.enter_context(door.call())
        await until(lambda: door.counted("limit") == 1)
        assert await asyncio.to_thread(third.recv, 1) == b""
        silent[0].close()
        await until(lambda: door.gate.half_open == 1)
        stack.enter_context(door.call())
        await until(lambda: door.gate.half_open == 2)
    assert door.said()[0] == "limit"


async def test_a_flood_is_one_line_a_minute_and_every_caller_is_counted(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was said, so much is remembered: another reason may have it said again."""
    monkeypatch.setattr(gate, "_REMEMBERED", 1)

    async def rude() -> None:
        before = door.counted("not-tls")
        with door.call() as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: door.counted("not-tls") == before + 1)

    for _ in range(5):
        await rude()
    assert door.said() == ["not-tls"]
    door.now_s += 61
    await rude()
    assert door.said() == ["not-tls"] * 2
    door.call().close()
    await until(lambda: "closed" in door.said())
    await rude()
    assert door.said() == ["not-tls", "not-tls", "closed", "not-tls"]
    assert door.counted("not-tls") == 7


async def test_without_file_descriptors_callers_wait_in_the_systems_queue(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is not watched for a moment, so that nothing spins; then they are let in."""
    monkeypatch.setattr(gate, "_REST_S", 0.05)
    door.socket.faults = 3
    with door.call():
        await until(lambda: door.gate.half_open == 1)
    assert door.socket.faults == 0


async def test_a_door_that_rests_can_be_closed(door: Door) -> None:
    """And does not watch again."""
    door.socket.faults = 1
    with door.call():
        await until(lambda: door.gate._resting is not None)
        door.gate.close()
    assert door.gate.half_open == 0


async def test_whoever_is_at_the_handshake_is_given_up_when_the_door_closes(door: Door) -> None:
    """Nobody is waited for."""
    with door.call() as caller:
        await until(lambda: door.gate.half_open == 1)
        door.gate.close()
        await door.gate.wait_closed()
        assert await asyncio.to_thread(caller.recv, 1) == b""


async def test_a_handshake_has_an_end(tmp_path: Path) -> None:
    """Said as such."""
    made = Door(tmp_path, handshake_s=0.1)
    with made.call() as caller:
        assert await asyncio.to_thread(caller.recv, 1) == b""
    await until(lambda: made.said() == ["timeout"])
    made.gate.close()
    await made.gate.wait_closed()


async def test_more_callers_than_are_accepted_at_once_are_taken_in_turns(tmp_path: Path) -> None:
    """Whoever is left waits for the loop's next turn, in which others are served too."""
    made = Door(tmp_path, half_open=64)
    with ExitStack() as stack:
        for _ in range(gate._ACCEPTED_AT_ONCE + 8):
            stack.enter_context(made.call())
        await until(lambda: made.gate.half_open == gate._ACCEPTED_AT_ONCE + 8)
        assert made.counted("limit") == 0
    made.gate.close()
    await made.gate.wait_closed()


async def test_who_breaks_tls_is_counted_each_time_and_told_of_once_a_minute(door: Door) -> None:
    """By address and reason, apart from those who are turned away at the handshake for the same reason."""
    altered, unexpected = ssl.SSLError(1, "x"), ssl.SSLError(1, "x")
    altered.reason, unexpected.reason = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "UNEXPECTED_MESSAGE"

    def told() -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in door.stream.getvalue().splitlines()]
        return [(each["address"], each["reason"]) for each in lines if each["event"] == "tls.broken"]

    for _ in range(5):
        door.gate.broken("192.0.2.1", altered)
    assert told() == [("192.0.2.1", "altered")]
    door.gate.broken("192.0.2.1", unexpected)
    door.gate.broken("192.0.2.2", altered)
    door.now_s += 61
    door.gate.broken("192.0.2.1", altered)
    assert told()[1:] == [("192.0.2.1", "malformed"), ("192.0.2.2", "altered"), ("192.0.2.1", "altered")]
    assert door.metrics.tls_broken.labels("altered")._value.get() == 7
    assert door.counted("altered") == 0
