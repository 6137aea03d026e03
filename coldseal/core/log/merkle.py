"""The Merkle tree of RFC 6962, section 2: roots, inclusion and consistency proofs.

Every ``verify_`` function raises unless the proof holds, after the algorithms of RFC 9162,
2.1.3.2 and 2.1.4.2. The proofs are made from hashes of complete subtrees that the caller
looks up, so nothing here stores a tree, except `MerkleTree` for small ones.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Nodes: TypeAlias = "Callable[[int, int], bytes]"
"""``nodes(level, index)``: the hash over the complete subtree [index << level, (index + 1) << level)."""

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()


class InclusionError(TrustError):
    """An entry is not at the place in the tree that is claimed for it."""

    verdict = "not-included"

    def __init__(self, index: int, size: int, why: str) -> None:
        """Keep what was claimed and what is wrong with it."""
        self.index = index
        self.size = size
        self.why = why
        super().__init__(f"entry {index} is not proven to be in the tree of size {size}: {why}")


class ConsistencyError(TrustError):
    """A newer tree does not extend an older one: two histories of the same log."""

    verdict = "inconsistent"

    def __init__(self, old: int, new: int, why: str) -> None:
        """Keep both sizes and what is wrong with the proof."""
        self.old = old
        self.new = new
        self.why = why
        super().__init__(f"the tree of size {new} is not proven to extend the one of size {old}: {why}")


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry as a leaf (RFC 6962, 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees as one (RFC 6962, 2.1)."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The hashes of the complete subtrees that a tree consists of, largest first.

    Enough to append and to give the root; log2(size) hashes at most.
    """

    __slots__ = ("hashes", "size")

    def __init__(self) -> None:
        """Start with the empty tree."""
        self.size = 0
        self.hashes: list[bytes] = []

    @classmethod
    def from_hashes(cls, size: int, hashes: Sequence[bytes]) -> CompactRange:
        """Continue where another range of ``size`` leaves ended.

        Raises:
            InputError: there is not exactly one 32-byte hash for each bit set in ``size``.
        """
        if size < 0 or len(hashes) != size.bit_count() or any(len(h) != HASH_SIZE for h in hashes):
            lengths = [len(h) for h in hashes]
            raise InputError("compact range", "hashes", lengths, f"one of 32 bytes for each bit of {size}")
        made = cls()
        made.size = size
        made.hashes = list(hashes)
        return made

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the end."""
        size, hashes = self.size, self.hashes
        self.size = size + 1
        while size & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes at the end, as `append` would one by one; level by level, which is less work."""
        self.extend_joined(b"".join(leaves))

    def extend_joined(self, leaves: bytes) -> None:
        """Do the same with leaf hashes that stand one behind the other."""
        edge: list[bytes] = []
        hashes, size, added = self.hashes, self.size, leaves
        self.size = size + len(added) // HASH_SIZE
        while added:
            if size & 1:  # the last subtree of this level waits for its right half
                added = hashes.pop() + added
            if odd := len(added) % (2 * HASH_SIZE):
                edge.append(added[-odd:])
            ends = range(0, len(added) - odd, 2 * HASH_SIZE)
            added = b"".join([sha256(b"\x01" + added[at : at + 2 * HASH_SIZE]).digest() for at in ends])
            size >>= 1
        hashes += reversed(edge)

    def append_subtree(self, level: int, found: bytes) -> None:
        """Add a complete subtree of ``2 ** level`` leaves at the end, by its hash.

        Raises:
            ValueError: the tree's size is no multiple of that: such a subtree cannot stand there.
        """
        size = self.size >> level
        if size << level != self.size:
            raise ValueError(f"a subtree of level {level} cannot stand behind {self.size} leaves")
        self.size += 1 << level
        while size & 1:
            found = node_hash(self.hashes.pop(), found)
            size >>= 1
        self.hashes.append(found)

    def root(self) -> bytes:
        """Give the root hash over all leaves so far."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT

    def copy(self) -> CompactRange:
        """Give an independent range at the same place."""
        made = CompactRange()
        made.size = self.size
        made.hashes = self.hashes.copy()
        return made


class MerkleTree:
    """All hashes of one small tree in memory, for exports and tests; grows by `append`."""

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """Build the tree over leaf hashes."""
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the end."""
        for level in self._levels:
            level.append(leaf)
            if len(level) % 2:
                return
            leaf = node_hash(level[-2], level[-1])
        self._levels.append([leaf])

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash of a complete subtree; the method is a `Nodes`.

        Raises:
            InputError: the tree has no such complete subtree.
        """
        if not (0 <= level < len(self._levels) and 0 <= index < len(self._levels[level])):
            raise InputError("tree", "node", (level, index), f"a complete subtree of {self.size} leaves")
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """Give the root hash over the first ``size`` leaves (default: all).

        Raises:
            InputError: the tree has fewer leaves.
        """
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            raise InputError("tree", "size", size, f"0 to {self.size}")
        return _range_hash(0, size, self.nodes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Prove that leaf ``index`` is in the tree of ``size`` leaves (RFC 6962, 2.1.1).

    Raises:
        InputError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise InputError("inclusion proof", "index", index, f"0 to {size - 1}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_hash(middle, end, nodes))
            end = middle
        else:
            proof.append(_range_hash(start, middle, nodes))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Prove that the tree of ``new`` leaves extends the one of ``old`` (RFC 6962, 2.1.2).

    The proof is empty for equal sizes and for the empty tree, which everything extends.

    Raises:
        InputError: ``old`` is larger than ``new`` or negative.
    """
    if not 0 <= old <= new:
        raise InputError("consistency proof", "old size", old, f"0 to {new}")
    proof: list[bytes] = []
    start, end = 0, new
    while old not in (0, end):
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_hash(middle, end, nodes))
            end = middle
        else:
            proof.append(_range_hash(start, middle, nodes))
            start = middle
    if start:  # the old tree ends inside: its last subtree is not known to the verifier
        proof.append(_range_hash(start, end, nodes))
    return proof[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf_hash`` is leaf ``index`` of the tree with ``size`` leaves and ``root``.

    Raises:
        InclusionError: it is not, or the proof is not exactly the one for this place.
    """
    if not 0 <= index < size:
        raise InclusionError(index, size, "the tree has no such leaf")
    node, last, found = index, size - 1, leaf_hash  # RFC 9162, 2.1.3.2
    for sibling in proof:
        if last == 0:
            raise InclusionError(index, size, "the proof is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise InclusionError(index, size, "the proof is too short")
    if found != root:
        raise InclusionError(index, size, f"it leads to root {found.hex()}, not {root.hex()}")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (``new``, ``new_root``) extends the tree (``old``, ``old_root``).

    Raises:
        ConsistencyError: it does not, or the proof is not exactly the one for these sizes.
    """
    if not 0 <= old <= new:
        raise ConsistencyError(old, new, "the sizes are not in order")
    if old in (0, new):
        _verify_trivial(old, old_root, new, new_root, proof)
        return
    found_old, found_new = _walk(old, new, proof if old & (old - 1) else [old_root, *proof])
    if found_old != old_root:
        raise ConsistencyError(old, new, f"it leads to old root {found_old.hex()}, not {old_root.hex()}")
    if found_new != new_root:
        raise ConsistencyError(old, new, f"it leads to new root {found_new.hex()}, not {new_root.hex()}")


def _walk(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Give the two roots that a consistency path leads to (RFC 9162, 2.1.4.2, steps 3 to 6)."""
    if not path:
        raise ConsistencyError(old, new, "the proof is too short")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    found_old = found_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ConsistencyError(old, new, "the proof is too long")
        if node & 1 or node == last:
            found_old, found_new = node_hash(sibling, found_old), node_hash(sibling, found_new)
            while not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found_new = node_hash(found_new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ConsistencyError(old, new, "the proof is too short")
    return found_old, found_new


def _verify_trivial(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check the two cases that need no proof: nothing was added, or all of it."""
    if proof:
        raise ConsistencyError(old, new, "the proof is too long")
    if old == 0 and old_root != EMPTY_ROOT:
        raise ConsistencyError(old, new, f"the empty tree has not root {old_root.hex()}")
    if old == new and old_root != new_root:
        raise ConsistencyError(old, new, f"one size with two roots, {old_root.hex()} and {new_root.hex()}")


def _split(size: int) -> int:
    """Give the largest power of two smaller than ``size`` (RFC 6962, 2.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_hash(start: int, end: int, nodes: Nodes) -> bytes:
    """Hash the leaves [start, end) as one subtree; ``start`` is where a split put it."""
    parts: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(nodes(level, start >> level))
        start += 1 << level
    return _fold(parts)


def _fold(parts: Sequence[bytes]) -> bytes:
    """Hash complete subtrees, largest first, into the root over all of them."""
    found = parts[-1]
    for part in parts[-2::-1]:
        found = node_hash(part, found)
    return found
