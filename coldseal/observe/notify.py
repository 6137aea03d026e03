"""Tells systemd that a program is ready, that its work moves on, and that it ends (sd_notify(3)).

The watchdog is fed by whoever sees the work move, not by a loop that is merely alive. Without a supervisor
that asks for it, nothing is said. Nobody waits for it, and a word that cannot be said is left out.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class Supervisor:
    """Whoever started this program and wants to hear of it.

    Args:
        address: its socket, a path or an abstract name behind ``@``; empty: nobody.
    """

    def __init__(self, address: str = "") -> None:
        """Take the address."""
        self._address = address
        self._status = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Find it in a program's environment."""
        return cls(environment.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """Say that the program does its work from now on."""
        self._tell("READY=1")

    def beat(self, *, is_moving: bool, status: str = "") -> None:
        """Feed the watchdog if the work moves on; a status is said when it changes."""
        lines = ["WATCHDOG=1"] if is_moving else []
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        if lines:
            self._tell("\n".join(lines))

    def stopping(self) -> None:
        """Say that the program ends in order."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        """Send it, if anybody listens."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto(text.encode(), address)
