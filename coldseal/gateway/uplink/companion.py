"""Keeps the process of uplink or routes running beside the intake, and tells it when the log has grown.

The process is started again alone whenever it ends; it ends by itself when the intake is gone, because
its standard input closes. A wrong configuration is reported each time, and tried again: it may be mended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import TYPE_CHECKING, Final, Literal

from coldseal.gateway.egress import IGNORED
from coldseal.gateway.handing import Handout
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
GOOD_RUN_S: Final = 60.0
"""A process that ran so long is started again without a longer pause."""

FILES: Final = {"uplink": frozenset({"uplink"}), "routing": frozenset({"routes", "uplink"})}
"""Files beside the log's that are the business of each process."""

END_S: Final = 5.0
"""Time that the process has to end by itself."""

_log = Log("gateway.uplink")


class Companion:
    """One such process.

    Args:
        arguments: configuration file and overrides.
        store_key: stays here; the process gets the keys of single files.
        part: whose process it is: the uplink's, or that of the routes.
    """

    def __init__(
        self, arguments: Sequence[str], store_key: bytes, part: Literal["uplink", "routing"] = "uplink"
    ) -> None:
        """Take the arguments; nothing runs yet."""
        self._command: tuple[str, ...] = (sys.executable, "-m", f"coldseal.gateway.{part}.process")
        self._arguments = tuple(arguments)
        self._part = part
        self._keys = Handout(store_key, FILES[part], part=part)
        self._environment = environment()
        self._process: Process | None = None
        self._told = 0
        self._allowed = asyncio.Event()
        self._allowed.set()

    async def run(self) -> None:
        """Keep the process running until cancelled."""
        loop, pause_s = asyncio.get_running_loop(), FIRST_PAUSE_S
        while True:
            await self._allowed.wait()
            began = loop.time()
            self._process = process = await self._start()
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await end(process)
                raise
            finally:
                self._keys.close()
            if not self._allowed.is_set():
                continue
            _log.emit(events.PART_RESTARTED, process=self._part, cause=f"it ended with {code}")
            pause_s = FIRST_PAUSE_S if loop.time() - began > GOOD_RUN_S else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _start(self) -> Process:
        """Start the process, with a socket where it asks for the keys of files."""
        with self._keys.open() as asking:
            number = asking.fileno()
            return await asyncio.create_subprocess_exec(
                *(*self._command, str(number), *self._arguments),
                stdin=PIPE,
                env=self._environment,
                pass_fds=(number,),
            )

    def keep_away(self, is_away: bool) -> None:  # noqa: FBT001 -- a fault is begun or ended
        """Kill the process, as a line is cut in mid-flow, and start none, or start it again: for a drill."""
        if not is_away:
            self._told = 0
            self._allowed.set()
            return
        self._allowed.clear()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def renew(self) -> bool:
        """Have every certificate renewed at once; says whether there is a process that hears it."""
        return self.say(b"renew")

    def say(self, word: bytes) -> bool:
        """Say one word to the process; says whether there is one that hears it."""
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None:
            return False
        process.stdin.write(word + b"\n")
        return True

    def tell(self, size: int) -> None:
        """Say that the log has grown to ``size``; nothing is said twice."""
        process = self._process
        if size == self._told or process is None or process.returncode is not None or process.stdin is None:
            return
        if not process.stdin.is_closing():
            process.stdin.write(b"%d\n" % size)
            self._told = size


def environment() -> dict[str, str]:
    """Give the environment of a process beside the intake: nothing in it can lead it elsewhere."""
    return {name: value for name, value in os.environ.items() if name not in IGNORED}


async def end(process: Process) -> None:
    """Close the process's standard input, and kill it if that does not end it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
