"""What a source hands to the pipeline, and what the pipeline answers.

A Message promises that its sender is known and that ``acknowledge`` may be called exactly once,
at any later time, even when the sender has gone. It says nothing about what the payload means.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from coldseal.core.quotas import OVER_QUOTA, OVER_RATE
from coldseal.gateway.clock import Stamp


class Outcome(IntEnum):
    """What became of a message; the source turns it into its protocol's answer."""

    SEALED = 0
    """Signed, chained and on disk."""
    DUPLICATE = 1
    """Sealed before; a fresh acknowledgement is due."""
    REJECTED = 2
    """Not understood: its hash, source and reason are sealed."""
    REFUSED = 3
    """Forbidden by policy: its hash, source and reason are sealed."""
    BUSY = 4
    """Nothing was sealed (disk limit): the source must not acknowledge."""
    LIMITED = 5
    """More than the sender's rate or quota: its hash, source and reason are sealed."""


_LIMITS: Final = frozenset((OVER_RATE, OVER_QUOTA))


def outcome_of(refused: str) -> Outcome:
    """Give the outcome of a message that was refused for a reason."""
    return Outcome.LIMITED if refused in _LIMITS else Outcome.REFUSED


Acknowledge = Callable[[Outcome, str], None]
"""Called with the outcome and the reason in words (empty when all is well)."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One payload from a known device.

    Args:
        device: the name that the transport authenticated.
        fingerprint: first 16 hex digits of SHA-256 over the device certificate's DER; empty with a password.
        topic: where it was published, unchanged.
        payload: its bytes, unchanged.
        qos: 0, 1 or 2; with 0 nobody waits for the acknowledgement.
        packet_id: the transport's number for it, None with QoS 0.
        redelivered: the sender says that it may have sent this before.
        received: when its last byte arrived.
        acknowledge: to be called once with the outcome.
        refused: the source's own policy forbids it, for this reason (such as ``not-authorised``);
            the pipeline seals it as rejected and nothing else.
    """

    device: str
    fingerprint: str
    topic: str
    payload: bytes
    qos: int
    packet_id: int | None
    redelivered: bool
    received: Stamp
    acknowledge: Acknowledge
    refused: str = ""
