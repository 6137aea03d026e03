"""The TLS matrix as data: what is wrong with a caller, how it comes, and why it is refused."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.identity.handshakes import Reason
from coldseal.identity.peer import Role
from tests.perimeter.papers import (
    DEADLINE_S,
    Papers,
    as_ca,
    call,
    call_with_bytes,
    for_mail,
    lax_client,
    without_identity,
)

Caller = Callable[[Papers, Role, int, bytes], bytes]
NAME = "caller-1"


class Case(NamedTuple):
    """One row of the matrix.

    Args:
        name: what is wrong, as it stands in docs/specs/tls.md.
        reason: why it is refused, by both programs.
        comes: calls, and gives what came back.
        behind: it is refused behind the handshake; the service does so where a request is answered.
    """

    name: str
    reason: Reason
    comes: Caller
    behind: bool = False


def _shows(make: Callable[[Papers, Role], Path]) -> Caller:
    """Call with OpenSSL and show a certificate."""

    def comes(papers: Papers, role: Role, port: int, request: bytes) -> bytes:
        return call(port, lax_client(make(papers, role)), request)

    return comes


def _sends(
    make: Callable[[Papers, Role], Path],
    *,
    copies: int = 1,
    key: Callable[[Papers, Role], Path] | None = None,
) -> Caller:
    """Call with tlslite-ng and send a chain as bytes, proven with a strong key of its own or another one."""

    def comes(papers: Papers, role: Role, port: int, request: bytes) -> bytes:
        shown = x509.load_pem_x509_certificates(make(papers, role).read_bytes())
        chain = [each.public_bytes(Encoding.DER) for each in shown]
        other = key(papers, role) if key is not None else papers.leaf(role, NAME)
        return call_with_bytes(port, chain[:1] + chain[1:] * copies, other, request)

    return comes


def _comes_with(version: ssl.TLSVersion) -> Caller:
    """Call with another version of TLS and a good certificate."""

    def comes(papers: Papers, role: Role, port: int, request: bytes) -> bytes:
        return call(port, lax_client(papers.leaf(role, NAME), version=version), request)

    return comes


def _weak(key: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]) -> Caller:
    """Show a certificate of a weak key."""
    return _sends(lambda papers, role: papers.leaf(role, NAME, key=key()))


def _other(role: Role) -> Role:
    """Give a role that is wrong where another is right."""
    return "operator" if role == "device" else "device"


CASES = (
    Case("TLS 1.2", Reason.PROTOCOL, _comes_with(ssl.TLSVersion.TLSv1_2)),
    Case(
        "no certificate (an empty chain)",
        Reason.NO_CERTIFICATE,
        lambda _papers, _role, port, request: call(port, lax_client(None), request),
    ),
    Case(
        "a certificate of another CA",
        Reason.AUTHORITY,
        _shows(lambda papers, role: papers.leaf(role, NAME, authority=papers.stranger)),
    ),
    Case("self-signed", Reason.SELF_SIGNED, _shows(lambda papers, role: papers.self_signed(role, NAME))),
    Case(
        "expired",
        Reason.EXPIRED,
        _shows(lambda papers, role: papers.leaf(role, NAME, begin=timedelta(days=-30))),
    ),
    Case(
        "not yet valid",
        Reason.NOT_YET_VALID,
        _shows(lambda papers, role: papers.leaf(role, NAME, begin=timedelta(days=1))),
    ),
    Case("revoked", Reason.REVOKED, _shows(lambda papers, role: papers.known_revoked(role))),
    Case(
        "wrong extended key usage",
        Reason.PURPOSE,
        _shows(lambda papers, role: papers.leaf(role, NAME, change=for_mail)),
    ),
    Case(
        "path length exceeded",
        Reason.PATH_LENGTH,
        _shows(lambda papers, role: papers.below_the_last(role, NAME, is_ca=True)),
    ),
    Case(
        "signed by another leaf",
        Reason.NOT_A_CA,
        _shows(lambda papers, role: papers.below_the_last(role, NAME, is_ca=False)),
    ),
    Case(
        "one bit of its signature turned",
        Reason.SIGNATURE,
        _sends(lambda papers, role: papers.forged(papers.leaf(role, NAME))),
    ),
    Case("a weak curve: P-192", Reason.WEAK, _weak(lambda: ec.generate_private_key(ec.SECP192R1()))),
    Case("a weak key: RSA 1024", Reason.WEAK, _weak(lambda: rsa.generate_private_key(65537, 1024))),  # noqa: S505 # on purpose
    Case(
        "a curve that TLS 1.3 has no signature for: P-224",
        Reason.PROOF,
        _weak(lambda: ec.generate_private_key(ec.SECP224R1())),
    ),
    Case(
        "another's certificate without its key",
        Reason.PROOF,
        _sends(lambda papers, role: papers.leaf(role, NAME)),
    ),
    Case(
        "an oversized chain: 300 certificates",
        Reason.CHAIN_SIZE,
        _sends(lambda papers, role: papers.leaf(role, NAME), copies=300),
    ),
    Case(
        "a leaf that says it is a CA",
        Reason.IDENTITY,
        _shows(lambda papers, role: papers.leaf(role, NAME, change=as_ca)),
        behind=True,
    ),
    Case(
        "no identity in it (wrong name)",
        Reason.IDENTITY,
        _shows(lambda papers, role: papers.leaf(role, NAME, change=without_identity)),
        behind=True,
    ),
    Case(
        "a wrong role",
        Reason.ROLE,
        _shows(lambda papers, role: papers.leaf(_other(role), NAME)),
        behind=True,
    ),
    Case(
        "no TLS at all: HTTP",
        Reason.NOT_TLS,
        lambda _papers, _role, port, request: _plain(port, b"GET / HTTP/1.1\r\n\r\n" + request),
    ),
)


def _plain(port: int, request: bytes) -> bytes:
    """Call without TLS; what comes back is an alert at most."""
    answer = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as plain:
        plain.sendall(request)
        answer = plain.recv(65_536)
    return b"" if answer.startswith(b"\x15\x03") else answer
