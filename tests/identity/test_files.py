"""Replacing a file: whole or not at all, and for its owner only."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.identity.files import replace_alike, replace_private_file


def test_a_file_is_replaced_with_mode_0600(tmp_path: Path) -> None:
    """Even where the old one was open to others."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o644)
    replace_private_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_may_read_stays_so_where_it_is_replaced_alike(tmp_path: Path) -> None:
    """With its mode; a new one is for its owner only, and a folder that is away is named."""
    path = tmp_path / "x"
    replace_alike(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    replace_alike(path, b"newer")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"newer", 0o644)
    assert list(tmp_path.iterdir()) == [path]
    taken = tmp_path / "folder"
    taken.mkdir()
    for wrong in (tmp_path / "away" / "x", taken):
        with pytest.raises(OperatorError, match="cannot be written"):
            replace_alike(wrong, b"new")


def test_a_reader_that_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    """The content is never changed in place."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        replace_private_file(path, b"new")
        assert reader.read() == b"old"


def test_a_refusal_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    """Here a folder has the name."""
    (tmp_path / "x").mkdir()
    with pytest.raises(OperatorError, match="cannot be written"):
        replace_private_file(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """It is not made silently."""
    with pytest.raises(OperatorError, match="absent/x cannot be written: No such file"):
        replace_private_file(tmp_path / "absent" / "x", b"new")
