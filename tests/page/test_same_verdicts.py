"""The command line ends with the same verdict and the same first bad entry as the page, case by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.evidence.verification import Question, verify_bundle
from tests.page.builder import Story, honest, table_of, without_calibrations
from tests.page.cases import CASES, pruned
from tests.page.containers import CONTAINERS
from tests.page.false_times import booted_in_1970, down_on_one_boot


def test_the_honest_story_is_good(tmp_path: Path) -> None:
    """What the page calls good is good."""
    path = tmp_path / "good.coldseal"
    path.write_bytes(honest().bundle())
    assert verify_bundle(path, Question(workers=1)).report.faults == ()


@pytest.mark.parametrize("name", CASES)
def test_a_false_bundle_has_the_same_verdict(name: str, tmp_path: Path) -> None:
    """`CASES` holds for both."""
    mutate, verdict = CASES[name]
    story = honest()
    seq = mutate(story)
    path = tmp_path / "false.coldseal"
    path.write_bytes(story.bundle())
    first = verify_bundle(path, Question(workers=1)).report.faults[0]
    assert (first.verdict.value, first.seq) == (verdict, seq)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_damaged_container_is_refused(name: str, tmp_path: Path) -> None:
    """So does `CONTAINERS`."""
    path = tmp_path / "false.coldseal"
    path.write_bytes(CONTAINERS[name](honest().bundle()))
    (fault,) = verify_bundle(path, Question()).report.faults
    assert (fault.verdict.value, fault.seq) == ("bundle-damaged", 0)


def test_what_the_page_calls_good_is_good(tmp_path: Path) -> None:
    """A start on a clock that stepped, a boot in 1970, and a pruned range with its root and its receipt."""
    path = tmp_path / "good.coldseal"
    story = honest()
    down_on_one_boot(story, "boot")
    booted_in_1970(story)
    path.write_bytes(story.bundle())
    assert verify_bundle(path, Question(workers=1)).report.is_good
    story = honest()
    pruned(50)(story)
    for runs in (None, [(51, 291)], [(40, 45), (51, 291)], [(60, 291)]):
        path.write_bytes(story.bundle(runs))
        assert verify_bundle(path, Question(workers=1)).report.is_good
    story = honest()
    seq = pruned(50, root=bytes(32))(story)
    for runs, expected in (([(51, 291)], [("pruned-unproven", seq)]), ([(60, 291)], [])):
        path.write_bytes(story.bundle(runs))
        faults = verify_bundle(path, Question(workers=1)).report.faults
        assert [(fault.verdict.value, fault.seq) for fault in faults] == expected


def test_calibrated_readings_and_tables_from_before_them_are_good(tmp_path: Path) -> None:
    """With indication and calibration in the table, and without these two columns."""
    path, story = tmp_path / "good.coldseal", Story()
    story.grow(5)
    story.read_calibrated()
    story.note()
    table = table_of(story.entries)
    assert b",temperature,4.55,Cel,,40.1 [degF],1a2b3c4d\n" in table
    for each in (None, without_calibrations(table)):
        story.table = each
        path.write_bytes(story.bundle())
        assert verify_bundle(path, Question(workers=1)).report.faults == ()
