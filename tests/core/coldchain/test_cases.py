"""Every rule of excursions, silence and budgets, by cases that say what must come and why."""

from __future__ import annotations

import pytest

from coldseal.core.coldchain.evaluation import Evaluation
from tests.core.coldchain.cases import FOLDER, Case, Play, differences, load_cases

CASES = load_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_gives_the_entries_that_it_must(case: Case) -> None:
    """As many as it says, each with the figures that it says; and what the asset used up by then."""
    play = Play(case)
    entries = play.run()
    shown = "\n".join(map(str, entries))
    assert len(entries) == len(case.expected), f"{case.says}\n{shown}"
    for entry, expected in zip(entries, case.expected, strict=True):
        assert not differences(play, entry, expected), f"{case.says}\n{expected}\n{entry}"
    used = {
        f"{each['quantity']}/{each['direction']}/{each['at']}/{each['tier']}": each["total"]
        for each in play.evaluation.totals("fridge-7")
    }
    assert {key: used.get(key, 0) for key in case.used} == case.used, case.says


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_gives_the_same_with_a_restart_before_each_step(case: Case) -> None:
    """A snapshot holds all there is to know."""
    once = Play(case)
    once.run()
    often = Play(case._replace(lines=[line for each in case.lines for line in ("! restart", each)]))
    often.run()
    assert often.effects == once.effects
    assert often.evaluation.snapshot() == Evaluation.restore(once.evaluation.snapshot()).snapshot()


def test_there_are_cases_for_every_rule() -> None:
    """At least sixty, each of which says what must come; no profile lies there unused."""
    assert len(CASES) >= 60
    assert all(len(case.says) > 40 for case in CASES)
    used = {case.profile for case in CASES}
    used |= {line.split()[2] for case in CASES for line in case.lines if line.startswith("! profile")}
    assert used == {path.stem for path in (FOLDER / "profiles").glob("*.toml")}
