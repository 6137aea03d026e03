"""Timestamp responses made piece by piece, so that each piece can be made wrong and still be signed.

`openssl ts` makes the good ones (`tests.tsa`); this makes those that no authority would make.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coldseal.core.log import der
from tests.usages import usage_of

TEXT = b"example.com/gw\n7\nAAAA\n"
MOMENT = datetime(2026, 11, 22, 5, 23, 48, 123_000, tzinfo=UTC)
SHA256 = der.object_id("2.16.840.1.101.3.4.2.1")
TST_INFO = der.object_id("1.2.840.113549.1.9.16.1.4")
SIGNED_DATA = der.object_id("1.2.840.113549.1.7.2")
CONTENT_TYPE = der.object_id("1.2.840.113549.1.9.3")
MESSAGE_DIGEST = der.object_id("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE = der.object_id("1.2.840.113549.1.9.16.2.12")
SIGNING_CERTIFICATE_V2 = der.object_id("1.2.840.113549.1.9.16.2.47")
ECDSA_SHA256 = der.object_id("1.2.840.10045.4.3.2")
RSA = der.object_id("1.2.840.113549.1.1.1")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
STAMPING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
USAGE = usage_of("key_cert_sign", "crl_sign")
NO_SIGNING = usage_of("digital_signature")


@dataclass(frozen=True)
class Holder:
    """A certificate with its key."""

    key: Key
    certificate: x509.Certificate

    @property
    def raw(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)


def holder(
    name: str,
    issuer: Holder | None = None,
    *,
    key: Key | None = None,
    is_ca: bool | None = False,
    path_length: int | None = None,
    usage: x509.KeyUsage | None = None,
    extended: x509.ExtendedKeyUsage | None = None,
    is_critical: bool = True,
    others: Sequence[tuple[x509.ExtensionType, bool]] = (),
    begin: datetime = MOMENT - timedelta(days=30),
    end: datetime = MOMENT + timedelta(days=30),
    algorithm: hashes.SHA256 | hashes.SHA224 | None = hashes.SHA256(),  # noqa: B008 -- it has no state
) -> Holder:
    """Make a certificate; its own root if nobody issues it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if is_ca is not None:
        builder = builder.add_extension(
            x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True
        )
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    if extended is not None:
        builder = builder.add_extension(extended, critical=is_critical)
    for extension, critical in others:
        builder = builder.add_extension(extension, critical=critical)
    return Holder(key, builder.sign((issuer.key if issuer else key), algorithm))


def root(name: str = "root") -> Holder:
    """Make a root."""
    return holder(name, is_ca=True, usage=USAGE)


def authority(issuer: Holder, name: str = "tsa", key: Key | None = None) -> Holder:
    """Make a timestamp authority."""
    return holder(name, issuer, key=key, extended=STAMPING)


def algorithm(name: bytes, *parameters: bytes) -> bytes:
    """Make the identifier of an algorithm."""
    return der.write(der.SEQUENCE, name, *parameters)


def attribute(name: bytes, *values: bytes) -> bytes:
    """Make a signed attribute."""
    return der.write(der.SEQUENCE, name, der.write(der.SET, *values))


def octets(content: bytes) -> bytes:
    """Make an octet string."""
    return der.write(der.OCTET_STRING, content)


def names(certificate: bytes, *algorithms: bytes) -> bytes:
    """Make SigningCertificateV2 for a certificate."""
    entry = der.write(der.SEQUENCE, *algorithms, octets(hashlib.sha256(certificate).digest()))
    return der.write(der.SEQUENCE, der.write(der.SEQUENCE, entry))


@dataclass(frozen=True)
class Stamp:
    """A timestamp that holds until a piece is replaced."""

    signer: Holder
    certificates: tuple[bytes, ...]
    text: bytes = TEXT
    version: int = 1
    imprint_algorithm: bytes = SHA256
    time: bytes = b"20261122052348.123Z"
    nonce: bytes = b""
    behind: bytes = b""
    content_type: bytes = TST_INFO
    signed_type: bytes = SIGNED_DATA
    digest: bytes = algorithm(SHA256)
    signing: bytes = algorithm(ECDSA_SHA256)
    attributes: dict[bytes, bytes] = field(default_factory=dict)
    signers: int = 1
    signature: bytes | None = None
    status: bytes = der.write(der.SEQUENCE, der.write_integer(0))

    @classmethod
    def by(cls, signer: Holder, *others: Holder) -> Self:
        """Make a good one."""
        return cls(signer, (signer.raw, *(each.raw for each in others)))

    def but(self, **changes: object) -> Stamp:
        """Replace pieces."""
        return replace(self, **changes)  # type: ignore[arg-type] # pieces are checked by what reads them

    def info(self) -> bytes:
        """Make what is signed."""
        imprint = der.write(
            der.SEQUENCE, algorithm(self.imprint_algorithm), octets(hashlib.sha256(self.text).digest())
        )
        return der.write(
            der.SEQUENCE,
            der.write_integer(self.version),
            der.object_id("1.2.3.4"),
            imprint,
            der.write_integer(7),
            der.write(der.GENERALIZED_TIME, self.time),
            self.nonce,
            self.behind,
        )

    def signer_info(self) -> bytes:
        """Make the signature with its attributes."""
        certificate = self.signer.certificate
        attributes = {
            CONTENT_TYPE: attribute(CONTENT_TYPE, self.content_type),
            MESSAGE_DIGEST: attribute(MESSAGE_DIGEST, octets(hashlib.sha256(self.info()).digest())),
            SIGNING_CERTIFICATE_V2: attribute(SIGNING_CERTIFICATE_V2, names(self.signer.raw)),
        } | self.attributes
        content = b"".join(attributes.values())
        issuer = certificate.issuer.public_bytes()
        return der.write(
            der.SEQUENCE,
            der.write_integer(1),
            der.write(der.SEQUENCE, issuer, der.write_integer(certificate.serial_number)),
            self.digest,
            der.write(der.CONTEXT, content),
            self.signing,
            octets(self._sign(der.write(der.SET, content))),
        )

    def token(self) -> bytes:
        """Make the token."""
        content = der.write(der.SEQUENCE, self.content_type, der.write(der.CONTEXT, octets(self.info())))
        data = der.write(
            der.SEQUENCE,
            der.write_integer(3),
            der.write(der.SET, self.digest),
            content,
            der.write(der.CONTEXT, *self.certificates),
            der.write(der.SET, *[self.signer_info()] * self.signers),
        )
        return der.write(der.SEQUENCE, self.signed_type, der.write(der.CONTEXT, data))

    def response(self) -> bytes:
        """Make the whole response."""
        return der.write(der.SEQUENCE, self.status, self.token())

    def _sign(self, data: bytes) -> bytes:
        """Sign the attributes."""
        if self.signature is not None:
            return self.signature
        key = self.signer.key
        match key:
            case ec.EllipticCurvePrivateKey():
                return key.sign(data, ec.ECDSA(hashes.SHA256()))
            case rsa.RSAPrivateKey():
                return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
            case _:
                return key.sign(data)
