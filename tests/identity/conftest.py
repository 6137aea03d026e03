"""A development CA with one holder of each role, made once for all tests that only read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldseal.gateway.clock import Clock
from coldseal.identity.authority import Authority, create_authority


def this_moment() -> datetime:
    """Give the present, to the second; certificates have no finer time."""
    return datetime.fromtimestamp(Clock().now().t_ms // 1000, UTC)


@dataclass(frozen=True)
class Pki:
    """A CA and what it issued."""

    authority: Authority
    now: datetime
    service: Path
    gateway: Path
    device: Path
    expired: Path

    @property
    def trust(self) -> Path:
        """The file that peers trust."""
        return self.authority.folder / "root.pem"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Make the CA and its holders."""
    now = this_moment()
    authority = create_authority(tmp_path_factory.mktemp("pki"), now=now)
    return Pki(
        authority=authority,
        now=now,
        service=authority.issue("service", "localhost", now=now),
        gateway=authority.issue("gateway", "gw-0001", now=now, hosts=("gw.example", "192.0.2.1")),
        device=authority.issue("device", "sensor-1.a", now=now),
        expired=authority.issue("device", "expired", now=now - timedelta(days=8)),
    )
