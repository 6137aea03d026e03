"""Receipts and state are durable, encrypted, and readable beside the writer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.uplink import receipts as module
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus

KEY = bytes(range(32))


def receipt(size: int) -> StoredReceipt:
    """Give a receipt over so many entries."""
    return StoredReceipt(size, 1_800_000_000 + size, 1_800_000_000_000 + size, b"note %d" % size)


def state(size: int) -> UplinkStatus:
    """Give the state behind that receipt."""
    return UplinkStatus(published=size, receipt_ms=size)


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[Receipts]:
    """Give an empty file."""
    with closing(Receipts(tmp_path, KEY)) as found:
        yield found


def test_a_new_file_has_no_receipt_and_a_fresh_state(receipts: Receipts) -> None:
    """Nothing was delivered yet."""
    assert receipts.newest() is None
    assert receipts.over(0) is None
    assert receipts.all() == []
    assert receipts.status() == UplinkStatus()


def test_receipts_come_back_as_they_were_kept(receipts: Receipts, tmp_path: Path) -> None:
    """After a restart too."""
    for size in (3, 9, 27):
        receipts.keep(receipt(size), state(size))

    with closing(Receipts(tmp_path, KEY)) as again:
        assert again.all() == [receipt(3), receipt(9), receipt(27)]
        assert again.newest() == receipt(27)
        assert again.status() == state(27)


@pytest.mark.parametrize(("size", "found"), [(0, 3), (3, 3), (4, 9), (27, 27)])
def test_the_first_receipt_over_an_entry_is_found(receipts: Receipts, size: int, found: int) -> None:
    """It is the earliest proof that the entry was delivered."""
    for each in (3, 9, 27):
        receipts.keep(receipt(each), state(each))

    assert receipts.over(size) == receipt(found)
    assert receipts.over(28) is None


def test_the_first_receipt_at_a_size_stays(receipts: Receipts) -> None:
    """Given again, it proves no earlier time."""
    receipts.keep(receipt(3), state(3))
    receipts.keep(StoredReceipt(3, 9, 9, b"later"), state(3))

    assert receipts.all() == [receipt(3)]


def test_the_state_can_change_without_a_receipt(receipts: Receipts) -> None:
    """Failures are written as they come."""
    failing = UplinkStatus(phase="waiting", failures=2, fault="no route", failed={"unreachable": 2})
    receipts.note(failing)

    assert receipts.status() == failing


def test_another_process_reads_while_receipts_are_kept(receipts: Receipts, tmp_path: Path) -> None:
    """As the gateway does for its metrics."""
    with closing(Receipts(tmp_path, KEY, readonly=True)) as reader:
        assert reader.status() == UplinkStatus()
        receipts.keep(receipt(3), state(3))
        assert reader.status() == state(3)
        assert reader.newest() == receipt(3)


def test_a_reader_that_comes_first_finds_nothing(tmp_path: Path) -> None:
    """It tries again later; it never makes the file."""
    with pytest.raises(UnavailableError):
        Receipts(tmp_path, KEY, readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_comes_while_the_file_is_made_finds_nothing_or_all(tmp_path: Path) -> None:
    """Never half of it, which would look like a file under another key."""
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "uplink.new").write_bytes(b"of a process that was killed")
        with ThreadPoolExecutor(1) as beside:
            making = beside.submit(Receipts, folder, KEY)
            while not making.done():
                with suppress(UnavailableError), closing(Receipts(folder, KEY, readonly=True)) as reader:
                    assert reader.status() == UplinkStatus()
            making.result().close()
        assert not (folder / "uplink.new").exists()


def test_another_key_does_not_open_it(receipts: Receipts, tmp_path: Path) -> None:
    """The store key is the gateway's only one."""
    receipts.note(UplinkStatus())

    with pytest.raises(OperatorError):
        Receipts(tmp_path, bytes(32))


def test_the_wal_is_copied_now_and_then(
    receipts: Receipts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not grow for ever."""
    monkeypatch.setattr(module, "COPY_WAL_EVERY", 2)
    before = (tmp_path / module.NAME).stat().st_mtime_ns
    receipts.keep(receipt(1), state(1))
    assert (tmp_path / module.NAME).stat().st_mtime_ns == before

    receipts.keep(receipt(2), state(2))

    assert (tmp_path / module.NAME).stat().st_mtime_ns > before
