"""The HTTP way to a timestamp authority: a request is posted, its answer comes back as it is.

The answer proves itself, so TLS is welcome and not needed. Retries nothing and reads nothing into the answer:
that is `timestamps`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import aiohttp

from coldseal.core.log.delivery.wire import Kind, Unavailable
from coldseal.core.log.timestamp import MAX_RESPONSE, REQUEST_TYPE, RESPONSE_TYPE
from coldseal.errors import InputError
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.guarded import authority_context
from coldseal.gateway.uplink.http import Way, read_answer

_OK: Final = 200
_BUSY: Final = frozenset((408, 425, 429, 500, 502, 503, 504))


class AuthorityChannel(Way):
    """The way to one authority; used as ``async with AuthorityChannel(...)``."""

    def __init__(
        self, url: str, *, timeout_s: float, ca: Path | None = None, guard: Guard | None = None
    ) -> None:
        """Prepare it.

        Args:
            url: the authority, as ``http`` or ``https``.
            timeout_s: time for one request and its answer.
            ca: CA certificates of its address, PEM; None for those of the system.
            guard: the list of ways out.

        Raises:
            OSError: the CA certificates cannot be read.
        """
        self._url = url
        context = authority_context(ca) if url.startswith("https:") else None
        super().__init__(url, timeout_s=timeout_s, context=context, guard=guard)

    async def post(self, request: bytes) -> bytes | Unavailable:
        """Post a request; `Unavailable` for everything that is no timestamp response."""
        headers = {"Content-Type": REQUEST_TYPE, "Accept": RESPONSE_TYPE}
        try:
            async with self._session.post(
                self._url, data=request, headers=headers, allow_redirects=False, ssl=self.tls()
            ) as response:
                if response.status != _OK:
                    kind = Kind.BUSY if response.status in _BUSY else Kind.REFUSED
                    return Unavailable(kind, f"status {response.status}")
                if response.content_type != RESPONSE_TYPE:
                    return Unavailable(Kind.REFUSED, f"an answer of type {response.content_type}")
                return await read_answer(response, MAX_RESPONSE)
        except TimeoutError as fault:
            return Unavailable(Kind.TIMEOUT, str(fault) or "no answer in time")
        except InputError as fault:
            return Unavailable(Kind.REFUSED, str(fault))
        except (aiohttp.ClientError, OSError) as fault:
            return Unavailable(Kind.UNREACHABLE, str(fault) or type(fault).__name__)
