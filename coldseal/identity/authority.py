"""A development CA in a folder: root, issuing CA, leaves for every role, revocation list.

Certificates carry the full profile that strict verifiers ask for. Its keys are plain files of mode
0600, which is right for a trial and for tests; a production CA keeps them elsewhere. It never
overwrites a key.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coldseal.errors import OperatorError
from coldseal.identity.files import replace_private_file
from coldseal.identity.peer import Role, render_urn, require_name
from coldseal.signing.keys import write_private_key
from coldseal.signing.secrets import read_private_file, write_private_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

LEAF_DAYS: Final = 7
CA_DAYS: Final = 365
CRL_DAYS: Final = 7
BACKDATED: Final = timedelta(minutes=5)
"""How long before its making a certificate begins, for peers whose clock is slow."""

ROOT: Final = "root"
ISSUING: Final = "ca"
CRL: Final = "crl.pem"
TRUST: Final = f"{ROOT}.pem"
"""The file that peers trust."""

_USAGES: Final[dict[Role, tuple[x509.ObjectIdentifier, ...]]] = {
    "device": (ExtendedKeyUsageOID.CLIENT_AUTH,),
    "gateway": (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    "service": (ExtendedKeyUsageOID.SERVER_AUTH,),
    "operator": (ExtendedKeyUsageOID.CLIENT_AUTH,),
}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Authority:
    """The issuing CA of a folder.

    Args:
        folder: where its files stand; leaves go to ``ROLE/NAME.pem`` and ``ROLE/NAME.key``.
        certificate: of the issuing CA.
        key: its key.
    """

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Take the parts; :func:`create_authority` and :func:`open_authority` are the usual ways here."""
        self.folder = folder
        self._certificate = certificate
        self._key = key

    def issue(
        self, role: Role, name: str, *, now: datetime, days: int = LEAF_DAYS, hosts: Sequence[str] = ()
    ) -> Path:
        """Make a key and a certificate.

        Args:
            role: what it makes its holder.
            name: the holder's name.
            now: this moment, UTC.
            days: its life.
            hosts: names and addresses that a gateway or service is reached by, beside loopback.

        Returns:
            The certificate's path (chain, leaf first); its key stands beside it as ``.key``.

        Raises:
            InputError: the name is not acceptable.
            OperatorError: the holder has a certificate already, or the folder refuses.
        """
        require_name("certificate", name)
        path = self.folder / role / f"{name}.pem"
        _make_folder(path.parent)
        key = ec.generate_private_key(ec.SECP256R1())
        write_private_key(path.with_suffix(".key"), key)
        extensions = _leaf_extensions(role, name, (*_LOOPBACK, *hosts) if _is_server(role) else ())
        leaf = self._sign(_subject(name), key.public_key(), extensions, now, days)
        write_private_file(path, self._chain(leaf))
        return path

    def renew(self, path: Path, *, now: datetime, days: int = LEAF_DAYS) -> None:
        """Replace a leaf by one with the same key, name and rights and a new life.

        Raises:
            OperatorError: there is no such certificate.
        """
        old = _read_certificate(path)
        kept = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
        extensions = [old.extensions.get_extension_for_class(kind).value for kind in kept]
        key = old.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise OperatorError(f"{path} has no elliptic-curve key", "Name a certificate that this CA issued")
        leaf = self._sign(old.subject, key, extensions, now, days)
        replace_private_file(path, self._chain(leaf))

    def revoke(self, paths: Iterable[Path], *, now: datetime) -> Path:
        """Add certificates to the revocation list and write it anew.

        Args:
            paths: certificates that count no more; none at all only gives the list a new life.
            now: this moment, UTC; must be later than that of the last list.

        Returns:
            The list's path.

        Raises:
            OperatorError: there is no such certificate.
        """
        path = self.folder / CRL
        old = x509.load_pem_x509_crl(path.read_bytes()) if path.exists() else None
        revoked = {} if old is None else {each.serial_number: each for each in old}
        for each in paths:
            serial = _read_certificate(each).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            revoked[serial] = entry.build()
        number = 1
        if old is not None:
            number += old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        crl = (
            x509.CertificateRevocationListBuilder(
                issuer_name=self._certificate.subject,
                last_update=now,
                next_update=now + timedelta(days=CRL_DAYS),
                revoked_certificates=list(revoked.values()),
            )
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_authority_of(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        replace_private_file(path, crl.public_bytes(Encoding.PEM))
        return path

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: Iterable[x509.ExtensionType],
        now: datetime,
        days: int,
    ) -> x509.Certificate:
        """Sign a leaf."""
        builder = _builder(subject, key, now, days).issuer_name(self._certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(is_ca=False), critical=True)
        builder = builder.add_extension(_authority_of(self._key.public_key()), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _chain(self, leaf: x509.Certificate) -> bytes:
        """Write the leaf and the issuing CA's certificate, as TLS shows them."""
        return leaf.public_bytes(Encoding.PEM) + self._certificate.public_bytes(Encoding.PEM)


def create_authority(folder: Path, *, now: datetime, days: int = CA_DAYS) -> Authority:
    """Make a root, an issuing CA and an empty revocation list in a folder.

    Raises:
        OperatorError: there is a CA in the folder already, or the folder refuses.
    """
    _make_folder(folder)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    write_private_key(folder / f"{ROOT}.key", root_key)
    write_private_key(folder / f"{ISSUING}.key", key)
    root_name, name = _subject("coldseal development root"), _subject("coldseal development CA")
    root = _ca(_builder(root_name, root_key.public_key(), now, days), issuer=root_name, depth=1)
    issuing = _ca(_builder(name, key.public_key(), now, days), issuer=root_name, depth=0)
    issuing = issuing.add_extension(_authority_of(root_key.public_key()), critical=False)
    certificate = issuing.sign(root_key, hashes.SHA256())
    root_pem = root.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    write_private_file(folder / TRUST, root_pem)
    write_private_file(folder / f"{ISSUING}.pem", certificate.public_bytes(Encoding.PEM))
    authority = Authority(folder, certificate, key)
    authority.revoke((), now=now)
    return authority


def open_authority(folder: Path) -> Authority:
    """Open the issuing CA of a folder.

    Raises:
        OperatorError: there is none, or its key is open to others.
    """
    certificate = _read_certificate(folder / f"{ISSUING}.pem")
    key = load_pem_private_key(read_private_file(folder / f"{ISSUING}.key"), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        hint = "Restore the folder, or make a new CA with: coldseal identity dev-ca DIR"
        raise OperatorError(f"{folder}: key and certificate of the CA do not belong together", hint)
    return Authority(folder, certificate, key)


def _read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        hint = "Name a folder that `coldseal identity dev-ca` made, and a certificate in it"
        raise OperatorError(f"{path} cannot be read as a certificate", hint) from error


def _make_folder(folder: Path) -> None:
    """Make a folder for its owner only."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be made: {error.strerror}", "Choose another folder") from error


def _subject(name: str) -> x509.Name:
    """Make a subject of a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    """Begin a certificate: what all profiles share."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca(builder: x509.CertificateBuilder, *, issuer: x509.Name, depth: int) -> x509.CertificateBuilder:
    """Add the profile of a CA with ``depth`` CAs below it."""
    builder = builder.issuer_name(issuer)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
    return builder.add_extension(_key_usage(is_ca=True), critical=True)


def _authority_of(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    """Name the key that signs."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Let a CA sign certificates and lists, a leaf sign handshakes; nothing else."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_server(role: Role) -> bool:
    """Answer whether others connect to this role."""
    return ExtendedKeyUsageOID.SERVER_AUTH in _USAGES[role]


def _leaf_extensions(role: Role, name: str, hosts: Sequence[str]) -> list[x509.ExtensionType]:
    """Make the extensions that say who the holder is and what it may do."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(render_urn(role, name))]
    names += [_host_name(host) for host in hosts]
    return [x509.SubjectAlternativeName(names), x509.ExtendedKeyUsage(_USAGES[role])]


def _host_name(host: str) -> x509.GeneralName:
    """Make an address or a DNS name."""
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)
