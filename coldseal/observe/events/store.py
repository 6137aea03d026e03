"""Events of the store on the gateway: room, damage, segments."""

from __future__ import annotations

from coldseal.observe.events.event import Event

STORE_OPENED = Event(
    "store.opened",
    "info",
    ("size", "replayed", "seconds"),
    "The log was opened; its last entries were read again and agree with the head kept beside it.",
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
