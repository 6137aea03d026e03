"""Enrols and renews: finds by what right a request comes, and has the issuing CA sign exactly that.

Promises that role and name are those that were authorised, never what a request only says; that everything
issued or refused is kept with its reason; and that a denied or foreign certificate renews nothing.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coldseal.errors import InputError, UnavailableError
from coldseal.identity.authority import Authority, open_authority
from coldseal.identity.authority_folder import CONFIG, CRL, LINKS, TRUST
from coldseal.identity.est import Asked, asked_of, names_of, parse_request, require_strong
from coldseal.identity.peer import Role, identity_of, is_name
from coldseal.identity.profiles import alternative_names, hosts_of
from coldseal.identity.register import render_serial
from coldseal.identity.watched import Watched
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.enrolments import EnrolmentError, Enrolments, Grant, WaitingError
from coldseal.service.factory import Factory, describe
from coldseal.service.storage.enrolments import Happened, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ID_CHARS: Final = 12
_log = Log("service.registrar")


class Caller(NamedTuple):
    """Who asks.

    Args:
        address: where from.
        certificate: what TLS verified, DER; None without one.
        token: name and one-time token, from HTTP Basic; None without them.
    """

    address: str
    certificate: bytes | None = None
    token: tuple[str, str] | None = None


class Registrar:
    """The registration authority before the issuing CA.

    Args:
        folder: of the issuing CA; looked at again when it changes.
        enrolments: tokens, queue and history.
        factory: the factory CA; None: there is none.
        roles: what may be enrolled here.
        is_queued: whether a factory certificate that nothing maps may wait for a person.
        now: gives Unix seconds.
        now_s: seconds that only go forward.
    """

    def __init__(
        self,
        folder: Path,
        enrolments: Enrolments,
        factory: Factory | None,
        *,
        roles: tuple[Role, ...],
        is_queued: bool,
        now: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        """Open the CA.

        Raises:
            OperatorError: it cannot be opened.
        """
        self._enrolments, self._factory = enrolments, factory
        self._roles, self._is_queued, self._now = roles, is_queued, now
        files = [folder / name for name in (CONFIG, TRUST, LINKS)]
        self._authority = Watched(str(folder), files, lambda: open_authority(folder), now_s=now_s)
        self._folder = folder

    @property
    def authority(self) -> Authority:
        """The issuing CA in force."""
        return self._authority.value

    def refresh(self) -> None:
        """Take what changed in the CA's folder and the factory's files; write the revocation lists in time.

        Raises:
            OperatorError: the lists cannot be written.
        """
        if self._authority.refresh():
            authority = self.authority
            issuer = authority.issuer.certificate.subject.rfc4514_string()
            _log.emit(events.AUTHORITY_CHANGED, issuer=issuer, trusted=len(authority.trusted()))
        if self._factory is not None:
            self._factory.refresh()
        if self.authority.refresh_lists(now=self._moment()):
            lists = 1 + len(self.authority.former)
            denied = len(self.authority.register.denied())
            _log.emit(events.REVOCATION_LIST_WRITTEN, lists=lists, denied=denied)

    def cacerts(self) -> list[x509.Certificate]:
        """Give what callers are to trust, and the CAs between."""
        return self.authority.published()

    def lists(self) -> bytes:
        """Give the revocation lists in force, PEM.

        Raises:
            UnavailableError: they cannot be read.
        """
        try:
            return (self._folder / CRL).read_bytes()
        except OSError as error:
            raise UnavailableError("the revocation list", str(error.strerror)) from error

    def enrol(self, body: bytes, caller: Caller) -> x509.Certificate:
        """Give a first certificate, by token or factory certificate.

        Raises:
            InputError: the request is malformed or weak.
            WaitingError: a person has yet to decide.
            EnrolmentError: it is not given.
            OperatorError, UnavailableError: the CA or the disk refuses for now.
        """
        way = "token" if caller.token is not None else "factory"
        try:
            request = parse_request(body)
            spki = _spki(request)
            grant = self._right(request, spki, caller)
            self._require_role(grant.role)
            grant.require(asked_of(request))
            if (given := self._enrolments.issued(grant, spki)) is not None:
                return x509.load_der_x509_certificate(given)
            return self._issue(request, spki, grant, caller)
        except WaitingError:
            raise
        except (EnrolmentError, InputError) as fault:
            self._refused(caller, way, fault)
            raise

    def reenrol(self, body: bytes, caller: Caller) -> x509.Certificate:
        """Give a new certificate to the holder of one that is in force: same subject, same names.

        Raises:
            InputError: the request is malformed or weak.
            EnrolmentError: it is not given.
            OperatorError, UnavailableError: the CA or the disk refuses for now.
        """
        try:
            shown = _read(caller.certificate)
            grant = self._renewable(shown)
            request = parse_request(body)
            _require_same(request, shown)
            return self._issue(request, _spki(request), grant, caller)
        except (EnrolmentError, InputError) as fault:
            self._refused(caller, "renewal", fault)
            raise

    def _right(self, request: x509.CertificateSigningRequest, spki: bytes, caller: Caller) -> Grant:
        """Find by what right a request comes."""
        if caller.token is not None:
            return self._enrolments.by_token(*caller.token, spki, now=self._now())
        shown = _read(caller.certificate)
        if self._factory is None or not self._factory.is_of(shown):
            if self.authority.is_ours(shown):
                raise EnrolmentError("enrolled", "the certificate is of this CA: it is renewed, not enrolled")
            raise EnrolmentError("no-factory", f"no factory CA signed {describe(shown)}")
        self._require_not_denied(shown)
        line = self._factory.find(shown)
        if line is not None:
            return Grant(line.role, line.name, line.hosts, "factory", describe(shown))
        if not self._is_queued:
            raise EnrolmentError("unmapped", f"nothing maps {describe(shown)}")
        asked = asked_of(request)
        return self._enrolments.by_approval(self._waiting(asked, spki, shown, caller))

    def _waiting(self, asked: Asked, spki: bytes, shown: x509.Certificate, caller: Caller) -> Waiting:
        """Describe a request for the queue: the same one again has the same id."""
        if asked.role is None:
            raise InputError("certificate request", "subjectAltName", None, "one urn:coldseal:role:name")
        self._require_role(asked.role)
        alternative_names(asked.role, asked.name, asked.hosts)
        factory = describe(shown)
        parts = "\0".join((asked.role, asked.name, *sorted(asked.hosts), factory)).encode()
        id_ = hashlib.sha256(spki + parts).hexdigest()[:_ID_CHARS]
        return Waiting(id_, asked.role, asked.name, asked.hosts, spki, factory, caller.address, self._now())

    def _renewable(self, shown: x509.Certificate) -> Grant:
        """Insist that a certificate may be renewed, and give what it grants."""
        if not self.authority.is_ours(shown):
            raise EnrolmentError("foreign", f"{describe(shown)} is not of this CA")
        if not shown.not_valid_before_utc <= self._moment() < shown.not_valid_after_utc:
            raise EnrolmentError("expired", f"{describe(shown)} is not in force")
        self._require_not_denied(shown)
        role, name = identity_of(shown)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        serial = render_serial(shown.serial_number)
        return Grant(role, name, hosts_of(names), "renewal", f"serial {serial}")

    def _issue(
        self, request: x509.CertificateSigningRequest, spki: bytes, grant: Grant, caller: Caller
    ) -> x509.Certificate:
        """Sign, keep, tell; the right is used up before anything is given away."""
        key = require_strong(request.public_key(), "certificate request")
        leaf = self.authority.certify(key, grant.role, grant.name, now=self._moment(), hosts=grant.hosts)
        serial = render_serial(leaf.serial_number)
        line = Happened(
            self._now(), "issued", grant.way, grant.role, grant.name, serial, grant.who, caller.address
        )
        self._enrolments.note_issued(grant, spki, leaf.public_bytes(Encoding.DER), line)
        _log.emit(
            events.ENROLMENT_ISSUED,
            role=grant.role,
            name=grant.name,
            serial=serial,
            way=grant.way,
            who=grant.who,
            address=caller.address,
        )
        return leaf

    def _require_role(self, role: Role) -> None:
        """Insist on a role that is enrolled here."""
        if role not in self._roles:
            raise EnrolmentError("wrong-role", f"a {role} is not enrolled here")

    def _require_not_denied(self, shown: x509.Certificate) -> None:
        """Insist that a certificate was not revoked."""
        if self.authority.register.is_denied(shown.serial_number):
            raise EnrolmentError("revoked", f"{describe(shown)} is denied")

    def _refused(self, caller: Caller, way: str, fault: EnrolmentError | InputError) -> None:
        """Keep and tell that something was refused, and why."""
        reason = fault.reason if isinstance(fault, EnrolmentError) else "malformed"
        detail = fault.detail if isinstance(fault, EnrolmentError) else str(fault)
        name, who = _named(caller)
        _log.emit(
            events.ENROLMENT_REFUSED, name=name, way=way, reason=reason, detail=detail, address=caller.address
        )
        self._enrolments.note(
            Happened(self._now(), "refused", way, "", name, "", who, caller.address, f"{reason}: {detail}")
        )

    def _moment(self) -> datetime:
        """Give this moment, UTC."""
        return datetime.fromtimestamp(self._now(), UTC)


def _read(certificate: bytes | None) -> x509.Certificate:
    """Read the certificate that TLS verified."""
    if certificate is None:
        raise EnrolmentError("anonymous", "neither a certificate nor a token came")
    try:
        return x509.load_der_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise InputError("certificate", "DER", certificate[:16], "an X.509 certificate") from error


def _require_same(request: x509.CertificateSigningRequest, shown: x509.Certificate) -> None:
    """Insist that a renewal asks for the subject and the names that are in force (RFC 7030 4.2.2)."""
    if request.subject != shown.subject or names_of(request) != names_of(shown):
        raise EnrolmentError(
            "wrong-identity", f"another subject or other names than those of {describe(shown)}"
        )


def _named(caller: Caller) -> tuple[str, str]:
    """Say under which name a refused caller came, and what it showed."""
    if caller.token is not None:
        name = caller.token[0]
        return (name if is_name(name) else ""), "token"
    try:
        return "", describe(_read(caller.certificate))
    except (EnrolmentError, InputError):
        return "", ""


def _spki(request: x509.CertificateSigningRequest) -> bytes:
    """Hash a request's public key."""
    public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).digest()
