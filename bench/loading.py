"""Runs the load generator as a process of its own, with certificates of one development CA."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.load import Result
from bench.programs import MeasurementError

DEVICES = "sensor-{:03d}"
"""Names of the sensors, as `coldseal identity dev-ca` and the generator count them."""

GATEWAY, SERVICE = "gw-0001", "localhost"
"""Names in the certificates of gateway and service, as that command gives them."""


@dataclass(frozen=True)
class Credentials:
    """A folder made by ``coldseal identity dev-ca``."""

    folder: Path

    @property
    def ca(self) -> Path:
        """What all peers trust."""
        return self.folder / "root.pem"

    def certificate(self, role: str, name: str) -> Path:
        """Where a certificate stands; its key is beside it as ``.key``."""
        return self.folder / role / f"{name}.pem"


def load(
    credentials: Credentials,
    port: int,
    *,
    connections: int,
    window: int = 20,
    messages: int = 0,
    seconds: float = 5.0,
    warm_up: float = 0.5,
    rate: float = 0.0,
    version: int = 5,
    connected: Callable[[], None] | None = None,
) -> Result:
    """Load a listener over TLS; ``connected`` is called once all connections stand.

    Raises:
        MeasurementError: the generator failed, or a message stayed without acknowledgement.
    """
    command = [
        *(sys.executable, "-m", "bench.load", "--port", str(port), "--connections", str(connections)),
        *("--window", str(window), "--messages", str(messages), "--seconds", str(seconds)),
        *("--warm-up", str(warm_up), "--rate", str(rate), "--version", str(version)),
        *("--devices", DEVICES, "--credentials", str(credentials.folder / "device")),
        *("--ca", str(credentials.ca)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() and connected is not None:
                connected()
            answer, failure = process.stdout.read(), process.stderr.read()
        finally:
            if process.poll() is None:
                process.kill()
    if not answer:
        raise MeasurementError(f"the load generator failed: {failure.decode()[-1000:]}")
    result = msgspec.json.decode(answer, type=Result)
    if result.unacknowledged or result.refused:
        raise MeasurementError(
            f"of the messages {result.unacknowledged} were not acknowledged, {result.refused} refused"
        )
    return result
