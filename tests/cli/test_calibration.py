"""`coldseal gateway calibration` and `maintenance`: what corrects readings goes on record whole, or not."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.coldchain.changes import day
from coldseal.gateway.app import Gateway
from coldseal.gateway.clock import Clock
from coldseal.gateway.config import load_gateway
from coldseal.gateway.control import SOCKET
from coldseal.gateway.persons import name_of
from tests.cli.conftest import answer, coldseal
from tests.gateway.test_app import entries_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY_MS = 86_400_000
NOW_MS = Clock().now().t_ms

GOOD = f"""
device = "freezer-3"
certificate = "K-2026-0417"
laboratory = "Calibration Laboratory of the Test"
calibrated = {day(NOW_MS - DAY_MS)}
due = {day(NOW_MS + 365 * DAY_MS)}

[[calibrations]]
sensor = "door"
quantity = "temperature"
unit = "Cel"
points = [["-20.00", "-20.12"], [2, 2.05], ["8.00", "8.07"]]
uncertainty = 0.10
coverage = 2

[[calibrations]]
sensor = "door"
quantity = "humidity"
unit = "%RH"
offset = -1.5
uncertainty = "1.2"
due = {day(NOW_MS + 10 * DAY_MS)}
"""


def write(folder: Path, text: str = GOOD, name: str = "k.toml") -> Path:
    """Write a certificate."""
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A gateway that has run once."""
    folder = tmp_path / "site"
    folder.mkdir()
    answer("identity", "dev-ca", folder / "pki", "--devices", "1", "--gateway", "gw")
    options = ("--origin", "example.com/gw", "--site", "s", "--pki", folder / "pki")
    answer("gateway", "init", folder / "gw", *options)
    path = folder / "gw" / "gateway.toml"
    asyncio.run(running(path, lambda: None))
    return path


async def running(path: Path, work: Callable[[], object]) -> None:
    """Do something while a gateway runs within this process."""
    config, stop = load_gateway(path, ("mqtt.listen=127.0.0.1:0", "http.listen=")), asyncio.Event()
    gateway = await Gateway.open(config, [])
    serving = asyncio.ensure_future(gateway.serve(stop))
    try:
        await until(lambda: (config.gateway.data / SOCKET).exists() or serving.done())
        await asyncio.to_thread(work)
    finally:
        stop.set()
        await serving
        await gateway.close()


def said(*arguments: str | Path) -> dict[str, Any]:
    """Give the answer of a command beside a gateway that logs to the same stream."""
    found: dict[str, Any] = json.loads(coldseal(*arguments, "--json").stdout)
    return found


def data_of(config: Path, kind: str) -> list[dict[str, Any]]:
    """Give what the entries of a kind say."""
    return [dict(entry.data) for entry in entries_of(config) if entry.kind == kind]


def test_a_good_certificate_passes_and_says_its_ids(tmp_path: Path) -> None:
    """Without any gateway."""
    found = answer("gateway", "calibration", "check", write(tmp_path))["certificates"][0]
    assert found["good"]
    assert [each["quantity"] for each in found["calibrations"]] == ["temperature", "humidity"]
    shown = coldseal("gateway", "calibration", "check", write(tmp_path))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"freezer-3/door humidity {found['calibrations'][1]['id']}" in shown.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"temperature"', '"temp erature"', "calibrations[0].quantity is 'temp erature'"),
        (
            "[2, 2.05]",
            "[9, 9.05]",
            "calibrations[0].points[2] is '8.00', expected an indication above",
        ),
        ("uncertainty = 0.10", "", "calibrations[0].uncertainty is None, expected it to be there"),
        ('"humidity"\nunit = "%RH"', '"temperature"\nunit = "Cel"', "two calibrations of one overlap"),
        ("[[calibrations]]", "[calibrations]", "not TOML"),
        (GOOD[GOOD.index("[[") :], "calibrations = []", "calibrations is [], expected tables, each below"),
        (GOOD, "x" * 300_000, "has 300000 bytes"),
        ("freezer-3", "freezer/3", "device is 'freezer/3', expected 1 to 64"),
    ],
    ids=["word", "points", "missing", "twice", "syntax", "none", "long", "common"],
)
def test_a_bad_certificate_is_refused_by_file_key_value_and_expectation(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """Exit code 1 for a fault in what it says, 2 for a file that cannot be read."""
    path = write(tmp_path, GOOD.replace(old, new, 1))
    done = coldseal("gateway", "calibration", "check", path)
    code = 2 if said in {"not TOML", "has 300000 bytes"} else 1
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert str(path) in done.stdout + done.stderr
    if code == 1:
        table = json.loads(coldseal("gateway", "calibration", "check", path, "--json").stdout)
        assert not table["certificates"][0]["good"]
        assert {"key", "value", "expected"} == table["certificates"][0]["faults"][0].keys()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A usage error."""
    assert coldseal("gateway", "calibration", "check", tmp_path / "none.toml").returncode == 2


def test_calibrations_are_put_on_record_and_listed(config: Path, tmp_path: Path) -> None:
    """All of a file behind one `access` entry, with who, why, and when each is due."""
    file = write(tmp_path)
    made = answer(
        "gateway", "calibration", "apply", config, file, "--why", "yearly calibration", "--who", "Eva"
    )
    entries = entries_of(config)
    sealed = [entry for entry in entries if entry.kind == "calibration"]
    assert [each["seq"] for each in made["calibrations"]] == [entry.seq for entry in sealed]
    assert [each.kind for each in entries[sealed[0].seq - 1 :]] == [
        "access",
        *("calibration" for _ in sealed),
        "shutdown",
    ]
    assert [entry.data["who"] for entry in sealed] == ["Eva", "Eva"]
    found = answer("gateway", "calibration", "list", config)["calibrations"]
    assert [(each["quantity"], each["state"]) for each in found] == [
        ("humidity", "due soon"),
        ("temperature", "good"),
    ]
    assert found[1]["due"] == day(NOW_MS + 365 * DAY_MS)
    later = answer(
        "gateway", "calibration", "list", config, "--set", "coldchain.calibration_warning_days=366"
    )
    assert [each["state"] for each in later["calibrations"]] == ["due soon", "due soon"]
    shown = coldseal("gateway", "calibration", "list", config).stdout
    assert "2 calibrations are in force; 1 are due or overdue" in shown
    name = found[1]["id"]
    (one,) = answer("gateway", "calibration", "show", config, name)["calibrations"]
    assert one["corrected"] == [["-20.00", "-20.120"], ["2.00", "2.050"], ["8.00", "8.070"]]
    assert (one["entry"], one["why"]) == (sealed[0].seq, "yearly calibration")
    assert "8.00 becomes 8.070" in coldseal("gateway", "calibration", "show", config, name).stdout
    assert (
        "no calibration 'none' is on record"
        in coldseal("gateway", "calibration", "show", config, "none").stderr
    )
    again = coldseal("gateway", "calibration", "apply", config, file, "--why", "again")
    assert (again.returncode, "not on record yet" in again.stderr) == (2, True)


def test_nothing_of_a_file_is_sealed_if_a_part_of_it_does_not_fit(config: Path, tmp_path: Path) -> None:
    """The second one is older than what is on record; faults in the file are counted."""
    shown = coldseal("gateway", "calibration", "apply", config, write(tmp_path), "--why", "first")
    assert "freezer-3/door humidity" in shown.stdout
    older = GOOD.replace("K-2026-0417", "K-2").replace(
        'unit = "%RH"', f'unit = "%RH"\ncalibrated = {day(NOW_MS - 9 * DAY_MS)}'
    )
    done = coldseal("gateway", "calibration", "apply", config, write(tmp_path, older), "--why", "x")
    assert (done.returncode, "when the one on record was done" in done.stderr) == (2, True)
    assert len(data_of(config, "calibration")) == 2
    bad = write(tmp_path, GOOD.replace('"Cel"', '"K"').replace("-1.5", "99"))
    done = coldseal("gateway", "calibration", "apply", config, bad, "--why", "x")
    assert (done.returncode, "2 faults in all" in done.stderr) == (2, True)


def test_a_sensor_that_is_not_registered_is_refused(config: Path, tmp_path: Path) -> None:
    """Where a registry says which there are."""
    registry = write(
        tmp_path,
        '[[classes]]\nname = "c"\nchannels = [{ channel = "reading" }]\n'
        '[[devices]]\nname = "freezer-3"\nclass = "c"\nsensors = ["lid"]\n',
        "registry.toml",
    )
    options = ("--set", f"topics.registry={registry}", "--why", "x")
    done = coldseal("gateway", "calibration", "apply", config, write(tmp_path), *options)
    assert done.returncode == 2
    assert "device 'freezer-3' has no sensor 'door' here" in done.stderr
    done = coldseal("gateway", "maintenance", "begin", config, "freezer-3/door", *options)
    assert "has no sensor 'door' here" in done.stderr


def test_a_running_gateway_corrects_from_its_entry_on_and_knows_maintenance(
    config: Path, tmp_path: Path
) -> None:
    """Asked through its control socket, by the user of this process."""
    file = write(tmp_path)

    def work() -> None:
        made = said("gateway", "calibration", "apply", config, file, "--why", "yearly calibration")
        assert len(made["calibrations"]) == 2
        begun = said("gateway", "maintenance", "begin", config, "freezer-3/door", "--why", "ice bath")
        assert (begun["action"], begun["device"], begun["sensor"]) == ("begin", "freezer-3", "door")
        (found,) = said("gateway", "maintenance", "list", config)["maintenance"]
        assert (found["sensor"], found["why"]) == ("freezer-3/door", "ice bath")
        twice = coldseal("gateway", "maintenance", "begin", config, "freezer-3/door", "--why", "again")
        assert (twice.returncode, "is in maintenance" in twice.stderr) == (2, True)
        assert "ice bath" in coldseal("gateway", "maintenance", "list", config).stdout

    asyncio.run(running(config, work))
    done = coldseal("gateway", "maintenance", "end", config, "freezer-3/door", "--why", "done: 0.01 off")
    assert done.returncode == 0
    assert "0 sensors are in maintenance" in coldseal("gateway", "maintenance", "list", config).stdout
    found = [each for each in data_of(config, "config") if "maintenance" in each]
    assert [each["maintenance"]["action"] for each in found] == ["begin", "end"]
    assert {each["who"] for each in found} == {name_of(os.getuid())}
    future = "2999-01-01T00:00:00Z"
    planned = answer(
        "gateway", "maintenance", "begin", config, "freezer-3/door", "--why", "x", "--at", future
    )
    assert planned["at"] == "2999-01-01T00:00:00.000Z"
    past = ("--why", "x", "--from", "2020-01-01T00:00:00Z")
    done = coldseal(
        "gateway", "calibration", "apply", config, write(tmp_path, GOOD.replace("-0417", "-9")), *past
    )
    assert (done.returncode, "no time before the entry's own" in done.stderr) == (2, True)
