"""How entries follow each other in time: by the wall clock, by the one that never steps, and without silence.

Promise: the same two entries are judged alike, one by one (`between`) or as one of many readings (`follow`).
Times are read as `record` has accepted them, but for those of many readings, whose form is checked here. Who
may sign, and what follows what, is checked elsewhere.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from itertools import pairwise, repeat
from math import inf
from operator import sub
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.record import is_time
from coldseal.core.log.rules import Fault, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

STEP_MS: Final = 250
STEP_PPM: Final = 1000
"""How far wall and boot clock may part between two entries: this, and so much of the time between them."""

DRIFT_MS: Final = 120_000
"""How far an entry's time may lie behind the cosignature that covers it."""

SILENT_BEATS, SILENT_MS = 2.5, 5_000
"""Heartbeats, and milliseconds on top, after which silence must be explained."""

SENSOR_GAP: Final = "gap of a sensor"  # in place of a kind: such a `gap` explains no silence of the log

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
    if span > _silence_ms(heartbeat_s) and after.kind not in {"boot", "gap"}:
        return Verdict.SILENCE, f"no entry for {span} ms, a heartbeat was promised every {heartbeat_s} s"
    return None


def follow(
    before: Mark, times: Collection[str], monos: Iterable[str], *, heartbeat_s: int, latest_ms: int
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
    moments, later = _moments(times), [before.mono_ms, *map(int, monos)]
    if moments is None or max(moments, default=0) > latest_ms:
        return None
    moments.insert(0, before.t_ms)
    bases = list(map(sub, moments, later))
    longest = max(map(sub, later[1:], later), default=0)
    is_close = max(bases) - min(bases) <= STEP_MS and longest <= _silence_ms(heartbeat_s)
    marks = map(Mark, moments, later, repeat(before.boot), repeat("reading"))
    if not is_close and any(between(one, next_, heartbeat_s) for one, next_ in pairwise(marks)):
        return None
    return Mark(moments[-1], later[-1], before.boot, "reading")


def _moments(times: Collection[str]) -> list[int] | None:
    """Give times in UTC milliseconds since 1970; None if one is no time."""
    begun = {second: f"{second}.000Z" for second in {t[:_SECOND] for t in times}}  # many share one
    if not all(map(is_time, begun.values())):
        return None
    seconds = {second: millis(whole) for second, whole in begun.items()}
    try:
        return [seconds[t[:_SECOND]] + _MILLIS[t[_SECOND:]] for t in times]
    except KeyError:
        return None


def _silence_ms(heartbeat_s: int) -> float:
    """Give the milliseconds after which silence must be explained, where heartbeats were promised or not."""
    return heartbeat_s * 1000 * SILENT_BEATS + SILENT_MS if heartbeat_s else inf


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
