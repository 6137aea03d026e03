"""The service's own certificate, renewed from its own CA: at half of its life, and after a roll-over.

Promises that certificate and key change together, also across a crash, and that a failure is told once and
tried again. A certificate of another CA is left alone. The listeners take what is new by themselves.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509

from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.identity.authority_folder import read_certificate
from coldseal.identity.pair import Pair
from coldseal.identity.peer import identity_of
from coldseal.identity.profiles import hosts_of
from coldseal.identity.register import render_serial
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.identity.authority import Authority
    from coldseal.service.config import Tls

RETRY_S: Final = 60
"""Pause after a failure."""
_log = Log("service.own_certificate")


class OwnCertificate:
    """The service's certificate and the CA that it comes from.

    Args:
        tls: names the files.
        authority: gives the issuing CA in force.
    """

    def __init__(self, tls: Tls, authority: Callable[[], Authority]) -> None:
        """Look at nothing yet."""
        self._tls, self._authority = tls, authority
        self._pair = Pair(tls.certificate, tls.key)
        self._next_try, self._has_failed = 0, False

    def refresh(self, now: int) -> bool:
        """Renew the certificate if it is due, by Unix seconds; says whether it did."""
        if now < self._next_try:
            return False
        try:
            leaf = self._renew(datetime.fromtimestamp(now, UTC))
        except (InputError, OperatorError, UnavailableError) as error:
            self._next_try = now + RETRY_S
            if not self._has_failed:
                _log.emit(
                    events.OWN_CERTIFICATE_KEPT, certificate=str(self._tls.certificate), error=str(error)
                )
            self._has_failed = True
            return False
        if leaf is None:
            return False
        self._has_failed = False
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        _log.emit(
            events.OWN_CERTIFICATE_RENEWED,
            certificate=str(self._tls.certificate),
            serial=render_serial(leaf.serial_number),
            days=round(life.total_seconds() / 86_400),
        )
        return True

    def _renew(self, now: datetime) -> x509.Certificate | None:
        """Renew what is due; None if nothing is."""
        old = read_certificate(self._tls.certificate)
        half = old.not_valid_before_utc + (old.not_valid_after_utc - old.not_valid_before_utc) / 2
        authority = self._authority()
        is_rolled_over = old.issuer != authority.issuer.certificate.subject
        if (now < half and not is_rolled_over) or not authority.is_ours(old):
            return None
        role, name = identity_of(old)
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = self._pair.next_key().public_key()
        leaf = authority.certify(key, role, name, now=now, hosts=hosts_of(names))
        self._pair.install(authority.chain(leaf))
        return leaf
