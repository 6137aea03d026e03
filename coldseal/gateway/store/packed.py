"""How entries lie in a packed segment: tiles of 256, without what a reader can work out, under zstd.

Promise: `unpack` gives back the frames that `pack` was given, byte for byte; what is not packed comes back as
it is. Most of `prev` is left out, because it is the hash of the entry before: in the first entry of a tile it
stays, so that each tile can be read alone. Opens no file.
"""

from __future__ import annotations

from typing import Final

import zstandard

from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import frame, parse_frames
from coldseal.errors import InputError
from coldseal.gateway.store.database import StoreDamagedError

TILE_ENTRIES: Final = 256
"""Entries in one tile; tiles begin where those of the tree do."""

TILE_BYTES: Final = 1 << 20
"""A tile of long entries ends before it holds more than this, and another goes on."""

PACKED: Final = "packed"
"""Name of the state that marks a packed segment."""

VERSION: Final = b"1"
"""Its value: the form that this page describes."""

_MARK: Final = b"\0\0"  # no frame begins so: an entry is never empty
_WHOLE, _CHAINED = b"\0", b"\1"
_CONTENT_AT: Final = 3
_LEVEL: Final = 3
_MAX_BYTES: Final = TILE_ENTRIES * 65_537
_NO_PREV: Final = b'"prev":""'


def pack(frames: bytes) -> bytes:
    """Pack the frames of consecutive entries.

    Raises:
        InputError: they are not whole.
    """
    shortened = _shorten(parse_frames(frames))
    is_exact = _lengthen(shortened) == frames
    how, content = (_CHAINED, shortened) if is_exact else (_WHOLE, frames)
    return b"".join((_MARK, how, zstandard.ZstdCompressor(level=_LEVEL).compress(content)))


def is_packed(blob: bytes) -> bool:
    """Whether a row of `groups` is a packed tile; else it is frames."""
    return blob.startswith(_MARK)


def unpack(blob: bytes) -> bytes:
    """Give the frames of a row of `groups`, packed or not.

    Raises:
        StoreDamagedError: it is neither.
    """
    if not is_packed(blob):
        return blob
    how, content = blob[len(_MARK) : _CONTENT_AT], blob[_CONTENT_AT:]
    try:
        if zstandard.frame_content_size(content) > _MAX_BYTES:
            raise StoreDamagedError("a packed tile", "it is longer than a tile can be")
        found = zstandard.ZstdDecompressor().decompress(content)
        if how == _WHOLE:
            return found
        if how == _CHAINED:
            return _lengthen(found)
    except (zstandard.ZstdError, InputError) as error:
        raise StoreDamagedError("a packed tile", str(error)) from error
    raise StoreDamagedError("a packed tile", f"it is packed in a way {how.hex()} that is not known here")


def _shorten(entries: list[bytes]) -> bytes:
    """Frame entries, each but the first without its `prev` where that is the hash of the one before."""
    parts, before = [], b""
    for raw in entries:
        prev = b'"prev":"%b"' % leaf_hash(before).hex().encode() if before else b""
        parts.append(raw.replace(prev, _NO_PREV, 1) if prev else raw)
        before = raw
    return frame(parts)


def _lengthen(frames: bytes) -> bytes:
    """Undo it."""
    entries, before = [], b""
    for short in parse_frames(frames):
        raw = short
        if before:
            raw = short.replace(_NO_PREV, b'"prev":"%b"' % leaf_hash(before).hex().encode(), 1)
        entries.append(raw)
        before = raw
    return frame(entries)
