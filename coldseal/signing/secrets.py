"""A secret is named in the configuration, never written there: `file:PATH` or `env:NAME`.

A file that others may read is refused before it is used; a new one is there whole, with mode
0600, or not at all. Nothing is cached, printed or logged.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES = 32
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LONGEST = 1024 * 1024


def read_secret(reference: str, base: Path) -> bytes:
    """Read what a reference names; white space at either end is not part of a secret.

    Args:
        reference: `file:PATH` (mode 0600) or `env:NAME`.
        base: directory against which a relative path counts.

    Raises:
        OperatorError: the scheme is unknown, or the secret is missing, empty or open to others.
    """
    scheme, _, name = reference.partition(":")
    if scheme == "file" and name:
        return read_private_file(base / name).strip()
    if scheme == "env" and name:
        value = os.environ.get(name, "").strip()
        if not value:
            raise OperatorError(f"the environment has no {name}", f"Set {name} for this program.")
        return value.encode()
    # the reference itself is not shown: it may be a secret, written there by mistake
    raise OperatorError("a secret's reference has no known scheme", "Write file:PATH or env:NAME.")


def read_symmetric_key(reference: str, base: Path) -> bytes:
    """Read a key of 32 bytes, written as 64 hex digits.

    Raises:
        OperatorError: as `read_secret`, or it is not 64 hex digits.
    """
    text = read_secret(reference, base)
    with suppress(ValueError):
        key = bytes.fromhex(text.decode())
        if len(key) == KEY_BYTES:
            return key
    hint = f"Restore the key, or make a new one: {2 * KEY_BYTES} hex digits."
    raise OperatorError(f"{reference} does not hold a key of {KEY_BYTES} bytes in hex", hint)


def generate_symmetric_key() -> bytes:
    """Make a key of 32 random bytes, as the 64 hex digits that a key file holds."""
    return f"{secrets.token_hex(KEY_BYTES)}\n".encode()


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
        if status.st_mode & _OPEN_TO_OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise OperatorError(f"{path} has mode {mode:04o}: others may open it", f"Run: chmod 600 {path}")
        content = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    if not content.strip():
        raise OperatorError(f"{path} is empty", "Restore it, or make it again.")
    return content


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


def sync_directory(directory: Path) -> None:
    """Make what was created or renamed in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
