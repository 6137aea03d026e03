"""Revocation lists: every denied serial number that has not ended by itself, signed by each issuing CA.

Promises that a number stays on the list until after the certificate's end (RFC 5280 3.3), and that list
numbers only rise. Reads and writes no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.errors import OperatorError
from coldseal.identity.profiles import authority_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from coldseal.identity.register import Denied, Issued

AFTER_END: Final = timedelta(days=30)
"""How long a number stays on the list after its certificate ended."""
_END: Final = b"-----END X509 CRL-----"


@dataclass(frozen=True)
class Issuer:
    """A CA's certificate and the key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def id(self) -> str:
        """Key identifier, hex, as the register names it."""
        return key_id(self.certificate)


def key_id(certificate: x509.Certificate) -> str:
    """Give the identifier of a CA's key, hex."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def ended(issued: Iterable[Issued], *, now: datetime) -> set[str]:
    """Give the serial numbers that need not be listed any more."""
    limit = (now - AFTER_END).timestamp()
    return {each.serial for each in issued if each.not_after < limit}


def encode_lists(
    issuers: Sequence[Issuer],
    held: bytes,
    denied: Iterable[Denied],
    ended_serials: Collection[str],
    *,
    now: datetime,
    days: float,
) -> bytes:
    """Write one list of each issuing CA, PEM.

    Args:
        issuers: who signs, the one in force first.
        held: the lists that are in force; empty if there are none. What they name stays named.
        denied: what counts no more.
        ended_serials: of these, what need not be listed, hex.
        now: this moment, UTC; must be later than that of the lists in force.
        days: life of the lists.
    """
    gone = {int(each, 16) for each in ended_serials}
    fresh = [(int(each.serial, 16), each.revoked()) for each in denied]
    content = b""
    for issuer in issuers:
        identifier = authority_of(issuer.certificate)
        number, revoked = _held(parse_lists(held), identifier)
        revoked.update(fresh)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=issuer.certificate.subject,
            last_update=now,
            next_update=now + timedelta(days=days),
            revoked_certificates=[entry for serial, entry in revoked.items() if serial not in gone],
        )
        builder = builder.add_extension(x509.CRLNumber(number + 1), critical=False)
        builder = builder.add_extension(identifier, critical=False)
        content += builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return content


def parse_lists(content: bytes) -> list[x509.CertificateRevocationList]:
    """Read lists in PEM.

    Raises:
        OperatorError: they are none.
    """
    try:
        return [x509.load_pem_x509_crl(part + _END) for part in content.split(_END)[:-1]]
    except (ValueError, x509.InvalidVersion) as error:
        hint = "Restore it, or move it away and run: coldseal identity ca crl DIR"
        raise OperatorError("the revocation list cannot be read", hint) from error


def _held(
    lists: Iterable[x509.CertificateRevocationList], identifier: x509.AuthorityKeyIdentifier
) -> tuple[int, dict[int, x509.RevokedCertificate]]:
    """Give number and entries of an issuer's list in force."""
    for each in lists:
        if each.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value == identifier:
            number = each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            return number, {entry.serial_number: entry for entry in each}
    return 0, {}
