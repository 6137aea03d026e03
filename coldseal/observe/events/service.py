"""Events of the service, and of what both programs have."""

from __future__ import annotations

from coldseal.observe.events.event import Event

SERVICE_STARTED = Event(
    "service.started",
    "info",
    ("name", "listen", "logs", "software"),
    "The service takes batches in.",
)
SERVICE_STOPPED = Event(
    "service.stopped",
    "info",
    ("reason",),
    "The service ended in order.",
)
SERVICE_FAILED = Event(
    "service.failed",
    "critical",
    ("error",),
    "The service ends with an error; its supervisor starts it again.",
)
BATCH_STORED = Event(
    "ingest.stored",
    "debug",
    ("origin", "first", "size", "entries"),
    "A batch was verified, stored and cosigned.",
)
BATCH_REFUSED = Event(
    "ingest.refused",
    "error",
    ("origin", "error", "detail"),
    "A batch was refused; its proof of fault is kept.",
)
PEER_REFUSED = Event(
    "ingest.peer-refused",
    "warning",
    ("peer", "cause", "reason"),
    "A caller with a certificate of the CA was turned away: `role`, `identity` or `not-admitted`.",
)
FORK_FOUND = Event(
    "ingest.fork",
    "critical",
    ("origin", "size", "kept"),
    "Two histories of one log: a copied disk, a restored backup or a stolen key. The evidence is kept; "
    "stop the gateway and investigate.",
)
NOTICE_ANNOUNCED = Event(
    "notice.announced",
    "warning",
    ("origin", "seq", "kind", "t"),
    "A gateway told an urgent entry ahead of its order: signed, but not yet in its log here.",
)
NOTICE_CONFIRMED = Event(
    "notice.confirmed",
    "info",
    ("origin", "seq", "kind"),
    "An entry that was told ahead came in its order, byte by byte the same.",
)
NOTICE_REFUSED = Event(
    "notice.refused",
    "error",
    ("origin", "seq", "reason"),
    "A notice does not hold by what is known of the log; it is not shown. `wrong-key` may only mean that "
    "keys changed in what is still to come.",
)
CHECKPOINT_REFUSED = Event(
    "witnessing.refused",
    "error",
    ("origin", "error", "detail"),
    "A signed checkpoint that was posted does not extend what was cosigned before; the proof is kept.",
)
SIGNATURE_REFUTED = Event(
    "verify.refuted",
    "critical",
    ("origin", "seq", "reason"),
    "An entry's own signature is wrong. It is kept and marked.",
)
VERIFIER_RESTARTED = Event(
    "verify.restarted",
    "error",
    ("cause",),
    "The verification processes ended and were started again.",
)
LOG_ADMITTED = Event(
    "ingest.admitted",
    "info",
    ("origin",),
    "The service takes this log from now on.",
)
LOG_CONTINUED = Event(
    "ingest.continued", "warning", ("origin", "predecessor", "size"), "A new log continues another one."
)
ADMISSION_FAILED = Event(
    "ingest.admission-failed",
    "error",
    ("error",),
    "The descriptions of admitted logs changed and cannot be read; those read before stay in force.",
)
HTTP_LISTENING = Event(
    "http.listening",
    "info",
    ("address",),
    "Health, metrics and status are served here.",
)
LIBRARY_MESSAGE = Event(
    "library.message",
    "warning",
    ("logger", "message"),
    "A library had something to say.",
)
