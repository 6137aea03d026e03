"""What the gateway may use, and how long that lasts: days of room on the disk, and memory.

Promise: whoever must act hears it once when a bound comes near, once when it is near indeed, and once when it
is over. Above the bound of memory nobody new is let in; whoever is connected is served. Frees nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from coldseal.gateway.store.space import PACKED_SHARE
from coldseal.observe import events
from coldseal.observe.health import Health
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.tables.keeping import Budget

Level = Literal["good", "low", "critical"]

MEMORY_S: Final = 5.0
"""Time between two looks at the memory."""

SMOOTHED_S: Final = 6 * 3600.0
"""The rate of growth is that of about so long a time; older growth counts less and less."""

EARLIEST_S: Final = 600.0
"""Before it was watched for so long, nothing is foretold: a start brings what devices had kept."""

_STEP_S: Final = 10.0
_TELLING: Final = 10_000  # fewer entries than these do not tell what one takes: the file has fixed parts
_TIMES: Final = 4.5  # what an entry takes before it is packed, in packed ones (docs/performance.md)
_DAY_S: Final = 86_400.0
_MIB: Final = 1024 * 1024
_BACK: Final = 1.1
_MEMORY_BACK: Final = 0.95
_log = Log("gateway.budget")


class Outlook(NamedTuple):
    """What the log takes up now, and what entries take in a packed segment and before.

    Args:
        room: bytes that the log may take up in all, the reserve left out.
        used: bytes that it takes up.
        whole_bytes: those of segments that are not packed, the growing one among them.
        whole_entries: entries in these.
        packed_bytes: bytes of packed segments.
        packed_entries: entries in these.
        segment_entries: entries in a segment at most.
    """

    room: int
    used: int
    whole_bytes: int
    whole_entries: int
    packed_bytes: int
    packed_entries: int
    segment_entries: int


def days_left(found: Outlook, rate: float) -> float:
    """Foretell after how many days the room is used up; infinite where nothing grows.

    What is not packed yet counts as if it were, but for a day's entries, or a segment's if that is less: so
    much is always on its way. Packed entries are taken for as long as those before.

    Args:
        found: what is used.
        rate: entries a second.
    """
    if rate <= 0:
        return math.inf
    whole = found.whole_bytes / found.whole_entries if found.whole_entries else 0.0
    packed = found.packed_bytes / found.packed_entries if found.packed_entries else whole / PACKED_SHARE
    if found.packed_entries and found.whole_entries < _TELLING:
        whole = packed * _TIMES
    if not packed:
        return math.inf
    under_way = min(rate * _DAY_S, found.segment_entries) * max(0.0, whole - packed)
    settled = found.used - found.whole_bytes + found.whole_entries * packed
    later = (found.room - settled - under_way) / packed
    now = (found.room - found.used) / max(whole, packed)
    return max(0.0, later, now) / rate / _DAY_S


def outlook_of(log: EntryLog) -> Outlook:
    """Give the outlook of a log."""
    space, ended = log.space, log.packer.tally
    return Outlook(
        room=space.room(),
        used=space.used(),
        whole_bytes=space.growing() + ended.whole_bytes,
        whole_entries=log.size - log.segment_first + ended.whole_entries,
        packed_bytes=ended.packed_bytes,
        packed_entries=ended.packed_entries,
        segment_entries=log.segment_entries,
    )


class Growth:
    """The rate at which the log grows: a mean in which old times fade."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._began_s = self._at_s = self._entries = self._span_s = 0.0
        self._size = -1

    def look(self, now_s: float, size: int) -> None:
        """Take the number of entries at a moment of a clock that never steps."""
        span = now_s - self._at_s
        if self._size < 0:
            self._began_s = now_s
        elif span < _STEP_S:
            return
        else:
            kept = math.exp(-span / SMOOTHED_S)
            self._entries = self._entries * kept + size - self._size
            self._span_s = self._span_s * kept + span
        self._at_s, self._size = now_s, size

    @property
    def rate(self) -> float | None:
        """Entries a second; None before it was watched for long enough."""
        is_early = self._at_s - self._began_s < EARLIEST_S
        return None if is_early else self._entries / self._span_s


class Watch:
    """Holds what is used against the bounds, and says what changes.

    Args:
        budget: the bounds.
        memory: gives the bytes of memory in use.
        close: is told whether new connections are to be refused.
    """

    def __init__(self, budget: Budget, *, memory: Callable[[], int], close: Callable[[bool], None]) -> None:
        """Nothing was looked at yet."""
        self._budget, self._memory, self._close = budget, memory, close
        self._growth = Growth()
        self._level: Level = "good"
        self._looked_s = -math.inf
        self._is_short = False
        self.days_left: float | None = None
        self.memory_bytes = 0

    def look(self, now_s: float, size: int, outlook: Callable[[], Outlook]) -> None:
        """Look at everything; call it about once a second.

        Args:
            now_s: seconds of a clock that never steps.
            size: entries in the log.
            outlook: gives what the disk holds; asked only once something can be foretold.
        """
        self._growth.look(now_s, size)
        rate = self._growth.rate
        if rate is not None:
            self.days_left = days_left(outlook(), rate)
            self._judge(self.days_left)
        if now_s - self._looked_s >= MEMORY_S:
            self._looked_s = now_s
            self._watch_memory()

    def notes(self) -> Health:
        """Tell what a person should know though all is well."""
        notes = []
        if self._level != "good" and self.days_left is not None:
            notes.append(f"the store is full in {self.days_left:.1f} days at this rate")
        if self._is_short:
            notes.append("no new connections: budget.memory_mb is used up")
        return Health(notes=tuple(notes))

    def _judge(self, days: float) -> None:
        """Say once that room gets scarce, once that it is nearly gone, and once that there is more again."""
        warn, critical = self._budget.warn_days, self._budget.critical_days
        level: Level = "critical" if days < critical else "low" if days < warn else "good"
        is_better = (level, self._level) in {("good", "low"), ("good", "critical"), ("low", "critical")}
        bound = critical if self._level == "critical" else warn
        if level == self._level or (is_better and days < bound * _BACK):
            return
        said = {"good": events.ROOM_ENOUGH, "low": events.ROOM_LOW, "critical": events.ROOM_CRITICAL}[level]
        self._level = level
        _log.emit(said, days=round(days, 1))

    def _watch_memory(self) -> None:
        """Refuse new connections above the bound, until there is some less in use."""
        self.memory_bytes = self._memory()
        limit = self._budget.memory_mb * _MIB
        is_short = self.memory_bytes > limit * (_MEMORY_BACK if self._is_short else 1)
        if is_short != self._is_short:
            self._is_short = is_short
            self._close(is_short)
            event = events.MEMORY_SHORT if is_short else events.MEMORY_ENOUGH
            _log.emit(event, bytes=self.memory_bytes, limit=limit)


def memory_in_use(proc: Path = Path("/proc")) -> int:
    """Give the bytes that this process and its children hold, a shared page divided among its users.

    A process that is gone, or that the system does not tell of, holds none.
    """
    own = proc / "self"
    children = " ".join(filter(None, map(_text, own.glob("task/*/children")))).split()
    lines = [
        line for each in ("self", *children) for line in _text(proc / each / "smaps_rollup").splitlines()
    ]
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _text(path: Path) -> str:
    """Read a file of the system; empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
