"""Reads the one identity that a verified certificate carries: its role and its name.

The certificate must already have been verified by TLS; this module checks no signature and no
date. A certificate without exactly one `urn:coldseal:` identity has none at all.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coldseal.errors import InputError, OperatorError, TrustError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

Role = Literal["device", "gateway", "service", "operator"]
"""What a certificate makes its holder."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URN: Final = "urn:coldseal:"
_WHERE: Final = "certificate"


class RoleError(TrustError):
    """A peer proved who it is, and it is not one that may speak here.

    Args:
        found: the peer.
        expected: the role that was needed.
    """

    verdict = "wrong-role"

    def __init__(self, found: Peer, expected: Role) -> None:
        """Keep both facts as attributes."""
        self.found = found
        self.expected = expected
        super().__init__(f"the peer {found.name!r} is a {found.role}, expected a {expected}")


class Peer(msgspec.Struct, frozen=True):
    """The holder of a certificate.

    Args:
        role: what the certificate makes it.
        name: its name, equal to the certificate's common name.
        fingerprint: first 16 hex digits of SHA-256 over the certificate's DER.
        not_after: end of the certificate's life, UTC.
    """

    role: Role
    name: str
    fingerprint: str
    not_after: datetime


def is_name(text: str) -> bool:
    """Answer whether a holder may be called so: one topic level, one path segment."""
    return _NAME.fullmatch(text) is not None


def require_name(where: str, text: str) -> None:
    """Insist on a name that a holder may have.

    Raises:
        InputError: it is none.
    """
    if not is_name(text):
        raise InputError(where, "name", text, "letters, digits, '.', '_' and '-', at most 64")


def render_urn(role: Role, name: str) -> str:
    """Render the URI that carries an identity in a certificate."""
    return f"{_URN}{role}:{name}"


def peer(certificate_der: bytes) -> Peer:
    """Read the holder of a certificate, given as DER.

    Raises:
        InputError: it is no certificate, or does not carry exactly one well-formed identity.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        serial, not_after = certificate.serial_number, certificate.not_valid_after_utc
        role, name = identity_of(certificate)
        _require_leaf(certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise InputError(_WHERE, "DER", certificate_der[:16], "an X.509 certificate") from error
    if serial <= 0:
        raise InputError(_WHERE, "serialNumber", serial, "a positive number")  # RFC 5280 4.1.2.2
    fingerprint = hashlib.sha256(certificate_der).hexdigest()[:16]
    return Peer(role=role, name=name, fingerprint=fingerprint, not_after=not_after)


def _require_leaf(certificate: x509.Certificate) -> None:
    """Insist on a certificate that can sign no other: TLS libraries let a CA's own pass as a caller's.

    Raises:
        InputError: it is a CA's.
    """
    with suppress(x509.ExtensionNotFound):
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise InputError(_WHERE, "basicConstraints", "CA", "a certificate that is no CA's")


def require_role(certificate_der: bytes | None, role: Role) -> Peer:
    """Read the holder and insist on its role; to be called directly after each handshake.

    Args:
        certificate_der: what ``getpeercert(binary_form=True)`` gave.
        role: the role that may speak here.

    Raises:
        InputError: there is no certificate, or no identity in it.
        RoleError: the holder has another role.
    """
    if certificate_der is None:
        raise InputError(_WHERE, "peer", None, f"a certificate of a {role}")
    found = peer(certificate_der)
    if found.role != role:
        raise RoleError(found, role)
    return found


def read_peer(path: Path) -> Peer:
    """Read the holder of the first certificate in a PEM file, such as one of our own.

    Raises:
        OperatorError: the file is missing or holds no certificate.
        InputError: the certificate carries no identity.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        hint = "Name a PEM file; `coldseal identity dev-ca` makes certificates for a trial"
        raise OperatorError(f"{path} cannot be read as a certificate", hint) from error
    return peer(certificate.public_bytes(Encoding.DER))


def identity_of(
    holder: x509.Certificate | x509.CertificateSigningRequest, where: str = _WHERE
) -> tuple[Role, str]:
    """Take role and name from the alternative names; the common name must agree.

    Raises:
        InputError: there is not exactly one well-formed identity.
    """
    try:
        names = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise InputError(where, "subjectAltName", str(error), f"one {_URN}role:name") from error
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(_URN)]
    role, _, name = uris[0].removeprefix(_URN).partition(":") if len(uris) == 1 else ("", "", "")
    if role not in ROLES or not is_name(name):
        raise InputError(where, "subjectAltName", uris, f"one {_URN}role:name")
    if common_name(holder, where) != name:
        raise InputError(where, "commonName", common_name(holder, where), name)
    return role, name


def common_name(holder: x509.Certificate | x509.CertificateSigningRequest, where: str = _WHERE) -> str:
    """Give the one common name of the subject.

    Raises:
        InputError: there is not exactly one, or it is none that a holder may have.
    """
    found = [attribute.value for attribute in holder.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(found) != 1 or not isinstance(found[0], str) or not is_name(found[0]):
        raise InputError(
            where, "commonName", found, "one name: letters, digits, '.', '_' and '-', at most 64"
        )
    return found[0]
