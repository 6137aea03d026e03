"""The proof of one entry as one text (C2SP tlog-proof): the entry, the way to the root, the signed root.

The entry itself is what the format calls extra data, so the file needs nothing beside it. Verifies nothing:
`merkle.verify_inclusion` and `checkpoint.open_checkpoint` do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.canonical import MAX_INTEGER, encode_base64, parse_base64
from coldseal.core.log.merkle import HASH_SIZE
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHERE: Final = "proof"
_MAGIC: Final = "c2sp.org/tlog-proof@v1"
_MOST_HASHES: Final = 64
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,15})")


class Proof(NamedTuple):
    """A proof as it was read.

    Attributes:
        seq: the entry's place.
        hashes: the inclusion proof, from the leaf's sibling upwards.
        note: the signed checkpoint.
        extra: the entry; empty where somebody else made the proof.
    """

    seq: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes


def encode_proof(seq: int, hashes: Sequence[bytes], note: bytes, extra: bytes = b"") -> bytes:
    """Write a proof; arguments as in `Proof`."""
    lines = [_MAGIC, *([f"extra {encode_base64(extra)}"] if extra else []), f"index {seq}"]
    lines += map(encode_base64, hashes)
    return "\n".join([*lines, "", ""]).encode() + note


def parse_proof(data: bytes) -> Proof:
    """Read a proof.

    Raises:
        InputError: it is malformed; the note in it is not looked at.
    """
    head, _, note = data.partition(b"\n\n")
    try:
        magic, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(_WHERE, f"byte {error.start}", data[error.start : error.end], "ASCII") from error
    if magic != _MAGIC:
        raise InputError(_WHERE, "first line", magic, _MAGIC)
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = parse_base64(lines.pop(0).removeprefix("extra "), where=_WHERE, field="extra")
    found = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if found is None or int(found[1]) > MAX_INTEGER:
        raise InputError(_WHERE, "index", head[:100], "index and a number")
    hashes = tuple(parse_base64(line, where=_WHERE, field="hash") for line in lines)
    if len(hashes) > _MOST_HASHES or any(len(each) != HASH_SIZE for each in hashes):
        raise InputError(_WHERE, "hashes", len(hashes), f"at most {_MOST_HASHES}, of {HASH_SIZE} bytes each")
    return Proof(int(found[1]), hashes, note, extra)
