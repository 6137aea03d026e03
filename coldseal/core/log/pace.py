"""How entries follow each other in time: by the wall clock, by the one that never steps, and without silence.

Promise: the same two entries are judged alike, one by one (`between`) or as one of many readings (`follow`).
Times are read as `record` has accepted them, but for those of many readings, whose form is checked here. Who
may sign, and what follows what, is checked elsewhere.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.record import is_time
from coldseal.core.log.rules import Fault, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

STEP_MS: Final = 250
STEP_PPM: Final = 1000
"""How far wall and boot clock may part between two entries: this, and so much of the time between them."""

DRIFT_MS: Final = 120_000
"""How far an entry's time may lie behind the cosignature that covers it."""

SILENT_BEATS, SILENT_MS = 2.5, 5_000
"""Heartbeats, and milliseconds on top, after which silence must be explained."""

SENSOR_GAP: Final = "gap of a sensor"  # in place of a kind: such a `gap` explains no silence of the log

_QUIET_MS: Final = SILENT_MS
"""No promise of heartbeats makes so short a time a silence."""

_SECOND: Final = 19
"""Characters of a time before its milliseconds."""

_MILLIS: Final = {f".{ms:03d}Z": ms for ms in range(1000)}
"""The ways in which a time may end."""


class Mark(NamedTuple):
    """An entry's place in time.

    Attributes:
        t_ms: UTC milliseconds.
        mono_ms: milliseconds since boot.
        boot: which boot.
        kind: of the entry; `SENSOR_GAP` for a gap that is a sensor's and not the log's.
    """

    t_ms: int
    mono_ms: int
    boot: str
    kind: str


def between(before: Mark, after: Mark, heartbeat_s: int) -> tuple[Verdict, str] | None:
    """Say what is wrong with the time between two entries that follow each other.

    Args:
        before: the one.
        after: the other.
        heartbeat_s: seconds within which an entry was promised; 0 if none was.
    """
    span = after.t_ms - before.t_ms
    if before.boot == after.boot:
        passed = after.mono_ms - before.mono_ms
        parted = abs(span - passed)
        if (
            parted > STEP_MS
            and after.kind != "clock"
            and parted > STEP_MS + abs(passed) * STEP_PPM // 1_000_000
        ):
            return Verdict.CLOCK_STEP, f"{span} ms by the wall clock, {passed} ms by the one that never steps"
        span = passed
    elif after.kind not in {"boot", "clock"}:
        return (
            Verdict.CLOCK_STEP,
            f"the machine was started anew ({before.boot}, {after.boot}) without a word",
        )
    if (
        heartbeat_s
        and span > heartbeat_s * 1000 * SILENT_BEATS + SILENT_MS
        and after.kind not in {"boot", "gap"}
    ):
        return Verdict.SILENCE, f"no entry for {span} ms, a heartbeat was promised every {heartbeat_s} s"
    return None


def follow(
    before: Mark, times: Iterable[str], monos: Iterable[str], *, heartbeat_s: int, latest_ms: int
) -> Mark | None:
    """Go through readings of one boot.

    Args:
        before: the entry before them, of the same boot.
        times: of the readings, of whatever form.
        monos: their milliseconds since boot, as text.
        heartbeat_s: seconds within which an entry was promised; 0 if none was.
        latest_ms: the latest time that one of them may have.

    Returns:
        The last one's place in time; None if anything is wrong with one of them, or one is no time.
    """
    t_ms, mono_ms, boot, _ = before
    second, begun_ms = "", 0
    for t, mono in zip(times, monos, strict=True):
        if t[:_SECOND] != second:  # many share one
            second = t[:_SECOND]
            if not is_time(whole := f"{second}.000Z"):
                return None
            begun_ms = millis(whole)
        if (ms := _MILLIS.get(t[_SECOND:])) is None:
            return None
        after_ms, later_ms = begun_ms + ms, int(mono)
        passed = after_ms - t_ms
        is_soon = 0 <= passed <= _QUIET_MS and -STEP_MS <= passed - later_ms + mono_ms <= STEP_MS
        if after_ms > latest_ms or (
            not is_soon
            and between(
                Mark(t_ms, mono_ms, boot, "reading"), Mark(after_ms, later_ms, boot, "reading"), heartbeat_s
            )
        ):
            return None
        t_ms, mono_ms = after_ms, later_ms
    return Mark(t_ms, mono_ms, boot, "reading")


def without_silence(faults: Iterable[Fault], seq: int) -> list[Fault]:
    """Take away the silence before a `clock` entry: the `boot` directly behind it explains it.

    A gateway that starts on a clock which has stepped seals the one before the other.
    """
    return [fault for fault in faults if (fault.verdict, fault.seq) != (Verdict.SILENCE, seq)]


def millis(t: str) -> int:
    """Give a time of an entry in UTC milliseconds since 1970."""
    return _minute(t[:16]) + int(t[17:19]) * 1000 + int(t[20:23])


@lru_cache(maxsize=1024)
def _minute(text: str) -> int:
    """Give the first millisecond of a minute; cached, because many entries share one."""
    return int(datetime.fromisoformat(f"{text}:00+00:00").timestamp()) * 1000
