"""Names and their addresses: from the configured servers, else from the system; nothing is guessed.

The one door to the DNS library, which is loaded only where servers are configured. Asks those servers and no
other, without search lists and without any file or variable that says otherwise. Blocks; retries nothing.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.egress import Guard, Rule, rules_of
from coldseal.gateway.endpoints import endpoint_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.tables.egress import Egress

LOOPBACK: Final = ("127.0.0.1", "::1")
ANSWER_S: Final = 5.0
"""Time for all servers together."""


def guard_of(config: GatewayConfig, *, kept: Path | None = None) -> Guard:
    """Make the guard of a configuration.

    Args:
        config: the gateway's configuration.
        kept: where refusals are written down.
    """
    return Guard(rules_of(config), names_of(config.egress), kept)


def guard_for(url: str) -> Guard:
    """Make a guard that allows exactly one address's endpoint.

    Raises:
        InputError: it is no address.
    """
    return Guard((Rule(endpoint_of(url)),), system_names)


def names_of(egress: Egress) -> Callable[[str], Sequence[str]]:
    """Give what resolves names."""
    return _Asked(egress) if egress.resolver else system_names


def system_names(host: str) -> Sequence[str]:
    """Ask the system.

    Raises:
        UnavailableError: there is no answer.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        raise UnavailableError(f"the address of {host}", fault.strerror or str(fault)) from fault
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _Asked:
    """Asks the configured servers.

    Args:
        egress: names them.
    """

    def __init__(self, egress: Egress) -> None:
        """Take them.

        Raises:
            OperatorError: the library is not installed.
        """
        try:
            from dns import exception, name, nameserver, resolver  # noqa: PLC0415 -- only where servers are named
        except ModuleNotFoundError as error:
            hint = "Install it with: pip install 'coldseal[gateway]'"
            raise OperatorError("egress.resolver needs the package dnspython", hint) from error
        self._absolute, self._fault = name.from_text, exception.DNSException
        self._resolver = resolver.Resolver(configure=False)
        self._resolver.nameservers = [
            nameserver.DoTNameserver(each.host, each.port, egress.resolver_name, str(egress.resolver_ca))
            if egress.resolver_name
            else nameserver.Do53Nameserver(each.host, each.port)
            for each in egress.resolver
        ]
        self._resolver.cache = resolver.LRUCache(64)

    def __call__(self, host: str) -> Sequence[str]:
        """Ask for IPv4 and IPv6 addresses.

        Raises:
            UnavailableError: there is no answer.
        """
        if host == "localhost":  # RFC 6761 6.3
            return LOOPBACK
        try:
            name: Any = self._absolute(host)  # no search list
            answers = self._resolver.resolve_name(name, lifetime=ANSWER_S)
            return list(answers.addresses())
        except (self._fault, OSError) as fault:
            raise UnavailableError(f"the address of {host}", str(fault) or type(fault).__name__) from fault
