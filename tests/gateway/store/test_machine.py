"""Claims about any life of a log: whatever happens in whatever order, what was acknowledged stays.

Commits, rolls, upkeep, restarts, failing steps and power cuts at any step, against a plain list.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import apsw
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typing_extensions import override

from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.demo.disk import SimulatedDisk, put
from coldseal.errors import UnavailableError
from coldseal.gateway.store.log import Group, Limits, StoreFailedError
from tests.gateway.store.logs import NOW_MS, group, note, open_log, verify_chained

LIMITS = Limits(reserve_mb=0, wal_mb=0, state_entries=20)
COUNTS = st.one_of(st.integers(1, 5), st.integers(20, 60), st.just(300))
STEPS = st.integers(0, 12)
CHANCES = st.sampled_from([0.0, 0.3, 0.7, 1.0])
SEEDS = st.integers(0, 1000)


class LogMachine(RuleBasedStateMachine):
    """A log, the list it should equal, and a disk that can be made to fail."""

    def __init__(self) -> None:
        """Begin with an empty log."""
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine"))
        self.runner = asyncio.Runner()
        self.disk = SimulatedDisk()
        self.lives = 0
        self.folder = self.root / "0"
        self.entries: list[bytes] = []
        self.checkpoints: dict[int, bytes] = {}
        self.snapshot: tuple[int, bytes] | None = None
        self.failed: list[Group] = []

    @initialize()
    def begin(self) -> None:
        """Open the first log."""
        self.open()

    def open(self) -> None:
        """Open the log as it is; its state must lead to the same chain."""
        self.log = open_log(self.folder, disk=self.disk, limits=LIMITS)

    def take(self, made: Group) -> None:
        """Note a group as durable; what failed in its place is gone."""
        self.failed = []
        self.entries += made.entries
        size = len(self.entries)
        if made.checkpoint is not None:
            self.checkpoints.setdefault(size, made.checkpoint)
        if made.snapshot is not None:
            self.snapshot = size, made.snapshot

    def group(self, count: int, *, is_rich: bool) -> Group:
        """Make a group, with checkpoint and snapshot if it is rich."""
        snapshot = f"{len(self.entries)}+{count}".encode() if is_rich else None
        return group(self.log, count, has_checkpoint=is_rich, snapshot=snapshot)

    @rule(count=COUNTS, is_rich=st.booleans())
    def commit(self, count: int, *, is_rich: bool) -> None:
        """Commit a group."""
        made = self.group(count, is_rich=is_rich)
        self.runner.run(self.log.commit(made))
        self.take(made)

    @rule()
    def commit_checkpoint(self) -> None:
        """Commit a checkpoint alone."""
        chain = self.log.chain
        made = Group(entries=(), chain=chain, checkpoint=note(chain))
        self.runner.run(self.log.commit(made))
        self.take(made)

    @rule()
    def roll(self) -> None:
        """End the segment."""
        self.runner.run(self.log.roll(NOW_MS))

    @rule()
    def upkeep(self) -> None:
        """Let the upkeep run for a while."""
        upkeep = self.log.maintain()

        async def a_while() -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(upkeep, 0.02)

        self.log._upkeep_due.set()
        self.runner.run(a_while())

    @rule()
    def restart(self) -> None:
        """Close and open."""
        self.runner.run(self.log.close())
        self.open()

    @rule(
        count=COUNTS,
        after=STEPS,
        error=st.sampled_from([apsw.IOError, apsw.FullError]),
        times=st.integers(1, 9),
    )
    def commit_on_a_failing_disk(self, count: int, after: int, error: type[apsw.Error], times: int) -> None:
        """Commit while steps fail: it is there, or it is not and says so.

        If it was written, but not synced, a power cut may bring it back whole.
        """
        made = self.group(count, is_rich=count % 2 == 1)
        self.disk.fail(error, after=after, count=times)
        try:
            self.runner.run(self.log.commit(made))
        except UnavailableError:
            self.failed.append(made)
        else:
            self.take(made)
        self.disk.heal()

    @rule(after=STEPS, error=st.sampled_from([apsw.IOError, apsw.FullError]))
    def roll_on_a_failing_disk(self, after: int, error: type[apsw.Error]) -> None:
        """End the segment while a step fails: it goes on, or the next one does, or a restart tells."""
        self.disk.fail(error, after=after, count=1)
        try:
            self.runner.run(self.log.roll(NOW_MS))
        except UnavailableError:
            self.disk.heal()
        except StoreFailedError:
            self.disk.heal()
            self.restart()
        self.disk.heal()

    @rule(chance=CHANCES, seed=SEEDS)
    def lose_power(self, chance: float, seed: int) -> None:
        """Lose power between two commits."""
        self.rise(self.disk.survivors(self.folder, chance, seed))

    @rule(count=COUNTS, after=STEPS, chance=CHANCES, seed=SEEDS)
    def lose_power_in_a_commit(self, count: int, after: int, chance: float, seed: int) -> None:
        """Lose power at a step of a commit: all of the group is there, or nothing of it."""
        made = self.group(count, is_rich=count % 2 == 1)
        files = self.cut(after, chance, seed)
        self.runner.run(self.log.commit(made))
        if files:
            self.failed.append(made)
            self.rise(files)
        else:  # the commit took fewer steps
            self.take(made)

    @rule(after=STEPS, chance=CHANCES, seed=SEEDS)
    def lose_power_in_a_roll(self, after: int, chance: float, seed: int) -> None:
        """Lose power at a step of a roll and of what follows it."""
        files = self.cut(after, chance, seed)
        self.roll()
        self.upkeep()
        if files:
            self.rise(files)

    @rule(after=STEPS, chance=CHANCES, seed=SEEDS)
    def lose_power_while_closing(self, after: int, chance: float, seed: int) -> None:
        """Lose power at a step of the last copying."""
        files = self.cut(after, chance, seed)
        self.restart()
        if files:
            self.rise(files)

    def cut(self, after: int, chance: float, seed: int) -> dict[str, bytes]:
        """Give the files that a power cut leaves so many steps from now, once it has come."""
        files: dict[str, bytes] = {}
        at = self.disk.steps + after + 1

        def take(_name: str) -> None:
            if self.disk.steps == at:
                files.update(self.disk.survivors(self.folder, chance, seed))

        self.disk.at_step = take
        return files

    def rise(self, files: dict[str, bytes]) -> None:
        """Begin another life with what a power cut left: a group that failed may be there, whole."""
        self.disk.heal()
        self.runner.run(self.log.close())
        shutil.rmtree(self.folder)
        self.lives += 1
        self.disk = SimulatedDisk()
        self.folder = put(files, self.root / str(self.lives))
        self.open()
        behind = list(self.log.reader.read_from(len(self.entries)))
        returned = [made for made in self.failed if behind and made.entries == behind]
        self.failed = []
        for made in returned[-1:]:
            self.take(made)

    @rule(share=st.floats(0, 1), most=st.integers(1, 500))
    def read(self, share: float, most: int) -> None:
        """Read from any place on."""
        first = int(share * len(self.entries))
        assert self.log.reader.read(first, max_entries=most) == self.entries[first : first + most]

    @invariant()
    def the_log_is_the_list(self) -> None:
        """Every entry once and in order, the head, the chain, the tree and the checkpoints with them."""
        assert self.log.size == self.log.reader.size() == len(self.entries)
        assert list(self.log.reader.read_from(0)) == self.entries
        chain = self.log.chain
        assert verify_chained(self.entries).head == chain.head
        tree = MerkleTree(leaf_hash(entry) for entry in self.entries)
        assert chain.tree.root() == tree.root() == self.log.reader.root(len(self.entries))
        found = self.log.reader.checkpoints(-1, len(self.entries))
        assert dict(found) == self.checkpoints
        assert self.log.checkpoint_size == max(self.checkpoints, default=0)

    @override
    def teardown(self) -> None:
        """A last start gives the last snapshot and what is behind it."""
        self.disk.heal()
        self.restart()
        size, snapshot = self.snapshot or (0, None)
        assert self.log.snapshot == snapshot
        assert list(self.log.replay) == self.entries[size:]
        self.runner.run(self.log.close())
        self.runner.close()
        shutil.rmtree(self.root)


TestLog = LogMachine.TestCase
TestLog.settings = settings(
    max_examples=max(15, settings().max_examples // 8),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
