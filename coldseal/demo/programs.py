"""The real programs, started by their command line as processes of their own.

Each has its own process group, so that SIGKILL takes its workers too, and its output in a file of
the work folder. Everything started is stopped by its own id when the block ends, however it ends.
Does not decide when: that is the scenario's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Self

import aiohttp

from coldseal.errors import OperatorError, UnavailableError

_STOP_S = 10.0
_POLL_S = 0.05
_TAIL_LINES = 8
_FIRST_PORT, _LAST_PORT = 10_000, 65_535

COLDSEAL = (sys.executable, "-m", "coldseal.cli.main")
"""The command of this very installation."""


class Program:
    """One program; used as ``async with Program(...)``, which stops it at the end."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, health_port: int) -> None:
        """Prepare ``coldseal ARGUMENTS``; its output goes to ``NAME.log`` in ``folder``."""
        self.name = name
        self.log = folder / f"{name}.log"
        self.command: tuple[str, ...] = COLDSEAL
        self._arguments = tuple(arguments)
        self._health = f"http://127.0.0.1:{health_port}"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start it; it is not ready yet."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    @property
    def url(self) -> str:
        """Where its health, metrics and status are served."""
        return self._health

    def has_ended(self) -> bool:
        """Whether it was started and runs no more."""
        return self._process is not None and self._process.returncode is not None

    async def start(self) -> None:
        """Start the process, appending to its log."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, *self._arguments, stdout=output, stderr=output, start_new_session=True
            )

    async def ready(self, http: aiohttp.ClientSession, *, within_s: float) -> None:
        """Wait until it says that it is ready.

        Raises:
            UnavailableError: it ended, or was not ready in time; the cause shows the end of its log.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while loop.time() < deadline:
            if self.has_ended():
                raise UnavailableError(self.name, f"it ended: {self.tail()}")
            if await _answers(http, f"{self._health}/readyz"):
                return
            await asyncio.sleep(_POLL_S)
        raise UnavailableError(self.name, f"not ready within {within_s:g} s: {self.tail()}")

    async def kill(self) -> None:
        """SIGKILL the whole process group, as a crash would."""
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and kill what is left after a while."""
        process = self._process
        if process is None:
            return
        try:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
        except TimeoutError:
            await self.kill()
        finally:
            _signal_group(process.pid, signal.SIGKILL)

    def tail(self) -> str:
        """The last lines of its output."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(lines) or "no output"


async def run_command(*arguments: str) -> tuple[int, str]:
    """Run ``coldseal ARGUMENTS`` to its end; answers its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *COLDSEAL, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, output.decode(errors="replace")


async def prepare(*arguments: str) -> str:
    """Run a command that must succeed.

    Raises:
        OperatorError: it did not; the hint is its output.
    """
    code, output = await run_command(*arguments)
    if code:
        raise OperatorError(f"`coldseal {' '.join(arguments)}` exited with {code}", output.strip())
    return output


def free_ports(count: int) -> list[int]:
    """Find ports on loopback that nothing listens on, and that the system gives to nobody by itself.

    A program binds its port later, and again after a restart: meanwhile any connection that goes out could
    be given a port of the system's own range.
    """
    low, high = _given_by_the_system()
    every = range(_FIRST_PORT, _LAST_PORT + 1)
    choice = [port for port in every if not low <= port <= high] or every
    found: list[int] = []
    for port in SystemRandom().sample(choice, len(choice)):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def _given_by_the_system() -> tuple[int, int]:
    """Give the range from which the system takes ports for connections that go out."""
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(low), int(high)


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    """Ask once whether a page answers 200."""
    try:
        async with http.get(url) as response:
            return response.status == HTTPStatus.OK
    except (aiohttp.ClientError, TimeoutError):
        return False


def _signal_group(group: int, number: signal.Signals) -> None:
    """Signal a whole process group; one that is gone already is fine."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
