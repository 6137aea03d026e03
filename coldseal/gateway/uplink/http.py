"""What the HTTP ways out that only some gateways have share: one endpoint, bounded waits, bounded answers.

Promises that nothing is reached but that endpoint, as the list of ways out has it. No proxy, cookie or
redirect takes part, and nothing is decoded on the way. What is posted is the matter of each way; posts to the
service, which every gateway sends, go over `posting`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from coldseal.errors import ColdsealError, InputError
from coldseal.gateway.egress import Guard
from coldseal.gateway.endpoints import Endpoint, endpoint_of
from coldseal.gateway.uplink.guarded import tls_class
from coldseal.gateway.uplink.names import guard_for
from coldseal.identity.peer import Role

CONNECT_S: Final = 10.0
"""Longest wait for a connection with its handshake."""

Context = Callable[[], ssl.SSLContext]
"""Gives the TLS context for the next connection."""


class Way:
    """A way to one endpoint; used as ``async with``, which closes its connections at the end."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        context: Context | ssl.SSLContext | None = None,
        connections: int = 1,
        role: Role | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Prepare it; nothing is connected yet.

        Args:
            url: an address at the endpoint.
            timeout_s: time for one request and its answer.
            context: TLS with whom it trusts, or what gives that for each request; None for a way without TLS.
            connections: at one time.
            role: what the peer's certificate must make it; None for a peer that needs none of ours.
            guard: the list of ways out; None allows this endpoint and no other.

        Raises:
            InputError: ``url`` is no address.
        """
        self._endpoint = endpoint_of(url)
        self._guard = guard if guard is not None else guard_for(url)
        self._context = context
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))
        self._tls = tls_class(self._guard, self._endpoint, role)

    def tls(self) -> ssl.SSLContext | bool:
        """Give what the next request is to use; another context than before makes a new connection."""
        if self._context is None:
            return True
        context = self._context() if callable(self._context) else self._context
        context.sslobject_class = self._tls
        return context

    def _open_socket(self, found: aiohttp.AddrInfoType) -> socket.socket:
        """Open the socket of a connection, if its address is the endpoint's.

        Raises:
            PermissionError: it is not.
        """
        family, kind, protocol, _, address = found
        with _as_os_error():
            self._guard.admit(self._endpoint, str(address[0]), int(address[1]))
        return socket.socket(family, kind, protocol)

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                keepalive_timeout=60,
                resolver=_Resolver(self._guard, self._endpoint),
                socket_factory=self._open_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()


class _Resolver(AbstractResolver):
    """Gives the addresses of one endpoint, as the list of ways out has them.

    Args:
        guard: the list.
        endpoint: the endpoint.
    """

    def __init__(self, guard: Guard, endpoint: Endpoint) -> None:
        """Take both."""
        self._guard, self._endpoint = guard, endpoint

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give them.

        Raises:
            PermissionError: the endpoint is not allowed, or its name leads elsewhere.
        """
        with _as_os_error():
            addresses = await asyncio.to_thread(self._guard.addresses, self._endpoint)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    @override
    async def close(self) -> None:
        """Have nothing to close."""


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Make our errors into those of a connection that fails."""
    try:
        yield
    except ColdsealError as fault:
        raise PermissionError(errno.EACCES, str(fault)) from fault


async def read_answer(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read an answer, and no more than an answer may have.

    Raises:
        InputError: it is longer than ``limit`` bytes.
    """
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > limit:
            response.close()
            raise InputError("answer", "length", len(found), f"at most {limit} bytes")
    return bytes(found)
