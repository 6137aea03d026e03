"""A pruned segment keeps every hash and what fixes the keys, and says where its entries are."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log import canonical
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import Chain, parse_entry
from coldseal.errors import UnavailableError
from coldseal.gateway.store import pruned
from coldseal.gateway.store.database import StoreDamagedError, open_database
from coldseal.gateway.store.log import Group, Limits
from coldseal.gateway.store.pruned import Pruned, PrunedError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import segment_path
from tests.gateway.store.logs import KEY, NOW_MS, group, note, opened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coldseal.gateway.store.log import Log

TQ = b'{"boot":"00000000","err":1,"mono":1,"off":0,"s":"synchronised"}'
TIME = "2026-01-01T00:00:00.000Z"
SIZES = (700, 300, 57)
"""Entries in the segments; none begins or ends where a tile does."""

ABOUT = Pruned(0, 999, "2026-01.coldseal", "A" * 43 + "=")
DATA: dict[str, canonical.Value] = {
    "archive": {"name": ABOUT.archive, "sha256": ABOUT.sha256},
    "first": 0,
    "last": 999,
}


async def commit(log: Log, kind: str, data: dict[str, canonical.Value]) -> None:
    """Commit one entry of a kind."""
    chain: Chain = log.chain
    raw = chain.seal(kind, TIME, TQ, b"", canonical.encode(data), None)
    await log.commit(Group(entries=[raw], chain=chain, checkpoint=note(chain)))


async def fill(folder: Path, sizes: Sequence[int] = SIZES) -> list[bytes]:
    """Make a log with a genesis, a key entry amid the readings, and checkpoints; gives all entries."""
    async with opened(folder, limits=Limits(reserve_mb=1, state_entries=100)) as log:
        for number, size in enumerate(sizes):
            if number:
                await log.roll(NOW_MS)
            await commit(log, "key" if number else "genesis", {})
            await log.commit(group(log, size - 100, has_checkpoint=True) if size > 100 else group(log, 1))
            await commit(log, "key", {"number": number})
            while left := sum(sizes[: number + 1]) - log.size:
                await log.commit(group(log, min(33, left)))
        return list(log.reader.read_from(0))


def prune(folder: Path, first: int, *, seq: int = 1057, about: Pruned = ABOUT) -> Path:
    """Prune one segment."""
    with closing(LogReader(folder, KEY)) as reader:
        draft = pruned.write_draft(reader, folder, KEY, first, about)
    pruned.finish(draft, KEY, seq)
    return segment_path(folder, first)


def room(folder: Path) -> int:
    """Give the bytes of all segments."""
    return sum(path.stat().st_size for path in folder.glob("*.db"))


async def test_every_hash_is_still_there_and_the_entries_that_fix_the_keys(tmp_path: Path) -> None:
    """Also across the border between what went and what stayed; the log opens and grows."""
    entries = await fill(tmp_path)
    with closing(LogReader(tmp_path, KEY)) as reader:
        size = reader.size()
        places = [(level, index) for level in range(11) for index in range(size >> level)]
        before = [reader.nodes(*place) for place in places]
        roots = [reader.root(at) for at in (1, 255, 700, 1000, size)]
        notes = reader.checkpoints(0, size)
        bytes_before = room(tmp_path)
    for first in (0, 700):
        prune(tmp_path, first)
    assert room(tmp_path) < bytes_before
    async with opened(tmp_path) as log:
        reader = log.reader
        assert [reader.nodes(*place) for place in places] == before
        assert [reader.root(at) for at in (1, 255, 700, 1000, size)] == roots
        assert reader.checkpoints(0, size) == notes
        assert [found[:2] for found in reader.closed_segments()] == [(0, 700), (700, 1000)]
        assert [found[2] and found[2].seq for found in reader.closed_segments()] == [1057, 1057]
        kept = [parse_entry(raw).kind in pruned.KEPT_KINDS for raw in entries[:1000]]
        assert sum(kept) == 4
        for seq, is_kept in enumerate(kept):
            if is_kept:
                assert reader.read(seq, max_entries=1) == [entries[seq]]
            else:
                with pytest.raises(PrunedError):
                    reader.read(seq, max_entries=1)
        assert list(reader.read_from(1000)) == entries[1000:]
        await log.commit(group(log, 5))
        assert log.size == size + 5


async def test_who_reads_a_pruned_entry_is_told_where_it_is(tmp_path: Path) -> None:
    """By which entry it went, and in which file it is; the entries around it are not given without it."""
    await fill(tmp_path)
    prune(tmp_path, 0)
    with closing(LogReader(tmp_path, KEY)) as reader:
        with pytest.raises(PrunedError, match=r"entry 5 .*entry 1057, .*2026-01\.coldseal") as caught:
            reader.read(5)
        assert (caught.value.seq, caught.value.pruned.seq) == (5, 1057)
        for first in (0, 600):
            with pytest.raises(PrunedError):
                reader.read(first, max_entries=200)


async def test_nothing_is_pruned_whose_hash_or_segment_is_not_whole(tmp_path: Path) -> None:
    """A segment that is still being copied, and one with an entry missing."""
    await fill(tmp_path)
    wal = segment_path(tmp_path, 0).with_name(f"{segment_path(tmp_path, 0).name}-wal")
    wal.write_bytes(b"x")
    with closing(LogReader(tmp_path, KEY)) as reader:
        with pytest.raises(UnavailableError, match="still being copied"):
            pruned.write_draft(reader, tmp_path, KEY, 0, ABOUT)
        wal.unlink()
        with closing(open_database(segment_path(tmp_path, 0), KEY)) as connection:
            connection.execute("DROP TRIGGER groups_delete; DELETE FROM groups WHERE first = 1")
            connection.pragma("wal_checkpoint", "truncate")
        wal.unlink(missing_ok=True)
        with pytest.raises(StoreDamagedError):
            pruned.write_draft(reader, tmp_path, KEY, 0, ABOUT)


async def test_a_hash_that_is_missing_is_damage_and_said(tmp_path: Path) -> None:
    """It is never made up."""
    await fill(tmp_path)
    path = prune(tmp_path, 0)
    with closing(open_database(path, KEY)) as connection:
        connection.execute("DELETE FROM leaves")
        connection.execute("UPDATE pruned SET seq = seq")
        connection.pragma("wal_checkpoint", "truncate")
    with closing(LogReader(tmp_path, KEY)) as reader, pytest.raises(StoreDamagedError, match="leaf hash"):
        reader.nodes(0, 5)


async def test_a_start_finishes_what_is_on_record_and_removes_what_is_not(tmp_path: Path) -> None:
    """A draft that nobody has said to be sealed yet is left alone."""
    await fill(tmp_path)
    with closing(LogReader(tmp_path, KEY)) as reader:
        drafts = [pruned.write_draft(reader, tmp_path, KEY, first, ABOUT) for first in (0, 700)]
        pruned.complete(reader, tmp_path, KEY)
        assert pruned.list_drafts(tmp_path) == drafts
        pruned.arm(drafts[0], KEY, reader.size())
        pruned.complete(reader, tmp_path, KEY)
        assert pruned.list_drafts(tmp_path) == drafts[1:]
        assert len(reader.read(0, max_entries=10)) == 10
        pruned.arm(drafts[1], KEY, reader.size())
    async with opened(tmp_path) as log:
        for data in ({}, {**DATA, "last": 5}, {**DATA, "archive": "x"}, DATA):
            await commit(log, "reading", {"text": '"kind":"prune"'})
            await commit(log, "prune", data)
        pruned.complete(log.reader, tmp_path, KEY)
        assert pruned.list_drafts(tmp_path) == []
        with pytest.raises(PrunedError) as caught:
            log.reader.read(705)
        assert caught.value.pruned.seq == log.size - 1


async def test_what_cannot_be_finished_is_said_and_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log is whole all the same."""
    entries = await fill(tmp_path)
    draft = segment_path(tmp_path, 0).with_suffix(".pruned")
    with closing(LogReader(tmp_path, KEY)) as reader:
        draft.write_bytes(b"rubbish" * 1000)
        pruned.complete(reader, tmp_path, KEY)
        assert draft.exists()
        pruned.write_draft(reader, tmp_path, KEY, 0, ABOUT)
        with closing(open_database(draft, KEY)) as connection:
            connection.execute("DELETE FROM pruned")
        pruned.complete(reader, tmp_path, KEY)  # as if somebody were still writing it: nothing to say
        assert draft.exists()
        with pytest.raises(StoreDamagedError, match="does not say"):
            pruned.read_draft(draft, KEY)
        pruned.write_draft(reader, tmp_path, KEY, 0, ABOUT)
        (blocked := draft.with_suffix(".db")).unlink()
        blocked.mkdir()
        with pytest.raises(UnavailableError):
            pruned.finish(draft, KEY, 7)
    assert capsys.readouterr().err.count("store.prune-unfinished") == 1
    assert len(entries) == sum(SIZES)


async def test_a_log_without_snapshot_is_read_again_from_its_beginning(tmp_path: Path) -> None:
    """So nothing of it may go."""
    async with opened(tmp_path) as log:
        await log.commit(group(log, 3))
        assert log.reader.snapshot_size() == 0
        await log.commit(group(log, 3, snapshot=b"x"))
        assert log.reader.snapshot_size() == 6
        assert leaf_hash(log.reader.read(0)[0]) == log.reader.nodes(0, 0)
