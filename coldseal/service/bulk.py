"""The bulk tier: closed ranges of every log as Parquet files, each under a manifest that the service signs.

Promise: a manifest is written only once its file is there, was read back and, where a lock is asked for, is
locked. What is given back was held against sums, signature, and the root that was cosigned: that needs no
ledger. Deletes and overwrites nothing.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.layout import make_layout
from coldseal.errors import OperatorError
from coldseal.service.storage.bulk_manifest import (
    BulkDamagedError,
    Manifest,
    encode_manifest,
    parse_manifest,
)
from coldseal.service.storage.bulk_objects import COMPLIANCE, Objects
from coldseal.service.storage.bulk_table import decode_table, encode_table
from coldseal.service.storage.tree import LogTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.service.config import Bulk
    from coldseal.service.storage.sqlite import SqliteLedger
    from coldseal.signing.keys import Ed25519Signer

MANIFEST: Final = ".manifest"
_RANGE: Final = re.compile(r"([0-9]{12})-([0-9]{12})\.manifest")
_SLACK: Final = timedelta(minutes=5)
"""How far the server's clock may be behind ours: a lock may end so much earlier."""


class Written(NamedTuple):
    """A range that was written.

    Args:
        log: its origin.
        first: first seq.
        last: last seq.
        name: of its file.
        size: of that file, bytes.
    """

    log: str
    first: int
    last: int
    name: str
    size: int


class NotLockedError(OperatorError):
    """An object is not locked as it was asked for."""


class Tier:
    """The bulk tier of one service.

    Args:
        config: where it lies, and how long it must be locked.
        witness: the key that its manifests and checkpoints are verified with.
    """

    def __init__(self, config: Bulk, witness: VerifierKey) -> None:
        """Open it.

        Raises:
            OperatorError: none is configured, or a package or key is not there.
        """
        if not config.url:
            raise OperatorError("no bulk tier is configured", "Set bulk.url")
        self._config = config
        self.witness = witness
        self.objects = Objects(config)

    def write(
        self, ledger: SqliteLedger, origin: str, signer: Ed25519Signer, now: datetime
    ) -> Iterator[Written]:
        """Write the ranges of a log that are closed, and not there yet.

        Args:
            ledger: holds the log.
            origin: the log.
            signer: the service's witness key.
            now: this moment, for the manifest and for locks.

        Raises:
            UnavailableError: the tier is away; what was written stays.
            NotLockedError: an object is not locked: its range has no manifest.
            BulkDamagedError: what was read back is not what was written.
        """
        receipt = ledger.receipt(origin)
        if receipt is None:
            return
        tree = LogTree(ledger, origin)
        for first, end in self._missing(origin, receipt.size):
            data = encode_table(first, ledger.entries(origin, first, end))
            name = f"{first:012d}-{end - 1:012d}"
            manifest = Manifest(
                origin,
                first,
                end - 1,
                f"{name}-{now:%Y%m%dT%H%M%S}.parquet",
                len(data),
                hashlib.sha256(data).hexdigest(),
                receipt.note.decode(),
                tuple(map(encode_base64, make_layout(receipt.size, [(first, end)], tree.nodes).hashes)),
                now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
            self._put(origin, manifest.object, data, now)
            self.entries(manifest)
            note = encode_manifest(manifest, signer, self.witness.name)
            self._put(origin, f"{name}{MANIFEST}", note, now)
            yield Written(origin, first, end - 1, manifest.object, len(data))

    def manifests(self, origin: str) -> Iterator[Manifest]:
        """Give the manifests of a log in order, each verified, from its first entry on without a gap.

        Raises:
            UnavailableError: the tier is away.
            TrustError: one is missing, is not as it was signed, or is of something else.
        """
        behind = 0
        for first, end in self._ranges(origin):
            name = f"{folder_of(origin)}/{first:012d}-{end - 1:012d}{MANIFEST}"
            if first != behind or end <= first:
                raise BulkDamagedError(name, f"the range from entry {behind} on has no manifest")
            behind = end
            found = parse_manifest(self.objects.get(name) or b"", self.witness, name)
            if (found.log, found.first, found.end) != (origin, first, end):
                raise BulkDamagedError(name, f"it is of {found.log}, {found.first} to {found.last}")
            yield found

    def entries(self, manifest: Manifest) -> list[bytes]:
        """Read the entries of a range, held against everything that its manifest says.

        Raises:
            UnavailableError: the tier is away.
            BulkDamagedError: the file is missing or another one, or its entries are not those of the log.
        """
        name = f"{folder_of(manifest.log)}/{manifest.object}"
        data = self.objects.get(name)
        if data is None:
            raise BulkDamagedError(name, "it is missing")
        if (len(data), hashlib.sha256(data).hexdigest()) != (manifest.size, manifest.sha256):
            raise BulkDamagedError(name, "it does not have its SHA-256 sum")
        entries = decode_table(data, manifest.first, name)
        manifest.verify_entries(entries)
        return entries

    def require_locked(self, manifest: Manifest, now: datetime) -> None:
        """Check that a range is still locked for as long as was asked for when it was written.

        Raises:
            NotLockedError: its file or its manifest is not.
            UnavailableError: the tier does not say.
        """
        written = datetime.fromisoformat(manifest.t)
        if written + timedelta(days=self._config.object_lock_days) > now:
            for name in (manifest.object, f"{manifest.first:012d}-{manifest.last:012d}{MANIFEST}"):
                self._require_lock(f"{folder_of(manifest.log)}/{name}", written)

    def logs(self) -> list[str]:
        """Name the folders that the tier holds; each is one log."""
        return sorted({name.rpartition("/")[0] for name in self.objects.names() if name.endswith(MANIFEST)})

    def origin_of(self, folder: str) -> str:
        """Give the log of a folder, as its first manifest names it.

        Raises:
            TrustError: it does not hold.
        """
        names = [
            name for name in self.objects.names() if name.startswith(f"{folder}/") and name.endswith(MANIFEST)
        ]
        found = parse_manifest(self.objects.get(names[0]) or b"", self.witness, names[0])
        if folder_of(found.log) != folder:
            raise BulkDamagedError(names[0], f"it is of {found.log}")
        return found.log

    def _ranges(self, origin: str) -> Iterator[tuple[int, int]]:
        """Give the ranges that have a manifest, rising."""
        folder = folder_of(origin)
        for name in self.objects.names():
            parent, _, last = name.rpartition("/")
            match = _RANGE.fullmatch(last)
            if parent == folder and match is not None:
                yield int(match[1]), int(match[2]) + 1

    def _missing(self, origin: str, size: int) -> Iterator[tuple[int, int]]:
        """Give the ranges that are closed and have no manifest; one that was lost comes back as it was."""
        there, first = dict(self._ranges(origin)), 0
        while True:
            if there.get(first, 0) > first:
                first = there[first]
                continue
            end = min((first + self._config.range_entries, *(at for at in there if at > first)))
            if end > size:
                return
            yield first, end
            first = end

    def _put(self, origin: str, name: str, data: bytes, now: datetime) -> None:
        """Write an object that is locked, or one that is there already as it should be."""
        path = f"{folder_of(origin)}/{name}"
        if not self.objects.put(path, data) and self.objects.get(path) != data:
            raise BulkDamagedError(path, "something else has that name")
        if self._config.object_lock_days:
            self._require_lock(path, now)

    def _require_lock(self, path: str, since: datetime) -> None:
        """Insist that an object is locked for as many days as was asked for, so that nobody can lift it."""
        lock, days = self.objects.lock(path), self._config.object_lock_days
        if (
            lock.mode != COMPLIANCE
            or lock.until is None
            or lock.until < since + timedelta(days=days) - _SLACK
        ):
            what = f"{path} is locked as {lock.mode or 'nothing'} until {lock.until}, not for {days} days"
            raise NotLockedError(what, f"Give the bucket a default retention: COMPLIANCE, {days} days")


def folder_of(origin: str) -> str:
    """Name the folder of a log: readable, and of no other log."""
    return f"{re.sub('[^A-Za-z0-9.-]', '_', origin)}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}"
