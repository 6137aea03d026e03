"""Below the database: every row comes out of file and WAL, also behind what is damaged, and no other."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.record import parse_frames
from coldseal.gateway.store.database import PAGE_BYTES, copy_wal, open_database
from coldseal.gateway.store.pages import Pages, Piece, Row, _varint
from coldseal.gateway.store.segments import segment_path, wal_path
from tests.gateway.store.logs import KEY, fill, open_log
from tests.gateway.wrecks import blank, cut, flip

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FRAME = PAGE_BYTES + 24


async def make(
    folder: Path, *counts: int, is_settled: bool = False, is_copied: int = -1
) -> tuple[Path, list[bytes]]:
    """Write a log; gives its first segment, as after a crash or closed in order, and its entries.

    Args:
        folder: for the log.
        counts: entries in each group.
        is_settled: all is in the file.
        is_copied: number of groups behind which the WAL is copied, so that the next begins it anew.
    """
    log = open_log(folder / "log")
    entries: list[bytes] = []
    for number, count in enumerate(counts):
        entries += await fill(log, (count,), length=500)
        if number == is_copied:
            log._segment.copy_wal()
    if is_settled:
        await log.close()
        return segment_path(folder / "log", 0), entries
    kept = folder / "kept"
    kept.mkdir()
    path = segment_path(folder / "log", 0)
    for each in (path, wal_path(path)):
        (kept / each.name).write_bytes(each.read_bytes())
    await log.close()
    return kept / path.name, entries


def read(path: Path) -> tuple[list[Row | Piece], int]:
    """Give all that is found, and how many pages are damaged."""
    with Pages(path, KEY) as pages:
        return list(pages.rows()), pages.damaged


def groups(found: Iterable[Row | Piece], *, is_firm: bool | None = None) -> dict[int, bytes]:
    """Give the entries of whole groups by seq."""
    entries: dict[int, bytes] = {}
    for row in found:
        if (
            isinstance(row, Row)
            and is_firm in {None, row.is_firm}
            and len(row.values) == 3
            and row.values[0] is None
        ):
            assert isinstance(row.values[2], bytes)
            entries |= dict(enumerate(parse_frames(row.values[2]), row.number))
    return entries


@pytest.mark.parametrize("is_settled", [False, True], ids=["wal", "file"])
async def test_all_rows_are_found_without_the_database(tmp_path: Path, *, is_settled: bool) -> None:
    """In the WAL as in the file: small groups, and those over many pages."""
    path, entries = await make(tmp_path, 1, 3, 300, 7, 1000, 2, is_settled=is_settled)
    found, damaged = read(path)
    assert damaged == 0
    assert groups(found) == dict(enumerate(entries))
    assert not any(isinstance(each, Piece) for each in found)
    states = {row.values[0] for row in found if isinstance(row, Row) and isinstance(row.values[0], str)}
    assert {"chain", "day"} <= states
    tiles = [row.values for row in found if isinstance(row, Row) and isinstance(row.values[0], int)]
    assert (8, 4) in {(level, n) for level, n, *_ in tiles}


async def test_what_an_older_turn_of_the_wal_left_is_told_from_what_counts(tmp_path: Path) -> None:
    """It was copied into the file before, but nobody can know that of each frame."""
    path, entries = await make(tmp_path, 400, 1, is_copied=0)
    found, damaged = read(path)
    assert damaged == 0
    assert groups(found, is_firm=True) == dict(enumerate(entries))
    assert groups(found, is_firm=False).keys() < groups(found).keys()


@pytest.mark.parametrize("at", [8, 16, 20], ids=["salt", "sum", "other-sum"])
async def test_a_damaged_header_of_a_frame_hides_nothing(tmp_path: Path, at: int) -> None:
    """Its page holds by itself, and the next frame goes on from what the header should have said."""
    path, entries = await make(tmp_path, 5, 100, 5)
    flip(wal_path(path), 32 + 4 * FRAME + at)
    found, _ = read(path)
    assert groups(found, is_firm=True) == dict(enumerate(entries))


async def test_the_last_frame_with_a_damaged_sum_is_found_but_not_firm(tmp_path: Path) -> None:
    """It may as well have been left by an older turn."""
    path, entries = await make(tmp_path, 5, 5)
    wal = wal_path(path)
    last = (wal.stat().st_size - 32) // FRAME - 1
    flip(wal, 32 + last * FRAME + 16)
    found, _ = read(path)
    assert groups(found) == dict(enumerate(entries))
    assert len(groups(found, is_firm=True)) < len(entries)


async def test_what_stands_behind_a_damaged_frame_is_found(tmp_path: Path) -> None:
    """The database would take it for the end."""
    path, entries = await make(tmp_path, 5, 1, 100, 1, 1)
    flip(wal_path(path), 32 + 6 * FRAME + 2_000)
    found, damaged = read(path)
    assert damaged == 1
    held = groups(found)
    assert held == {seq: entries[seq] for seq in held}
    assert len(entries) - 1 in held


async def test_the_rest_of_a_broken_group_comes_in_pieces(tmp_path: Path) -> None:
    """Before the damaged page by its row, behind it by the pages that nobody leads to."""
    path, entries = await make(tmp_path, 200, is_settled=True)
    size = path.stat().st_size // PAGE_BYTES
    flip(path, (size // 2) * PAGE_BYTES + 100)
    found, damaged = read(path)
    pieces = b"".join(each.content for each in found if isinstance(each, Piece))
    missing = [raw for raw in entries if raw not in pieces]
    assert damaged == 1
    assert 0 < len(missing) < 12


async def test_a_turned_bit_in_the_salt_is_turned_back(tmp_path: Path) -> None:
    """It would spoil the check of every page."""
    path, entries = await make(tmp_path, 40, 3, is_settled=True)
    flip(path, 5, 6)
    found, damaged = read(path)
    assert groups(found) == dict(enumerate(entries))
    assert damaged == 0


async def test_a_lost_salt_is_taken_from_the_wal(tmp_path: Path) -> None:
    """The first page is there as well."""
    path, entries = await make(tmp_path, 40, 3)
    blank(path, 0)
    found, damaged = read(path)
    assert groups(found) == dict(enumerate(entries))
    assert damaged == 1


async def test_without_a_salt_pages_are_read_unchecked(tmp_path: Path) -> None:
    """What comes out must prove itself; the key's own part needs no salt."""
    path, entries = await make(tmp_path, 40, 3, is_settled=True)
    blank(path, 0)
    with Pages(path, KEY) as pages:
        assert not pages.is_ours
        assert set(entries[1:]) <= set(groups(pages.rows()).values()) | set(entries[:1])


async def test_another_key_finds_nothing(tmp_path: Path) -> None:
    """Nor does a file of something else."""
    path, entries = await make(tmp_path, 40, 3, is_settled=True)
    chance = Random(5)
    for key in (bytes(32), *(chance.randbytes(32) for _ in range(300))):  # one in 100 looks like one
        with Pages(path, key) as pages:
            assert not pages.is_ours
            assert not set(groups_or_none(pages)) & set(entries)
    path.write_bytes(Random(7).randbytes(20 * PAGE_BYTES))
    with Pages(path, KEY) as pages:
        assert not pages.is_ours
        list(pages.rows())


def groups_or_none(pages: Pages) -> list[bytes]:
    """Give the blobs of whatever looks like a row."""
    return [
        value
        for row in pages.rows()
        if isinstance(row, Row)
        for value in row.values
        if isinstance(value, bytes)
    ]


async def test_files_that_are_missing_or_cut_anywhere_give_what_is_left(tmp_path: Path) -> None:
    """Nothing else comes out, and nothing fails."""
    path, entries = await make(tmp_path, 5, 60, 3, is_copied=1)
    chance = Random(3)
    contents = {each: each.read_bytes() for each in (path, wal_path(path))}
    for _ in range(20):
        for each, content in contents.items():
            each.write_bytes(content)
            if chance.random() < 0.7:
                cut(each, chance.randrange(len(content)))
        for seq, raw in groups(read(path)[0]).items():
            assert raw == entries[seq]
    for each in contents:
        each.unlink()
    assert read(path) == ([], 0)


async def test_damage_at_random_places_lets_no_wrong_entry_through(tmp_path: Path) -> None:
    """Each page is given as it was written, or not at all."""
    path, entries = await make(tmp_path, 5, 60, 3, 1, 1)
    chance = Random(4)
    contents = {each: each.read_bytes() for each in (path, wal_path(path))}
    for _ in range(25):
        for each, content in contents.items():
            each.write_bytes(content)
            for _ in range(chance.randrange(4)):
                flip(each, chance.randrange(len(content)), chance.randrange(8))
        for seq, raw in groups(read(path)[0]).items():
            assert raw == entries[seq]


def test_a_number_without_an_end_is_none() -> None:
    """Whatever stands there; a row of ours has none so long."""
    assert _varint(b"\xff" * 12, 0) == (0, 8)
    assert _varint(b"", 0) == (0, 8)


async def test_rows_of_other_shapes_come_out_as_they_are(tmp_path: Path) -> None:
    """Long ones in a table without rowid, nulls, numbers of all lengths, text."""
    path = tmp_path / "other.db"
    numbers = (0, 1, 5, -7, 300, 70_000, -2_000_000_000, 1 << 40, 1 << 60)
    schema = (
        "CREATE TABLE plain (id INTEGER PRIMARY KEY, value);"
        "CREATE TABLE keyed (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    )
    connection = open_database(path, KEY, schema=schema)
    connection.executemany("INSERT INTO plain (value) VALUES (?)", [(number,) for number in numbers])
    connection.execute("INSERT INTO plain (value) VALUES (NULL), ('text'), (1.5)")
    connection.executemany(
        "INSERT INTO keyed VALUES (?, ?)", [(f"n{n}", "x" * n) for n in (1, 150, 900, 9000)]
    )
    connection.executemany("INSERT INTO keyed VALUES (?, ?)", [(f"m{n}", n) for n in range(1000)])
    copy_wal(connection)
    connection.close(True)
    found = {row.values for row in read(path)[0] if isinstance(row, Row)}
    assert {(None, number) for number in numbers} <= found
    assert {(None, None), (None, "text"), ("n1", "x"), ("n150", "x" * 150), ("m500", 500)} <= found
    assert ("n900", "x" * 900) not in found
