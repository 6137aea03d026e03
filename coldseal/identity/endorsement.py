"""Whether a chip is one that a known maker has made: its endorsement certificate, up to a trusted root.

Promises that a key is believed to be in a chip only where every link holds now and the certificate is one for
endorsement keys. Looks up nothing: roots and what stands between are in the operator's file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.attestation.structures import Attribute, Public
from coldseal.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

ENDORSEMENT_KEY: Final = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate: the certificate is for an endorsement key."""

_LONGEST_CHAIN: Final = 6
_MAKER: Final = x509.ObjectIdentifier("2.23.133.2.1")
_MODEL: Final = x509.ObjectIdentifier("2.23.133.2.2")
_VERSION: Final = x509.ObjectIdentifier("2.23.133.2.3")
_KNOWN: Final = {
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.NAME_CONSTRAINTS,
}
"""Extensions that may be critical; the first is so where the subject is empty."""
_OWN: Final = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
_MUST: Final = _OWN | Attribute.RESTRICTED | Attribute.DECRYPT


class Chip(NamedTuple):
    """A chip that is believed.

    Attributes:
        fingerprint: SHA-256 of its endorsement key: it never changes, and no other chip has it.
        model: maker, model and version, as the certificate says.
    """

    fingerprint: str
    model: str


def read_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the makers' CA certificates.

    Raises:
        OperatorError: the file is missing or holds none.
    """
    hint = "Name a PEM file with the CA certificates of your chips' maker, roots and intermediate ones"
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path}: {error}", hint) from error


def verify_endorsement(
    certificate: bytes, key: Public, roots: Sequence[x509.Certificate], *, now: datetime
) -> Chip:
    """Verify that an endorsement key is of a chip whose maker is known.

    Args:
        certificate: the endorsement certificate, DER.
        key: the endorsement key, as the chip shows it.
        roots: CA certificates of makers; a chain ends at one of them that is signed by itself.
        now: the moment at which all must be valid.

    Raises:
        InputError: the certificate cannot be read.
        AttestationError: `foreign-endorsement` for a chain that ends nowhere, `bad-endorsement` for a
            certificate that is not for this key, or for no endorsement key.
    """
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        shown = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        _require_profile(leaf)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("endorsement certificate", "DER", str(error), "an X.509 certificate") from error
    if shown != key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise AttestationError("bad-endorsement", "the certificate is for another key than the chip shows")
    if _MUST & ~key.attributes or Attribute.SIGN in key.attributes or not key.symmetric_bits:
        detail = f"a key with {key.attributes!r} is no endorsement key: it must be restricted to decryption"
        raise AttestationError("bad-endorsement", detail)
    _require_chain(leaf, roots, now)
    return Chip(hashlib.sha256(shown).hexdigest(), _model(leaf))


def _require_profile(leaf: x509.Certificate) -> None:
    """Insist on a certificate for endorsement keys (TCG EK Credential Profile 2.5, 3.1)."""
    extensions = leaf.extensions
    for extension in extensions:
        if extension.critical and extension.oid not in _KNOWN:
            raise AttestationError("bad-endorsement", f"unknown critical extension {extension.oid}")
    found = {type(extension.value): extension.value for extension in extensions}
    constraints = found.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise AttestationError("bad-endorsement", "it is the certificate of a CA")
    usage = found.get(x509.ExtendedKeyUsage)
    if isinstance(usage, x509.ExtendedKeyUsage) and ENDORSEMENT_KEY not in usage:
        raise AttestationError(
            "bad-endorsement", f"its extended key usage lacks {ENDORSEMENT_KEY.dotted_string}"
        )
    use = found.get(x509.KeyUsage)
    if not isinstance(use, x509.KeyUsage) or not (use.key_encipherment or use.key_agreement):
        raise AttestationError("bad-endorsement", "its key usage allows neither encipherment nor agreement")


def _require_chain(leaf: x509.Certificate, roots: Sequence[x509.Certificate], now: datetime) -> None:
    """Walk up from a certificate to a root, each link signed by the next one."""
    current = leaf
    for depth in range(_LONGEST_CHAIN):
        if not current.not_valid_before_utc <= now <= current.not_valid_after_utc:
            name = current.subject.rfc4514_string()
            raise AttestationError("foreign-endorsement", f"the certificate of {name!r} is not valid now")
        if depth and _is_signed_by(current, current):
            return
        above = next((each for each in roots if each != current and _may_issue(each, current, depth)), None)
        if above is None:
            name = current.issuer.rfc4514_string()
            raise AttestationError(
                "foreign-endorsement", f"no CA that is trusted signed in the name of {name!r}"
            )
        current = above
    raise AttestationError("foreign-endorsement", f"more than {_LONGEST_CHAIN} certificates up to a root")


def _may_issue(issuer: x509.Certificate, certificate: x509.Certificate, below: int) -> bool:
    """Whether a CA has signed a certificate, with so many CAs between it and the leaf."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    is_long = constraints.path_length is not None and constraints.path_length < below
    return constraints.ca and usage.key_cert_sign and not is_long and _is_signed_by(certificate, issuer)


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether names fit and the signature holds."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _model(leaf: x509.Certificate) -> str:
    """Read maker, model and version, which stand in the alternative name."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    said = []
    for name in names.get_values_for_type(x509.DirectoryName):
        for oid in (_MAKER, _MODEL, _VERSION):
            said += [str(each.value) for each in name.get_attributes_for_oid(oid)]
    return " ".join(said)[:100]
