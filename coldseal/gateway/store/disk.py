"""What the log lies on: the operations on files that a power cut must not undo, behind one door.

Everything that the store does to files goes through here or through the database driver, which gets its file
layer here too: so a test can put another disk below both. Retries nothing and translates no error.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from coldseal.signing.private_files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path


class Disk:
    """The operating system's files.

    Attributes:
        vfs: name of the driver's file layer that lies on it; empty for the driver's own.
    """

    vfs = ""

    def create(self, path: Path) -> int:
        """Make a file, or open the one that is there, for reading and writing; gives its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, file: int, data: bytes, at: int) -> None:
        """Write at a place of an open file; not durable before `sync`."""
        os.pwrite(file, data, at)

    def sync(self, file: int) -> None:
        """Make what was written to an open file survive a power cut."""
        os.fdatasync(file)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, whose own file goes; not durable before `sync_directory`."""
        old.rename(new)

    def unlink(self, path: Path) -> None:
        """Remove a file; not durable before `sync_directory`."""
        path.unlink()

    def make_directory(self, directory: Path) -> None:
        """Make a directory for this user alone; not durable before the `sync_directory` of what it is in."""
        directory.mkdir(mode=0o700, exist_ok=True)

    def sync_directory(self, directory: Path) -> None:
        """Make names that were made, changed or removed survive a power cut."""
        sync_directory(directory)

    def free_bytes(self, directory: Path) -> int:
        """Give the room that is left for ordinary users."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize


DISK: Final = Disk()
"""The one of this machine."""
