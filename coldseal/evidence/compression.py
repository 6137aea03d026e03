"""A bundle as one compressed file (zstd), as archives keep it: the ordinary `zstd` program opens it too.

Promise: what is packed is on disk when `pack` returns, and what is unpacked is whole or refused; a small file
cannot fill the disk. Needs the package zstandard only where a file is compressed. Judges no bundle.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Final

from coldseal.errors import OperatorError
from coldseal.evidence.reader import DamagedBundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX: Final = ".zst"
"""What the name of a compressed bundle ends with; it is the content that decides."""

PREFIX: Final = ".coldseal-"
"""What the name of an unpacked copy begins with: one that a crash has left may go."""

LEVEL: Final = 6
"""Level of compression: more of it takes ever more time, for less and less."""

MAX_RATIO: Final = 64
"""An unpacked bundle is at most so many times as long; signed entries shrink to a fourth."""

MIN_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that any file may be unpacked to."""

_MAGIC: Final = b"\x28\xb5\x2f\xfd"  # RFC 8878 3.1.1
_PART: Final = 1 << 20
_STEP: Final = 1024  # bytes that are unpacked at once: at worst they are 32 MiB
_WINDOW: Final = 1 << 27


def pack(source: Path, target: Path, *, level: int = LEVEL) -> bytes:
    """Write a file compressed, as a new one, and give the SHA-256 of what was written; durable on return.

    Raises:
        OperatorError: the package zstandard is not there.
        OSError: it cannot be written, or has that name already.
    """
    packing = _zstandard().ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    digest = hashlib.sha256()
    with source.open("rb") as plain, target.open("xb") as packed:
        for part in packing.read_to_iter(plain, size=source.stat().st_size, read_size=_PART):
            digest.update(part)
            packed.write(part)
        packed.flush()
        os.fsync(packed.fileno())
        os.posix_fadvise(packed.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that reading it back is reading
    return digest.digest()


@contextmanager
def unpacked(path: Path, *, folder: Path | None = None) -> Iterator[Path]:
    """Give a bundle as a plain file: itself, or an unpacked copy that goes with the block.

    Args:
        path: the bundle, compressed or not.
        folder: where the copy lies; None for the system's folder of such files.

    Raises:
        OperatorError: there is no such file, it cannot be unpacked here, or zstandard is not there.
        DamagedBundleError: it is compressed, but not whole, or longer than any bundle of its size.
    """
    with ExitStack() as stack:
        try:
            packed = stack.enter_context(path.open("rb"))
            is_packed = packed.read(len(_MAGIC)) == _MAGIC
            if is_packed:
                packed.seek(0)
                plain = stack.enter_context(tempfile.NamedTemporaryFile(prefix=PREFIX, dir=folder))
                _unpack(path, packed, plain)
                plain.flush()
                path = Path(plain.name)
        except OSError as error:
            raise OperatorError(f"{path} cannot be read: {error.strerror}", "Name a bundle") from error
        yield path


def _unpack(path: Path, packed: IO[bytes], plain: IO[bytes]) -> None:
    """Copy what is in a compressed file, within its limit; its end and its checksum must be there."""
    library = _zstandard()
    room = max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)
    one = library.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    try:
        while not one.eof and (part := packed.read(_STEP)):
            out = one.decompress(part)
            room -= len(out)
            if room < 0:
                raise DamagedBundleError(f"{path} unpacks to more than {MAX_RATIO} times its length")
            plain.write(out)
    except library.ZstdError as error:
        raise DamagedBundleError(f"{path} cannot be unpacked: {error}") from error
    if not one.eof:
        raise DamagedBundleError(f"{path} is cut")
    if one.unused_data or packed.read(1):
        raise DamagedBundleError(f"{path} has something behind its compressed part")


def _zstandard() -> ModuleType:
    """Give the package, or say how to do without it."""
    try:
        import zstandard  # noqa: PLC0415 # a bare installation verifies without it
    except ModuleNotFoundError as error:
        hint = "Install it with: pip install 'coldseal[gateway]', or unpack the bundle with: zstd -d FILE"
        raise OperatorError("a compressed bundle needs the package zstandard", hint) from error
    return zstandard
