"""The one catalogue of log events: name, level, fields and meaning.

`docs/reference/events.md` is made from it, and a test holds every place that emits to it. A name
is stable: tools may search for it. An event says what happened; it never carries a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of log line.

    Args:
        name: stable name, `part.what-happened`.
        level: how much it matters; `critical` wakes a person.
        fields: names of the values that go with it, all of them each time.
        meaning: what happened and, where a person must act, what to do.
    """

    name: str
    level: Level
    fields: tuple[str, ...]
    meaning: str


GATEWAY_STARTED = Event(
    "gateway.started",
    "info",
    ("origin", "size", "mode", "listeners", "software"),
    "The gateway takes readings in.",
)
GATEWAY_STOPPED = Event(
    "gateway.stopped",
    "info",
    ("reason", "size"),
    "The gateway ended in order; everything acknowledged is on disk.",
)
GATEWAY_FAILED = Event(
    "gateway.failed",
    "critical",
    ("error",),
    "The gateway ends with an error; its supervisor starts it again.",
)
PART_RESTARTED = Event(
    "gateway.part-restarted",
    "error",
    ("process", "cause"),
    "A process of the gateway (uplink, signing) ended and was started again.",
)
DEVICE_CONNECTED = Event(
    "device.connected",
    "info",
    ("device", "client", "version", "address"),
    "A device opened a session.",
)
DEVICE_LEFT = Event(
    "device.left",
    "info",
    ("device", "client", "reason"),
    "A device's connection ended.",
)
DEVICE_REFUSED = Event(
    "device.refused",
    "warning",
    ("address", "reason"),
    "A connection was turned away before it had an identity, or with one that may not speak here.",
)
CONNECTION_CUT = Event(
    "device.cut",
    "warning",
    ("device", "client", "reason"),
    "A connection was closed by us: malformed packet, silence, or a reader too slow for its limit.",
)
CONNECTIONS_FULL = Event(
    "device.limit",
    "warning",
    ("limit",),
    "The limit of connections is reached; raise mqtt.max_connections or find out who connects. Said once.",
)
CONNECTIONS_FREE = Event(
    "device.below-limit",
    "info",
    ("limit",),
    "Connections are taken again.",
)
PUBLISH_REFUSED = Event(
    "device.publish-refused",
    "warning",
    ("device", "topic", "reason"),
    "A device published where it may not; sealed as rejected. At most once a minute for each device.",
)
PAYLOAD_REJECTED = Event(
    "device.payload-rejected",
    "warning",
    ("device", "topic", "reason", "detail"),
    "A payload was not understood; sealed as rejected with its hash. At most once a minute for each device.",
)
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
KEY_CHANGED = Event(
    "key.changed",
    "info",
    ("use", "seq", "old", "new"),
    "The log names a new key, and is signed with it from here on; the old private key is gone.",
)
KEY_REVOKED = Event(
    "key.revoked",
    "warning",
    ("use", "seq", "key", "since"),
    "It is on record that a key was in wrong hands; what it signed since the last receipt is to be reviewed.",
)
SEALING_FAILED = Event(
    "sealing.failed",
    "error",
    ("error",),
    "The sealing process ends with an error; entries are sealed within the gateway, which tries it again.",
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
CLOCK_CHANGED = Event(
    "clock.changed",
    "warning",
    ("state", "offset_ms", "error_ms"),
    "The trust in wall time changed; `unsynchronised` asks for a look at the time service.",
)
CERTIFICATE_EXPIRES = Event(
    "certificate.expires",
    "warning",
    ("certificate", "days"),
    "A certificate of this program ends soon; renew it. Said once a day.",
)
CERTIFICATE_RELOADED = Event(
    "certificate.reloaded",
    "info",
    ("certificate", "days"),
    "A renewed certificate is in use for new connections.",
)
CERTIFICATE_KEPT = Event(
    "certificate.kept",
    "error",
    ("certificate", "error"),
    "A renewed certificate cannot be used; the one in use stays. Correct the files.",
)
CERTIFICATE_NOT_STORED = Event(
    "certificate.not-stored",
    "warning",
    ("fingerprint", "error"),
    "A device's certificate cannot be kept for evidence; its readings are sealed all the same. Said once"
    " until one can be kept again: look at the data folder.",
)
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
    ("peer", "reason"),
    "A caller was turned away: no gateway, or not admitted.",
)
FORK_FOUND = Event(
    "ingest.fork",
    "critical",
    ("origin", "size", "kept"),
    "Two histories of one log: a copied disk, a restored backup or a stolen key. The evidence is kept; "
    "stop the gateway and investigate.",
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

CATALOGUE: tuple[Event, ...] = tuple(each for each in globals().copy().values() if isinstance(each, Event))
"""All events, in the order of this page."""
