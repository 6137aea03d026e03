"""What is kept: the log on disk, its keys and checkpoints, its budget and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from coldseal.gateway.tables.values import Name
from coldseal.settings import Count, Reference, Seconds


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
