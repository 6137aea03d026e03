"""The routes' process, started as the gateway does, and killed at any point."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the process, and end it by its own id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "coldseal.gateway.routing.process",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def live_until(config: Path, is_so: Callable[[], bool], *, is_killed: bool) -> int:
    """Let one process live until something is so; then kill it, or let it end in order. Gives its code."""
    async with program(str(config)) as process:
        await until(lambda: is_so() or process.returncode is not None)
        assert process.returncode is None
        if is_killed:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        return await process.wait()
