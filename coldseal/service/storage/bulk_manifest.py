"""What the service signs of a range in the bulk tier: which file it is, and how its entries lead to a root.

A manifest is a signed note (C2SP signed-note) over two lines: what it is, and one JSON object. Its line is of
the witness's key as plain Ed25519, so that it can be no cosignature; its text can be no checkpoint.
Promises that a manifest which is given was signed by that key, and that its checkpoint bears its cosignature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    Algorithm,
    MissingSignatureError,
    VerifierKey,
    cosigned_at,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.layout import Layout
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.note import Note
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.checkpoint import Checkpoint
    from coldseal.signing.keys import Ed25519Signer

HEADER: Final = b"coldseal.bulk/v1\n"


class BulkDamagedError(TrustError):
    """The bulk tier does not hold what was written to it."""

    verdict = "bulk-damaged"

    def __init__(self, name: str, why: str) -> None:
        """Keep the facts."""
        self.name, self.why = name, why
        super().__init__(f"{name} is not what was written: {why}")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed of a range.

    Args:
        log: its origin.
        first: first seq.
        last: last seq.
        object: name of the file, beside the manifest.
        size: its length, bytes.
        sha256: its hash, hex.
        checkpoint: a cosigned checkpoint over at least this range: the receipt.
        proof: the hashes that, with those of the range's entries, give the checkpoint's root; base64 each.
        t: when it was written, RFC 3339.
    """

    log: str
    first: int
    last: int
    object: str
    size: int
    sha256: str
    checkpoint: str
    proof: tuple[str, ...]
    t: str

    @property
    def end(self) -> int:
        """The seq behind the last one."""
        return self.last + 1

    def receipt(self) -> Checkpoint:
        """Give its checkpoint; no signature is looked at."""
        return parse_checkpoint_text(parse_note(self.checkpoint.encode()).text)

    def layout(self) -> Layout:
        """Give the place of its range in the log of its checkpoint."""
        hashes = (canonical.parse_base64(text, where="manifest", field="proof") for text in self.proof)
        return Layout(self.receipt().size, ((self.first, self.end),), tuple(hashes))

    def verify_entries(self, entries: Sequence[bytes]) -> None:
        """Check that the entries of the range lead to the root of its checkpoint.

        Raises:
            BulkDamagedError: they do not, or are more or fewer.
        """
        if len(entries) != self.end - self.first:
            raise BulkDamagedError(self.object, f"it has {len(entries)} entries, not {self.end - self.first}")
        cover = self.layout().cover()
        list(cover.fill())
        cover.tree.extend([leaf_hash(raw) for raw in entries])
        list(cover.fill())
        if cover.tree.root() != self.receipt().root:
            raise BulkDamagedError(self.object, "its entries do not lead to the root that was cosigned")


def encode_manifest(manifest: Manifest, signer: Ed25519Signer, name: str) -> bytes:
    """Sign a manifest as the service of that name."""
    said = {**msgspec.structs.asdict(manifest), "proof": list(manifest.proof)}
    text = HEADER + canonical.encode(said) + b"\n"
    return Note(text, (signer.note_signature(name, text),)).encode()


def parse_manifest(data: bytes, witness: VerifierKey, where: str) -> Manifest:
    """Read a manifest, and verify its signature, its checkpoint's cosignature, and that both are of one log.

    Args:
        data: the signed note.
        witness: the service's witness key.
        where: its name, for errors.

    Raises:
        BulkDamagedError: it is none, or not as it was signed.
        CheckpointSignatureError: the service has not signed it, or has not cosigned its checkpoint.
    """
    signer = VerifierKey(witness.name, Algorithm.ED25519, witness.public)
    try:
        note = parse_note(data)
        line = next((each for each in note.signatures if each.key_id == signer.id), None)
        if line is None:
            raise MissingSignatureError(signer.name, signer.id, "the service has not signed the manifest")
        signer.verify(note.text, line)
        if not note.text.startswith(HEADER):
            raise BulkDamagedError(where, "what was signed is no manifest")
        found = msgspec.json.decode(note.text.removeprefix(HEADER), type=Manifest)
        cosigned_at(parse_note(found.checkpoint.encode()), witness)
        found.layout()
    except (InputError, msgspec.DecodeError) as error:
        raise BulkDamagedError(where, str(error)) from error
    if found.receipt().origin != found.log:
        raise BulkDamagedError(where, f"its checkpoint is of {found.receipt().origin}")
    return found
