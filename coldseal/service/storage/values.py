"""What the ledger keeps beside entries: receipts, evidence, links, and how far a log is. Values only."""

from __future__ import annotations

import msgspec


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that something was wrong with a batch, or with a checkpoint that was to be cosigned.

    Args:
        origin: the log.
        verdict: what was wrong.
        t: when, Unix seconds.
        detail: what was found, for people.
        note: the checkpoint that came with it, signed.
        held: the newest checkpoint that was held then, cosigned; empty if none.
        entry: the entry at the first place that differs, or the whole request for a cosignature, with its
            proof; empty if there is none.
    """

    origin: str
    verdict: str
    t: int
    detail: str
    note: bytes
    held: bytes = b""
    entry: bytes = b""


class KeptEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence as it is kept; the same proof again is only counted.

    Args:
        evidence: as it came the first time.
        last_t: when it came last, Unix seconds.
        times: how often it came.
    """

    evidence: Evidence
    last_t: int
    times: int


class Receipted(msgspec.Struct, frozen=True):
    """A receipt that was given.

    Args:
        size: tree size.
        t: when it was cosigned, Unix seconds.
        root: root hash at that size.
        note: the cosigned checkpoint.
    """

    size: int
    t: int
    root: bytes
    note: bytes


class Link(msgspec.Struct, frozen=True):
    """A log that continues another one.

    Args:
        origin: the later log.
        predecessor: the log before, which takes no more entries.
        size: of it, as the later one cites it.
    """

    origin: str
    predecessor: str
    size: int


class Summary(msgspec.Struct, frozen=True):
    """How far one log is.

    Args:
        size: entries held.
        verified: entries below were checked against their own signatures.
        refuted: how many failed that.
        mode: sealing mode that the genesis entry declares.
    """

    size: int = 0
    verified: int = 0
    refuted: int = 0
    mode: str = ""


class Announced(msgspec.Struct, frozen=True):
    """An urgent entry that was told ahead of its order and has not come in its order yet.

    Args:
        seq: its place.
        kind: as the entry says.
        t: the same.
        since: when it was told, Unix seconds.
        entry: as it was sealed.
    """

    seq: int
    kind: str
    t: str
    since: int
    entry: bytes
