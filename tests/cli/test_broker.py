"""`coldseal gateway broker-config mosquitto`: writes its files, compares them, and refuses without names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coldseal.cli.status import show_status
from coldseal.observe.health import Health
from tests.cli.conftest import answer, coldseal
from tests.cli.test_status import program
from tests.mosquitto import BrokerSite

COMMAND = ("gateway", "broker-config", "mosquitto")
FILES = {
    "mosquitto.conf",
    "mosquitto.acl",
    "coldseal-mosquitto-reload.path",
    "coldseal-mosquitto-reload.service",
    "coldseal-mosquitto-restart.path",
    "coldseal-mosquitto-restart.service",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> BrokerSite:
    """Give a gateway's folder; no broker runs."""
    return BrokerSite(tmp_path_factory.mktemp("site"))


def test_the_files_are_written_where_they_belong_and_the_weaker_promise_is_said(site: BrokerSite) -> None:
    """A second run writes nothing."""
    done = coldseal(*COMMAND, site.config_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The promise is weaker: the broker acknowledges to the device before" in done.stdout
    assert {path.name for path in site.files.iterdir()} == FILES
    assert answer(*COMMAND, site.config_file)["written"] == []


def test_drift_is_found_and_named(site: BrokerSite, tmp_path: Path) -> None:
    """One file was edited, one is gone."""
    answer(*COMMAND, site.config_file, "--out", tmp_path)
    assert coldseal(*COMMAND, site.config_file, "--out", tmp_path, "--check").returncode == 0
    with (tmp_path / "mosquitto.acl").open("a") as file:
        file.write("user dev-1\ntopic write #\n")
    (tmp_path / "mosquitto.conf").unlink()
    done = coldseal(*COMMAND, site.config_file, "--out", tmp_path, "--check", "--json")
    assert done.returncode == 1
    assert {Path(name).name for name in json.loads(done.stdout)["differing"]} == {
        "mosquitto.acl",
        "mosquitto.conf",
    }
    said = coldseal(*COMMAND, site.config_file, "--out", tmp_path, "--check").stdout
    assert f"differs  {tmp_path / 'mosquitto.conf'}" in said
    assert "2 of 6 files differ" in said


def test_without_the_names_of_all_devices_nothing_is_written(site: BrokerSite, tmp_path: Path) -> None:
    """The cure names the setting."""
    done = coldseal(*COMMAND, site.config_file, "--out", tmp_path, "--set", "topics.strict=false")
    assert done.returncode == 2
    assert "the registry does not name every device" in done.stderr
    assert "topics.strict = true" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("is_up", "dropped", "said"),
    [
        (True, 0, "external broker  broker:8883 connected; promise weaker"),
        (False, 3, "external broker  broker:8883 NOT CONNECTED, 3 messages dropped by it; promise weaker"),
    ],
)
def test_the_status_says_how_the_broker_is_and_what_it_does_not_promise(
    is_up: bool, dropped: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks is told, each time."""
    found = {"address": "broker:8883", "up": is_up, "dropped_by_it": dropped, "promise": "weaker"}
    with program(Health(), {"broker": found}) as address:
        show_status("gateway", address, as_json=False)
    assert said in capsys.readouterr().out
