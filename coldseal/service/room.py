"""Room for bodies: bytes and callers at one time are bounded; who does not fit waits unread or is put off.

Reads no body and answers nobody: whoever reads is told by `BodyError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from coldseal.errors import ColdsealError


class BodyError(ColdsealError):
    """A body that is not read to its end; ``status`` says why."""

    def __init__(self, status: HTTPStatus, error: str, detail: str) -> None:
        """Keep the answer."""
        self.status = status
        self.error = error
        self.detail = detail
        super().__init__(detail)


class Room:
    """Memory for bodies, shared by all callers.

    Args:
        limit: bytes in it at one time.
        most: bodies that may be in it or wait for it at one time.
    """

    def __init__(self, limit: int, most: int) -> None:
        """Start with nothing taken."""
        self._limit = limit
        self._most = most
        self._taken = 0
        self._inside = 0
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Wait for room, and give it back at the end; what is larger than all room goes alone.

        Raises:
            BodyError: too many are in it or wait; the body was not read.
        """
        if self._inside >= self._most:
            raise BodyError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", f"{self._most} requests are being taken")
        self._inside += 1
        try:
            async with self._hold(size):
                yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def _hold(self, size: int) -> AsyncIterator[None]:
        """Wait for so many bytes of room."""
        async with self._freed:
            await self._freed.wait_for(lambda: not self._taken or self._taken + size <= self._limit)
            self._taken += size
        try:
            yield
        finally:
            async with self._freed:
                self._taken -= size
                self._freed.notify_all()
