"""Waiting for something to become true, with a deadline: no test sleeps for a time."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAUSE_S = 0.005


async def until(is_true: Callable[[], bool | Awaitable[bool]], *, within_s: float = 30.0) -> None:
    """Ask again and again until the answer is yes.

    Raises:
        TimeoutError: it was not within ``within_s`` seconds.
    """
    async with asyncio.timeout(within_s):
        while not await _answer(is_true()):  # noqa: ASYNC110 # other programs set no event of ours
            await asyncio.sleep(PAUSE_S)


async def _answer(found: bool | Awaitable[bool]) -> bool:
    """Wait for an answer that is still to come."""
    return await found if inspect.isawaitable(found) else found
