"""Waits for a call that a chip or a token may delay: in a thread of its own, and no longer than a limit.

The loop goes on meanwhile. A call that never returns keeps its thread, but neither whoever waits nor the end
of the program.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from coldseal.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

LIMIT_S: Final = 10.0
"""Longest time that a chip or a token may take."""


async def beside_the_loop(call: Callable[[], Answer], *, limit_s: float = LIMIT_S) -> Answer:
    """Give a call's answer, or raise what it raised.

    Raises:
        UnavailableError: there was none within the limit.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Answer] = loop.create_future()

    def tell(put: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if found.done() else put())

    def run() -> None:
        try:
            answer = call()
        except Exception as error:  # noqa: BLE001 # a driver's, of any kind: raised where it is waited for
            raised = error
            tell(lambda: found.set_exception(raised))
        else:
            tell(lambda: found.set_result(answer))

    threading.Thread(target=run, name="coldseal-hardware", daemon=True).start()
    try:
        async with asyncio.timeout(limit_s):
            return await found
    except TimeoutError as error:
        raise UnavailableError("the chip or token", f"no answer within {limit_s:g} s") from error
