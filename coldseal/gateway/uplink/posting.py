"""Posts over connections of our own: HTTP/1.1 with one endpoint, once TLS has proven who it is.

Promises that every wait has an end, that an answer is bounded, and that an answer which comes early ends the
sending. Follows no redirect, knows no proxy and no cookie, retries nothing. It exists beside `http` because
the client there takes ten megabytes of memory, and this is the way that every gateway has.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import h11

from coldseal.errors import InputError
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.uplink.guarded import tls_class
from coldseal.gateway.uplink.names import guard_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.egress import Guard
    from coldseal.identity.peer import Role

CONNECT_S: Final = 10.0
"""Longest wait for a connection with its handshake."""
IDLE_S: Final = 60.0
"""A connection that rested longer is not used again: the other end may be about to close it."""
PART_BYTES: Final = 256 * 1024
READ_BYTES: Final = 65_536


class Reply(NamedTuple):
    """What came back over HTTP."""

    status: int
    body: bytes
    retry_after: str


class Post(NamedTuple):
    """What is posted.

    Attributes:
        path: where to, below the endpoint's address.
        kind: the media type.
        body: the content.
        left: set once all of it has been handed to the network.
        is_asked_first: the other end is asked before the body goes (RFC 9110 10.1.1).
    """

    path: str
    kind: str
    body: bytes
    left: asyncio.Event
    is_asked_first: bool = False


class Posting:
    """The way of posts to one endpoint.

    Args:
        url: its address; paths are below it.
        context: TLS with whom it trusts, or what gives that; another one than before makes a new connection.
        role: what the peer's certificate must make it.
        timeout_s: time for one post and its answer.
        longest: bytes of an answer.
        connections: at one time.
        guard: the list of ways out; None allows this endpoint and no other.

    Raises:
        InputError: ``url`` is no address.
    """

    def __init__(
        self,
        url: str,
        context: Callable[[], ssl.SSLContext] | ssl.SSLContext,
        *,
        role: Role,
        timeout_s: float,
        longest: int,
        connections: int = 1,
        guard: Guard | None = None,
    ) -> None:
        """Prepare it; nothing is connected yet."""
        self._endpoint = endpoint_of(url)
        self._guard = guard if guard is not None else guard_for(url)
        self._context = context
        self._tls = tls_class(self._guard, self._endpoint, role)
        parts = urlsplit(url)
        self._authority, self._path = parts.netloc, parts.path.rstrip("/")
        self._timeout_s, self._longest = timeout_s, longest
        self._room = asyncio.Semaphore(connections)
        self._resting: list[_Connection] = []

    async def send(self, post: Post) -> Reply:
        """Send a post and read what comes back.

        Raises:
            TimeoutError: it took too long.
            InputError: the answer is longer than one may be.
            OSError: there is no connection, the peer is somebody else, or it does not speak HTTP.
            ColdsealError: the list of ways out refuses it.
        """
        async with asyncio.timeout(self._timeout_s), self._room:
            context = self._secured()
            connection = self._rested(context) or await self._connect(context)
            try:
                reply = await connection.exchange(self._head(post), post, self._longest)
            except h11.ProtocolError as fault:
                connection.close()
                raise ConnectionError(f"it does not speak HTTP/1.1: {fault}") from fault
            except BaseException:
                connection.close()
                raise
            if connection.is_reusable():
                self._resting.append(connection)
            else:
                connection.close()
            return reply

    def close(self) -> None:
        """Close the connections."""
        for connection in self._resting:
            connection.close()
        self._resting.clear()

    def _secured(self) -> ssl.SSLContext | None:
        """Give the context of the next connection."""
        if not self._endpoint.is_tls:
            return None
        context = self._context() if callable(self._context) else self._context
        context.sslobject_class = self._tls
        return context

    def _head(self, post: Post) -> h11.Request:
        """Make the head of a request."""
        headers = [
            ("Host", self._authority),
            ("Content-Type", post.kind),
            ("Content-Length", str(len(post.body))),
        ]
        if post.is_asked_first:
            headers.append(("Expect", "100-continue"))
        return h11.Request(method="POST", target=self._path + post.path, headers=headers)

    def _rested(self, context: ssl.SSLContext | None) -> _Connection | None:
        """Take a connection that the other end still holds, if there is one."""
        while self._resting:
            connection = self._resting.pop()
            if connection.context is context and connection.is_alive():
                return connection
            connection.close()
        return None

    async def _connect(self, context: ssl.SSLContext | None) -> _Connection:
        """Open a connection; TLS has proven the peer before this returns.

        Raises:
            OSError, ColdsealError: there is none.
        """
        async with asyncio.timeout(CONNECT_S):
            addresses = await asyncio.to_thread(self._guard.addresses, self._endpoint)
            for address in addresses[:-1]:
                try:
                    return await self._connect_to(address, context)
                except ssl.SSLError:
                    raise
                except OSError:
                    continue
            return await self._connect_to(addresses[-1], context)

    async def _connect_to(self, address: str, context: ssl.SSLContext | None) -> _Connection:
        """Open a connection to one of its addresses."""
        host, port, _ = self._endpoint
        self._guard.admit(self._endpoint, address, port)
        plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            await asyncio.get_running_loop().sock_connect(plain, (address, port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader, writer = await asyncio.open_connection(
                sock=plain, ssl=context, server_hostname=host if context else None, limit=READ_BYTES
            )
        except BaseException:
            plain.close()
            raise
        return _Connection(reader, writer, context)


class _Connection:
    """One connection, with one request at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext | None
    ) -> None:
        """Take both ends of it."""
        self.context = context
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self._rests_since = 0.0

    async def exchange(self, head: h11.Request, post: Post, longest: int) -> Reply:
        """Send a request while its answer may already come; an answer ends the sending."""
        welcome = asyncio.Event()
        if not post.is_asked_first:
            welcome.set()
        self._write(head)
        sending = asyncio.ensure_future(self._send(post, welcome))
        try:
            return await self._receive(welcome, longest)
        except (h11.ProtocolError, OSError):
            if sending.done() and not sending.cancelled() and (fault := sending.exception()) is not None:
                raise fault from None
            raise
        finally:
            sending.cancel()
            await asyncio.wait((sending,))

    def _write(self, event: h11.Event) -> None:
        """Write the head or the end of a request."""
        if data := self._http.send(event):
            self._writer.write(data)

    async def _send(self, post: Post, welcome: asyncio.Event) -> None:
        """Send part by part, the next one once the network has taken the last."""
        await welcome.wait()
        whole = memoryview(post.body)
        self._http.send_with_data_passthrough(h11.Data(data=post.body))  # gives the body itself back
        for at in range(0, len(whole), PART_BYTES):
            self._writer.write(whole[at : at + PART_BYTES])
            await self._writer.drain()
        self._write(h11.EndOfMessage())
        post.left.set()

    async def _receive(self, welcome: asyncio.Event, longest: int) -> Reply:
        """Read status and body, and no more than an answer may have.

        Raises:
            InputError: it is longer.
            h11.ProtocolError, OSError: there is no answer.
        """
        status, retry_after, found = 0, "", bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(READ_BYTES)
                if not data and not status:
                    raise ConnectionResetError("the other end closed the connection")
                self._http.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                welcome.set()
            elif isinstance(event, h11.Response):
                status = event.status_code
                retry_after = dict(event.headers).get(b"retry-after", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                found += event.data
                if len(found) > longest:
                    raise InputError("answer", "length", len(found), f"at most {longest} bytes")
            else:  # the end of the message: a connection that closes before it is an error of the protocol
                return Reply(status, bytes(found), retry_after)

    def is_reusable(self) -> bool:
        """Tell whether another request may follow, and begin to rest."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._rests_since = asyncio.get_running_loop().time()
        return True

    def is_alive(self) -> bool:
        """Tell whether the other end seems to be there still."""
        rested_s = asyncio.get_running_loop().time() - self._rests_since
        return rested_s < IDLE_S and not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        """Cut it."""
        self._writer.transport.abort()
