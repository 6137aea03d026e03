"""Whether each entry of a stored bundle is well-formed and signed by its log's record key.

An entry that is not is refuted: named with its reason, never dropped, and nothing behind it waits.
Works on undecoded bundles so that worker processes can do it; knows no chain and no tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import key_id, parse_entry, parse_frames
from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.log.record import Entry

_SHA256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Refutation:
    """One entry that a signed checkpoint covers but that fails by itself.

    Attributes:
        seq: its place.
        leaf: its leaf hash.
        reason: ``malformed``, ``unsigned``, ``wrong-key`` or ``bad-signature``.
        detail: what was found, for people.
    """

    seq: int
    leaf: bytes
    reason: str
    detail: str = ""


def refute(spki: bytes, mode: str, first: int, bundle: bytes) -> list[Refutation]:
    """Check every entry of a bundle by itself.

    Args:
        spki: the record key, SubjectPublicKeyInfo DER.
        mode: the log's sealing mode; in ``checkpoint`` an entry may be unsigned.
        first: seq of the first entry.
        bundle: framed entries.
    """
    found = []
    for seq, raw in enumerate(parse_frames(bundle), first):
        try:
            entry = parse_entry(raw)
        except InputError as fault:
            found.append(Refutation(seq, leaf_hash(raw), "malformed", str(fault)))
            continue
        if (reason := verify_entry(spki, mode, entry)) is not None:
            found.append(Refutation(seq, leaf_hash(raw), reason))
    return found


def verify_entry(spki: bytes, mode: str, entry: Entry) -> str | None:
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
