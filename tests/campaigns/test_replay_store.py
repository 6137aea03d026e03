"""A million stored readings, the program killed again and again: judged once more, every entry is the same.

COLDSEAL_READINGS, COLDSEAL_KILLS and COLDSEAL_SEED change how much is done, and what.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.record import parse_entry
from coldseal.demo.world.judging import Judge
from coldseal.gateway.store.reader import LogReader
from tests.gateway.parts import KEY
from tests.gateway.stream import seal

if TYPE_CHECKING:
    from pathlib import Path

READINGS = int(os.environ.get("COLDSEAL_READINGS", "1000000"))
KILLS = int(os.environ.get("COLDSEAL_KILLS", "12"))
SEED = int(os.environ.get("COLDSEAL_SEED", "1"))


@pytest.mark.soak
@pytest.mark.timeout(7_200)
async def test_a_million_readings_through_kills_are_judged_as_without(tmp_path: Path) -> None:
    """The entries of excursions are those of a run that nobody has killed, and follow from the readings."""
    chance, killed = Random(SEED), 0
    command = [
        sys.executable,
        "-m",
        "tests.gateway.stream",
        str(tmp_path / "killed"),
        str(READINGS),
        str(SEED),
    ]
    for _ in range(KILLS):
        process = await asyncio.create_subprocess_exec(*command)
        try:
            async with asyncio.timeout(chance.uniform(1.0, 1.0 + READINGS / 20_000)):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            killed += 1
    await seal(tmp_path / "killed", READINGS, SEED)
    await seal(tmp_path / "whole", READINGS, SEED)
    found = {name: judged(tmp_path / name) for name in ("killed", "whole")}
    sys.stdout.write(f"seed {SEED}: {killed} kills, {found['killed'][1]}\n")
    assert found["killed"][0] == found["whole"][0]
    assert found["killed"][1]["reading"] == READINGS


def judged(folder: Path) -> tuple[list[bytes], Counter[str]]:
    """Judge a log once more; gives what its excursion entries say, and its entries counted by kind."""
    judge, said, kinds = Judge(), list[bytes](), Counter[str]()
    with closing(LogReader(folder, KEY)) as reader:
        for raw in reader.read_from(0):
            entry = parse_entry(raw)
            assert judge.follow(entry) == ""
            kinds[entry.kind] += 1
            if entry.kind == "excursion":
                said.append(entry.raw.partition(b'"data":')[2].partition(b',"kid"')[0])
    return said, kinds
