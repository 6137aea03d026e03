"""Verifier keys: what must be known beforehand to trust a line of a note.

The signature types of C2SP signed-note and tlog-cosignature that coldseal knows: Ed25519,
ECDSA over P-256, and the cosignature of a witness with its time. Verification raises; no
private key is held, and whether a time is plausible is not judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.core.log.note import KEY_ID_SIZE, is_key_name
from coldseal.core.log.signature import is_low_s
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from coldseal.core.log.note import NoteSignature

_ED25519_KEY_SIZE = 32
_ED25519_SIZE = 64
_TIME_SIZE = 8
_MAX_TIME = 2**63 - 1
_VKEY = re.compile(r"(?P<name>[^\s+]{1,255})\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/=]+)")


class Algorithm(IntEnum):
    """The signature types of C2SP signed-note that coldseal knows."""

    ED25519 = 1
    ECDSA = 2
    COSIGNATURE = 4


class CheckpointSignatureError(TrustError):
    """A signature line of a known key does not verify."""

    verdict = "checkpoint-signature"

    def __init__(self, name: str, key_id: bytes, why: str) -> None:
        """Keep whose line it is and what is wrong with it."""
        self.name = name
        self.key_id = key_id
        self.why = why
        super().__init__(f"signature of {name!r} (key id {key_id.hex()}): {why}")


class UnknownKeyError(CheckpointSignatureError):
    """A line bears the name of a known key, but the id of another one."""

    verdict = "unknown-key"


class MissingSignatureError(CheckpointSignatureError):
    """A required key has not signed."""

    verdict = "signature-missing"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under its name: what a verifier must know beforehand.

    ``public`` is the raw key of 32 bytes, or for `Algorithm.ECDSA` the DER SubjectPublicKeyInfo
    of a P-256 key.
    """

    name: str
    algorithm: int
    public: bytes

    def __post_init__(self) -> None:
        """Refuse a key that could never verify anything."""
        if not is_key_name(self.name):
            raise InputError("verifier key", "name", self.name, "1 to 255 characters without space or plus")
        if self.algorithm not in tuple(Algorithm):
            raise InputError(
                "verifier key", "algorithm", self.algorithm, "1 (Ed25519), 2 (ECDSA) or 4 (cosignature)"
            )
        if self.algorithm == Algorithm.ECDSA:
            _load_p256(self.public)
        elif len(self.public) != _ED25519_KEY_SIZE:
            raise InputError("verifier key", "public key", self.public, "32 bytes")

    @property
    def id(self) -> bytes:
        """The key id of 4 bytes."""
        if self.algorithm == Algorithm.ECDSA:
            return sha256(self.public).digest()[:KEY_ID_SIZE]
        return sha256(f"{self.name}\n".encode() + bytes([self.algorithm]) + self.public).digest()[
            :KEY_ID_SIZE
        ]

    def encode(self) -> str:
        """Give the vkey: ``name+hex of id+base64 of algorithm and key``."""
        return f"{self.name}+{self.id.hex()}+{encode_base64(bytes([self.algorithm]) + self.public)}"

    def verify(self, text: bytes, line: NoteSignature) -> None:
        """Check that ``line`` is this key's signature over the note text.

        Raises:
            CheckpointSignatureError: it is another key's line, or the signature is wrong.
        """
        if (line.name, line.key_id) != (self.name, self.id):
            raise CheckpointSignatureError(line.name, line.key_id, f"not a line of {self.encode()}")
        try:
            self._verify(text, line.signature)
        except InvalidSignature:
            raise CheckpointSignatureError(line.name, line.key_id, "it does not fit text and key") from None
        except InputError as fault:
            raise CheckpointSignatureError(line.name, line.key_id, str(fault)) from None

    def _verify(self, text: bytes, signature: bytes) -> None:
        """Check the bare signature; raises InvalidSignature or InputError."""
        if self.algorithm == Algorithm.ECDSA:
            if not is_low_s(signature):
                raise InputError("signature", "s", signature.hex(), "the lower of its two values")
            _load_p256(self.public).verify(signature, text, ec.ECDSA(hashes.SHA256()))
            return
        if self.algorithm == Algorithm.COSIGNATURE:
            time, signature = parse_cosignature(signature)
            text = cosignature_message(text, time)
        ed25519.Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key from its text form.

    Raises:
        InputError: malformed, of an unknown algorithm, or with an id that is not this key's.
    """
    found = _VKEY.fullmatch(text)
    if found is None:
        raise InputError("verifier key", "text", text, "name+8 hex digits+base64")
    key = parse_base64(found["key"], where="verifier key", field="key")
    made = VerifierKey(found["name"], key[0], key[1:])
    if made.id.hex() != found["id"]:
        raise InputError("verifier key", "id", found["id"], f"{made.id.hex()}, from name and key")
    return made


def cosignature_message(text: bytes, time: int) -> bytes:
    """Give what a witness signs: note text at ``time``, seconds since 1970 (C2SP tlog-cosignature).

    Raises:
        InputError: a time before 1970 or beyond 2^63 - 1.
    """
    _check_time(time)
    return b"cosignature/v1\ntime %d\n%b" % (time, text)


def encode_cosignature(time: int, signature: bytes) -> bytes:
    """Give the bytes of a cosignature line: time, then the Ed25519 signature of 64 bytes.

    Raises:
        InputError: a time as for `cosignature_message`, or a signature of another length.
    """
    _check_time(time)
    payload = time.to_bytes(_TIME_SIZE) + signature
    parse_cosignature(payload)
    return payload


def parse_cosignature(payload: bytes) -> tuple[int, bytes]:
    """Read time and Ed25519 signature from the bytes of a cosignature line.

    Raises:
        InputError: not 72 bytes, or a time beyond 2^63 - 1.
    """
    if len(payload) != _TIME_SIZE + _ED25519_SIZE:
        raise InputError("cosignature", "length", len(payload), f"{_TIME_SIZE + _ED25519_SIZE} bytes")
    time = int.from_bytes(payload[:_TIME_SIZE])
    _check_time(time)
    return time, payload[_TIME_SIZE:]


def _check_time(time: int) -> None:
    """Refuse a time that is not within 63 bits."""
    if not 0 <= time <= _MAX_TIME:
        raise InputError("cosignature", "time", time, f"0 to {_MAX_TIME}")


def _load_p256(spki: bytes) -> ec.EllipticCurvePublicKey:
    """Load a P-256 key from the one DER form of its SubjectPublicKeyInfo."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError("verifier key", "public key", spki.hex(), "SubjectPublicKeyInfo of a P-256 key")
    if key.public_bytes(*form) != spki:
        raise InputError("verifier key", "public key", spki.hex(), "uncompressed point in plain DER")
    return key
