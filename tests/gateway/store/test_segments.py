"""Claims about segment files: they only grow, appear whole, and name themselves in order."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import Connection, StoreDamagedError, fetch, open_database
from coldseal.gateway.store.segments import (
    Addition,
    Segment,
    State,
    create_segment,
    file_number,
    is_settled,
    list_segments,
    publish_segment,
    segment_path,
    settle_segment,
    wal_path,
)
from tests.gateway.store.logs import KEY

ENTRIES = [b"zero", b"one", b"two"]
ADDITION = Addition(0, ENTRIES, 3, b"note", [(8, 0, bytes(32))], {"chain": State(3, b"three")})


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """Give a segment with three entries, a checkpoint, a tree hash and a state."""
    publish_segment(create_segment(tmp_path, 0, KEY, {"chain": State(0, b"none")}))
    segment = Segment(tmp_path, 0, KEY)
    segment.begin(ADDITION)
    segment.commit()
    return segment


def connect(segment: Segment, *, recursive_triggers: bool = True) -> Connection:
    """Open a segment as another tool with the key might."""
    connection = open_database(segment.path, KEY)
    connection.pragma("recursive_triggers", int(recursive_triggers))
    return connection


@pytest.mark.parametrize("recursive_triggers", [True, False])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE groups SET entries = x'00'",
        "UPDATE groups SET first = 17 WHERE first = 2",
        "DELETE FROM groups",
        "DELETE FROM groups WHERE first = 2",
        "REPLACE INTO groups VALUES (2, 1, x'00')",
        "INSERT OR REPLACE INTO groups VALUES (0, 1, x'00')",
        "INSERT INTO groups VALUES (4, 1, x'00')",
        "INSERT INTO groups VALUES (1, 1, x'00')",
        "UPDATE checkpoints SET note = x'00'",
        "DELETE FROM checkpoints",
        "UPDATE tiles SET root = x'00'",
        "DELETE FROM tiles",
    ],
)
def test_nothing_is_changed_removed_or_put_out_of_order(
    segment: Segment, statement: str, *, recursive_triggers: bool
) -> None:
    """The guards hold for any tool that keeps to SQL, whatever its settings."""
    with closing(connect(segment, recursive_triggers=recursive_triggers)) as connection:
        with pytest.raises(apsw.ConstraintError, match=r"groups|checkpoints|tiles"):
            connection.execute(statement)
        rows = fetch(connection, "SELECT first, count FROM groups")
    assert rows == [(0, 1), (1, 1), (2, 1)]
    segment.abandon()


@pytest.mark.parametrize("table", ["checkpoints", "tiles"])
def test_a_replace_of_what_proves_is_refused_on_our_connections(segment: Segment, table: str) -> None:
    """`REPLACE` deletes: the delete trigger fires because recursive triggers are on."""
    values = "(3, x'00')" if table == "checkpoints" else "(8, 0, x'00')"
    with (
        closing(connect(segment)) as connection,
        pytest.raises(apsw.ConstraintError, match="nothing is removed"),
    ):
        connection.execute(f"REPLACE INTO {table} VALUES {values}")  # noqa: S608 # both parts are ours
    segment.abandon()


def test_a_second_checkpoint_over_the_same_size_changes_nothing(segment: Segment) -> None:
    """The first one stands."""
    segment.begin(Addition(3, (), 3, b"another note", (), {}))
    segment.commit()
    with closing(connect(segment)) as connection:
        assert fetch(connection, "SELECT note FROM checkpoints") == [(b"note",)]
    segment.abandon()


def test_what_was_added_is_there(segment: Segment) -> None:
    """Size, states, and the addition itself on a fresh connection."""
    assert segment.size() == 3
    assert segment.state() == {"chain": State(3, b"three")}
    assert segment.holds(ADDITION)
    assert not segment.holds(Addition(3, [b"three"], 4, None, (), {}))
    assert not segment.holds(Addition(0, [b"0", b"1", b"2"], 3, None, (), {}))
    assert segment.holds(Addition(3, (), 3, b"note", (), {}))
    assert not segment.holds(Addition(3, (), 3, b"another note", (), {}))
    segment.abandon()


def test_an_addition_that_is_not_committed_is_not_there(segment: Segment) -> None:
    """Not for others, and after a rollback not for us."""
    following = Addition(3, [b"three"], 4, None, (), {})
    segment.begin(following)
    assert not segment.holds(following)
    segment.rollback()
    segment.rollback()  # nothing is open any more: nothing happens
    assert segment.size() == 3
    segment.abandon()


def test_an_addition_that_cannot_begin_leaves_no_transaction(segment: Segment) -> None:
    """The next one begins as if nothing had happened."""
    with pytest.raises(UnavailableError, match="added at the end"):
        segment.begin(Addition(7, [b"seven"], 8, None, (), {}))
    segment.begin(Addition(3, [b"three"], 4, None, (), {}))
    segment.commit()
    assert segment.size() == 4
    segment.abandon()


def test_a_large_group_is_one_row(segment: Segment) -> None:
    """Inserting it is then one copy; small groups fill pages better one by one."""
    segment.begin(Addition(3, [bytes(100)] * 100, 103, None, (), {}))
    segment.commit()
    with closing(connect(segment)) as connection:
        assert fetch(connection, "SELECT first, count FROM groups WHERE first > 2") == [(3, 100)]
    segment.abandon()


def test_the_wal_is_counted_and_copied(segment: Segment) -> None:
    """What is pending shrinks when it is copied, and begins anew with the next commit."""
    assert segment.pending_pages > 0
    segment.copy_wal()
    assert segment.pending_pages == 0
    segment.begin(Addition(3, [b"three"], 4, None, (), {}))
    segment.commit()
    assert 0 < segment.pending_pages < 5
    segment.abandon()


def test_abandoning_leaves_every_file_as_it_is(segment: Segment) -> None:
    """A damaged WAL may still be salvaged; closing must not copy its good part and delete the rest."""
    before = segment.path.read_bytes(), segment.wal.read_bytes()
    segment.abandon()
    assert (segment.path.read_bytes(), segment.wal.read_bytes()) == before


def test_closing_leaves_one_plain_file(segment: Segment) -> None:
    """From which everything can be read, and where nobody leaves anything beside it."""
    segment.close()
    assert [path.name for path in segment.path.parent.iterdir()] == [segment.path.name]
    settle_segment(segment.path.parent, 0, KEY)  # it is settled: nothing happens
    with closing(open_database(segment.path, KEY, readonly=True, is_final=True)) as connection:
        assert len(fetch(connection, "SELECT first FROM groups")) == 3
    assert [path.name for path in segment.path.parent.iterdir()] == [segment.path.name]


def test_a_segment_that_kept_its_wal_is_settled_later(segment: Segment) -> None:
    """A crash came before, or somebody was reading."""
    segment.abandon()
    assert not is_settled(segment.path)
    settle_segment(segment.path.parent, 0, KEY)
    assert is_settled(segment.path)
    assert not segment.wal.exists()


def test_a_segment_appears_by_one_rename(tmp_path: Path) -> None:
    """A draft is no segment, and what a crash left of an earlier one does no harm."""
    (tmp_path / f"{5:020d}.new").write_bytes(b"torn")
    (tmp_path / f"{5:020d}.new-wal").write_bytes(b"torn")
    draft = create_segment(tmp_path, 5, KEY, {})
    assert list_segments(tmp_path) == []
    publish_segment(draft)
    assert list_segments(tmp_path) == [5]
    assert [path.name for path in tmp_path.iterdir()] == [f"{5:020d}.db"]


def test_a_segment_cannot_be_made_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The old one goes on."""
    with pytest.raises(UnavailableError):
        create_segment(tmp_path / "absent", 5, KEY, {})


def test_segments_are_listed_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    """Names are the first seq in 20 digits, so that a directory listing is in order too."""
    for first in (2_000_000, 0, 1_048_576):
        segment_path(tmp_path, first).touch()
    for name in ("head", "lock", "1.db", "x" * 20 + ".db", f"{7:020d}.new", f"{8:020d}.db-wal"):
        (tmp_path / name).touch()
    assert list_segments(tmp_path) == [0, 1_048_576, 2_000_000]
    assert wal_path(segment_path(tmp_path, 8)).name == f"{8:020d}.db-wal"


def test_a_damaged_segment_says_so(segment: Segment) -> None:
    """A page that is not what was written is damage, not unavailability."""
    segment.close()
    content = bytearray(segment.path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    segment.path.write_bytes(content)
    damaged = Segment(segment.path.parent, 0, KEY)
    with pytest.raises(StoreDamagedError):
        damaged.size()
    damaged.abandon()


def test_a_file_that_is_not_there_has_no_number(tmp_path: Path) -> None:
    """So whoever held it open looks again."""
    (tmp_path / "file").touch()
    assert file_number(tmp_path / "file") == (tmp_path / "file").stat().st_ino
    assert file_number(tmp_path / "absent") == -1
