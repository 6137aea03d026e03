"""Counts the sessions that this gateway has had at its broker: each numbers its messages anew.

It stands in a file. Promise: a number that was given for one session is given for no other one, over any
restart.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from coldseal.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "broker-session"
"""The file, below a gateway's data."""

_SHIFT: Final = 16  # below it is the packet identifier, which MQTT begins anew with each session


class Generation:
    """The count, one writer.

    Args:
        path: the file; it need not be there.

    Attributes:
        count: sessions so far.
    """

    def __init__(self, path: Path) -> None:
        """Read it; what cannot be read is taken as none, and the next session makes it anew."""
        self._path = path
        try:
            self.count = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            self.count = 0

    def begin(self) -> None:
        """Count one more session, before anything of it is taken in.

        Raises:
            UnavailableError: it cannot be written down.
        """
        draft = self._path.with_suffix(".new")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(f"{self.count + 1}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise UnavailableError(str(self._path), str(error.strerror)) from error
        self.count += 1

    def number(self, packet_id: int) -> int:
        """Give a message's number, which no other message of any session has while both may be under way."""
        return self.count << _SHIFT | packet_id
