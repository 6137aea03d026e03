"""The demo's excursion as it is told to people: each figure with what it means."""

from __future__ import annotations

from coldseal.core.log.record import parse_entry
from coldseal.demo.excursion import Story, tell
from tests.sealed import SealedLog


def test_a_mean_is_told_with_the_share_of_its_window_that_it_covers() -> None:
    """Of a product's first seconds it may be above its limit, and be no excursion."""
    log = SealedLog()
    log.seal(
        "excursion",
        {
            "action": "opened",
            "asset": "fridge-1",
            "tier": "warning",
            "area": "0",
            "duration": 0,
            "extreme": "11.2",
            "value": "11.2",
            "unit": "Cel",
            "from": "2000-01-01T00:00:00.000Z",
            "mkt": {"covered": "0.003", "limit": "8", "v": "9.169", "window": 3600, "worst": "9.169"},
        },
    )
    first, line = tell(Story((parse_entry(log.entries[-1]),), (), None))
    assert first == "fridge-1: first reading out of range, 11.2 Cel"
    assert line.endswith("extreme 11.2 Cel, 0 Cel·min, MKT 9.169 Cel over 0.3% of its window")
