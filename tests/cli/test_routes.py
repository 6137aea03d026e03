"""`coldseal gateway routes`: what people see of routes, and how they decide where no gateway runs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from coldseal.cli.main import run
from coldseal.gateway.config import load_gateway
from coldseal.gateway.routing.kept import FOLDER, Aside, Kept
from coldseal.gateway.routing.report import Board, RouteStatus
from coldseal.signing.secrets import read_symmetric_key
from tests.gateway.test_app import entries_of, running

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = Aside(1, "reading", 1_800_000_000_000, "422", "no such asset")


async def start_once(path: Path) -> None:
    """Let a gateway begin its log."""
    async with running(path):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a gateway that ran once."""
    folder = tmp_path_factory.mktemp("site")
    assert run(["identity", "dev-ca", str(folder / "ca"), "--devices", "1", "--gateway", "gw-1"]) == 0
    command = ["gateway", "init", str(folder / "gateway"), "--origin", "example.com/gw-1", "--site", "s"]
    assert run([*command, "--pki", str(folder / "ca")]) == 0
    asyncio.run(start_once(folder / "gateway" / "gateway.toml"))
    return folder / "gateway"


@pytest.fixture
def config(tmp_path: Path, site: Path) -> Path:
    """Give the configuration of such a gateway, with a route that has two entries aside."""
    folder = tmp_path / "gateway"
    shutil.copytree(site, folder, ignore=shutil.ignore_patterns("*.sock"))
    path = folder / "gateway.toml"
    with path.open("a") as out:
        out.write('\n[[routes]]\nname = "erp"\nsink = "https-json"\nurl = "https://erp.example/in"\n')
    settings = load_gateway(path)
    with closing(Kept(settings.gateway.data, read_symmetric_key(settings.store.key, folder))) as kept:
        kept.begin("erp", "example.com/gw-1", 2)
        kept.put_aside("erp", REFUSED._replace(seq=0, kind="genesis"), 0)
        kept.put_aside("erp", REFUSED, 0)
    return path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Give what was answered."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def show(config: Path, **status: object) -> None:
    """Write down how the route stands, as its process does."""
    board = Board(load_gateway(config).gateway.data / FOLDER)
    board.routes["erp"] = replace(RouteStatus(), **status)
    board.write()


def test_status_says_where_each_route_stands(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 1 where a person should look."""
    assert run(["gateway", "routes", "skip", str(config), "erp", "0", "1", "--who", "Ada", "--why", "x"]) == 0
    capsys.readouterr()
    assert run(["gateway", "routes", "status", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "erp  https-json  https://erp.example/in" in shown
    assert re.search(r"position +2 of [0-9]+\n", shown)
    show(config, position=4, aside=2, fault="busy: status 503", waiting_ms=1, missed=3, is_held=True)
    assert run(["gateway", "routes", "status", str(config)]) == 1
    shown = capsys.readouterr().out
    for part in ("position +4 of [0-9]+", "busy: status 503", "missed +3", "oldest waits", "stands still"):
        assert re.search(part, shown)
    assert run(["gateway", "routes", "status", str(config), "--json"]) == 1
    assert told(capsys)["routes"][0]["position"] == 4


def test_without_routes_there_is_nothing_to_see(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how to make one."""
    config.write_text(config.read_text().partition("[[routes]]")[0])
    assert run(["gateway", "routes", "status", str(config)]) == 0
    assert "see [[routes]] in gateway.toml" in capsys.readouterr().out


def test_the_quarantine_shows_each_entry_with_the_answer(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all routes, or of one."""
    capsys.readouterr()
    assert run(["gateway", "routes", "quarantine", str(config)]) == 1
    out = capsys.readouterr().out
    assert "erp  0  genesis  2027-01-15T08:00:00.000Z  422 no such asset\n" in out
    assert run(["gateway", "routes", "quarantine", str(config), "erp", "--json"]) == 1
    assert [each["seq"] for each in told(capsys)["quarantine"]] == [0, 1]
    assert run(["gateway", "routes", "quarantine", str(config), "crm"]) == 2
    assert "There are: erp" in capsys.readouterr().err


def test_a_decision_without_a_running_gateway_is_on_record_too(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was sent again goes with the next start; what was given up is gone."""
    options = ["--who", "Ada", "--why", "not an asset of ours"]
    capsys.readouterr()
    assert run(["gateway", "routes", "skip", str(config), "erp", "0", *options]) == 0
    assert "on the route erp these are given up: 0" in capsys.readouterr().out
    assert run(["gateway", "routes", "retry", str(config), "erp", *options, "--json"]) == 0
    assert told(capsys) == {"route": "erp", "action": "retry", "entries": [1]}
    assert run(["gateway", "routes", "quarantine", str(config)]) == 1
    assert "goes again" in capsys.readouterr().out
    access = [entry.data for entry in entries_of(config) if entry.kind == "access"]
    assert [(each["action"], each["why"]) for each in access] == 2 * [("route", "not an asset of ours")]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["retry", "erp", "7", "--who", "Ada", "--why", "x"], "entry 7 is not put aside"),
        (["retry", "erp", "--who", "Ada", "--why", " "], "it is not said why"),
        (["skip", "crm", "1", "--who", "Ada", "--why", "x"], "no route 'crm'"),
    ],
    ids=["no-entry", "no-reason", "no-route"],
)
def test_a_decision_that_makes_no_sense_is_refused(
    config: Path, arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 2, as a wrong use is."""
    verb, *rest = arguments
    assert run(["gateway", "routes", verb, str(config), *rest]) == 2
    assert what in capsys.readouterr().err


def test_before_any_route_ran_nothing_is_aside(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And that is good."""
    data = load_gateway(config).gateway.data
    for path in (data / FOLDER).iterdir():
        path.unlink()
    capsys.readouterr()
    assert run(["gateway", "routes", "quarantine", str(config)]) == 0
    assert capsys.readouterr().out == "nothing is put aside\n"
