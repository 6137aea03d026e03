"""The HTTPS way to a log's copy at the service: files of the static layout, asked for one by one.

Promises what `https` promises of the peer, and that no answer is longer than a file of the layout may be.
Retries nothing and believes nothing: `coldseal.gateway.copying` holds each file against the cosigned tree.
"""

from __future__ import annotations

import ssl
import zlib
from http import HTTPStatus
from typing import Final

import aiohttp

from coldseal.core.log.checkpoint import MAX_NOTE
from coldseal.core.log.record import MAX_ENTRY
from coldseal.core.log.tiles import WIDTH
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.http import Way, read_answer

MAX_FILE: Final = max(MAX_NOTE, WIDTH * (MAX_ENTRY + 2))
"""Bytes of the longest file: a bundle of the longest entries."""

CONNECTIONS: Final = 4
"""Files that are asked for at one time."""

_WHAT: Final = "the service's copy"
_GZIP: Final = 16 + zlib.MAX_WBITS


class CopyChannel(Way):
    """The way to the copy of one log; used as ``async with CopyChannel(...)``."""

    def __init__(
        self,
        url: str,
        origin: str,
        context: ssl.SSLContext,
        *,
        timeout_s: float,
        is_packed: bool = False,
        guard: Guard | None = None,
    ) -> None:
        """Prepare it.

        Args:
            url: the service, as ``https://host:port``.
            origin: the log.
            context: shows our certificate and trusts only the service's CA.
            timeout_s: time for one file.
            is_packed: ask for bundles in gzip: for a slow line.
            guard: the list of ways out.
        """
        self._url = f"{url.rstrip('/')}/logs/{origin}/"
        self._headers = {"Accept-Encoding": "gzip" if is_packed else "identity"}
        super().__init__(
            url, timeout_s=timeout_s, context=context, connections=CONNECTIONS, role="service", guard=guard
        )

    async def get(self, path: str) -> bytes | None:
        """Give a file; None if the service has no such file.

        Raises:
            UnavailableError: the service is away, does not let us read, or its answer makes no sense.
        """
        try:
            async with self._session.get(
                self._url + path, headers=self._headers, allow_redirects=False, ssl=self.tls()
            ) as response:
                found = await read_answer(response, MAX_FILE)
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                if response.status != HTTPStatus.OK:
                    raise UnavailableError(_WHAT, f"status {response.status} for {path}: {_said(found)}")
                if response.headers.get("Content-Encoding") == "gzip":
                    return _unpacked(found)
                return found
        except TimeoutError as fault:
            raise UnavailableError(_WHAT, f"no answer in time for {path}") from fault
        except (InputError, aiohttp.ClientError, OSError) as fault:
            raise UnavailableError(_WHAT, str(fault) or type(fault).__name__) from fault


def _said(body: bytes) -> str:
    """Show the beginning of an answer that is no file."""
    return body[:200].decode(errors="replace")


def _unpacked(content: bytes) -> bytes:
    """Unpack gzip, and no more of it than a file may have.

    Raises:
        UnavailableError: it is none, or too long.
    """
    unpacker = zlib.decompressobj(_GZIP)
    try:
        found = unpacker.decompress(content, MAX_FILE)
    except zlib.error as fault:
        raise UnavailableError(_WHAT, f"an answer that is no gzip: {fault}") from fault
    if not unpacker.eof:
        raise UnavailableError(_WHAT, "a packed answer that is cut, or too long")
    return found
