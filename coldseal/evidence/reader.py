"""Opens a bundle: every file against its sum, and what the manifest says of the rest.

Promise: nothing is given out of a bundle that is not complete and undamaged, as far as its own manifest can
tell. Whether it is true is not decided here. A bundle may come from an enemy: everything has a limit.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, NoReturn

from coldseal.core.log import canonical
from coldseal.core.log.layout import Layout, gaps, subtrees
from coldseal.core.log.merkle import HASH_SIZE
from coldseal.core.log.record import MAX_ENTRY
from coldseal.errors import InputError, OperatorError, TrustError
from coldseal.evidence.files import (
    CHECKPOINTS,
    LOOSE,
    MANIFEST,
    PROOF,
    TABLE,
    EntryFile,
    entry_files,
    is_known,
)
from coldseal.evidence.policies import parse_policy
from coldseal.evidence.writer import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coldseal.core.log.evidence import Policy
    from coldseal.core.log.layout import Run

MAX_MANIFEST: Final = 256 * 1024 * 1024
MAX_ENTRIES: Final = LOOSE * (2 + MAX_ENTRY)
MAX_FILE: Final = 16 * 1024 * 1024
_HEADER: Final = struct.Struct("<4s22xHH")
"""Of a file in a ZIP: what it begins with, and the lengths of its name and of what follows that."""
_MAGIC: Final = b"PK\x03\x04"
_READ_BYTES: Final = 1 << 20
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1
_END: Final = struct.Struct("<4s16xH")
"""What a ZIP ends with, and the length of a comment."""
_END_MAGIC: Final = b"PK\x05\x06"
_UNREADABLE: Final = (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, ValueError, OSError)


class DamagedBundleError(TrustError):
    """The file is no bundle, or not all of it as it was written."""

    verdict = "bundle-damaged"

    def __init__(self, why: str) -> None:
        """Keep the reason."""
        self.why = why
        super().__init__(f"the bundle is damaged: {why}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says of itself.

    Attributes:
        path: the file.
        policy: the keys that the bundle itself names; trust them only as far as its bearer.
        layout: which entries it holds, and the proof for the others.
        files: of entries, in order.
        notes: signed checkpoints.
        sums: SHA-256 of every file but the manifest, hex.
    """

    path: Path
    policy: Policy
    layout: Layout
    files: tuple[EntryFile, ...]
    notes: tuple[bytes, ...]
    sums: Mapping[str, str]


class Archive:
    """The open ZIP; never shared between processes, for they would share its place in the file."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OperatorError: there is no such file.
            DamagedBundleError: it is no ZIP.
        """
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise OperatorError(f"{path} cannot be read: {error.strerror}", "Name a bundle") from error
        try:
            self._zip = zipfile.ZipFile(self._file)
        except _UNREADABLE as error:
            self._file.close()
            raise DamagedBundleError(f"{path} is no ZIP file: {error}") from error
        if not self._is_all():
            self.close()
            raise DamagedBundleError(f"{path} has something before or behind the ZIP, or a comment")

    def _is_all(self) -> bool:
        """Whether the file is the ZIP and nothing else, from its first byte to its last."""
        handle = self._file.fileno()
        end = os.pread(handle, _END.size, max(0, os.fstat(handle).st_size - _END.size))
        begin = min((info.header_offset for info in self._zip.infolist()), default=0)
        return _END.unpack(end) == (_END_MAGIC, 0) and begin == 0

    def close(self) -> None:
        """Close it."""
        self._zip.close()
        self._file.close()

    def names(self) -> list[str]:
        """Give the names of all files."""
        return self._zip.namelist()

    def open(self, name: str) -> IO[bytes]:
        """Open one of the files; whoever reads it minds how much.

        Raises:
            DamagedBundleError: it is not there, or packed in a way that bundles do not use.
        """
        try:
            info = self._zip.getinfo(name)
            if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
                raise DamagedBundleError(f"{name} is encrypted, or packed in an unknown way")
            return self._zip.open(info)
        except KeyError as error:
            raise DamagedBundleError(f"{name} is missing") from error
        except _UNREADABLE as error:
            raise DamagedBundleError(f"{name}: {error}") from error

    def read(self, name: str, limit: int = MAX_FILE, sum_: str = "") -> bytes:
        """Read a file.

        Args:
            name: of the file.
            limit: bytes that it may have.
            sum_: its SHA-256, hex; empty: not compared.

        Raises:
            DamagedBundleError: it is not there, longer, damaged, or has another sum.
        """
        try:
            data = self._read_stored(name, limit)
            if data is None:
                with self.open(name) as file:
                    data = file.read(limit + 1)
        except _UNREADABLE as error:
            raise DamagedBundleError(f"{name}: {error}") from error
        if len(data) > limit:
            raise DamagedBundleError(f"{name} has more than {limit} bytes")
        if sum_ and hashlib.sha256(data).hexdigest() != sum_:
            raise DamagedBundleError(f"{name} does not have its SHA-256 sum")
        return data

    def _read_stored(self, name: str, limit: int) -> bytes | None:
        """Read a file that is stored as it is, past the library's way for packed ones; None for the others.

        Its checksum is not looked at: the SHA-256 sum is.
        """
        info = self._zip.NameToInfo.get(name)
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            return None
        handle, at = self._file.fileno(), info.header_offset
        header = os.pread(handle, _HEADER.size, at)
        if len(header) != _HEADER.size:
            return None
        magic, name_size, extra_size = _HEADER.unpack(header)
        size = min(info.file_size, limit + 1)
        data = os.pread(handle, size, at + _HEADER.size + name_size + extra_size)
        return data if magic == _MAGIC and len(data) == size else None

    def require_sum(self, name: str, sum_: str) -> None:
        """Check a file of whatever length.

        Raises:
            DamagedBundleError: as `read`.
        """
        digest = hashlib.sha256()
        try:
            with self.open(name) as file:
                while part := file.read(_READ_BYTES):
                    digest.update(part)
        except _UNREADABLE as error:
            raise DamagedBundleError(f"{name}: {error}") from error
        if digest.hexdigest() != sum_:
            raise DamagedBundleError(f"{name} does not have its SHA-256 sum")


def open_bundle(path: Path, *, later: str = "") -> Bundle:
    """Read what a bundle says, and check the sum of every file but those of entries.

    Args:
        path: the bundle.
        later: a file whose sum the caller checks, for it may be long.

    Raises:
        OperatorError: there is no such file.
        DamagedBundleError: it is no bundle of this format, or a file is missing, added or changed.
    """
    archive = Archive(path)
    try:
        return _open(path, archive, later)
    except InputError as error:
        raise DamagedBundleError(str(error)) from error
    finally:
        archive.close()


def _open(path: Path, archive: Archive, later: str) -> Bundle:
    """Read the manifest, and hold everything against it."""
    manifest = canonical.parse(archive.read(MANIFEST, MAX_MANIFEST), where=MANIFEST)
    if manifest.get("format") != FORMAT:
        _refuse("format", manifest.get("format"), str(FORMAT))
    sums = _sums(manifest, archive.names())
    size, runs = _runs(manifest)
    files = tuple(entry_files(size, runs))
    if manifest.get("entries") != [file.name for file in files]:
        _refuse("entries", manifest.get("entries"), "the files that the runs need, in order")
    needed = {PROOF, *(file.name for file in files)}
    if missing := needed - sums.keys():
        raise DamagedBundleError(f"{min(missing)} is missing")
    if odd := [name for name in sums.keys() - needed if not is_known(name)]:
        raise DamagedBundleError(f"no bundle has a file of the name {min(odd)}")
    notes: list[bytes] = []
    for name in sorted(sums.keys() - needed - {later}):
        if name == TABLE:
            archive.require_sum(name, sums[name])
            continue
        data = archive.read(name, sum_=sums[name])
        if name.startswith(CHECKPOINTS):
            notes.append(data)
    count = sum(1 for gap in gaps(runs, size) for _ in subtrees(*gap))
    proof = archive.read(PROOF, HASH_SIZE * count, sums[PROOF])
    hashes = tuple(proof[at : at + HASH_SIZE] for at in range(0, len(proof), HASH_SIZE))
    policy = parse_policy(manifest, where=MANIFEST)
    return Bundle(path, policy, Layout(size, runs, hashes), files, tuple(notes), sums)


def _sums(manifest: Mapping[str, canonical.Value], there: Sequence[str]) -> dict[str, str]:
    """Read the sums, and check that they are those of the files that are there."""
    found = manifest.get("files")
    if not isinstance(found, dict):
        _refuse("files", found, "names and SHA-256 sums")
    sums = {name: text for name, text in found.items() if isinstance(text, str) and text}
    if len(set(there)) != len(there):
        raise DamagedBundleError("a file is there twice")
    odd = sums.keys() ^ (set(there) - {MANIFEST}) or found.keys() - sums.keys()
    if odd:
        names = ", ".join(sorted(odd)[:5])
        raise DamagedBundleError(f"files missing, or not named by the manifest: {names}")
    return sums


def _runs(manifest: Mapping[str, canonical.Value]) -> tuple[int, tuple[Run, ...]]:
    """Read the log's size and the runs."""
    size, found = manifest.get("size"), manifest.get("runs")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= canonical.MAX_INTEGER:
        _refuse("size", size, "a number from 1")
    if not isinstance(found, list) or not found:
        _refuse("runs", found, "at least one run")
    runs: list[Run] = []
    before = -1
    for each in found:
        match each:
            case [int(first), int(count)] if before < first and 0 < count <= size - first:
                before = first + count
                runs.append((first, before))
            case _:
                _refuse("runs", each, "first and count, rising, below the size, none touching")
    return size, tuple(runs)


def _refuse(field: str, value: object, expected: str) -> NoReturn:
    """Refuse a field of the manifest."""
    raise InputError(MANIFEST, field, value, expected)
