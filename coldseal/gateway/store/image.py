"""A copy of a log's files as a power cut at this moment would leave them, while the log is being written.

Promise: the copy opens as the log itself would after such a cut, with everything that was acknowledged before
the copy began. Whoever writes goes on meanwhile; its WAL cannot begin anew until the copy is made.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Final

import apsw

from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import fetch, open_database, translated
from coldseal.gateway.store.reader import HEAD_NAME
from coldseal.gateway.store.segments import list_segments, segment_path, wal_path

if TYPE_CHECKING:
    from pathlib import Path

_PART_BYTES: Final = 1 << 20


def take_image(directory: Path, target: Path, key: bytes, *, newest: int = 0) -> int:
    """Copy a log's files.

    Args:
        directory: the log's.
        target: an empty folder.
        key: the store key.
        newest: only so many segments, the last ones; 0 for all.

    Returns:
        The bytes of the copy.

    Raises:
        UnavailableError, TrustError: a file cannot be read or written.
    """
    try:
        shutil.copyfile(
            directory / HEAD_NAME, target / HEAD_NAME
        )  # first: it must not be ahead of the entries
        for first in list_segments(directory)[-newest:]:
            _copy_segment(segment_path(directory, first), target, key)
        return sum(path.stat().st_size for path in target.iterdir())
    except OSError as error:
        raise UnavailableError(str(directory), str(error.strerror)) from error


def _copy_segment(path: Path, target: Path, key: bytes) -> None:
    """Copy one segment and its WAL: while a transaction reads, both stay as they belong together."""
    with translated(str(path)), closing(open_database(path, key, readonly=True)) as connection:
        connection.execute("BEGIN")
        fetch(connection, "SELECT count(*) FROM checkpoints")
        _copy_file(path, target / path.name)
        wal = wal_path(path)  # opening has made one where there was none
        shutil.copyfile(wal, target / wal.name)
        connection.execute("ROLLBACK")


def _copy_file(path: Path, target: Path) -> None:
    """Copy a file through SQLite's own file layer: closing a descriptor of ours would drop its locks."""
    stream = apsw.VFSFile(
        "unix", str(path.resolve()), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
    )
    try:
        size = stream.xFileSize()
        with target.open("wb") as copy:
            for at in range(0, size, _PART_BYTES):
                copy.write(stream.xRead(min(_PART_BYTES, size - at), at))
    finally:
        stream.xClose()
