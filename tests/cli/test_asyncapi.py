"""`coldseal gateway topics asyncapi`: the registry as a document, printed or written, the same each time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run
from tests import access
from tests.gateway.test_governance import GATEWAY
from tests.gateway.test_schemas import TEXT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration with a registry, and a folder with one schema."""
    access.write_registry(tmp_path / "registry.toml")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "logger.toml").write_text(TEXT.format(version=1))
    path = tmp_path / "gateway.toml"
    tables = '[topics]\nregistry = "registry.toml"\n[schemas]\ndirectory = "schemas"\n'
    path.write_text(f"{GATEWAY}\n{tables}")
    return path


def test_the_document_is_printed_or_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, each time."""
    command = ["gateway", "topics", "asyncapi", str(config)]
    assert run(command) == 0
    document = json.loads(capsys.readouterr().out)
    file = config.with_name("asyncapi.json")
    for _ in range(2):
        assert run([*command, str(file)]) == 0
        assert "describes 14 channels" in capsys.readouterr().out
        assert json.loads(file.read_text()) == document
    assert run([*command, str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["channels"] == 14
    assert list(document["channels"]["logger-reading"]["messages"]) == ["coldseal-reading-1"]


def test_listeners_say_how_to_authenticate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over TLS and on this machine."""
    plain = ["--set", "mqtt.plain_listen=127.0.0.1:1883", "--set", "mqtt.passwords=passwords"]
    tls = ["--set", "mqtt.listen=127.0.0.1:8883", "--set", "mqtt.certificate=a", "--set", "mqtt.key=b"]
    options = [*plain, *tls, "--set", "mqtt.client_ca=c"]
    assert run(["gateway", "topics", "asyncapi", str(config), *options]) == 0
    servers = json.loads(capsys.readouterr().out)["servers"]
    assert {name: len(each["security"]) for name, each in servers.items()} == {"tls": 2, "plain": 1}


def test_what_cannot_be_written_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the file's name; a wrong registry is told, too."""
    assert run(["gateway", "topics", "asyncapi", str(config), str(config / "x")]) == 2
    assert "gateway.toml/x" in capsys.readouterr().err
    config.with_name("registry.toml").write_text('[[devices]]\nname = "a"\nclass = "b"\n')
    assert run(["gateway", "topics", "asyncapi", str(config)]) == 2
