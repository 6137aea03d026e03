"""The supervisor hears that a program is ready, moves on and ends; nobody else has to listen."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import pytest

from coldseal.observe.notify import Supervisor


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_each_word_arrives(tmp_path: Path, is_abstract: bool) -> None:
    """In the form that sd_notify(3) has; the watchdog is fed only while the work moves."""
    name = f"coldseal-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}" if is_abstract else str(tmp_path / name))
        found = Supervisor.of({"NOTIFY_SOCKET": f"@{name}" if is_abstract else str(tmp_path / name)})
        found.ready()
        found.beat(is_moving=True, status="taking readings in")
        found.beat(is_moving=False, status="taking readings in")
        found.beat(is_moving=False, status="stalled")
        found.beat(is_moving=True, status="stalled")
        found.stopping()
        listening.setblocking(False)
        heard = [listening.recv(1024).decode() for _ in range(5)]
        with pytest.raises(BlockingIOError):
            listening.recv(1024)

    assert heard == [
        "READY=1",
        "WATCHDOG=1\nSTATUS=taking readings in",
        "STATUS=stalled",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_without_a_supervisor_nothing_is_said(tmp_path: Path) -> None:
    """And one that is gone disturbs nobody."""
    Supervisor.of({}).ready()
    Supervisor(str(tmp_path / "gone")).ready()
