"""Fixtures of the perimeter's tests: listeners that a module shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coldseal.observe.logs import configure as configure_logs
from tests.perimeter.grounds import Grounds, opened


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """Give running listeners of both programs."""
    with opened(tmp_path_factory.mktemp("grounds")) as running:
        yield running


@pytest.fixture
def quiet(grounds: Grounds) -> Grounds:
    """Give the same, with everything said before forgotten."""
    configure_logs(stream=grounds.stream, is_readable=False)
    grounds.forget()
    return grounds
