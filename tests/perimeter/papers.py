"""Certificates, good and bad, for the TLS matrix; and clients that show them.

Everything is made in a folder of the test. Bad certificates that OpenSSL would not show are shown by
tlslite-ng, which sends whatever bytes it is given.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from coldseal.identity import profiles
from coldseal.identity.authority import Authority, create_authority
from coldseal.identity.peer import Role
from tests.perimeter.tlslite import X509, HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tests.trial import now

DEADLINE_S = 10.0
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Builder = x509.CertificateBuilder


class Papers:
    """A CA, a second one, and a counter of certificates.

    Args:
        folder: where files are made.
    """

    def __init__(self, folder: Path) -> None:
        """Make both CAs; what has ended was issued long ago."""
        self.folder = folder
        self.now = now().replace(microsecond=0)
        self.authority = create_authority(folder / "ca", now=self.now - timedelta(days=60))
        self.stranger = create_authority(folder / "stranger", now=self.now)
        self._count = 0

    @property
    def trust(self) -> Path:
        """The root that everybody trusts."""
        return self.folder / "ca" / "root.pem"

    def issue(self, role: Role, name: str, *, days: float = 7) -> Path:
        """Issue a good certificate, chain and key."""
        return self.authority.issue(role, name, now=self.now, days=days)

    def show(self, chain: Sequence[x509.Certificate], key: Key) -> Path:
        """Write a chain and the key beside it, for a client to show."""
        self._count += 1
        path = self.folder / f"paper-{self._count}.pem"
        path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        path.with_suffix(".key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        path.with_suffix(".key").chmod(0o600)
        return path

    def leaf(
        self,
        role: Role = "device",
        name: str = "sensor-1",
        *,
        key: Key | None = None,
        authority: Authority | None = None,
        begin: timedelta = timedelta(),
        days: float = 7,
        change: Callable[[Builder], Builder] = lambda builder: builder,
    ) -> Path:
        """Sign a leaf with whatever is wrong with it, and write it with its chain."""
        authority, key = authority or self.authority, key or ec.generate_private_key(ec.SECP256R1())
        issuer = authority.issuer
        builder = profiles.leaf(
            role, name, key.public_key(), issuer=issuer.certificate, now=self.now + begin, days=days
        )
        signed = change(builder).sign(issuer.key, hashes.SHA256())
        return self.show([signed, issuer.certificate], key)

    def self_signed(self, role: Role, name: str) -> Path:
        """Sign a leaf with its own key."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.authority.issuer.certificate
        builder = profiles.leaf(role, name, key.public_key(), issuer=issuer, now=self.now, days=7)
        builder = replaced(builder, x509.AuthorityKeyIdentifier, None)
        builder._issuer_name = profiles.subject(name)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        named = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        signed = builder.add_extension(named, critical=False).sign(key, hashes.SHA256())
        return self.show([signed], key)

    def below_the_last(self, role: Role, name: str, *, is_ca: bool) -> Path:
        """Sign a leaf by one that may sign none: a further CA below the last, or another leaf."""
        issuer, middle_key = self.authority.issuer, ec.generate_private_key(ec.SECP256R1())
        if is_ca:
            subject = profiles.subject("one too many")
            builder = profiles.authority(
                subject,
                middle_key.public_key(),
                issuer=issuer.certificate.subject,
                now=self.now,
                days=7,
                depth=0,
            ).add_extension(profiles.authority_of(issuer.certificate), critical=False)
        else:
            builder = profiles.leaf(
                role, "middle", middle_key.public_key(), issuer=issuer.certificate, now=self.now, days=7
            )
        middle = builder.sign(issuer.key, hashes.SHA256())
        key = ec.generate_private_key(ec.SECP256R1())
        last = profiles.leaf(role, name, key.public_key(), issuer=middle, now=self.now, days=7)
        return self.show([last.sign(middle_key, hashes.SHA256()), middle, issuer.certificate], key)

    def forged(self, path: Path) -> Path:
        """Copy a certificate with one bit of its signature turned."""
        first, *rest = x509.load_pem_x509_certificates(path.read_bytes())
        raw = bytearray(first.public_bytes(Encoding.DER))
        raw[-1] ^= 1
        return self.show([x509.load_der_x509_certificate(bytes(raw)), *rest], key_of(path))

    def known_revoked(self, role: Role) -> Path:
        """Give the certificate of a role that is on the list."""
        return self.folder / "ca" / role / f"revoked-{role}.pem"

    def revocation_list(self) -> Path:
        """Write a list that is in force, with one certificate of each calling role on it."""
        roles: tuple[Role, ...] = ("device", "gateway")
        paths = [self.issue(role, f"revoked-{role}") for role in roles]
        return self.authority.revoke(paths, now=self.now - timedelta(minutes=1))


def replaced(builder: Builder, kind: type[x509.ExtensionType], value: x509.ExtensionType | None) -> Builder:
    """Put another extension into a certificate instead of the one that it has; None: leave it out."""
    kept = [each for each in builder._extensions if not isinstance(each.value, kind)]
    was_critical = any(each.critical for each in builder._extensions if isinstance(each.value, kind))
    changed = x509.CertificateBuilder(
        builder._issuer_name,
        builder._subject_name,
        builder._public_key,
        builder._serial_number,
        builder._not_valid_before,
        builder._not_valid_after,
        kept,
    )
    return changed if value is None else changed.add_extension(value, critical=was_critical)


def as_ca(builder: Builder) -> Builder:
    """Say of a leaf that it is a CA."""
    return replaced(builder, x509.BasicConstraints, x509.BasicConstraints(ca=True, path_length=None))


def for_mail(builder: Builder) -> Builder:
    """Let a leaf sign mail, and nothing else."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return replaced(builder, x509.ExtendedKeyUsage, usage)


def without_identity(builder: Builder) -> Builder:
    """Leave the identity out."""
    names = x509.SubjectAlternativeName([x509.DNSName("sensor-1.example.com")])
    return replaced(builder, x509.SubjectAlternativeName, names)


def key_of(path: Path) -> Key:
    """Read the key beside a certificate."""
    key = load_pem_private_key(path.with_suffix(".key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return key


def lax_client(paper: Path | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Make a client that shows anything and checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if paper is not None:
        context.load_cert_chain(paper, paper.with_suffix(".key"))
    return context


def call(port: int, context: ssl.SSLContext, request: bytes) -> bytes:
    """Shake hands, send a request and give what comes back; nothing if the caller is turned away."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(request)
        return secured.recv(65_536)
    return b""


def call_with_bytes(port: int, chain: Sequence[bytes], key: Path, request: bytes) -> bytes:
    """Do the same with a chain of any bytes, and a key that need not belong to it."""
    certificates = []
    for raw in chain:
        each = X509()
        each.parse(key.with_suffix(".pem").read_text())
        each.bytes = bytearray(raw)
        certificates.append(each)
    private: Any = parsePEMKey(key.with_suffix(".key").read_text(), private=True)
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 4)
    settings.certificate_compression_send = []  # it would compress whatever the server offers
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as plain:
        connection = TLSConnection(plain)
        with suppress(Exception):  # whatever the library makes of being turned away
            connection.handshakeClientCert(X509CertChain(certificates), private, settings=settings)
            connection.send(request)
            answer = bytes(connection.read(min=1, max=65_536))
    return answer
