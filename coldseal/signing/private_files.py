"""Files and folders for their owner only.

A file that others may read is refused; a new one is there whole or not at all. Nothing is
cached, printed or logged.
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LONGEST = 1024 * 1024
_CREDENTIAL = 0o440


def read_private_file(path: Path) -> bytes:
    """Read a file that only its owner may read; the open file is checked, so that no swap slips in.

    Raises:
        OperatorError: it is missing, not a plain file, empty, or its mode lets others in.
    """
    try:
        # without O_NONBLOCK a FIFO in its place would hang the start
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = "Make it, or name another file in the configuration."
        raise OperatorError(f"{path} cannot be read: {error.strerror}", hint) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OperatorError(f"{path} is not a plain file", "Name the file that holds the secret.")
        if status.st_mode & _OPEN_TO_OTHERS and not _is_credential(path, status):
            mode = stat.S_IMODE(status.st_mode)
            raise OperatorError(f"{path} has mode {mode:04o}: others may open it", f"Run: chmod 600 {path}")
        content = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    if not content.strip():
        raise OperatorError(f"{path} is empty", "Restore it, or make it again.")
    return content


def _is_credential(path: Path, status: os.stat_result) -> bool:
    """Whether systemd gave it to this program: then the group's bits are the mask of an access list (acl(5)).

    The file is root's, and stands in the folder that systemd made for this unit alone.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    is_given = bool(folder) and os.path.realpath(path.parent) == os.path.realpath(folder)
    return is_given and status.st_uid == 0 and stat.S_IMODE(status.st_mode) == _CREDENTIAL


def write_private_file(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600; it is there whole and synced, or not at all.

    Raises:
        OperatorError: something has that name already, or the directory cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
            os.link(draft, path)  # unlike a rename it fails where the name is taken
        finally:
            draft.unlink()
        sync_directory(path.parent)
    except FileExistsError as error:
        hint = "Move it away first, if it is no longer needed: a key is never overwritten."
        raise OperatorError(f"{path} exists already", hint) from error
    except OSError as error:
        hint = "Give a directory that exists and may be written."
        raise OperatorError(f"{path} cannot be written: {error.strerror}", hint) from error


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter, and so each above it that is missing.

    Raises:
        OSError: it cannot be made; one that is there is left as it is.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)  # another process may make it too
    folder.mkdir(mode=0o700, exist_ok=True)  # there already: no file in its place


def sync_directory(directory: Path) -> None:
    """Make what was created or renamed in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
