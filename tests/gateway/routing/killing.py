"""The routes' process, started as the gateway does, and killed at any point."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.gateway.beside import running
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


program = partial(running, "routing")
"""Runs the process."""


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
