"""Signed content (CMS, RFC 5652) as timestamps use it: one signer, named by certificate, signed attributes.

`open_signed` raises unless the signature holds; whether its signer is trusted, `require_chain` says. Narrower
than CMS: DER throughout, one signer, SHA-2, and RSA (PKCS #1 v1.5) or ECDSA. Knows no timestamps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from coldseal.core.log import der
from coldseal.core.log.der import Der, Fields
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

MAX_CERTIFICATES: Final = 8
MAX_CHAIN: Final = 4
"""Certificates below a root, the signer's among them."""
MIN_RSA_BITS: Final = 2048
UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate raises."""

_SIGNED_DATA: Final = der.object_id("1.2.840.113549.1.7.2")
_CONTENT_TYPE: Final = der.object_id("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = der.object_id("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE: Final = der.object_id("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2: Final = der.object_id("1.2.840.113549.1.9.16.2.47")
_NULL: Final = b"\x05\x00"

_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
SHA256: Final = der.object_id("2.16.840.1.101.3.4.2.1")
_HASHES: Final[dict[bytes, hashes.HashAlgorithm]] = {
    SHA256: _SHA256,
    der.object_id("2.16.840.1.101.3.4.2.2"): _SHA384,
    der.object_id("2.16.840.1.101.3.4.2.3"): _SHA512,
}
_RSA: Final[dict[bytes, hashes.HashAlgorithm | None]] = {
    der.object_id("1.2.840.113549.1.1.1"): None,  # the hash is then the one of the attributes
    der.object_id("1.2.840.113549.1.1.11"): _SHA256,
    der.object_id("1.2.840.113549.1.1.12"): _SHA384,
    der.object_id("1.2.840.113549.1.1.13"): _SHA512,
}
_ECDSA: Final[dict[bytes, hashes.HashAlgorithm]] = {
    der.object_id("1.2.840.10045.4.3.2"): _SHA256,
    der.object_id("1.2.840.10045.4.3.3"): _SHA384,
    der.object_id("1.2.840.10045.4.3.4"): _SHA512,
}
_SOUND: Final = tuple(each.name for each in _HASHES.values())
_UNDERSTOOD: Final = frozenset(
    (x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid)  # if critical
)


class SignerError(TrustError):
    """Content is not signed by whom it names, or by nobody who is trusted."""

    verdict = "signed-content"


@dataclass(frozen=True, slots=True)
class SignedContent:
    """What was signed, and by whom.

    Attributes:
        content: the bytes.
        signer: the certificate whose key signed them.
        others: the other certificates that came along.
    """

    content: bytes
    signer: x509.Certificate
    others: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class _SignerInfo:
    """One signature with what it says about itself."""

    issuer: bytes
    serial: int
    digest: hashes.HashAlgorithm
    attributes: dict[bytes, Der]
    signed: bytes
    algorithm: bytes
    signature: bytes


def open_signed(what: str, data: bytes, content_type: bytes) -> SignedContent:
    """Read signed content and check its signature.

    Args:
        what: its name in errors.
        data: the ContentInfo.
        content_type: object identifier, as a whole value, of what must have been signed.

    Raises:
        InputError: it is malformed, or not of the kind that we read.
        SignerError: digest, certificate or signature do not fit.
    """
    info = Fields(what, der.read(what, data, der.SEQUENCE).content)
    _require(what, "type", info.take(der.OBJECT).raw, _SIGNED_DATA)
    wrapped = info.take(der.CONTEXT)
    info.end()
    fields = Fields(what, der.read(what, wrapped.content, der.SEQUENCE).content)
    fields.take(der.INTEGER)  # the version says nothing that the fields do not
    fields.take(der.SET)
    content = _content(what, fields.take(der.SEQUENCE), content_type)
    certificates = _certificates(what, fields.take(der.CONTEXT))
    fields.find(der.CONTEXT + 1)
    signers = der.split(what, fields.take(der.SET).content)
    fields.end()
    if len(signers) != 1:
        raise InputError(what, "signers", len(signers), "one")
    signer = _signer_info(what, signers[0])
    certificate = _certificate_of(signer, certificates)
    _check_attributes(what, signer, content, content_type, certificate)
    _check_signature(what, signer, certificate)
    return SignedContent(
        content, certificate, tuple(each for each in certificates if each is not certificate)
    )


def require_chain(
    signed: SignedContent, roots: Collection[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, ...]:
    """Give the certificates from the signer to a root, which all were valid ``at`` that time.

    Args:
        signed: what was signed; the certificates that came along are not trusted by themselves.
        roots: certificates that are trusted.
        at: UTC.

    Raises:
        SignerError: there are none.
    """
    roots = tuple(roots)
    chain = _ascend((signed.signer,), signed.others, roots, at)
    if chain is None:
        name = signed.signer.subject.rfc4514_string()
        raise SignerError(
            f"no chain of certificates valid at {at:%Y-%m-%d %H:%M:%SZ} leads from {name} to a root"
        )
    return chain


def read_algorithm(what: str, value: Der) -> bytes:
    """Give the object identifier of an algorithm that has no parameters but, perhaps, null.

    Raises:
        InputError: it has others.
    """
    fields = Fields(what, value.content)
    found = fields.take(der.OBJECT).raw
    rest = fields.rest()
    if [each.raw for each in rest] not in ([], [_NULL]):
        raise InputError(what, "parameters", rest[0].raw.hex(), "none, or null")
    return found


def _require(what: str, field: str, found: bytes, expected: bytes) -> None:
    """Refuse another value than the expected one."""
    if found != expected:
        raise InputError(what, field, found.hex(), expected.hex())


def _hash(what: str, algorithm: bytes) -> hashes.HashAlgorithm:
    """Give a hash by its object identifier."""
    if algorithm not in _HASHES:
        raise InputError(what, "hash", algorithm.hex(), "SHA-256, SHA-384 or SHA-512")
    return _HASHES[algorithm]


def _content(what: str, value: Der, content_type: bytes) -> bytes:
    """Take the signed bytes out of their wrapping."""
    fields = Fields(what, value.content)
    _require(what, "content type", fields.take(der.OBJECT).raw, content_type)
    wrapped = fields.take(der.CONTEXT)
    fields.end()
    return der.read(what, wrapped.content, der.OCTET_STRING).content


def _certificates(what: str, value: Der) -> list[x509.Certificate]:
    """Read the certificates that came along."""
    found = der.split(what, value.content)
    if len(found) > MAX_CERTIFICATES:
        raise InputError(what, "certificates", len(found), f"at most {MAX_CERTIFICATES}")
    try:
        certificates = [x509.load_der_x509_certificate(each.raw) for each in found]
        for each in certificates:
            _ = (
                each.extensions,
                each.subject,
                each.issuer,
            )  # all of it is read now, so that later nothing fails
    except UNREADABLE as fault:
        raise InputError(what, "certificate", str(fault), "X.509 in DER") from fault
    return certificates


def _signer_info(what: str, value: Der) -> _SignerInfo:
    """Read one signature."""
    fields = Fields(what, value.content)
    fields.take(der.INTEGER)
    names = Fields(what, fields.take(der.SEQUENCE).content)
    issuer, serial = names.take(der.SEQUENCE).raw, der.read_integer(what, names.take(der.INTEGER))
    names.end()
    digest = _hash(what, read_algorithm(what, fields.take(der.SEQUENCE)))
    attributes = fields.take(der.CONTEXT).content
    algorithm = read_algorithm(what, fields.take(der.SEQUENCE))
    signature = fields.take(der.OCTET_STRING).content
    fields.find(der.CONTEXT + 1)
    fields.end()
    # RFC 5652 5.4: signed as a SET, whatever tag they travel under
    signed = der.write(der.SET, attributes)
    return _SignerInfo(issuer, serial, digest, _attributes(what, attributes), signed, algorithm, signature)


def _attributes(what: str, content: bytes) -> dict[bytes, Der]:
    """Read the signed attributes: each is there once, with one value."""
    found: dict[bytes, Der] = {}
    for each in der.split(what, content):
        fields = Fields(what, each.content)
        name = fields.take(der.OBJECT).raw
        values = der.split(what, fields.take(der.SET).content)
        fields.end()
        if name in found or len(values) != 1:
            raise InputError(what, "attribute", name.hex(), "each once, with one value")
        found[name] = values[0]
    return found


def _certificate_of(signer: _SignerInfo, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """Find the signer's certificate."""
    for each in certificates:
        if each.serial_number == signer.serial and each.issuer.public_bytes() == signer.issuer:
            return each
    raise SignerError("the signer's certificate did not come along")


def _check_attributes(
    what: str, signer: _SignerInfo, content: bytes, content_type: bytes, certificate: x509.Certificate
) -> None:
    """Check that the attributes are about this content and this certificate (RFC 5652 11, RFC 5816)."""
    attributes = signer.attributes
    if _CONTENT_TYPE not in attributes or attributes[_CONTENT_TYPE].raw != content_type:
        raise SignerError("the signature is for another type of content")
    digest = der.write(der.OCTET_STRING, hashlib.new(signer.digest.name, content).digest())
    if _MESSAGE_DIGEST not in attributes or attributes[_MESSAGE_DIGEST].raw != digest:
        raise SignerError("the signature is for other content")
    if _SIGNING_CERTIFICATE_V2 in attributes:
        algorithm, found = _certificate_hash(what, attributes[_SIGNING_CERTIFICATE_V2], is_v2=True)
    elif _SIGNING_CERTIFICATE in attributes:
        algorithm, found = _certificate_hash(what, attributes[_SIGNING_CERTIFICATE], is_v2=False)
    else:
        raise SignerError("the signature does not say which certificate it goes with")
    if certificate.fingerprint(algorithm) != found:
        raise SignerError("the signature goes with another certificate")


def _certificate_hash(what: str, value: Der, *, is_v2: bool) -> tuple[hashes.HashAlgorithm, bytes]:
    """Read the hash of the signer's certificate: the first of SigningCertificate, or of its version 2."""
    whole = Fields(what, value.content)
    first = Fields(what, whole.take(der.SEQUENCE).content)
    entry = Fields(what, first.take(der.SEQUENCE).content)
    algorithm: hashes.HashAlgorithm = hashes.SHA256() if is_v2 else hashes.SHA1()  # noqa: S303 -- as v1 has it
    named = entry.find(der.SEQUENCE) if is_v2 else None
    if named is not None:
        algorithm = _hash(what, read_algorithm(what, named))
    return algorithm, entry.take(der.OCTET_STRING).content


def _check_signature(what: str, signer: _SignerInfo, certificate: x509.Certificate) -> None:
    """Check the signature with the certificate's key."""
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and signer.algorithm in _RSA and key.key_size >= MIN_RSA_BITS:
            algorithm = _RSA[signer.algorithm] or signer.digest
            key.verify(signer.signature, signer.signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and signer.algorithm in _ECDSA:
            key.verify(signer.signature, signer.signed, ec.ECDSA(_ECDSA[signer.algorithm]))
        else:
            raise InputError(what, "signature", signer.algorithm.hex(), "ECDSA, or RSA of 2048 bits or more")
    except InvalidSignature:
        raise SignerError("the signature does not verify") from None


def _ascend(
    below: tuple[x509.Certificate, ...],
    others: tuple[x509.Certificate, ...],
    roots: tuple[x509.Certificate, ...],
    at: datetime,
) -> tuple[x509.Certificate, ...] | None:
    """Go on from the last certificate to a root; every step tries each that may have issued it."""
    last = below[-1]
    if not _is_valid(last, at):
        return None
    if last in roots:
        return below
    for each in (*roots, *others):
        is_room = each in roots or len(below) < MAX_CHAIN
        if is_room and each not in below and _may_issue(each, len(below) - 1) and _is_issued_by(last, each):
            found = _ascend((*below, each), others, roots, at)
            if found is not None:
                return found
    return None


def _is_valid(certificate: x509.Certificate, at: datetime) -> bool:
    """Whether a certificate was in its time, and demands nothing that we do not understand."""
    unknown = (each for each in certificate.extensions if each.critical and each.oid not in _UNDERSTOOD)
    in_time = certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc
    return in_time and next(unknown, None) is None


def _may_issue(certificate: x509.Certificate, below: int) -> bool:
    """Whether this is a CA's certificate, with so many CAs below it (RFC 5280 4.2.1.3, 4.2.1.9)."""
    basic = usage = None
    for each in certificate.extensions:
        basic = each.value if isinstance(each.value, x509.BasicConstraints) else basic
        usage = each.value if isinstance(each.value, x509.KeyUsage) else usage
    if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
        return False
    return basic.path_length is None or below <= basic.path_length


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether one certificate's key signed another, with a hash that is still sound."""
    try:
        algorithm = certificate.signature_hash_algorithm
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return algorithm is not None and algorithm.name in _SOUND
