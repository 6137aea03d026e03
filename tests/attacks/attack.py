"""One attack: who can do it, how it is made, what it must be called, and where it is caught."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from coldseal.service.verification import Verifier


class Who(StrEnum):
    """What an adversary has."""

    THIEF = "thief of the disk"
    """Can copy, change and put back files of the gateway, with the store key, but has no signing key."""
    SOME = "holder of some keys"
    """Has one or two of the signing keys, or one that was rolled over, but not all that are active."""
    KEYS = "holder of all software keys"
    """Root on the gateway: has record, checkpoint, interop, store and transport key."""
    SERVICE = "service"
    """Runs the service with its own key."""
    WITNESS = "witness"
    """Runs a witness, or restored one."""
    NETWORK = "network"
    """Stands between gateway and service, past TLS."""
    CLOCK = "setter of the clock"
    """Can set the gateway's clock, by hand or by false time servers."""
    FORGER = "forger of an export"
    """Has a bundle in hand before the inspector does."""


class Where(StrEnum):
    """Who notices."""

    OPENING = "gateway's opening"
    UPLINK = "gateway's uplink"
    INGEST = "service's ingest"
    WITNESS = "witness"
    VERIFIER = "offline verifier"


class Caught(NamedTuple):
    """What was noticed.

    Attributes:
        verdict: by its name; empty if nothing was.
        seq: the first bad entry as it was named; None where none is named.
        made_at: the entry at which the attack was made.
    """

    verdict: str
    seq: int | None = None
    made_at: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Where attacks are played: an empty folder, and the pool that checks signatures for the service."""

    folder: Path
    verifier: Verifier


Play = Callable[[Stage], Awaitable[Caught]]


class Attack(NamedTuple):
    """One line of the table.

    Attributes:
        line: which of :data:`MUST_BE_CAUGHT` it stands for; empty where it goes beyond.
        who: the least that an adversary needs for it.
        how: how it is made here.
        where: who notices.
        verdict: what it must be called.
        play: makes it, and gives what was noticed.
    """

    line: str
    who: Who
    how: str
    where: Where
    verdict: str
    play: Play


MUST_BE_CAUGHT = (
    "flip an entry",
    "insert an entry",
    "delete an entry",
    "swap entries",
    "duplicate an entry",
    "cut the tail before the last anchor",
    "cut the tail after the last anchor",
    "restore an old disk image",
    "rewrite with all software keys",
    "fork two histories to two witnesses",
    "old entries signed with a newer key",
    "new entries signed with an older key",
    "unsigned segment",
    "empty interval without heartbeat",
    "clock one hour back",
    "clock one hour ahead",
    "slow drift",
    "checkpoint with an extension line",
    "checkpoint with bad base64",
    "checkpoint with a leading zero",
    "checkpoint with 17 signatures",
    "unknown key under a known name",
    "high-S twin",
    "duplicate JSON key",
    "2^53+1",
    "lone surrogate",
    "NaN",
    "entry of 65,536 bytes",
    "pruned range without archive receipt",
    "exported CSV with one cell changed",
    "witness rolled back from backup",
    "service acknowledging more than it stored",
)
"""Every attack that the project has set out to catch; each has at least one case."""
