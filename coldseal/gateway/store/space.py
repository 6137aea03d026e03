"""How much room the log has: asked before each commit, answered without walking a directory.

Ordinary entries leave a reserve that only the log's own entries may use, so that a full disk can
still be recorded, and the room that packing needs for a while, so that a full log can be packed.
When there is room again, the next question is answered yes. Frees nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldseal.gateway.store.database import PAGE_BYTES, StoreFullError
from coldseal.gateway.store.disk import DISK, Disk

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1024 * 1024
PACKED_SHARE = 3
"""A packed segment takes less than one part in so many of what it took before."""

_SLACK_BYTES = 64 * 1024
"""Pages that a commit touches beside its entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the log on disk.

    Args:
        limit_mb: largest size of the log's directory, in MiB.
        reserve_mb: part of the limit, and of the file system's free space, that is kept for the
            log's own entries, in MiB.
        segment_entries: entries in one segment file.
        wal_mb: size of the WAL beyond which it is copied into the segment, in MiB.
        state_entries: entries after which the state of the chain is written down, so that a start
            reads no more than these.
    """

    limit_mb: int = 8_192
    reserve_mb: int = 64
    segment_entries: int = 1_048_576
    wal_mb: int = 16
    state_entries: int = 4_096


class Space:
    """The size of the log's directory, kept by counting.

    Attributes:
        is_closed: nothing but the log's own entries gets in, as if there were no room: a drill.
        largest: bytes of the largest ended segment that is still to be packed.
    """

    def __init__(self, directory: Path, limits: Limits, disk: Disk = DISK) -> None:
        """Start with nothing counted."""
        self._directory, self._disk = directory, disk
        self._limit = limits.limit_mb * _MIB
        self._reserve = limits.reserve_mb * _MIB
        self._closed = 0
        self._growing: tuple[Path, ...] = ()
        self.is_closed = False
        self.largest = 0

    def recount(self, *growing: Path) -> None:
        """Walk the directory once; from now on only the `growing` files change their size."""
        names = {path.name for path in growing}
        self._closed = sum(_size(path) for path in self._directory.iterdir() if path.name not in names)
        self._growing = growing

    def used(self) -> int:
        """Give the bytes that the log takes up now."""
        return self._closed + self.growing()

    def growing(self) -> int:
        """Give the bytes of the segment that is being written, with its WAL."""
        return sum(map(_size, self._growing))

    def room(self) -> int:
        """Give the bytes that ordinary entries may fill in all, by the limit or by what the disk has."""
        return min(self._limit, self.used() + self._disk.free_bytes(self._directory)) - self._reserve

    def _kept_back(self, growing: int) -> int:
        """Give what ordinary entries leave: the reserve, or as much as packing needs, if that is more."""
        return max(self._reserve, max(self.largest, growing) // PACKED_SHARE)

    def require_room_to_pack(self, size: int) -> None:
        """Raise unless an ended segment of so many bytes can be packed beside itself; the reserve may serve.

        Raises:
            StoreFullError: it cannot, now.
        """
        need, used = size // PACKED_SHARE, self.used()
        free = self._disk.free_bytes(self._directory)
        if used + need > self._limit or need > free:
            raise StoreFullError(f"packing needs {need // _MIB + 1} MiB for a while")

    def require(self, incoming: int, wal_pages: int, *, is_own: bool) -> None:
        """Raise unless a commit fits.

        Args:
            incoming: bytes of the entries to be written.
            wal_pages: pages in the WAL that will move into the segment, which grows by them.
            is_own: whether the reserve may be used.

        Raises:
            StoreFullError: it does not fit.
        """
        if self.is_closed and not is_own:
            raise StoreFullError("a drill keeps it closed for a while")
        growing = self.growing()
        reserve = 0 if is_own else self._kept_back(growing)
        pending = wal_pages * PAGE_BYTES
        need = 2 * incoming + _SLACK_BYTES  # once in the WAL, once in the segment
        used = self._closed + growing + pending
        if used + need > self._limit - reserve:
            raise StoreFullError(f"{used // _MIB} of {self._limit // _MIB} MiB are used, {_kept(reserve)}")
        free = self._disk.free_bytes(self._directory) - pending
        if free - need < reserve:
            raise StoreFullError(f"{free // _MIB} MiB are free on the disk, {_kept(reserve)}")


def _size(path: Path) -> int:
    """Give the bytes of a file; one that is gone has none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _kept(reserve: int) -> str:
    """Say what part is kept back."""
    return f"{reserve // _MIB} MiB of them are kept for the log's own entries and for packing"
