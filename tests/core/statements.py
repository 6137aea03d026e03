"""What a chip states of its counter, made piece by piece, so that each piece can be made wrong."""

from __future__ import annotations

from coldseal.core.attestation.structures import GENERATED, Tag

INDEX = bytes.fromhex("000b") + bytes(32)
SIGNER = bytes.fromhex("000b") + bytes(range(32))


def statement(
    value: int,
    extra: bytes,
    *,
    magic: int = GENERATED,
    tag: int = Tag.NV,
    safe: int = 1,
    offset: int = 0,
    size: int = 8,
    behind: bytes = b"",
) -> bytes:
    """Give a TPMS_ATTEST of an NV index."""
    content = value.to_bytes(size)
    return b"".join(
        (
            magic.to_bytes(4),
            tag.to_bytes(2),
            *(len(part).to_bytes(2) + part for part in (SIGNER, extra)),
            (123_456).to_bytes(8),
            (7).to_bytes(4),
            bytes(4),
            safe.to_bytes(1),
            bytes(8),
            len(INDEX).to_bytes(2) + INDEX,
            offset.to_bytes(2),
            len(content).to_bytes(2) + content,
            behind,
        )
    )
