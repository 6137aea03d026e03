"""The matrix of wrong servers as data: what is wrong with whoever answers the uplink, and its name."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.gateway.egress import Cause
from tests.perimeter.papers import DEADLINE_S, Papers, for_mail, without_identity
from tests.perimeter.tlslite import X509, HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "service-1"


class Case(NamedTuple):
    """One row.

    Args:
        name: what is wrong, as it stands in docs/specs/egress.md.
        cause: under which it is refused.
        shows: gives the certificate that the server shows.
        answers: how it shakes hands; None: with OpenSSL and whatever certificate it has.
        is_crl: whether the uplink looks at a revocation list; ``ended`` at one that has ended.
        rule: what the list of ways out asks for beside.
    """

    name: str
    cause: Cause
    shows: Callable[[Papers], Path]
    answers: Callable[[socket.socket, Path, Papers], Any] | None = None
    crl: str = ""
    rule: Callable[[Papers], dict[str, object]] = lambda _papers: {}


def good(papers: Papers) -> Path:
    """Give the certificate of a service with which nothing is wrong."""
    return papers.leaf("service", NAME)


def with_openssl(
    plain: socket.socket, paper: Path, _papers: Papers, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLSocket:
    """Shake hands with OpenSSL, which shows anything; asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(paper, paper.with_suffix(".key"))
    return context.wrap_socket(plain, server_side=True)


def with_tls_1_2(plain: socket.socket, paper: Path, papers: Papers) -> ssl.SSLSocket:
    """Shake hands as it was done before."""
    return with_openssl(plain, paper, papers, version=ssl.TLSVersion.TLSv1_2)


def without_tls(plain: socket.socket, _paper: Path, _papers: Papers) -> socket.socket:
    """Greet in the clear."""
    plain.recv(65_536)  # the first message of the handshake: no request
    plain.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    return plain


def as_bytes(copies: int = 1) -> Callable[[socket.socket, Path, Papers], Any]:
    """Shake hands with tlslite-ng: show a chain as bytes, and prove it with a strong key of its own."""

    def answers(plain: socket.socket, paper: Path, papers: Papers) -> Any:  # noqa: ANN401 # it has no types
        shown = x509.load_pem_x509_certificates(paper.read_bytes())
        key = papers.leaf("service", NAME)
        certificates = []
        for each in shown[:1] + shown[1:] * copies:
            made = X509()
            made.parse(key.read_text())
            made.bytes = bytearray(each.public_bytes(Encoding.DER))
            certificates.append(made)
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, 4)
        settings.certificate_compression_send = settings.certificate_compression_receive = []
        connection = TLSConnection(plain)
        private: Any = parsePEMKey(key.with_suffix(".key").read_text(), private=True)
        connection.handshakeServer(
            certChain=X509CertChain(certificates), privateKey=private, settings=settings
        )
        return connection

    return answers


def revoked(papers: Papers) -> Path:
    """Give the certificate of a service that is on the list."""
    return papers.known_revoked("service")


CASES = (
    Case("TLS 1.2", Cause.PROTOCOL, good, with_tls_1_2),
    Case("no TLS at all", Cause.PROTOCOL, good, without_tls),
    Case(
        "a certificate of another CA",
        Cause.AUTHORITY,
        lambda papers: papers.leaf("service", NAME, authority=papers.stranger),
    ),
    Case("self-signed", Cause.SELF_SIGNED, lambda papers: papers.self_signed("service", NAME)),
    Case(
        "expired",
        Cause.EXPIRED,
        lambda papers: papers.leaf("service", NAME, begin=timedelta(days=-30)),
    ),
    Case(
        "not yet valid",
        Cause.NOT_YET_VALID,
        lambda papers: papers.leaf("service", NAME, begin=timedelta(days=1)),
    ),
    Case("revoked", Cause.REVOKED, revoked, crl="crl.pem"),
    Case("its list has ended", Cause.REVOCATION_UNKNOWN, good, crl="ended.pem"),
    Case("wrong name", Cause.NAME, lambda papers: papers.leaf("service", NAME, change=elsewhere)),
    Case("a wrong role", Cause.ROLE, lambda papers: papers.leaf("gateway", NAME, change=here)),
    Case(
        "no identity in it",
        Cause.ROLE,
        lambda papers: papers.leaf("service", NAME, change=lambda builder: here(without_identity(builder))),
    ),
    Case("wrong pin", Cause.PIN, good, rule=lambda _papers: {"pins": ("x" * 43 + "=",)}),
    Case(
        "not the CA of its entry in the list",
        Cause.AUTHORITY,
        good,
        rule=lambda papers: {"ca": papers.folder / "stranger" / "root.pem"},
    ),
    Case(
        "wrong extended key usage",
        Cause.PURPOSE,
        lambda papers: papers.leaf("service", NAME, change=for_mail),
    ),
    Case(
        "path length exceeded",
        Cause.PATH_LENGTH,
        lambda papers: papers.below_the_last("service", NAME, is_ca=True),
    ),
    Case(
        "signed by another leaf",
        Cause.NOT_A_CA,
        lambda papers: papers.below_the_last("service", NAME, is_ca=False),
    ),
    Case(
        "one bit of its signature turned",
        Cause.SIGNATURE,
        lambda papers: papers.forged(good(papers)),
        as_bytes(),
    ),
    Case(
        "a weak curve: P-192",
        Cause.WEAK,
        lambda papers: papers.leaf("service", NAME, key=ec.generate_private_key(ec.SECP192R1())),
        as_bytes(),
    ),
    Case(
        "a weak key: RSA 1024",
        Cause.WEAK,
        lambda papers: papers.leaf("service", NAME, key=rsa.generate_private_key(65537, 1024)),  # noqa: S505 # on purpose
        as_bytes(),
    ),
    Case("another's certificate without its key", Cause.PROOF, good, as_bytes()),
    Case("an oversized chain: 300 certificates", Cause.CHAIN_SIZE, good, as_bytes(300)),
)


def elsewhere(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """Name another host."""
    return _named(builder, "elsewhere.example")


def here(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """Name this host."""
    return _named(builder, "localhost")


def _named(builder: x509.CertificateBuilder, host: str) -> x509.CertificateBuilder:
    """Put one host into the names of a certificate; its identity stays."""
    kept = [each for each in builder._extensions if not isinstance(each.value, x509.SubjectAlternativeName)]
    (names,) = (
        each.value for each in builder._extensions if isinstance(each.value, x509.SubjectAlternativeName)
    )
    identity = [each for each in names if isinstance(each, x509.UniformResourceIdentifier)]
    builder._extensions = kept
    return builder.add_extension(x509.SubjectAlternativeName([*identity, x509.DNSName(host)]), critical=False)


class Server:
    """A server that is wrong, on a thread of its own.

    Attributes:
        port: where it listens.
        calls: how often somebody came.
        got: what it was sent behind the handshake.
    """

    def __init__(self, case: Case, papers: Papers) -> None:
        """Make its certificate, and listen."""
        self._answers, self._papers, self._paper = case.answers or with_openssl, papers, case.shows(papers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.calls, self.got = 0, bytearray()
        self._thread = threading.Thread(target=self._serve)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(DEADLINE_S)
            self._socket.close()

    def _serve(self) -> None:
        """Answer one caller after the other."""
        with suppress(OSError):
            while True:
                plain, _ = self._socket.accept()
                plain.settimeout(DEADLINE_S)
                self.calls += 1
                with plain, suppress(Exception):  # whatever a library makes of being refused
                    secured = self._answers(plain, self._paper, self._papers)
                    try:
                        self.got += secured.recv(65_536)
                    finally:
                        secured.close()
