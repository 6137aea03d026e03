"""`coldseal gateway firewall nftables`: rules on paper or in a file, read by nft where somebody wants it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.cli.main import run
from tests.gateway.namespaces import require_namespaces

INTERFACES = ("--ot", "ot0", "--uplink", "up0")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration with a listener and a service."""
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "example.com/gw"\nsite = "site-7"\n'
        '[mqtt]\nlisten = "10.88.1.1:8883"\ncertificate = "l.pem"\nkey = "l.key"\nclient_ca = "ca.pem"\n'
        '[uplink]\nurl = "https://192.0.2.7:8443"\ncertificate = "a.pem"\nkey = "a.key"\n'
        'ca = "ca.pem"\nwitness = "one+1+x"\n'
    )
    return path


def nftables(config: Path, *more: str) -> int:
    """Run the command."""
    return run(["gateway", "firewall", "nftables", str(config), *INTERFACES, *more])


def test_rules_are_printed_and_can_be_checked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what the configuration names."""
    require_namespaces()
    assert nftables(config, "--check", "--admin", "10.88.9.0/24") == 0
    found = capsys.readouterr().out

    assert "192.0.2.7 . 8443" in found
    assert 'iifname "up0" ip saddr 10.88.9.0/24 tcp dport 22' in found


def test_rules_go_into_a_new_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Never over an old one."""
    path = config.with_name("rules.nft")
    assert nftables(config, "--output", str(path)) == 0
    assert f"nft -f {path}" in capsys.readouterr().out
    assert path.read_text().startswith("#!/usr/sbin/nft -f")
    assert nftables(config, "--output", str(path)) == 2


def test_names_are_asked_for_on_demand(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the servers of the configuration, or the system's."""
    url = "uplink.url=https://service.invalid:8443"
    assert nftables(config, "--set", url) == 2
    assert "--resolve" in capsys.readouterr().err
    assert nftables(config, "--resolve", "--set", url) == 3
    assert "service.invalid" in capsys.readouterr().err
