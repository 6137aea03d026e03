"""TLS contexts of both sides: 1.3 only, pinned CA, strict X.509, no resumption.

A peer that passes has a certificate of the given CA, nothing more: its role is read afterwards by
`coldseal.identity.peer`. No environment variable and no system trust store is looked at.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError
from coldseal.identity.held_keys import use_held_key
from coldseal.signing.holders import open_transport
from coldseal.signing.private_files import read_private_file
from coldseal.signing.uris import WRAPPED, TpmUri

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LEVEL: Final = "DEFAULT:@SECLEVEL=2"
"""Certificates weaker than 112 bits (RSA 2048, curves of 224 bits) are refused, whatever the system says."""

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for."""


def server_context(
    certificate: Path,
    key: Path,
    client_ca: Path | None,
    *,
    require: bool = True,
    crl: Path | None = None,
    is_dated: bool = True,
) -> ssl.SSLContext:
    """Make the context of a listener.

    Args:
        certificate: chain, PEM, leaf first.
        key: transport key, PEM, mode 0600, without passphrase.
        client_ca: CA certificates that clients must descend from; None asks for no certificate.
        require: False lets a client pass without a certificate (it must prove itself otherwise).
        crl: revocation list of the CA that signs clients; None checks none.
        is_dated: False looks at no date, because the clock is wrong: the caller looks at the client's itself.

    Raises:
        OperatorError: a file is missing, unreadable, open to others or not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    if not is_dated:
        context.verify_flags |= _NO_CHECK_TIME
    # A resumed session would skip the check of a certificate that expired or was revoked meanwhile.
    context.num_tickets = 0
    if client_ca is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_mode = ssl.CERT_REQUIRED if require else ssl.CERT_OPTIONAL
        _trust(context, client_ca)
    reload(context, certificate, key, crl=crl)
    return context


def client_context(
    certificate: Path | None, key: Path | TpmUri | None, ca: Path, *, crl: Path | None = None
) -> ssl.SSLContext:
    """Make the context of a client that shows a certificate, if it has one, and checks the server's name.

    Args:
        certificate: chain, PEM, leaf first; None for a client that proves otherwise who it is.
        key: transport key, PEM, mode 0600, without passphrase; or one that a TPM has wrapped, which is asked
            at each handshake.
        ca: CA certificates that the server must descend from.
        crl: revocation list of the CA that signs the server; None checks none.

    Raises:
        OperatorError: a file is missing, unreadable, open to others or not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)  # checks host name and certificate
    _trust(context, ca)
    if certificate is not None and key is not None:
        if isinstance(key, TpmUri):
            use_held_key(context, certificate, open_transport(key))
        else:
            reload(context, certificate, key)
    if crl is not None:
        _revoke(context, crl)
    return context


def following(newest: Callable[[], ssl.SSLContext], first: ssl.SSLContext) -> ssl.SSLContext:
    """Make a listener's context that hands handshakes to the newest one, for a server that keeps its first.

    What is shown, who is trusted and who is revoked is the newest one's; open connections live on.

    Args:
        newest: gives the context for the next handshake, with the same settings as ``first``.
        first: becomes what the server keeps.
    """

    def hand_over(secured: ssl.SSLObject, _host: str | None, _first: ssl.SSLContext) -> None:
        secured.context = newest()

    first.sni_callback = hand_over  # called for each ClientHello, also for one that names no host
    return first


def reload(context: ssl.SSLContext, certificate: Path, key: Path, *, crl: Path | None = None) -> None:
    """Take a renewed certificate, key and revocation list into a running context.

    New handshakes use them; open connections live on. A new list must have a later date than
    the last one, else OpenSSL keeps that.

    Raises:
        OperatorError: a file is wrong; the context then keeps what it had, except for a list.
    """
    if WRAPPED in read_private_file(key):  # it also looks at its mode: nobody else may read a transport key
        hint = "Name it as tpm:key=FILE, in uplink.key alone: other transport keys are files"
        raise OperatorError(f"{key} is a key that a TPM has wrapped", hint)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        hint = "Name a PEM chain and the key that belongs to it"
        raise OperatorError(f"{certificate} with {key}: {_reason(error)}", hint) from error
    if crl is not None:
        _revoke(context, crl)


def _revoke(context: ssl.SSLContext, crl: Path) -> None:
    """Take a revocation list in, and ask for one from then on."""
    _load(context, crl, "a PEM revocation list")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _context(protocol: int) -> ssl.SSLContext:
    """Make a context that speaks TLS 1.3 and reads certificates strictly."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    context.set_ciphers(_LEVEL)
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    """Trust the CA certificates of a file, and none else."""
    _load(context, ca, "PEM certificates of a CA")
    if not context.get_ca_certs():
        raise OperatorError(f"{ca} holds no CA certificate", "Name a file with PEM certificates of a CA")


def _load(context: ssl.SSLContext, path: Path, kind: str) -> None:
    """Load certificates or lists into the context."""
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:
        raise OperatorError(f"{path}: {_reason(error)}", f"Name a file with {kind}") from error


def _reason(error: Exception) -> str:
    """Say why OpenSSL or the system refused."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "not PEM").lower().replace("_", " ")
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _refuse_passphrase() -> str:
    """Stop OpenSSL from asking for a passphrase on the terminal of a server."""
    raise ValueError("the key is protected by a passphrase, which a transport key cannot have")
