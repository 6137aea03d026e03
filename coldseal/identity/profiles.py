"""What a certificate of each role carries: subject, names, usages, life; and what a CA's carries.

Promises full profiles that strict verifiers accept, one identity in each, and none whose name could be taken
for another. Signs nothing, opens nothing: whoever has the issuing key does.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coldseal.errors import InputError
from coldseal.identity.peer import Role, render_urn, require_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

LEAF_DAYS: Final = 7
CA_DAYS: Final = 365
CRL_DAYS: Final = 7
BACKDATED: Final = timedelta(minutes=5)
"""How long before its making a certificate begins, for peers whose clock is slow."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
MAX_HOSTS: Final = 16
"""Names and addresses in one certificate, beside loopback."""

_USAGES: Final[dict[Role, tuple[x509.ObjectIdentifier, ...]]] = {
    "device": (ExtendedKeyUsageOID.CLIENT_AUTH,),
    "gateway": (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    "service": (ExtendedKeyUsageOID.SERVER_AUTH,),
    "operator": (ExtendedKeyUsageOID.CLIENT_AUTH,),
}
_MAX_HOST: Final = 253
_MAX_LABEL: Final = 63  # RFC 1035 2.3.4


def is_server(role: Role) -> bool:
    """Answer whether others connect to this role."""
    return ExtendedKeyUsageOID.SERVER_AUTH in _USAGES[role]


def usages(role: Role) -> x509.ExtendedKeyUsage:
    """Say what a role's key may do in TLS."""
    return x509.ExtendedKeyUsage(_USAGES[role])


def subject(name: str) -> x509.Name:
    """Make a subject of a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def alternative_names(role: Role, name: str, hosts: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    """Make the names of a holder: its identity and, where others connect to it, loopback and its hosts.

    Args:
        role: what it is.
        name: its name.
        hosts: names and addresses it is reached by, beside loopback.

    Raises:
        InputError: a name or host is not acceptable, or the role is not connected to and has hosts.
    """
    require_name("certificate", name)
    require_hosts(role, hosts)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(render_urn(role, name))]
    if is_server(role):
        names += [_host_name(host) for host in dict.fromkeys((*LOOPBACK, *hosts))]
    return x509.SubjectAlternativeName(names)


def require_hosts(role: Role, hosts: Sequence[str]) -> None:
    """Insist on names and addresses that a certificate of this role may carry.

    Raises:
        InputError: it may not.
    """
    if hosts and not is_server(role):
        raise InputError("certificate", "hosts", list(hosts), f"none: nobody connects to a {role}")
    if len(hosts) > MAX_HOSTS:
        raise InputError("certificate", "hosts", len(hosts), f"at most {MAX_HOSTS}")
    for host in hosts:
        if not _is_host(host):
            raise InputError("certificate", "hosts", host, "a host name or an IP address, without wildcard")


def hosts_of(names: x509.SubjectAlternativeName) -> tuple[str, ...]:
    """Give the hosts in a certificate's names, without loopback, as `alternative_names` takes them."""
    dns = names.get_values_for_type(x509.DNSName)
    addresses = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    return tuple(host for host in (*dns, *addresses) if host not in LOOPBACK)


def leaf(
    role: Role,
    name: str,
    key: CertificateIssuerPublicKeyTypes,
    *,
    issuer: x509.Certificate,
    now: datetime,
    days: float,
    hosts: Sequence[str] = (),
    crl_url: str = "",
) -> x509.CertificateBuilder:
    """Begin a holder's certificate; it never outlives its issuer.

    Args:
        role: what it makes its holder.
        name: the holder's name.
        key: the holder's public key.
        issuer: who will sign.
        now: this moment, UTC.
        days: its life.
        hosts: names and addresses that a gateway or service is reached by, beside loopback.
        crl_url: where the issuer's revocation list can be fetched; empty: said nowhere.

    Raises:
        InputError: the name or a host is not acceptable.
    """
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    builder = _begin(subject(name), key, now, end).issuer_name(issuer.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(is_ca=False), critical=True)
    builder = builder.add_extension(authority_of(issuer), critical=False)
    builder = builder.add_extension(alternative_names(role, name, hosts), critical=False)
    builder = builder.add_extension(usages(role), critical=False)
    if crl_url:
        place = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([place]), critical=False)
    return builder


def authority(
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name,
    now: datetime,
    days: float,
    depth: int,
) -> x509.CertificateBuilder:
    """Begin the certificate of a CA with ``depth`` CAs below it."""
    builder = _begin(name, key, now, now + timedelta(days=days)).issuer_name(issuer)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
    return builder.add_extension(_key_usage(is_ca=True), critical=True)


def authority_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Name the key that signs, as its own certificate does."""
    key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key)


def _begin(
    name: x509.Name, key: CertificateIssuerPublicKeyTypes, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    """Begin a certificate: what all profiles share."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Let a CA sign certificates and lists, a leaf sign handshakes; nothing else."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_host(host: str) -> bool:
    """Answer whether this is an address, or a name of DNS labels."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    labels = host.split(".")
    return len(host) <= _MAX_HOST and all(
        0 < len(label) <= _MAX_LABEL
        and label.isascii()
        and label.replace("-", "").replace("_", "").isalnum()
        and not label.startswith("-")
        and not label.endswith("-")
        for label in labels
    )


def _host_name(host: str) -> x509.GeneralName:
    """Make an address or a DNS name."""
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)
