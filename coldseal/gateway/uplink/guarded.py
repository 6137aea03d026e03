"""TLS of the ways out: who is not the endpoint that the list names is refused before the first request byte.

Promises that a handshake ends well only with a peer that has the role, the pinned key and the CA asked for:
in TLS 1.3 no request leaves before that. Says of each refusal which it was. Uses the standard library alone.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from coldseal.errors import InputError
from coldseal.gateway.egress import Cause, RefusedError
from coldseal.identity.handshakes import Reason, detail_of, reason_of
from coldseal.identity.held_keys import UNSIGNED, fault_of
from coldseal.identity.peer import RoleError, require_role

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.egress import Guard
    from coldseal.gateway.endpoints import Endpoint
    from coldseal.identity.peer import Role

_CAUSES: Final[frozenset[str]] = frozenset(Cause)
_PROTOCOLS: Final = frozenset(
    ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_VERSION_NUMBER", "WRONG_SSL_VERSION")
)
_UNPROVEN: Final = {Reason.PROOF: Cause.PROOF, Reason.CHAIN_SIZE: Cause.CHAIN_SIZE}
_UNFINISHED: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


def tls_class(guard: Guard, endpoint: Endpoint, role: Role | None = None) -> type[ssl.SSLObject]:
    """Give the class of TLS sessions with one endpoint, for `ssl.SSLContext.sslobject_class`.

    Args:
        guard: the list of ways out.
        endpoint: who is meant.
        role: what the peer's certificate must make it; None for one that needs none of ours.
    """

    class Guarded(ssl.SSLObject):
        """A session whose handshake succeeds only with that endpoint."""

        @override
        def do_handshake(self) -> None:
            """Shake hands, then look who it is; TLS 1.3 sends no request before this has returned.

            Raises:
                ssl.SSLError: the handshake fails, or the peer is somebody else.
            """
            try:
                super().do_handshake()
            except _UNFINISHED:
                raise
            except ssl.SSLError as fault:
                note_failure(guard, endpoint, fault)
                _require_signed(self.context, fault)
                raise
            _require_peer(self, guard, endpoint, role)

    return Guarded


def connect(
    guard: Guard, endpoint: Endpoint, context: ssl.SSLContext, role: Role | None, *, timeout_s: float
) -> ssl.SSLSocket:
    """Connect and shake hands; blocks.

    Args:
        guard: the list of ways out.
        endpoint: who is meant.
        context: shows our certificate and trusts only the CA of the endpoint.
        role: what the peer's certificate must make it.
        timeout_s: bound of each wait.

    Raises:
        OSError: there is no connection, or the peer is somebody else.
        RefusedError: the endpoint, or where its name leads, is not allowed.
        UnavailableError: its name cannot be resolved.
    """
    fault: OSError = OSError("its name has no address")
    for address in guard.addresses(endpoint):
        guard.admit(endpoint, address, endpoint.port)
        try:
            plain = socket.create_connection((address, endpoint.port), timeout=timeout_s)
            break
        except OSError as error:
            fault = error
    else:
        raise fault
    try:
        wrapped = context.wrap_socket(plain, server_hostname=endpoint.host)
    except ssl.SSLError as error:
        plain.close()
        note_failure(guard, endpoint, error)
        _require_signed(context, error)
        raise
    except OSError:
        plain.close()
        raise
    try:
        _require_peer(wrapped, guard, endpoint, role)
    except ssl.SSLError:
        wrapped.close()
        raise
    return wrapped


def _require_signed(context: ssl.SSLContext, fault: ssl.SSLError) -> None:
    """Say in words what OpenSSL cannot: that a handshake failed since a key in a TPM did not sign.

    Raises:
        ssl.SSLError: it did not.
    """
    is_peer = isinstance(fault, ssl.SSLCertVerificationError)  # it was looked at before we were asked
    if not is_peer and (why := fault_of(context)):
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"{UNSIGNED}: {why}") from fault


def note_failure(guard: Guard, endpoint: Endpoint, fault: ssl.SSLError) -> None:
    """Note a handshake that failed because of who the peer is, or what it speaks; an outage is none."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        guard.refused(endpoint, _cause_of(fault), fault.verify_message)
    elif getattr(fault, "reason", "") in _PROTOCOLS:  # one that Python itself makes has none
        guard.refused(endpoint, Cause.PROTOCOL, "it does not speak TLS 1.3")
    elif (reason := reason_of(fault)) in _UNPROVEN:
        guard.refused(endpoint, _UNPROVEN[reason], detail_of(fault))


def _cause_of(fault: ssl.SSLError) -> Cause:
    """Name what is wrong with a certificate as the listeners do."""
    reason = reason_of(fault)
    return Cause(reason) if reason in _CAUSES else Cause.CERTIFICATE


def _require_peer(
    tls: ssl.SSLObject | ssl.SSLSocket, guard: Guard, endpoint: Endpoint, role: Role | None
) -> None:
    """Insist on role, pins and CA.

    Raises:
        ssl.SSLCertVerificationError: one is wrong.
    """
    try:
        if role is not None:
            require_role(tls.getpeercert(binary_form=True), role)
        guard.admit_chain(endpoint, verified_chain(tls))
    except (RoleError, InputError) as fault:
        guard.refused(endpoint, Cause.ROLE, str(fault))
        raise ssl.SSLCertVerificationError(str(fault)) from fault
    except RefusedError as fault:
        raise ssl.SSLCertVerificationError(str(fault)) from fault
    guard.passed(endpoint)


def verified_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """Give the chain that was verified, DER, leaf first, anchor last."""
    public: Any = getattr(tls, "get_verified_chain", None)  # from Python 3.13 on
    if public is not None:
        return list(public())
    inner: Any = tls._sslobj  # type: ignore[union-attr] # noqa: SLF001 -- what 3.13 made public is there before
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in inner.get_verified_chain()]


def authority_context(ca: Path | None) -> ssl.SSLContext:
    """Make the context for an endpoint that asks for no certificate: TLS 1.3, strict, one CA or the system's.

    Args:
        ca: CA certificates, PEM; None for the system's, wherever the environment says that they are.

    Raises:
        OSError: they cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if ca is not None:
        context.load_verify_locations(cafile=ca)
        return context
    built_in = ssl.get_default_verify_paths()
    for place in ({"cafile": built_in.openssl_cafile}, {"capath": built_in.openssl_capath}):
        with suppress(OSError):
            context.load_verify_locations(**place)
    return context
