"""What the runs of one test share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.demo.world.stage import Stage, open_stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Give keys, a certificate and a folder."""
    with open_stage() as found:
        yield found
