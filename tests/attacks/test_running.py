"""The demo's attacks on the real programs: caught by whom they should be, and nothing left behind."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from coldseal.cli.main import run
from coldseal.demo import attacks
from coldseal.demo.attacks import (
    ATTACKS,
    VERIFIER,
    Attack,
    Outcome,
    Scene,
    choose,
    forged,
    play,
    render,
)
from coldseal.errors import OperatorError
from tests.attacks.attack import MUST_BE_CAUGHT
from tests.demo.test_scenario import of_folder

QUICK = ("flip", "fork", "false-receipt", "insert", "unsigned", "prune")
"""Played in every run; two more are played by the command."""

PLAYED = {
    "flip an entry": "flip",
    "insert an entry": "insert",
    "delete an entry": "delete",
    "swap entries": "swap",
    "duplicate an entry": "duplicate",
    "cut the tail before the last anchor": "cut-tail",
    "cut the tail after the last anchor": "cut-end",
    "restore an old disk image": "old-image",
    "rewrite with all software keys": "rewrite",
    "fork two histories to two witnesses": "fork",
    "old entries signed with a newer key": "newer-key",
    "new entries signed with an older key": "older-key",
    "unsigned segment": "unsigned",
    "empty interval without heartbeat": "silence",
    "clock one hour back": "clock-back",
    "clock one hour ahead": "clock-ahead",
    "slow drift": "drift",
    "checkpoint with an extension line": "extension",
    "checkpoint with bad base64": "stray-bits",
    "checkpoint with a leading zero": "zero",
    "checkpoint with 17 signatures": "seventeen",
    "unknown key under a known name": "stranger",
    "high-S twin": "high-s",
    "duplicate JSON key": "doubled-key",
    "2^53+1": "big-number",
    "lone surrogate": "surrogate",
    "NaN": "nan",
    "entry of 65,536 bytes": "too-long",
    "pruned range without archive receipt": "prune",
    "exported CSV with one cell changed": "csv-cell",
    "witness rolled back from backup": "old-service",
    "service acknowledging more than it stored": "false-receipt",
}
"""Each attack that must be caught, and the one on running programs that plays it."""


async def played(folder: Path, *names: str) -> dict[str, str]:
    """Play attacks; gives the verdict of each."""
    told: list[str] = []
    outcomes = await play(folder, names, told.append)
    assert len(told) == 1 + len(names)
    assert of_folder(folder) == []
    return {found.name: found.verdict for found in outcomes}


async def test_attacks_on_running_programs_are_caught(tmp_path: Path) -> None:
    """By the verifier, by the service's ingest, and by the gateway's uplink."""
    found = await played(tmp_path, *QUICK)
    assert found == {name: ATTACKS[name].verdict for name in QUICK}


def test_each_attack_that_must_be_caught_can_be_played_on_running_programs() -> None:
    """By one of its own, and there are no others."""
    assert list(PLAYED) == list(MUST_BE_CAUGHT)
    assert sorted(PLAYED.values()) == sorted(ATTACKS)


async def test_a_batch_without_a_fault_is_no_attack(tmp_path: Path) -> None:
    """What the adversary seals beside the one thing that is wrong is good: only that is caught."""
    attack = Attack("nothing is wrong", VERIFIER, "", forged(lambda made: made.send(made.seal()), VERIFIER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacks, "ATTACKS", {"nothing": attack})
        assert await played(tmp_path, "nothing") == {"nothing": ""}


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in QUICK])
async def test_every_other_attack_is_caught_too(name: str, tmp_path: Path) -> None:
    """One by one."""
    assert await played(tmp_path, name) == {name: ATTACKS[name].verdict}


def test_an_attack_that_nobody_notices_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that nobody touched verifies, and is not taken for caught; its folder is kept."""

    async def leave_alone(scene: Scene) -> str:
        return await attacks._exported(scene)

    nothing = Attack("nothing is done", VERIFIER, "fork", leave_alone)
    monkeypatch.setattr(attacks, "ATTACKS", {"csv-cell": ATTACKS["csv-cell"], "nothing": nothing})
    folder = tmp_path / "kept"

    assert run(["demo", "--attack", "all", "--keep", str(folder), "--json"]) == 1

    answer = msgspec.json.decode(capsys.readouterr().out)
    assert (answer["good"], answer["kept"]) == (False, str(folder))
    assert {found["attack"]: (found["good"], found["verdict"]) for found in answer["attacks"]} == {
        "csv-cell": (True, "csv-mismatch"),
        "nothing": (False, ""),
    }
    assert (folder / "nothing" / "demo.coldseal").exists()


def test_the_command_shows_a_table_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where everything was caught, there is nothing to look at."""
    assert run(["demo", "--attack", "cut-tail"]) == 0
    said = capsys.readouterr().out
    assert "cut-tail: the end of the store is cut off" in said
    assert "every attack was caught" in said
    assert "Kept" not in said


def test_the_table_for_people_marks_what_was_missed() -> None:
    """With what was expected."""
    outcomes = [Outcome("flip", ATTACKS["flip"], "bad-signature"), Outcome("fork", ATTACKS["fork"], "")]
    console = Console(width=150, file=io.StringIO(), record=True)
    console.print(render(outcomes))
    said = console.export_text()
    assert "1 of 2 ATTACKS NOT CAUGHT" in said
    assert said.count("WRONG") == 1
    assert "WRONG: fork expected" in said


def test_an_attack_that_there_is_not_shows_the_names() -> None:
    """The hint is the list."""
    assert choose("all") == list(ATTACKS)
    with pytest.raises(OperatorError, match="false-receipt") as raised:
        choose("flop")
    assert raised.value.what == "there is no attack 'flop'"
