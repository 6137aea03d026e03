"""Has ended segments archived while the gateway runs: by a short-lived process of low priority.

Promise: acknowledgements never wait for it. It starts a round when a segment has ended, where something still
waits, and now and then. That the archive is lost is said once, and that it is back, once. Decides nothing.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import TYPE_CHECKING, Final, Self

import msgspec

from coldseal.gateway.store.segments import list_segments
from coldseal.gateway.writer import LOG_FOLDER
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig

LONGEST_PAUSE_S: Final = 1800.0
"""A round begins after so long at the latest, for a window may end; pauses double while something waits."""

END_S: Final = 5.0
"""Time that a round has to end when the gateway does."""

_log = Log("gateway.archive")


class Segment(msgspec.Struct):
    """A segment that a round archived or pruned."""

    first: int
    last: int
    name: str


class Answer(msgspec.Struct):
    """What a round says: what it did, what still waits, or why it could do nothing."""

    archived: list[Segment] = []
    pruned: list[Segment] = []
    waiting: int = 0
    damaged: list[str] = []
    error: str = ""


class Archivist:
    """Starts rounds of archiving.

    Args:
        arguments: configuration file and overrides.
        folder: the log's.
        interval_s: shortest time between two rounds.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, interval_s: float) -> None:
        """Take the arguments; nothing runs yet."""
        config, *overrides = arguments
        options = [part for each in overrides for part in ("--set", each)]
        command = ("coldseal.cli.main", "gateway", "archive", config, "run", "--json", "--background")
        self._command = (sys.executable, "-m", *command, *options)
        self._folder = folder
        self._interval_s = interval_s
        self._is_lost = False

    @classmethod
    def of(cls, config: GatewayConfig, arguments: Sequence[str]) -> Self | None:
        """Give the archivist of a gateway; None where no archive is configured."""
        if config.archive.directory is None:
            return None
        return cls(arguments, config.gateway.data / LOG_FOLDER, config.archive.interval_s)

    async def run(self) -> None:
        """Start a round whenever there is reason to, until cancelled."""
        loop, seen, pause_s = asyncio.get_running_loop(), 0, self._interval_s
        due_s = loop.time()
        while True:
            segments = len(list_segments(self._folder))
            if segments != seen or loop.time() >= due_s:
                is_waiting = self._tell(await self._round())
                pause_s = self._interval_s if segments != seen else min(2 * pause_s, LONGEST_PAUSE_S)
                due_s = loop.time() + (pause_s if is_waiting else LONGEST_PAUSE_S)
                seen = segments
            await asyncio.sleep(self._interval_s)

    async def _round(self) -> Answer:
        """Let one process do a round; it is ended with this task."""
        process = await asyncio.create_subprocess_exec(*self._command, stdout=PIPE, stderr=DEVNULL)
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                await _end(process)
        try:
            return msgspec.json.decode(output, type=Answer)
        except msgspec.DecodeError:
            return Answer(error=f"the process ended with {process.returncode}")

    def _tell(self, answer: Answer) -> bool:
        """Say what a round did; gives whether something still waits."""
        for each in answer.archived:
            _log.emit(events.ARCHIVED, first=each.first, last=each.last, archive=each.name)
        for each in answer.pruned:
            _log.emit(events.ARCHIVE_PRUNED, first=each.first, last=each.last, archive=each.name)
        for name in answer.damaged:
            _log.emit(events.ARCHIVE_DAMAGED, file=name)
        if answer.error and not self._is_lost:
            _log.emit(events.ARCHIVE_LOST, error=answer.error)
        elif self._is_lost and not answer.error:
            _log.emit(events.ARCHIVE_BACK, archived=len(answer.archived))
        self._is_lost = bool(answer.error)
        return self._is_lost or answer.waiting > 0


async def _end(process: Process) -> None:
    """Ask a process to end, and kill it if it does not."""
    process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
