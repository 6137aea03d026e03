"""Bits turn, files are cut, sectors read as zeros, anywhere in the store: it is noticed, and saved around.

Each case harms a copy of one log in one place. It is *effective* if a reader without checks gives something
else than before, or fails. The suite plays 80 bit flips, ``make soak`` 10,000. A failing seed is printed;
COLDSEAL_SEED plays it again. Two careless readers show that the campaign would find a missing check.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from coldseal.core.log.record import Chain, parse_entry, parse_frames
from coldseal.errors import ColdsealError
from coldseal.gateway.recovery import recover
from coldseal.gateway.scrubbing import scrub
from coldseal.gateway.store.database import fetch, open_database
from coldseal.gateway.store.disk import DISK
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.opening import open_store
from coldseal.gateway.store.pages import Pages, Row
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.salvage import Range, missing
from coldseal.gateway.store.segments import list_segments, segment_path
from coldseal.gateway.survey import Outcome
from coldseal.gateway.writer import Run
from tests.gateway.wrecks import STORE_KEY, Wreck, blank, cut, flip, make_wreck
from tests.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coldseal.core.log.record import Entry

SEED = int(os.environ.get("COLDSEAL_SEED", "1"))
GROUPS = (40, 1, 150, 3, 90, 2, 1, 1, 60, 5)
ROLLS = (2, 4)
IN_ONE_PAGE = 16
"""Entries at most that have a part in one page of 4,016 bytes; each has 450 or more."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """A log of three segments as after a crash, with a WAL over the last one."""
    return asyncio.run(make_wreck(tmp_path_factory.mktemp("whole") / "gw", GROUPS, rolls=ROLLS))


def checked(wreck: Wreck) -> list[bytes]:
    """Open the log as a start does, read it again as the running gateway does, and give all entries."""
    new = Chain(wreck.log.origin, wreck.log.keys.record.kid)
    open_store(wreck.store, STORE_KEY, new=new, day=0, disk=DISK).resources.close()
    for _ in scrub(wreck.store, STORE_KEY):
        pass
    return wreck.entries()


def without_chain(wreck: Wreck) -> list[bytes]:
    """Read what the database gives, without comparing it with the head or the chain."""
    entries: list[bytes] = []
    for first in list_segments(wreck.store):
        with closing(Alone(wreck.store, first)) as segment:
            entries += segment.entries()
    return entries


class Alone:
    """A segment as the database sees it, and nothing beside it."""

    def __init__(self, folder: Path, first: int) -> None:
        """Open it."""
        self._connection = open_database(segment_path(folder, first), STORE_KEY, readonly=True)

    def entries(self) -> list[bytes]:
        """Give its entries."""
        rows = fetch(self._connection, "SELECT entries FROM groups ORDER BY first")
        return [raw for (frames,) in rows for raw in parse_frames(frames)]

    def close(self) -> None:
        """Close it."""
        self._connection.close(True)


class Trusting(Pages):
    """Pages whose check is not made."""

    @override
    def _is_sound(self, number: int, page: bytes) -> bool:
        """Believe it."""
        return True


def without_mac(wreck: Wreck) -> list[bytes]:
    """Read pages without their check, and take each entry that lies where one should."""
    found: dict[int, bytes] = {}
    for first in list_segments(wreck.store):
        with Trusting(segment_path(wreck.store, first), STORE_KEY) as pages:
            for row in pages.rows():
                if isinstance(row, Row) and len(row.values) == 3 and row.values[0] is None:
                    _take(found, row)
    return [found[seq] for seq in sorted(found)]


def _take(found: dict[int, bytes], row: Row) -> None:
    """Take the entries of a group; the newest version of each place counts."""
    frames = row.values[2]
    if isinstance(frames, bytes):
        with_seq: Iterator[tuple[int, bytes]] = enumerate(parse_frames(frames), row.number)
        for seq, raw in with_seq:
            found.setdefault(seq, raw)


def harm(wreck: Wreck, chance: Random, kind: str) -> str:
    """Harm one place of the store; says which."""
    paths = [wreck.segment(0), wreck.segment(1), wreck.last, wreck.wal, wreck.wal, wreck.store / "head"]
    path = chance.choice(paths if kind == "flip" else paths[:-1])
    size = path.stat().st_size
    at = chance.randrange(size)
    if kind == "flip":
        bit = chance.randrange(8)
        flip(path, at, bit)
        return f"bit {bit} of byte {at} of {path.name} ({size})"
    if kind == "cut":
        cut(path, at)
        return f"{path.name} cut from {size} to {at}"
    blank(path, at // 512 * 512)
    return f"sector {at // 512} of {path.name} ({size}) blank"


def judge(read: Callable[[Wreck], list[bytes]], wreck: Wreck) -> str:
    """Say what a reader makes of a harmed log: noticed, same, or wrong."""
    try:
        entries = read(wreck)
    except ColdsealError:
        return "noticed"
    except Exception:  # noqa: BLE001 -- a careless reader may fail in any way
        return "failed"
    return "same" if entries == wreck.log.entries else "wrong"


async def saved_around(wreck: Wreck, kind: str, what: str) -> Counter[str]:
    """Recover a harmed log, and hold what there is against what there was."""
    config = wreck.config
    plan = await recover(config)
    lost = sum(last - first + 1 for first, last in plan.lost)
    if kind != "cut":
        pages = 2 if kind == "sector" else 1  # a sector of the WAL may have the end of one frame and the next
        assert lost <= pages * IN_ONE_PAGE, f"{what}: {lost} entries lost"
    if plan.outcome is Outcome.SUCCESSOR:
        published = {int(str(entry.data["name"]).partition("#")[2]): entry for entry in imports_of(wreck)}
        for seq, entry in published.items():
            assert str(entry.data["entry"]).encode() == wreck.log.entries[seq], (
                f"{what}: entry {seq} carried wrong"
            )
        salvaged = set(range(wreck.starts[-1], wreck.log.size)) - gone(plan.lost)
        assert salvaged <= published.keys(), f"{what}: not carried: {sorted(salvaged - published.keys())[:5]}"
        return Counter({"successor": 1, "lost": lost})
    served = 0
    with closing(LogReader(wreck.store, STORE_KEY)) as reader:
        for run in missing([Range(first, last + 1) for first, last in plan.lost], 0, wreck.log.size):
            entries = reader.read(run.first, max_entries=run.end - run.first)
            assert entries == wreck.log.entries[run.first : run.end], f"{what}: others in {run}"
            served += len(entries)
        for first, last in plan.lost:
            for seq in (first, last):
                with pytest.raises(LostError):
                    reader.read(seq)
    assert served == wreck.log.size - lost, f"{what}: {served} served, {lost} stated as lost"
    return Counter({plan.outcome.value: 1, "lost": lost})


def gone(lost: list[tuple[int, int]]) -> set[int]:
    """Give the seqs that are stated as lost."""
    return {seq for first, last in lost for seq in range(first, last + 1)}


def imports_of(wreck: Wreck) -> Iterator[Entry]:
    """Give what the next log carries over."""
    return (entry for entry in map(parse_entry, wreck.entries()) if entry.kind == "import")


async def play(whole: Wreck, folder: Path, kind: str, count: int, every: int) -> Counter[str]:
    """Play cases of one kind; recover the first effective one of so many."""
    chance = Random(f"{SEED} {kind}")
    seen: Counter[str] = Counter()
    for number in range(count):
        seed = chance.randrange(1 << 32)
        wreck = whole.copy(folder / "case")
        what = f"seed {SEED}, case {number}: {harm(wreck, Random(seed), kind)}"
        is_effective = judge(without_chain, whole_copy(wreck, folder)) != "same"
        verdict = judge(checked, whole_copy(wreck, folder))
        seen["cases"] += 1
        seen["effective"] += is_effective
        seen["noticed"] += verdict == "noticed"
        assert verdict != "wrong", f"{what}: wrong entries served"
        assert verdict == "noticed" or not is_effective, f"{what}: not noticed"
        if verdict == "same" and number % 5 == 0:
            seen["went on"] += 1
            async with Run.open(wreck.config):
                pass
        if seen["effective"] % every == 0 and verdict == "noticed":
            seen["recovered"] += 1
            seen += await saved_around(wreck, kind, what)
        shutil.rmtree(wreck.folder)
        if seen["cases"] % 1_000 == 0:
            tell(f"damage, {kind}: {dict(seen)}")
    tell(f"damage, {kind}: seed {SEED}, {dict(seen)}")
    return seen


def whole_copy(wreck: Wreck, folder: Path) -> Wreck:
    """Give another copy of a harmed log: opening one may change files."""
    shutil.rmtree(folder / "look", ignore_errors=True)
    return wreck.copy(folder / "look")


@pytest.mark.parametrize(
    ("kind", "count", "every"),
    [
        ("flip", 80, 6),
        ("cut", 16, 4),
        ("sector", 16, 4),
        pytest.param("flip", 10_000, 25, marks=[pytest.mark.soak, pytest.mark.timeout(14_400)]),
        pytest.param("cut", 1_000, 5, marks=[pytest.mark.soak, pytest.mark.timeout(7_200)]),
        pytest.param("sector", 1_000, 5, marks=[pytest.mark.soak, pytest.mark.timeout(7_200)]),
    ],
)
async def test_every_effective_harm_is_noticed_and_all_but_the_damaged_page_is_saved(
    whole: Wreck, tmp_path: Path, kind: str, count: int, every: int
) -> None:
    """Never is a wrong entry served; what the log states as lost is what stood in the damaged page."""
    seen = await play(whole, tmp_path, kind, count, every)
    assert seen["effective"] > count // 4
    assert seen["recovered"] > 0


@pytest.mark.parametrize(
    ("careless", "kind"), [(without_chain, "flip"), (without_mac, "flip")], ids=["chain-off", "mac-off"]
)
def test_a_reader_without_a_check_is_found_out(
    whole: Wreck, tmp_path: Path, careless: Callable[[Wreck], list[bytes]], kind: str
) -> None:
    """Without the chain, entries are missing without a word; without the pages' check, others are given."""
    assert judge(careless, whole_copy(whole, tmp_path)) == "same"
    chance = Random(f"{SEED} careless")
    for number in range(300):
        wreck = whole_copy(whole, tmp_path)
        harm(wreck, chance, kind)
        if judge(careless, wreck) == "wrong":
            tell(f"found out by case {number}")
            return
    pytest.fail("nobody noticed")
