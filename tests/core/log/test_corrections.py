"""Times that were wrong when they were sealed, and what a later `clock` entry makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.core.log import canonical
from coldseal.core.log.corrections import Corrected, Corrections
from coldseal.core.log.record import Chain, parse_entry

if TYPE_CHECKING:
    from coldseal.core.log.record import Entry

DAWN = "1970-01-01T00:00:"


class Diary:
    """A log of entries with made-up times."""

    def __init__(self) -> None:
        """Begin empty."""
        self.chain = Chain("test.example/log", "0" * 16)
        self.corrections = Corrections()

    def seal(
        self, t: str, mono: int, state: str, *, boot: str = "0badcafe", off: int = 0, **data: str
    ) -> Entry:
        """Seal an entry: a `clock` where it says what the state became, else a reading."""
        tq: dict[str, canonical.Value] = {"boot": boot, "err": 7, "mono": mono, "off": off, "s": state}
        kind = "clock" if data else "reading"
        raw = self.chain.seal(kind, t, canonical.encode(tq), b"{}", canonical.encode(data), None)
        entry = parse_entry(raw)
        self.corrections.take(entry)
        return entry


def test_what_was_sealed_in_1970_gets_its_time_from_the_clock_that_never_steps() -> None:
    """Ten seconds before time came; the bound is that of the moment and what the boot clock may drift."""
    diary = Diary()
    early = diary.seal(f"{DAWN}05.000Z", 5_000, "unsynchronised")
    stepped = diary.seal("2026-11-22T10:00:00.000Z", 14_000, "unsynchronised", to="unsynchronised")
    diary.seal("2026-11-22T10:00:01.000Z", 15_000, "synchronised", off=250, to="synchronised")
    later = diary.seal("2026-11-22T10:00:02.000Z", 16_000, "synchronised")
    assert diary.corrections.of(early) == Corrected("2026-11-22T09:59:51.250Z", 12, 2)
    assert diary.corrections.of(stepped) == Corrected("2026-11-22T10:00:00.250Z", 7, 2)
    assert diary.corrections.of(later) is None


def test_the_next_correction_of_the_same_boot_counts() -> None:
    """Neither a later one, nor that of another start of the machine, nor one before."""
    diary = Diary()
    lost = diary.seal(f"{DAWN}01.000Z", 1_000, "unsynchronised", boot="deadbeef")
    early = diary.seal(f"{DAWN}01.000Z", 1_000, "unsynchronised")
    diary.seal("2026-11-22T10:00:00.000Z", 2_000, "synchronised", to="synchronised")
    between = diary.seal("2026-11-22T10:00:05.000Z", 7_000, "holdover")
    diary.seal("2026-11-22T10:00:10.000Z", 12_000, "synchronised", off=100, to="synchronised")
    late = diary.seal("2026-11-22T10:00:11.000Z", 13_000, "holdover")
    assert diary.corrections.of(lost) is None
    assert diary.corrections.of(early) == Corrected("2026-11-22T09:59:59.000Z", 7, 2)
    assert diary.corrections.of(between) == Corrected("2026-11-22T10:00:05.100Z", 9, 4)
    assert diary.corrections.of(late) is None


@pytest.mark.parametrize("off", [-(2**50), 2**50])
def test_a_correction_to_no_year_that_can_be_written_is_none(off: int) -> None:
    """A log of somebody else may say anything."""
    diary = Diary()
    early = diary.seal(f"{DAWN}01.000Z", 1_000, "unsynchronised")
    diary.seal("2026-11-22T10:00:00.000Z", 2_000, "synchronised", off=off, to="synchronised")
    assert diary.corrections.of(early) is None


def test_nothing_but_a_clock_entry_corrects() -> None:
    """Whatever its data claims."""
    diary = Diary()
    early = diary.seal(f"{DAWN}01.000Z", 1_000, "unsynchronised")
    other = diary.seal("2026-11-22T10:00:00.000Z", 2_000, "synchronised", to="synchronised")
    alone = Corrections()
    alone.take(other._replace(kind="reading"))
    assert alone.of(early) is None
