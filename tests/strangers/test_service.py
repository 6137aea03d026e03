"""Claim: strangers find the log good that the service serves, file by file, over HTTPS."""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from coldseal.core.log import canonical
from tests.service.layout import fetch, send
from tests.strangers.conftest import ask
from tests.strangers.long_log import SIZES, Publication
from tests.trial import Site

STRANGERS = ("go sumdb", "aics-tlog")
"""Those that check a whole layout by themselves: signatures, entries, proofs."""

HOLDS = {"checkpoints": 11, "inclusion": 26, "consistency": 13}


async def served(published: Publication, folder: Path) -> Path:
    """Deliver the long log to a service, checkpoint after checkpoint, and copy what it serves."""
    site, log, copy = Site(folder), published.log, folder / "copy"
    site.admit(log)
    async with site.running() as service:
        for first, size in pairwise((0, *SIZES)):
            await send(site, service, log, first, size)
            assert await fetch(site, service, copy, origin=log.origin) == size
            kept = copy / "checkpoints" / f"{size:06}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes((copy / "checkpoint").read_bytes())
    question = json.loads((published.folder / "question.json").read_bytes())
    question["witness"] = site.witness.encode()
    (copy / "question.json").write_bytes(canonical.encode(question))
    return copy


@pytest.fixture(scope="module")
def copy(published: Publication, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the copy of what a service served."""
    return asyncio.run(served(published, tmp_path_factory.mktemp("served")))


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_finds_the_log_good_that_the_service_serves(stranger: str, copy: Path) -> None:
    """Every receipt with the log's keys of its time and the witness's, proofs, and that it only grew."""
    found = ask(stranger, copy)
    assert found.refused is None
    assert found.checked.items() >= HOLDS.items()


def test_a_stranger_refuses_what_is_not_what_the_service_served(copy: Path, tmp_path: Path) -> None:
    """One bit of a hash on the way is enough."""
    other = tmp_path / "other"
    shutil.copytree(copy, other)
    tile = other / "tile" / "1" / "000.p" / "41"
    content = bytearray(tile.read_bytes())
    content[-1] ^= 1
    tile.write_bytes(content)
    for stranger in STRANGERS:
        assert ask(stranger, other).refused is not None, stranger
