"""Writes a bundle: a ZIP whose bytes follow from what is in it, in one pass, one file at a time in memory.

Promise: the bundle stands under its name whole or not at all, and nothing that is there is overwritten.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

from coldseal.core.log import canonical
from coldseal.core.log.record import frame
from coldseal.core.log.table import HEADER, table_rows
from coldseal.evidence.files import (
    CERTIFICATES,
    CHECKPOINTS,
    COUNTER,
    INSTRUCTIONS,
    MANIFEST,
    PAGE,
    POLICY,
    PROOF,
    RECORD_KEY,
    SIGNED,
    STATED,
    TABLE,
    TIMESTAMP_CA,
    TIMESTAMPS,
    entry_files,
)
from coldseal.evidence.instructions import instructions
from coldseal.evidence.policies import describe_policy
from coldseal.evidence.source import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from coldseal.core.log.evidence import Policy
    from coldseal.core.log.layout import Layout

FORMAT: Final = 2

_UNIX: Final = 3
_MODE: Final = 0o100644 << 16
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_SPOOLED: Final = 16 * 1024 * 1024
_READ_BYTES: Final = 1 << 20
_FINGERPRINT: Final = re.compile(rb'"dev":"[^"]*","fp":"([0-9a-f]{16})"')


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        policy: the log's name, keys and witnesses.
        layout: which entries, and the proof for the others.
        entries: gives the entries of a range.
        notes: signed checkpoints.
        selection: how the entries were chosen, for people.
        certificates: PEM, by name.
        device: gives the certificate, PEM, by the fingerprint that an entry names; empty if it is not known.
        timestamps: answers of authorities, by the size of the stamped checkpoint.
        timestamp_ca: roots of the authorities, PEM; empty for none.
        page: the verifier as a page; empty for none.
        counts: statements of the chip's counter and their signatures, by the size of their checkpoint.
    """

    policy: Policy
    layout: Layout
    entries: Callable[[int, int], Iterable[bytes]]
    notes: Sequence[bytes]
    selection: Mapping[str, canonical.Value] = field(default_factory=dict)
    certificates: Mapping[str, bytes] = field(default_factory=dict)
    device: Callable[[str], bytes] = lambda _: b""
    timestamps: Mapping[int, bytes] = field(default_factory=dict)
    timestamp_ca: bytes = b""
    page: bytes = b""
    counts: Mapping[int, tuple[bytes, bytes]] = field(default_factory=dict)


@contextmanager
def writing(path: Path, contents: Contents) -> Iterator[bytes]:
    """Write a bundle beside its name; it takes the name when the block has ended without an error.

    Yields:
        The SHA-256 of the file.

    Raises:
        FileExistsError: something has that name already.
        OSError: it cannot be written.
    """
    path.touch(exist_ok=False)
    draft = path.with_name(f"{path.name}.new")
    try:
        with draft.open("xb") as file, zipfile.ZipFile(file, "w") as archive:
            _Writer(archive, contents).write()
        with draft.open("rb") as made:
            yield hashlib.file_digest(made, "sha256").digest()
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        path.unlink()
        raise


def write_bundle(path: Path, contents: Contents) -> bytes:
    """Write a bundle and give its SHA-256; errors as `writing`."""
    with writing(path, contents) as digest:
        return digest


class _Writer:
    """Puts one bundle together."""

    def __init__(self, archive: zipfile.ZipFile, contents: Contents) -> None:
        """Nothing is written yet."""
        self._archive = archive
        self._contents = contents
        self._sums: dict[str, canonical.Value] = {}
        self._fingerprints: set[bytes] = set()

    def write(self) -> None:
        """Write all files, and the manifest with their sums last."""
        contents = self._contents
        layout, policy = contents.layout, contents.policy
        held = sum(end - first for first, end in layout.runs)
        text = instructions(policy.origin, held, layout.size, has_page=bool(contents.page))
        self._put(INSTRUCTIONS, text.encode())
        if contents.page:
            self._put(PAGE, contents.page)
        names = self._put_entries()
        self._put(PROOF, b"".join(layout.hashes))
        for number, note in enumerate(sorted(contents.notes, key=size_of)):
            self._put(f"{CHECKPOINTS}{number:06d}", note)
        self._put(RECORD_KEY, _pem(policy.record_key))
        for name, pem in sorted(self._certificates()):
            self._put(f"{CERTIFICATES}{name}", pem)
        self._put(POLICY, canonical.encode(describe_policy(policy)))
        for size, response in sorted(contents.timestamps.items()):
            self._put(f"{TIMESTAMPS}{size}.tsr", response)
        if contents.timestamp_ca:
            self._put(TIMESTAMP_CA, contents.timestamp_ca)
        for size, (attest, signature) in sorted(contents.counts.items()):
            self._put(f"{COUNTER}{size}{STATED}", attest)
            self._put(f"{COUNTER}{size}{SIGNED}", signature)
        manifest: dict[str, canonical.Value] = {
            **describe_policy(policy),
            "entries": names,
            "files": self._sums,
            "format": FORMAT,
            "runs": [[first, end - first] for first, end in layout.runs],
            "selection": dict(contents.selection),
            "size": layout.size,
        }
        self._archive.writestr(_info(MANIFEST), canonical.encode(manifest))

    def _put(self, name: str, data: bytes) -> None:
        """Write one file."""
        self._archive.writestr(_info(name), data)
        self._sums[name] = hashlib.sha256(data).hexdigest()

    def _certificates(self) -> Iterator[tuple[str, bytes]]:
        """Give the certificates by name, with those of the devices whose entries were written."""
        yield from self._contents.certificates.items()
        for fingerprint in map(bytes.decode, self._fingerprints):
            if pem := self._contents.device(fingerprint):
                yield f"{fingerprint}.pem", pem

    def _put_entries(self) -> list[canonical.Value]:
        """Write the files of entries, then the table of their readings; gives the names of the former."""
        contents, names = self._contents, list[canonical.Value]()
        with tempfile.SpooledTemporaryFile(_SPOOLED) as table:
            table.write(HEADER.encode())
            for file in entry_files(contents.layout.size, contents.layout.runs):
                entries = [raw for piece in file.pieces for raw in contents.entries(*piece)]
                frames = frame(entries)
                self._fingerprints.update(_FINGERPRINT.findall(frames))
                self._put(file.name, frames)
                names.append(file.name)
                table.write("".join(map(table_rows, entries)).encode())
            self._put_table(table)
        return names

    def _put_table(self, table: IO[bytes]) -> None:
        """Copy the table in."""
        info = _info(TABLE)
        info.file_size = table.tell()
        digest = hashlib.sha256()
        table.seek(0)
        with self._archive.open(info, "w") as file:
            while part := table.read(_READ_BYTES):
                digest.update(part)
                file.write(part)
        self._sums[TABLE] = digest.hexdigest()


def _info(name: str) -> zipfile.ZipInfo:
    """Describe a file: the same name gives the same bytes, whenever and wherever it is written."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = _UNIX
    info.external_attr = _MODE
    return info


def _pem(spki: bytes) -> bytes:
    """Wrap a public key for openssl."""
    text = canonical.encode_base64(spki)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()
