"""What evidence is made from: one log, wherever it is kept, as entries and hashes.

A source may be written to meanwhile; what is below its `size` does not change. Judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coldseal.core.log.evidence import Policy

    Read = Callable[[int, int], list[bytes]]
    """Gives entries: from which seq on, and how many; fewer only at the end."""

SETTINGS: Final = frozenset({"genesis", "key", "config"})
"""Kinds that say what the log is; every bundle has all of them."""

_BLOCK_LEVEL: Final = 12
_BLOCK: Final = 1 << _BLOCK_LEVEL


class Stamped(NamedTuple):
    """A timestamp: the size and the note of the checkpoint that was stamped, and the authority's answer."""

    size: int
    note: bytes
    response: bytes


class Count(NamedTuple):
    """A count of the chip's: size and note of the checkpoint it is bound to, what was stated, and signed."""

    size: int
    note: bytes
    attest: bytes
    signature: bytes


class Entries(Protocol):
    """Entries and hashes of a log.

    Attributes:
        size: of the log.
        begin: least seq of the entries that are still there; those before were pruned.
    """

    size: int
    begin: int

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries; fewer than ``count`` only at the end."""

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over a complete subtree; it is a `Nodes`."""

    def settings(self) -> list[bytes]:
        """Give the entries of `SETTINGS`, in order of seq, pruned or not."""


class Source(Entries, Protocol):
    """One log that evidence can be made from.

    Attributes:
        policy: its name, the keys that it began with, its witnesses.
    """

    policy: Policy

    def notes(self) -> Iterator[bytes]:
        """Give every receipt, rising, then the newest checkpoint."""

    def timestamps(self, size: int) -> list[Stamped]:
        """Give the timestamps of checkpoints over at most ``size`` entries, rising."""

    def counts(self, size: int) -> list[Count]:
        """Give the counter's certifications at checkpoints over at most ``size`` entries, rising."""

    def certificates(self) -> dict[str, bytes]:
        """Give certificates as PEM, by the name that they shall have."""

    def device_certificate(self, fingerprint: str) -> bytes:
        """Give a device's certificate by the fingerprint in its entries, PEM; empty if none was kept."""

    def timestamp_ca(self) -> bytes:
        """Give the root certificates of timestamp authorities, PEM; empty if there are none."""

    def close(self) -> None:
        """Close what was opened."""


class Blocks:
    """Reads a log in blocks, so that single entries near each other, and their hashes, cost one reading."""

    def __init__(self, source: Entries) -> None:
        """Take the source; nothing is read yet but the entries that must not be missing."""
        self._source = source
        self._settings = {parse_entry(raw).seq: raw for raw in source.settings()}
        self._first = 0
        self._entries: list[bytes] = []
        self._tree: MerkleTree | None = None

    def entries(self, first: int, end: int) -> Iterator[bytes]:
        """Give the entries of a range.

        Raises:
            InputError: the log ends before.
        """
        while first < end:
            if first in self._settings:  # which are known even where entries were pruned
                yield self._settings[first]
                first += 1
                continue
            if self._has(first, first + 1) or self._load(first):
                part = self._entries[first - self._first : end - self._first]
            else:
                part = read_all(self._source.read, first, end)
            if not part:
                raise InputError("log", "size", first, f"at least {end} entries")
            yield from part
            first += len(part)

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over a complete subtree; small ones are made from the entries of their block."""
        first = index << level
        if level >= _BLOCK_LEVEL or first // _BLOCK * _BLOCK < self._source.begin:
            return self._source.nodes(level, index)
        if not self._has(first, first + (1 << level)) and not self._load(first):
            return self._source.nodes(level, index)
        if self._tree is None:
            self._tree = MerkleTree(map(leaf_hash, self._entries))
        return self._tree.nodes(level, index - (self._first >> level))

    def _has(self, first: int, end: int) -> bool:
        """Whether the block at hand has a range."""
        return self._first <= first < end <= self._first + len(self._entries)

    def _load(self, seq: int) -> bool:
        """Read the block that an entry is in; False if not all that should be there can be read."""
        block = seq // _BLOCK * _BLOCK
        first = max(block, self._source.begin)
        try:
            entries = read_all(self._source.read, first, block + _BLOCK)
        except UnavailableError:  # a part of it is in an archive
            return False
        self._first, self._entries, self._tree = first, entries, None
        return True


def read_all(read: Read, first: int, end: int) -> list[bytes]:
    """Read a range whole, as far as there is one, in as many parts as it takes."""
    found: list[bytes] = []
    while first + len(found) < end and (part := read(first + len(found), end - first - len(found))):
        found += part
    return found


def size_of(note: bytes) -> int:
    """Give the tree size of a signed checkpoint; its signatures are not looked at."""
    return parse_checkpoint_text(parse_note(note).text).size


def is_cosigned(note: bytes, policy: Policy) -> bool:
    """Whether enough witnesses of the policy have put a line under a checkpoint; no line is verified."""
    signers = {(line.name, line.key_id) for line in parse_note(note).signatures}
    count = sum((key.name, key.id) in signers for key in policy.witnesses)
    return count >= max(1, policy.quorum)
