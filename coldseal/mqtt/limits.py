"""What one broker and one connection may use: every bound of the listener's machine, with its unit.

A bound that MQTT can express is told to the client in CONNACK; the others are answered with the
reason code of the standard. Bounds of sockets (connections, bytes in flight) belong to the shell.
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds; the defaults suit a gateway with some hundred devices."""

    receive_maximum: int = 64
    """Messages of one connection that may wait for their acknowledgement."""
    max_held_bytes: int = 67_108_864
    """Payload bytes that may wait for their acknowledgement, on all connections; beyond, nobody is read."""
    max_buffered_bytes: int = 1_048_576
    """Unsent bytes of one connection; from half of it on, messages to its client wait or are dropped."""
    max_packet_bytes: int = 65_536
    """Largest packet taken in."""
    topic_alias_maximum: int = 16
    """Topic aliases that a client may set on one connection."""
    connect_timeout_s: float = 10
    """Time from opening the connection to a successful CONNECT."""
    max_keepalive_s: int = 600
    """Longest keep-alive; a client that asks for more, or for none, gets this one."""
    session_expiry_max_s: int = 604_800
    """Longest life of a session without a connection."""
    max_connections_per_device: int = 4
    """Connections of one device at a time."""
    max_sessions: int = 10_000
    """Sessions, connected or not."""
    max_sessions_per_device: int = 16
    """Sessions of one device, connected or not."""
    max_subscriptions: int = 64
    """Subscriptions of one session."""
    max_queued: int = 1_000
    """Messages that wait in one session for its client."""
    max_queued_bytes: int = 1_048_576
    """Payload bytes that wait in one session for its client."""
    max_retained: int = 10_000
    """Retained messages."""
    max_retained_per_device: int = 1_000
    """Retained messages that one device has published."""
    max_retained_bytes: int = 16_777_216
    """Payload bytes of all retained messages."""
