"""The head stands outside the database and says how far the log had come: loss cannot pass unseen.

SQLite takes a damaged WAL for its end and drops what follows without a word. The head is written
behind each commit, into two slots in turn, so that a torn write leaves the other one. It guards
against accidents; against people stand checkpoints, receipts and witnesses.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.log.merkle import EMPTY_ROOT
from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.disk import DISK, Disk

if TYPE_CHECKING:
    from pathlib import Path

_RECORD = struct.Struct(">8sQ32s")
_CHECKSUM = struct.Struct(">I")
_MAGIC = b"CSHEAD1\n"
_SLOT_BYTES = 4096
"""Slots lie in different pages, so that one torn write cannot spoil both."""


class Head(NamedTuple):
    """How many entries are on disk, and the root hash over them."""

    size: int
    root: bytes


EMPTY_HEAD = Head(0, EMPTY_ROOT)


class HeadFile:
    """One open head file; a single writer, any number of readers in other processes."""

    def __init__(self, path: Path, *, readonly: bool = False, disk: Disk = DISK) -> None:
        """Open an existing head file.

        Raises:
            UnavailableError: it cannot be opened, or is not there.
        """
        self._path, self._disk = path, disk
        try:
            self._file = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            raise UnavailableError(str(path), str(error.strerror)) from error
        self._slot = 0

    @classmethod
    def create(cls, path: Path, disk: Disk = DISK) -> HeadFile:
        """Make the head of an empty log: whole or not at all, durable before the log's first entry can be.

        Raises:
            UnavailableError: it cannot be written.
        """
        try:
            draft = path.with_name(f"{path.name}.new")
            file = disk.create(draft)
            try:
                for slot in range(2):
                    disk.write(file, _encode(EMPTY_HEAD), slot * _SLOT_BYTES)
                disk.sync(file)
            finally:
                os.close(file)
            disk.rename(draft, path)
            disk.sync_directory(path.parent)
        except OSError as error:
            raise UnavailableError(str(path), str(error.strerror)) from error
        return cls(path, disk=disk)

    def read(self) -> Head:
        """Give the newest head.

        Raises:
            StoreDamagedError: neither slot holds one.
            UnavailableError: the file cannot be read.
        """
        try:
            content = os.pread(self._file, 2 * _SLOT_BYTES, 0)
        except OSError as error:
            raise UnavailableError(str(self._path), str(error.strerror)) from error
        found = [(head, slot) for slot in range(2) if (head := _decode(content[slot * _SLOT_BYTES :]))]
        if not found:
            raise StoreDamagedError(str(self._path), "neither of its two slots holds a head")
        head, self._slot = max(found)
        return head

    def write(self, head: Head) -> None:
        """Write a newer head over the older of the two.

        Raises:
            UnavailableError: it cannot be written; the older one still stands.
        """
        slot = 1 - self._slot
        try:
            self._disk.write(self._file, _encode(head), slot * _SLOT_BYTES)
        except OSError as error:
            raise UnavailableError(str(self._path), str(error.strerror)) from error
        self._slot = slot

    def sync(self) -> None:
        """Make the newest head survive a power cut.

        Raises:
            UnavailableError: it may not.
        """
        try:
            self._disk.sync(self._file)
        except OSError as error:
            raise UnavailableError(str(self._path), str(error.strerror)) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _encode(head: Head) -> bytes:
    """Write a head as its record and a checksum."""
    record = _RECORD.pack(_MAGIC, head.size, head.root)
    return record + _CHECKSUM.pack(zlib.crc32(record))


def _decode(slot: bytes) -> Head | None:
    """Read a head; None where the slot holds none."""
    record, checksum = slot[: _RECORD.size], slot[_RECORD.size : _RECORD.size + _CHECKSUM.size]
    if checksum != _CHECKSUM.pack(zlib.crc32(record)) or not record.startswith(_MAGIC):
        return None
    _, size, root = _RECORD.unpack(record)
    return Head(size, root)
