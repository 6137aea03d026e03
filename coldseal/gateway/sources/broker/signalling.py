"""Tells a broker on this machine that its files have changed: SIGHUP, to the process that its pid file names.

Promise: nobody but a Mosquitto is signalled, and what a signal does not make it read is said to a person.
Runs no command, and looks at files only by their status.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import UnavailableError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM: Final = "mosquitto"
_log = Log("gateway.broker")


class Seen(NamedTuple):
    """What identifies a file's content; one that is missing has no inode."""

    inode: int = 0
    mtime_ns: int = 0
    size: int = 0


class Signalling:
    """Watches the broker's files.

    Args:
        pid_file: where the broker has written its process id.
        reloaded: files that it reads again on SIGHUP.
        restarted: files that it reads at its start alone.
        processes: where the system shows its processes.
    """

    def __init__(
        self,
        pid_file: Path,
        reloaded: Sequence[Path],
        restarted: Sequence[Path],
        processes: Path = Path("/proc"),
    ) -> None:
        """Take them as they are now for what the broker has read."""
        self._pid_file, self._processes = pid_file, processes
        self._reloaded, self._restarted = tuple(reloaded), tuple(restarted)
        self._known = {path: _look(path) for path in (*reloaded, *restarted)}
        self._is_settling = self._is_failing = False

    def tick(self) -> None:
        """Look once a second; files that change together are told of together, once they are at rest."""
        changed = [path for path, seen in self._known.items() if _look(path) != seen]
        for path in changed:
            self._known[path] = _look(path)
        for path in self._restarted:
            if path in changed:
                _log.emit(events.BROKER_NEEDS_RESTART, file=str(path))
        if any(path in changed for path in self._reloaded):
            self._is_settling = True
        elif self._is_settling:
            self._is_settling = not self._tell()

    def _tell(self) -> bool:
        """Signal the broker; whether that went well, or there is none to be told."""
        try:
            pid = self._find()
            if pid:
                os.kill(pid, signal.SIGHUP)
        except (OSError, UnavailableError) as error:
            if not self._is_failing:
                self._is_failing = True
                _log.emit(events.BROKER_NOT_SIGNALLED, error=str(error))
            return False
        self._is_failing = False
        if pid:
            _log.emit(events.BROKER_SIGNALLED, pid=pid)
        return True

    def _find(self) -> int:
        """Give the broker's process id; 0 where it does not run: it reads everything when it starts.

        Raises:
            UnavailableError: another program has that id.
        """
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
            name = (self._processes / str(pid) / "comm").read_text(encoding="utf-8").strip()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        except ValueError as error:
            raise UnavailableError("the broker", f"{self._pid_file} holds no process id") from error
        if name != _PROGRAM:
            raise UnavailableError("the broker", f"{self._pid_file} names process {pid}, which is {name}")
        return pid


def _look(path: Path) -> Seen:
    """Note what identifies a file's content."""
    try:
        status = path.stat()
    except OSError:
        return Seen()
    return Seen(status.st_ino, status.st_mtime_ns, status.st_size)
