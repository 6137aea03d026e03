"""The bodies of Enrolment over Secure Transport (RFC 7030, corrected by RFC 8951), for both ends.

Promises that whoever made a request holds its key, and that the key is strong. What a request says of role
and name is only said: `asked_of` reads it, and another decides. No I/O, no clock.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from coldseal.errors import InputError
from coldseal.identity.peer import Role, common_name, identity_of
from coldseal.identity.profiles import alternative_names, hosts_of, subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificateIssuerPublicKeyTypes,
    )

PREFIX: Final = "/.well-known/est"
CACERTS: Final = f"{PREFIX}/cacerts"
CSRATTRS: Final = f"{PREFIX}/csrattrs"
SIMPLEENROLL: Final = f"{PREFIX}/simpleenroll"
SIMPLEREENROLL: Final = f"{PREFIX}/simplereenroll"
LISTS: Final = "/crl.pem"
"""The revocation lists of the issuing CAs, PEM; beside the protocol, which has no way to them."""

REQUEST_TYPE: Final = "application/pkcs10"
CERTIFICATES_TYPE: Final = "application/pkcs7-mime; smime-type=certs-only"
"""Of what simpleenroll and simplereenroll answer."""
CACERTS_TYPE: Final = "application/pkcs7-mime"
"""Of what cacerts answers; a client takes it with or without the parameter."""
CSRATTRS_TYPE: Final = "application/csrattrs"
ENCODING: Final = {"Content-Transfer-Encoding": "base64"}
"""RFC 8951 3 makes this header meaningless; older clients look for it."""

MAX_REQUEST: Final = 16_384
"""Bytes of a request."""
MAX_CERTIFICATES: Final = 262_144
"""Bytes of an answer that a client reads."""

MIN_RSA_BITS: Final = 3072
MAX_RSA_BITS: Final = 8192
"""A larger key would cost its verifiers time, and protects no better."""
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_STRONG: Final = f"P-256, P-384, P-521, Ed25519, or RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
_WHERE: Final = "certificate request"
_LINE: Final = 64

_ATTRIBUTES: Final = bytes.fromhex(
    "3021"  # CsrAttrs ::= SEQUENCE OF AttrOrOID (RFC 7030 4.5.2)
    "3015 06072a8648ce3d0201"  # an Attribute: id-ecPublicKey, with the values
    "310a 06082a8648ce3d030107"  # secp256r1
    "06082a8648ce3d040302"  # and an object identifier alone: ecdsa-with-SHA256
)


class Asked(msgspec.Struct, frozen=True):
    """What a request says of its holder.

    Args:
        role: the role, None where only a common name is given.
        name: the name.
        hosts: names and addresses beside loopback.
    """

    role: Role | None
    name: str
    hosts: tuple[str, ...]


def make_request(
    key: CertificateIssuerPrivateKeyTypes, role: Role, name: str, hosts: Sequence[str] = ()
) -> x509.CertificateSigningRequest:
    """Ask for a certificate with the same subject and names that an issued one has.

    Args:
        key: the holder's key; the request is signed with it.
        role: what the holder is.
        name: its name.
        hosts: names and addresses that it is reached by, beside loopback.

    Raises:
        InputError: the name or a host is not acceptable.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(name))
    builder = builder.add_extension(alternative_names(role, name, hosts), critical=False)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def encode_request(request: x509.CertificateSigningRequest) -> bytes:
    """Write a request as the body of simpleenroll and simplereenroll."""
    return _encode(request.public_bytes(Encoding.DER))


def parse_request(body: bytes) -> x509.CertificateSigningRequest:
    """Read a request, and check that its sender holds the key, and that the key is strong.

    Raises:
        InputError: it is not base64, not a request, not signed by its own key, or the key or hash is weak.
    """
    content = _decode(body, MAX_REQUEST, _WHERE)
    try:
        request = x509.load_der_x509_csr(content)
        key = request.public_key()
        algorithm = request.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise InputError(_WHERE, "PKCS#10", str(error), f"a DER request for a key of {_STRONG}") from error
    require_strong(key, _WHERE)
    if not isinstance(key, ed25519.Ed25519PublicKey) and not isinstance(algorithm, _HASHES):
        raise InputError(_WHERE, "signature", algorithm and algorithm.name, "SHA-256, SHA-384 or SHA-512")
    if not request.is_signature_valid:
        raise InputError(_WHERE, "signature", "wrong", "made by the key that the request names")
    return request


def require_strong(key: object, where: str) -> CertificateIssuerPublicKeyTypes:
    """Insist on a public key that a certificate may be issued for.

    Raises:
        InputError: its curve or length is weak, or its kind is not known.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return key
    raise InputError(where, "key", _describe(key), _STRONG)


def asked_of(request: x509.CertificateSigningRequest) -> Asked:
    """Read what a request says of its holder; nothing of it is granted by that.

    Raises:
        InputError: its names are not well formed, contradict each other, or are of an unknown kind.
    """
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    except (ValueError, x509.DuplicateExtension) as error:
        raise InputError(_WHERE, "extensions", str(error), "well-formed extensions, each once") from error
    known = (x509.UniformResourceIdentifier, x509.DNSName, x509.IPAddress)
    for each in names:
        if not isinstance(each, known):
            raise InputError(_WHERE, "subjectAltName", type(each).__name__, "URI, DNS name or IP address")
    role, name = identity_of(request, _WHERE) if _has_uri(names) else (None, common_name(request, _WHERE))
    return Asked(role, name, hosts_of(names))


def names_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> frozenset[x509.GeneralName]:
    """Give the alternative names, to be compared: their order does not matter.

    Raises:
        InputError: the extensions are not well formed.
    """
    try:
        return frozenset(holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return frozenset()
    except (ValueError, x509.DuplicateExtension) as error:
        raise InputError(_WHERE, "extensions", str(error), "well-formed extensions, each once") from error


def encode_certificates(certificates: Sequence[x509.Certificate]) -> bytes:
    """Write certificates as the body of an answer: certs-only PKCS#7 in base64."""
    return _encode(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


def parse_certificates(body: bytes) -> list[x509.Certificate]:
    """Read the certificates of an answer, at least one, in the order in which they stand.

    Raises:
        InputError: it is not base64, no certs-only PKCS#7 in DER, or empty.
    """
    content = _decode(body, MAX_CERTIFICATES, "certificates")
    if content[1:2] == b"\x80":  # BER's indefinite length, which nobody needs here
        raise InputError("certificates", "PKCS#7", content[:16], "DER")
    try:
        found = pkcs7.load_der_pkcs7_certificates(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("certificates", "PKCS#7", content[:16], "certs-only SignedData in DER") from error
    if not found:
        raise InputError("certificates", "PKCS#7", "none", "at least one certificate")
    return found


def encode_attributes() -> bytes:
    """Write what a request should have: a P-256 key, signed with ECDSA and SHA-256."""
    return _encode(_ATTRIBUTES)


def _encode(content: bytes) -> bytes:
    """Write base64 in lines."""
    text = base64.b64encode(content)
    return b"".join(text[at : at + _LINE] + b"\n" for at in range(0, len(text), _LINE))


def _decode(body: bytes, limit: int, where: str) -> bytes:
    """Read base64, whatever white space is in it (RFC 8951 3)."""
    if len(body) > limit:
        raise InputError(where, "length", len(body), f"at most {limit} bytes")
    try:
        content = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise InputError(where, "body", body[:16], "base64") from error
    if not content:
        raise InputError(where, "body", "empty", "base64")
    return content


def _has_uri(names: x509.SubjectAlternativeName) -> bool:
    """Answer whether the names hold an identity, or anything that wants to be one."""
    return bool(names.get_values_for_type(x509.UniformResourceIdentifier))


def _describe(key: object) -> str:
    """Name a key's kind and size."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA of {key.key_size} bits"
    return type(key).__name__.removeprefix("_")
