"""Checks a log with sigstore, as it checks its own log: the ECDSA line, the root, the inclusion."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter

from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import LogCheckpoint, SignedNote, verify_checkpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.common.v1 import LogId, PublicKey, PublicKeyDetails
from sigstore_models.rekor import v1

from tests.strangers.drivers.folder import Checkpoint, Folder, Inclusion, RefusedError, answer


def check(folder: Folder, checked: Counter[str]) -> None:
    """Check each entry with the checkpoint of its size, and every other checkpoint's signature."""
    asked = folder.question
    checkpoints = {each["size"]: each for each in asked["checkpoints"]}
    for each in asked["checkpoints"]:
        key = b64decode(each["keys"][0].split("+", 2)[2])[1:]
        note = SignedNote.from_text(folder.note(each))
        try:
            note.verify(_keyring(key), _key_id(each))
        except VerificationError as error:
            raise RefusedError("checkpoint", error) from error
        found = LogCheckpoint.from_text(note.note)
        if (found.origin, found.log_size) != (asked["origin"], each["size"]):
            raise RefusedError("checkpoint", found)
        checked["checkpoints"] += 1
    for one in asked["inclusion"]:
        checkpoint = checkpoints[one["size"]]
        entry = _entry(folder, checkpoint, one)
        key = b64decode(checkpoint["keys"][0].split("+", 2)[2])[1:]
        try:
            verify_checkpoint(_keyring(key), entry)
            verify_merkle_inclusion(entry)
        except VerificationError as error:
            raise RefusedError("inclusion", error) from error
        checked["inclusion"] += 1


def _key_id(checkpoint: Checkpoint) -> bytes:
    """Give the id of the ECDSA key, as the line of its signature begins."""
    return bytes.fromhex(checkpoint["keys"][0].split("+", 2)[1])


def _keyring(spki: bytes) -> object:
    """Give a keyring with one key."""
    encoded = b64encode(spki)
    return Keyring([PublicKey(raw_bytes=encoded, key_details=PublicKeyDetails.PKIX_ECDSA_P256_SHA_256)])


def _entry(folder: Folder, checkpoint: Checkpoint, one: Inclusion) -> object:
    """Make an entry as sigstore has it: body, proof and signed checkpoint together."""
    note = folder.note(checkpoint)
    return TransparencyLogEntry(
        v1.TransparencyLogEntry(
            log_index=str(one["index"]),
            log_id=LogId(key_id=b64encode(_key_id(checkpoint))),
            kind_version=v1.KindVersion(kind="coldseal", version="1"),
            canonicalized_body=b64encode(folder.entry(one["index"], one["size"])),
            inclusion_proof=v1.InclusionProof(
                log_index=str(one["index"]),
                root_hash=note.split("\n")[2].encode(),
                tree_size=str(one["size"]),
                hashes=[step.encode() for step in one["proof"]],
                checkpoint=v1.Checkpoint(envelope=note),
            ),
        )
    )


if __name__ == "__main__":
    answer(check)
