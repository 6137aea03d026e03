"""Keeps the process running that seals large groups beside the intake, and hands it what to seal.

It is started by the first large group, which does not wait for it, and ended when none comes for a while: a
gateway with little to do spares its memory. It can be lost at any time: whoever waited is told.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from coldseal.gateway.store.sealing_process import LENGTH_BYTES, UNSIGNED, pack
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REST_S: Final = 10.0
"""After so long without a load, the process is ended."""

AGAIN_S: Final = 1.0
"""The least time between two starts."""

_READ_BYTES: Final = 1 << 20
_MODULE: Final = "coldseal.gateway.store.sealing_process"

_log = Log("gateway.sealing")


class SealingProcess:
    """The process, and the socket to it on the running loop.

    Args:
        uri: the record key.
        base: the folder that a relative ``uri`` starts from.
        is_each_signed: a signature for each entry.

    Attributes:
        is_ready: a task may be sent.
        restarts: how often the process was lost.
    """

    def __init__(self, uri: str, base: Path, *, is_each_signed: bool) -> None:
        """Take the arguments; nothing runs yet."""
        mode = () if is_each_signed else (UNSIGNED,)
        self._command = (sys.executable, "-m", _MODULE, uri, str(base), *mode)
        self._process: subprocess.Popen[bytes] | None = None
        self._answered: Callable[[bytes], None]
        self._lost: Callable[[], None]
        self._socket: socket.socket
        self._received = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._used_at = self._started_at = float("-inf")
        self._open_tasks = 0
        self.is_ready = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The number of the process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self, answered: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Note whom to tell: each answer goes to ``answered``, and ``lost`` is told when it has ended."""
        self._answered, self._lost = answered, lost

    def wake(self) -> None:
        """Keep the process, or start it unless it was a moment ago; then it is not ready at once."""
        loop = asyncio.get_running_loop()
        self._used_at = loop.time()
        if self._process is not None or self._used_at - self._started_at < AGAIN_S:
            return
        self._started_at = self._used_at
        self._socket, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(self._command, stdin=end, stdout=end)  # noqa: S603 -- our own
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._read)

    def rest(self) -> None:
        """End the process if there was no load for a while."""
        is_idle = self._process is not None and not self._open_tasks
        if is_idle and asyncio.get_running_loop().time() - self._used_at > REST_S:
            self.close()

    def send(self, task: bytes) -> None:
        """Hand a task over; the process must be ready."""
        self._open_tasks += 1
        is_idle = not self._unsent
        self._unsent.append(memoryview(pack(task)))
        if is_idle and not self._write():
            asyncio.get_running_loop().add_writer(self._socket, self._go_on)

    def _write(self) -> bool:
        """Send what the socket takes; says whether that is all there is."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:  # it has ended: reading shows that too, and whoever waits is told then
                self._unsent.clear()
                return True
            self._unsent[0] = self._unsent[0][sent:]
            if not self._unsent[0]:
                self._unsent.popleft()
        return True

    def _go_on(self) -> None:
        """The socket takes more."""
        if self._write():
            asyncio.get_running_loop().remove_writer(self._socket)

    def _read(self) -> None:
        """Take what has come, and pass on each answer that is whole."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._ended()
            return
        received = self._received
        received += data
        while len(received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES])
            if len(received) < end:
                return
            answer = bytes(received[LENGTH_BYTES:end])
            del received[:end]
            if not answer:
                self.is_ready = True
                continue
            self._open_tasks -= 1
            self._answered(answer)

    def _ended(self) -> None:
        """The process has ended by itself."""
        code = self._end()
        self.restarts += 1
        _log.emit(events.PART_RESTARTED, process="sealing", cause=f"it ended with {code}")
        self._lost()

    def _end(self) -> int:
        """Close the socket, which ends the process, and give its exit code."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        self._received.clear()
        self._unsent.clear()
        self.is_ready, self._open_tasks = False, 0
        process, self._process = self._process, None
        return 0 if process is None else process.wait()

    def renew(self) -> None:
        """End the process, whose key has changed; nothing may be under way."""
        self.close()
        self._started_at = float("-inf")

    def close(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._end()
