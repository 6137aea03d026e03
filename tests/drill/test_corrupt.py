"""The drill of damage: whatever bit flips in an image, nothing wrong is read, and next to nothing is lost."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, cast

import pytest

from coldseal.drill.corrupt import Image, Outcome, corrupt
from coldseal.errors import OperatorError
from coldseal.gateway.store.image import take_image
from tests.drill.test_course import Played, stage, status
from tests.gateway.store.logs import KEY, NOW_MS, ORIGIN, fill, opened

if TYPE_CHECKING:
    from pathlib import Path
    from random import SystemRandom


async def make_image(tmp_path: Path) -> Image:
    """Take an image of a log with an ended segment, and one with entries in its WAL."""
    (tmp_path / "image").mkdir()
    async with opened(tmp_path / "log") as log:
        await fill(log, [5, 60, 1])
        await log.roll(NOW_MS)
        await fill(log, [1, 80, 3], 600)
        take_image(tmp_path / "log", tmp_path / "image", KEY, newest=2)
    return Image(tmp_path / "image", KEY, ORIGIN, lambda _entry: True)


async def test_no_flipped_bit_is_read_as_something_else(tmp_path: Path) -> None:
    """In files and WAL; most flips are noticed, and little is lost by any."""
    image = await make_image(tmp_path)
    chance = cast("SystemRandom", Random(7))
    outcomes = [image.flip(chance) for _ in range(40)]
    assert image.entries == 150
    assert not any(each.is_wrong for each in outcomes)
    assert sum(each.is_noticed for each in outcomes) > 10
    assert max(each.lost for each in outcomes) < 90


async def test_a_wrong_value_would_be_seen(tmp_path: Path) -> None:
    """The drill can fail: what it holds the image against is changed here."""
    image = await make_image(tmp_path)
    leaves = dict(image._leaves)
    image._leaves = {first: [bytes(32), *held[1:]] for first, held in leaves.items()}
    outcomes = [image.flip(cast("SystemRandom", Random(seed))) for seed in range(40)]
    assert Outcome(is_noticed=False, is_wrong=True, lost=0) in outcomes


def test_no_flip_is_no_drill(tmp_path: Path) -> None:
    """It says so."""
    place = stage(tmp_path)
    with (
        Played(place.config.gateway.data, status()).serving(),
        pytest.raises(OperatorError, match="--flips is 0"),
    ):
        corrupt(place, flips=0)
