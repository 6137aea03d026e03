"""However the files of a bundle are shared out among processes, the answer is the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.evidence import Verdict
from coldseal.core.log.record import frame, parse_frames
from coldseal.evidence.files import EntryFile
from coldseal.evidence.verification import Question, verify_bundle
from coldseal.evidence.work import ENTRIES_PER_TASK, Piece, joined, share
from tests.evidence.parts import make_bundle, rewrite, seal_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEALED = seal_log(600)
FIRST, SECOND = "tile/entries/000", "tile/entries/001"


def entries_of(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[dict[str, bytes]], None]:
    """Change the entries of a file."""

    def edit(files: dict[str, bytes]) -> None:
        files[name] = frame(change(parse_frames(files[name])))

    return edit


def a_cell(seq: int) -> Callable[[dict[str, bytes]], None]:
    """Change a value of an entry's row."""

    def edit(files: dict[str, bytes]) -> None:
        files["readings.csv"] = re.sub(rb"(?m)^(%d,.*),4\.\d," % seq, rb"\1,9.9,", files["readings.csv"])

    return edit


EDITS = {
    "nothing": (lambda _files: None, None, 0),
    "an entry is missing at the end of a file": (entries_of(FIRST, lambda held: held[:-1]), Verdict.GAP, 255),
    "a file has one too many": (entries_of(FIRST, lambda held: [*held, held[-1]]), Verdict.GAP, 256),
    "a file is cut": (lambda files: files.update({FIRST: files[FIRST][:-1]}), Verdict.MALFORMED, 255),
    "the last of a file is none": (
        entries_of(FIRST, lambda held: [*held[:-1], b"?"]),
        Verdict.MALFORMED,
        255,
    ),
    "the first of a file is none": (
        entries_of(SECOND, lambda held: [b"?", *held[1:]]),
        Verdict.MALFORMED,
        256,
    ),
    "the first of a file is forged": (
        entries_of(SECOND, lambda held: [held[0].replace(b"41.2", b"41.3"), *held[1:]]),
        Verdict.BAD_SIGNATURE,
        256,
    ),
    "two change places": (entries_of(SECOND, lambda held: [held[1], held[0], *held[2:]]), Verdict.GAP, 256),
    "a row differs in the first file": (a_cell(7), Verdict.CSV, 7),
    "a row differs in the second file": (a_cell(301), Verdict.CSV, 301),
    "a row differs in the last file": (a_cell(599), Verdict.CSV, 599),
}


@pytest.mark.parametrize("name", EDITS)
def test_files_that_touch_are_judged_as_one_or_each_alone_with_the_same_answer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same faults with the same words, whatever is at the border of two files."""
    edit, verdict, seq = EDITS[name]
    path = rewrite(make_bundle(tmp_path / "log.coldseal", SEALED), edit, is_mended=True)
    reports = []
    for last_tasks in (1, 1_000):  # all files in one task; a task for each
        monkeypatch.setattr("coldseal.evidence.work._LAST_TASKS", last_tasks)
        reports.append(verify_bundle(path, Question(workers=1)).report)
    assert reports[0] == reports[1]
    faults = reports[0].faults
    assert (faults[0].verdict, faults[0].seq) == (verdict, seq) if verdict else not faults


def test_pieces_are_joined_only_where_nothing_is_missing_between() -> None:
    """What is behind a gap stands by itself."""
    whole, short, behind = (
        Piece((0, 2), [b"a", b"b"]),
        Piece((2, 4), [b"c"]),
        Piece((4, 5), [b"e"]),
    )
    assert joined([whole, short, behind]) == [Piece((0, 4), [b"a", b"b", b"c"]), behind]
    assert joined([whole, behind]) == [whole, behind]


@pytest.mark.parametrize("count", [0, 1, 40, 2_000])
def test_tasks_become_short_towards_the_end_and_hold_each_file_once(count: int) -> None:
    """So that no process still has much to do when the others have ended."""
    files = [EntryFile(f"tile/entries/{at:03d}", ((at * 256, at * 256 + 256),)) for at in range(count)]
    tasks = list(share(files))
    assert [file for task in tasks for file in task] == files
    lengths = [sum(file.length for file in task) for task in tasks]
    assert sorted(lengths, reverse=True) == lengths
    assert max(lengths, default=0) <= ENTRIES_PER_TASK
    assert lengths[-1:] in ([], [256])
