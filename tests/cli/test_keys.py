"""`coldseal identity roll-over` and `revoke-key`: with a gateway that runs, and without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.keys import history_of
from coldseal.core.log.record import parse_entry
from coldseal.gateway.config import load_gateway
from coldseal.gateway.control import ask
from coldseal.gateway.records import open_reader
from tests.cli.conftest import Site, answer, coldseal, own_gateway
from tests.cli.test_programs import running

if TYPE_CHECKING:
    from pathlib import Path

SINCE = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def config(tmp_path: Path, site: Site) -> Path:
    """Give a gateway of its own, which has run once."""
    path = own_gateway(tmp_path, site)
    with running("gateway", path, [], tmp_path / "log") as process:
        process.terminate()
        assert process.wait(30) == 0
    return path


def kinds(config: Path) -> list[str]:
    """Read the kinds of a log's entries."""
    reader = open_reader(load_gateway(config))
    try:
        return [parse_entry(raw).kind for raw in reader.read_from(0)]
    finally:
        reader.close()


def test_without_a_gateway_the_command_does_it_as_a_run_of_its_own(config: Path) -> None:
    """From boot to shutdown; the next run goes on with the new key."""
    before = len(kinds(config))
    made = answer("identity", "roll-over", config, "record", "--reason", "laptop lost")
    gone = answer(
        *("identity", "revoke-key", config, "record", made["old"]),
        *("--since", SINCE, "--reason", "laptop lost"),
    )
    found = kinds(config)[before:]
    assert [kind for kind in found if kind != "clock"] == ["boot", "access", "key", "shutdown"] * 2
    reader = open_reader(load_gateway(config))
    history = history_of("example.com/s1/gw-0001", reader.settings())
    reader.close()
    assert [(each.key, each.seq) for each in history.revocations] == [(made["old"], gone["seq"])]
    assert history.at(made["seq"]).kid == made["old"]
    assert history.at(made["seq"] + 1).kid == made["new"]


def test_a_refused_command_ends_its_run_in_order(config: Path) -> None:
    """What was asked is on record; the next run does not say that this one broke off."""
    before = len(kinds(config))
    done = coldseal(
        *("identity", "revoke-key", config, "record", "0" * 16, "--since", SINCE, "--reason", "typo")
    )
    assert (done.returncode, "never a record key" in done.stderr) == (2, True)
    answer("identity", "roll-over", config)
    found = [kind for kind in kinds(config)[before:] if kind != "clock"]
    assert found == [*("boot", "access", "shutdown"), *("boot", "access", "key", "shutdown")]


def test_a_running_gateway_changes_its_keys_and_goes_on(tmp_path: Path, config: Path) -> None:
    """It answers where the entry stands, and what is wrong with a request."""
    with running("gateway", config, [], tmp_path / "second") as process:
        done = coldseal("identity", "roll-over", config, "checkpoint")
        assert (done.returncode, done.stderr) == (0, "")
        assert "checkpoint" in done.stdout
        made = answer("identity", "roll-over", config)
        refused = coldseal(
            *("identity", "revoke-key", config, "record", made["new"], "--since", SINCE),
            *("--reason", "x", "--json"),
        )
        assert refused.returncode == 2
        assert "still in use" in json.loads(refused.stdout)["error"]
        fixed = ask(load_gateway(config).gateway.data, {"do": "checkpoint"})
        assert fixed == {"ok": True, "size": len(kinds(config))}
        process.terminate()
        assert process.wait(30) == 0
    assert kinds(config).count("key") == 2
    lines = [json.loads(line) for line in (tmp_path / "second").read_text(encoding="utf-8").splitlines()]
    assert [line["use"] for line in lines if line["event"] == "key.changed"] == ["checkpoint", "record"]


def test_a_use_that_is_none_is_refused(config: Path) -> None:
    """With what can be written."""
    done = coldseal("identity", "roll-over", config, "transport")
    assert done.returncode == 2
    assert "Write record or checkpoint" in done.stderr
