"""The ledger on disk: encrypted, whole after a crash, and each part read back as it was written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from coldseal.core.log.checkpoint import Checkpoint
from coldseal.core.log.delivery.receiver import Accepted, Head
from coldseal.core.log.delivery.signatures import Refutation
from coldseal.core.log.record import frame
from coldseal.errors import OperatorError, UnavailableError
from coldseal.service.storage.database import PlaintextError, open_database, verify_encrypted
from coldseal.service.storage.sqlite import MAX_EVIDENCE, SqliteLedger
from coldseal.service.storage.values import Evidence, Receipted, Summary

KEY = bytes(range(32))
ORIGIN = "coldseal.example/a"


def piece(first: int, *entries: bytes) -> Accepted:
    """Give an accepted batch with made-up hashes."""
    size = first + len(entries)
    hashes = tuple(bytes([n]) * 32 for n in range(size.bit_count()))
    head = Head(size, bytes([size % 256]) * 32, hashes, bytes([1]) * 32, "record")
    checkpoint = Checkpoint(ORIGIN, size, head.root)
    return Accepted(checkpoint, first, len(entries), frame(entries), head)


def put(ledger: SqliteLedger, accepted: Accepted, *, origin: str = ORIGIN, is_verified: bool = False) -> None:
    """Store a batch in a transaction of its own."""
    size = accepted.checkpoint.size
    with ledger.transaction():
        receipt = Receipted(size, size, accepted.head.root, b"note %d" % size)
        ledger.append(origin, accepted, receipt, is_verified=is_verified)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Give an empty ledger."""
    ledger = SqliteLedger(tmp_path / "ledger.db", KEY, limit_bytes=2**30)
    yield ledger
    ledger.close()


def evidence(number: int, *, t: int = 1) -> Evidence:
    """Give one proof of fault among many."""
    return Evidence(origin=ORIGIN, verdict="fork", t=t, detail=f"{number}", note=b"%d" % number)


def test_an_unknown_log_is_empty(ledger: SqliteLedger) -> None:
    """Nothing is held of it, and nothing raises."""
    assert ledger.head(ORIGIN) == Head()
    assert ledger.summary(ORIGIN) == Summary()
    assert ledger.entries(ORIGIN, 0, 10) == []
    assert ledger.next_bundles(ORIGIN, 0, 9) == []
    assert ledger.receipt(ORIGIN) is None
    assert ledger.refuted(ORIGIN, 10) == ()
    assert ledger.evidence(ORIGIN) == []
    assert ledger.unverified() == []
    assert ledger.totals() == Summary()


def test_heads_come_back_as_they_were_stored(ledger: SqliteLedger) -> None:
    """With the compact range in its parts."""
    first = piece(0, b"a", b"b", b"c")
    put(ledger, first)

    assert ledger.head(ORIGIN) == first.head


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        (0, 6, [b"a", b"b", b"c", b"d", b"e", b"f"]),
        (0, 1, [b"a"]),
        (1, 4, [b"b", b"c", b"d"]),
        (3, 4, [b"d"]),
        (4, 99, [b"e", b"f"]),
        (5, 5, []),
        (6, 99, []),
    ],
)
def test_any_range_of_entries_is_read_across_bundles(
    ledger: SqliteLedger, first: int, end: int, expected: list[bytes]
) -> None:
    """Wherever bundles begin and end."""
    put(ledger, piece(0, b"a", b"b", b"c"))
    put(ledger, piece(3, b"d"))
    put(ledger, piece(4, b"e", b"f"))

    assert ledger.entries(ORIGIN, first, end) == expected


def test_the_bundle_of_an_entry_comes_with_its_first_seq_and_count(ledger: SqliteLedger) -> None:
    """So that checking goes on anywhere."""
    put(ledger, piece(0, b"a", b"b", b"c"))
    put(ledger, piece(3, b"d"))

    first, second = (0, 3, frame([b"a", b"b", b"c"])), (3, 1, frame([b"d"]))
    assert ledger.next_bundles(ORIGIN, 1, 1) == [first]
    assert ledger.next_bundles(ORIGIN, 1, 9) == [first, second]
    assert ledger.next_bundles(ORIGIN, 3, 9) == [second]
    assert ledger.next_bundles(ORIGIN, 4, 9) == []


def test_receipts_are_found_by_size_or_the_newest(ledger: SqliteLedger) -> None:
    """Sizes at which none was given have none."""
    put(ledger, piece(0, b"a", b"b"))
    put(ledger, piece(2, b"c"))

    newest, older = ledger.receipt(ORIGIN), ledger.receipt(ORIGIN, 2)
    assert newest is not None
    assert older is not None
    assert (newest.size, newest.note, older.size) == (3, b"note 3", 2)
    assert ledger.receipt(ORIGIN, 1) is None


def test_a_batch_that_does_not_begin_at_the_end_is_not_stored(ledger: SqliteLedger) -> None:
    """Another writer was faster: nothing is overwritten or doubled."""
    put(ledger, piece(0, b"a", b"b"))

    for wrong in (piece(0, b"a", b"b"), piece(1, b"x"), piece(3, b"x")):
        with pytest.raises(UnavailableError, match="no longer"):
            put(ledger, wrong)
    assert ledger.entries(ORIGIN, 0, 9) == [b"a", b"b"]


def test_a_failed_step_inside_a_transaction_takes_nothing_else_with_it(ledger: SqliteLedger) -> None:
    """Batches that share a commit stand or fall alone."""
    with ledger.transaction():
        put(ledger, piece(0, b"a"))
        with pytest.raises(UnavailableError):
            put(ledger, piece(7, b"x"), origin="coldseal.example/b")
        put(ledger, piece(1, b"b"))

    assert ledger.entries(ORIGIN, 0, 9) == [b"a", b"b"]
    assert ledger.head("coldseal.example/b") == Head()


def test_verified_moves_on_from_where_it_was(ledger: SqliteLedger) -> None:
    """Not from elsewhere: what was checked at one time is not checked off at another."""
    put(ledger, piece(0, b"a", b"b"))
    put(ledger, piece(2, b"c"))
    with ledger.transaction():
        ledger.mark_verified(ORIGIN, 1, 2)
    assert ledger.summary(ORIGIN).verified == 0

    with ledger.transaction():
        ledger.mark_verified(ORIGIN, 0, 2)

    assert ledger.summary(ORIGIN) == Summary(3, 2, 0, "record")
    assert ledger.totals() == Summary(3, 2, 0)
    assert ledger.unverified() == [ORIGIN]


def test_what_was_verified_before_it_was_stored_counts_only_without_a_gap(ledger: SqliteLedger) -> None:
    """After a change of the setting, older entries are still to be checked."""
    put(ledger, piece(0, b"a"), is_verified=True)
    assert ledger.summary(ORIGIN).verified == 1
    put(ledger, piece(1, b"b"))
    put(ledger, piece(2, b"c"), is_verified=True)

    assert ledger.summary(ORIGIN).verified == 1


def test_refutations_are_kept_once_and_the_newest_are_named(ledger: SqliteLedger) -> None:
    """Each with leaf hash and reason."""
    put(ledger, piece(0, b"a", b"b", b"c"))
    found = [Refutation(seq, bytes(32), "bad-signature", "detail") for seq in range(3)]
    with ledger.transaction():
        ledger.refute(ORIGIN, found)
        ledger.refute(ORIGIN, found)

    assert ledger.refuted(ORIGIN, 2) == (1, 2)
    assert ledger.refutations(ORIGIN, 1, 3) == found[1:]
    assert ledger.summary(ORIGIN).refuted == 3


def test_evidence_is_bounded_and_the_same_is_counted(ledger: SqliteLedger) -> None:
    """A hostile gateway fills no disk; what is known is still counted beyond the bound."""
    with ledger.transaction():
        kept = [ledger.keep(evidence(number)) for number in range(MAX_EVIDENCE + 5)]
        assert ledger.keep(evidence(0, t=9))

    assert kept == [True] * MAX_EVIDENCE + [False] * 5
    found = ledger.evidence(ORIGIN)
    assert len(found) == MAX_EVIDENCE
    assert (found[0].times, found[0].last_t, found[0].evidence) == (2, 9, evidence(0))


def test_the_files_show_nothing_of_what_they_hold(tmp_path: Path) -> None:
    """Neither database nor WAL, before and after the WAL is merged."""
    marker = b'{"body":{"data":{"sensor":"probe-1"'
    ledger = SqliteLedger(tmp_path / "ledger.db", KEY, limit_bytes=2**30)
    put(ledger, piece(0, marker * 100))
    seen = [path.read_bytes() for path in tmp_path.iterdir()]
    ledger.merge_wal()
    ledger.close()
    seen += [path.read_bytes() for path in tmp_path.iterdir()]

    assert any(len(content) > len(marker) * 100 for content in seen)
    for content in seen:
        assert marker not in content
        assert b"SQLite format 3" not in content
        assert b"CREATE TABLE" not in content


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    """The error says what to do."""
    SqliteLedger(tmp_path / "ledger.db", KEY, limit_bytes=1).close()

    with pytest.raises(OperatorError, match="not a ledger under this key"):
        SqliteLedger(tmp_path / "ledger.db", bytes(32), limit_bytes=1)


def test_a_place_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    """A directory that is missing, or a file that is none."""
    with pytest.raises(UnavailableError):
        SqliteLedger(tmp_path / "missing" / "ledger.db", KEY, limit_bytes=1)


def test_a_plain_database_is_never_taken_for_an_encrypted_one(tmp_path: Path) -> None:
    """The check looks at the bytes, whatever the driver says."""
    path = tmp_path / "plain.db"
    plain = apsw.Connection(str(path))
    plain.execute("CREATE TABLE t (a)")
    plain.close()

    with pytest.raises(PlaintextError):
        verify_encrypted(path)
    with pytest.raises(OperatorError):
        open_database(path, KEY)


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """The cipher authenticates each page: changed data is never served."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path, KEY, limit_bytes=2**30)
    put(ledger, piece(0, *(bytes([n]) * 2000 for n in range(1, 40))))
    expected = ledger.entries(ORIGIN, 0, 99)
    ledger.close()
    honest = path.read_bytes()

    noticed = 0
    for place in range(100, len(honest), len(honest) // 60):
        changed = bytearray(honest)
        changed[place] ^= 1
        path.write_bytes(changed)
        try:
            ledger = SqliteLedger(path, KEY, limit_bytes=2**30)
        except (OperatorError, UnavailableError):
            noticed += 1
            continue
        try:
            assert ledger.entries(ORIGIN, 0, 99) == expected
        except UnavailableError:
            noticed += 1
        finally:
            ledger.close()
    assert noticed > 20


def test_what_was_committed_survives_a_killed_process(tmp_path: Path) -> None:
    """A commit that has returned is on disk, whatever happens to the program next."""
    script = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from tests.service.test_storage import piece, put, KEY\n"
        "from coldseal.service.storage.sqlite import SqliteLedger\n"
        "ledger = SqliteLedger(Path(sys.argv[1]), KEY, limit_bytes=2**30)\n"
        "for n in range(50):\n"
        "    put(ledger, piece(n, b'%d' % n))\n"
        "    os.write(1, b'%d\\n' % n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "ledger.db"

    done = subprocess.run([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, check=False)

    said = len(done.stdout.split())
    ledger = SqliteLedger(path, KEY, limit_bytes=2**30)
    assert said == 50
    assert ledger.entries(ORIGIN, 0, 99) == [b"%d" % n for n in range(said)]
    ledger.close()


def test_a_full_disk_is_told_and_nothing_of_the_batch_stays(tmp_path: Path) -> None:
    """The driver's refusal becomes ours."""
    ledger = SqliteLedger(tmp_path / "ledger.db", KEY, limit_bytes=2**30)
    put(ledger, piece(0, b"a"))
    ledger._writer.pragma("max_page_count", ledger._writer.pragma("page_count"))

    with pytest.raises(UnavailableError, match="full"):
        put(ledger, piece(1, os.urandom(60_000), os.urandom(60_000)))

    assert ledger.entries(ORIGIN, 0, 9) == [b"a"]
    assert ledger.head(ORIGIN).size == 1
    ledger.close()


def test_a_file_that_is_no_database_at_all_is_refused(tmp_path: Path) -> None:
    """Whatever the driver calls it."""
    (tmp_path / "ledger.db").mkdir()

    with pytest.raises(UnavailableError):
        SqliteLedger(tmp_path / "ledger.db", KEY, limit_bytes=1)


def test_a_wal_that_somebody_reads_is_merged_later(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Readers are never waited for."""
    put(ledger, piece(0, b"a"))
    other = open_database(tmp_path / "ledger.db", KEY)
    other.execute("BEGIN").execute("SELECT * FROM logs").fetchall()
    put(ledger, piece(1, b"b"))

    ledger.merge_wal()

    other.close()
    assert ledger.entries(ORIGIN, 0, 9) == [b"a", b"b"]


def test_every_receipt_is_shown_rising(ledger: SqliteLedger) -> None:
    """For whoever exports evidence."""
    for n in range(3):
        put(ledger, piece(n, b"%d" % n))

    assert [receipt.size for receipt in ledger.receipts(ORIGIN)] == [1, 2, 3]
    assert ledger.receipts("other") == []


def test_a_closed_ledger_is_unavailable(tmp_path: Path) -> None:
    """Every fault of the driver comes out as one of ours."""
    ledger = SqliteLedger(tmp_path / "ledger.db", KEY, limit_bytes=2**30)
    ledger.close()

    with pytest.raises(UnavailableError):
        ledger.entries(ORIGIN, 0, 9)
    with pytest.raises(UnavailableError):
        ledger.merge_wal()
    with pytest.raises(UnavailableError):
        put(ledger, piece(0, b"a"))


def test_the_size_on_disk_counts_database_and_wal(ledger: SqliteLedger) -> None:
    """What is written shows at once."""
    before = ledger.size_bytes
    put(ledger, piece(0, os.urandom(60_000)))

    assert ledger.size_bytes > before + 60_000
    assert ledger.limit_bytes == 2**30
