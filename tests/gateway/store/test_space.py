"""Claims about room: counted without walking, kept back for the log's own, given again when there is some."""

from __future__ import annotations

from pathlib import Path

import pytest
from typing_extensions import override

from coldseal.gateway.store.database import PAGE_BYTES, StoreFullError
from coldseal.gateway.store.disk import Disk
from coldseal.gateway.store.space import Limits, Space

MIB = 1024 * 1024


class Small(Disk):
    """A disk that has 1 MiB left."""

    @override
    def free_bytes(self, directory: Path) -> int:
        """Say so."""
        return MIB


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """Give the room of a directory with one closed file and two that grow, of 1 MiB each."""
    for name in ("closed", "growing", "growing-wal"):
        (tmp_path / name).write_bytes(bytes(MIB))
    space = Space(tmp_path, Limits(limit_mb=8, reserve_mb=2))
    space.recount(tmp_path / "growing", tmp_path / "growing-wal")
    return space


def test_only_the_growing_files_are_looked_at_again(space: Space, tmp_path: Path) -> None:
    """Others change when segments are rolled or tidied, and are counted then."""
    assert space.used() == 3 * MIB
    (tmp_path / "growing").write_bytes(bytes(2 * MIB))
    (tmp_path / "closed").unlink()
    assert space.used() == 4 * MIB
    space.recount(tmp_path / "growing", tmp_path / "growing-wal")
    assert space.used() == 3 * MIB


def test_a_growing_file_that_is_not_there_yet_has_no_size(space: Space, tmp_path: Path) -> None:
    """The WAL comes with the first commit."""
    (tmp_path / "growing-wal").unlink()
    assert space.used() == 2 * MIB


@pytest.mark.parametrize(
    ("incoming", "wal_pages", "is_own", "fits"),
    [
        (MIB, 0, False, True),
        (2 * MIB, 0, False, False),  # twice: in the WAL and in the segment
        (2 * MIB, 0, True, True),
        (3 * MIB, 0, True, False),
        (MIB, MIB // PAGE_BYTES, False, False),  # what is in the WAL is still to come
        (MIB, MIB // PAGE_BYTES, True, True),
    ],
)
def test_what_fits_depends_on_who_asks(
    space: Space, incoming: int, wal_pages: int, *, is_own: bool, fits: bool
) -> None:
    """3 of 8 MiB are used, 2 are for the log's own entries."""
    if fits:
        space.require(incoming, wal_pages, is_own=is_own)
    else:
        with pytest.raises(StoreFullError, match="of 8 MiB are used"):
            space.require(incoming, wal_pages, is_own=is_own)


def test_room_that_comes_back_is_used(space: Space, tmp_path: Path) -> None:
    """Nobody has to say that there is room again."""
    (tmp_path / "growing").write_bytes(bytes(6 * MIB))
    with pytest.raises(StoreFullError):
        space.require(1, 0, is_own=False)
    (tmp_path / "growing").write_bytes(b"")
    space.require(1, 0, is_own=False)


def test_the_message_says_what_is_used_and_what_is_kept(space: Space, tmp_path: Path) -> None:
    """An operator reads it in the alarm."""
    (tmp_path / "growing").write_bytes(bytes(6 * MIB))
    with pytest.raises(StoreFullError, match="8 of 8 MiB are used, 2 MiB of them are kept for the log's own"):
        space.require(1, 0, is_own=False)


def test_room_to_pack_is_kept_back_too(space: Space, tmp_path: Path) -> None:
    """A third of the largest file that is still to be packed, where that is more than the reserve."""
    space.require(MIB, 0, is_own=False)
    space.largest = 9 * MIB
    with pytest.raises(StoreFullError, match=r"3 MiB of them are kept for .* packing"):
        space.require(MIB, 0, is_own=False)
    space.require(MIB, 0, is_own=True)
    space.largest = 0
    (tmp_path / "growing").write_bytes(bytes(4 * MIB))
    space.require_room_to_pack(5 * MIB)
    with pytest.raises(StoreFullError, match="packing needs 3 MiB"):
        space.require_room_to_pack(7 * MIB)


def test_packing_needs_room_on_the_file_system_as_well(tmp_path: Path) -> None:
    """Whichever is less counts."""
    space = Space(tmp_path, Limits(), Small())
    space.require_room_to_pack(3 * MIB)
    with pytest.raises(StoreFullError, match="packing needs"):
        space.require_room_to_pack(4 * MIB)
