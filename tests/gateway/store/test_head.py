"""Claims about the head: the newest one that was written whole is the one that is read."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.head import EMPTY_HEAD, Head, HeadFile

HEADS = [Head(size, bytes([size]) * 32) for size in range(1, 6)]


def test_a_new_head_is_that_of_the_empty_log(tmp_path: Path) -> None:
    """Durable before the first entry can be, and private."""
    with closing(HeadFile.create(tmp_path / "head")) as head:
        assert head.read() == EMPTY_HEAD
    assert (tmp_path / "head").stat().st_mode & 0o077 == 0


def test_each_head_is_read_back_also_by_another_reader(tmp_path: Path) -> None:
    """The uplink's process looks here for news."""
    with (
        closing(HeadFile.create(tmp_path / "head")) as writer,
        closing(HeadFile(tmp_path / "head", readonly=True)) as reader,
    ):
        for head in HEADS:
            writer.write(head)
            assert writer.read() == reader.read() == head
        writer.sync()


def test_a_torn_write_leaves_the_head_before_it(tmp_path: Path) -> None:
    """Whichever slot it hit, and however many bytes of it were written."""
    path = tmp_path / "head"
    for last in range(1, len(HEADS)):
        path.unlink(missing_ok=True)
        with closing(HeadFile.create(path)) as head:
            for each in HEADS[:last]:
                head.write(each)
            before = path.read_bytes()
            head.write(HEADS[last])
            after = path.read_bytes()
        changed = [place for place in range(len(after)) if after[place] != before[place]]
        for cut in changed[1:]:
            path.write_bytes(after[:cut] + before[cut:])
            with closing(HeadFile(path)) as head:
                assert head.read() == HEADS[last - 1]


def test_writing_goes_on_in_the_right_slot_after_opening(tmp_path: Path) -> None:
    """The newest head is never the one that is written over."""
    path = tmp_path / "head"
    HeadFile.create(path).close()
    for head in HEADS:
        with closing(HeadFile(path)) as file:
            before = file.read()
            file.write(head)
            content = path.read_bytes()
        assert before.root in content
        assert head.root in content


@given(content=st.binary(max_size=9000))
def test_whatever_is_no_head_is_not_read_as_one(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Noise is damage, not the empty log."""
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(content)
    with closing(HeadFile(path)) as head, pytest.raises(StoreDamagedError, match="neither of its two slots"):
        head.read()


def test_a_head_of_another_format_is_not_read(tmp_path: Path) -> None:
    """A checksum alone does not make a head."""
    path = tmp_path / "head"
    HeadFile.create(path).close()
    path.write_bytes(bytes(8192))  # the checksum of nothing but zeros does not fit either
    with closing(HeadFile(path)) as head, pytest.raises(StoreDamagedError):
        head.read()


def test_a_head_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Whether that is damage or an empty directory, the log decides."""
    with pytest.raises(UnavailableError, match="No such file"):
        HeadFile(tmp_path / "head")
    with pytest.raises(UnavailableError, match="No such file"):
        HeadFile.create(tmp_path / "absent" / "head")


def test_a_head_on_a_failing_disk_is_unavailable(tmp_path: Path) -> None:
    """As a descriptor that is gone fails every question."""
    head = HeadFile.create(tmp_path / "head")
    os.close(head._file)
    for question in (head.read, lambda: head.write(HEADS[0]), head.sync):
        with pytest.raises(UnavailableError, match="Bad file descriptor"):
            question()
