"""A disk that fails or is full at every step: nothing acknowledged is lost, nothing denied that is there.

The suite plays a few hundred faults, ``make soak`` 5,000 and more (COLDSEAL_FAULTS). COLDSEAL_SEED names the
first life; another number gives others.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import count
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

import apsw
import pytest
from typing_extensions import override

from coldseal.demo.disk import SimulatedDisk
from coldseal.errors import ColdsealError, UnavailableError
from coldseal.gateway.store.log import Group, Log, StoreFailedError
from coldseal.gateway.store.reader import LogReader
from coldseal.observe import logs
from tests.campaigns.crashes import open_log, verify
from tests.campaigns.lives import ACKNOWLEDGED, SEALED, SEEN, Expected, InlineLoop, Life, abandon
from tests.gateway.store.logs import KEY

SEED: Final = int(os.environ.get("COLDSEAL_SEED", "1"))
FAULTS: Final = int(os.environ.get("COLDSEAL_FAULTS", "5000"))
CORES: Final = 2
STEPS: Final = 4
FOR_GOOD: Final = 1_000_000
ROOM: Final = 4096


class Fault(NamedTuple):
    """What happens to the disk.

    Args:
        error: raised by the steps.
        after: good ones before.
        times: steps that fail; 0 for a disk that has no more room from there on.
    """

    error: type[apsw.Error]
    after: int
    times: int


class Hurt(Life):
    """A life on a disk that fails, and of somebody who tries again.

    Attributes:
        refused: commits that were said to have failed.
        reopened: how often the log had to be opened again.
        is_hit: the fault came.
    """

    def __init__(self, seed: int, fault: Fault | None, *, steps: int = STEPS, hides: bool = False) -> None:
        """Prepare the disk."""
        super().__init__(seed, steps, disk=SimulatedDisk())
        self.disk.hides = hides
        self.marks = {ACKNOWLEDGED: 0, SEALED: 0, SEEN: 0}
        self.refused = self.reopened = 0
        self.is_hit = False
        self._errors = 0
        if fault is None:
            return
        if fault.times:
            self.disk.fail_anywhere(fault.error, after=fault.after, count=fault.times)
        else:
            self.disk.room = fault.after * ROOM

    @override
    async def _live(self) -> None:
        """Do one thing after another; what fails is left, until the disk works again."""
        self.log = self._open_again()
        for action in (self._begin, *self._plan()):
            try:
                await action()
            except StoreFailedError as error:
                self._note(error)
                self._reopen()
            except UnavailableError as error:
                self._note(error)
        self._leave()
        self._heal()
        try:
            await self.log.close()
        finally:
            abandon(self.log)

    async def _begin(self) -> None:
        """Commit the first entry of all."""
        await self.commit_entry("genesis", {})

    def _plan(self) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        """Give what to do; nothing that needs the disk's steps for itself."""
        for action in (*self._tour(), *self._chosen()):
            is_nested = action in {self.copy_amid_a_commit, self.commit_amid_a_copy}
            yield self.commit if is_nested else action

    @override
    async def _commit(self, made: Group) -> None:
        """Commit until it is there; what is said of it in between must be true."""
        before, size = self.log.size, self.log.chain.size + len(made.entries)
        self.entries[before:] = made.entries
        self.marks[SEALED] = size
        while self.log.size == before:
            try:
                await self.log.commit(made)
            except StoreFailedError as error:
                self._note(error)
                self._reopen()
            except UnavailableError as error:
                self._note(error)
                self.refused += 1
                assert not self._is_there(before), "said to have failed, and is there"
        assert self.log.size == size
        self.marks[ACKNOWLEDGED] = size
        if made.checkpoint is not None:
            self.marks[SEEN] = size
        if made.snapshot is not None:
            self._snapshot = size

    def _is_there(self, seq: int) -> bool:
        """Look, as another process would."""
        with closing(LogReader(self.folder, KEY)) as reader:
            return bool(reader.read(seq))

    @override
    async def restart(self) -> None:
        """Close and open; whatever closing says, it is closed."""
        self._leave()
        try:
            await self.log.close()
        except UnavailableError as error:
            self._note(error)
        abandon(self.log)
        self.log = self._open_again()

    @override
    async def crash(self) -> None:
        """Open without having closed."""
        self._leave()
        abandon(self.log)
        self.log = self._open_again()

    def _reopen(self) -> None:
        """Open the log again, as it asks for."""
        self.reopened += 1
        self._leave()
        abandon(self.log)
        self.log = self._open_again()

    def _open_again(self) -> Log:
        """Open until it is open."""
        while True:
            try:
                return self._open()
            except (ColdsealError, OSError) as error:
                self._note(error)

    def _note(self, error: Exception) -> None:
        """Note an error; the disk works again behind the second one."""
        self._errors += 1
        self.is_hit = True
        if self._errors > 20:
            raise error
        if self._errors > 1:
            self._heal()

    def _heal(self) -> None:
        """Let the disk work."""
        self.disk.heal()
        self.disk.room = None

    def judge(self) -> None:
        """Open what is there on a good disk."""
        asyncio.run(self._judge())

    async def _judge(self) -> None:
        """Hold it against what was made."""
        log = open_log(self.folder)
        try:
            verify(log, Expected(self.entries), self.marks)
        finally:
            abandon(log)


class Figures(NamedTuple):
    """What was done."""

    faults: int = 0
    refused: int = 0
    reopened: int = 0
    findings: tuple[str, ...] = ()

    def plus(self, other: Figures) -> Figures:
        """Put two together."""
        return Figures(
            self.faults + other.faults,
            self.refused + other.refused,
            self.reopened + other.reopened,
            self.findings + other.findings,
        )


def play(seed: int, fault: Fault | None, *, steps: int = STEPS, hides: bool = False) -> tuple[Hurt, str]:
    """Live once; gives what was wrong, if anything was."""
    with Hurt(seed, fault, steps=steps, hides=hides) as life:
        try:
            with asyncio.Runner(loop_factory=InlineLoop) as runner:
                runner.run(life._live())
            life.judge()
        except (ColdsealError, AssertionError, OSError, apsw.Error) as error:
            return life, f"seed {seed}, {fault}: {type(error).__name__}: {error}"
        return life, ""


def faults_of(steps: int, every: int) -> Iterator[Fault]:
    """Give the faults of a life with so many steps."""
    for after in range(0, steps, every):
        for error in (apsw.IOError, apsw.FullError):
            for times in (1, 3, FOR_GOOD):
                yield Fault(error, after, times)
        yield Fault(apsw.FullError, after, 0)


def campaign(seed: int, *, every: int = 1, steps: int = STEPS) -> Figures:
    """Hurt one life at each so-manieth step, in every way."""
    logs.configure(level="critical")
    whole, why = play(seed, None, steps=steps)
    assert not why, why
    figures = Figures()
    for fault in faults_of(whole.disk.steps, every):
        life, why = play(seed, fault, steps=steps)
        figures = figures.plus(Figures(life.is_hit, life.refused, life.reopened, (why,) if why else ()))
    return figures


@pytest.mark.timeout(600)
def test_no_fault_of_the_disk_loses_or_denies_what_is_there() -> None:
    """Once, for a while, for good, and full: while it takes load, ends segments, packs, prunes, starts."""
    figures = campaign(SEED, every=43, steps=0)
    assert figures.findings == ()
    assert figures.faults >= 70
    assert figures.refused > 10


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_no_fault_of_the_disk_in_many_lives_loses_or_denies_what_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every step of every life."""
    figures, seeds = Figures(), count(SEED)
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(campaign, next(seeds), every=2) for _ in range(CORES)]
        while running:
            figures = figures.plus(running.pop(0).result())
            if figures.faults < FAULTS and not figures.findings:
                running.append(pool.submit(campaign, next(seeds), every=2))
            with capsys.disabled():
                sys.stderr.write(f"faults of the disk, seeds from {SEED} on: {figures}\n")
    assert figures.findings == ()
    assert figures.reopened > 0


@pytest.mark.parametrize("times", [1, 0])
def test_a_disk_that_leaves_out_what_it_cannot_write_is_found_out(times: int) -> None:
    """It fails or is full, and says nothing."""
    whole, _ = play(SEED, None, steps=0)
    found = (
        play(SEED, Fault(apsw.FullError, after, times), steps=0, hides=True)[1]
        for after in range(0, whole.disk.steps, 7)
    )
    assert any(found), f"not found with seed {SEED}"
