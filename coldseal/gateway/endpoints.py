"""Endpoints that the configuration names, held against the list of those that are allowed.

Promises that a list which leaves out what another setting needs, or contradicts itself, is refused with key,
value and cure. Resolves no name and opens no file.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from typing_extensions import override

from coldseal.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.tables.egress import Allowed, Egress

_PORTS: Final = {"https": 443, "http": 80, "mqtts": 8883, "smtps": 465, "smtp": 25}
_OPEN: Final = frozenset({"http", "smtp"})


class Endpoint(NamedTuple):
    """A host, as its name or its address in the usual form, a port, and whether TLS is spoken."""

    host: str
    port: int
    is_tls: bool = True

    @override
    def __str__(self) -> str:
        """Write it as an address begins."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"


class WayOut(NamedTuple):
    """A setting that names an endpoint."""

    key: str
    url: str


def usual_host(host: str) -> str:
    """Give a host in the form in which two of them are compared."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().removesuffix(".")


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def endpoint_of(url: str) -> Endpoint:
    """Read the endpoint of an address.

    Raises:
        InputError: it is no `https`, `http`, `mqtts`, `smtps` or `smtp` address, or carries a password.
    """
    expected = "https://host:port, without user or password"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise InputError("address", "url", url, expected) from fault
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise InputError("address", "url", url.rpartition("@")[2], expected)
    return Endpoint(usual_host(parts.hostname), port or _PORTS[parts.scheme], parts.scheme not in _OPEN)


def listed(allowed: Allowed) -> Endpoint:
    """Give the endpoint of an entry of the list."""
    return Endpoint(usual_host(allowed.host), allowed.port, allowed.tls)


def require_sound(egress: Egress, ways: Sequence[WayOut], where: str) -> None:
    """Insist on a list without contradictions, in which everything stands that is configured.

    Args:
        egress: the table.
        ways: what other settings name.
        where: the file.

    Raises:
        OperatorError: naming key, value and cure.
    """
    for each in egress.allow:
        _require_sound_entry(each, f"{where}: egress.allow of {each.host}:{each.port}")
    known = {(each.host, each.port): each for each in map(listed, egress.allow)}
    if len(known) != len(egress.allow):
        what = f"{where}: egress.allow has one endpoint twice"
        raise OperatorError(what, "Join its pins and addresses in one table")
    for way in ways:
        try:
            wanted = endpoint_of(way.url)
        except InputError as fault:
            raise OperatorError(f"{where}: {way.key}: {fault}", "Correct that address") from fault
        found = known.get((wanted.host, wanted.port))
        if egress.allow and found is None:
            what = f"{where}: {way.key} is {way.url!r}, which is not in egress.allow"
            cure = f'Add [[egress.allow]] with host = "{wanted.host}" and port = {wanted.port}'
            raise OperatorError(what, f"{cure}, or empty {way.key}")
        if found is not None and found.is_tls != wanted.is_tls:
            what = (
                f"{where}: {way.key} is {way.url!r}, but egress.allow has tls = {str(found.is_tls).lower()}"
            )
            raise OperatorError(
                what, f"Set tls = {str(wanted.is_tls).lower()} there, or use the other address"
            )
    _require_sound_resolver(egress, where)


def _require_sound_entry(each: Allowed, where: str) -> None:
    """Refuse an entry that could never be met, or whose values are none."""
    for name, values, kind in (
        ("addresses", each.addresses, ipaddress.ip_address),
        ("networks", each.networks, ipaddress.ip_network),
    ):
        for value in values:
            try:
                kind(value)
            except ValueError as fault:
                raise OperatorError(f"{where}: {name} has {value!r}: {fault}", "Correct it") from fault
    if not each.tls and (each.pins or each.ca is not None):
        what = f"{where}: tls = false, but pins or ca are set"
        raise OperatorError(what, "Without TLS no key is shown: leave out pins and ca, or set tls = true")
    if each.addresses and is_address(each.host):
        what = f"{where}: addresses are set for a host that is an address itself"
        raise OperatorError(what, "Leave them out")
    for value in (*each.addresses, *([each.host] if is_address(each.host) else [])):
        if each.networks and not is_inside(value, each.networks):
            what = f"{where}: {value} lies outside its networks"
            raise OperatorError(what, "Correct the address, or add its network")


def is_inside(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of some networks."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in ipaddress.ip_network(each) for each in networks)


def _require_sound_resolver(egress: Egress, where: str) -> None:
    """Refuse name servers that could not be asked."""
    for server in egress.resolver:
        if not is_address(server.host):
            what = f"{where}: egress.resolver has {str(server)!r}"
            raise OperatorError(what, "Name each server by its IP address and port, such as 10.0.0.53:53")
    if egress.resolver_name and not egress.resolver:
        what = f"{where}: egress.resolver_name is set, but egress.resolver is not"
        raise OperatorError(what, "Set egress.resolver to the servers' addresses, with port 853")
    if bool(egress.resolver_name) != (egress.resolver_ca is not None):
        what = f"{where}: egress.resolver_name and egress.resolver_ca are not set both"
        raise OperatorError(what, "Set both to ask over TLS, or neither")
