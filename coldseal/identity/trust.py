"""Which CA certificates are trusted after an authority's own answer, and how a leaf descends from them.

Guarantees that a root leaves a bundle only when it has ended, or when the authority that announced it leaves
it out; that a bundle of another authority is not touched; and that none is ever left empty. Pure rules:
whoever calls has made sure that the answer came from the authority.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

MAX_DEPTH: Final = 6
"""Certificates in a chain."""


class ChainError(TrustError):
    """A certificate does not descend from any CA certificate that came with it."""

    verdict = "no-chain"

    def __init__(self, name: str) -> None:
        """Keep whose it is."""
        self.name = name
        super().__init__(f"{name} does not descend from a root that the authority shows")


def parse_bundle(pem: bytes) -> list[x509.Certificate]:
    """Read the certificates of a PEM bundle; none where there is none."""
    try:
        return x509.load_pem_x509_certificates(pem) if pem.strip() else []
    except ValueError:
        return []


def encode_bundle(certificates: Iterable[x509.Certificate]) -> bytes:
    """Write certificates as a PEM bundle."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def roots_of(certificates: Iterable[x509.Certificate], *, now: datetime) -> list[x509.Certificate]:
    """Give the roots among certificates that have not ended, each once."""
    found = dict.fromkeys(each for each in certificates if _is_root(each))
    return [each for each in found if each.not_valid_after_utc > now]


def renewed(
    bundle: Sequence[x509.Certificate],
    announced: Sequence[x509.Certificate],
    answer: Sequence[x509.Certificate],
    *,
    now: datetime,
) -> list[x509.Certificate]:
    """Give what a bundle is to hold after the authority has shown its roots.

    Args:
        bundle: what is trusted now.
        announced: what the authority showed the last time.
        answer: what it shows now, over a session that the bundle verified.
        now: this moment, UTC.

    Returns:
        The certificates in a steady order; the bundle as it is where it is another authority's.
    """
    shown = roots_of(answer, now=now)
    if not set(shown) & set(bundle):
        return list(bundle)
    gone = set(announced) - set(shown)
    kept = [each for each in bundle if each not in gone and each.not_valid_after_utc > now]
    return list(dict.fromkeys((*kept, *shown)))


def chain_of(
    leaf: x509.Certificate, known: Sequence[x509.Certificate], *, now: datetime
) -> list[x509.Certificate]:
    """Give what TLS shows: the leaf and the CAs between it and a root, with links to older roots.

    Raises:
        ChainError: it does not descend from a root among ``known``.
    """
    chain = [leaf]
    while len(chain) < MAX_DEPTH:
        issuers = [each for each in known if _has_issued(each, chain[-1], now=now)]
        if any(_is_root(each) for each in issuers):
            return [*chain, *(each for each in issuers if not _is_root(each))]
        if not issuers:
            break
        chain.append(issuers[0])
    raise ChainError(leaf.subject.rfc4514_string())


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate, *, now: datetime) -> bool:
    """Whether a CA's certificate that counts now has signed another one."""
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc or not _is_ca(issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_root(certificate: x509.Certificate) -> bool:
    """Whether a CA has signed its own certificate."""
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return _is_ca(certificate)


def _is_ca(certificate: x509.Certificate) -> bool:
    """Whether a certificate is a CA's."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
