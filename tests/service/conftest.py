"""Fixtures of the service's tests: a trial site, a pool of one process, an ingest without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.ledger import Ledger
from coldseal.service.verification import Verifier
from tests.service.bench import LEDGER_KEY, Bench
from tests.trial import Site


class OpenBench(Protocol):
    """Opens a bench; again over the same ledger after it was closed."""

    def __call__(
        self, *, is_verified_first: bool = False, limit_bytes: int = 2**30
    ) -> AbstractAsyncContextManager[Bench]:
        """Open it."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give the files of a trial."""
    return Site(tmp_path)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """Give a pool of one process, started when it is first used."""
    verifier = Verifier(1, ServiceMetrics())
    yield verifier
    verifier.close()


@pytest.fixture
def open_bench(site: Site, verifier: Verifier) -> OpenBench:
    """Give the way to open a bench."""

    @asynccontextmanager
    async def opened(*, is_verified_first: bool = False, limit_bytes: int = 2**30) -> AsyncIterator[Bench]:
        ledger = Ledger.open(site.service / "data", LEDGER_KEY, limit_bytes=limit_bytes)
        try:
            yield Bench(site, ledger, verifier, is_verified_first=is_verified_first)
        finally:
            await ledger.close()

    return opened


@pytest.fixture
async def bench(open_bench: OpenBench) -> AsyncIterator[Bench]:
    """Give an open bench that checks signatures behind receipts."""
    async with open_bench() as bench:
        yield bench
