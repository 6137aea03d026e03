"""Signed checkpoints (C2SP tlog-checkpoint): origin, size and root of a log, and who signed them.

Promises that a checkpoint which comes out of `open_checkpoint` carries every signature asked
for and none that fails. Stricter than C2SP: no extension line, and an unknown key under a
known name is a fault. The parts of a note and its keys are to be had here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldseal.core.log.canonical import MAX_INTEGER, encode_base64, parse_base64
from coldseal.core.log.merkle import HASH_SIZE
from coldseal.core.log.note import MAX_NOTE, MAX_SIGNATURES, Note, NoteSignature, add_signature, parse_note
from coldseal.core.log.verifier import (
    Algorithm,
    CheckpointSignatureError,
    MissingSignatureError,
    UnknownKeyError,
    VerifierKey,
    cosignature_message,
    encode_cosignature,
    parse_cosignature,
    parse_vkey,
)
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = [
    "MAX_NOTE",
    "MAX_SIGNATURES",
    "ORIGIN",
    "ORIGIN_EXPECTED",
    "Algorithm",
    "Checkpoint",
    "CheckpointSignatureError",
    "MissingSignatureError",
    "Note",
    "NoteSignature",
    "UnknownKeyError",
    "VerifierKey",
    "add_signature",
    "checkpoint_note",
    "cosignature_message",
    "cosigned_at",
    "encode_cosignature",
    "open_checkpoint",
    "parse_checkpoint_text",
    "parse_cosignature",
    "parse_note",
    "parse_vkey",
]

ORIGIN = re.compile(r"[!#-*,-\[\]-~]{1,255}")
"""What may name a log: visible ASCII that neither JSON nor a note must escape."""

ORIGIN_EXPECTED = "1 to 255 visible ASCII characters without space, plus, quote and backslash"

_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: its origin, how many entries it has, and the root hash over them."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be written and read back."""
        if ORIGIN.fullmatch(self.origin) is None:
            raise InputError("checkpoint", "origin", self.origin, ORIGIN_EXPECTED)
        if not 0 <= self.size <= MAX_INTEGER:
            raise InputError("checkpoint", "size", self.size, f"0 to {MAX_INTEGER}")
        if len(self.root) != HASH_SIZE:
            raise InputError("checkpoint", "root", self.root, f"{HASH_SIZE} bytes")

    def text(self) -> bytes:
        """Give the note text that is signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n".encode()


def parse_checkpoint_text(text: bytes) -> Checkpoint:
    """Read the three lines of a checkpoint.

    Raises:
        InputError: not exactly origin, size and root, each in its one form.
    """
    try:
        lines = text.decode("ascii").split("\n")
    except UnicodeDecodeError as fault:
        raise InputError(
            "checkpoint", f"byte {fault.start}", text[fault.start : fault.end], "ASCII"
        ) from None
    if len(lines) != len(("origin", "size", "root", "")) or lines[3]:
        raise InputError("checkpoint", "lines", lines[3:], "exactly three lines; no extension line")
    origin, size, root, _ = lines
    if _SIZE.fullmatch(size) is None:
        raise InputError("checkpoint", "size", size, "a decimal number without leading zero")
    return Checkpoint(origin, int(size), parse_base64(root, where="checkpoint", field="root"))


def open_checkpoint(
    data: bytes, keys: Sequence[VerifierKey], need: Collection[VerifierKey] | None = None
) -> tuple[Checkpoint, Note]:
    """Read a signed checkpoint and check it with the keys known beforehand.

    Lines of names that no key bears are ignored. The caller compares the origin with the one
    it expects.

    Args:
        data: the whole note.
        keys: every key that may be met; the line of each that has signed must verify.
        need: the keys that must have signed; None means all of ``keys``.

    Raises:
        InputError: the note or the checkpoint is malformed.
        CheckpointSignatureError: a known key's line does not verify; as `UnknownKeyError` a
            known name with an unknown key id; as `MissingSignatureError` a required line, or
            any line of a known key, is missing.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint_text(note.text)
    known = {(key.name, key.id): key for key in keys}
    names = {key.name for key in keys}
    signed: set[VerifierKey] = set()
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is not None:
            key.verify(note.text, line)
            signed.add(key)
        elif line.name in names:
            raise UnknownKeyError(line.name, line.key_id, "the name is known, the key is not")
    for key in keys if need is None else need:
        if key not in signed:
            raise MissingSignatureError(key.name, key.id, "a required key has not signed")
    if not signed:
        raise MissingSignatureError("", b"", "no known key has signed")
    return checkpoint, note


def checkpoint_note(checkpoint: Checkpoint, lines: Iterable[NoteSignature]) -> bytes:
    """Give the note of a checkpoint with its signature lines.

    Raises:
        InputError: no line, more than 16, or two of one key.
    """
    return parse_note(Note(checkpoint.text(), tuple(lines)).encode()).encode()


def cosigned_at(note: Note, key: VerifierKey) -> int:
    """Give the time, in seconds since 1970, that ``key`` states in its line, which must verify.

    Raises:
        InputError: ``key`` is no cosignature key.
        MissingSignatureError: it has not signed.
        CheckpointSignatureError: its line does not verify.
    """
    if key.algorithm != Algorithm.COSIGNATURE:
        raise InputError("cosignature", "key", key.encode(), f"algorithm {Algorithm.COSIGNATURE.value}")
    for line in note.signatures:
        if (line.name, line.key_id) == (key.name, key.id):
            key.verify(note.text, line)
            return parse_cosignature(line.signature)[0]
    raise MissingSignatureError(key.name, key.id, "this witness has not signed")
