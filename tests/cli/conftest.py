"""The real command as a process, and a folder set up for both programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "coldseal.cli.main")


def coldseal(
    *arguments: str | Path, given: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, without a terminal."""
    return subprocess.run(
        [*COMMAND, *(str(argument) for argument in arguments)],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


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
