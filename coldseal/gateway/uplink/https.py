"""The HTTPS ways to the service: a batch goes up, or notices; whatever comes back becomes an answer.

Promises that nothing is sent before the peer has proven, over TLS 1.3, to be the service; that every wait
has an end; and that no proxy, cookie or redirect takes part. Retries nothing: that is the runner's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from coldseal.core.log.delivery.notices import NOTICE_TYPE, Told, parse_told
from coldseal.core.log.delivery.wire import (
    BATCH_TYPE,
    MAX_ANSWER,
    Answer,
    Kind,
    Receipt,
    Unavailable,
    parse_answer,
)
from coldseal.errors import ColdsealError, InputError
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.posting import Post, Posting, Reply

PATH: Final = "/v1/entries"
NOTICE_PATH: Final = "/v1/notices"
CONNECTIONS: Final = 2
"""One for the batch under way, one for the batch that follows it."""

Context = Callable[[], ssl.SSLContext]
"""Gives the TLS context for the next connection."""


class ServiceWay:
    """A way to one service; used as ``async with``, which closes its connections at the end."""

    def __init__(
        self,
        url: str,
        context: Context | ssl.SSLContext,
        *,
        timeout_s: float,
        connections: int = 1,
        guard: Guard | None = None,
    ) -> None:
        """Prepare it.

        Args:
            url: the service, as ``https://host:port``.
            context: shows our certificate and trusts only the service's CA; or what gives that.
            timeout_s: time for one request and its answer.
            connections: at one time.
            guard: the list of ways out.
        """
        self._posting = Posting(
            url,
            context,
            role="service",
            timeout_s=timeout_s,
            longest=MAX_ANSWER,
            connections=connections,
            guard=guard,
        )

    async def __aenter__(self) -> Self:
        """Nothing is connected before the first post."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._posting.close()

    async def ask(
        self, path: str, kind: str, body: bytes, left: asyncio.Event, *, is_asked_first: bool = False
    ) -> Reply | Unavailable:
        """Post a body of a media type and read what comes back; never raises.

        Args:
            path: where to.
            kind: its media type.
            body: what to post.
            left: set once all of it has been handed to the network.
            is_asked_first: the service is asked before the body goes (RFC 9110 10.1.1).
        """
        try:
            return await self._posting.send(Post(path, kind, body, left, is_asked_first=is_asked_first))
        except TimeoutError as fault:
            return Unavailable(Kind.TIMEOUT, str(fault) or "no answer in time")
        except InputError as fault:
            return Unavailable(Kind.REFUSED, str(fault))
        except (ColdsealError, OSError) as fault:
            return Unavailable(Kind.UNREACHABLE, str(fault) or type(fault).__name__)


class Channel(ServiceWay):
    """The way of batches; used as ``async with Channel(...)``."""

    def __init__(
        self, url: str, context: Context | ssl.SSLContext, *, timeout_s: float, guard: Guard | None = None
    ) -> None:
        """Prepare it; the arguments are those of `ServiceWay`."""
        self._is_welcome = False
        super().__init__(url, context, timeout_s=timeout_s, connections=CONNECTIONS, guard=guard)

    async def post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Send one batch and read what the service says.

        Unless the last batch got its receipt, the service is asked first: one that has no room says so, and
        nothing was sent in vain.

        Args:
            body: the batch.
            left: set once all of it has been handed to the network.

        Returns:
            The answer; `Unavailable` for everything that is none.
        """
        reply = await self.ask(PATH, BATCH_TYPE, body, left, is_asked_first=not self._is_welcome)
        answer = _read(reply) if isinstance(reply, Reply) else reply
        self._is_welcome = isinstance(answer, Receipt)
        return answer


class NoticeChannel(ServiceWay):
    """The way of notices, which never waits behind a batch; used as ``async with NoticeChannel(...)``."""

    async def post(self, body: bytes) -> Told | Unavailable:
        """Send notices and read what the service says; `Unavailable` for everything that is no answer."""
        reply = await self.ask(NOTICE_PATH, NOTICE_TYPE, body, asyncio.Event())
        if isinstance(reply, Unavailable):
            return reply
        try:
            return parse_told(*reply)
        except InputError as fault:
            return Unavailable(Kind.REFUSED, str(fault))


def _read(reply: Reply) -> Answer:
    """Read the answer to a batch."""
    try:
        return parse_answer(*reply)
    except InputError as fault:
        return Unavailable(Kind.REFUSED, str(fault))
