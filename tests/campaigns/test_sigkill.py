"""SIGKILL at random moments: nothing acknowledged is missing, nothing doubled, the chain verifies.

What goes on changes from one kill to the next: plain load, segments that end, an uplink to a real service,
a start, a prune. The suite plays 10 kills, ``make soak`` 1,000 (COLDSEAL_KILLS), a hundred on one log. A
failing seed is named; COLDSEAL_SEED plays it again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
import pytest

from coldseal.cli.archive import BundleArchive
from coldseal.cli.sources import open_source
from coldseal.core.log.evidence import Case, Verdict, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import frame
from coldseal.demo.programs import run_command
from coldseal.demo.site import Site, make_fleet, prepare_site, read_service
from coldseal.demo.verdict import Held, ReadingKey, held_by
from coldseal.gateway.config import load_gateway
from coldseal.gateway.records import open_reader
from coldseal.gateway.store.pruned import PrunedError
from coldseal.gateway.store.reader import LogReader
from tests.campaigns.figures import say
from tests.campaigns.wrong_program import command_of
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.demo.programs import Program

SEED: Final = int(os.environ.get("COLDSEAL_SEED", "1"))
KILLS: Final = int(os.environ.get("COLDSEAL_KILLS", "1000"))
CHAPTER: Final = 100
"""Kills on one log."""

SENSORS: Final = 8
READY_S: Final = 30.0
SMALL_SEGMENTS: Final = "store.segment_entries=150"


class Round(NamedTuple):
    """What goes on until the gateway is killed.

    Args:
        what: its name.
        longest_s: of its life, behind the moment in which it was ready.
        settings: of the gateway.
        is_connected: it reaches the service.
    """

    what: str
    longest_s: float
    settings: tuple[str, ...] = ()
    is_connected: bool = False


LOAD: Final = Round("load", 1.0)
ROLL: Final = Round("roll", 1.0, (SMALL_SEGMENTS,))
UPLINK: Final = Round("uplink", 2.0, (), is_connected=True)
START: Final = Round("start", 0.7)
PRUNE: Final = Round("prune", 4.0, (SMALL_SEGMENTS,), is_connected=True)
ROUNDS: Final = (LOAD, ROLL, UPLINK, START, ROLL, LOAD, PRUNE, START, ROLL, UPLINK)


@dataclass
class Tally:
    """What was done.

    Attributes:
        kills: by what was going on.
        acknowledged: readings.
        repeated: readings that sensors had to send again.
        segments: that were ended.
        pruned: entries that were sent to an archive.
    """

    kills: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    repeated: int = 0
    segments: int = 0
    pruned: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Put two together."""
        whats = {*self.kills, *other.kills}
        return Tally(
            {what: self.kills.get(what, 0) + other.kills.get(what, 0) for what in sorted(whats)},
            self.acknowledged + other.acknowledged,
            self.repeated + other.repeated,
            self.segments + other.segments,
            self.pruned + other.pruned,
        )


class Chapter:
    """Kills of a gateway on one log.

    Args:
        site: where.
        seed: for the moments of harm.
    """

    def __init__(self, site: Site, seed: int) -> None:
        """Make the sensors; nothing runs yet."""
        self.site = site
        self.tally = Tally()
        self._seed, self._chance = seed, Random(seed)
        self._archives = 0
        self.fleet = make_fleet(site, self._chance, interval_s=0.01)

    async def run(self, kills: int) -> None:
        """Kill so often, and let it run once more in peace."""
        site = self.site
        async with aiohttp.ClientSession() as http, site.service() as service:
            await service.ready(http, within_s=READY_S)
            running = asyncio.ensure_future(self.fleet.run())
            for each, _ in zip(cycle(ROUNDS), range(kills), strict=False):
                await self._play(each, http)
                self.tally.kills[each.what] = self.tally.kills.get(each.what, 0) + 1
            async with site.gateway(site.service_port) as gateway:
                await gateway.ready(http, within_s=READY_S)
                before = self.fleet.total
                await until(lambda: self.fleet.total > before)
                self.fleet.stop()
                await running
        self.tally.acknowledged, self.tally.repeated = self.fleet.total, self.fleet.repeated

    async def _play(self, each: Round, http: aiohttp.ClientSession) -> None:
        """Play one round, to its kill."""
        port = self.site.service_port if each.is_connected else self.site.gateway_http
        async with AsyncExitStack() as stack:
            gateway: Program = await stack.enter_async_context(self.site.gateway(port, *each.settings))
            pruning = None
            if each is not START:
                await gateway.ready(http, within_s=READY_S)
            if each is PRUNE:
                pruning = asyncio.ensure_future(self._prune())
            await asyncio.sleep(self._chance.uniform(0.0, each.longest_s))
            await gateway.kill()
            if pruning is not None:  # it may go on alone, and the next gateway would find the log in use
                await pruning

    async def _prune(self) -> None:
        """Send what may go to an archive, as a person would; the kill comes when it does."""
        config = str(self.site.gateway_config)
        with closing(open_reader(load_gateway(self.site.gateway_config))) as reader:
            first = next((at for at, _, gone in reader.closed_segments() if gone is None), None)
            size = reader.size()
        if first is None:
            return
        self._archives += 1
        bundle = self.site.folder / f"{self._archives}.coldseal"
        words = ("--who", "Eva", "--why", "retention")
        code, _ = await run_command(
            *("evidence", "export", config, str(bundle), "--first", str(first), "--last", str(size - 1)),
            *words,
        )
        if code == 0:
            which = ("--archive", str(bundle), "--before", str(size), "--legal-hold-checked")
            await run_command("gateway", "prune", config, *which, *words)

    async def hunt(self, fault: str, most: int) -> int:
        """Kill a gateway with a fault until the judge finds it; gives the kills that this took."""
        wrong = self.site.gateway(self.site.gateway_http)
        wrong.command = command_of(fault)
        running = asyncio.ensure_future(self.fleet.run())
        try:
            async with aiohttp.ClientSession() as http:
                for kills in range(1, most + 1):
                    async with wrong:
                        await wrong.ready(http, within_s=READY_S)
                        goal = self.fleet.total + SENSORS
                        await until(partial(self._has_acknowledged, goal))
                        await asyncio.sleep(self._chance.uniform(0.0, LOAD.longest_s))
                        await wrong.kill()
                    if self._finds_something():
                        return kills
        finally:
            running.cancel()
        return 0

    def _has_acknowledged(self, goal: int) -> bool:
        """Whether so many readings were acknowledged."""
        return self.fleet.total >= goal

    def _finds_something(self) -> bool:
        """Whether the judge objects to what the log has by now."""
        try:
            self.judge_readings(held_by(self.entries()).readings)
        except AssertionError as error:
            say(str(error).splitlines()[0])
            return True
        return False

    def judge(self) -> None:
        """Hold what the log has against what the sensors were told, and verify it."""
        entries = self.entries()
        assert self.fleet.repeated > 0, "the kills must have hit readings under way"
        assert self.fleet.waiting == self.fleet.refused == 0
        held = held_by(entries)
        self.judge_readings(held.readings)
        assert list(self._faults_of(entries)) == [], f"with seed {self._seed}"
        self._judge_service(held)

    def judge_readings(self, held: Sequence[ReadingKey]) -> None:
        """What sensors were told of is there, once, and in the order of each."""
        acknowledged = {key for keys in self.fleet.acknowledged.values() for key in keys}
        assert acknowledged - set(held) == set(), f"lost, with seed {self._seed}"
        assert len(held) == len(set(held)), f"doubled, with seed {self._seed}"
        for sensor in self.site.sensors:
            own = [key.seq for key in held if key.device == sensor]
            assert own == sorted(own), f"out of order, with seed {self._seed}: {sensor}"

    def _judge_service(self, held: Held) -> None:
        """What the service holds is the beginning of what the gateway holds."""
        theirs, summary = read_service(self.site)
        assert summary.size > 0
        assert list(theirs.readings) == list(held.readings)[: len(theirs.readings)]

    def entries(self) -> list[bytes]:
        """Read the whole log; what was pruned is in its archive."""
        with closing(open_reader(load_gateway(self.site.gateway_config))) as reader:
            self.tally.segments = len(reader.segment_ends())
            return list(self._read(reader))

    def _read(self, reader: LogReader) -> Iterator[bytes]:
        """Give all entries in order."""
        at, size = 0, reader.size()
        while at < size:
            try:
                found = reader.read(at)
            except PrunedError as error:
                archive = BundleArchive(self.site.folder / error.pruned.archive)
                found = list(archive.entries(at, error.pruned.last))
                self.tally.pruned += len(found)
            yield from found
            at += len(found)

    def _faults_of(self, entries: list[bytes]) -> Iterator[str]:
        """Verify the log with public keys; its tail may be without a receipt."""
        source = open_source(self.site.gateway_config)
        try:
            layout = Layout(len(entries), ((0, len(entries)),), ())
            case = Case(source.policy, layout, notes=list(source.notes()), settings=source.settings())
            report = judge(case, [examine(case.rules, 0, frame(entries))])
        finally:
            source.close()
        expected = {Verdict.TAIL, Verdict.UNWITNESSED}
        for fault in report.faults:
            if fault.verdict not in expected:
                yield f"{fault.verdict} at {fault.seq}"


async def play(folder: Path, kills: int, seed: int) -> Chapter:
    """Play a chapter, and judge it."""
    chapter = Chapter(await prepare_site(folder, SENSORS), seed)
    await chapter.run(kills)
    chapter.judge()
    return chapter


@pytest.mark.timeout(900)
async def test_no_kill_loses_or_doubles_an_acknowledged_reading(tmp_path: Path) -> None:
    """Ten, whatever goes on; and the judge would have seen what is lost, doubled or out of order."""
    chapter = await play(tmp_path, len(ROUNDS), SEED)
    assert chapter.tally.segments > 0
    held = held_by(chapter.entries()).readings
    first = held[0]
    later = next(place for place, key in enumerate(held) if key.device == first.device and key != first)
    with pytest.raises(AssertionError, match="lost"):
        chapter.judge_readings([key for key in held if key != chapter.fleet.acknowledged[first.device][-1]])
    with pytest.raises(AssertionError, match="doubled"):
        chapter.judge_readings([*held, first])
    with pytest.raises(AssertionError, match="out of order"):
        chapter.judge_readings([held[later], *held[1:later], first, *held[later + 1 :]])


@pytest.mark.parametrize("fault", ["acknowledged-first", "duplicates-taken"])
async def test_a_gateway_with_a_fault_is_found_by_its_kills(tmp_path: Path, fault: str) -> None:
    """Seeded faults of the running program: it answers before it commits; it takes duplicates for new."""
    chapter = Chapter(await prepare_site(tmp_path, SENSORS), SEED)
    kills = await chapter.hunt(fault, 3 * len(ROUNDS))
    say(f"{fault}: found after {kills} kills, seed {SEED}")
    assert kills > 0


@pytest.mark.soak
@pytest.mark.timeout(14_400)
async def test_no_kill_of_many_loses_or_doubles_an_acknowledged_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many as are asked for, in chapters."""
    tally = Tally()
    for number, done in enumerate(range(0, KILLS, CHAPTER)):
        folder = tmp_path / str(number)
        folder.mkdir()
        tally += (await play(folder, min(CHAPTER, KILLS - done), SEED + number)).tally
        shutil.rmtree(folder)
        with capsys.disabled():
            sys.stderr.write(f"kills, seeds from {SEED} on: {tally}\n")
    assert tally.pruned > 0
