"""The HTTP way to a witness: a checkpoint is posted, whatever comes back becomes an `Answer`.

A witness is known by its key, which its answer must prove; TLS shows the host, and no role is asked of it,
because a public witness has none. Nothing secret is posted. Retries nothing: that is `witnesses`.
"""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Final, Self

import aiohttp

from coldseal.core.log.cosigning import Answer, Nothing, parse_answer
from coldseal.errors import InputError
from coldseal.gateway.uplink.https import CONNECT_S, read_answer

PATH: Final = "/add-checkpoint"


class WitnessChannel:
    """The way to one witness; used as ``async with WitnessChannel(...)``."""

    def __init__(self, url: str, context: ssl.SSLContext, *, timeout_s: float) -> None:
        """Prepare it.

        Args:
            url: the witness's submission prefix.
            context: TLS with its CA; for an address on loopback without TLS it is not used.
            timeout_s: time for one checkpoint and its answer.
        """
        self._url = url.rstrip("/") + PATH
        self._context = context
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))

    async def __aenter__(self) -> Self:
        """Open the session; nothing is connected yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context, limit=1, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._session.close()

    async def post(self, body: bytes) -> Answer:
        """Post a checkpoint and read what the witness says; `Nothing` for everything that is no answer."""
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                return parse_answer(response.status, await read_answer(response))
        except TimeoutError as fault:
            return Nothing(str(fault) or "no answer in time")
        except (InputError, aiohttp.ClientError, OSError) as fault:
            return Nothing(str(fault) or type(fault).__name__)
