"""Whether an entry was signed by a given record key: the one check of its own that every verifier makes."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coldseal.core.log.record import key_id
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldseal.core.log.record import Entry
    from coldseal.core.log.signed import Signed, Usual

_DIGEST = ec.ECDSA(utils.Prehashed(hashes.SHA256()))  # hashing here takes less than having it done


def verify_entry(spki: bytes, mode: str, entry: Entry | Signed | Usual) -> str | None:
    """Say why an entry's own signature fails, or None if it holds."""
    public, kid = _load(spki)
    if entry.kid != kid:
        return "wrong-key"
    if entry.sig is None:
        return None if mode == "checkpoint" else "unsigned"
    try:
        public.verify(entry.sig, sha256(entry.body).digest(), _DIGEST)
    except InvalidSignature:
        return "bad-signature"
    return None


def are_signed(spki: bytes, signatures: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether each signature over a SHA-256 is by a record key; `verify_entry` says why an entry's fails."""
    try:
        verify = _load(spki)[0].verify
        for sig, digest in signatures:
            verify(sig, digest, _DIGEST)
    except (InvalidSignature, InputError):
        return False
    return True


@lru_cache(maxsize=1024)
def _load(spki: bytes) -> tuple[ec.EllipticCurvePublicKey, str]:
    """Load a record key once.

    Raises:
        InputError: it is no P-256 key.
    """
    public = load_der_public_key(spki)
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise InputError("record key", "curve", type(public).__name__, "P-256")
    return public, key_id(spki)
