"""What is made of files follows them; what is wrong with them is said once, and not at the first blink."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.identity.watched import GRACE_S, Watched


class Two:
    """Two files that must say the same."""

    def __init__(self, folder: Path) -> None:
        """Write them."""
        self.files = [folder / "one", folder / "two"]
        self.now_s = 100.0
        self.made = 0
        for path in self.files:
            path.write_text("a")
        self.watched = Watched("one", [*self.files, None], self._make, now_s=lambda: self.now_s)

    def _make(self) -> str:
        self.made += 1
        first, second = (path.read_text() for path in self.files)
        if first != second:
            raise OperatorError(f"{first} is not {second}", "Write both")
        return first


def test_changed_files_are_taken_and_others_not_read(tmp_path: Path) -> None:
    """A look at what is as before costs no reading."""
    two = Two(tmp_path)
    assert (two.watched.refresh(), two.watched.value, two.made) == (False, "a", 1)
    for path in two.files:
        path.write_text("bb")
    assert (two.watched.refresh(), two.watched.value) == (True, "bb")
    assert not two.watched.refresh()
    os.chmod(two.files[0], 0o600)  # noqa: PTH101 -- who may read it has changed, its content has not
    assert two.watched.refresh()


def test_files_that_are_replaced_one_after_the_other_are_no_fault(tmp_path: Path, lines: io.StringIO) -> None:
    """In between, what was there is in force, and nothing is said."""
    two = Two(tmp_path)
    two.files[0].write_text("bb")
    assert (two.watched.refresh(), two.watched.value) == (False, "a")
    two.now_s += GRACE_S - 0.1
    assert not two.watched.refresh()
    two.files[1].write_text("bb")
    assert (two.watched.refresh(), two.watched.value) == (True, "bb")
    two.now_s += GRACE_S
    assert not two.watched.refresh()
    assert lines.getvalue() == ""


def test_what_stays_wrong_is_said_once_and_again_only_after_it_was_right(
    tmp_path: Path, lines: io.StringIO
) -> None:
    """However often it changes meanwhile; a file that is away is wrong too."""
    two = Two(tmp_path)
    two.files[0].write_text("bb")
    for step in range(20):
        two.files[1].write_text("c" * (step + 3))
        two.watched.refresh()
        two.now_s += 1
    assert lines.getvalue().count("certificate.kept") == 1
    two.files[1].write_text("bb")
    assert two.watched.refresh()
    two.files[1].unlink()
    with pytest.raises(FileNotFoundError):  # who makes, says what is wrong: this one does not
        two.watched.refresh()


def test_a_person_s_word_reloads_at_once_or_fails(tmp_path: Path) -> None:
    """What was in force stays."""
    two = Two(tmp_path)
    two.files[0].write_text("bb")
    with pytest.raises(OperatorError, match="bb is not a"):
        two.watched.reload()
    assert two.watched.value == "a"
    two.files[1].write_text("bb")
    two.watched.reload()
    assert (two.watched.value, two.watched.refresh()) == ("bb", False)
