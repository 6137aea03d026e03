"""Fixtures of the uplink's tests: a trial site, a log on the gateway's disk, an enrolment server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.uplink.registry import Registry
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


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Make an enrolment server, which does not run yet."""
    made = Registry(tmp_path / "registry")
    yield made
    made.enrolments.close()
