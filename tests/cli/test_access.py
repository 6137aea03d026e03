"""Claims about the verbs of access: who may what is shown, and a second person approves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run
from coldseal.core.access import Action
from tests.cli.conftest import Site, answer, coldseal, own_gateway
from tests.cli.test_programs import running
from tests.gateway.users import needs_root

if TYPE_CHECKING:
    from pathlib import Path

ROLES = '[[administration.assigned]]\nuser = "root"\nroles = ["quality", "administrator"]\n'


@pytest.fixture
def config(tmp_path: Path, site: Site) -> Path:
    """Give a gateway whose pruning and key changes take two persons."""
    path = own_gateway(tmp_path, site)
    with path.open("a", encoding="utf-8") as file:
        file.write(f'\n[administration]\ntwo_person = ["prune", "roll-over"]\n{ROLES}')
    return path


def test_the_table_is_shown_with_who_has_which_role(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All actions; and without assignments, that the gateway's own user has all roles."""
    found = answer("gateway", "access", config)
    assert set(found["table"]) == set(Action)
    assert found["assigned"] == [{"who": "root", "roles": ["quality", "administrator"]}]
    assert found["two_person"] == ["prune", "roll-over"]
    assert run(["gateway", "access", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "root: quality, administrator" in shown
    assert "a second person must approve: prune, roll-over" in shown
    text = config.read_text(encoding="utf-8").replace(ROLES, "").replace('"prune", "roll-over"', "")
    config.write_text(text, encoding="utf-8")
    assert run(["gateway", "access", str(config)]) == 0
    assert "nobody is assigned" in capsys.readouterr().out


def test_one_user_is_shown_with_what_they_may(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 for one who may nothing."""
    mine = answer("gateway", "access", config, "--user", "root")
    assert mine["roles"] == ["administrator", "quality"]
    assert "roll-over" in mine["may"]
    assert run(["gateway", "access", str(config), "--user", "root"]) == 0
    assert "administrator, quality" in capsys.readouterr().out
    assert run(["gateway", "access", str(config), "--user", "nobody"]) == 1
    assert "nothing" in capsys.readouterr().out
    refused = coldseal("gateway", "access", config, "--user", "no such user")
    assert (refused.returncode, "no user" in refused.stderr) == (2, True)


def test_a_request_waits_for_the_second_person(config: Path, tmp_path: Path) -> None:
    """Exit code 3 until somebody approves; one's own approval does not count; withdrawn, it is gone."""
    needs_root()
    with running("gateway", config, [], tmp_path / "log") as process:
        asked = coldseal("identity", "roll-over", config, "--reason", "yearly")
        assert asked.returncode == 3
        assert "coldseal gateway approve CONFIG 1" in asked.stderr
        waiting = answer("gateway", "pending", config)["waiting"]
        assert [(each["number"], each["action"]) for each in waiting] == [(1, "roll-over")]
        assert "yearly" in coldseal("gateway", "pending", config).stdout
        own = coldseal("gateway", "approve", config, "1", "--json")
        assert (own.returncode, "Another person" in json.loads(own.stdout)["hint"]) == (2, True)
        assert answer("gateway", "withdraw", config, "1") == {"withdrawn": 1}
        assert coldseal("gateway", "withdraw", config, "1").returncode == 2
        assert "nothing waits" in coldseal("gateway", "pending", config).stdout
        process.terminate()
        assert process.wait(30) == 0
