"""Checks our proofs with tamperlog: inclusion and consistency. It knows no signatures."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter

from tamperlog.errors import ProofError
from tamperlog.merkle import leaf_hashes_for, verify_consistency, verify_inclusion

from tests.strangers.drivers.folder import Folder, RefusedError, answer


def check(folder: Folder, checked: Counter[str]) -> None:
    """Check every proof against the roots that the checkpoints name."""
    asked = folder.question
    roots = {each["size"]: b64decode(folder.note(each).split("\n")[2]) for each in asked["checkpoints"]}
    for one in asked["inclusion"]:
        index, size, proof = one["index"], one["size"], [*map(b64decode, one["proof"])]
        [leaf] = leaf_hashes_for([folder.entry(index, size)])
        try:
            verify_inclusion(index, size, leaf, proof, roots[size])
        except ProofError as error:
            raise RefusedError("inclusion", error) from error
        checked["inclusion"] += 1
    for pair in asked["consistency"]:
        old, new, proof = pair["old"], pair["new"], [*map(b64decode, pair["proof"])]
        try:
            verify_consistency(old, roots[old], new, roots[new], proof)
        except ProofError as error:
            raise RefusedError("consistency", error) from error
        checked["consistency"] += 1


if __name__ == "__main__":
    answer(check)
