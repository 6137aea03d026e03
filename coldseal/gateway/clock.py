"""The one door for time on the gateway: wall time as it is, and how far it may be trusted.

Wall time is recorded as the kernel tells it and may step; order comes from the sequence and
from the boot clock, which never steps. This module does not discipline the clock; the law of
`core/timekeeping` judges, from the kernel's word and that of a time service handed in here.
"""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.reading import FLAG_CLOCK
from coldseal.core.timekeeping import (
    UNKNOWN_ERROR_MS,
    Demands,
    Judge,
    KernelClock,
    Report,
    State,
    is_beyond,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "UNKNOWN_ERROR_MS",
    "Clock",
    "ClockStatus",
    "Demands",
    "KernelClock",
    "Report",
    "Stamp",
    "State",
    "read_boot_id",
    "read_kernel_clock",
    "render_status",
    "render_time",
]

_STATUS_LIFE_MS = 1_000
_STA_UNSYNC = 0x0040  # <linux/timex.h>
_STA_NANO = 0x2000
_FAILED = -1
_DOUBTS: Final = (FLAG_CLOCK,)
_MILLIS = tuple(f"{millis:03d}Z" for millis in range(1000))


class Stamp(msgspec.Struct, frozen=True):
    """A moment: UTC milliseconds since 1970 and milliseconds since the machine's boot."""

    t_ms: int
    mono_ms: int


class ClockStatus(msgspec.Struct, frozen=True):
    """How far wall time may be trusted at a moment.

    Args:
        state: ``synchronised`` (kept, and within 1 s), ``holdover`` (was, and the bound grows since)
            or ``unsynchronised`` (off for certain, never kept in this process's life, or nobody can tell).
        offset_ms: true time minus ours as far as known: plus means that our clock is slow.
        error_ms: the bound of the error; ``UNKNOWN_ERROR_MS`` where there is none.
        boot: first 8 hex digits of the kernel's boot id.
        reason: why it is not synchronised; empty where it is.
    """

    state: State
    offset_ms: int
    error_ms: int
    boot: str
    reason: str = ""


class Clock:
    """Stamps moments and renders their trust; each source of time can be handed in.

    Args:
        kernel: reads the kernel's clock discipline; ``None`` from it means "not permitted".
        wall_ns: UTC in nanoseconds.
        boot_ns: nanoseconds since boot, sleep included.
        boot: 8 hex digits that name this boot; read from the kernel where not given.
        demands: what is asked of time before it counts as synchronised.

    Attributes:
        doubts: flags for a reading whose ``tq`` was rendered last: none while time is within the limit.
    """

    def __init__(
        self,
        *,
        kernel: Callable[[], KernelClock | None] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] | None = None,
        boot: str | None = None,
        demands: Demands | None = None,
    ) -> None:
        """Take the sources; nothing is read before the first question."""
        self._judge = Judge(Demands() if demands is None else demands)
        self._kernel = read_kernel_clock if kernel is None else kernel
        self._wall_ns = wall_ns
        self._boot_ns = _boot_ns if boot_ns is None else boot_ns
        self._boot = read_boot_id() if boot is None else boot
        self._status: ClockStatus | None = None
        self._fresh_until = 0
        self._head = self._tail = b""
        self.doubts: tuple[str, ...] = ()

    def now(self) -> Stamp:
        """Give this moment."""
        return Stamp(self._wall_ns() // 1_000_000, self._boot_ns() // 1_000_000)

    def status(self) -> ClockStatus:
        """Say how far time may be trusted now; asked of the kernel at most once a second."""
        return self._status_at(self._boot_ns() // 1_000_000)

    @property
    def report(self) -> Report | None:
        """The last word of the time service that is followed; None if there is none, or it is silent."""
        return self._judge.report

    @property
    def provenance(self) -> Mapping[str, str]:
        """Who time comes from, for a `clock` entry; nothing where the kernel alone is asked."""
        report = self._judge.report
        if not self._judge.is_watched:
            return {}
        if report is None:
            return {"auth": "none", "service": "", "source": ""}
        return {"auth": report.authentication, "service": report.service, "source": report.source}

    def follow(self, report: Report | None) -> None:
        """Take a time service's word, or its silence; it counts from the next question on."""
        stamp = self.now()
        self._judge.follow(report, mono_ms=stamp.mono_ms, base_ms=stamp.t_ms - stamp.mono_ms)
        self._fresh_until = 0

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
            base_ms = self._wall_ns() // 1_000_000 - self._boot_ns() // 1_000_000
            found = self._judge.judge(self._kernel(), mono_ms=mono_ms, base_ms=base_ms)
            status = ClockStatus(found.state, found.offset_ms, found.error_ms, self._boot, found.reason)
            self._status, self._fresh_until = status, mono_ms + _STATUS_LIFE_MS
            self._head = f'{{"boot":"{status.boot}","err":{status.error_ms},"mono":'.encode()
            self._tail = f',"off":{status.offset_ms},"s":"{status.state}"}}'.encode()
            is_off = is_beyond(status.offset_ms, status.error_ms, self._judge.demands.limit_ms)
            self.doubts = _DOUBTS if is_off else ()
        return self._status


def render_status(status: ClockStatus) -> str:
    """Render a clock's status for a person."""
    if status.error_ms == UNKNOWN_ERROR_MS:
        return f"{status.state}, error not known"
    offset = f", off by {status.offset_ms} ms" if status.state == "unsynchronised" else ""
    return f"{status.state}{offset}, error at most {status.error_ms} ms"


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
