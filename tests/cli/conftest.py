"""The real command, and a folder set up for both programs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coldseal.cli.main import run
from coldseal.demo.programs import free_ports

COMMAND = (sys.executable, "-m", "coldseal.cli.main")


def coldseal(
    *arguments: str | Path, given: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end within this process, without a terminal; `COMMAND` starts one of its own."""
    words = [str(argument) for argument in arguments]
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(given or ""))
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            code = run(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return subprocess.CompletedProcess(words, code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    """Give what was written."""
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def answer(*arguments: str | Path) -> dict[str, Any]:
    """Run a command that must succeed with ``--json``, and give its answer."""
    done = coldseal(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Site:
    """A CA, a service and a gateway, set up by the command line and never run."""

    folder: Path
    witness: str

    @property
    def pki(self) -> Path:
        """The CA's folder."""
        return self.folder / "pki"

    @property
    def gateway(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gw" / "gateway.toml"

    @property
    def service(self) -> Path:
        """The service's configuration."""
        return self.folder / "service" / "service.toml"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Set a site up, as a person would."""
    folder = tmp_path_factory.mktemp("site")
    answer("identity", "dev-ca", folder / "pki", "--devices", "2")
    made = answer("service", "init", folder / "service", "--pki", folder / "pki")
    options = ("--origin", "example.com/s1/gw-0001", "--site", "s1", "--pki", folder / "pki")
    uplink = ("--uplink", "https://localhost:8443", "--witness", made["witness"])
    answer("gateway", "init", folder / "gw", *options, *uplink)
    return Site(folder, made["witness"])


def own_gateway(folder: Path, site: Site) -> Path:
    """Copy the gateway of a site, with its certificates, and let it listen on free ports; gives its file."""
    shutil.copytree(site.gateway.parent, folder / "gw")
    shutil.copytree(site.pki, folder / "pki")
    path = folder / "gw" / "gateway.toml"
    text = path.read_text(encoding="utf-8").replace("127.0.0.1:8883", "127.0.0.1:0")
    path.write_text(text.replace("127.0.0.1:9464", f"127.0.0.1:{free_ports(1)[0]}"), encoding="utf-8")
    assert tomllib.loads(text)["mqtt"]["listen"] == "127.0.0.1:0"
    return path
