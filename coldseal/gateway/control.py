"""The control channel: what commands on this machine ask of a running gateway, over a Unix socket.

Promise: who asks is who the kernel says, a request is bounded and strictly read, and each gets one answer:
`ok` with what was asked for, or `error` with a hint. One JSON object a line, both ways. Knows no request by
name, and decides nothing: the gateway hands in a table of them, and the gate that they pass.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

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
GROUP_MODE: Final = 0o660
OPEN_MODE: Final = 0o666
"""Modes of the own socket, and of the further one: for a group, or for all."""

Answer = dict[str, object]
"""What a request is answered with, beside `ok`."""

if TYPE_CHECKING:
    Handler = Callable[[Mapping[str, Any], Callable[[Answer], None]], None]
    """Takes the request's other fields, and what to call with the answer, now or later; may raise."""


class Caller(NamedTuple):
    """The process that asks, as the kernel names it."""

    pid: int
    uid: int
    gid: int


class Call(NamedTuple):
    """A request on its way to its handler.

    Attributes:
        name: what is asked for.
        request: its other fields.
        handler: takes it.
        answer: what to call with the answer, once.
    """

    name: str
    request: dict[str, Any]
    handler: Handler
    answer: Callable[[Answer], None]

    def pass_on(self) -> None:
        """Hand it to its handler; may raise like it."""
        self.handler(self.request, self.answer)


class Gate(Protocol):
    """What a request passes before its handler."""

    def hears(self, caller: Caller) -> bool:
        """Whether this caller is heard at all."""

    def pass_on(self, caller: Caller, call: Call) -> None:
        """Hand the request to its handler, now or later, or answer in its place; may raise like a handler."""


class OwnGate:
    """Hears the gateway's own user and root, and passes all that they ask."""

    def hears(self, caller: Caller) -> bool:
        """Whether this is one of them."""
        return is_allowed(caller.uid)

    def pass_on(self, _caller: Caller, call: Call) -> None:
        """Pass it."""
        call.pass_on()


class AwaitsApprovalError(UnavailableError):
    """What was asked for waits for a second person.

    Args:
        number: by which it is approved.
        action: what would be done.
    """

    def __init__(self, number: int, action: str) -> None:
        """Keep both facts."""
        self.number, self.action = number, action
        cause = f"a second person must approve it: coldseal gateway approve CONFIG {number}"
        super().__init__(action, cause)


_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of <sys/socket.h>
_ROOT: Final = 0


class ControlServer:
    """Answers requests, each by the handler of its name.

    Args:
        folder: the data folder.
        handlers: what can be asked, by the name in ``do``.
        gate: what requests pass.
        further: a second socket for other users, and the group that may open it, empty for all.
    """

    def __init__(
        self,
        folder: Path,
        handlers: Mapping[str, Handler],
        gate: Gate | None = None,
        further: tuple[Path, str] | None = None,
    ) -> None:
        """Take the table; nothing listens yet."""
        self._folder, self._further = folder, further
        self._handlers = handlers
        self._gate: Gate = OwnGate() if gate is None else gate
        self._servers: list[asyncio.Server] = []
        self._callers: set[_Connection] = set()

    async def start(self) -> None:
        """Listen; a socket that a gateway before left behind is replaced.

        Raises:
            OperatorError: a socket cannot be made.
        """
        await self._listen(self._folder / SOCKET, MODE)
        if self._further is not None:
            path, group = self._further
            try:
                await self._listen(path, GROUP_MODE if group else OPEN_MODE, group)
            except OperatorError:
                await self.stop()
                raise

    async def _listen(self, path: Path, mode: int, group: str = "") -> None:
        """Make one socket, and listen on it."""
        loop = asyncio.get_running_loop()
        with _bound(path, mode, group) as own:  # the loop looks at its address once more
            self._servers.append(await loop.create_unix_server(self._connection, sock=own))

    def _connection(self) -> _Connection:
        """Make what hears one caller."""
        return _Connection(self._callers, self._handlers, self._gate)

    async def stop(self) -> None:
        """Stop listening; who still waits for an answer is told that none comes."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        for caller in tuple(self._callers):
            caller.leave()
        for server in servers:
            await server.wait_closed()
        paths = [self._folder / SOCKET, *([self._further[0]] if self._further else [])]
        for path in paths[: len(servers)]:
            path.unlink(missing_ok=True)


@contextmanager
def _bound(path: Path, mode: int, group: str) -> Iterator[socket.socket]:
    """Make a socket that only those may open who should; its address can be looked at within."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)  # nobody listens there: this process holds the log's lock
        with _short(path.parent) as folder:
            own.bind(f"{folder}/{path.name}")
            if group:
                shutil.chown(path, group=group)
            path.chmod(mode)  # before anybody can be heard
            yield own
    except (OSError, LookupError) as error:
        own.close()
        hint = "Give a folder that this user may write, and a group that it is in"
        raise OperatorError(f"{path} cannot be made: {error}", hint) from error


class _Connection(asyncio.Protocol):
    """One connection: one request, one answer."""

    def __init__(self, callers: set[_Connection], handlers: Mapping[str, Handler], gate: Gate) -> None:
        """Take the table, the gate and those who are there."""
        self._callers, self._handlers, self._gate = callers, handlers, gate
        self._caller: Caller
        self._received = bytearray()
        self._transport: asyncio.WriteTransport
        self._is_answered = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who that is, and let in whom the gate hears."""
        self._transport = cast("asyncio.WriteTransport", transport)
        found = transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        self._caller = Caller(*_CREDENTIALS.unpack(found))
        if not self._gate.hears(self._caller) or len(self._callers) >= MAX_CALLERS:
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
                name = request.pop("do")
                handler = self._handlers.get(name)
                if handler is None:
                    known = ", ".join(sorted(self._handlers))
                    self._refuse("the gateway does not know this request", f"It knows: {known}")
                else:
                    self._gate.pass_on(self._caller, Call(name, request, handler, self._answer))
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


def ask(place: Path, request: Mapping[str, object]) -> dict[str, Any] | None:
    """Ask the gateway that runs on a data folder, or listens on a socket.

    Returns:
        What it answered; None if no gateway runs there.

    Raises:
        OperatorError: it refuses.
        AwaitsApprovalError: a second person must approve it first.
        UnavailableError: it does not answer, or cannot be asked by this user.
    """
    path = place / SOCKET if place.is_dir() else place
    what = str(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as own:
        own.settimeout(TIMEOUT_S)
        try:
            with _short(path.parent) as folder:
                own.connect(f"{folder}/{path.name}")
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
    if "pending" in found:
        raise AwaitsApprovalError(int(found["pending"]), str(found.get("action", "")))
    if "error" in found:
        raise OperatorError(str(found["error"]), str(found.get("hint", "")))
    return found


def ask_running(place: Path, request: Mapping[str, object]) -> dict[str, Any]:
    """Ask the gateway that must be running on a data folder, for whoever may not write where it does not.

    Raises:
        OperatorError: it refuses.
        UnavailableError: it does not run, or does not answer.
    """
    found = ask(place, request)
    if found is None:
        raise UnavailableError(str(place), "no gateway runs there")
    return found


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Name a folder by its descriptor: a socket's address has room for 107 bytes, a path may be longer."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
