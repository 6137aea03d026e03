"""Reads a request's body: only of the announced type and length, and only within its time.

Nothing is read of a body that will not be taken. Who may send one, and what is in it, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from coldseal.service.room import BodyError


def require_type(request: Request, expected: str) -> None:
    """Check the media type of a body before any of it is read."""
    if request.headers.get("content-type") != expected:
        raise BodyError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", f"expected {expected}")


def announced(request: Request, limit: int) -> int:
    """Check the announced length of a body before any of it is read."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        raise BodyError(HTTPStatus.LENGTH_REQUIRED, "length", "Content-Length is missing")
    if int(length) > limit:
        raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", f"at most {limit} bytes")
    return int(length)


async def read(request: Request, size: int, *, timeout_s: float) -> bytes:
    """Read a body of an announced length, within its time; the server lets no more than that through."""
    try:
        async with asyncio.timeout(timeout_s):
            return b"".join([part async for part in request.stream()])
    except ClientDisconnect as fault:
        raise BodyError(HTTPStatus.BAD_REQUEST, "cut", f"the body ended before its {size} bytes") from fault
    except TimeoutError as fault:
        raise BodyError(HTTPStatus.REQUEST_TIMEOUT, "timeout", "the body came too slowly") from fault
