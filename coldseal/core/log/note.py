"""Signed notes (C2SP signed-note): a text, an empty line, and the lines that sign it.

Promises that a note which is read is written back byte for byte. Stricter than C2SP: 16 lines
at most, one for each key, no control character. Verifies nothing: see `verifier`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.errors import InputError

MAX_NOTE = 65_535
"""Bytes of a note; its length travels as a uint16."""

MAX_SIGNATURES = 16
KEY_ID_SIZE = 4

_DASH = "\N{EM DASH} "
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
_KEY_NAME = re.compile(r"[^\s+]{1,255}")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: who claims to have signed, with which key, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be written and read back."""
        if not is_key_name(self.name):
            raise InputError("note", "key name", self.name, "1 to 255 characters without space or plus")
        if len(self.key_id) != KEY_ID_SIZE:
            raise InputError("note", "key id", self.key_id, f"{KEY_ID_SIZE} bytes")
        if not self.signature:
            raise InputError("note", "signature", self.signature, "at least one byte")

    def encode(self) -> str:
        """Give the line, with its line feed."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the lines that sign it."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """Give the bytes of the whole note."""
        return self.text + b"\n" + "".join(line.encode() for line in self.signatures).encode()


def parse_note(data: bytes) -> Note:
    """Read a signed note; nothing is verified yet.

    Raises:
        InputError: too long, not UTF-8, a control character, no or more than 16 signature
            lines, a malformed line, or two lines of one key.
    """
    if len(data) > MAX_NOTE:
        raise InputError("note", "length", len(data), f"at most {MAX_NOTE} bytes")
    control = _CONTROL.search(data)
    if control is not None:
        raise InputError("note", f"byte {control.start()}", control[0], "no control character but line feeds")
    head, blank, tail = data.rpartition(b"\n\n")
    if not blank or not tail.endswith(b"\n"):
        raise InputError("note", "form", data[-64:], "a text, an empty line and signature lines")
    text = head + b"\n"
    try:
        text.decode("utf-8")
        lines = tail.decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as fault:
        raise InputError("note", "text", fault.object[fault.start : fault.end], "UTF-8") from None
    if len(lines) > MAX_SIGNATURES:
        raise InputError("note", "signatures", len(lines), f"at most {MAX_SIGNATURES}")
    signatures = tuple(_parse_line(line) for line in lines)
    if len({(line.name, line.key_id) for line in signatures}) != len(signatures):
        raise InputError("note", "signatures", [line.name for line in signatures], "one line for each key")
    return Note(text, signatures)


def add_signature(note: bytes, line: NoteSignature) -> bytes:
    """Give the note with one more line at its end; an older line of the same key goes.

    Raises:
        InputError: the note is malformed, or there would be more than 16 lines.
    """
    found = parse_note(note)
    others = tuple(s for s in found.signatures if (s.name, s.key_id) != (line.name, line.key_id))
    return parse_note(Note(found.text, (*others, line)).encode()).encode()


def is_key_name(text: str) -> bool:
    """Whether ``text`` may name a key: not empty, no space, no plus, no control character, UTF-8."""
    if _KEY_NAME.fullmatch(text) is None:
        return False
    try:
        return _CONTROL.search(text.encode()) is None
    except UnicodeEncodeError:
        return False


def _parse_line(text: str) -> NoteSignature:
    """Read one signature line, without its line feed."""
    name, space, encoded = text.removeprefix(_DASH).partition(" ")
    if not text.startswith(_DASH) or not space:
        raise InputError("note", "signature line", text, "em dash, space, key name, space, base64")
    data = parse_base64(encoded, where="note", field="signature")
    return NoteSignature(name, data[:KEY_ID_SIZE], data[KEY_ID_SIZE:])
