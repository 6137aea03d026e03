"""The processes beside the intake, run by themselves as the gateway runs them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from coldseal.gateway.handing import Handout
from coldseal.gateway.uplink.companion import FILES
from tests.trial import STORE_KEY


@asynccontextmanager
async def running(
    part: Literal["uplink", "routing"], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the process of a part, give it the keys of its files, and end it by its own id."""
    keys = Handout(STORE_KEY, FILES[part], part=part)
    with keys.open() as asking:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"coldseal.gateway.{part}.process",
            str(asking.fileno()),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(asking.fileno(),),
        )
    try:
        yield process
    finally:
        keys.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()
