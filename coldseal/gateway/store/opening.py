"""What must hold before the log is written to: one writer, nothing lost, a chain that continues.

Work is bounded by the tail: the chain's state is read, the few entries behind it are replayed, and
the head is compared. A log that lost anything is refused with every file left as it is; its
repair is not done here.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import Chain, parse_entry
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.head import Head, HeadFile
from coldseal.gateway.store.reader import HEAD_NAME, LogReader
from coldseal.gateway.store.segments import (
    Segment,
    State,
    create_segment,
    list_segments,
    publish_segment,
    settle_segment,
)

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.disk import Disk

LOCK_NAME = "lock"
CHAIN, SNAPSHOT, DAY, SETTINGS = "chain", "snapshot", "day", "settings"
"""Names of what a segment's table `state` holds."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A log that may be written to.

    Args:
        resources: closes every file and lets others write.
        head: the head file, at the log's size.
        segment: the one to write.
        reader: reads the log.
        chain: the chain behind the last entry.
        state: what the segment held as state.
        checkpoint_size: entries below the newest checkpoint.
        replayed: entries that were looked at.
    """

    resources: ExitStack
    head: HeadFile
    segment: Segment
    reader: LogReader
    chain: Chain
    state: dict[str, State]
    checkpoint_size: int
    replayed: int


def open_store(directory: Path, key: bytes, *, new: Chain, day: int, disk: Disk) -> Opened:
    """Open a log for writing, or make it.

    Args:
        directory: the log's own directory.
        key: the store key.
        new: the chain that a new log begins with; an existing one must have its origin and key.
        day: the UTC day, in days since 1970, in which a first segment begins.
        disk: what it lies on.

    Raises:
        OperatorError: another process writes it, or origin, record key or store key are others.
        StoreDamagedError: something that the log once held is missing or wrong.
        UnavailableError: a file cannot be read or written.
    """
    with ExitStack() as stack:
        stack.callback(os.close, lock_log(directory, disk))
        starts = list_segments(directory)
        head = _open_head(directory, disk, is_new=not starts)
        stack.callback(head.close)
        found = head.read()
        if not starts:
            if found.size:
                raise StoreDamagedError("the log", f"it had {found.size} entries, no segment is there", 0)
            _create_first(directory, key, new, day, disk)
        for start in starts[:-1]:
            with suppress(UnavailableError):  # whoever needs it will say so
                settle_segment(directory, start, key, disk=disk)
        segment = Segment(directory, starts[-1] if starts else 0, key, disk=disk)
        stack.callback(segment.abandon)
        reader = LogReader(directory, key, disk=disk)
        stack.callback(reader.close)
        state = segment.state()
        chain = _restore(directory, state, new)
        size = segment.size()
        if size < found.size:
            raise StoreDamagedError("the log", f"it had {found.size} entries, {size} are found", size)
        replayed = _replay(chain, reader)
        _verify_head(found, chain, reader)
        if size > found.size:  # a crash came between a commit and its head, or even its sync
            _sync(segment.wal, disk)
            head.write(Head(chain.size, chain.tree.root()))
        checkpoint = reader.checkpoint_at_most(size)
        resources = stack.pop_all()
    checkpoint_size = checkpoint.size if checkpoint else 0
    return Opened(resources, head, segment, reader, chain, state, checkpoint_size, replayed)


def chain_state(chain: Chain) -> State:
    """Write a chain down, for `open_store` to continue it."""
    return State(chain.size, canonical.encode(chain.state()))


def lock_log(directory: Path, disk: Disk) -> int:
    """Make sure that nobody else writes the log; held until the descriptor is closed."""
    try:
        _make_directory(directory, disk)
        file = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "Give a data directory that this user may write."
        raise OperatorError(f"{directory} cannot be used: {error.strerror}", hint) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        hint = "Stop the other gateway, or give this one a data directory of its own."
        raise OperatorError(f"{directory} is in use by another process", hint) from error
    return file


def _make_directory(directory: Path, disk: Disk) -> None:
    """Make the log's directory, and those that it is in: a log in a folder that can be lost can be lost."""
    if not directory.is_dir():
        _make_directory(directory.parent, disk)
        disk.make_directory(directory)
        disk.sync_directory(directory.parent)


def _open_head(directory: Path, disk: Disk, *, is_new: bool) -> HeadFile:
    """Open the head; only a log without segments may be without one."""
    path = directory / HEAD_NAME
    if path.exists():
        return HeadFile(path, disk=disk)
    if is_new:
        return HeadFile.create(path, disk)
    raise StoreDamagedError(str(path), "it is missing, so a loss of entries could not be noticed")


def _create_first(directory: Path, key: bytes, new: Chain, day: int, disk: Disk) -> None:
    """Make the first segment."""
    state = {CHAIN: chain_state(new), DAY: State(0, str(day).encode())}
    try:
        publish_segment(create_segment(directory, 0, key, state, disk=disk), disk=disk)
    except OSError as error:
        raise UnavailableError(str(directory), str(error.strerror)) from error


def _restore(directory: Path, state: dict[str, State], new: Chain) -> Chain:
    """Give the chain as it was written down last, which must be the one that is asked for."""
    try:
        stored = Chain.from_state(canonical.parse(state[CHAIN].value, where="chain state"))
    except (KeyError, InputError) as error:
        raise StoreDamagedError("the log", f"the state of the chain cannot be read: {error}") from error
    if stored.size == 0:
        return new.copy()
    if stored.log != new.log:
        hint = "Set the origin back, or give the other log a data directory of its own."
        raise OperatorError(f"{directory} holds the log {stored.log}, not {new.log}", hint)
    return stored


def _replay(chain: Chain, reader: LogReader) -> int:
    """Move the chain over the entries behind it, each checked against the one before it."""
    before = chain.size
    for raw in reader.read_from(chain.size):
        try:
            entry = parse_entry(raw)
        except InputError as error:
            raise StoreDamagedError("the log", str(error), chain.size) from error
        if (entry.log, entry.seq, entry.prev) != (chain.log, chain.size, chain.head):
            raise StoreDamagedError("the log", "the entry does not continue the chain", chain.size)
        leaf = leaf_hash(raw)
        chain.tree.append(leaf)
        chain.head, chain.kid = leaf.hex(), entry.kid
    return chain.size - before


def _sync(wal: Path, disk: Disk) -> None:
    """Make durable what a killed process wrote and did not sync: it can be read, and could yet be lost."""
    try:
        file = disk.create(wal)
        try:
            disk.sync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise UnavailableError(str(wal), str(error.strerror)) from error


def _verify_head(head: Head, chain: Chain, reader: LogReader) -> None:
    """Compare the head with what is stored: an older or another log has another root."""
    root = chain.tree.root() if chain.size == head.size else reader.root(head.size)
    if root != head.root:
        why = f"the root over {head.size} entries is {root.hex()}, not {head.root.hex()}"
        raise StoreDamagedError("the log", why)
