"""Signers opened by URI: what they sign verifies with the public key they show, and nothing else leaks.

`file:PATH[?passphrase=REFERENCE]` opens a PEM PKCS#8 key of mode 0600, `pkcs11:` a token's key, `tpm:` a
chip's. The kind of key is checked: a record key is P-256, an interop or witness key Ed25519. Signers do not
judge what they are given; rotation and key timelines are the log's matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from coldseal.core.log.checkpoint import (
    Algorithm,
    NoteSignature,
    VerifierKey,
    cosignature_message,
    encode_cosignature,
)
from coldseal.core.log.record import key_id
from coldseal.core.log.signature import low_s
from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.holders import is_held, open_holder
from coldseal.signing.private_files import read_private_file, write_private_file
from coldseal.signing.secrets import read_secret

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_SHA256 = ec.ECDSA(hashes.SHA256())
_ED25519_BYTES = 32
_FORMS = "Write file:PATH, pkcs11:… or tpm:…"


class Holder(Protocol):
    """What holds a private key that never leaves it: a chip, a token.

    Attributes:
        spki: the public key, SubjectPublicKeyInfo in DER.
    """

    spki: bytes

    def sign(self, data: bytes) -> bytes:
        """Sign bytes as the key's kind does; UnavailableError where the holder is away."""


class EcdsaSigner:
    """Signs entries and checkpoints with a P-256 key: ECDSA with SHA-256, low-S, DER.

    Attributes:
        spki: the public key, SubjectPublicKeyInfo in DER.
        kid: first 16 hex digits of the SHA-256 of `spki`, as entries name the key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey | Holder) -> None:
        """Keep the key; `open_ecdsa` is the usual way here."""
        self._key = key
        self._verifiers: dict[str, VerifierKey] = {}
        self.spki = _public_bytes(key)
        self.kid = key_id(self.spki)

    @property
    def is_held(self) -> bool:
        """Whether a chip or a token signs: it takes its time, and may be away."""
        return not isinstance(self._key, ec.EllipticCurvePrivateKey)

    def sign(self, data: bytes) -> bytes:
        """Sign bytes; the answer is the one valid DER form with low S."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return low_s(self._key.sign(data, _SHA256))
        try:
            return low_s(self._key.sign(data))
        except OperatorError as error:  # the key is gone, or it refuses: nothing that whoever asks did
            raise UnavailableError("the key's chip or token", error.what) from error

    def note_signature(self, name: str, text: bytes) -> NoteSignature:
        """Sign a note's text as `name`, a line of type 0x02."""
        return NoteSignature(name, self.verifier_key(name).id, self.sign(text))

    def verifier_key(self, name: str) -> VerifierKey:
        """Show the public key under which the lines of `name` verify."""
        if name not in self._verifiers:  # checking the point costs more than a signature line may
            self._verifiers[name] = VerifierKey(name, Algorithm.ECDSA, self.spki)
        return self._verifiers[name]

    def vkey(self, name: str) -> str:
        """Write the public key as policies and genesis entries carry it."""
        return self.verifier_key(name).encode()


class Ed25519Signer:
    """Signs checkpoints with Ed25519: as the log itself, or as a witness with the time.

    Attributes:
        public: the public key, 32 raw bytes.
    """

    def __init__(self, key: ed25519.Ed25519PrivateKey | Holder) -> None:
        """Keep the key; `open_ed25519` is the usual way here."""
        self._key = key
        self.public = _public_bytes(key)[-_ED25519_BYTES:]

    @property
    def is_held(self) -> bool:
        """Whether a token signs: it takes its time, and may be away."""
        return not isinstance(self._key, ed25519.Ed25519PrivateKey)

    def sign(self, data: bytes) -> bytes:
        """Sign bytes; the answer has 64 bytes."""
        return self._key.sign(data)

    def note_signature(self, name: str, text: bytes) -> NoteSignature:
        """Sign a note's text as `name`, a line of type 0x01."""
        return NoteSignature(name, self.verifier_key(name).id, self.sign(text))

    def cosign(self, name: str, text: bytes, t: int) -> NoteSignature:
        """Cosign a checkpoint's text as witness `name` at Unix time `t` in seconds, a line of type 0x04."""
        signature = encode_cosignature(t, self.sign(cosignature_message(text, t)))
        return NoteSignature(name, self.verifier_key(name, cosigner=True).id, signature)

    def verifier_key(self, name: str, *, cosigner: bool = False) -> VerifierKey:
        """Show the public key under which the lines of `name`, or its cosignatures, verify."""
        return VerifierKey(name, Algorithm.COSIGNATURE if cosigner else Algorithm.ED25519, self.public)

    def vkey(self, name: str, *, cosigner: bool = False) -> str:
        """Write the public key as policies and genesis entries carry it."""
        return self.verifier_key(name, cosigner=cosigner).encode()


def generate_record_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key: for entries, or for checkpoints, never for both."""
    return ec.generate_private_key(ec.SECP256R1())


def generate_interop_key() -> ed25519.Ed25519PrivateKey:
    """Make an Ed25519 key: for a log's second checkpoint line, or for a witness."""
    return ed25519.Ed25519PrivateKey.generate()


def write_private_key(path: Path, key: PrivateKey, *, passphrase: bytes = b"") -> None:
    """Write a new key as PEM PKCS#8 with mode 0600; encrypted where a passphrase is given.

    Raises:
        OperatorError: the file exists already, or cannot be written.
    """
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    write_private_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def open_ecdsa(uri: str, *, base: Path) -> EcdsaSigner:
    """Open a P-256 signer.

    Args:
        uri: `file:PATH[?passphrase=REFERENCE]`, `pkcs11:…` (RFC 7512), or `tpm:HANDLE` and `tpm:key=FILE`.
        base: directory against which relative paths count.

    Raises:
        OperatorError: the key is missing, open to others, not readable or of another kind.
        UnavailableError: the chip or token that holds it is away.
    """
    if is_held(uri):
        holder = open_holder(uri, base)
        if _is_p256(load_der_public_key(holder.spki)):
            return EcdsaSigner(holder)
    else:
        key = _load(uri, base)
        if isinstance(key, ec.EllipticCurvePrivateKey) and _is_p256(key.public_key()):
            return EcdsaSigner(key)
    raise OperatorError(f"{uri} is not a P-256 key", "Name the record or checkpoint key here.")


def open_ed25519(uri: str, *, base: Path) -> Ed25519Signer:
    """Open an Ed25519 signer.

    Args:
        uri: `file:PATH[?passphrase=REFERENCE]` or `pkcs11:…` (RFC 7512); no TPM has such keys.
        base: directory against which relative paths count.

    Raises:
        OperatorError: the key is missing, open to others, not readable or of another kind.
        UnavailableError: the token that holds it is away.
    """
    if is_held(uri):
        holder = open_holder(uri, base)
        if isinstance(load_der_public_key(holder.spki), ed25519.Ed25519PublicKey):
            return Ed25519Signer(holder)
    else:
        key = _load(uri, base)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return Ed25519Signer(key)
    raise OperatorError(f"{uri} is not an Ed25519 key", "Name the interop or witness key here.")


def _is_p256(key: PublicKeyTypes) -> bool:
    """Whether a public key is of P-256."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def _public_bytes(key: PrivateKey | Holder) -> bytes:
    """Give a key's SubjectPublicKeyInfo in DER."""
    if isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.spki


def path_of(uri: str, base: Path) -> Path:
    """Give the file that a key's URI names.

    Raises:
        OperatorError: it names none.
    """
    scheme, _, rest = uri.partition(":")
    name = rest.partition("?")[0]
    if scheme != "file" or not name:
        raise OperatorError(f"{uri} names no key that can be opened", _FORMS)
    return base / name


def _load(uri: str, base: Path) -> PrivateKeyTypes:
    """Read the private key that a URI names."""
    path = path_of(uri, base)
    content = read_private_file(path)
    passphrase = passphrase_of(uri, base)
    try:
        return load_pem_private_key(content, passphrase)
    except TypeError as error:  # the key is encrypted and no passphrase was given, or the other way round
        hint = "Add ?passphrase=file:PATH or ?passphrase=env:NAME, for an encrypted key only."
        raise OperatorError(f"{path}: {error}", hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "Give a PEM PKCS#8 file and, if it is encrypted, its passphrase."
        raise OperatorError(f"{path} holds no private key that can be read", hint) from error


def passphrase_of(uri: str, base: Path) -> bytes | None:
    """Read the passphrase that a key's URI refers to; None without one.

    Raises:
        OperatorError: the URI has another option, or the passphrase cannot be read.
    """
    query = uri.partition("?")[2]
    if not query:
        return None
    pairs = parse_qsl(query)
    if len(pairs) != 1 or pairs[0][0] != "passphrase":
        raise OperatorError(f"{uri} has an unknown option", "Only ?passphrase=REFERENCE is known.")
    return read_secret(pairs[0][1], base)
