"""The issuing CA of a folder: certificates for every role, the deny-list, and the revocation lists.

Promises that what it signs has the full profile, is in its register before anybody has it, and that what is
denied stays so. It never overwrites a key. Who may have what is decided elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from coldseal.errors import OperatorError
from coldseal.identity import profiles
from coldseal.identity.authority_folder import (
    CRL,
    ISSUING,
    LINKS,
    TRUST,
    FolderConfig,
    encode_pem,
    load_folder,
    make_folder,
    read_certificate,
    read_certificates,
)
from coldseal.identity.est import require_strong
from coldseal.identity.files import replace_private_file
from coldseal.identity.issuing_key import open_issuing_key
from coldseal.identity.peer import Role, identity_of, require_name
from coldseal.identity.profiles import BACKDATED, CA_DAYS, CRL_DAYS, LEAF_DAYS
from coldseal.identity.register import REASONS, Denied, Issued, Register, render_serial
from coldseal.identity.revocation import Issuer, encode_lists, ended, parse_lists
from coldseal.signing.keys import write_private_key
from coldseal.signing.private_files import write_private_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

__all__ = [
    "BACKDATED",
    "CA_DAYS",
    "CRL",
    "CRL_DAYS",
    "LEAF_DAYS",
    "TRUST",
    "Authority",
    "create_authority",
    "open_authority",
]

ROOT: Final = "root"
MAX_NOTE: Final = 1_000
"""Characters of a reason in words."""


class Authority:
    """The issuing CA of a folder.

    Args:
        folder: where its files stand; leaves go to ``ROLE/NAME.pem`` and ``ROLE/NAME.key``.
        config: what its folder says of it.
        issuer: signs.
        former: CAs that were rolled over; they sign their revocation lists.
    """

    def __init__(
        self, folder: Path, config: FolderConfig, issuer: Issuer, former: Sequence[Issuer] = ()
    ) -> None:
        """Take the parts; :func:`create_authority` and :func:`open_authority` are the usual ways here."""
        self.folder = folder
        self.config = config
        self.issuer = issuer
        self.former = tuple(former)
        self.register = Register(folder)
        links = folder / LINKS
        self._listed, self._lists_due = (-1, -1), datetime.max.replace(tzinfo=UTC)
        self._links = read_certificates(links) if links.exists() else []

    def issue(
        self, role: Role, name: str, *, now: datetime, days: float | None = None, hosts: Sequence[str] = ()
    ) -> Path:
        """Make a key and a certificate.

        Args:
            role: what it makes its holder.
            name: the holder's name.
            now: this moment, UTC.
            days: its life; without it, what the folder says for the role.
            hosts: names and addresses that a gateway or service is reached by, beside loopback.

        Returns:
            The certificate's path (chain, leaf first); its key stands beside it as ``.key``.

        Raises:
            InputError: the name or a host is not acceptable.
            OperatorError: the holder has a certificate already, or the folder refuses.
        """
        require_name("certificate", name)
        hosts = hosts if profiles.is_server(role) else ()
        path = self.folder / role / f"{name}.pem"
        make_folder(path.parent)
        key = ec.generate_private_key(ec.SECP256R1())
        write_private_key(path.with_suffix(".key"), key)
        leaf = self.certify(key.public_key(), role, name, now=now, days=days, hosts=hosts)
        write_private_file(path, encode_pem(self.chain(leaf)))
        return path

    def renew(self, path: Path, *, now: datetime, days: float | None = None) -> x509.Certificate:
        """Replace a leaf by one with the same key, name and rights and a new life.

        Raises:
            OperatorError: there is no such certificate, or it is not of this CA.
        """
        old = read_certificate(path)
        if not self.is_ours(old):
            raise OperatorError(f"{path} is not of this CA", "Name a certificate that this CA issued")
        role, name = identity_of(old)
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key, hosts = require_strong(old.public_key(), str(path)), profiles.hosts_of(names)
        leaf = self.certify(key, role, name, now=now, days=days, hosts=hosts)
        replace_private_file(path, encode_pem(self.chain(leaf)))
        return leaf

    def certify(
        self,
        key: CertificateIssuerPublicKeyTypes,
        role: Role,
        name: str,
        *,
        now: datetime,
        days: float | None = None,
        hosts: Sequence[str] = (),
    ) -> x509.Certificate:
        """Sign a certificate for a key that its holder made; it is in the register when it is returned.

        Raises:
            InputError: the name or a host is not acceptable, or the name is in force for another role.
            OperatorError: the CA's own certificate has ended, or the folder refuses.
        """
        issuer = self.issuer.certificate
        if issuer.not_valid_after_utc <= now:
            what = f"{self.folder}: the certificate of the CA ended at {issuer.not_valid_after_utc}"
            raise OperatorError(what, "Make a new issuing CA: coldseal identity ca roll-over")
        builder = profiles.leaf(
            role,
            name,
            key,
            issuer=issuer,
            now=now,
            days=self.config.days.of(role) if days is None else days,
            hosts=hosts,
            crl_url=self.config.ca.crl_url,
        )
        leaf = builder.sign(self.issuer.key, hashes.SHA256())
        with self.register.locked():
            if self.config.ca.one_role:
                self.register.require_one_role(role, name, now=int(now.timestamp()))
            self.register.add(Issued.of(leaf, role, name, t=int(now.timestamp())))
        return leaf

    def chain(self, leaf: x509.Certificate) -> list[x509.Certificate]:
        """Give the certificates that TLS shows for a leaf: those that trust an old root can follow it too."""
        above = [self.issuer.certificate]
        above += [each for each in self._links if each.subject == above[0].issuer]
        return [leaf, *above]

    def trusted(self) -> list[x509.Certificate]:
        """Give the roots that peers trust, newest first."""
        return read_certificates(self.folder / TRUST)

    def published(self) -> list[x509.Certificate]:
        """Give what cacerts answers: roots, links between them, issuing CAs (RFC 7030 4.1.3)."""
        issuers = [each.certificate for each in (self.issuer, *self.former)]
        return [*self.trusted(), *self._links, *issuers]

    def is_ours(self, certificate: x509.Certificate) -> bool:
        """Answer whether this CA, or one that it was before, signed a certificate."""
        for each in (self.issuer, *self.former):
            try:
                certificate.verify_directly_issued_by(each.certificate)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True
        return False

    def revoke(self, paths: Iterable[Path], *, now: datetime) -> Path:
        """Deny certificates and write the revocation list anew.

        Args:
            paths: certificates that count no more; none at all only gives the list a new life.
            now: this moment, UTC; must be later than that of the last list.

        Returns:
            The list's path.

        Raises:
            OperatorError: there is no such certificate.
        """
        serials = [render_serial(read_certificate(each).serial_number) for each in paths]
        return self.deny(serials, now=now)

    def deny(
        self,
        serials: Sequence[str],
        *,
        now: datetime,
        reason: str = "unspecified",
        who: str = "",
        note: str = "",
    ) -> Path:
        """Deny serial numbers from now on, and write the revocation lists anew.

        Args:
            serials: hex, as `register.parse_serial` gives them.
            now: this moment, UTC.
            reason: one of `REASONS`.
            who: who denies them.
            note: why, in words.

        Returns:
            The path of the lists.

        Raises:
            OperatorError: the reason is unknown, or the folder refuses.
        """
        if reason not in REASONS:
            raise OperatorError(f"{reason!r} is no reason", f"Choose one of: {', '.join(REASONS)}")
        with self.register.locked():
            known = self.register.denied()
            t = int(now.timestamp())
            fresh = dict.fromkeys(each for each in serials if each not in known)
            if fresh:
                self.register.deny([Denied(each, t, reason, who, note[:MAX_NOTE]) for each in fresh])
            return self._write_lists(now)

    def refresh_lists(self, *, now: datetime) -> bool:
        """Write the lists anew if one is missing, lacks a denied number, or is half-way to its end.

        Raises:
            OperatorError: the folder refuses.
        """
        path, denied = self.folder / CRL, len(self.register.denied())
        mark = (path.stat().st_mtime_ns if path.exists() else 0, denied)
        if mark == self._listed and now < self._lists_due:
            return False  # looked at already: the lists may be long
        lists = parse_lists(path.read_bytes()) if path.exists() else []
        is_whole = len(lists) == 1 + len(self.former) and self._is_listed(lists, now)
        self._lists_due = min(map(_half_way, lists), default=now)
        if is_whole and now < self._lists_due:
            self._listed = mark
            return False
        with self.register.locked():
            self._write_lists(now)
        return True

    def _is_listed(self, lists: Iterable[x509.CertificateRevocationList], now: datetime) -> bool:
        """Answer whether every list names all that is denied and has not long ended."""
        denied, missing = {int(each, 16) for each in self.register.denied()}, set[int]()
        for each in lists:
            missing |= denied.difference(entry.serial_number for entry in each)
        return not missing or missing <= {int(each, 16) for each in self._ended(now)}

    def _write_lists(self, now: datetime) -> Path:
        """Write one list for each issuing CA; to be called while the register is locked."""
        path = self.folder / CRL
        content = encode_lists(
            (self.issuer, *self.former),
            path.read_bytes() if path.exists() else b"",
            self.register.denied().values(),
            self._ended(now),
            now=now,
            days=self.config.days.crl,
        )
        replace_private_file(path, content)
        return path

    def _ended(self, now: datetime) -> set[str]:
        """Give the serial numbers that ended long ago."""
        return ended(self.register.issued(), now=now)


def create_authority(folder: Path, *, now: datetime, days: int = CA_DAYS) -> Authority:
    """Make a development CA: a root, an issuing CA and an empty revocation list in one folder.

    Raises:
        OperatorError: there is a CA in the folder already, or the folder refuses.
    """
    make_folder(folder)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    write_private_key(folder / f"{ROOT}.key", root_key)
    write_private_key(folder / f"{ISSUING}.key", key)
    root_name = profiles.subject("coldseal development root")
    builder = profiles.authority(
        root_name, root_key.public_key(), issuer=root_name, now=now, days=days, depth=1
    )
    root = builder.sign(root_key, hashes.SHA256())
    name = profiles.subject("coldseal development CA")
    builder = profiles.authority(name, key.public_key(), issuer=root_name, now=now, days=days, depth=0)
    builder = builder.add_extension(profiles.authority_of(root), critical=False)
    certificate = builder.sign(root_key, hashes.SHA256())
    write_private_file(folder / TRUST, encode_pem([root]))
    write_private_file(folder / f"{ISSUING}.pem", encode_pem([certificate]))
    authority = Authority(folder, load_folder(folder), Issuer(certificate, key))
    authority.revoke((), now=now)
    return authority


def open_authority(folder: Path) -> Authority:
    """Open the issuing CA of a folder.

    Raises:
        OperatorError: there is none, or its key is open to others.
    """
    config = load_folder(folder)
    issuer = _open_issuer(folder, config.ca.certificate, config.ca.key)
    former = [_open_issuer(folder, each.certificate, each.key) for each in config.former]
    return Authority(folder, config, issuer, former)


def _open_issuer(folder: Path, path: Path, uri: str) -> Issuer:
    """Open a CA's certificate and its key."""
    certificate = read_certificate(path)
    key = open_issuing_key(uri, base=folder)
    if key.public_key() != certificate.public_key():
        hint = "Restore the folder, or make a new CA with: coldseal identity ca init DIR"
        raise OperatorError(f"{folder}: key and certificate of the CA do not belong together", hint)
    return Issuer(certificate, key)


def _half_way(crl: x509.CertificateRevocationList) -> datetime:
    """Give when half of a list's life is over."""
    begin = crl.last_update_utc
    return begin + ((crl.next_update_utc or begin) - begin) / 2
