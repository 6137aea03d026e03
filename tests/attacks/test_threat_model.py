"""The page on threats says what the suite plays: nothing more, nothing less, nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from coldseal.demo import attacks
from tests.attacks.attack import Who
from tests.attacks.catalogue import ATTACKS
from tests.attacks.still_open import OPEN
from tests.project.tree import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
ON_RUNNING = "demo --attack "


def section(title: str) -> list[list[str]]:
    """Give the cells of all table rows of a section, without heads."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = text.splitlines()
    heads = {place - 1 for place, line in enumerate(lines) if line.startswith("|---")}
    rows = [
        line
        for place, line in enumerate(lines)
        if line.startswith("| ") and place not in heads and not line.startswith("|---")
    ]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def spans(cell: str) -> list[str]:
    """Give what stands in code spans."""
    return re.findall(r"`([^`]+)`", cell)


def shown() -> Iterator[str]:
    """Give what the threats name as shown by."""
    for row in section("Threats"):
        yield from spans(row[-1])


def test_the_table_of_attacks_is_the_suites_own() -> None:
    """Row by row, in order."""
    expected = [
        [f"`{name}`", str(attack.who), attack.how, str(attack.where), f"`{attack.verdict}`"]
        for name, attack in ATTACKS.items()
    ]
    assert section("Every attack") == expected


def test_what_stays_open_is_what_the_suite_finds_open() -> None:
    """Each with what helps."""
    rows = section("What stays open")
    assert sorted(spans(row[0])[0] for row in rows) == sorted(OPEN)
    assert all(len(row) == 3 and row[2] for row in rows)


def test_the_attacks_on_running_programs_are_the_demos() -> None:
    """Row by row, in order."""
    expected = [
        [f"`{name}`", attack.title, attack.caught_by, f"`{attack.verdict}`"]
        for name, attack in attacks.ATTACKS.items()
    ]
    assert section("On running programs") == expected


def test_every_attack_is_the_answer_to_a_threat() -> None:
    """Those of the demo, too."""
    named = set(shown())
    assert set(ATTACKS) - named == set()
    assert {f"{ON_RUNNING}{name}" for name in attacks.ATTACKS} - named == set()


@pytest.mark.parametrize("name", sorted(set(shown())))
def test_what_a_threat_is_shown_by_exists(name: str) -> None:
    """A case of the suite, an attack of the demo, or a test where the page says it is."""
    if "::" in name:
        path, _, test = name.partition("::")
        assert re.search(rf"def {test}\(", (ROOT / path).read_text(encoding="utf-8"))
    elif name.startswith(ON_RUNNING):
        assert name.removeprefix(ON_RUNNING) in attacks.ATTACKS
    else:
        assert name in ATTACKS


def test_every_threat_is_of_one_kind_and_has_its_answer() -> None:
    """STRIDE, all six of them."""
    rows = section("Threats")
    assert len(rows) > 40
    assert {row[0] for row in rows} == set("STRIDE")
    assert all(len(row) == 4 and row[3] for row in rows)


def test_every_adversary_is_introduced() -> None:
    """With what he has."""
    assert [row[0] for row in section("Who attacks")] == [str(who) for who in Who]
