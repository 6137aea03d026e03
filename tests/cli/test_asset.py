"""`coldseal gateway profile apply` and `asset`: put on record, shown, tried on stored readings, by roles."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run
from coldseal.core.coldchain.profile import canonical_form
from coldseal.errors import OperatorError
from coldseal.gateway.changing import seal_change
from coldseal.gateway.control import AwaitsApprovalError, ask_running
from coldseal.gateway.profiles import read_profile
from tests.core.coldchain.profiles import VACCINE, profile
from tests.gateway.parts import payload
from tests.gateway.test_app import entries_of, load, publish, running
from tests.gateway.users import QUALITY, TECHNICIAN, VIEWER, as_user, needs_root, open_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECOND = (("version = 1", "version = 2"), ("low = 2", "low = 3"))
CERTIFICATE = """
device = "sensor-01"
sensor = "door"
quantity = "temperature"
unit = "Cel"
certificate = "7"
laboratory = "Lab"
calibrated = 2025-01-01
due = 2034-01-01
offset = 0
uncertainty = 0.3
"""
WHY = ("--why", "a test", "--who", "Eva")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a gateway and two sensors."""
    folder = tmp_path_factory.mktemp("pki") / "ca"
    assert run(["identity", "dev-ca", str(folder), "--devices", "2", "--gateway", "gw-1"]) == 0
    return folder


@pytest.fixture
def config(tmp_path: Path, pki: Path) -> Path:
    """A new gateway's configuration, on free ports."""
    folder, origin = tmp_path / "gateway", "example.com/site-7/gw-1"
    command = ["gateway", "init", str(folder), "--origin", origin, "--site", "site-7", "--pki", str(pki)]
    assert run(command) == 0
    return folder / "gateway.toml"


@pytest.fixture
def ran(config: Path) -> Path:
    """The configuration of a gateway that has run once."""

    async def once() -> None:
        async with running(config):
            pass

    asyncio.run(once())
    return config


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Give what runs a verb of the gateway with ``--json`` and reads its answer."""

    def answered(*arguments: object, code: int = 0) -> Any:  # noqa: ANN401 # JSON is anything
        capsys.readouterr()
        assert run(["gateway", *map(str, arguments), "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return answered


def written(config: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Write a profile's file."""
    text = VACCINE
    for old, new in changes:
        text = text.replace(old, new)
    path = config.with_name(name)
    path.write_text(text, encoding="utf-8")
    return path


def test_versions_are_put_on_record_one_after_the_other(ran: Path, said: Callable[..., Any]) -> None:
    """Sealed with an `access` entry before it; each version is the next one and says something new."""
    one, two = written(ran, "one.toml"), written(ran, "two.toml", *SECOND)
    assert said("profile", "list", ran) == {"profiles": []}
    wrong = said("profile", "apply", ran, two, *WHY, code=2)["error"]
    assert "version is 2, expected 1, the next one" in wrong
    made = said("profile", "apply", ran, one, *WHY)
    assert (made["name"], made["version"], made["changes"]) == ("vaccine-a", 1, [])
    entries = entries_of(ran)
    found = entries[made["seq"]]
    assert (found.kind, found.leaf_hash.hex()) == ("profile", made["leaf"])
    form = {"profile": canonical_form(profile()), "sha256": profile().sha256, "who": "Eva", "why": "a test"}
    assert found.data == form
    access = entries[made["seq"] - 1]
    assert (access.kind, access.data["action"], access.data["outcome"]) == ("access", "profile", "allowed")
    assert said("profile", "apply", ran, one, *WHY, code=2)["hint"] == "Nothing has to be applied"
    made = said("profile", "apply", ran, two, *WHY)
    assert (made["version"], made["stricter"], made["laxer"]) == (2, 1, 0)
    listed = said("profile", "list", ran)["profiles"]
    assert [(each["version"], each["assets"]) for each in listed] == [(1, []), (2, [])]
    assert said("profile", "show", ran, "vaccine-a", "--version", "1")["sha256"] == profile().sha256
    assert said("profile", "show", ran, "vaccine-a")["profile"]["version"] == 2
    missing = said("profile", "show", ran, "vaccine-a", "--version", "3", code=2)
    assert missing["hint"] == "There are: vaccine-a/1, vaccine-a/2"
    assert "vaccine-b is not on record" in said("profile", "show", ran, "vaccine-b", code=2)["error"]


def test_sensors_and_profiles_are_assigned_and_released(ran: Path, said: Callable[..., Any]) -> None:
    """Each from a moment on; what was and will be is shown."""
    written(ran, "one.toml")
    said("profile", "apply", ran, ran.with_name("one.toml"), *WHY)
    assert said("asset", "list", ran) == {"assets": []}
    assert "profile 'other'" in said("asset", "assign", ran, "f", "--profile", "other", *WHY, code=2)["error"]
    wrong = said("asset", "assign", ran, "f", "--profile", "vaccine-a/x", *WHY, code=2)
    assert wrong["hint"] == "Write it as NAME/VERSION, such as refrigerated/2"
    wrong = said("asset", "assign", ran, "f", "--profile", "vaccine-a/7", "--kind", "fridge", *WHY, code=2)
    assert "expected one on record: vaccine-a/1" in wrong["error"]
    wrong = said("asset", "assign", ran, "f", "--sensor", "sensor-01/door", *WHY, code=2)["error"]
    assert "expected the kind of f, which is new" in wrong
    assert "what to assign" in said("asset", "assign", ran, "f", *WHY, code=2)["error"]
    made = said("asset", "assign", ran, "f", "--profile", "vaccine-a", "--kind", "fridge", *WHY)
    assert (made["profile"], made["version"], made["asset_kind"]) == ("vaccine-a", 1, "fridge")
    said("asset", "assign", ran, "f", "--sensor", "sensor-01/door", *WHY)
    said("asset", "assign", ran, "f", "--sensor", "sensor-02/door", "--from", "2126-01-01", *WHY)
    past = said(
        "asset", "assign", ran, "f", "--sensor", "sensor-02/door", "--from", "2020-01-01", *WHY, code=2
    )
    assert "what was judged stays as it was judged" in past["error"]
    now = {"asset": "f", "kind": "fridge", "profile": "vaccine-a/1", "sensors": ["sensor-01/door"]}
    assert said("asset", "list", ran) == {"assets": [now]}
    assert said("profile", "list", ran)["profiles"][0]["assets"] == ["f"]
    shown = said("asset", "show", ran, "f")
    assert [each["what"] for each in shown["history"]] == [
        "profile vaccine-a/1 holds",
        "sensor-01/door watches it",
        "sensor-02/door watches it",
    ]
    assert shown["history"][-1]["from"] == "2126-01-01T00:00:00.000Z"
    assert said("profile", "apply", ran, written(ran, "two.toml", *SECOND), *WHY)["earlier"] == ["f"]
    assert said("asset", "list", ran) == {"assets": [now]}
    said("asset", "release", ran, "f", "--sensor", "sensor-01/door", *WHY)
    said("asset", "release", ran, "f", "--profile", "vaccine-a", "--at", "2126-01-02", *WHY)
    shown = said("asset", "show", ran, "f")
    assert shown["sensors"] == []
    assert [each["what"] for each in shown["history"]][-2:] == [
        "sensor-02/door watches it",
        "no profile holds",
    ]
    assert "sensor-01/door leaves it" in [each["what"] for each in shown["history"]]
    assert "Did you mean 'f'" in said("asset", "show", ran, "ff", code=2)["hint"]
    unknown = said("asset", "release", ran, "ff", *WHY, code=2)["error"]
    assert "expected one that something is assigned to: f" in unknown
    said("asset", "release", ran, "f", *WHY)
    assert said("asset", "list", ran)["assets"][0]["profile"] == ""


def test_what_is_on_record_is_shown_to_people(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words; before anything is, that is said."""
    more = '\n[quantities.humidity]\nunit = "%RH"\nhigh = 60\n'
    one = written(
        ran, "one.toml", ('window = "24 h"\n', f'window = "24 h"\n{more}'), ("\ncumulative = ", "\n#")
    )

    def shown(*arguments: object) -> str:
        capsys.readouterr()
        assert run(["gateway", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    assert shown("profile", "list", ran) == "no profile is on record\n"
    assert shown("asset", "list", ran) == "no asset is known\n"
    assert "coldseal gateway asset assign" in shown("profile", "apply", ran, one, *WHY)
    assert shown("profile", "list", ran) == "vaccine-a version 1: no asset\n"
    text = shown("profile", "show", ran, "vaccine-a")
    assert "temperature: from 2 to 8 Cel\n" in text
    assert "  high 8 Cel: 1 h at a time, then excursion\n" in text
    assert "  mean kinetic temperature: at most 8 Cel in 24 h (83.144 kJ/mol)\n" in text
    assert "humidity: to 60 %RH\n" in text
    assert "  mean kinetic temperature: not applicable\n" in text
    assert "holds for  no asset\n" in text
    again = ran.with_name("again.toml")
    again.write_text(shown("profile", "show", ran, "vaccine-a", "--toml"), encoding="utf-8")
    assert read_profile(again) == read_profile(one)
    shown("asset", "assign", ran, "f", "--sensor", "sensor-01/door", "--kind", "fridge", *WHY)
    assert shown("asset", "list", ran) == "f  fridge  no profile  sensor-01/door\n"
    assert "sensor-01/door watches it" in shown("asset", "show", ran, "f")


async def test_stored_readings_are_tried_with_a_profile(
    config: Path, pki: Path, said: Callable[..., Any]
) -> None:
    """Of a gateway's own log, while it runs."""
    async with running(config) as gateway:
        readings = (payload(seq, value) for seq, value in enumerate(("5.0", "9.0", "9.1", "5.0"), 1))
        await publish(pki, gateway.listener.port, *readings)
        path = written(config, "one.toml", ("recover_after = 2", "recover_after = 1"))
        options = ("--config", config, "--sensor", "sensor-01/door")
        found = await asyncio.to_thread(said, "profile", "try", path, *options)
        assert (found["sensor"], found["readings"]) == ("sensor-01/door", 4)
        (excursion,) = found["excursions"]
        assert (excursion["extreme"], excursion["direction"]) == ("9.1", "high")
        assert [each["action"] for each in excursion["entries"]] == ["opened", "recovered"]
        certificate = config.with_name("certificate.toml")
        certificate.write_text(CERTIFICATE, encoding="utf-8")
        await asyncio.to_thread(said, "calibration", "apply", config, certificate, *WHY)
        guarded = written(config, "g.toml", ("guard_band = false", "guard_band = true"))
        found = await asyncio.to_thread(said, "profile", "try", guarded, *options)
        assert found["excursions"][0]["guard"] == "0.3"
        none = await asyncio.to_thread(
            lambda: said("profile", "try", path, *options, "--to", "2020-01-01", code=2)
        )
        assert none["error"] == "there are no readings to try it on"
    assert not [each for each in entries_of(config) if each.kind == "excursion"]


async def test_what_try_shows_is_what_the_gateway_seals(
    config: Path, pki: Path, said: Callable[..., Any]
) -> None:
    """The same entries, but for the names of what watches what."""
    one = written(config, "one.toml", ("recover_after = 2", "recover_after = 1"), ('"1 h"', '"0 s"'))
    async with running(config) as gateway:
        for change in (
            ("profile", "apply", config, one),
            ("asset", "assign", config, "f", "--profile", "vaccine-a", "--kind", "fridge"),
            ("asset", "assign", config, "f", "--sensor", "sensor-01/door"),
        ):
            await asyncio.to_thread(said, *change, *WHY)
        readings = (payload(seq, value) for seq, value in enumerate(("5.0", "9.0", "9.1", "1.0", "5.0"), 1))
        await publish(pki, gateway.listener.port, *readings)
        options = ("--config", config, "--sensor", "sensor-01/door")
        tried = await asyncio.to_thread(said, "profile", "try", one, *options)
    sealed = [dict(each.data) for each in entries_of(config) if each.kind == "excursion"]
    shown = [entry for excursion in tried["excursions"] for entry in excursion["entries"]]
    for entry in (*sealed, *shown):
        assert entry.pop("asset") in {"f", "tried"}
        for name in ("device", "sensor", "id"):
            del entry[name]
    order = sorted(shown, key=lambda entry: (entry["to"], entry["action"] != "recovered"))
    assert len(sealed) == 4
    assert sorted(sealed, key=lambda entry: (entry["to"], entry["action"] != "recovered")) == order
    assert {entry["tier"] for entry in sealed if entry["direction"] == "high"} == {"excursion"}


async def test_a_running_gateway_lets_quality_apply_and_a_second_person_approve(config: Path) -> None:
    """A technician assigns but does not apply; what is refused is on record, and so is who approved."""
    needs_root()
    folder = open_folder()
    roles = ",".join(
        f'{{user="{uid}",roles=["{role}"]}}'
        for uid, role in ((QUALITY, "quality"), (TECHNICIAN, "technician"), (VIEWER, "quality"))
    )
    overrides = (
        f"administration.assigned=[{roles}]",
        f"administration.socket={folder / 'control.sock'}",
        'administration.two_person=["profile"]',
    )
    settings, found = load(config, *overrides), profile()
    who: dict[str, Any] = {"who": "Eva", "why": "a test"}
    version = {"profile": canonical_form(found), "sha256": found.sha256, **who}
    place: dict[str, Any] = {"asset": "f", "asset_kind": "fridge"}

    async def change_as(uid: int, kind: str, data: dict[str, Any]) -> int:
        work = lambda: as_user(uid, lambda: seal_change(settings, kind, data))  # noqa: E731 # called in a thread
        return (await asyncio.to_thread(work)).seq

    async with running(config, *overrides):
        with pytest.raises(OperatorError, match=f"{TECHNICIAN} may not profile"):
            await change_as(TECHNICIAN, "profile", version)
        with pytest.raises(AwaitsApprovalError) as awaited:
            await change_as(QUALITY, "profile", version)
        request = {"do": "approve", "number": awaited.value.number}
        answer = await asyncio.to_thread(
            lambda: as_user(VIEWER, lambda: ask_running(folder / "control.sock", request))
        )
        watched = {**place, "device": "sensor-01", "sensor": "door"}
        await change_as(TECHNICIAN, "config", {"assign": watched, **who})
        held = {**place, "profile": "vaccine-a", "version": 1}
        seq = await change_as(TECHNICIAN, "config", {"assign": held, **who})
        with pytest.raises(OperatorError, match="device '#' is not registered here"):
            await change_as(TECHNICIAN, "config", {"assign": {**watched, "device": "#"}, **who})
    shutil.rmtree(folder)
    entries = entries_of(config, *overrides)
    assert entries[answer["seq"]].data == version
    outcomes = [each.data["outcome"] for each in entries if each.kind == "access"]
    assert outcomes[:3] == ["refused", "pending", "approved"]
    assert entries[seq].data["assign"] == held
