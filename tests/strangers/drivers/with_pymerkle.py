"""Builds the tree of a log anew with pymerkle, from its entries, and compares. It knows no signatures."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter

from pymerkle import InmemoryTree, InvalidProof, verify_consistency, verify_inclusion

from tests.strangers.drivers.folder import WIDTH, Folder, RefusedError, answer


def check(folder: Folder, checked: Counter[str]) -> None:
    """Compare every leaf with the tiles and every root with the checkpoints; then its own proofs."""
    asked = folder.question
    roots = {each["size"]: b64decode(folder.note(each).split("\n")[2]) for each in asked["checkpoints"]}
    tree, size = InmemoryTree(algorithm="sha256"), max(roots)
    for number in range(-(-size // WIDTH)):
        for entry, leaf in zip(folder.bundle(number, size), folder.leaves(number, size), strict=True):
            if tree.get_leaf(tree.append_entry(entry)) != leaf:
                raise RefusedError("root", f"entry {tree.get_size() - 1} and its leaf hash differ")
    for each, root in roots.items():
        if tree.get_size() < each or tree.get_root(each) != root:
            raise RefusedError("root", each)
        checked["checkpoints"] += 1
    try:
        for one in asked["inclusion"]:
            leaf = tree.get_leaf(one["index"] + 1)
            verify_inclusion(leaf, roots[one["size"]], tree.prove_inclusion(one["index"] + 1, one["size"]))
            checked["inclusion"] += 1
        for pair in asked["consistency"]:
            proof = tree.prove_consistency(pair["old"], pair["new"])
            verify_consistency(roots[pair["old"]], roots[pair["new"]], proof)
            checked["consistency"] += 1
    except InvalidProof as error:
        raise RefusedError("proof", error) from error


if __name__ == "__main__":
    answer(check)
