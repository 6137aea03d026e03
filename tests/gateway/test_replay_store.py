"""Claims about replaying what is stored: it gives every excursion entry again, byte by byte."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from coldseal.core.log.record import parse_entry
from coldseal.demo.world.judging import Judge
from coldseal.gateway.projection import Projection
from coldseal.gateway.store.reader import LogReader
from tests.gateway.parts import KEY
from tests.gateway.stream import seal

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 20_000


async def test_twenty_thousand_stored_readings_give_the_same_entries_again(tmp_path: Path) -> None:
    """From the first entry on, and from the newest snapshot; whatever came late, or was silent."""
    await seal(tmp_path, COUNT, seed=7)
    judge, kinds = Judge(), dict[str, int]()
    with closing(LogReader(tmp_path, KEY)) as reader:
        for raw in reader.read_from(0):
            entry = parse_entry(raw)
            assert judge.follow(entry) == ""
            action = str(entry.data.get("action", entry.kind))
            kinds[action] = kinds.get(action, 0) + 1
        whole = Projection.restore(reader, None, window=128)
    assert kinds["reading"] == COUNT
    assert min(kinds[action] for action in ("opened", "escalated", "recovered", "retrospective")) > 0
    assert whole.evaluator.evaluation.totals("fridge-1")
