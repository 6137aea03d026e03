"""The programs of a peer at the edge, started, killed and started again; and the line behind them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.programs import Program, kill
from coldseal.demo.line import Line

_SYNCS = "fsync,fdatasync,sync,msync"


class Wire:
    """A line to a port that can be cut, in a thread of its own; a context manager."""

    def __init__(self, target_port: int) -> None:
        """Relay to a port."""
        self._line = Line(target_port)
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._line.port

    def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        self._loop.call_soon_threadsafe(self._line.cut)

    def restore(self) -> None:
        """Take connections again."""
        self._loop.call_soon_threadsafe(self._line.restore)

    def _serve(self) -> None:
        """Relay until told to end."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._relay())
        self._loop.close()

    async def _relay(self) -> None:
        """Hold the line."""
        async with self._line:
            self._is_up.set()
            await self._end.wait()

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        self._is_up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


Start = Callable[[], AbstractContextManager[Program]]


@dataclass
class Edge:
    """The programs between sensors and line: a power cut takes all of them at once."""

    starts: Sequence[Start]
    programs: list[Program] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start them, one after the other."""
        self._stack = ExitStack()
        self.programs = []
        for start in self.starts:
            self.programs.append(self._stack.enter_context(start()))

    @contextlib.contextmanager
    def started(self) -> Iterator[Self]:
        """Start them, and stop them in the end."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def kill(self) -> None:
        """SIGKILL all of them."""
        for program in self.programs:
            kill(program)
        self._stack.close()

    def stop(self) -> None:
        """Stop them in order."""
        self._stack.close()

    def cpu_s(self) -> float:
        """Processor time that they have used."""
        return sum(program.cpu_s() for program in self.programs)

    def memory_mb(self) -> float:
        """Memory of all of them, each shared page once for each program."""
        return sum(program.shared_out_mb() for program in self.programs)

    def syncs(self, during: Callable[[], object], trace: Path) -> int:
        """Count the calls that make data durable while something is done."""
        members = [str(member) for program in self.programs for member in program.members()]
        pids = [part for member in members for part in ("-p", member)]
        command = [
            "strace",
            "-f",
            "-qq",
            "-e",
            f"trace={_SYNCS}",
            "-e",
            "signal=none",
            "-o",
            str(trace),
            *pids,
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            time.sleep(1.0)
            try:
                during()
            finally:
                process.terminate()
        return sum("sync(" in line and "resumed" not in line for line in trace.read_text().splitlines())
