"""Other operating-system users, without a second process: a thread that takes on their number."""

from __future__ import annotations

import ctypes
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

_CALLS: Final = {
    "x86_64": (117, 119),
    "aarch64": (147, 149),
}  # setresuid, setresgid: of one thread, not of all

VIEWER, TECHNICIAN, QUALITY, ADMINISTRATOR, STRANGER = 60_001, 60_002, 60_003, 60_004, 60_005
"""Numbers of users that no system has names for."""


def needs_root() -> None:
    """Only root can be somebody else."""
    if os.geteuid() != 0 or platform.machine() not in _CALLS:
        pytest.skip("needs root on x86_64 or aarch64: it acts as several users")


def open_folder() -> Path:
    """Make a folder that every user can reach."""
    folder = Path(mkdtemp())
    folder.chmod(0o755)
    return folder


def as_user(uid: int, work: Callable[[], Answer]) -> Answer:
    """Do something as another user; what it raises is raised here."""

    def run() -> Answer:
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        user, group = _CALLS[platform.machine()]
        for number in (group, user):
            if syscall(number, uid, uid, uid):
                raise OSError(ctypes.get_errno(), "cannot become that user")
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
