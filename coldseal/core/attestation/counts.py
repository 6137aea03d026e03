"""A chip's word on its counter, bound to a checkpoint: what it says, whose it is, and that it only rises.

Promise: a certification counts only if the key that signs the checkpoint signed it, over that checkpoint,
and the value is above all that this key certified at smaller sizes. Whether a key lives in a chip is not seen
from here: that is attested where the gateway enrols. Works on bytes that somebody else has read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from coldseal.core.attestation.structures import NvInfo, parse_attest
from coldseal.core.log.note import NoteSignature
from coldseal.core.log.verifier import CheckpointSignatureError
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from coldseal.core.log.verifier import VerifierKey

VALUE_BYTES: Final = 8
"""Length of a counter in its NV index."""


class BadCountError(TrustError):
    """A certification of the counter does not prove what it is kept for."""

    verdict = "bad-counter"

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(f"the counter's certification does not hold: {reason}")


def parse_count(attest: bytes) -> tuple[int, bytes]:
    """Read what a chip stated of its counter: the value, and the hash that it was given.

    Raises:
        InputError: it is no statement on a counter.
    """
    stated = parse_attest(attest)
    found = stated.attested
    if not isinstance(found, NvInfo) or found.offset or len(found.content) != VALUE_BYTES:
        raise InputError("TPMS_ATTEST", "attested", type(found).__name__, f"a counter of {VALUE_BYTES} bytes")
    return int.from_bytes(found.content), stated.extra


def verify_count(attest: bytes, signature: bytes, text: bytes, key: VerifierKey) -> int:
    """Verify a certification of the counter at a checkpoint.

    Args:
        attest: TPMS_ATTEST, as the chip gave it.
        signature: over that, DER with the lower s.
        text: of the checkpoint.
        key: the P-256 key that signs the checkpoint.

    Returns:
        The value.

    Raises:
        BadCountError: it is no such certification, of another checkpoint, or not signed by the key.
    """
    try:
        value, extra = parse_count(attest)
        key.verify(attest, NoteSignature(key.name, key.id, signature))
    except InputError as error:
        raise BadCountError(str(error)) from error
    except CheckpointSignatureError as error:
        raise BadCountError(f"not signed by the checkpoint key {key.id.hex()}: {error.why}") from error
    if extra != hashlib.sha256(text).digest():
        raise BadCountError("it is of another checkpoint")
    return value


class Rising:
    """Follows the values of each key, over rising sizes."""

    def __init__(self) -> None:
        """Nothing was certified yet."""
        self._newest: dict[bytes, tuple[int, int]] = {}

    def take(self, key: VerifierKey, size: int, value: int) -> None:
        """Take the next value of a key.

        Raises:
            BadCountError: it is not above the one before.
        """
        before = self._newest.get(key.public)
        if before is not None and value <= before[0]:
            what = "repeats" if value == before[0] else "falls"
            raise BadCountError(f"it {what}: {value} at size {size}, {before[0]} at size {before[1]}")
        self._newest[key.public] = value, size
