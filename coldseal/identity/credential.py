"""A secret that only one chip can open, and only while a certain key is in it: TPM2_MakeCredential.

Promise: what is made here for an endorsement key and a name is opened by TPM2_ActivateCredential of that chip
for the key of that name, and by nothing else. What it draws at random is used once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from coldseal.core.attestation.structures import HASHES, Public

if TYPE_CHECKING:
    from coldseal.core.attestation.structures import Algorithm

_IDENTITY: Final = b"IDENTITY\0"
_BLOCK: Final = 16
_ALGORITHMS: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


class Credential(NamedTuple):
    """What goes to the chip.

    Attributes:
        blob: TPM2B_ID_OBJECT: the secret, encrypted, under a MAC with the name of the key.
        secret: TPM2B_ENCRYPTED_SECRET: what the endorsement key opens first.
    """

    blob: bytes
    secret: bytes


def make_credential(endorsement: Public, name: bytes, secret: bytes) -> Credential:
    """Lock a secret away (TPM 2.0 part 1, 24.4 and 24.5).

    Args:
        endorsement: the chip's endorsement key, of RSA or on a curve.
        name: name of the key that must be in the chip.
        secret: what is locked away, at most a hash long.
    """
    digest = endorsement.name_digest
    if isinstance(endorsement.key, ec.EllipticCurvePublicKey):
        seed, encrypted = _exchanged(endorsement.key, digest)
    else:
        seed = secrets.token_bytes(_size(digest))
        encrypted = endorsement.key.encrypt(seed, _oaep(digest))
    key = _kdfa(digest, seed, b"STORAGE\0", name, endorsement.symmetric_bits)
    encryptor = Cipher(AES(key), CFB(bytes(_BLOCK))).encryptor()
    hidden = encryptor.update(_sized(secret)) + encryptor.finalize()
    mac_key = _kdfa(digest, seed, b"INTEGRITY\0", b"", 8 * _size(digest))
    mac = hmac.digest(mac_key, hidden + name, HASHES[digest])
    return Credential(_sized(_sized(mac) + hidden), _sized(encrypted))


def _oaep(digest: Algorithm) -> padding.OAEP:
    """Give the padding of RSA (part 1, B.10.4)."""
    algorithm = _ALGORITHMS[HASHES[digest]]
    return padding.OAEP(padding.MGF1(algorithm), algorithm, _IDENTITY)


def _exchanged(key: ec.EllipticCurvePublicKey, digest: Algorithm) -> tuple[bytes, bytes]:
    """Agree on a seed with a key on a curve (part 1, C.6.1); give it with the point that goes along."""
    size = (key.curve.key_size + 7) // 8
    once = ec.generate_private_key(key.curve)
    ours, theirs = once.public_key().public_numbers(), key.public_numbers()
    x = ours.x.to_bytes(size)
    parties = x + theirs.x.to_bytes(size)
    shared = once.exchange(ec.ECDH(), key)
    seed = hashlib.new(HASHES[digest], (1).to_bytes(4) + shared + _IDENTITY + parties).digest()  # KDFe
    return seed, _sized(x) + _sized(ours.y.to_bytes(size))


def _kdfa(digest: Algorithm, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Derive a key (part 1, 11.4.10.2); no more than one hash is ever needed here."""
    message = (1).to_bytes(4) + label + context + bits.to_bytes(4)
    return hmac.digest(key, message, HASHES[digest])[: bits // 8]


def _size(digest: Algorithm) -> int:
    """Give the length of a hash."""
    return hashlib.new(HASHES[digest]).digest_size


def _sized(content: bytes) -> bytes:
    """Write bytes behind their length (TPM2B)."""
    return len(content).to_bytes(2) + content
