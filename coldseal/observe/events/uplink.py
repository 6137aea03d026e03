"""Events of the way up: delivery, witnesses, timestamps."""

from __future__ import annotations

from coldseal.observe.events.event import Event

UPLINK_LOST = Event(
    "uplink.lost",
    "warning",
    ("since", "cause"),
    "The service cannot be reached; entries wait here. Said once.",
)
UPLINK_RESTORED = Event(
    "uplink.restored",
    "info",
    ("lost_s", "backlog"),
    "The service answers again. Said once.",
)
UPLINK_REFUSED = Event(
    "uplink.refused",
    "critical",
    ("error", "first", "size", "detail"),
    "The service refuses a batch by its proofs; it is not retried as it is. Compare the log with the "
    "service.",
)
UPLINK_RECEIPT = Event(
    "uplink.receipt",
    "debug",
    ("size", "entries"),
    "The service cosigned a checkpoint of ours.",
)
UPLINK_ROLLED_BACK = Event(
    "uplink.rolled-back",
    "critical",
    ("published", "size"),
    "The service lost entries for which it gave receipts; they are sent again. Find out what was restored "
    "there.",
)
UPLINK_REFUTED = Event(
    "uplink.refuted",
    "critical",
    ("seqs",),
    "The service says that these entries are malformed or wrongly signed; they are stored all the same. "
    "Check this gateway.",
)
UPLINK_STARTED = Event(
    "uplink.started",
    "info",
    ("url", "published"),
    "The uplink process delivers from here on.",
)
UPLINK_FAILED = Event(
    "uplink.failed",
    "error",
    ("error",),
    "The uplink process ends with an error; the gateway starts it again.",
)
WITNESS_LOST = Event(
    "witness.lost",
    "warning",
    ("witness", "cause"),
    "A further witness does not cosign; delivery goes on without it. Said once.",
)
WITNESS_RESTORED = Event(
    "witness.restored",
    "info",
    ("witness", "size"),
    "That witness cosigns again. Said once.",
)
WITNESS_ROLLED_BACK = Event(
    "witness.rolled-back",
    "critical",
    ("witness", "cosigned", "size"),
    "A witness forgot what it cosigned: it was restored from an old copy. Its own cosignature is kept as "
    "evidence, and it is brought forward again. Find out what was restored there.",
)
WITNESS_DISPUTES = Event(
    "witness.disputes",
    "critical",
    ("witness", "error", "size", "detail"),
    "A witness knows another history of this log, or its cosignature is wrong. The evidence is kept; this "
    "witness is asked again only after a restart or `resume`.",
)
WITNESS_OVERDUE = Event(
    "witness.overdue",
    "critical",
    ("entries", "seconds", "quorum"),
    "Entries have waited too long for the cosignatures of a quorum: until then whoever holds the keys "
    "could rewrite them. Find out which witness is missing. Said once.",
)
WITNESS_CAUGHT_UP = Event(
    "witness.caught-up",
    "info",
    ("entries", "quorum"),
    "Enough witnesses cosign again. Said once.",
)
TIMESTAMP_KEPT = Event(
    "timestamp.kept",
    "info",
    ("size", "t", "authority"),
    "The timestamp authority stamped the checkpoint at the end of a segment; the timestamp is stored.",
)
TIMESTAMP_BAD = Event(
    "timestamp.bad",
    "error",
    ("size", "detail"),
    "A timestamp does not hold and was not kept; another is asked for. Look at timestamp.ca.",
)
TIMESTAMPS_LOST = Event(
    "timestamp.lost",
    "warning",
    ("cause", "detail"),
    "The timestamp authority gives none; delivery goes on, and timestamps follow later. Said once.",
)
TIMESTAMPS_RESTORED = Event(
    "timestamp.restored",
    "info",
    ("lost_s",),
    "The timestamp authority answers again. Said once.",
)
NOTICE_NOT_TAKEN = Event(
    "notice.not-taken",
    "warning",
    ("seq", "reason"),
    "The service does not take the notice of an urgent entry: it cannot verify it yet (`wrong-key`: keys "
    "changed in the backlog), or it fails. The entry comes in its order all the same.",
)
