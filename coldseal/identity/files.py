"""Replaces a file whole or not at all, readable by its owner only.

A reader sees the old content or the new one, also after a power loss. It does not lock: of two
writers at one time one wins. A file that must not exist yet is `coldseal.signing.secrets`' matter.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from coldseal.errors import OperatorError
from coldseal.signing.private_files import sync_directory


def replace_alike(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` as `replace_private_file` does, with mode and owner of what was there.

    A certificate or a list of CAs may be read by others; their owner is kept where this program may do that.

    Raises:
        OperatorError: the folder or the disk refuses.
    """
    draft = path.with_name(f"{path.name}.draft")
    replace_private_file(draft, content)
    try:
        make_alike(draft, path)
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}", "Choose another folder") from error
    finally:
        draft.unlink(missing_ok=True)


def make_alike(path: Path, model: Path) -> None:
    """Give a file the mode and, where this program may do that, the owner of another one, if that is there.

    Raises:
        OSError: the mode cannot be changed.
    """
    if model.exists():
        status = model.stat()
        path.chmod(stat.S_IMODE(status.st_mode))
        with suppress(PermissionError):
            os.chown(path, status.st_uid, status.st_gid)


def replace_private_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` with mode 0600, then make file and folder entry durable.

    Args:
        path: where; a file that is there is replaced in one step.
        content: what.

    Raises:
        OperatorError: the folder or the disk refuses.
    """
    try:
        handle, draft = mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600 from the first byte
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}", "Choose another folder") from error
