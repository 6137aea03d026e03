"""Who is speaking: the holder of a verified certificate, or a name with a right password.

A caller has one identity for its whole connection. Passwords are checked in threads, few at a time,
because each check costs processor and memory on purpose. What the caller may do is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from coldseal.core.topics import BLOCKED, NOT_REGISTERED, is_name
from coldseal.errors import InputError, OperatorError, TrustError
from coldseal.identity.handshakes import ExpiredError
from coldseal.identity.peer import require_role
from coldseal.mqtt.packets import ReasonCode
from coldseal.mqtt.session import Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from coldseal.core.topics import Policy
    from coldseal.gateway.sources.door import House
    from coldseal.gateway.sources.guard import Guard
    from coldseal.gateway.sources.link import Link
    from coldseal.identity.passwords import Passwords
    from coldseal.mqtt.packets import Connect

_WORKERS: Final = 2
_MAX_WAITING: Final = 64
_KEPT_OUT: Final = {BLOCKED: ReasonCode.BANNED, NOT_REGISTERED: ReasonCode.NOT_AUTHORIZED}
_WRONG: Final = "wrong user name or password"
_PEM_LIST: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class Holder(NamedTuple):
    """The holder of a client certificate."""

    name: str
    fingerprint: str
    not_after: datetime
    issued: tuple[x509.Name, int]
    """Issuer and serial number, as a revocation list names a certificate."""


def read_holder(certificate_der: bytes) -> Holder:
    """Read who holds a verified certificate.

    Raises:
        InputError: the certificate carries no identity.
        RoleError: it is not a device's.
    """
    peer = require_role(certificate_der, "device")
    certificate = x509.load_der_x509_certificate(certificate_der)
    issued = _kept_once(certificate.issuer), certificate.serial_number
    return Holder(peer.name, peer.fingerprint, peer.not_after, issued)


@lru_cache(maxsize=64)
def _kept_once(issuer: x509.Name) -> x509.Name:
    """Give the name that is kept for all whom the same CA made, instead of one for each connection."""
    return issuer


def read_revoked(path: Path) -> frozenset[tuple[x509.Name, int]]:
    """Read which certificates the PEM lists of a file revoke, as issuer and serial number.

    Raises:
        OperatorError: the file cannot be read as revocation lists.
    """
    try:
        lists = [x509.load_pem_x509_crl(pem) for pem in _PEM_LIST.findall(path.read_bytes())]
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path} cannot be read: {error}", "Name a PEM revocation list") from error
    return frozenset((each.issuer, revoked.serial_number) for each in lists for revoked in each)


class Reception:
    """Lets clients in, or says why not.

    Args:
        policy: gives each device its rights.
        house: is told who is no longer half-open.
        passwords: names and hashes; None lets nobody in by password.
        guard: knows who is kept out; its report is told who came and who was refused.
        keep: is given each certificate that is let in, DER, and its fingerprint.
        now: gives the listener's time.
        dispatch: is called after an answer that came later, for what the broker has noticed.
    """

    def __init__(
        self,
        policy: Policy,
        house: House,
        passwords: Passwords | None,
        guard: Guard,
        *,
        keep: Callable[[bytes, str], None],
        now: Callable[[], float],
        dispatch: Callable[[], None],
    ) -> None:
        """Start without threads: they come with the first check of a password."""
        self._policy, self._house, self._report, self._guard = policy, house, guard.report, guard
        self._keep, self._now, self._dispatch = keep, now, dispatch
        self._passwords = passwords
        self.closed_for = ""
        """Why nobody is let in; empty if somebody may be."""
        self._threads = ThreadPoolExecutor(_WORKERS, "password")
        self._waiting = 0

    def replace(self, passwords: Passwords) -> None:
        """Use a newer password file from now on."""
        self._passwords = passwords

    def close(self) -> None:
        """End the threads, after the checks that run."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def identify(self, link: Link, certificate_der: bytes, is_over: Callable[[Holder], bool]) -> bool:
        """Read who holds the certificate of a TLS connection; False when it is nobody who may speak here.

        Args:
            link: the connection.
            certificate_der: the certificate.
            is_over: tells whether it has expired, where TLS was not asked.
        """
        try:
            holder = read_holder(certificate_der)
            if is_over(holder):
                raise ExpiredError
            link.holder = holder
        except (InputError, TrustError) as error:
            self._report.stranger(link.address, error, self._now())
            return False
        self._keep(certificate_der, holder.fingerprint)
        return True

    def log_in(self, link: Link, connect: Connect) -> None:
        """Find out who asks to be let in, now or once a thread has checked the password."""
        name, password, passwords = connect.username, connect.password, self._passwords
        if self.closed_for:
            self._refuse(link, ReasonCode.SERVER_UNAVAILABLE, self.closed_for)
        elif link.holder is not None:
            self._admit(link, connect, Identity(link.holder.name, link.holder.fingerprint))
        elif passwords is None or name is None or password is None:
            self._refuse(link, ReasonCode.NOT_AUTHORIZED, "neither certificate nor password")
        elif not is_name(name):
            self._refuse(link, ReasonCode.BAD_USER_NAME_OR_PASSWORD, _WRONG)
        elif self._waiting >= _MAX_WAITING:
            self._refuse(link, ReasonCode.SERVER_BUSY, "too many log-ins at once")
        else:
            self._waiting += 1
            loop = asyncio.get_running_loop()
            checked = loop.run_in_executor(self._threads, passwords.is_valid, name, password)
            checked.add_done_callback(partial(self._checked, link, connect, name))

    def _checked(self, link: Link, connect: Connect, name: str, is_valid: asyncio.Future[bool]) -> None:
        """A password has been checked, or the listener ended before."""
        self._waiting -= 1
        if is_valid.cancelled():
            return
        if is_valid.result():
            self._admit(link, connect, Identity(name))
        else:
            self._refuse(link, ReasonCode.BAD_USER_NAME_OR_PASSWORD, _WRONG)
        self._dispatch()

    def _admit(self, link: Link, connect: Connect, identity: Identity) -> None:
        """Let a client in, with the rights that its name has."""
        connection = link.connection
        why, text = self._guard.keeps_out(identity.name)
        if why:
            self._guard.turned_away(identity, why)
            self._refuse(link, _KEPT_OUT[why], text, why)
            return
        connection.admit(identity, self._policy.rights(identity.name), secrets.token_hex(8), self._now())
        if connection.session_key is not None:
            link.device, link.client_id = connection.session_key
            self._house.admit(link.address)
            self._report.connected(link, connect.version.name)
        elif connection.ended is not None:
            cause = "rights" if connection.ended is ReasonCode.NOT_AUTHORIZED else "limit"
            self._report.refused(link.address, cause, connection.ended.name, self._now())

    def _refuse(self, link: Link, reason: ReasonCode, text: str, cause: str = "identity") -> None:
        """Do not let a client in."""
        link.connection.refuse(reason, text)
        self._report.refused(link.address, cause, text, self._now())
