"""Whoever recovers a log needs the role for it and says why; who it was stands in the log that goes on."""

from __future__ import annotations

import asyncio
import getpass
import shutil
from contextlib import closing
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from coldseal.cli.main import run as run_command
from coldseal.core.access import Role
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError
from coldseal.gateway.cloning import BEFORE, clone
from coldseal.gateway.replacing import QUARANTINE
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.tables.administration import Administration, Assigned
from tests.gateway.test_recovery import GROUPS, ROLLS, SALVAGE
from tests.gateway.wrecks import STORE_KEY, Wreck, cut, flip, make_wreck
from tests.gateway.yard import Yard
from tests.trial import Site

if TYPE_CHECKING:
    from pathlib import Path

WHY = SALVAGE[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """A log of three segments as after a crash."""
    return asyncio.run(make_wreck(tmp_path_factory.mktemp("whole") / "gw", GROUPS, rolls=ROLLS))


@pytest.fixture
def wreck(whole: Wreck, tmp_path: Path) -> Wreck:
    """A copy of it."""
    return whole.copy(tmp_path / "gw")


def assign(wreck: Wreck, role: str) -> str:
    """Give the user of these tests one role; gives the configuration's name."""
    path = wreck.folder / "gateway.toml"
    table = f'[[administration.assigned]]\nuser = "{getpass.getuser()}"\nroles = ["{role}"]\n'
    path.write_text(path.read_text() + table)
    return str(path)


def access_of(wreck: Wreck) -> list[tuple[str, object, object]]:
    """Give who asked for a recovery, by the newest segment: the outcome, why, and what stands behind it."""
    last = max(int(path.stem) for path in wreck.store.glob("*.db") if path.stem.isdecimal())
    with closing(LogReader(wreck.store, STORE_KEY)) as reader:
        entries = [*map(parse_entry, reader.read_from(last))]
    return [
        (after.kind if after else "", each.data["outcome"], each.data["why"])
        for each, after in zip_longest(entries, entries[1:])
        if each.kind == "access" and each.data["action"] == "recover"
    ]


@pytest.mark.parametrize("outcome", ["partly", "successor"])
def test_who_salvages_a_log_and_why_stands_before_the_gap(wreck: Wreck, outcome: str) -> None:
    """In the log that goes on, under its name or the next."""
    config = assign(wreck, "administrator")
    if outcome == "partly":
        flip(wreck.segment(1), 100_000)
    else:
        cut(wreck.wal, 60_000)
    assert run_command([*SALVAGE, config]) == 1
    assert access_of(wreck) == [("gap", "allowed", WHY)]


def test_nobody_without_the_role_salvages_a_log(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made anew, nothing goes into quarantine, and not even the refusal is written onto it."""
    config = assign(wreck, "technician")
    flip(wreck.segment(1), 100_000)
    before = wreck.segment(1).read_bytes()
    assert run_command([*SALVAGE, config]) == 2
    assert "may not recover" in capsys.readouterr().err
    assert access_of(wreck) == []
    assert wreck.segment(1).read_bytes() == before
    assert not (wreck.folder / "data" / QUARANTINE).exists()
    assert run_command(["recover", "salvage", config, "--dry-run"]) == 1  # looking changes nothing


def test_a_refusal_is_on_record_where_the_log_is_sound(
    wreck: Wreck, capsys: pytest.CaptureFixture[str]
) -> None:
    """There it can be written."""
    config = assign(wreck, "quality")
    assert run_command([*SALVAGE, config]) == 2
    assert "may not recover, and that is on record" in capsys.readouterr().err
    assert access_of(wreck) == [("shutdown", "refused", WHY)]
    shutil.rmtree(wreck.store)
    assert run_command([*SALVAGE, config]) == 2  # and where there is none, it is refused all the same
    assert not wreck.store.exists()


def test_nothing_is_salvaged_without_a_reason(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor with an empty one."""
    config = str(wreck.folder / "gateway.toml")
    flip(wreck.segment(1), 100_000)
    before = wreck.segment(1).read_bytes()
    for reason in ((), ("--why", " ")):
        assert run_command(["recover", "salvage", config, *reason]) == 2
        assert "Say why" in capsys.readouterr().err
    assert wreck.segment(1).read_bytes() == before
    assert not (wreck.folder / "data" / QUARANTINE).exists()


async def test_nobody_without_the_role_clones_a_gateway(tmp_path: Path) -> None:
    """No key is copied, nothing is fetched, nothing is begun."""
    yard = Yard(Site(tmp_path))
    config = yard.config()
    for path in yard.keys.iterdir():
        (yard.folder / path.name).unlink()
    someone = Assigned(user=getpass.getuser(), roles=(Role.QUALITY, Role.TECHNICIAN))
    config = structs.replace(config, administration=Administration(assigned=(someone,)))
    with pytest.raises(OperatorError, match="may not recover"):
        await clone(config, yard.keys, lambda _done, _total: None, WHY)
    assert not (yard.data / BEFORE).exists()
    assert not any((yard.folder / path.name).exists() for path in yard.keys.iterdir())
