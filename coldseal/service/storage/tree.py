"""The tree of a log as the ledger has it: leaf hashes made from entries, those of full tiles as stored.

Promises that no look-up hashes more than the 256 entries or hashes of one tile. Verifies nothing: compare a
root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.log.tiles import HEIGHT, WIDTH
from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.service.storage.sqlite import SqliteLedger


class LogTree:
    """The tree of one log; for a thread that may read the ledger."""

    def __init__(self, ledger: SqliteLedger, origin: str) -> None:
        """Take an open ledger and the log's name."""
        self._ledger = ledger
        self._origin = origin
        self._tile = -1
        self._leaves: list[bytes] = []

    def hashes(self, level: int, first: int, count: int) -> list[bytes]:
        """Give hashes as tiles have them, over subtrees of level 0, 8, 16 …; as far as they are held."""
        if level:
            return self._ledger.tiles(self._origin, level, first, first + count)
        return [leaf_hash(entry) for entry in self._ledger.entries(self._origin, first, first + count)]

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over a complete subtree; the method is a `Nodes`.

        Raises:
            InputError: the log has no such complete subtree.
        """
        below = level % HEIGHT
        first, count = index << below, 1 << below
        hashes = self.hashes(level - below, first, count) if level >= HEIGHT else self._known(first, count)
        if len(hashes) != count:
            raise InputError(self._origin, "node", (level, index), "a complete subtree of what is held")
        found = CompactRange()
        found.extend(hashes)
        return found.root()

    def _known(self, first: int, count: int) -> list[bytes]:
        """Give leaf hashes within one tile, which is kept: a proof asks for several of its subtrees."""
        tile, at = divmod(first, WIDTH)
        if tile != self._tile or at + count > len(self._leaves):
            self._tile, self._leaves = tile, self.hashes(0, first - at, WIDTH)
        return self._leaves[at : at + count]
