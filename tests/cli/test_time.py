"""`coldseal gateway time` and `time-config`: how time stands, and what the real services make of theirs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run
from coldseal.cli.status import _render
from tests.gateway.timeservers import NTPD, namespaces, require_parts, time_servers
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = 'servers = ["time1.example.com", "192.0.2.7", "2001:db8::7"]'


def configure(folder: Path, *lines: str) -> str:
    """Write a gateway's configuration with lines of its table `time`."""
    path = folder / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "a.example/gw-1"\nsite = "site-7"\n[mqtt]\nlisten = ""\n'
        'plain_listen = "127.0.0.1:0"\npasswords = "passwords"\n[time]\n' + "\n".join(lines) + "\n"
    )
    return str(path)


def test_time_that_nobody_keeps_is_said_so_with_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway need not run to be asked."""
    config = configure(tmp_path, 'source = "chrony"', f'chrony = "{tmp_path}/absent.sock"')
    assert run(["gateway", "time", config]) == 1
    assert "service-silent" in capsys.readouterr().out
    assert run(["gateway", "time", config, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)  # an answer for scripts
    assert (found["state"], found["error_ms"], found["flagged"]) == ("unsynchronised", None, True)


async def test_time_kept_by_a_real_chronyd_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under NTS, on loopback."""
    require_parts("chronyd", "setpriv", "openssl")
    with time_servers(tmp_path) as servers:
        servers.server().start()
        client = servers.client()
        client.start()
        config = configure(
            tmp_path, 'source = "chrony"', f'chrony = "{client.socket}"', "kernel_must_agree = false"
        )
        await until(lambda: run(["gateway", "time", config]) == 0)
    assert "nts" in capsys.readouterr().out


def test_chronyd_takes_the_configuration_made_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is open, and nobody is followed without NTS."""
    require_parts("chronyd")
    config = configure(tmp_path, SERVERS, "minimum_sources = 2")
    assert run(["gateway", "time-config", "chrony", config]) == 0
    path = tmp_path / "chrony.conf"
    path.write_text(capsys.readouterr().out)
    checked = subprocess.run(["chronyd", "-p", "-f", str(path)], check=True, capture_output=True, text=True)
    lines = checked.stdout.splitlines()
    servers = [line for line in lines if line.startswith("server ")]
    assert len(servers) == 3
    assert all(" nts" in line for line in servers)
    assert {"port 0", "cmdport 0", "authselectmode require", "minsources 2"} <= set(lines)
    assert "bindcmdaddress /run/chrony/chronyd.sock" in lines
    assert not [line for line in lines if line.startswith(("allow", "cmdallow", "pool", "peer", "local"))]


async def test_ntpd_takes_the_configuration_made_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says nothing against a line of it, and answers nobody but this machine."""
    require_parts("setpriv", "openssl", "nsenter", "unshare", "ip", str(NTPD))
    config = configure(tmp_path, SERVERS)
    assert run(["gateway", "time-config", "ntpsec", config]) == 0
    text = capsys.readouterr().out
    assert text.count(" nts iburst ") == 3
    assert "restrict default ignore" in text
    here = text.replace("/var/lib/ntpsec", str(tmp_path)).replace(
        "/var/log/ntpsec/ntpd.log", str(tmp_path / "l")
    )
    with namespaces() as (namespace, _), time_servers(tmp_path) as servers:
        ntpd = servers.ntpd()
        ntpd.lines = here.splitlines()
        ntpd.start_ntpd(namespace=namespace)
        log = ntpd.folder / "log"
        await until(lambda: log.exists() and "NTSc: Using system default root" in log.read_text())
        said = (ntpd.folder / "output").read_text() + log.read_text()
    assert "syntax error" not in said
    assert "CONFIG: " not in said.replace("CONFIG: readconfig", "")


@pytest.mark.parametrize(
    ("lines", "said"),
    [((), "names nobody"), ((SERVERS, "minimum_sources = 4"), "there are 3")],
    ids=["no servers", "too few"],
)
@pytest.mark.parametrize("service", ["chrony", "ntpsec"])
def test_too_few_servers_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], service: str, lines: tuple[str, ...], said: str
) -> None:
    """A configuration that could never synchronise is not written."""
    assert run(["gateway", "time-config", service, configure(tmp_path, *lines)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("service", "source", "reason", "said"),
    [
        ("chrony", "192.0.2.7", "", "chrony, which follows 192.0.2.7, by nts"),
        ("chrony", "", "no-source", "chrony, which follows nobody, by nts; readings are flagged"),
        ("", "", "service-silent", "service-silent; readings are flagged"),
        ("", "", "", "the kernel"),
    ],
)
def test_a_running_gateway_says_in_words_who_keeps_its_time(
    service: str, source: str, reason: str, said: str
) -> None:
    """In `coldseal gateway status`."""
    found = {"service": service, "source": source, "reason": reason, "authentication": "nts"}
    assert _render("time", {**found, "flagged": bool(reason)}) == ("time comes from", said)
