"""A closed segment is read as a whole and held against itself: what differs is named by its first seq."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.merkle import CompactRange, MerkleTree, leaf_hash
from coldseal.core.log.record import frame
from coldseal.errors import InputError
from coldseal.gateway.store.database import StoreDamagedError, close_final, open_database
from coldseal.gateway.store.inspection import Inspection, entries_of, grow, prev_of
from coldseal.gateway.store.pruned import Pruned, arm, finish, write_draft
from coldseal.gateway.store.reader import LogReader
from tests.gateway.wrecks import STORE_KEY, Wreck, flip, make_wreck

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """Two closed segments and one that is written."""
    folder = tmp_path_factory.mktemp("whole") / "gw"
    return asyncio.run(make_wreck(folder, (50, 1, 500, 3, 300, 2), rolls=(2, 4), is_settled=True))


@pytest.fixture
def wreck(whole: Wreck, tmp_path: Path) -> Wreck:
    """A copy of it."""
    return whole.copy(tmp_path / "gw")


def examine(wreck: Wreck, inspection: Inspection | None = None, *numbers: int) -> Inspection:
    """Look at closed segments, one after the other."""
    found = inspection or Inspection()
    for number in numbers or (0, 1):
        end = wreck.starts[number + 1]
        for _ in found.examine(wreck.segment(number), STORE_KEY, wreck.starts[number], end):
            pass
    return found


def change(wreck: Wreck, number: int, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Change a segment as somebody with the key can."""
    connection = open_database(wreck.segment(number), STORE_KEY)
    for name in ("groups_insert", "groups_update", "groups_delete", "tiles_update", "tiles_delete"):
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    for statement in statements:
        connection.execute(statement, values)
    close_final(connection)


def damage_in(wreck: Wreck, *numbers: int) -> StoreDamagedError:
    """Give what is found."""
    with pytest.raises(StoreDamagedError) as caught:
        examine(wreck, None, *numbers)
    return caught.value


def test_a_sound_log_gives_its_tree(wreck: Wreck) -> None:
    """Over all closed segments, with the hash of the last entry."""
    found = examine(wreck)
    assert found.tree is not None
    end = wreck.starts[2]
    assert found.tree.root() == wreck.log.chain_at(end).tree.root()
    assert found.leaf == leaf_hash(wreck.log.entries[end - 1])
    assert found.prev == leaf_hash(wreck.log.entries[wreck.starts[1] - 1])


def test_behind_a_segment_that_is_left_out_links_are_still_checked(wreck: Wreck) -> None:
    """Roots cannot be told there."""
    found = Inspection()
    found.skip()
    assert examine(wreck, found, 1).tree is None


def test_a_damaged_page_is_named_by_what_is_missing_first(wreck: Wreck) -> None:
    """Nothing before it is doubted."""
    flip(wreck.segment(1), wreck.segment(1).stat().st_size - 2000)
    error = damage_in(wreck)
    assert error.seq is not None
    assert wreck.starts[1] <= error.seq < wreck.starts[2]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM groups WHERE first = (SELECT max(first) FROM groups)", "it ends at"),
        ("DELETE FROM groups WHERE first = 50", "the next entry is 51"),
        ("UPDATE groups SET count = count + 1 WHERE first = 51", "a group of"),
        ("UPDATE tiles SET root = zeroblob(32)", "the tree hash"),
        ("UPDATE groups SET entries = x'0005' WHERE first = 51", "bundle"),
    ],
)
def test_what_somebody_changed_with_the_key_is_found(wreck: Wreck, statement: str, said: str) -> None:
    """The pages' own check holds there."""
    change(wreck, 0, statement)
    assert said in damage_in(wreck).why


def test_entries_of_another_place_are_found(wreck: Wreck) -> None:
    """An older group under the name of a newer one, a group whose links do not hold, a foreign neighbour."""
    entries = wreck.log.entries
    other = wreck.copy(wreck.folder.parent / "other")
    early = frame(entries[1:50])
    change(wreck, 0, "UPDATE groups SET entries = ?, count = 49 WHERE first = 0", values=(early,))
    assert "another seq" in damage_in(wreck).why
    broken = frame((*entries[51:300], entries[7], *entries[301:551]))
    change(other, 0, "UPDATE groups SET entries = ?, count = 500 WHERE first = 51", values=(broken,))
    error = damage_in(other, 0)
    assert (error.seq, error.why) == (300, "the entry does not continue the chain")
    found = Inspection()
    found.leaf = bytes(32)
    with pytest.raises(StoreDamagedError, match="does not continue"):
        examine(wreck, found, 1)


def test_a_checkpoint_with_another_root_is_found(wreck: Wreck) -> None:
    """Whatever signed it."""
    found = Inspection()
    found.tree = CompactRange.from_hashes(wreck.starts[1], [bytes(32)] * wreck.starts[1].bit_count())
    change(wreck, 1, "DELETE FROM tiles")
    with pytest.raises(StoreDamagedError, match="has another root"):
        examine(wreck, found, 1)


def test_a_missing_file_is_damage(wreck: Wreck) -> None:
    """It is not made anew by looking at it."""
    wreck.segment(0).unlink()
    assert damage_in(wreck).seq == 0
    assert not wreck.segment(0).exists()


def prune(wreck: Wreck) -> None:
    """Prune the first segment, as far as its file goes."""
    about = Pruned(0, wreck.starts[1] - 1, "archive", "A" * 44)
    with closing(LogReader(wreck.store, STORE_KEY)) as reader:
        draft = write_draft(reader, wreck.store, STORE_KEY, 0, about)
    arm(draft, STORE_KEY, wreck.log.size)
    finish(draft, STORE_KEY, wreck.log.size)


def test_a_pruned_segment_is_held_against_its_hashes(wreck: Wreck) -> None:
    """They lead to the same tree; the entries that stayed must have theirs."""
    prune(wreck)
    found = examine(wreck)
    assert found.tree is not None
    assert found.tree.root() == wreck.log.chain_at(wreck.starts[2]).tree.root()
    assert list(entries_of(wreck.segment(0), STORE_KEY, 0)) == []
    other = frame((wreck.log.entries[1],))
    change(wreck, 0, "UPDATE groups SET entries = ? WHERE first = 0", values=(other,))
    assert "another hash than was kept" in damage_in(wreck).why


def test_entries_of_a_sound_segment_come_from_any_place_on(wreck: Wreck) -> None:
    """In the midst of a group as well."""
    end = wreck.starts[1]
    assert list(entries_of(wreck.segment(0), STORE_KEY, 100)) == wreck.log.entries[100:end]


def test_a_tree_grows_with_all_its_hashes() -> None:
    """Each whole subtree of 256 leaves and more comes once, when it is whole."""
    tree, leaves = CompactRange(), [leaf_hash(b"%d" % number) for number in range(1100)]
    made = [tile for leaf in leaves for tile in grow(tree, leaf)]
    whole = MerkleTree(leaves)
    assert tree.root() == whole.root()
    assert [(level, n) for level, n, _ in made] == [(8, 0), (8, 1), (9, 0), (8, 2), (8, 3), (9, 1), (10, 0)]
    assert all(whole.nodes(level, n) == root for level, n, root in made)


def test_the_hash_before_is_read_without_parsing_where_that_is_safe(wreck: Wreck) -> None:
    """An entry that mentions it elsewhere is parsed."""
    raw = wreck.log.entries[5]
    assert prev_of(raw) == leaf_hash(wreck.log.entries[4])
    strange = wreck.log.copy()
    strange.seal("import", {"prev": "nothing", "who": "somebody"})
    assert prev_of(strange.entries[-1]) == leaf_hash(strange.entries[-2])
    with pytest.raises(InputError):
        prev_of(b"nothing")
    with pytest.raises(InputError, match="64 hex digits"):
        prev_of(b'"prev":"zz"')
