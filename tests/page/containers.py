"""Containers that are no whole bundle: each function changes the bytes of an honest one."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

from tests.page.builder import zipped

_START = slice(-6, -2)
"""Where a ZIP says at which byte its directory begins."""
_ITEM_SIZE = 46
_ITEM_OFFSET = 42
"""Where an item of the directory says at which byte its file begins; and its length, without its name."""


def moved(bundle: bytes) -> bytes:
    """Put a byte before everything, and count it in wherever a place is named."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        infos = archive.infolist()
    start = int.from_bytes(bundle[_START], "little")
    directory, place = bytearray(bundle[start:]), 0
    for info in infos:
        struct.pack_into("<I", directory, place + _ITEM_OFFSET, info.header_offset + 1)
        place += _ITEM_SIZE + len(info.filename.encode())
    directory[_START] = (start + 1).to_bytes(4, "little")
    return b"x" + bundle[:start] + bytes(directory)


def _renamed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Exchange a name in the ZIP for another of its length."""
    assert len(old) == len(new)
    return lambda bundle: bundle.replace(old, new)


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "no ZIP": lambda _: b"this is a letter, not a bundle" * 10,
    "cut": lambda bundle: bundle[:-30],
    "bytes behind": lambda bundle: bundle + b"x",
    "bytes before": lambda bundle: b"x" + bundle,
    "bytes before that the directory counts": moved,
    "a comment": lambda bundle: bundle[:-2] + b"\x01\x00x",
    "a comment that is a ZIP's end": lambda bundle: bundle[:-2] + b"\x16\x00" + bundle[-22:],
    "no manifest": lambda _: zipped({"READ-ME.txt": b"x"}),
    "a file twice": _renamed(b"checkpoints/000001", b"checkpoints/000002"),
    "a name that climbs": _renamed(b"checkpoints/000001", b"../../../etc/hosts"),
    "an absolute name": _renamed(b"checkpoints/000001", b"/heckpoints/000001"),
    "a CRC that does not fit": _renamed(b"How to check this file", b"How to wreck this file"),
    "a folder": lambda _: zipped({"keys/": b"", "manifest.json": b"{}"}),
    "an old format": lambda _: zipped({"manifest.json": b'{"format":1}'}),
}
