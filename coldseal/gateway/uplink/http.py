"""What every HTTP way out of the uplink has in common: one session, bounded waits, bounded answers.

No proxy, cookie or redirect takes part, and nothing is decoded on the way. What is posted, whom it must reach
and what an answer means is the matter of each way.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import aiohttp

from coldseal.errors import InputError

CONNECT_S: Final = 10.0
"""Longest wait for a connection with its handshake."""

Context = Callable[[], ssl.SSLContext]
"""Gives the TLS context for the next connection."""


class Way:
    """A way to one host; used as ``async with``, which closes its connections at the end."""

    def __init__(
        self, *, timeout_s: float, context: Context | ssl.SSLContext | None = None, connections: int = 1
    ) -> None:
        """Prepare it; nothing is connected yet.

        Args:
            timeout_s: time for one request and its answer.
            context: TLS with whom it trusts, or what gives that for each request; None for what the system
                trusts.
            connections: at one time.
        """
        self._context = context
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))

    def tls(self) -> ssl.SSLContext | bool:
        """Give what the next request is to use; another context than before makes a new connection."""
        if self._context is None:
            return True
        return self._context() if callable(self._context) else self._context

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60),
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
