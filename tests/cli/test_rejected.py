"""`coldseal gateway rejected`: what was not taken is listed, shown, and replayed once its schema is there."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run
from tests.gateway.parts import payload
from tests.gateway.test_app import config_file, entries_of, pki, publish, running
from tests.gateway.test_schemas import TEXT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["config_file", "pki"]

PARKED = b'{"schema":"vendor.logger/1","temp":4.70}'


@pytest.fixture
def config(config_file: Path) -> Path:
    """A gateway with a folder of schemas in which there is none yet."""
    config_file.with_name("schemas").mkdir()
    config_file.write_text(f'{config_file.read_text()}\n[schemas]\ndirectory = "schemas"\n')
    return config_file


async def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, Any]:
    """Give a command to a gateway that runs in this process; gives exit code and answer."""
    code = await asyncio.to_thread(run, ["gateway", "rejected", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


async def test_a_parked_message_is_replayed_after_its_schema_was_added(
    config: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a restart; the log has who asked for it, and the next such message is taken at once."""
    async with running(config) as gateway:
        await publish(pki, gateway.listener.port, PARKED, b"{oops")
        _, found = await command(capsys, "list", config)
        rows = found["rejected"]
        assert [(each["reason"], each["replayable"]) for each in rows] == [
            ("schema", True),
            ("payload", True),
        ]
        assert rows[0]["topic"] == "coldseal/v1/site-7/sensor-01/reading/door"
        code, answer = await command(capsys, "replay", config, "--why", "too early", "--reason", "schema")
        assert (code, len(answer["kept"])) == (1, 1)
        config.with_name("schemas").joinpath("logger-1.toml").write_text(TEXT.format(version=1))
        code, answer = await command(capsys, "replay", config, "--why", "here now", "--reason", "schema")
        assert (code, [each["rejected"] for each in answer["replayed"]]) == (0, [rows[0]["seq"]])
        await publish(pki, gateway.listener.port, PARKED.replace(b"4.70", b"4.80"))
        _, found = await command(capsys, "list", config, "--device", "sensor-01", "--reason", "schema")
        assert [each["replayed_as"] for each in found["rejected"]] == [answer["replayed"][0]["seq"]]
        code = await asyncio.to_thread(
            run, ["gateway", "rejected", "replay", str(config), "--why", "x", "--seq", str(rows[0]["seq"])]
        )
        assert code == 2
    kinds = [entry.kind for entry in entries_of(config)]
    assert [kind for kind in kinds if kind in {"access", "rejected", "reading"}] == [
        *("rejected", "rejected", "access", "access", "reading", "reading", "access"),
    ]
    access = next(entry for entry in entries_of(config) if entry.kind == "access")
    assert (access.data["action"], access.data["outcome"]) == ("replay", "allowed")


async def test_the_log_says_which_file_each_schema_was_read_from_by_its_hash(
    config: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a start, and before a replay, in front of the readings: who has the file proves what judged them."""
    first, second = (config.with_name("schemas") / f"logger-{version}.toml" for version in (1, 2))
    first.write_text(TEXT.format(version=1))
    one = hashlib.sha256(first.read_bytes()).hexdigest()
    async with running(config) as gateway:
        await publish(pki, gateway.listener.port, PARKED.replace(b"/1", b"/2").replace(b"temp", b"other"))
        second.write_text(TEXT.format(version=2).replace('"temp"', '"other"'))
        two = hashlib.sha256(second.read_bytes()).hexdigest()
        for _ in range(2):
            await command(capsys, "replay", config, "--why", "here now")
    async with running(config):
        pass
    first.unlink()
    async with running(config):
        pass
    entries = entries_of(config)
    settings: list[Any] = [
        found for entry in entries if isinstance(found := entry.data.get("settings"), dict)
    ]
    said = [
        {key: (it["before"], it["after"]) for key, it in each.items() if key.startswith("schemas.v")}
        for each in settings
    ]
    assert [each for each in said if each] == [
        {"schemas.vendor.logger/1": (None, f"sha256:{one}")},
        {"schemas.vendor.logger/2": (None, f"sha256:{two}")},
        {"schemas.vendor.logger/1": (f"sha256:{one}", None)},
    ]
    kinds = [entry.kind for entry in entries if entry.kind in {"access", "config", "reading"}]
    assert kinds[:4] == ["access", "config", "reading", "access"]
    config_entry = next(entry for entry in entries if entry.kind == "config")
    assert config_entry.data["why"] == "the folder of schemas was read again"


async def test_a_channel_that_names_a_schema_takes_nothing_else(config: Path, pki: Path) -> None:
    """The payload need not name it; one of another form is parked."""
    config.with_name("schemas").joinpath("logger-1.toml").write_text(TEXT.format(version=1))
    config.with_name("registry.toml").write_text(
        '[[classes]]\nname = "logger"\n[[classes.channels]]\nchannel = "reading"\n'
        'schema = "vendor.logger/1"\n[[devices]]\nname = "sensor-01"\nclass = "logger"\nsensors = ["door"]\n'
    )
    async with running(config, f"topics.registry={config.with_name('registry.toml')}") as gateway:
        await publish(pki, gateway.listener.port, b'{"temp":4.70}', payload(1), PARKED)
    found = [entry for entry in entries_of(config) if entry.kind in {"reading", "rejected"}]
    assert [entry.kind for entry in found] == ["reading", "rejected", "reading"]
    assert (found[0].src["schema"], found[1].data["reason"]) == ("vendor.logger/1", "schema")


async def test_one_is_shown_with_what_was_kept(
    config: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a person and for a script; without a running gateway, too."""
    async with running(config) as gateway:
        await publish(pki, gateway.listener.port, PARKED, b"{oops" * 200)
    _, found = await command(capsys, "list", config, "--last", "1")
    assert (found["count"], len(found["rejected"])) == (2, 1)
    seq = found["rejected"][0]["seq"]
    _, shown = await command(capsys, "show", config, str(seq - 1))
    assert shown["payload"] == PARKED.decode()
    for arguments, text in (
        (["show", str(config), str(seq - 1)], PARKED.decode()),
        (["show", str(config), str(seq)], "payload"),
        (["list", str(config), "--last", "1"], "2 rejected entries, the last 1 shown"),
        (["list", str(config)], "can be replayed"),
    ):
        assert run(["gateway", "rejected", *arguments]) == 0
        assert text in capsys.readouterr().out
    assert run(["gateway", "rejected", "show", str(config), "0"]) == 2
    assert run(["gateway", "rejected", "show", str(config), "9999"]) == 2
    assert run(["gateway", "rejected", "replay", str(config), "--why", "x"]) == 3


async def test_a_person_sees_what_was_replayed(
    config: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line by line, and how many."""
    async with running(config) as gateway:
        await publish(pki, gateway.listener.port, PARKED, b"{oops")
        config.with_name("schemas").joinpath("logger-1.toml").write_text(TEXT.format(version=1))
        asked = ["gateway", "rejected", "replay", str(config), "--why", "here now"]
        assert await asyncio.to_thread(run, asked) == 1
        shown = capsys.readouterr().out
        assert "1 taken in, 1 not understood" in shown
        config.with_name("schemas").joinpath("logger-2.toml").write_text("name = 3")
        assert await asyncio.to_thread(run, asked) == 2
        assert "logger-2.toml" in capsys.readouterr().err
