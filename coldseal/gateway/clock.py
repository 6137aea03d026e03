"""The one door for time on the gateway: wall time as it is, and how far it may be trusted.

Wall time is recorded as the kernel tells it and may step; order comes from the sequence and
from the boot clock, which never steps. This module does not discipline the clock and does
not judge: a policy elsewhere decides what a bad clock means for a reading.
"""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["synchronised", "holdover", "unsynchronised"]

SYNCHRONISED_LIMIT_MS: Final = 1_000
"""The largest error bound under which time still counts as synchronised, in milliseconds."""

UNKNOWN_ERROR_MS: Final = 2**31 - 1
"""The error bound that stands for "no bound is known" (about 25 days), in milliseconds."""

HOLDOVER_DRIFT_PPM: Final = 500
"""How fast an undisciplined clock may run away: the rate by which the kernel grows its bound."""

_STATUS_LIFE_MS = 1_000
_STA_UNSYNC = 0x0040  # <linux/timex.h>
_STA_NANO = 0x2000
_FAILED = -1
_MILLIS = tuple(f"{millis:03d}Z" for millis in range(1000))


class Stamp(msgspec.Struct, frozen=True):
    """A moment: UTC milliseconds since 1970 and milliseconds since the machine's boot."""

    t_ms: int
    mono_ms: int


class KernelClock(msgspec.Struct, frozen=True):
    """What ``adjtimex`` says. ``offset_ms`` is true time minus ours: plus means that our clock is slow."""

    disciplined: bool
    offset_ms: int
    error_ms: int


class ClockStatus(msgspec.Struct, frozen=True):
    """How far wall time may be trusted at a moment.

    Args:
        state: ``synchronised`` (disciplined, bound within 1 s), ``holdover`` (was, and the bound
            grows since) or ``unsynchronised`` (never in this process's life, or nobody can tell).
        offset_ms: true time minus ours as far as known: plus means that our clock is slow.
        error_ms: the bound of the error; ``UNKNOWN_ERROR_MS`` where there is none.
        boot: first 8 hex digits of the kernel's boot id.
    """

    state: State
    offset_ms: int
    error_ms: int
    boot: str


class Clock:
    """Stamps moments and renders their trust; each source of time can be handed in.

    Args:
        kernel: reads the kernel's clock discipline; ``None`` from it means "not permitted".
        wall_ns: UTC in nanoseconds.
        boot_ns: nanoseconds since boot, sleep included.
        boot: 8 hex digits that name this boot; read from the kernel where not given.
    """

    def __init__(
        self,
        *,
        kernel: Callable[[], KernelClock | None] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] | None = None,
        boot: str | None = None,
    ) -> None:
        """Take the sources; nothing is read before the first question."""
        self._kernel = read_kernel_clock if kernel is None else kernel
        self._wall_ns = wall_ns
        self._boot_ns = _boot_ns if boot_ns is None else boot_ns
        self._boot = read_boot_id() if boot is None else boot
        self._status: ClockStatus | None = None
        self._fresh_until = 0
        self._last_good: tuple[int, KernelClock] | None = None
        self._head = self._tail = b""

    def now(self) -> Stamp:
        """Give this moment."""
        return Stamp(self._wall_ns() // 1_000_000, self._boot_ns() // 1_000_000)

    def status(self) -> ClockStatus:
        """Say how far time may be trusted now; asked of the kernel at most once a second."""
        return self._status_at(self._boot_ns() // 1_000_000)

    def tq_bytes(self, stamp: Stamp) -> bytes:
        """Render the ``tq`` field of an entry stamped at ``stamp``, as canonical JSON.

        The status is the one known at that time: no older than a second.
        """
        if stamp.mono_ms >= self._fresh_until:
            self._status_at(stamp.mono_ms)
        return b"%b%d%b" % (self._head, stamp.mono_ms, self._tail)

    def _status_at(self, mono_ms: int) -> ClockStatus:
        """Return the cached status, or read it anew once its second is over."""
        if self._status is None or mono_ms >= self._fresh_until:
            self._status = status = self._judge(self._kernel(), mono_ms)
            self._fresh_until = mono_ms + _STATUS_LIFE_MS
            self._head = f'{{"boot":"{status.boot}","err":{status.error_ms},"mono":'.encode()
            self._tail = f',"off":{status.offset_ms},"s":"{status.state}"}}'.encode()
        return self._status

    def _judge(self, kernel: KernelClock | None, mono_ms: int) -> ClockStatus:
        """Turn what the kernel says into a status, remembering the last good one for holdover."""
        if kernel is not None and kernel.disciplined:
            if kernel.error_ms <= SYNCHRONISED_LIMIT_MS:
                self._last_good = (mono_ms, kernel)
                return ClockStatus("synchronised", kernel.offset_ms, kernel.error_ms, self._boot)
            return ClockStatus("holdover", kernel.offset_ms, kernel.error_ms, self._boot)
        if self._last_good is None:
            return ClockStatus("unsynchronised", 0, UNKNOWN_ERROR_MS, self._boot)
        since, good = self._last_good
        grown = (mono_ms - since) * HOLDOVER_DRIFT_PPM // 1_000_000
        return ClockStatus("holdover", good.offset_ms, good.error_ms + grown, self._boot)


def render_status(status: ClockStatus) -> str:
    """Render a clock's status for a person."""
    if status.error_ms == UNKNOWN_ERROR_MS:
        return f"{status.state}, error not known"
    return f"{status.state}, error at most {status.error_ms} ms"


def render_time(t_ms: int) -> str:
    """Render UTC milliseconds as RFC 3339 with milliseconds and ``Z``."""
    return _render_second(t_ms // 1000) + _MILLIS[t_ms % 1000]


@lru_cache(maxsize=64)
def _render_second(seconds: int) -> str:
    """Render a whole second; cached, as thousands of readings share one."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="seconds").removesuffix("+00:00") + "."


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Read the first 8 hex digits of the kernel's boot id; ``00000000`` where it is not to be had."""
    try:
        return path.read_text(encoding="ascii").strip()[:8]
    except OSError:
        return "0" * 8


def _boot_ns() -> int:
    """Nanoseconds since boot, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class _Timex(ctypes.Structure):
    """``struct timex`` of <linux/timex.h>, as the C library declares it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("pps", ctypes.c_long * 8),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


def read_kernel_clock() -> KernelClock | None:
    """Ask the kernel by ``adjtimex`` (reading only); ``None`` where that call is not permitted."""
    timex = _Timex()
    try:
        answer: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except AttributeError:  # a C library without adjtimex
        return None
    if answer == _FAILED:
        return None
    per_ms = 1_000_000 if timex.status & _STA_NANO else 1_000
    return KernelClock(
        disciplined=not timex.status & _STA_UNSYNC,
        offset_ms=round(timex.offset / per_ms),
        error_ms=-(-timex.maxerror // 1_000),  # microseconds, rounded up: a bound must not shrink
    )
