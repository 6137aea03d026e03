"""Fixtures of the routes' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.routing.rig import Grounds


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    """Give a gateway's folder with a log, and certificates."""
    return Grounds(tmp_path)
