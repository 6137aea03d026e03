"""Memory that a large group needed goes back to the system when the group is done.

The C library by itself would raise its thresholds with the first large buffers that are freed, and keep up to
tens of MiB from then on (mallopt(3)). Another C library than glibc is left as it is.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TRIM_THRESHOLD: Final = -1  # <malloc.h>
_MMAP_THRESHOLD: Final = -3
_ARENAS: Final = -8

TRIM_BYTES: Final = 512 * 1024
"""Free memory at the end of the heap that is kept."""

MMAP_BYTES: Final = 256 * 1024
"""Buffers from this size on are had from the system, and go back to it, one by one."""

GIVE_BACK_S: Final = 10.0
"""How often free memory between what is still used goes back."""


def keep_little(*, is_hurried: bool = True) -> None:
    """Fix both thresholds for this process.

    Args:
        is_hurried: False has its threads share one heap: each would keep what its largest work needed.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        if not is_hurried:
            mallopt(_ARENAS, 1)
        mallopt(_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(_MMAP_THRESHOLD, MMAP_BYTES)


def give_back(later: Callable[[float, Callable[[], None]], object]) -> None:
    """Give free pages back, now and every few seconds (malloc_trim(3)).

    Thresholds see to the end of the heap alone; what a large batch left further inside would stay. It takes
    about half a millisecond.

    Args:
        later: has the next time called: the ``call_later`` of a loop.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        later(GIVE_BACK_S, lambda: give_back(later))
