"""Events of the gateway: its life, its devices, its keys, clock and certificates."""

from __future__ import annotations

from coldseal.observe.events.event import Event

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
EXERCISE_BEGAN = Event(
    "drill.began",
    "warning",
    ("fault", "seconds"),
    "A drill plays a fault on this gateway for a while; it ends by itself.",
)
EXERCISE_ENDED = Event(
    "drill.ended",
    "info",
    ("fault",),
    "The fault that a drill played is over.",
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
LOG_LINES_LOST = Event(
    "log.lines-lost",
    "warning",
    ("count",),
    "So many lines could not be written to log.file, because the disk was full, failed or too slow.",
)
MEMORY_SHORT = Event(
    "gateway.memory-short",
    "critical",
    ("bytes", "limit"),
    "The gateway holds more memory than budget.memory_mb: new connections are refused, connected devices "
    "are served. Find out what grew, or raise the bound.",
)
MEMORY_ENOUGH = Event(
    "gateway.memory-enough",
    "info",
    ("bytes", "limit"),
    "There is memory again; connections are taken.",
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
    "A quarter of a certificate's life is left, and nobody has renewed it; look why. Said once.",
)
CERTIFICATE_EXPIRED = Event(
    "certificate.expired",
    "critical",
    ("certificate",),
    "A certificate of this program has ended: renew its files. They are taken into use without a restart. "
    "What comes in is sealed and acknowledged as before. Said once.",
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
