"""A CA's key by its URI, as `cryptography` wants to sign with it: in a file, a token or a TPM.

Promises that the key signs, with ECDSA and SHA-256, and does nothing else: nobody can look at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from typing_extensions import override

from coldseal.errors import OperatorError
from coldseal.signing.keys import open_ecdsa

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed


class EcdsaSource(Protocol):
    """What signs for the key, such as an `EcdsaSigner` over whatever holds it."""

    @property
    def spki(self) -> bytes:
        """The public key, SubjectPublicKeyInfo in DER."""

    def sign(self, data: bytes) -> bytes:
        """Sign bytes with ECDSA and SHA-256; the answer is DER."""


class IssuingKey(ec.EllipticCurvePrivateKey):
    """A P-256 key that can sign certificates and lists."""

    def __init__(self, source: EcdsaSource) -> None:
        """Wrap what signs."""
        self._source = source
        public = load_der_public_key(source.spki)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise OperatorError("the key of a CA is no elliptic-curve key", "Name a P-256 key")
        self._public = public

    @override
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Give the public key."""
        return self._public

    @property
    @override
    def curve(self) -> ec.EllipticCurve:
        """Give the curve."""
        return self._public.curve

    @property
    @override
    def key_size(self) -> int:
        """Give the size of the curve, bits."""
        return self._public.key_size

    @override
    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign with SHA-256."""
        algorithm: hashes.HashAlgorithm | Prehashed = signature_algorithm.algorithm
        if not isinstance(algorithm, hashes.SHA256):
            raise TypeError(f"a CA signs with SHA-256, not {algorithm!r}")
        return self._source.sign(bytes(data))

    @override
    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Refuse: it only signs."""
        raise _refused()

    @override
    def private_numbers(self) -> NoReturn:
        """Refuse: it only signs."""
        raise _refused()

    @override
    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:
        """Refuse: it only signs."""
        raise _refused()

    @override
    def __copy__(self) -> IssuingKey:
        """Give itself: it never changes."""
        return self

    @override
    def __deepcopy__(self, memo: dict[int, Any]) -> IssuingKey:
        """Give itself: it never changes."""
        return self


def open_issuing_key(uri: str, *, base: Path) -> IssuingKey:
    """Open the key that a URI names.

    Args:
        uri: as of any signer, such as `file:PATH[?passphrase=REFERENCE]`.
        base: directory against which relative paths count.

    Raises:
        OperatorError: it is missing, open to others, not readable or not a P-256 key.
    """
    return IssuingKey(open_ecdsa(uri, base=base))


def _refused() -> TypeError:
    """Say that a CA's key only signs."""
    return TypeError("the key of a CA only signs")
