"""The processes beside the intake, run by themselves as the gateway runs them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal


@asynccontextmanager
async def running(
    part: Literal["uplink", "routing"], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the process of a part, and end it by its own id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"coldseal.gateway.{part}.process",
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
