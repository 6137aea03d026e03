"""A log file of bounded size, for programs whose stderr nobody keeps.

Promise: whoever logs neither waits for the disk nor hears of its faults: lines wait in memory, bounded, and
a thread writes them. What had to be left out is counted, and said once lines are taken again. At most `keep`
older files stay beside the newest. One process writes a file.
"""

from __future__ import annotations

import io
import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from coldseal.errors import OperatorError
from coldseal.observe import events, logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAITING: Final = 4_096
"""Lines that may wait for the disk."""

_END_S: Final = 2.0
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_log = logs.Log("log")


class LogFile(io.TextIOBase):
    """A stream for `logs.redirect`.

    Args:
        path: the newest file; older ones have `.1`, `.2` … behind it.
        max_bytes: a file is put aside before it grows beyond this.
        keep: how many are kept aside.
        write: writes to an open file.

    Raises:
        OperatorError: the file cannot be written.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, keep: int, write: Callable[[int, bytes], int] = os.write
    ) -> None:
        """Open the file, and start the thread."""
        self._write = write
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._lines: Queue[bytes] = Queue(WAITING)
        self._lost, self._is_failing = 0, False
        self._thread: threading.Thread | None = None
        try:
            self._file = os.open(path, _FLAGS, 0o640)
            self._bytes = os.fstat(self._file).st_size
        except OSError as error:
            what = f"log.file {path} cannot be written: {error.strerror}"
            raise OperatorError(what, "Name a file in a folder that this user may write") from error
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    @override
    def write(self, text: str) -> int:
        """Take a line, unless too many wait."""
        if self._lost and not self._is_failing and not self._lines.full():
            count, self._lost = self._lost, 0
            _log.emit(events.LOG_LINES_LOST, count=count)  # comes back here, with nothing lost to tell
        try:
            self._lines.put_nowait(text.encode())
        except Full:
            self._lost += 1
        return len(text)

    @override
    def close(self) -> None:
        """Write what waits, for a moment at most."""
        if self._thread is not None:  # else the file was never opened, and the interpreter tidies up
            with suppress(Full):
                self._lines.put(b"", timeout=_END_S)
            self._thread.join(_END_S)
        super().close()

    def _work(self) -> None:
        """Write line after line until an empty one comes."""
        while line := self._lines.get():
            try:
                self._put(line)
                self._is_failing = False
            except OSError:  # no disk, or a full one: the next line is tried anew
                self._lost, self._is_failing = self._lost + 1, True
        os.close(self._file)

    def _put(self, line: bytes) -> None:
        """Write one line, into a new file if it does not fit."""
        if self._bytes and self._bytes + len(line) > self._max_bytes:
            self._turn()
        self._bytes += self._write(self._file, line)

    def _turn(self) -> None:
        """Put the file aside, and begin a new one; the oldest goes."""
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._keep + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            with suppress(FileNotFoundError):
                newer.replace(older)
        if not self._keep:
            self._path.unlink(missing_ok=True)
        fresh = os.open(self._path, _FLAGS, 0o640)
        os.close(self._file)
        self._file, self._bytes = fresh, os.fstat(fresh).st_size


@contextmanager
def writing_to(path: Path | None, *, max_mb: int, keep: int, part: str = "") -> Iterator[None]:
    """Write events to a file as long as this is open; None leaves them where they go.

    Args:
        path: the file.
        max_mb: size of one file at most, in MiB.
        keep: older files that stay.
        part: name of a process that writes a file of its own beside it.

    Raises:
        OperatorError: the file cannot be written.
    """
    if path is None:
        yield
        return
    own = path.with_suffix(f".{part}{path.suffix}") if part else path
    file = LogFile(own, max_bytes=max_mb * 1024 * 1024, keep=keep)
    try:
        with logs.redirected(file):
            yield
    finally:
        file.close()
