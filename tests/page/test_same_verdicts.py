"""The command line ends with the same verdict and the same first bad entry as the page, case by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.evidence.verification import Question, verify_bundle
from tests.page.builder import honest
from tests.page.cases import CASES


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
