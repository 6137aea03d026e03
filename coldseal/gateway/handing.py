"""Gives the keys of single files to a process beside the intake, so that the store key stays in the intake.

Promise: the process gets the key of a file of the log, or of one that is its own business, when it opens it;
what it asks for beyond that is refused and told. The store key is never sent. It keeps nothing from whoever
may read the store key's file himself.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.store.file_keys import KEY_BYTES, file_key, file_name
from coldseal.gateway.store.segments import is_segment_name
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Collection

PATIENCE_S: Final = 30.0
"""How long a process waits for a key, while the intake may be busy."""

_LONGEST: Final = 256
_REFUSED: Final = b"refused"
_log = Log("gateway.keys")


class Handout:
    """The intake's end: answers one process.

    Args:
        store_key: what file keys follow from.
        names: files beside the log's that are the process's business, see `file_name`.
        part: whose process it is.
    """

    def __init__(self, store_key: bytes, names: Collection[str], *, part: str) -> None:
        """Take the key; nobody is answered yet."""
        self._key, self._names, self._part = store_key, frozenset(names), part
        self._own: socket.socket | None = None
        self._has_refused = False

    def open(self) -> socket.socket:
        """Begin to answer a new process, and no earlier one; gives its end, which the caller closes."""
        self.close()
        self._has_refused = False
        self._own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._own.setblocking(False)
        asyncio.get_running_loop().add_reader(self._own, self._answer, self._own)
        return other

    def close(self) -> None:
        """Answer nobody any more."""
        if self._own is not None:
            asyncio.get_running_loop().remove_reader(self._own)
            self._own.close()
            self._own = None

    def _answer(self, own: socket.socket) -> None:
        """Answer one question."""
        try:
            asked = own.recv(_LONGEST)
            if asked:
                own.send(self._find(asked.decode("ascii", "replace")))
                return
        except BlockingIOError:  # it asks without reading, which none of ours does
            return
        except OSError:  # it has died
            pass
        self.close()

    def _find(self, name: str) -> bytes:
        """Give the key of the file that is asked for, if it may be."""
        if name in self._names or is_segment_name(name):
            return file_key(self._key, Path(name))
        if not self._has_refused:
            _log.emit(events.KEY_REFUSED, process=self._part, file=name)
        self._has_refused = True
        return _REFUSED


class Handed:
    """The process's end: asks for the key of each file that is opened. For several threads.

    Args:
        end: what `Handout.open` gave.
    """

    def __init__(self, end: socket.socket) -> None:
        """Take the end."""
        self._end, self._lock = end, threading.Lock()
        end.settimeout(PATIENCE_S)
        end.set_inheritable(False)

    @classmethod
    def of(cls, descriptor: str) -> Self:
        """Take the end that the process was started with.

        Raises:
            OperatorError: it was not started by the gateway.
        """
        try:
            return cls(socket.socket(fileno=int(descriptor)))
        except (ValueError, OSError) as error:
            hint = "Start `coldseal gateway run`: it starts what belongs to it."
            raise OperatorError("this process was not started by the gateway", hint) from error

    def close(self) -> None:
        """Ask no more."""
        self._end.close()

    def __call__(self, path: Path) -> bytes:
        """Give the key of a file.

        Raises:
            UnavailableError: the intake is gone, busy for too long, or refuses.
        """
        what = f"the key of {path}"
        with self._lock:
            try:
                self._end.send(file_name(path).encode())
                answer = self._end.recv(_LONGEST)
            except OSError as error:
                self.close()  # an answer that comes late would be taken for the next one
                raise UnavailableError(what, f"the gateway does not give it: {error}") from error
        if len(answer) != KEY_BYTES:
            raise UnavailableError(what, "the gateway refuses it" if answer else "the gateway has ended")
        return answer
