"""Replaces a file whole or not at all, readable by its owner only.

A reader sees the old content or the new one, also after a power loss. It does not lock: of two
writers at one time one wins. A file that must not exist yet is `coldseal.signing.secrets`' matter.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

from coldseal.errors import OperatorError
from coldseal.signing.secrets import sync_directory


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
