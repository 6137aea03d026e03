"""Notices: urgent entries told ahead of their order, while a backlog drains in front of them.

A notice is the entry as it was sealed, so whoever has the log's key can check it. It is no receipt and
delivers nothing: the entry comes again in its place, and is compared. Here is what both ends say, what
the gateway tells next, and whether a notice holds. Knows no network, no clock and no storage.
"""

from __future__ import annotations

import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log import canonical
from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    VerifierKey,
    open_checkpoint,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.delivery.receiver import AdmittedLog, history_at
from coldseal.core.log.delivery.wire import Kind, Unavailable, parse_answer
from coldseal.core.log.merkle import HASH_SIZE, InclusionError, verify_inclusion
from coldseal.core.log.record import KINDS, parse_entry, parse_frames
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coldseal.core.log.record import Entry

NOTICE_TYPE: Final = "application/vnd.coldseal.notices"
"""Media type of a request."""

MAX_NOTICES: Final = 64
"""Notices in one request."""

MAX_ENTRY: Final = 8_192
"""Bytes of an entry that may be told ahead; a longer one waits for its turn."""

MAX_BODY: Final = MAX_NOTICES * (MAX_ENTRY + 2_048)
"""Bytes of one request."""

_MAX_WAITING = 256
_MOST_HASHES = 63
_UNCOVERED = 255
_LENGTH = struct.Struct(">H")


class Notice(NamedTuple):
    """One urgent entry.

    Attributes:
        raw: the entry, byte by byte as it was sealed.
        proof: its inclusion proof in the request's checkpoint; None if that does not cover it.
    """

    raw: bytes
    proof: tuple[bytes, ...] | None = None


class Request(NamedTuple):
    """What goes up: the newest checkpoint that there is, empty if none, and notices, newest first."""

    note: bytes
    notices: tuple[Notice, ...]


class Told(NamedTuple):
    """The service's answer: what it took down, or has already, and what it refuses, with the reason."""

    announced: frozenset[int]
    refused: Mapping[int, str]


def encode_notices(request: Request) -> bytes:
    """Lay a request out for the wire; the layout stands in `docs/specs/delivery.md`."""
    parts = [_LENGTH.pack(len(request.note)), request.note]
    for raw, proof in request.notices:
        parts.append(bytes([_UNCOVERED if proof is None else len(proof)]))
        parts += proof or ()
        parts += [_LENGTH.pack(len(raw)), raw]
    return b"".join(parts)


def parse_notices(body: bytes) -> Request:
    """Take a request apart; nothing in it is verified.

    Raises:
        InputError: it is cut, or holds no notice, or too much.
    """
    note, at = _sized(body, 0, "note")
    notices: list[Notice] = []
    while at < len(body):
        count, at = body[at], at + 1
        if _MOST_HASHES < count < _UNCOVERED:
            raise InputError("notices", "proof", count, f"at most {_MOST_HASHES} hashes")
        end = at + (0 if count == _UNCOVERED else count * HASH_SIZE)
        hashes = tuple(body[start : start + HASH_SIZE] for start in range(at, end, HASH_SIZE))
        raw, at = _sized(body, end, "entry")
        if len(raw) > MAX_ENTRY:
            raise InputError("notices", "entry", len(raw), f"at most {MAX_ENTRY} bytes")
        notices.append(Notice(raw, None if count == _UNCOVERED else hashes))
    if not 0 < len(notices) <= MAX_NOTICES:
        raise InputError("notices", "count", len(notices), f"1 to {MAX_NOTICES}")
    return Request(note, tuple(notices))


def _sized(body: bytes, at: int, field: str) -> tuple[bytes, int]:
    """Read what stands behind its own length; give it and the place behind it."""
    start = at + _LENGTH.size
    end = start + int.from_bytes(body[at:start])
    if start > len(body) or end > len(body):
        raise InputError("notices", field, len(body), f"at least {end} bytes")
    return body[start:end], end


def encode_told(told: Told) -> bytes:
    """Write the body of a 200 answer."""
    refused: list[canonical.Value] = [
        {"reason": reason, "seq": seq} for seq, reason in sorted(told.refused.items())
    ]
    announced: list[canonical.Value] = [*sorted(told.announced)]
    return canonical.encode({"announced": announced, "refused": refused})


def parse_told(status: int, body: bytes, retry_after: str = "") -> Told | Unavailable:
    """Read the service's answer; whatever is none is `Unavailable`.

    Raises:
        InputError: a 200 that makes no sense.
    """
    if status != HTTPStatus.OK:
        found = parse_answer(status, body, retry_after) if status != HTTPStatus.CONFLICT else None
        return found if isinstance(found, Unavailable) else Unavailable(Kind.REFUSED, f"status {status}")
    answer = canonical.parse(body, where="notices")
    announced, refused = answer.get("announced"), answer.get("refused")
    if not isinstance(announced, list) or not isinstance(refused, list):
        raise InputError("notices", "answer", answer, "two lists")
    reasons: dict[int, str] = {}
    for each in refused:
        if not isinstance(each, dict) or not isinstance(reason := each.get("reason"), str):
            raise InputError("notices", "refused", each, "a seq and a reason")
        reasons[_seq(each.get("seq"))] = reason
    return Told(frozenset(map(_seq, announced)), reasons)


def _seq(value: canonical.Value) -> int:
    """Insist on a seq."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError("notices", "seq", value, "a whole number from 0")
    return value


# ---- the gateway's end


class Finder:
    """Finds urgent entries among others.

    Args:
        kinds: the kinds that are urgent.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        """Take the kinds.

        Raises:
            InputError: there is no such kind.
        """
        self.kinds = frozenset(kinds)
        if unknown := sorted(self.kinds - KINDS):
            raise InputError("uplink", "urgent", unknown, "kinds of entries")
        self._marks = tuple(b',"kind":"%b",' % kind.encode() for kind in sorted(self.kinds))

    def find(self, first: int, frames: bytes) -> list[tuple[int, bytes]]:
        """Give seq and bytes of the urgent ones among framed entries, of which the first is ``first``."""
        if not any(mark in frames for mark in self._marks):
            return []
        return [
            (seq, raw)
            for seq, raw in enumerate(parse_frames(frames), first)
            if len(raw) <= MAX_ENTRY
            and any(mark in raw for mark in self._marks)
            and _kind_of(raw) in self.kinds
        ]


def _kind_of(raw: bytes) -> str:
    """Read an entry's kind; one that cannot be read has none, and is a matter of whoever delivers it."""
    try:
        return parse_entry(raw).kind
    except InputError:
        return ""


class Outbox:
    """Urgent entries that are to be told, the newest first; the oldest give way when there are too many."""

    def __init__(self) -> None:
        """Start with none."""
        self._waiting: dict[int, bytes] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._waiting)

    def add(self, found: Iterable[tuple[int, bytes]]) -> None:
        """Take in what was found; what gives way comes in its order all the same."""
        self._waiting.update(found)
        for seq in sorted(self._waiting)[:-_MAX_WAITING]:
            del self._waiting[seq]

    def forget(self, below: int) -> None:
        """Forget what comes in its order now."""
        self._waiting = {seq: raw for seq, raw in self._waiting.items() if seq >= below}

    def newest(self) -> list[tuple[int, bytes]]:
        """Give what one request may hold, newest first."""
        return sorted(self._waiting.items(), reverse=True)[:MAX_NOTICES]

    def settle(self, told: Told) -> None:
        """Be done with what the service has answered."""
        for seq in (*told.announced, *told.refused):
            self._waiting.pop(seq, None)


# ---- the service's end


class Judged(NamedTuple):
    """One notice that was looked at; it holds if there is no reason against it."""

    raw: bytes
    entry: Entry
    reason: str


class _Covering(NamedTuple):
    """A checkpoint that holds, and whether the record key signed it too, in place of signing entries."""

    checkpoint: Checkpoint
    is_by_record_key: bool


def origin_of(request: Request) -> str:
    """Read which log a request claims to be of; nothing is verified yet.

    Raises:
        InputError: its first entry cannot be read.
    """
    return parse_entry(request.notices[0].raw).log


def judge(log: AdmittedLog, settings: tuple[bytes, ...], request: Request) -> list[Judged]:
    """Say of each notice whether it holds, by what is known of the log so far.

    An entry holds by its own signature; an unsigned one by a checkpoint that all keys of the log signed and
    whose tree has it. Where the log has changed its keys in what is still to come, nothing can be said yet.

    Args:
        log: the admitted log.
        settings: of its head, as it is held.
        request: what came.

    Raises:
        InputError: an entry is malformed, or of another log.
    """
    history = history_at(log, settings)
    covering = _open(log, settings, request.note)
    found = []
    for raw, proof in request.notices:
        entry = parse_entry(raw)
        if entry.log != log.origin:
            raise InputError("notices", "log", entry.log, log.origin)
        reason = verify_entry(history.at(entry.seq).record, "record", entry) or ""
        if covering is not None and proof is not None and reason in {"", "unsigned"}:
            reason = _verify_covered(entry, proof, covering, reason)
        found.append(Judged(raw, entry, reason))
    return found


def _verify_covered(entry: Entry, proof: Sequence[bytes], covering: _Covering, reason: str) -> str:
    """Say what is against an entry whose place in a tree is shown."""
    checkpoint, is_by_record_key = covering
    try:
        verify_inclusion(entry.leaf_hash, entry.seq, checkpoint.size, proof, checkpoint.root)
    except InclusionError as fault:
        return fault.verdict
    return "" if is_by_record_key else reason


def _open(log: AdmittedLog, settings: tuple[bytes, ...], note: bytes) -> _Covering | None:
    """Open the checkpoint if the keys known so far signed it; None if there is none, or others did."""
    if not note:
        return None
    try:
        keys = history_at(log, settings).at(parse_checkpoint_text(parse_note(note).text).size)
        record = VerifierKey(log.origin, Algorithm.ECDSA, keys.record)
        checkpoint, opened = open_checkpoint(note, (*keys.checkpoint, record), keys.checkpoint)
    except TrustError:
        return None
    if checkpoint.origin != log.origin:
        return None
    return _Covering(checkpoint, any(line.key_id == record.id for line in opened.signatures))
