"""The control channel hears the gateway's user alone, reads strictly, and answers once."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway import control
from coldseal.gateway.control import MAX_CALLERS, SOCKET, ControlServer, ask, is_allowed, parse_request
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from coldseal.gateway.control import Answer


class Asked:
    """A table of requests, and what came in."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.later: list[Callable[[Answer], None]] = []
        self.server: ControlServer

    def echo(self, request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Answer at once with what was asked."""
        answer({"was": dict(request)})
        answer({"twice": True})

    def wait(self, _request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Answer later, or never."""
        self.later.append(answer)

    def refuse(self, _request: Mapping[str, Any], _answer: Callable[[Answer], None]) -> None:
        """Say what is wrong and what to do."""
        raise OperatorError("it is wrong", "Do it right")

    def fail(self, _request: Mapping[str, Any], _answer: Callable[[Answer], None]) -> None:
        """Say what is away."""
        raise UnavailableError("the disk", "it is full")


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Asked]:
    """Listen in a folder."""
    asked = Asked()
    table = {"echo": asked.echo, "wait": asked.wait, "refuse": asked.refuse, "fail": asked.fail}
    server = asked.server = ControlServer(folder, table)
    await server.start()
    try:
        yield asked
    finally:
        await server.stop()


def send(folder: Path, line: bytes) -> bytes:
    """Send bytes as they are, and give what comes back until the end."""
    with socket.socket(socket.AF_UNIX) as own:
        own.settimeout(10)
        own.connect(str(folder / SOCKET))
        own.sendall(line)
        return b"".join(iter(lambda: own.recv(65_536), b""))


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uv", "own"])
def test_a_request_gets_one_answer(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """On the gateway's loop and on the standard one; the socket is for its owner alone."""

    async def play() -> Mapping[str, Any] | None:
        async with serving(tmp_path):
            mode = stat.S_IMODE((tmp_path / SOCKET).stat().st_mode)
            assert mode == 0o600
            return await asyncio.to_thread(ask, tmp_path, {"do": "echo", "x": [1]})

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(play()) == {"ok": True, "was": {"x": [1]}}
    assert not (tmp_path / SOCKET).exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\n", "cannot be read"),
        (b"[1]\n", "cannot be read"),
        (b"{\n", "cannot be read"),
        (b'{"do":\xff}\n', "cannot be read"),
        (b'{"do":"' + b"[" * 9, "longer"),
        (b"{}\n", "no `do`"),
        (b'{"do":1}\n', "no `do`"),
        (b'{"do":"other"}\n', "does not know"),
        (b'{"do":"echo"}\n{"do":"echo"}\n', "longer"),
        (b'{"do":"echo","x":"' + b"x" * 65_536 + b'"}\n', "longer"),
        (b"x" * 70_000, "longer"),
        (b'{"do":"refuse"}\n', "it is wrong"),
        (b'{"do":"fail"}\n', "it is full"),
    ],
)
async def test_what_is_not_one_short_known_request_is_refused(tmp_path: Path, line: bytes, said: str) -> None:
    """With what is wrong and what to do; others are answered all the same."""
    if said == "longer" and b"\n" not in line:
        line = line.ljust(70_000, b"[")
    async with serving(tmp_path):
        answer = json.loads(await asyncio.to_thread(send, tmp_path, line))
        assert set(answer) == {"error", "hint"}
        assert said in answer["error"]
        assert await asyncio.to_thread(ask, tmp_path, {"do": "echo"})


async def test_a_refusal_reaches_the_command_as_an_error_with_its_hint(tmp_path: Path) -> None:
    """Whoever asked shows it to the person."""
    async with serving(tmp_path):
        with pytest.raises(OperatorError) as caught:
            await asyncio.to_thread(ask, tmp_path, {"do": "refuse"})
    assert (caught.value.what, caught.value.hint) == ("it is wrong", "Do it right")


async def test_who_waits_when_the_gateway_stops_is_told_so(tmp_path: Path) -> None:
    """And an answer that comes too late goes nowhere."""
    async with serving(tmp_path) as asked:
        waiting = asyncio.ensure_future(asyncio.to_thread(ask, tmp_path, {"do": "wait"}))
        await until(lambda: bool(asked.later))
        await asked.server.stop()
        with pytest.raises(OperatorError, match="stopping"):
            await waiting
        asked.later[0]({})


async def test_who_leaves_before_the_answer_does_no_harm(tmp_path: Path) -> None:
    """The request is carried out; nobody is told."""
    async with serving(tmp_path) as asked:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        writer.write(b'{"do":"wait"}\n')
        await until(lambda: bool(asked.later))
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""
        asked.later[0]({})
        assert await asyncio.to_thread(ask, tmp_path, {"do": "echo"})


async def test_a_second_line_while_the_first_is_under_way_is_refused(tmp_path: Path) -> None:
    """One request, one answer."""
    async with serving(tmp_path) as asked:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        writer.write(b'{"do":"wait"}\n')
        await until(lambda: bool(asked.later))
        writer.write(b'{"do":"wait"}\n')
        assert b"error" in await reader.read()
        asked.later[0]({})
        assert len(asked.later) == 1
        writer.close()


async def test_too_many_callers_are_closed_unheard(tmp_path: Path) -> None:
    """Until one of the others has left."""
    async with serving(tmp_path):
        callers = [await asyncio.open_unix_connection(str(tmp_path / SOCKET)) for _ in range(MAX_CALLERS)]
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(ask, tmp_path, {"do": "echo"})
        callers[0][1].close()
        await callers[0][1].wait_closed()
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(ask, tmp_path, {"do": "echo"})
        for _, writer in callers[1:]:
            writer.close()


def test_only_the_own_user_and_root_are_heard() -> None:
    """The kernel tells who asks."""
    assert is_allowed(os.geteuid())
    assert is_allowed(0)
    assert not is_allowed(os.geteuid() + 1)


async def test_another_user_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the file let it in."""
    monkeypatch.setattr(control, "is_allowed", lambda user: user == os.geteuid() + 1)
    async with serving(tmp_path):
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(ask, tmp_path, {"do": "echo"})


async def test_where_nobody_listens_the_command_does_it_alone(tmp_path: Path) -> None:
    """No folder, no socket, or one that a killed gateway left; the next gateway replaces that."""
    assert ask(tmp_path / "none", {"do": "echo"}) is None
    assert ask(tmp_path, {"do": "echo"}) is None
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET))
    assert ask(tmp_path, {"do": "echo"}) is None
    async with serving(tmp_path):
        assert await asyncio.to_thread(ask, tmp_path, {"do": "echo"})


async def test_a_folder_with_a_long_name_will_do(tmp_path: Path) -> None:
    """An address of a socket has no room for it."""
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    async with serving(folder):
        assert await asyncio.to_thread(ask, folder, {"do": "echo"})


async def test_a_socket_that_cannot_be_made_is_an_error_of_the_operator(tmp_path: Path) -> None:
    """Something else has its name."""
    (tmp_path / SOCKET).mkdir()
    server = ControlServer(tmp_path, {})
    with pytest.raises(OperatorError, match="cannot be made"):
        await server.start()
    await server.stop()


def test_a_gateway_that_does_not_answer_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of the request then."""
    monkeypatch.setattr(control, "TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / SOCKET))
        deaf.listen()
        with pytest.raises(UnavailableError, match="no answer"):
            ask(tmp_path, {"do": "echo"})
        (tmp_path / SOCKET).unlink()
        (tmp_path / SOCKET).symlink_to(SOCKET)
        with pytest.raises(UnavailableError):
            ask(tmp_path, {"do": "echo"})


def test_a_gateway_that_dies_meanwhile_is_away(tmp_path: Path) -> None:
    """The connection ends with bytes unread."""
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(tmp_path / SOCKET))
        dying.listen()

        async def play() -> None:
            asking = asyncio.create_task(asyncio.to_thread(ask, tmp_path, {"do": "echo", "x": "x" * 60_000}))
            caller, _ = await asyncio.to_thread(dying.accept)
            caller.close()
            with pytest.raises(UnavailableError):
                await asking

        asyncio.run(play())


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("do"), inner), max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # noqa: TID251 # a request, not evidence  # fmt: skip
def test_any_bytes_are_a_request_or_refused(line: bytes) -> None:
    """No other error comes out, and what is taken names what is asked for."""
    with suppress(OperatorError):
        found = parse_request(line)
        assert isinstance(found["do"], str)
        assert found == json.loads(line)
