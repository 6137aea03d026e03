"""Checks a log with aics-tlog: all notes, all tiles, all entries, and both kinds of proof."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter

from aics_tlog import (
    FileSystemTileReader,
    TileVerificationError,
    VerifiedTileReader,
    audit_tiles,
    consistency_proof_from_tiles,
    inclusion_proof_from_tiles,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
)

from tests.strangers.drivers.folder import Folder, RefusedError, answer


def check(folder: Folder, checked: Counter[str]) -> None:
    """Open every checkpoint, audit the folder against the newest, then prove and check."""
    roots = _roots(folder, checked)
    files, newest = FileSystemTileReader(folder.path), max(roots)
    try:
        checked["entries"] = audit_tiles(files, newest, roots[newest]).size
        readers = {size: VerifiedTileReader(files, size, root) for size, root in roots.items()}
        for reader in readers.values():
            reader.check_root()
    except (TileVerificationError, OSError) as error:
        raise RefusedError("root", error) from error
    for one in folder.question["inclusion"]:
        index, size, proof = one["index"], one["size"], [*map(b64decode, one["proof"])]
        if proof != inclusion_proof_from_tiles(readers[size], index, size):
            raise RefusedError("inclusion", "two proofs of one entry")
        if not verify_leaf_inclusion(readers[size].entry(index), index, size, proof, roots[size]):
            raise RefusedError("inclusion", index)
        checked["inclusion"] += 1
    for pair in folder.question["consistency"]:
        old, new, proof = pair["old"], pair["new"], [*map(b64decode, pair["proof"])]
        if proof != consistency_proof_from_tiles(readers[new], old, new):
            raise RefusedError("consistency", "two proofs of one pair")
        if not verify_consistency(old, new, roots[old], roots[new], proof):
            raise RefusedError("consistency", (old, new))
        checked["consistency"] += 1


def _roots(folder: Folder, checked: Counter[str]) -> dict[int, bytes]:
    """Give the root of each checkpoint; the log's Ed25519 key and the witness must have signed it."""
    witness, roots = parse_vkey(folder.question["witness"]), {}
    for each in folder.question["checkpoints"]:
        found = verify_checkpoint(
            parse_note(folder.note(each)),
            parse_vkey(each["keys"][1]),
            [witness],
            1,
            expected_origin=folder.question["origin"],
        )
        if not found.ok or found.size != each["size"]:
            raise RefusedError("checkpoint", found.error)
        roots[each["size"]] = found.root
        checked["checkpoints"] += 1
    return roots


if __name__ == "__main__":
    answer(check)
