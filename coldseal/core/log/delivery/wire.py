"""What gateway and service say to each other, as bytes: batch up, answer down (``docs/specs/delivery.md``).

Every parser here is strict and raises `InputError`; nothing here decides what follows from what
was said (`sender`, `receiver`), looks into a checkpoint note, or touches a network.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    CheckpointSignatureError,
    MissingSignatureError,
    UnknownKeyError,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.record import parse_frames
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_TYPE = "application/vnd.coldseal.batch"
"""Media type of a batch."""

ANSWER_TYPE = "application/json"
"""Media type of every answer; the JSON is canonical (RFC 8785)."""

MAX_ANSWER = 65_536
"""Bytes in the longest answer; a sender reads no further."""

MAX_REFUTED = 100
"""Refuted seqs named in one answer: the newest ones."""

_SIGNATURE_VERDICTS = frozenset(
    kind.verdict for kind in (CheckpointSignatureError, MissingSignatureError, UnknownKeyError)
)
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_DELAY = re.compile(r"[0-9]{1,9}")  # RFC 9110 10.2.3, in seconds
_NOTE_LENGTH = struct.Struct(">H")
_FIRST = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries ``first`` up to the size of the checkpoint ``note``, which covers them.

    Attributes:
        note: the checkpoint, a signed note.
        first: seq of the first entry.
        entries: the entries' bytes as they were sealed; may be empty.
        frames: the same, framed.
    """

    note: bytes
    first: int
    entries: Sequence[bytes]
    frames: bytes


def encode_batch(note: bytes, first: int, frames: bytes) -> bytes:
    """Lay a batch out for the wire: note length, note, first seq, framed entries."""
    return b"".join((_NOTE_LENGTH.pack(len(note)), note, _FIRST.pack(first), frames))


def parse_batch(body: bytes) -> Batch:
    """Take a batch apart without looking into note or entries.

    Raises:
        InputError: the body is cut, or an entry's frame is.
    """
    if len(body) < _NOTE_LENGTH.size:
        raise InputError("batch", "note length", len(body), "two bytes")
    (length,) = _NOTE_LENGTH.unpack_from(body)
    start = _NOTE_LENGTH.size + length
    end = start + _FIRST.size
    if len(body) < end:
        raise InputError("batch", "note and first seq", len(body), f"at least {end} bytes")
    (first,) = _FIRST.unpack_from(body, start)
    frames = body[end:]
    return Batch(body[_NOTE_LENGTH.size : start], first, parse_frames(frames), frames)


def origin_of(batch: Batch) -> str:
    """Read which log a batch claims to be of; nothing is verified yet.

    Raises:
        InputError: its note is no checkpoint.
    """
    return parse_checkpoint_text(parse_note(batch.note).text).origin


@dataclass(frozen=True, slots=True)
class Receipt:
    """The service's signed answer: entries below ``size`` are delivered.

    Attributes:
        note: the batch's checkpoint with the service's cosignature added.
        size: tree size of that checkpoint.
        signatures_verified: every entry below was checked against its own signature.
        refuted: newest seqs whose own signature or form failed; stored all the same.
    """

    note: bytes
    size: int
    signatures_verified: int
    refuted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """The service is further on, at ``size``, and cannot answer for this older checkpoint."""

    size: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The service has only ``size`` entries; the batch began behind them."""

    size: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A proof failed at the service: sending the same again is pointless."""

    verdict: str
    detail: str


class Kind(StrEnum):
    """Why nothing usable came back; the values of a metric's label."""

    UNREACHABLE = "unreachable"
    """No connection, or it was cut."""
    TIMEOUT = "timeout"
    """No answer in time."""
    BUSY = "busy"
    """The service cannot take the batch now."""
    REFUSED = "refused"
    """The service will not take it, or its answer makes no sense."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing usable came back: service down, slow, overloaded, or not (yet) willing.

    Attributes:
        kind: for a metric.
        cause: for people.
        after_s: the service asks to be left alone for so long, in seconds; 0 if it asks for nothing.
    """

    kind: Kind
    cause: str
    after_s: int = 0


Answer = Receipt | Stale | Gap | Refused | Unavailable


def encode_receipt(receipt: Receipt) -> bytes:
    """Write the body of a 200 answer."""
    return canonical.encode(
        {
            "receipt": receipt.note.decode("utf-8"),
            "refuted": list(receipt.refuted),
            "signatures_verified": receipt.signatures_verified,
            "size": receipt.size,
        }
    )


def encode_refusal(error: str, *, detail: str = "", size: int | None = None) -> bytes:
    """Write the body of every answer that is no receipt; ``size`` goes with stale and gap."""
    body: dict[str, canonical.Value] = {"detail": detail, "error": error}
    if size is not None:
        body["size"] = size
    return canonical.encode(body)


def parse_answer(status: int, body: bytes, retry_after: str = "") -> Answer:
    """Read the service's answer.

    Args:
        status: of HTTP.
        body: canonical JSON.
        retry_after: the header of that name; its form with a date is not ours and counts for nothing.

    Returns:
        The answer; whatever is neither receipt, size nor verdict is `Unavailable`.

    Raises:
        InputError: a 200 that is no well-formed receipt, or a 409 without a size.
    """
    if status == HTTPStatus.OK:
        return _parse_receipt(canonical.parse(body, where="receipt"))
    if status == HTTPStatus.CONFLICT:
        return _parse_conflict(canonical.parse(body, where="answer"))
    after_s = int(retry_after) if _DELAY.fullmatch(retry_after) else 0
    try:
        answer = canonical.parse(body, where="answer")
    except InputError:
        return Unavailable(_kind(status), f"status {status}", after_s)
    error, detail = answer.get("error"), answer.get("detail", "")
    if not isinstance(error, str) or not isinstance(detail, str):
        return Unavailable(_kind(status), f"status {status}", after_s)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY or error in _SIGNATURE_VERDICTS:
        return Refused(error, detail)
    return Unavailable(_kind(status), f"status {status}: {error} {detail}".rstrip(), after_s)


def _kind(status: int) -> Kind:
    """Tell "not now" from "not this"."""
    is_later = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER
    return Kind.BUSY if is_later else Kind.REFUSED


def _parse_receipt(answer: dict[str, canonical.Value]) -> Receipt:
    """Check every field of a 200 answer."""
    note, refuted = answer.get("receipt"), answer.get("refuted")
    if not isinstance(note, str):
        raise InputError("receipt", "receipt", note, "a signed note")
    if not isinstance(refuted, list) or len(refuted) > MAX_REFUTED:
        raise InputError("receipt", "refuted", refuted, f"a list of at most {MAX_REFUTED} seqs")
    return Receipt(
        note.encode("utf-8"),
        _size(answer, "size"),
        _size(answer, "signatures_verified"),
        tuple(_whole("refuted", seq) for seq in refuted),
    )


def _parse_conflict(answer: dict[str, canonical.Value]) -> Answer:
    """Tell the two kinds of 409 apart."""
    error = answer.get("error")
    if error == "stale":
        return Stale(_size(answer, "size"))
    if error == "gap":
        return Gap(_size(answer, "size"))
    raise InputError("answer", "error", error, "stale or gap")


def _size(answer: dict[str, canonical.Value], field: str) -> int:
    """Take a tree size out of an answer."""
    return _whole(field, answer.get(field))


def _whole(field: str, value: canonical.Value) -> int:
    """Insist on a whole number from zero."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError("answer", field, value, "a whole number from 0")
    return value
