"""Whether an entry was signed by a given record key: the one check of its own that every verifier makes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coldseal.core.log.record import key_id
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldseal.core.log.record import Entry
    from coldseal.core.log.signed import Signed, Usual

_SHA256 = ec.ECDSA(hashes.SHA256())


def verify_entry(spki: bytes, mode: str, entry: Entry | Signed | Usual) -> str | None:
    """Say why an entry's own signature fails, or None if it holds."""
    public, kid = _load(spki)
    if entry.kid != kid:
        return "wrong-key"
    if entry.sig is None:
        return None if mode == "checkpoint" else "unsigned"
    try:
        public.verify(entry.sig, entry.body, _SHA256)
    except InvalidSignature:
        return "bad-signature"
    return None


def are_signed(spki: bytes, signatures: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether each signature over a body is by a record key; `verify_entry` says why an entry's fails."""
    try:
        verify = _load(spki)[0].verify
        for sig, body in signatures:
            verify(sig, body, _SHA256)
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
