"""An evidence bundle as an archive: entry after entry, each file held against its sum.

Judges nothing else: whether the entries are those of the log is for whoever has the log to say.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from coldseal.cli.records import hash_file
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.record import parse_frames
from coldseal.evidence.reader import MAX_ENTRIES, Archive, DamagedBundleError, open_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coldseal.evidence.files import EntryFile


class BundleArchive:
    """A bundle that is read as an archive.

    Attributes:
        name: the file's name.
        sha256: its hash, base64.
        origin: the log that it says it is of.
    """

    def __init__(self, path: Path, *, packed: Path | None = None) -> None:
        """Open it and read what it says of itself.

        Args:
            path: the bundle.
            packed: the compressed file that it was unpacked from: the archive is that one.

        Raises:
            OperatorError: it cannot be read.
            DamagedBundleError: it is no bundle, or not whole.
        """
        kept = packed or path
        self.name, self.sha256 = kept.name, encode_base64(hash_file(kept)[0])
        self._bundle = open_bundle(path)
        self.origin = self._bundle.policy.origin

    def entries(self, first: int, last: int) -> Iterator[bytes]:
        """Give the entries of a range in order; it ends with the first that is missing.

        Raises:
            DamagedBundleError: a file does not have its sum, or holds another number of entries.
        """
        wanted = first
        with closing(Archive(self._bundle.path)) as archive:
            for file in self._bundle.files:
                if file.pieces[-1][1] <= wanted:
                    continue
                for seq, raw in self._read(archive, file):
                    if seq > min(wanted, last):
                        return
                    if seq == wanted:
                        yield raw
                        wanted += 1

    def _read(self, archive: Archive, file: EntryFile) -> Iterator[tuple[int, bytes]]:
        """Read one file of entries, each with its seq."""
        found = parse_frames(archive.read(file.name, MAX_ENTRIES, self._bundle.sums[file.name]))
        if len(found) != file.length:
            raise DamagedBundleError(f"{file.name} holds {len(found)} entries, not {file.length}")
        seqs = (seq for start, end in file.pieces for seq in range(start, end))
        return zip(seqs, found, strict=True)
