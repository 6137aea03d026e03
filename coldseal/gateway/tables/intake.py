"""Where readings come in, and the way to their acknowledgement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from coldseal.settings import Address, Count, Seconds


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
