"""Claims about a writer that is killed: whatever it said is there, in order, once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.gateway.store.reader import LogReader
from tests.gateway.store.logs import KEY, opened, stored, verify_chained


def write_until(folder: Path, more: int) -> int:
    """Run a writer, kill it once it has acknowledged that much more; gives what it acknowledged.

    The kill comes from another thread than the one that reads its lines, at no particular moment.
    """
    command = [sys.executable, "-m", "tests.gateway.store.writer", str(folder)]
    acknowledged, enough = 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        killer = threading.Thread(target=writer.kill)
        for line in writer.stdout:
            acknowledged = int(line)
            enough = enough or acknowledged + more
            if acknowledged >= enough and killer.ident is None:
                killer.start()
        killer.join()
    return acknowledged


@pytest.mark.parametrize(
    "kills", [10, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_no_kill_loses_or_doubles_what_was_acknowledged(tmp_path: Path, kills: int) -> None:
    """Kill after kill on one log, through rolls and copying; each start continues the same chain."""
    chance = random.Random(kills)
    folder = tmp_path / "log"
    before: list[bytes] = []
    for _ in range(kills):
        acknowledged = write_until(folder, chance.randrange(1000))
        entries = stored(folder)
        assert len(entries) >= acknowledged > len(before)
        assert entries[: len(before)] == before
        before = entries
    assert verify_chained(before).size == len(before)


async def test_a_killed_writer_leaves_a_log_that_opens(tmp_path: Path) -> None:
    """With little to replay, and no lock left behind."""
    acknowledged = write_until(tmp_path / "log", 5000)
    async with opened(tmp_path / "log") as log:
        assert log.size >= acknowledged
        assert log.replayed < 500 + 200
        assert log.chain.head == verify_chained(list(log.reader.read_from(0))).head
        assert log.checkpoint_size == log.size


def test_another_process_reads_while_one_writes(tmp_path: Path) -> None:
    """It keeps up, sees no gap, and nothing that is not on disk."""
    folder = tmp_path / "log"
    command = [sys.executable, "-m", "tests.gateway.store.writer", str(folder)]
    entries: list[bytes] = []
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as writer,
        closing(LogReader(folder, KEY)) as reader,
    ):
        assert writer.stdout is not None
        for line in writer.stdout:
            size = reader.size()
            assert size >= int(line)
            entries += reader.read(len(entries), max_entries=10_000)
            assert len(entries) >= size
            newest = reader.checkpoint_at_most(len(entries))
            assert newest is not None
            assert newest.size >= size
            if len(entries) > 10_000:
                writer.kill()
    assert verify_chained(entries).size == len(entries)
