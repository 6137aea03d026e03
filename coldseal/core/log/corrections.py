"""What the time of an entry was, where the clock it was sealed with was wrong and the log says so later.

Promise: a correction comes from a `clock` entry of the same boot, by which wall time became synchronised, and
from the clock that never steps. What was sealed stays as it is; this is a second time beside it, with a
bound. Where the machine was started again before its time came, there is none.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.pace import millis

if TYPE_CHECKING:
    from coldseal.core.log.record import Entry

DRIFT_PPM: Final = 500
"""How fast the clock that never steps may run wrong while nobody keeps it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999  # of the year 9999


class Corrected(NamedTuple):
    """When an entry was really sealed.

    Attributes:
        t: RFC 3339 with milliseconds and ``Z``.
        error_ms: how far that may be off.
        by: seq of the `clock` entry that says so.
    """

    t: str
    error_ms: int
    by: int


class _Anchor(NamedTuple):
    """A moment at which wall time became synchronised."""

    seq: int
    mono_ms: int
    true_ms: int
    error_ms: int


class Corrections:
    """The corrections that a log's `clock` entries state; they must be taken in order."""

    def __init__(self) -> None:
        """Know none yet."""
        self._anchors: dict[str, list[_Anchor]] = {}

    def take(self, entry: Entry) -> None:
        """Take an entry in; one that is no correction is passed over."""
        if entry.kind != "clock" or entry.data.get("to") != "synchronised":
            return
        boot, mono, off, err = _moment(entry)
        anchor = _Anchor(entry.seq, mono, millis(entry.t) + off, err)
        self._anchors.setdefault(boot, []).append(anchor)

    def of(self, entry: Entry) -> Corrected | None:
        """Give an entry's corrected time; None where its own is good, or none is known."""
        boot, mono, _, _ = _moment(entry)
        anchors = self._anchors.get(boot, [])
        place = bisect_right(anchors, entry.seq, key=lambda anchor: anchor.seq)
        if entry.tq["s"] == "synchronised" or place == len(anchors):
            return None
        anchor = anchors[place]
        span = anchor.mono_ms - mono
        t_ms = anchor.true_ms - span
        if not 0 <= t_ms <= _LAST_MS:  # somebody else's log may say anything
            return None
        error_ms = anchor.error_ms + abs(span) * DRIFT_PPM // 1_000_000
        return Corrected(_render(t_ms), error_ms, anchor.seq)


def _moment(entry: Entry) -> tuple[str, int, int, int]:
    """Give boot, boot clock, offset and bound of an entry; a strict reader found them there."""
    mono, off, err = (int(str(entry.tq[name])) for name in ("mono", "off", "err"))
    return str(entry.tq["boot"]), mono, off, err


def _render(t_ms: int) -> str:
    """Render UTC milliseconds as entries do."""
    moment = _EPOCH + timedelta(milliseconds=t_ms)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
