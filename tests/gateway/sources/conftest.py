"""Fixtures for tests of the sources: a site with certificates, and the event loop of production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.gateway.sources.rig import Rig, Site, running


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop of production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site with a CA, a gateway's certificate and a password file."""
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
async def rig(site: Site) -> AsyncIterator[Rig]:
    """Give a running listener with both doors, sessions in memory only."""
    async with running(site) as made:
        yield made
