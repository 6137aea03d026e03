"""The campaign's own work: seeds are read, runs are counted, and a run that breaks is named."""

from __future__ import annotations

import pytest

from coldseal.demo.world import campaign, sabotage
from coldseal.demo.world.campaign import Score, describe, parse_seeds, play_seeds, search, summarise
from coldseal.errors import OperatorError
from tests.cli.conftest import answer, coldseal


def test_a_seed_and_a_range_are_read() -> None:
    """Both ends belong to a range."""
    assert parse_seeds("7") == range(7, 8)
    assert parse_seeds("1-300") == range(1, 301)


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-", "-1", "1,2"])
def test_anything_else_is_refused(text: str) -> None:
    """The hint shows what can be given."""
    with pytest.raises(OperatorError) as caught:
        parse_seeds(text)
    assert "1-300" in caught.value.hint


def test_runs_are_counted_over_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever plays them, the counts are the same."""
    seeds = range(1, 4)
    monkeypatch.setattr(campaign, "CHUNK", 2)
    alone = play_seeds(seeds, lambda _line: None)
    both = play_seeds(seeds, lambda _line: None, workers=2)
    assert (alone.runs, alone.counts, alone.broken) == (both.runs, both.counts, both.broken)
    assert alone.runs == len(seeds)
    assert f"{alone.runs} runs, 0 broken" in summarise(alone)


def test_a_run_that_breaks_is_told_with_the_command_that_plays_it_again() -> None:
    """The story's last lines come before it."""
    found = search("acknowledges-early", range(1, 10))
    assert found is not None
    text = describe(found)
    assert text.endswith(f"coldseal demo --world {found.seed}")
    assert "BROKEN" in text
    score = Score()
    score.add(found)
    assert score.broken == [found]


def test_a_fault_that_nobody_seeded_is_not_found() -> None:
    """Without one, no run breaks."""
    honest = sabotage.SABOTAGES | {"none": sabotage.Sabotage()}
    assert search("none", range(1, 4), honest) is None


def test_one_world_is_shown_whole() -> None:
    """`coldseal demo --world 3` tells what happened, and that nothing broke."""
    done = coldseal("demo", "--world", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "service-up" in done.stdout
    assert "healed" in done.stdout
    assert "1 runs, 0 broken" in done.stdout


def test_worlds_are_counted_for_a_script() -> None:
    """One JSON object and nothing else."""
    found = answer("demo", "--world", "3-4")
    assert (found["runs"], found["good"], found["broken"]) == (2, True, [])
