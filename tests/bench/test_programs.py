"""Programs under measurement are started, watched and stopped as the rows expect."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.programs import (
    MeasurementError,
    answers,
    coldseal,
    free_port,
    is_open,
    kill,
    running,
    size_on_disk,
    wait_until,
)

_SLEEPER = (
    "import multiprocessing, time, sys\n"
    "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
    "child.start(); print('up', flush=True); time.sleep(60)\n"
)
COMMAND = (sys.executable, "-c", _SLEEPER)


def is_gone(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_program_and_its_children_are_measured_and_stopped(tmp_path: Path) -> None:
    """The memory of each process of the group is seen, and none is left."""
    with running("sleeper", COMMAND, tmp_path, is_ready=lambda it: "up" in it.tail()) as program:
        each = program.memory_mb()
        assert len(each) == 2
        assert each == sorted(each, reverse=True)
        assert 0 < program.shared_out_mb() < sum(each)
        assert program.cpu_s() >= 0
    wait_until(lambda: is_gone(program.process.pid), "no process left", 5)


def test_a_program_that_is_killed_is_gone_at_once(tmp_path: Path) -> None:
    """With its children; stopping it once more is fine."""
    with running("sleeper", COMMAND, tmp_path, is_ready=lambda it: "up" in it.tail()) as program:
        kill(program)
        wait_until(lambda: is_gone(program.process.pid), "no process left", 5)


def test_a_program_that_ends_early_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """The row says why it was not measured."""
    command = (sys.executable, "-c", "raise SystemExit('no such key')")
    with (
        pytest.raises(MeasurementError, match="no such key"),
        running("broken", command, tmp_path, is_ready=lambda _: False),
    ):
        pytest.fail("it is not running")


def test_a_wait_has_an_end() -> None:
    """What does not happen in time is an error that names it."""
    with pytest.raises(MeasurementError, match="rain: not within 0 s"):
        wait_until(lambda: False, "rain", 0, every_s=0)


def test_a_port_without_a_listener_does_not_answer() -> None:
    """Neither as a socket nor as a page."""
    port = free_port()
    assert not is_open(port)
    assert not answers(port)


def test_the_size_on_disk_counts_blocks(tmp_path: Path) -> None:
    """A file of one byte takes a whole block, and folders below count."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "one").write_bytes(b"x")
    (tmp_path / "two").write_bytes(b"y" * 10_000)
    assert size_on_disk(tmp_path) >= 4096 + 12_288


def test_a_command_that_refuses_is_an_error() -> None:
    """Its output is in the message."""
    with pytest.raises(MeasurementError, match="frobnicate"):
        coldseal("frobnicate")
