"""Events of the archive: what went there, and when it could not be reached."""

from __future__ import annotations

from coldseal.observe.events.event import Event

ARCHIVED = Event(
    "archive.written",
    "info",
    ("first", "last", "archive"),
    "An ended segment is in the archive as a bundle that was read back and verified; it is still here too.",
)
ARCHIVE_PRUNED = Event(
    "archive.pruned",
    "info",
    ("first", "last", "archive"),
    "A segment was past its window and is in the archive alone now; its hashes stay.",
)
ARCHIVE_DAMAGED = Event(
    "archive.damaged",
    "error",
    ("file",),
    "A file in the archive was not the bundle that it should be. It was put aside under this name, and made "
    "anew if its segment is still here; if it is not, look for a copy. Mistrust that disk.",
)
ARCHIVE_LOST = Event(
    "archive.lost",
    "warning",
    ("error",),
    "Ended segments cannot be archived for now; they stay here and are caught up later. Look at the disk "
    "that archive.directory names, and at `coldseal gateway archive CONFIG list`.",
)
ARCHIVE_BACK = Event(
    "archive.back",
    "info",
    ("archived",),
    "The archive works again, and what had waited is in it.",
)
