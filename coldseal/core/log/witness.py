"""What a log posts to a witness, how a witness judges it, and what it answers (C2SP tlog-witness).

Promises that a checkpoint which `judge` lets through is signed by every key of its log and proven to
extend what was cosigned last. Stricter than C2SP: every known key must have signed, and a checkpoint has
no extension line. Signs nothing, keeps nothing; the log's end is `cosigning`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.canonical import MAX_INTEGER, encode_base64, parse_base64
from coldseal.core.log.checkpoint import (
    MAX_NOTE,
    Checkpoint,
    CheckpointSignatureError,
    MissingSignatureError,
    Note,
    NoteSignature,
    VerifierKey,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from coldseal.errors import ColdsealError, InputError, TrustError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_PROOF: Final = 63
"""Hashes in a consistency proof at most (C2SP tlog-witness)."""

MAX_REQUEST: Final = len("old 9007199254740991\n") + MAX_PROOF * len("=" * 44 + "\n") + 1 + MAX_NOTE
"""Bytes of the longest request."""

SIZE_TYPE: Final = "text/x.tlog.size"
"""Media type of a 409: the size that is held."""

TEXT_TYPE: Final = "text/plain; charset=utf-8"
"""Media type of every other answer."""

_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,15})")
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,15})\n")
_WHERE: Final = "add-checkpoint"


class UnknownOriginError(InputError):
    """The checkpoint is of a log that this witness does not know."""

    def __init__(self, origin: str) -> None:
        """Keep the origin."""
        super().__init__(_WHERE, "origin", origin, "a log that this witness knows")


class StaleSizeError(ColdsealError):
    """The proof does not start at the size that was cosigned last; the log's end must begin there."""

    def __init__(self, held: int) -> None:
        """Keep the size that was cosigned last."""
        self.held = held
        super().__init__(f"the checkpoint cosigned last has size {held}")


class TwoRootsError(TrustError):
    """Two histories of one log: it signs another root at a size for which one is known."""

    verdict = "fork"

    def __init__(self, size: int, known: bytes, found: bytes, held: int) -> None:
        """Keep the size, both roots, and the size that was cosigned last."""
        self.size = size
        self.known = known
        self.found = found
        self.held = held
        super().__init__(f"at size {size} the root known is {known.hex()}, the log now signs {found.hex()}")


@dataclass(frozen=True, slots=True)
class Request:
    """A checkpoint to be cosigned, and the proof that it extends an older one.

    Attributes:
        old: size of the older checkpoint; 0 if there is none.
        proof: consistency proof from ``old`` to the checkpoint.
        note: the signed checkpoint; nothing of it is verified yet.
        checkpoint: what the note says.
    """

    old: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What a witness has cosigned of one log last.

    Attributes:
        size: tree size.
        root: root hash at that size.
        note: the checkpoint with the lines of the log's keys; empty if there is none.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    note: bytes = b""


class Answer(NamedTuple):
    """What goes back over HTTP."""

    status: HTTPStatus
    media_type: str
    body: bytes


def encode_request(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Write the body of a request.

    Raises:
        InputError: more than 63 hashes.
    """
    if len(proof) > MAX_PROOF:
        raise InputError(_WHERE, "proof", len(proof), f"at most {MAX_PROOF} hashes")
    lines = "".join(f"{encode_base64(found)}\n" for found in proof)
    return f"old {old}\n{lines}\n".encode() + note


def parse_request(body: bytes) -> Request:
    """Read the body of a request; no signature and no proof is verified yet.

    Raises:
        InputError: it is not exactly the one form, or the old size is beyond the checkpoint's.
    """
    head, blank, note = body.partition(b"\n\n")
    if not blank or len(body) > MAX_REQUEST:
        raise InputError(_WHERE, "form", body[:64], "an old size, a proof, an empty line and a checkpoint")
    first, *lines = head.split(b"\n")
    found = _OLD.fullmatch(first)
    if found is None or int(found[1]) > MAX_INTEGER:
        raise InputError(_WHERE, "old size", first, "old, a space and a size without leading zero")
    if len(lines) > MAX_PROOF:
        raise InputError(_WHERE, "proof", len(lines), f"at most {MAX_PROOF} hashes")
    proof = tuple(_parse_hash(line) for line in lines)
    signed = parse_note(note)
    checkpoint = parse_checkpoint_text(signed.text)
    old = int(found[1])
    if old > checkpoint.size:
        raise InputError(_WHERE, "old size", old, f"at most the checkpoint's size {checkpoint.size}")
    return Request(old, proof, signed, checkpoint)


def verify_signed(request: Request, keys: Iterable[VerifierKey]) -> bytes:
    """Check the checkpoint with the log's keys; lines of other keys are ignored.

    Args:
        request: what came.
        keys: the log's current checkpoint keys; all of them must have signed.

    Returns:
        The checkpoint as a note that carries the lines of these keys alone.

    Raises:
        CheckpointSignatureError: a line is missing or does not verify.
    """
    there = {(line.name, line.key_id): line for line in request.note.signatures}
    lines = []
    for key in keys:
        line = there.get((key.name, key.id))
        if line is None:
            raise MissingSignatureError(key.name, key.id, "a key of this log has not signed")
        key.verify(request.note.text, line)
        lines.append(line)
    if not lines:
        raise MissingSignatureError("", b"", "no key of this log is known")
    return Note(request.note.text, tuple(lines)).encode()


def judge(
    request: Request, held: Cosigned, keys: Iterable[VerifierKey], *, known: bytes | None = None
) -> Cosigned:
    """Decide whether a witness may cosign; what comes back is to be durable before the cosignature leaves.

    Args:
        request: what came.
        held: what was cosigned last of this log.
        keys: the log's current checkpoint keys.
        known: the root at the checkpoint's size, if it is known from somewhere else than ``held``.

    Raises:
        CheckpointSignatureError: a key of the log has not signed.
        TwoRootsError: the log signs two roots of one size.
        StaleSizeError: the proof starts elsewhere.
        ConsistencyError: the proof does not hold.
    """
    note, checkpoint = verify_signed(request, keys), request.checkpoint
    if checkpoint.size == held.size:
        known = held.root
    if known is not None and known != checkpoint.root:
        raise TwoRootsError(checkpoint.size, known, checkpoint.root, held.size)
    if request.old != held.size:
        raise StaleSizeError(held.size)
    verify_consistency(held.size, held.root, checkpoint.size, checkpoint.root, request.proof)
    return Cosigned(checkpoint.size, checkpoint.root, note)


def answer_cosigned(lines: Iterable[NoteSignature]) -> Answer:
    """Give the answer that carries cosignatures."""
    return Answer(HTTPStatus.OK, TEXT_TYPE, "".join(line.encode() for line in lines).encode())


def answer_fault(fault: InputError | StaleSizeError | TrustError | UnavailableError) -> Answer:
    """Give the answer that the protocol has for a fault; what is not said there is for people."""
    match fault:
        case StaleSizeError() | TwoRootsError():
            return Answer(HTTPStatus.CONFLICT, SIZE_TYPE, b"%d\n" % fault.held)
        case UnknownOriginError():
            status = HTTPStatus.NOT_FOUND
        case CheckpointSignatureError():
            status = HTTPStatus.FORBIDDEN
        case InputError():
            status = HTTPStatus.BAD_REQUEST
        case UnavailableError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
    return Answer(status, TEXT_TYPE, f"{fault}\n".encode("utf-8", "replace"))


def parse_size(body: bytes) -> int:
    """Read the body of a 409.

    Raises:
        InputError: it is no size and line feed.
    """
    found = _SIZE.fullmatch(body)
    if found is None or int(found[1]) > MAX_INTEGER:
        raise InputError("witness", "held size", body[:64], "a size without leading zero, and a line feed")
    return int(found[1])


def _parse_hash(line: bytes) -> bytes:
    """Read one line of a proof."""
    found = parse_base64(line.decode("latin-1"), where=_WHERE, field="proof")
    if len(found) != HASH_SIZE:
        raise InputError(_WHERE, "proof", line, f"{HASH_SIZE} bytes in base64")
    return found
