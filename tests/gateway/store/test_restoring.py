"""A pruned segment comes back as it was, or stays as it is."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.restoring import write_restored
from coldseal.gateway.store.segments import replace_segment, segment_path
from tests.gateway.store.logs import KEY, group, opened
from tests.gateway.store.test_packing import pack_all
from tests.gateway.store.test_pruned import fill, prune

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_segment_comes_back_entry_by_entry_with_its_checkpoints_and_hashes(tmp_path: Path) -> None:
    """And the log opens, is whole, and grows."""
    entries = await fill(tmp_path)
    with closing(LogReader(tmp_path, KEY)) as reader:
        notes, root = reader.checkpoints(0, reader.size()), reader.root(1000)
    for first in (0, 700):
        prune(tmp_path, first)
    for first, end in ((700, 1000), (0, 700)):
        replace_segment(write_restored(tmp_path, KEY, first, end, iter(entries[first:end])))
    async with opened(tmp_path) as log:
        reader = log.reader
        assert list(reader.read_from(0)) == entries
        assert (reader.checkpoints(0, reader.size()), reader.root(1000)) == (notes, root)
        assert [about for _, _, about in reader.closed_segments()] == [None, None]
        await log.commit(group(log, 5))
    again = prune(tmp_path, 0)
    assert again.exists()


async def test_a_segment_that_was_packed_comes_back_and_is_packed_again(tmp_path: Path) -> None:
    """It is written as it was before it was packed, and says so."""
    entries = await fill(tmp_path)
    await pack_all(tmp_path)
    packed = segment_path(tmp_path, 0).stat().st_size
    prune(tmp_path, 0)
    replace_segment(write_restored(tmp_path, KEY, 0, 700, iter(entries[:700])))
    with closing(LogReader(tmp_path, KEY)) as reader:
        assert list(reader.read_from(0)) == entries
    assert segment_path(tmp_path, 0).stat().st_size > packed
    await pack_all(tmp_path)
    assert segment_path(tmp_path, 0).stat().st_size == packed
    with closing(LogReader(tmp_path, KEY)) as reader:
        assert list(reader.read_from(0)) == entries


@pytest.mark.parametrize(("how", "seq"), [("another entry", 260), ("too short", 600), ("a byte", 0)])
async def test_what_is_not_what_was_pruned_does_not_come_back(tmp_path: Path, how: str, seq: int) -> None:
    """The first entry that differs is named, and the segment stays pruned."""
    entries = (await fill(tmp_path))[:700]
    path = prune(tmp_path, 0)
    before = path.read_bytes()
    if how == "too short":
        del entries[600:]
    elif how == "a byte":
        entries[0] += b" "
    else:
        entries[260] = entries[261]
    with pytest.raises(StoreDamagedError, match=f"from seq {seq} on"):
        write_restored(tmp_path, KEY, 0, 700, iter(entries))
    assert path.read_bytes() == before
