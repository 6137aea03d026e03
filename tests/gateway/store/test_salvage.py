"""What proves itself is saved, and linked from the end to the beginning; nothing else is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import frame
from coldseal.gateway.store.packed import pack
from coldseal.gateway.store.pages import Row
from coldseal.gateway.store.salvage import Found, Range, joined, missing
from coldseal.gateway.store.segments import State
from tests.gateway.wrecks import STORE_KEY, Wreck, cut, flip, make_wreck
from tests.sealed import ORIGIN, SealedLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coldseal.core.log.record import Entry


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Found]:
    """Nothing found yet."""
    with Found(tmp_path / "found.db", STORE_KEY, ORIGIN) as made:
        yield made


@pytest.fixture(scope="module")
def log() -> SealedLog:
    """A log of some entries."""
    return SealedLog().grow(30)


def by_us(log: SealedLog, entry: Entry) -> bool:
    """Whether an entry holds under the log's key."""
    return verify_entry(log.keys.record.spki, "record", entry) is None


def choose(found: Found, log: SealedLog, linked: dict[int, bytes] | None = None) -> list[Range]:
    """Decide with the log's own key."""
    return found.choose(linked or {}, lambda entry: by_us(log, entry))


def test_entries_in_any_order_and_number_become_runs(found: Found, log: SealedLog) -> None:
    """Sorted by seq; what is missing lies between them."""
    found.add(log.entries[20:25] + log.entries[3:9] + log.entries[4:7])
    assert choose(found, log) == [Range(3, 9), Range(20, 25)]
    assert [raw for _, raw in found.entries(0, 100)] == log.entries[3:9] + log.entries[20:25]


def test_what_does_not_prove_itself_does_not_count(found: Found, log: SealedLog) -> None:
    """Bytes of any kind, entries of another log, and those that another key signed."""
    other = SealedLog(origin="other.example/gw").grow(3)
    forged = log.copy()
    forged.forge_signature()
    found.add([b"no entry", *other.entries, *log.entries[:10], forged.entries[-1]])
    assert choose(found, log) == [Range(0, 10)]


def test_an_entry_that_the_next_one_does_not_name_is_dropped(found: Found, log: SealedLog) -> None:
    """Of two at one place, the one in the chain counts; where none is, there is a hole."""
    other = log.copy()
    other.entries, other.chain = log.entries[:10], log.chain_at(10)
    other.grow(3, text="another history")
    found.add([*other.entries[10:12], *log.entries[:20]])
    assert choose(found, log) == [Range(0, 20)]
    assert [raw for _, raw in found.entries(0, 20)] == log.entries[:20]


def test_a_contradicted_entry_leaves_a_hole(found: Found, log: SealedLog) -> None:
    """It is not taken for want of a better one; what stands below it is looked at anew."""
    other = log.copy()
    other.entries, other.chain = log.entries[:10], log.chain_at(10)
    other.grow(1, text="another history")
    found.add([*log.entries[:10], other.entries[10], *log.entries[11:20]])
    assert choose(found, log) == [Range(0, 10), Range(11, 20)]


def test_a_sound_neighbour_names_what_counts(found: Found, log: SealedLog) -> None:
    """The last entry of a range is the one that the segment behind it goes on from."""
    found.add(log.entries[:10])
    assert choose(found, log, {9: bytes(32)}) == [Range(0, 9)]
    found.add(log.entries[:10])
    assert choose(found, log, {9: leaf_hash(log.entries[9])}) == [Range(0, 10)]


def test_what_an_older_wal_left_fills_holes_and_goes_on_but_makes_no_end(
    found: Found, log: SealedLog
) -> None:
    """A commit that failed may have left entries that nobody was acknowledged for."""
    found.add([*log.entries[:5], *log.entries[6:10]])
    for seq in (5, 10, 11, 13):
        found._take_row(Row(seq, (None, 1, frame((log.entries[seq],))), is_firm=False))
    assert choose(found, log) == [Range(0, 12)]


def test_nothing_found_is_nothing(found: Found, log: SealedLog) -> None:
    """No run, no state, no checkpoint."""
    assert choose(found, log) == []
    assert found.state("chain", 100) is None
    assert list(found.notes(0, 100)) == []
    assert found.tiles(0, 100) == []


def test_rows_are_taken_for_what_they_are(found: Found, log: SealedLog) -> None:
    """Groups, packed or not, states, checkpoints, tree hashes; leaf hashes and all else are passed over."""
    made = log.copy()
    note = made.checkpoint()
    for row in (
        Row(0, (None, 10, frame(log.entries[:10])), is_firm=True),
        Row(10, (None, 5, pack(frame(log.entries[10:15]))), is_firm=True),
        Row(15, (None, 3, frame(log.entries[15:18])[:-9]), is_firm=True),
        Row(1, ("chain", 7, b"seven"), is_firm=True),
        Row(1, ("chain", "seven", b""), is_firm=True),
        Row(made.size, (None, note), is_firm=True),
        Row(made.size + 1, (None, note), is_firm=True),
        Row(5, (None, bytes(64)), is_firm=True),
        Row(0, (8, 0, bytes(32)), is_firm=True),
        Row(0, (8, 0, b"short"), is_firm=True),
        Row(0, (1, 2), is_firm=True),
        Row(0, (None, None, None, b""), is_firm=True),
    ):
        found._take_row(row)
    assert choose(found, log) == [Range(0, 17)]
    assert found.state("chain", 100) == State(7, b"seven")
    assert list(found.notes(0, 100)) == [(made.size, note)]
    assert found.tiles(0, 256) == [(8, 0, bytes(32))]


def test_of_many_states_the_newest_are_kept(found: Found) -> None:
    """Each version of a page has one; the first that was met of a size counts."""
    for size in range(40):
        found._take_row(Row(1, ("chain", size, b"%d" % size), is_firm=True))
        found._take_row(Row(1, ("chain", size, b"older"), is_firm=True))
    assert len(found.states["chain"]) == 16
    assert found.state("chain", 30) == State(30, b"30")
    assert found.state("chain", 3) is None


def test_versions_of_a_page_are_looked_at_once(found: Found) -> None:
    """However often its entries come, and however many there are."""
    many = SealedLog(mode="checkpoint").grow(1_100)
    found.add(many.entries + many.entries[-5:] + many.entries[:5])
    assert found.choose({}, lambda _entry: True) == [Range(0, many.size)]


def test_the_file_is_gone_at_the_end(tmp_path: Path) -> None:
    """What it held was copied where it belongs."""
    with Found(tmp_path / "found.db", STORE_KEY, ORIGIN) as made:
        assert (tmp_path / "found.db").exists()
        made.add(SealedLog().entries)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """A log in one segment, as after a crash."""
    folder = tmp_path_factory.mktemp("wreck") / "gw"
    return asyncio.run(make_wreck(folder, (5, 1, 100, 1, 50, 2)))


def test_entries_before_and_behind_the_damage_are_saved(wreck: Wreck, tmp_path: Path, found: Found) -> None:
    """A page in the midst costs what stands in it."""
    harmed = wreck.copy(tmp_path / "gw")
    flip(harmed.wal, harmed.wal.stat().st_size // 2)
    found.gather(harmed.last)
    runs = choose(found, wreck.log)
    assert found.damaged == 1
    assert runs[0].first == 0
    assert runs[-1].end == wreck.log.size
    for seq, raw in found.entries(0, wreck.log.size):
        assert raw == wreck.log.entries[seq]
    assert sum(run.end - run.first for run in runs) > wreck.log.size - 16


def test_a_cut_wal_gives_what_is_before_the_cut(wreck: Wreck, tmp_path: Path, found: Found) -> None:
    """Pieces of a group that lost its end are taken apart."""
    harmed = wreck.copy(tmp_path / "gw")
    cut(harmed.wal, harmed.wal.stat().st_size * 2 // 3)
    found.gather(harmed.last)
    runs = choose(found, wreck.log)
    assert runs[0].first == 0
    assert 20 < runs[-1].end < wreck.log.size


def test_ranges_are_joined_and_told_apart() -> None:
    """Runs that touch are one; what is missing lies between them, up to the end."""
    assert joined([Range(5, 9), Range(0, 3), Range(3, 5), Range(20, 22)]) == [Range(0, 9), Range(20, 22)]
    assert missing([Range(0, 9), Range(20, 22)], 0, 30) == [Range(9, 20), Range(22, 30)]
    assert missing([Range(0, 9), Range(20, 22)], 10, 15) == [Range(10, 15)]
    assert missing([Range(0, 9), Range(20, 22)], 2, 8) == []
    assert missing([], 4, 4) == []
    assert missing([Range(3, 6)], 0, 6) == [Range(0, 3)]
