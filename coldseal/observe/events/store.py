"""Events of the store on the gateway: room, damage, segments."""

from __future__ import annotations

from coldseal.observe.events.event import Event

STORE_OPENED = Event(
    "store.opened",
    "info",
    ("size", "replayed", "seconds"),
    "The log was opened; its last entries were read again and agree with the head kept beside it.",
)
KEY_REFUSED = Event(
    "store.key-refused",
    "error",
    ("process", "file"),
    "A process beside the gateway asked for the key of a file that is not its business, and did not get it. "
    "Find out who runs in its place. Said once for each start of the process.",
)
STORE_FULL = Event(
    "store.full",
    "critical",
    ("bytes", "limit"),
    "The disk limit is reached: nothing is acknowledged, devices keep their readings. Raise "
    "store.limit_mb or let the uplink drain.",
)
STORE_FREE = Event(
    "store.free",
    "info",
    ("bytes", "limit"),
    "There is room again; readings are acknowledged.",
)
STORE_FAILED = Event(
    "store.failed",
    "critical",
    ("error",),
    "A commit failed; its readings are not acknowledged. Check the disk.",
)
STORE_DAMAGED = Event(
    "store.damaged",
    "critical",
    ("error",),
    "The log on disk is shorter than what was committed, or differs from it. Keep the disk as it is.",
)
STORE_RECOVERED = Event(
    "store.recovered",
    "critical",
    ("outcome", "origin", "size", "lost", "filled", "carried", "gap", "quarantine"),
    "A damaged log was brought up again, and readings are acknowledged. `lost` counts entries that nobody"
    " has; the old files lie in quarantine below the data folder. Find out what harmed the disk. With the"
    " outcome `successor`, admit the next log: coldseal service admit.",
)
ENTRY_DAMAGED = Event(
    "store.entry-damaged",
    "critical",
    ("seq", "error"),
    "The log is damaged from this entry on; found while reading it all again. New readings are acknowledged;"
    " the next start recovers the log. Replace the disk, then start again.",
)
STORE_SCRUBBED = Event(
    "store.scrubbed",
    "info",
    ("entries", "seconds"),
    "The whole log was read again, and is what was written.",
)
SEGMENT_CLOSED = Event(
    "store.segment-closed",
    "info",
    ("first", "last", "reason"),
    "A segment file is closed and read-only from now.",
)
PRUNE_UNFINISHED = Event(
    "store.prune-unfinished",
    "error",
    ("segment", "error"),
    "A segment that was sent to an archive still takes its room; the next start tries again.",
)
SEGMENT_PACKED = Event(
    "store.segment-packed",
    "info",
    ("first", "last", "before", "after", "seconds"),
    "An ended segment was packed, compared and put in its own place; bytes before and after.",
)
PACKING_WAITS = Event(
    "store.packing-waits",
    "info",
    ("first", "error"),
    "An ended segment cannot be packed now, because it is read or there is no room; tried again. Said once.",
)
PACKING_FAILED = Event(
    "store.packing-failed",
    "error",
    ("first", "error"),
    "A segment is not what the tree says, so it stays as it is, unpacked. Verify the log.",
)
LOG_ROLLED_BACK = Event(
    "store.rolled-back",
    "critical",
    ("origin", "held", "known", "source"),
    "Somebody has seen more of this log, or another one, than is on disk: it was put back to an older state. "
    "Nothing is taken in until a person decides: `coldseal recover decide`. Said once at each start.",
)
ROOM_LOW = Event(
    "store.room-low",
    "warning",
    ("days",),
    "At the recent rate the store is full in so many days, fewer than budget.warn_days: let segments be "
    "archived and pruned, or raise store.limit_mb.",
)
ROOM_CRITICAL = Event(
    "store.room-critical",
    "critical",
    ("days",),
    "Fewer days than budget.critical_days are left until the store is full and nothing is acknowledged.",
)
ROOM_ENOUGH = Event(
    "store.room-enough",
    "info",
    ("days",),
    "There is room for longer than budget.warn_days again.",
)
