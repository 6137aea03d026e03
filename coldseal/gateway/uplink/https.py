"""The HTTPS way to the service: a batch goes up, whatever comes back becomes an `Answer`.

Promises that nothing is sent before the peer has proven, over TLS 1.3, to be the service; that every wait
has an end; and that no proxy, cookie or redirect takes part. Retries nothing: that is the runner's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from typing_extensions import override

from coldseal.core.log.delivery.wire import BATCH_TYPE, MAX_ANSWER, Answer, Kind, Unavailable, parse_answer
from coldseal.errors import InputError
from coldseal.gateway.uplink.http import Way, read_answer
from coldseal.identity.peer import RoleError, require_role

PATH: Final = "/v1/entries"
CONNECTIONS: Final = 2
"""One for the batch under way, one for the batch that follows it."""
PART_BYTES: Final = 256 * 1024


class ServiceTls(ssl.SSLObject):
    """A TLS session whose handshake succeeds only with a service, not just with any member of the CA."""

    @override
    def do_handshake(self) -> None:
        """Shake hands, then look who it is; TLS 1.3 sends no request before this has returned.

        Raises:
            ssl.SSLCertVerificationError: the peer is a gateway, a device or something else.
        """
        super().do_handshake()
        try:
            require_role(self.getpeercert(binary_form=True), "service")
        except (RoleError, InputError) as fault:
            raise ssl.SSLCertVerificationError(str(fault)) from fault


class Channel(Way):
    """The way to one service; used as ``async with Channel(...)``."""

    def __init__(self, url: str, context: ssl.SSLContext, *, timeout_s: float) -> None:
        """Prepare it.

        Args:
            url: the service, as ``https://host:port``.
            context: shows our certificate and trusts only the service's CA.
            timeout_s: time for one batch and its answer.
        """
        context.sslobject_class = ServiceTls
        self._url = url.rstrip("/") + PATH
        super().__init__(timeout_s=timeout_s, context=context, connections=CONNECTIONS)

    async def post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Send one batch and read what the service says.

        Args:
            body: the batch.
            left: set once all of it has been handed to the network.

        Returns:
            The answer; `Unavailable` for everything that is none.
        """
        try:
            headers = {"Content-Type": BATCH_TYPE, "Content-Length": str(len(body))}
            async with self._session.post(
                self._url, data=_parts(body, left), headers=headers, allow_redirects=False
            ) as response:
                found = await read_answer(response, MAX_ANSWER)
                answer = parse_answer(response.status, found)
        except TimeoutError as fault:
            return Unavailable(Kind.TIMEOUT, str(fault) or "no answer in time")
        except InputError as fault:
            return Unavailable(Kind.REFUSED, str(fault))
        except (aiohttp.ClientError, OSError) as fault:
            return Unavailable(Kind.UNREACHABLE, str(fault) or type(fault).__name__)
        return answer


async def _parts(body: bytes, left: asyncio.Event) -> AsyncIterator[memoryview]:
    """Give a body part by part; the next one is asked for once the network has taken the last."""
    whole = memoryview(body)
    for at in range(0, len(body), PART_BYTES):
        yield whole[at : at + PART_BYTES]
    left.set()
