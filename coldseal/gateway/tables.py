"""The tables of ``gateway.toml``: every setting, its limits, its default and its meaning.

The string below a setting is its documentation: `docs/reference/configuration.md` is made from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from coldseal.settings import Address, Count, Reference, Seconds

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Urgent = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Origin = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$", max_length=200)]


class Gateway(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this gateway is."""

    origin: Origin
    """Origin of its log, such as `example.com/site-7/gw-0001`; never used again for another log."""
    site: Name
    """Site level of the topics."""
    data: Path = Path("data")
    """Folder of the log and the sessions."""
    signature: Literal["record", "checkpoint"] = "record"
    """`record`: a signature for each entry; `checkpoint`: one for each commit, for high rates."""
    after: Reference | None = None
    """Last receipt of the log that a new one continues, `file:…`; read when the log begins; empty: none."""


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The MQTT listener (3.1.1 and 5). With TLS only 1.3 is spoken."""

    listen: Address | None = Address("127.0.0.1:8883")
    """TLS listener; empty switches it off."""
    plain_listen: Address | None = None
    """Listener without TLS, on loopback only; needs `passwords`."""
    certificate: Path | None = None
    """Certificate chain of the listener, PEM."""
    key: Path | None = None
    """Its transport key, PEM, mode 0600."""
    client_ca: Path | None = None
    """CA certificates that devices must descend from, PEM."""
    crl: Path | None = None
    """Certificate revocation list of that CA, PEM; empty: none is checked."""
    passwords: Path | None = None
    """Password file (argon2id) for devices without certificates; empty: certificates only."""
    max_connections: Count = 2_000
    """Connections at one time; more are refused."""
    max_connections_per_address: Count = 1_000
    """Connections of one network address; devices behind one translating router share theirs."""
    max_half_open: Count = 512
    """Connections at one time that are not admitted yet."""
    max_half_open_per_address: Count = 256
    """The same for one network address."""
    max_connections_per_device: Count = 4
    """Connections of one device at one time; more are refused."""
    max_packet_bytes: Annotated[int, Meta(ge=256, le=268_435_455)] = 65_536
    """Largest MQTT packet, in either direction."""
    receive_maximum: Annotated[int, Meta(ge=1, le=65_535)] = 64
    """QoS 1 and 2 messages of one connection that may wait for their commit."""
    max_buffered_bytes: Annotated[int, Meta(ge=65_536)] = 1_048_576
    """Bytes that one slow reader may leave unsent before it is cut off."""
    max_slow_s: Seconds = 60
    """Time that a client may stay slow before it is cut off."""
    max_full_s: Seconds | None = None
    """Time that messages of an MQTT 5 client wait for room on the disk before it is sent away with 0x97;
    empty: it waits as long as it takes."""
    max_held_bytes: Annotated[int, Meta(ge=1_048_576)] = 67_108_864
    """Payload bytes of all connections that may wait for their commit; beyond, nobody is read."""
    connect_timeout_s: Seconds = 10
    """Time for the TLS handshake and CONNECT together."""
    max_keepalive_s: Annotated[int, Meta(ge=1, le=65_535)] = 600
    """Longest keep-alive: MQTT 5 clients are told, and nobody may be silent for longer."""
    max_queued: Count = 1_000
    """Messages kept for one session while its client is away or slow."""
    max_queued_bytes: Count = 1_048_576
    """Payload bytes of these messages."""
    session_expiry_max_s: Annotated[int, Meta(ge=0, le=4_294_967_294)] = 604_800
    """Longest life of a session without a connection."""
    max_sessions: Count = 10_000
    """Sessions kept at one time, connected or not."""
    max_sessions_per_device: Count = 16
    """The same for one device."""
    max_subscriptions: Count = 64
    """Subscriptions of one session."""
    max_retained: Count = 10_000
    """Retained messages kept."""
    max_retained_per_device: Count = 1_000
    """Retained messages kept that one device has published."""
    max_retained_bytes: Count = 16_777_216
    """Payload bytes of all retained messages."""
    topic_alias_maximum: Annotated[int, Meta(ge=0, le=65_535)] = 16
    """Topic aliases that one connection may use."""


class Grant(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What devices may do beyond their own namespace, which every device has."""

    device: Annotated[str, Meta(min_length=1)] = "*"
    """The device's name, or `*` for all."""
    publish: tuple[str, ...] = ()
    """Whole topics that it may publish to, no wildcards; `{site}` and `{device}` stand for ours and its."""
    subscribe: tuple[str, ...] = ()
    """Topic filters that it may subscribe to, or to parts of; the same placeholders."""


class Pipeline(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The way from a message to its acknowledgement."""

    max_pending: Count = 20_000
    """Messages that may wait for a commit at one time; beyond it the sources stop reading."""
    rejected_per_minute: Count = 60
    """`rejected` entries of one device in a minute; the rest is sealed as one entry that counts them."""
    signs_beside: bool = True
    """Large groups are signed by a process beside the intake; with a single processor core, set `false`."""


class Store(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The encrypted log on disk."""

    key: Reference = Reference("file:store.key")
    """Store key: 32 bytes in hex, in a file of mode 0600 or in the environment."""
    limit_mb: Count = 8_192
    """Largest size of the store in MiB; when it is full, nothing more is acknowledged."""
    reserve_mb: Count = 64
    """Part of the limit that is kept for the log's own entries, in MiB."""
    segment_entries: Count = 1_048_576
    """Entries in one segment file."""
    commit_window_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Time that a commit waits for more messages; a longer one spares flash memory."""


class Budget(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the gateway may use, and when it warns. The disk has its bounds in `[store]`."""

    memory_mb: Annotated[int, Meta(ge=64)] = 1_024
    """Memory of all the gateway's processes in MiB; above it new connections are refused."""
    warn_days: Seconds = 7
    """Warn when the store will be full in fewer days, at the rate of the last hours."""
    critical_days: Seconds = 2
    """Alarm when it will be full in fewer days."""


class LogLines(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway's log lines go."""

    file: Path | None = None
    """File for JSON lines; empty: stderr. The uplink's process writes one of its own, `….uplink.…`."""
    max_mb: Count = 16
    """Size of one file in MiB; a full one is put aside as `….1`."""
    keep: Annotated[int, Meta(ge=0, le=99)] = 4
    """Older files that stay."""


class Keys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signing keys. None of them is the transport key."""

    record: Reference = Reference("file:record.pem")
    """Record key (P-256): signs entries."""
    checkpoint: Reference = Reference("file:checkpoint.pem")
    """Checkpoint key (P-256): signs checkpoints."""
    interop: Reference = Reference("file:interop.pem")
    """Ed25519 key that signs checkpoints for public witnesses and tools."""


class Checkpoint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the log is fixed by a signed checkpoint."""

    entries: Count = 256
    """Entries after which a checkpoint is due."""
    seconds: Seconds = 60
    """Time after which a checkpoint is due, if anything is new."""
    heartbeat_seconds: Seconds = 300
    """Time between heartbeat entries, which make silence visible."""


class FurtherWitness(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A witness beside the service, of somebody else: it is asked by C2SP tlog-witness."""

    url: str
    """Its submission prefix, such as `https://host:port/v1/witness`; `http://` on loopback only."""
    key: str
    """Its verifier key, as `coldseal service init` prints it there."""
    certificate: Path | None = None
    """Certificate chain that is shown to it, PEM; empty: that of `uplink`."""
    certificate_key: Path | None = None
    """The transport key of that certificate, PEM, mode 0600."""
    ca: Path | None = None
    """CA certificates that it must descend from, PEM; empty: those of `uplink`."""


class Uplink(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The way to the ingestion service, over mutual TLS 1.3."""

    url: str = ""
    """The service, as `https://host:port`; empty: entries stay here."""
    certificate: Path | None = None
    """Certificate chain of the gateway, PEM."""
    key: Path | None = None
    """Its transport key, PEM, mode 0600."""
    ca: Path | None = None
    """CA certificates that the service must descend from, PEM."""
    witness: str = ""
    """Verifier key of the service's witness, as `coldseal service init` prints it."""
    batch_entries: Annotated[int, Meta(ge=1, le=65_536)] = 4_096
    """Entries in one batch at most."""
    retry_initial_s: Seconds = 0.5
    """Longest first wait after a failure; it doubles each time, and the wait is drawn at random below it."""
    retry_max_s: Seconds = 60
    """Longest wait after a failure."""
    timeout_s: Seconds = 30
    """Time for one batch and its receipt."""
    urgent: tuple[Urgent, ...] = ("excursion", "alarm", "gap", "clock")
    """Kinds of entries that are told to the service ahead of a backlog; `[]`: none."""
    witnesses: tuple[FurtherWitness, ...] = ()
    """Further witnesses, at most 8; each is a table `[[uplink.witnesses]]`."""


class Witness(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many witnesses are needed, the service among them, and how often the others are asked."""

    quorum: Count = 1
    """Witnesses that must cosign one checkpoint; entries below it are witnessed."""
    interval_s: Annotated[float, Meta(ge=0.01, le=60)] = 10
    """Shortest time between two checkpoints that further witnesses are asked for."""
    overdue_after_s: Seconds = 86_400
    """Alarm once an entry has waited so long for the quorum."""


class Timestamp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The timestamp authority (RFC 3161) that stamps the end of each segment; asked by the uplink."""

    url: str = ""
    """The authority, as `http://` or `https://`; empty: no timestamps. Needs `uplink.url`."""
    ca: Path | None = None
    """Root certificates that the authority must descend from, PEM."""
    timeout_s: Seconds = 30
    """Time for one timestamp."""


class Http(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Health, metrics and status for this machine."""

    listen: Address | None = Address("127.0.0.1:9464")
    """Loopback listener; empty switches it off."""
    stalled_after_s: Seconds = 10
    """Unhealthy once messages have waited this long without a commit."""
    silent_after_s: Seconds = 900
    """A sensor not heard for so long is named as silent in the status."""


class Recovery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is done about damage of the log."""

    automatic: bool = True
    """A start on a damaged log recovers it, states what was lost, and goes on; `false`: it is refused."""
    scrub_hours: Annotated[float, Meta(gt=0)] = 24
    """Hours in which the whole log is read again, to find damage while the service still has a copy."""


class Archive(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The archive: each ended segment, once it is witnessed, becomes a compressed bundle that is verified."""

    directory: Path | None = None
    """Folder for the bundles, also on a removable disk. It is never made: while it is absent, segments wait.
    Empty: no archive."""
    interval_s: Seconds = 60
    """Time between two looks for segments to archive, and for the folder where it was absent."""
    level: Annotated[int, Meta(ge=1, le=19)] = 6
    """Level of compression (zstd)."""


class Retention(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a class of segments stays here; without such a table nothing is pruned unasked.

    A segment is of that class, of all that it holds, which is kept longest. Once it is witnessed, archived,
    past its window and free of holds, it is pruned; the oldest first.
    """

    name: Name
    """Name of the class."""
    days: Count
    """How long its segments stay here after they ended."""
    kinds: tuple[str, ...] = ()
    """Kinds of entries, such as `excursion`; none: all kinds that no other class names."""
