"""testssl.sh on both listeners: protocols, suites, and every vulnerability that it knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.perimeter.grounds import opened

ALLOWED = {
    "engine_problem": "tells of the machine's openssl, not of the listener",
    "optimal_proto": "its own openssl has no certificate, without which the handshake ends",
    "service": "it does not speak HTTP without a client's certificate, so checks of HTTP are left out",
    "scanTime": "tells of itself",
}
"""What it says that is no finding, and why."""


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("listener", ["mqtt", "api"])
def test_testssl_finds_nothing(tmp_path: Path, listener: str) -> None:
    """Nothing above OK and INFO."""
    found, report = shutil.which("testssl"), tmp_path / "report.json"
    if found is None:
        pytest.skip("testssl is not installed: apt-get install testssl.sh")
    with opened(tmp_path) as grounds:
        command = [found, "--quiet", "--color", "0", "--warnings", "off", "--ip", "one", "--nodns", "min"]
        command += ["--jsonfile", str(report), "-p", "-f", "-P", "-U", "-s"]
        command += ["--add-ca", str(grounds.papers.trust), f"localhost:{grounds.ports[listener]}"]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=500, check=False)

    said = json.loads(report.read_text())

    sys.stdout.write(f"testssl on {listener}: {len(said)} statements\n")
    assert len(said) >= 40
    worse = [each for each in said if each["severity"] not in ("OK", "INFO") and each["id"] not in ALLOWED]
    assert [each["finding"] for each in worse] == []
