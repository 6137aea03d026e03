"""Every attack is caught where the table says, under the name that the table says, at the right entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coldseal.core.log.evidence import Verdict
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.verification import Verifier
from tests.attacks.attack import MUST_BE_CAUGHT, Stage
from tests.attacks.catalogue import ATTACKS
from tests.attacks.still_open import OPEN


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """Give a pool of one process, started when it is first used."""
    verifier = Verifier(1, ServiceMetrics())
    yield verifier
    verifier.close()


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_caught_under_its_name(name: str, tmp_path: Path, verifier: Verifier) -> None:
    """The verdict is the one in the table; where an entry is named, it is the first one concerned."""
    attack = ATTACKS[name]
    caught = await attack.play(Stage(tmp_path, verifier))
    assert caught.verdict == attack.verdict
    assert caught.seq == caught.made_at


def test_nothing_that_must_be_caught_is_without_a_case() -> None:
    """And no case stands for a line that nobody wrote."""
    lines = {attack.line for attack in ATTACKS.values()} - {""}
    assert lines == set(MUST_BE_CAUGHT)
    assert len(set(MUST_BE_CAUGHT)) == len(MUST_BE_CAUGHT) == 32


def test_no_verdict_is_without_an_attack() -> None:
    """Each word that the verifier has is the answer to something that somebody does."""
    assert set(Verdict) <= {attack.verdict for attack in ATTACKS.values()}


def test_every_case_says_how_it_is_made() -> None:
    """The table is for people."""
    assert all(attack.how.endswith(".") for attack in ATTACKS.values())


@pytest.mark.parametrize("name", OPEN)
async def test_what_stays_open_is_open(name: str, tmp_path: Path, verifier: Verifier) -> None:
    """The page on threats says so; whoever closes one of them changes both."""
    caught = await OPEN[name].play(Stage(tmp_path, verifier))
    assert caught.verdict == ""
