"""Ended segments go to an archive, and those past their window leave: one round of that, by one process.

Promise: what counts as archived was written, synced, read back and verified, holds each entry of its segment,
and is on record. Only then, and by the rules of `retention` and of `pruning`, it may go. A file that is not
what it should be is put aside, never deleted. How a bundle is written and verified comes in by the door.
"""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from coldseal.core.log.canonical import encode_base64
from coldseal.errors import TrustError, UnavailableError
from coldseal.gateway.archives import (
    Archived,
    archive_folder,
    examine,
    name_of,
    read_index,
    survey,
    write_index,
)
from coldseal.gateway.clock import render_time
from coldseal.gateway.pruning import prune, published_size
from coldseal.gateway.records import open_reader, seal_record
from coldseal.gateway.retention import DAY_MS
from coldseal.gateway.uplink.receipts import NAME as RECEIPTS
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.signing.private_files import sync_directory
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from coldseal.gateway.archives import Standing
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.pruning import Archive
    from coldseal.gateway.store.reader import LogReader

COPY: Final = ".coldseal-"
"""What the name of an unpacked copy begins with."""

DRAFT: Final = f"{COPY}draft-"
"""What the name of a bundle begins with that is not finished."""

WHO: Final = "coldseal gateway archive"
_LOCK: Final = "archives.lock"
_HERE: Final = Path()


class Tools(Protocol):
    """Writes and verifies bundles."""

    def write(self, draft: Path, first: int, last: int) -> int:
        """Write a compressed bundle of a range as a new file, durably; gives the tree size that it proves."""

    def verified(self, path: Path) -> AbstractContextManager[Archive]:
        """Open a bundle that holds in every check; raises TrustError if it does not."""

    def opened(self, path: Path) -> AbstractContextManager[Archive]:
        """Open a bundle that was verified before."""


class Round(NamedTuple):
    """What a round did: what it archived and pruned, how many ended segments wait, and what was damaged."""

    archived: list[Archived]
    pruned: list[Archived]
    waiting: int
    damaged: list[str]


def run_round(config: GatewayConfig, tools: Tools, *, now_ms: int, is_beside: bool = False) -> Round:
    """Archive what has ended and is witnessed, then prune what may go.

    Args:
        config: the gateway's configuration.
        tools: write and verify bundles.
        now_ms: this moment, ms since 1970.
        is_beside: a running gateway has started it: it writes by that one alone, and waits for its turn.

    Raises:
        UnavailableError: the archive is away, another round is under way, or the log cannot be read.
        TrustError: a bundle that was just written does not hold.
        OperatorError: there is no archive, or no log.
    """
    with _alone(config.gateway.data, is_patient=is_beside), closing(open_reader(config)) as reader:
        return _Work(config, tools, reader, now_ms, is_beside=is_beside).run()


class _Work:
    """One round."""

    def __init__(
        self, config: GatewayConfig, tools: Tools, reader: LogReader, now_ms: int, *, is_beside: bool
    ) -> None:
        """Look at what is there."""
        self._is_beside = is_beside
        self._config, self._tools, self._reader, self._now_ms = config, tools, reader, now_ms
        self._key = read_symmetric_key(config.store.key, _HERE)
        self._folder = archive_folder(config)
        self._index = read_index(config.gateway.data)
        self._done = Round([], [], 0, [])
        has_receipts = (config.gateway.data / RECEIPTS).exists()
        self._published = published_size(config, self._key) if has_receipts else 0

    def run(self) -> Round:
        """Do it."""
        waiting = 0
        try:
            self._clear()
            for first, end, pruned in self._reader.closed_segments():
                if self._is_there(first, end) or pruned is not None:
                    continue
                if end > self._published:
                    waiting += 1
                else:
                    self._archive(first, end)
            self._prune()
        except OSError as error:
            raise UnavailableError(str(self._folder), str(error.strerror)) from error
        return self._done._replace(waiting=waiting)

    def _clear(self) -> None:
        """Remove what rounds have left that were killed; a copy that is in use is younger than a day."""
        for left in self._folder.glob(f"{COPY}*"):
            if left.name.startswith(DRAFT) or left.stat().st_mtime * 1000 < self._now_ms - DAY_MS:
                left.unlink()

    def _is_there(self, first: int, end: int) -> bool:
        """Whether a segment is in the archive; a file that the index does not know is looked at first."""
        path = self._folder / name_of(self._config.gateway.origin, first, end - 1)
        if not path.exists():
            return False
        known = self._index.get(first)
        if known is not None and path.stat().st_size == known.size:
            return True
        try:
            with self._tools.verified(path) as archive:
                found = self._facts(archive, path, first, end - 1)
        except TrustError:
            self._put_aside(path)
            return False
        self._keep(found)
        return True

    def _archive(self, first: int, end: int) -> None:
        """Archive one segment: written, read back, verified, on record, then under its name."""
        path = self._folder / name_of(self._config.gateway.origin, first, end - 1)
        draft = self._folder / f"{DRAFT}{path.name}"
        size = self._tools.write(draft, first, end - 1)
        with self._tools.verified(draft) as archive:
            found = self._facts(archive, draft, first, end - 1)
        found = msgspec.structs.replace(found, name=path.name)
        seal_record(
            self._config,
            "export",
            {
                "bundle": found.sha256,
                "first": first,
                "last": end - 1,
                "selection": {"archive": path.name, "first": first, "last": end - 1},
                "size": size,
                "who": WHO,
                "why": "archive of an ended segment",
            },
            is_beside=self._is_beside,
        )
        draft.replace(path)
        sync_directory(self._folder)
        self._keep(found)
        self._done.archived.append(found)

    def _facts(self, archive: Archive, path: Path, first: int, last: int) -> Archived:
        """Hold a verified bundle against the log, and say what it is."""
        kinds, ended = examine(self._reader, archive, first, last)
        return Archived(
            path.name,
            archive.sha256,
            path.stat().st_size,
            first,
            last,
            encode_base64(self._reader.root(last + 1)),
            kinds,
            ended,
            render_time(self._now_ms),
        )

    def _prune(self) -> None:
        """Prune the oldest segments as long as each may go; a damaged bundle is made anew instead."""
        for standing in survey(self._config, self._reader, min(self._now_ms, self._witnessed_ms())):
            if standing.state == "pruned":
                continue
            known = self._index.get(standing.first)
            if known is None or not self._may_go(standing):
                return
            path = self._folder / known.name
            with path.open("rb") as file:
                found = encode_base64(hashlib.file_digest(file, "sha256").digest())
            if found != known.sha256:
                self._put_aside(path)
                self._archive(known.first, known.last + 1)
                return
            why = f"{standing.retention}: past its window, which ended {standing.until}"
            with self._tools.opened(path) as archive:
                end = known.last + 1
                prune(self._config, archive, who=WHO, why=why, before=end, is_beside=self._is_beside)
            self._done.pruned.append(known)

    def _witnessed_ms(self) -> int:
        """Give the time that the newest receipt states, in ms since 1970; 0 without one."""
        if not self._published:
            return 0
        with closing(Receipts(self._config.gateway.data, self._key, readonly=True)) as receipts:
            newest = receipts.newest()
        return 0 if newest is None else newest.cosigned_s * 1000

    def _may_go(self, standing: Standing) -> bool:
        """Whether a segment is archived here, past its window, free, and not needed for a start."""
        end = standing.last + 1
        is_archived = standing.state == "archived" and standing.is_present
        is_free = standing.is_due and not standing.hold
        return is_archived and is_free and end <= min(self._published, self._reader.snapshot_size())

    def _put_aside(self, path: Path) -> None:
        """Keep a file that is not what it should be under another name, and forget it."""
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        path.replace(aside)
        self._done.damaged.append(aside.name)
        self._index = {first: each for first, each in self._index.items() if each.name != path.name}
        write_index(self._config.gateway.data, self._index)

    def _keep(self, found: Archived) -> None:
        """Put a segment into the index."""
        self._index[found.first] = found
        write_index(self._config.gateway.data, self._index)


@contextmanager
def _alone(data: Path, *, is_patient: bool = False) -> Iterator[None]:
    """Hold the lock that lets one round at a time; who is patient waits for it.

    Raises:
        UnavailableError: another one is under way.
    """
    with (data / _LOCK).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise UnavailableError(str(data / _LOCK), "another round is under way") from error
        yield
