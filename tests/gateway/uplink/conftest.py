"""Fixtures of the uplink's tests: a trial site and a log that is on the gateway's disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sealed import SealedLog
from tests.trial import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give the files of a trial."""
    return Site(tmp_path)


@pytest.fixture
def log(site: Site) -> SealedLog:
    """Give the usual log, admitted at the service."""
    log = SealedLog()
    site.admit(log)
    return log
