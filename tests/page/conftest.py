"""One browser for all tests of the page, and the page as an inspector has it: a file on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from coldseal.page import page
from tests.page.chromium import PROGRAMS, Browser, Tab, program


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A running Chromium; without one the tests skip, which CI does not allow."""
    executable = program()
    if executable is None:
        pytest.skip(f"none of {', '.join(PROGRAMS)} is here; install Debian's chromium")
    running = Browser(executable, tmp_path_factory.mktemp("profile"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on disk."""
    path = tmp_path_factory.mktemp("page") / "verify.html"
    path.write_bytes(page())
    return path


@pytest.fixture
async def tab(browser: Browser) -> AsyncIterator[Tab]:
    """An empty tab."""
    async with browser.tab() as opened:
        yield opened
