"""`coldseal gateway topics`: a policy is tried out, shown, and what follows from it is looked after."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run
from coldseal.identity.contexts import client_context
from coldseal.mqtt.packets import Connect, Publish, ReasonCode, Version
from tests import access
from tests.gateway.sources.rig import Peer
from tests.gateway.test_app import running
from tests.gateway.test_governance import GATEWAY

if TYPE_CHECKING:
    from pathlib import Path

OWN = f"{access.BRANCH}/gauge/reading/door"
CASES = """
[[cases]]
device = "gauge"
action = "publish"
topic = "coldseal/v1/lab/gauge/reading/door"
expected = "allow"

[[cases]]
device = "gauge"
action = "subscribe"
topic = "coldseal/v1/lab/+/reading/#"
expected = "{}"

[[cases]]
device = "stranger"
action = "connect"
expected = "deny"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration with a strict registry."""
    access.write_registry(tmp_path / "registry.toml")
    path = tmp_path / "gateway.toml"
    path.write_text(f'{GATEWAY}\n[topics]\nregistry = "registry.toml"\nstrict = true\n')
    return path


def cases(config: Path, expected: str) -> str:
    """Write a file of cases of which one holds only if ``expected`` is deny."""
    path = config.with_name("cases.toml")
    path.write_text(CASES.format(expected))
    return str(path)


def test_a_policy_that_answers_as_expected_ends_with_0(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The written cases are shown, the built-in ones counted."""
    assert run(["gateway", "topics", "check", str(config), cases(config, "deny")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 3
    assert lines[0].split() == ["ok", "gauge", "publish", "expected", "allow", "found", "allow", OWN]
    assert lines[-1] == "132 cases tried, 129 of them built in: 0 answered otherwise than expected"


def test_a_mismatch_is_shown_and_ends_with_1(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person and for a script."""
    path = cases(config, "allow")
    assert run(["gateway", "topics", "check", str(config), path]) == 1
    assert "WRONG  gauge       subscribe  expected allow  found deny" in capsys.readouterr().out
    assert run(["gateway", "topics", "check", str(config), path, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["tried"], found["wrong"]) == (132, 1)
    (wrong,) = [case for case in found["cases"] if case["expected"] != case["found"]]
    assert (wrong["device"], wrong["action"], wrong["builtin"]) == ("gauge", "subscribe", False)


def test_a_policy_that_is_too_wide_fails_without_any_written_case(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The built-in cases find a grant of everything."""
    config.write_text(config.read_text().replace('subscribe = ["news"]', 'subscribe = ["#"]'))
    assert run(["gateway", "topics", "check", str(config)]) == 1
    assert "expected deny   found allow  #" in capsys.readouterr().out


def test_a_wildcard_to_publish_is_an_error_before_anything_is_tried(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With file, key, value and cure."""
    registry = config.with_name("registry.toml")
    registry.write_text(registry.read_text().replace('sensors = ["door"]', 'sensors = ["+"]'))
    assert run(["gateway", "topics", "check", str(config)]) == 2
    said = capsys.readouterr().err
    assert f"{registry}: devices 'gauge-1': sensors '+' cannot be" in said
    assert "a wildcard cannot be granted" in said


def test_every_right_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each topic with its terms; a script gets the same."""
    assert run(["gateway", "topics", "show", str(config)]) == 0
    out = capsys.readouterr().out
    assert f"  publish    {OWN}  (coldseal-reading/1, up to 4.0 KiB)" in out
    assert f"  publish    {access.BRANCH}/gauge/status  (retain, will, up to 4.0 KiB)" in out
    assert f"  publish    {access.BRANCH}/probe.2/reading/core\n" in out
    assert f"  subscribe  {access.BRANCH}/+/reading/#" in out
    assert out.endswith("4 devices are registered; any other is refused\n")
    assert run(["gateway", "topics", "show", str(config), "--json", "--set", "topics.strict=false"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["site"], found["strict"]) == ("lab", False)
    for device in found["devices"]:
        word = access.POLICY[device["device"]]
        assert {topic["topic"] for topic in device["publish"]} == word.publish
        assert {topic["topic"] for topic in device["publish"] if topic["retain"]} == word.retain
        extra = {"news"} if device["device"] == "gauge" else set()
        assert set(device["subscribe"]) == {*word.hear, *extra}


def test_limits_are_shown_with_what_they_are_for(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a channel and of the device."""
    registry = config.with_name("registry.toml")
    text = registry.read_text().replace('name = "bare"', 'name = "bare"\nlimit = { messages_per_s = 2.5 }')
    registry.write_text(text)
    assert run(["gateway", "topics", "show", str(config)]) == 0
    assert "probe.2/reading/core  (device: messages_per_s=2.5)" in capsys.readouterr().out
    assert run(["gateway", "topics", "show", str(config), "--set", "topics.strict=false"]) == 0
    assert "any other has its own branch, without bounds" in capsys.readouterr().out


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a gateway's folder, made by the commands that a person uses."""
    folder = tmp_path_factory.mktemp("topics")
    made = ["identity", "dev-ca", str(folder / "ca"), "--devices", "2", "--gateway", "gw-1"]
    assert run(made) == 0
    command = ["gateway", "init", str(folder / "gw"), "--origin", "example.com/gw-1", "--site", "lab"]
    assert run([*command, "--pki", str(folder / "ca")]) == 0
    return folder


async def _speak_as_another(port: int, folder: Path, names: list[str]) -> None:
    """Connect as the first device, publish as the second, and wait for the end."""
    certificate = folder / "ca" / "device" / f"{names[0]}.pem"
    context = client_context(certificate, certificate.with_suffix(".key"), folder / "ca" / "root.pem")
    peer = await Peer.open(port, Version.V5, context)
    assert (await peer.connect(Connect("one"))).reason is ReasonCode.SUCCESS
    peer.send(Publish(f"{access.BRANCH}/{names[1]}/status", b"x", 0))
    await peer.expect_end()


async def test_a_device_that_is_kept_out_is_named_and_let_in_by_command(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A running gateway cuts it off by itself; the commands ask it over its control socket."""
    path = site / "gw" / "gateway.toml"
    names = sorted(each.stem for each in (site / "ca" / "device").glob("*.pem"))
    async with running(path) as gateway:
        await _speak_as_another(gateway.listener.port, site, names)

        async def ask(*arguments: str) -> int:
            return await asyncio.to_thread(run, ["gateway", "topics", *arguments])

        capsys.readouterr()
        assert await ask("blocked", str(path)) == 0
        out = capsys.readouterr().out
        assert f"{names[0]}  not-authorised, " in out
        assert "1 devices are kept out" in out
        assert await ask("unblock", str(path), names[0], "--why", "it was exchanged") == 0
        assert await ask("blocked", str(path), "--json") == 0
        out = capsys.readouterr().out
        assert f"{names[0]} may connect again" in out
        assert json.loads(out[out.index("{") :]) == {"devices": []}
        assert await ask("unblock", str(path), names[0], "--why", "again", "--json") == 2
        await _speak_as_another(gateway.listener.port, site, names)
        capsys.readouterr()
        assert await ask("unblock", str(path), names[0], "--why", "exchanged", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"device": names[0]}
