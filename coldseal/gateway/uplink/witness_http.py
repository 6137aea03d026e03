"""The HTTP way to a witness: a checkpoint is posted, whatever comes back becomes an `Answer`.

A witness is known by its key, which its answer must prove; TLS shows the host, and no role is asked of it,
because a public witness has none. Nothing secret is posted. Retries nothing: that is `witnesses`.
"""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp

from coldseal.core.log.cosigning import Answer, Nothing, parse_answer
from coldseal.core.log.delivery.wire import MAX_ANSWER
from coldseal.errors import InputError
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.http import Context, Way, read_answer

PATH: Final = "/add-checkpoint"


class WitnessChannel(Way):
    """The way to one witness; used as ``async with WitnessChannel(...)``."""

    def __init__(
        self, url: str, context: Context | ssl.SSLContext, *, timeout_s: float, guard: Guard | None = None
    ) -> None:
        """Prepare it.

        Args:
            url: the witness's submission prefix.
            context: TLS with its CA, or what gives that; an address without TLS does not use it.
            timeout_s: time for one checkpoint and its answer.
            guard: the list of ways out.
        """
        self._url = url.rstrip("/") + PATH
        super().__init__(url, timeout_s=timeout_s, context=context, guard=guard)

    async def post(self, body: bytes) -> Answer:
        """Post a checkpoint and read what the witness says; `Nothing` for everything that is no answer."""
        try:
            async with self._session.post(
                self._url, data=body, allow_redirects=False, ssl=self.tls()
            ) as response:
                return parse_answer(response.status, await read_answer(response, MAX_ANSWER))
        except TimeoutError as fault:
            return Nothing(str(fault) or "no answer in time")
        except (InputError, aiohttp.ClientError, OSError) as fault:
            return Nothing(str(fault) or type(fault).__name__)
