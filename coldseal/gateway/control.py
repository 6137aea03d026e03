"""The control channel: what commands on this machine ask of a running gateway, over a Unix socket.

Promise: only the gateway's own user and root are heard, a request is bounded and strictly read, and each
gets one answer: `ok` with what was asked for, or `error` with a hint. One JSON object a line, both ways.
Knows no request by name: the gateway hands in a table of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from typing_extensions import override

from coldseal.errors import ColdsealError, OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SOCKET: Final = "control.sock"
"""File in the gateway's data folder."""

MAX_REQUEST: Final = 65_536
"""Bytes of a request, its line feed included."""

MAX_CALLERS: Final = 16
"""Connections at one time; more are closed unheard."""

TIMEOUT_S: Final = 30.0
"""How long a command waits for its answer."""

MODE: Final = 0o600

Answer = dict[str, object]
"""What a request is answered with, beside `ok`."""

if TYPE_CHECKING:
    Handler = Callable[[Mapping[str, Any], Callable[[Answer], None]], None]
    """Takes the request's other fields, and what to call with the answer, now or later; may raise."""

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of <sys/socket.h>
_ROOT: Final = 0


class ControlServer:
    """Answers requests, each by the handler of its name.

    Args:
        folder: the data folder.
        handlers: what can be asked, by the name in ``do``.
    """

    def __init__(self, folder: Path, handlers: Mapping[str, Handler]) -> None:
        """Take the table; nothing listens yet."""
        self._folder = folder
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._callers: set[_Caller] = set()

    async def start(self) -> None:
        """Listen; a socket that a gateway before left behind is replaced.

        Raises:
            OperatorError: the socket cannot be made.
        """
        path = self._folder / SOCKET
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.unlink(missing_ok=True)  # nobody listens there: this process holds the log's lock
            with _short(self._folder) as address:
                own.bind(address)
            path.chmod(MODE)  # before anybody can be heard
        except OSError as error:
            own.close()
            hint = "Give a data folder that this user may write"
            raise OperatorError(f"{path} cannot be made: {error.strerror}", hint) from error
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Caller(self._callers, self._handlers), sock=own
        )

    async def stop(self) -> None:
        """Stop listening; who still waits for an answer is told that none comes."""
        if self._server is None:
            return
        self._server.close()
        for caller in tuple(self._callers):
            caller.leave()
        await self._server.wait_closed()
        (self._folder / SOCKET).unlink(missing_ok=True)


class _Caller(asyncio.Protocol):
    """One connection: one request, one answer."""

    def __init__(self, callers: set[_Caller], handlers: Mapping[str, Handler]) -> None:
        """Take the table and those who are there."""
        self._callers, self._handlers = callers, handlers
        self._received = bytearray()
        self._transport: asyncio.WriteTransport
        self._is_answered = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let nobody in but the gateway's user and root."""
        self._transport = cast("asyncio.WriteTransport", transport)
        found = transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        if not is_allowed(_CREDENTIALS.unpack(found)[1]) or len(self._callers) >= MAX_CALLERS:
            self._transport.abort()
            return
        self._callers.add(self)

    @override
    def data_received(self, data: bytes) -> None:
        """Gather the line, and hand it over once it is whole."""
        self._received += data
        line, end, behind = self._received.partition(b"\n")
        if len(line) >= MAX_REQUEST or behind:
            self._refuse("the request is longer than 64 KiB, or than a line", "Send one short line")
        elif end:
            try:
                request = parse_request(bytes(line))
                handler = self._handlers.get(request.pop("do"))
                if handler is None:
                    known = ", ".join(sorted(self._handlers))
                    self._refuse("the gateway does not know this request", f"It knows: {known}")
                else:
                    handler(request, self._answer)
            except OperatorError as error:
                self._refuse(error.what, error.hint)
            except ColdsealError as error:
                self._refuse(str(error), "")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left, with or without an answer."""
        self._is_answered = True
        self._callers.discard(self)

    def leave(self) -> None:
        """Say that no answer comes."""
        self._refuse("the gateway is stopping", "Ask again: what was not answered may not be on record")

    def _answer(self, answer: Answer) -> None:
        """Give the one answer; whoever has left gets none."""
        if not self._is_answered:
            self._is_answered = True
            self._transport.write(msgspec.json.encode({"ok": True, **answer}) + b"\n")
            self._transport.close()

    def _refuse(self, what: str, hint: str) -> None:
        """Say why nothing is done."""
        if not self._is_answered:
            self._is_answered = True
            self._transport.write(msgspec.json.encode({"error": what, "hint": hint}) + b"\n")
            self._transport.close()


def is_allowed(user: int) -> bool:
    """Whether a user may ask: the gateway's own, and root."""
    return user in {os.geteuid(), _ROOT}


def parse_request(line: bytes) -> dict[str, Any]:
    """Read a request: a JSON object whose ``do`` is a text.

    Raises:
        OperatorError: it is anything else.
    """
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OperatorError(f"the request cannot be read: {error}", "Send one JSON object") from error
    if not isinstance(found.get("do"), str):
        raise OperatorError("the request has no `do`", "Name what is asked for in `do`")
    return found


def ask(folder: Path, request: Mapping[str, object]) -> dict[str, Any] | None:
    """Ask the gateway that runs on a data folder.

    Returns:
        What it answered; None if no gateway runs there.

    Raises:
        OperatorError: it refuses.
        UnavailableError: it does not answer, or cannot be asked by this user.
    """
    what = str(folder / SOCKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as own:
        own.settimeout(TIMEOUT_S)
        try:
            with _short(folder) as address:
                own.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise UnavailableError(what, str(error.strerror)) from error
        try:
            own.sendall(msgspec.json.encode(request) + b"\n")
            answer = b"".join(iter(lambda: own.recv(MAX_REQUEST), b""))
            found = msgspec.json.decode(answer, type=dict[str, Any])
        except TimeoutError as error:
            raise UnavailableError(what, f"no answer within {TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise UnavailableError(what, str(error.strerror)) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnavailableError(what, "the connection was closed without an answer") from error
    if "error" in found:
        raise OperatorError(str(found["error"]), str(found.get("hint", "")))
    return found


def ask_running(folder: Path, request: Mapping[str, object]) -> dict[str, Any]:
    """Ask the gateway that must be running on a data folder, for whoever may not write where it does not.

    Raises:
        OperatorError: it refuses.
        UnavailableError: it does not run, or does not answer.
    """
    found = ask(folder, request)
    if found is None:
        raise UnavailableError(str(folder / SOCKET), "no gateway runs there")
    return found


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Name the socket by its folder's descriptor: an address has room for 107 bytes, a path may be longer."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
