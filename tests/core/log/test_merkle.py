"""The Merkle tree: known roots and proofs, and that no other proof is ever accepted."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.merkle import (
    EMPTY_ROOT,
    CompactRange,
    ConsistencyError,
    InclusionError,
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from coldseal.errors import InputError, TrustError


class Inclusion(TypedDict):
    """A known proof that a leaf is in a tree."""

    index: int
    size: int
    proof: list[str]


class Consistency(TypedDict):
    """A known proof that one tree extends another."""

    old: int
    new: int
    proof: list[str]


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "merkle.json").read_text("utf-8"))
LEAVES = [leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
TREE = MerkleTree(LEAVES)
OTHER = sha256(b"some other hash").digest()

hashes = st.binary(min_size=32, max_size=32)


def _numbered(size: int) -> MerkleTree:
    """Build a tree over the hashes of the first numbers."""
    return MerkleTree(leaf_hash(b"%d" % number) for number in range(size))


def _defined_root(leaves: Sequence[bytes]) -> bytes:
    """Hash a tree as RFC 6962, 2.1 defines it, by recursion."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(_defined_root(leaves[:split]), _defined_root(leaves[split:]))


def _corrupted(proof: list[bytes]) -> list[list[bytes]]:
    """Spoil a proof in every simple way: too long, too short, one bit, one order."""
    spoiled = [[*proof, OTHER], [OTHER, *proof], [*proof, b""], [b"", *proof], [*proof, EMPTY_ROOT]]
    for at in range(len(proof)):
        flipped = bytes([proof[at][0] ^ 8]) + proof[at][1:]
        spoiled += [proof[:at] + proof[at + 1 :], [*proof[:at], flipped, *proof[at + 1 :]], proof[:at]]
        spoiled += [[*proof[:at], OTHER, *proof[at:]], [*proof[:at], proof[at], *proof[at:]]]
    return spoiled + ([proof[::-1]] if proof != proof[::-1] else [])


def _includes(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Whether the proof is accepted; any error but the right one passes through."""
    try:
        verify_inclusion(leaf, index, size, proof, root)
    except InclusionError:
        return False
    return True


def _extends(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether the proof is accepted; any error but the right one passes through."""
    try:
        verify_consistency(old, old_root, new, new_root, proof)
    except ConsistencyError:
        return False
    return True


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_known_ones_at_each_size(size: int) -> None:
    """The whole tree and the compact range give the published roots."""
    small = CompactRange()
    for leaf in LEAVES[:size]:
        small.append(leaf)
    assert small.root() == TREE.root(size) == ROOTS[size]
    assert small.size == size


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda v: f"{v['index']} in {v['size']}")
def test_inclusion_proofs_are_the_known_ones(vector: Inclusion) -> None:
    """Making gives the published proof, checking accepts it."""
    index, size, proof = vector["index"], vector["size"], [bytes.fromhex(step) for step in vector["proof"]]
    assert inclusion_proof(index, size, TREE.nodes) == proof
    verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda v: f"{v['old']} to {v['new']}")
def test_consistency_proofs_are_the_known_ones(vector: Consistency) -> None:
    """Making gives the published proof, checking accepts it."""
    old, new, proof = vector["old"], vector["new"], [bytes.fromhex(step) for step in vector["proof"]]
    assert consistency_proof(old, new, TREE.nodes) == proof
    verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)


@pytest.mark.parametrize("size", range(1, 34))
def test_every_leaf_of_every_small_tree_is_proven(size: int) -> None:
    """All places in all trees up to 33 leaves, and no spoiled proof among them."""
    tree = _numbered(size)
    for index in range(size):
        leaf, root = tree.nodes(0, index), tree.root()
        proof = inclusion_proof(index, size, tree.nodes)
        verify_inclusion(leaf, index, size, proof, root)
        assert not any(_includes(leaf, index, size, spoiled, root) for spoiled in _corrupted(proof))
        assert not _includes(OTHER, index, size, proof, root)
        assert not _includes(leaf, index, size, proof, OTHER)


@pytest.mark.parametrize("new", range(1, 26))
def test_every_small_tree_extends_every_smaller_one(new: int) -> None:
    """All pairs up to 25 leaves, and no spoiled proof among them."""
    tree = _numbered(new)
    for old in range(1, new):
        roots = tree.root(old), tree.root(new)
        proof = consistency_proof(old, new, tree.nodes)
        verify_consistency(old, roots[0], new, roots[1], proof)
        assert not any(_extends(old, roots[0], new, roots[1], spoiled) for spoiled in _corrupted(proof))
        assert not _extends(old, OTHER, new, roots[1], proof)
        assert not _extends(old, roots[0], new, OTHER, proof)
        assert not _extends(old, roots[1], new, roots[0], proof)


@given(size=st.integers(1, 200), data=st.data())
def test_an_inclusion_proof_holds_for_no_other_place(size: int, data: st.DataObject) -> None:
    """A proof ties its leaf to one index: claiming another one fails."""
    tree = _numbered(size)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(-2, size + 2))
    proof = inclusion_proof(index, size, tree.nodes)
    assert _includes(tree.nodes(0, index), other, size, proof, tree.root()) == (other == index)


@given(sizes=st.lists(st.integers(0, 300), min_size=3, max_size=3).map(sorted), fork=st.integers(0, 299))
def test_a_forked_history_is_never_consistent(sizes: list[int], fork: int) -> None:
    """A tree that differs in one old leaf has no proof made from its own nodes."""
    old, new = sizes[1], sizes[2]
    honest = _numbered(new)
    forged = MerkleTree(OTHER if at == fork else leaf_hash(b"%d" % at) for at in range(new))
    proof = consistency_proof(old, new, forged.nodes)
    assert _extends(old, honest.root(old), new, forged.root(), proof) == (fork >= old)


@given(before=st.integers(0, 70), leaves=st.lists(hashes, max_size=80))
def test_leaves_added_together_are_leaves_added_one_by_one(before: int, leaves: list[bytes]) -> None:
    """Wherever the range stands, the same subtrees remain, and the leaves that were given are not touched."""
    alone, together = CompactRange(), CompactRange()
    for number in range(before):
        alone.append(leaf_hash(b"%d" % number))
        together.append(leaf_hash(b"%d" % number))
    given_leaves = tuple(leaves)
    for leaf in leaves:
        alone.append(leaf)
    together.extend(leaves)
    assert (together.size, together.hashes) == (alone.size, alone.hashes)
    assert tuple(leaves) == given_leaves


@given(leaves=st.lists(hashes, min_size=1, max_size=80))
def test_roots_are_those_of_the_recursive_definition(leaves: list[bytes]) -> None:
    """The tree, the range, and a range continued from its hashes agree with the definition."""
    small = CompactRange()
    for leaf in leaves:
        small = CompactRange.from_hashes(small.size, small.hashes)
        small.append(leaf)
    assert small.root() == MerkleTree(leaves).root() == _defined_root(leaves)


@given(
    index=st.integers(-3, 2**60),
    size=st.integers(-3, 2**60),
    leaf=st.binary(max_size=33),
    proof=st.lists(st.binary(max_size=33), max_size=70),
    root=st.binary(max_size=33),
)
def test_arbitrary_inclusion_proofs_are_refused(
    index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes
) -> None:
    """Whatever the numbers, the answer is a refusal and comes at once."""
    assert not _includes(leaf, index, size, proof, root + b"!")


@given(
    old=st.integers(-3, 2**60),
    new=st.integers(-3, 2**60),
    roots=st.tuples(hashes, hashes),
    proof=st.lists(st.binary(max_size=33), max_size=70),
)
def test_arbitrary_consistency_proofs_are_refused(
    old: int, new: int, roots: tuple[bytes, bytes], proof: list[bytes]
) -> None:
    """Whatever the numbers, the answer is a refusal and comes at once."""
    assert not _extends(old, roots[0], new, b"!" + roots[1], [*proof, b""])


def test_everything_extends_the_empty_tree_and_itself() -> None:
    """These two cases need no proof, and accept none."""
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    verify_consistency(0, EMPTY_ROOT, 8, ROOTS[8], [])
    verify_consistency(8, ROOTS[8], 8, ROOTS[8], [])
    assert consistency_proof(0, 8, TREE.nodes) == consistency_proof(8, 8, TREE.nodes) == []
    assert not _extends(0, EMPTY_ROOT, 8, ROOTS[8], [ROOTS[8]])
    assert not _extends(8, ROOTS[8], 8, ROOTS[8], [ROOTS[8]])
    assert not _extends(0, ROOTS[1], 8, ROOTS[8], [])


def test_one_size_with_two_roots_is_a_fork() -> None:
    """The shortest fork: nothing was added, yet the root differs."""
    with pytest.raises(ConsistencyError, match="one size with two roots") as caught:
        verify_consistency(8, ROOTS[8], 8, ROOTS[7], [])
    assert (caught.value.old, caught.value.new, caught.value.verdict) == (8, 8, "inconsistent")


def test_a_log_that_shrank_is_not_consistent() -> None:
    """An old disk image shows itself by its smaller size."""
    with pytest.raises(ConsistencyError, match="not in order"):
        verify_consistency(8, ROOTS[8], 7, ROOTS[7], [])


def test_errors_of_proofs_are_matters_of_trust() -> None:
    """They carry what was claimed and a verdict of their own."""
    with pytest.raises(TrustError) as caught:
        verify_inclusion(LEAVES[0], 8, 8, [], ROOTS[8])
    assert isinstance(caught.value, InclusionError)
    assert (caught.value.index, caught.value.size, caught.value.verdict) == (8, 8, "not-included")
    assert caught.value.why == "the tree has no such leaf"


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0)])
def test_no_inclusion_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    """Asking for one is the asker's fault."""
    with pytest.raises(InputError, match="inclusion proof: index"):
        inclusion_proof(index, size, TREE.nodes)


@pytest.mark.parametrize(("old", "new"), [(-1, 8), (8, 7)])
def test_no_consistency_proof_backwards(old: int, new: int) -> None:
    """Asking for one is the asker's fault."""
    with pytest.raises(InputError, match="consistency proof: old size"):
        consistency_proof(old, new, TREE.nodes)


@pytest.mark.parametrize(("level", "index"), [(0, 8), (4, 0), (1, 4), (-1, 0), (0, -1)])
def test_a_tree_has_only_its_complete_subtrees(level: int, index: int) -> None:
    """Another node is refused, not invented."""
    with pytest.raises(InputError, match="tree: node"):
        TREE.nodes(level, index)


@pytest.mark.parametrize("size", [-1, 9])
def test_a_tree_has_no_root_beyond_its_size(size: int) -> None:
    """What is not there has no root."""
    with pytest.raises(InputError, match="tree: size"):
        TREE.root(size)


@pytest.mark.parametrize(
    ("size", "kept"), [(-1, []), (0, [OTHER]), (1, []), (3, [OTHER]), (2, [OTHER, OTHER]), (1, [b"short"])]
)
def test_a_range_is_restored_only_from_what_fits_its_size(size: int, kept: list[bytes]) -> None:
    """One hash of 32 bytes for each bit of the size, nothing else."""
    with pytest.raises(InputError, match="compact range: hashes"):
        CompactRange.from_hashes(size, kept)


def test_a_copied_range_goes_its_own_way() -> None:
    """Appending to a copy leaves the first one as it was."""
    first = CompactRange.from_hashes(1, [LEAVES[0]])
    second = first.copy()
    second.append(LEAVES[1])
    assert (first.size, first.root()) == (1, ROOTS[1])
    assert (second.size, second.root()) == (2, ROOTS[2])
