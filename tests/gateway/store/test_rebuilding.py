"""A log's folder is built anew from what was saved; what contradicts a signed root ends the work."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.record import Chain
from coldseal.gateway.store.database import StoreDamagedError, fetch, open_database
from coldseal.gateway.store.head import Head
from coldseal.gateway.store.lost import LostError, find_lost, name_gap
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.rebuilding import Rebuilding
from coldseal.gateway.store.salvage import Range
from coldseal.gateway.store.segments import State, segment_path
from tests.gateway.wrecks import STORE_KEY, Wreck, flip, make_wreck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sealed import SealedLog


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """A log of two segments, closed in order."""
    folder = tmp_path_factory.mktemp("whole") / "gw"
    return asyncio.run(make_wreck(folder, (50, 1, 600, 3), rolls=(1,), is_settled=True))


def numbered(log: SealedLog, *ranges: tuple[int, int]) -> Iterator[tuple[int, bytes]]:
    """Give entries with their seqs."""
    for first, end in ranges:
        yield from enumerate(log.entries[first:end], first)


def chain_of(log: SealedLog) -> Chain:
    """Give the chain behind the last entry."""
    return log.chain_at(log.size)


def test_a_sound_segment_is_taken_and_another_written(wreck: Wreck, tmp_path: Path) -> None:
    """Together they are the log; roots come from them."""
    log, first = wreck.log, wreck.starts[1]
    new = Rebuilding(tmp_path / "new", STORE_KEY, Head(log.size, chain_of(log).tree.root()))
    new.take_sound(wreck.segment(0), 0, first)
    notes = [(size, note) for size, note in log.notes.items() if size > first]
    new.write(
        first, numbered(log, (first, log.size)), [], notes, {"ended": State(1, b""), "day": State(0, b"1")}
    )
    assert new.tree is not None
    assert new.tree.root() == chain_of(log).tree.root()
    new.finish(chain_of(log), {"day": State(0, b"1"), "ended": State(1, b"")})
    with closing(LogReader(tmp_path / "new", STORE_KEY)) as reader:
        assert list(reader.read_from(0)) == log.entries
        assert reader.root(log.size) == chain_of(log).tree.root()
        assert reader.checkpoint_at_most(log.size) is not None
    assert segment_path(tmp_path / "new", 0).stat().st_nlink == 2


def test_where_files_cannot_be_linked_they_are_copied(
    wreck: Wreck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have one name for a file."""

    def refuse(*_: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", refuse)
    new = Rebuilding(tmp_path / "new", STORE_KEY, None)
    new.take_sound(wreck.segment(0), 0, wreck.starts[1])
    copy = segment_path(tmp_path / "new", 0)
    assert copy.read_bytes() == wreck.segment(0).read_bytes()
    assert copy.stat().st_nlink == 1


@pytest.mark.parametrize("by", ["note", "head"])
def test_entries_that_lead_to_another_root_are_refused(wreck: Wreck, tmp_path: Path, by: str) -> None:
    """Neither a checkpoint nor the head is overruled."""
    log = wreck.log
    size, note = next(iter(log.notes.items()))
    head = Head(size, bytes(32)) if by == "head" else None
    notes = [(size - 1, note)] if by == "note" else []
    new = Rebuilding(tmp_path / "new", STORE_KEY, head)
    with pytest.raises(StoreDamagedError, match="another root at size"):
        new.write(0, numbered(log, (0, size)), [], notes, {})


def test_a_segment_with_holes_says_what_is_lost(wreck: Wreck, tmp_path: Path) -> None:
    """Up to the first hole tree hashes are worked out; others are put in as they were stored."""
    log = wreck.log
    new = Rebuilding(tmp_path / "new", STORE_KEY, None)
    holes = [Range(300, 310), Range(log.size - 4, log.size)]
    new.write(0, numbered(log, (0, 300), (310, log.size - 4)), holes, [], {})
    assert (new.tree, new.last) == (None, None)
    chain = chain_of(log)
    new.keep_tree(0, chain, [(8, 1, bytes(32))])
    new.keep_tree(0, chain, [(8, 1, bytes(32))])
    new.finish(chain, {"day": State(0, b"1")})
    path = segment_path(tmp_path / "new", 0)
    with closing(open_database(path, STORE_KEY, readonly=True)) as connection:
        tiles = {(level, n) for level, n, _ in fetch(connection, "SELECT * FROM tiles")}
        first = find_lost(connection)
    assert {(8, 0), (8, 1), (9, 0)} <= tiles
    assert first is not None
    assert (first.first, first.last, first.gap) == (300, 309, -1)
    assert "the next gap entry states it" in str(first)
    name_gap(path, STORE_KEY, 77)
    with closing(LogReader(tmp_path / "new", STORE_KEY)) as reader:
        assert reader.read(310, max_entries=1) == [log.entries[310]]
        with pytest.raises(LostError, match="entry 77, of the kind gap") as caught:
            reader.read(305)
        assert (caught.value.seq, caught.value.first, caught.value.last) == (305, 300, 309)
        with pytest.raises(LostError, match=f"entries {log.size - 4} to"):
            reader.read(log.size - 1)
        assert reader.nodes(9, 0) == chain.tree.hashes[0]


def test_a_segment_of_which_nothing_is_left_is_one_hole(tmp_path: Path) -> None:
    """Its place stays."""
    new = Rebuilding(tmp_path / "new", STORE_KEY, None)
    new.write(0, iter(()), [Range(0, 51)], [], {})
    assert new.tree is None
    with closing(open_database(segment_path(tmp_path / "new", 0), STORE_KEY, readonly=True)) as connection:
        lost = find_lost(connection, 50)
        assert lost is not None
        assert find_lost(connection, 51) is None


def test_a_damaged_page_is_named_by_the_first_entry_that_cannot_be_read(wreck: Wreck, tmp_path: Path) -> None:
    """What stands before it is read."""
    harmed = wreck.copy(tmp_path / "gw")
    flip(harmed.segment(1), harmed.segment(1).stat().st_size // 2)
    with closing(LogReader(harmed.store, STORE_KEY)) as reader:
        assert reader.read(0, max_entries=51) == wreck.log.entries[:51]
        with pytest.raises(StoreDamagedError) as caught:
            reader.read(0, max_entries=600)
    assert caught.value.seq == 51


def test_an_empty_log_gets_a_segment_and_a_head(tmp_path: Path, wreck: Wreck) -> None:
    """With nothing in them."""
    new = Rebuilding(tmp_path / "new", STORE_KEY, None)
    new.finish(Chain(wreck.log.origin, wreck.log.keys.record.kid), {})
    with closing(LogReader(tmp_path / "new", STORE_KEY)) as reader:
        assert reader.size() == 0
