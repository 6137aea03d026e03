"""Claims about memory: what was freed does not stay with the process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from coldseal.gateway.allocation import GIVE_BACK_S, give_back, keep_little

_PROGRAM = """
import os, sys
from coldseal.gateway.allocation import keep_little
if sys.argv[1] == "little":
    keep_little()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

bytearray(24 << 20)  # a large buffer, freed at once: it raises the thresholds of the C library
before = resident()
parts = [bytearray(300_000) for _ in range(60)]
parts = parts[-1:]
print(resident() - before)
"""


def kept(how: str) -> int:
    """Let a process free 18 MB behind a buffer that it keeps, and say by how much it has grown."""
    answer = subprocess.run([sys.executable, "-c", _PROGRAM, how], check=True, capture_output=True, text=True)
    return int(answer.stdout)


class Timers:
    """Notes what is to be called later."""

    def __init__(self) -> None:
        """Begin with nothing noted."""
        self.asked: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Note it."""
        self.asked.append((delay_s, call))


def test_free_pages_are_given_back_again_and_again() -> None:
    """Each time asks for the next one, so that what a later batch leaves goes back too."""
    timers = Timers()
    give_back(timers.later)
    timers.asked[0][1]()
    assert [delay_s for delay_s, _ in timers.asked] == [GIVE_BACK_S, GIVE_BACK_S]


def test_what_was_freed_goes_back_to_the_system() -> None:
    """A process that fixed the thresholds keeps little; the C library by itself keeps all of it."""
    assert kept("little") < 2_000_000
    assert kept("as it is") > 10_000_000


def test_a_c_library_without_thresholds_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as musl."""
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    keep_little()
    timers = Timers()
    give_back(timers.later)
    assert not timers.asked
