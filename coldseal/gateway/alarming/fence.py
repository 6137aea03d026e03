"""A fence around a whole process: it connects to named endpoints and nothing else, whatever library tries.

Promise: an audit hook, which no code of this process can take off again, refuses each other connection,
datagram and program before it is made; names are asked for where the list of ways out says. TLS must have
verified its peer, whose chain is held against pins and CA. For a process of its own: it holds from then on.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from coldseal.errors import ColdsealError
from coldseal.gateway.egress import Cause
from coldseal.gateway.endpoints import Endpoint, is_address, usual_host
from coldseal.gateway.uplink.guarded import note_failure, verified_chain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldseal.gateway.egress import Guard

PROGRAMS: Final = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn"}
)
"""Audit events of another program's start."""

DATAGRAMS: Final = frozenset({"socket.sendto", "socket.sendmsg"})
NAMES: Final = frozenset(
    {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
)
_INTERNET: Final = frozenset({socket.AF_INET, socket.AF_INET6})


class Fence:
    """What one process may reach.

    Args:
        guard: the list of ways out.
        endpoints: those of them that this process needs.
        resolvers: addresses of the name servers that may be asked.
    """

    def __init__(self, guard: Guard, endpoints: Iterable[Endpoint], resolvers: Iterable[str] = ()) -> None:
        """Take the list; nothing is fenced yet."""
        self._guard = guard
        self._endpoints = {(each.host, each.port): each for each in endpoints}
        self._resolvers = frozenset(resolvers)
        self._found: dict[tuple[str, int], Endpoint] = {}
        self._inside = threading.local()
        self._ask = socket.getaddrinfo

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Refuse what is not allowed: the audit hook.

        Raises:
            OSError: it is not.
        """
        if event == "socket.connect":
            self._connecting(arguments[0], arguments[1])
        elif event in PROGRAMS:
            raise _refusal("no program is started here")
        elif event in DATAGRAMS and arguments[0].family in _INTERNET:
            self._require_resolver(arguments[1])
        elif event in NAMES and not self._is_asking:
            raise socket.gaierror(socket.EAI_NONAME, "no name is asked for here but those of endpoints")

    @property
    def _is_asking(self) -> bool:
        """Whether this thread is asking for an allowed name."""
        return getattr(self._inside, "is_asking", False)

    def _connecting(self, made: socket.socket, address: Any) -> None:  # noqa: ANN401 -- its form is the family's
        """Let a socket connect to an endpoint, or to a name server while a name is asked for."""
        if made.family not in _INTERNET:
            raise _refusal(f"{address!r} is no endpoint")
        host, port = usual_host(str(address[0]).partition("%")[0]), int(address[1])
        if self._is_asking and host in self._resolvers:
            return
        endpoint = self._found.get((host, port)) or self._endpoints.get((host, port))
        if endpoint is None:
            unknown = Endpoint(host, port)
            raise _refusal(str(self._guard.refused(unknown, Cause.NOT_LISTED, "no recipient names it")))
        try:
            self._guard.admit(endpoint, host, port)
        except ColdsealError as fault:
            raise _refusal(str(fault)) from fault

    def _require_resolver(self, address: Any) -> None:  # noqa: ANN401 -- None, or as the family has it
        """Let a datagram go to a name server only, while a name is asked for."""
        if not self._is_asking or (address is not None and address[0] not in self._resolvers):
            raise _refusal("datagrams go to name servers only")

    def resolve(
        self,
        host: str | bytes | None,
        port: str | int | None,
        *more: Any,  # noqa: ANN401 -- as `socket.getaddrinfo` has them
        **named: Any,  # noqa: ANN401 -- the same
    ) -> list[Any]:
        """Give the addresses of an endpoint: in the place of `socket.getaddrinfo`.

        Raises:
            OSError: it is none, or has no address.
        """
        if self._is_asking:
            return list(self._ask(host, port, *more, **named))
        name = usual_host(host.decode() if isinstance(host, bytes) else host or "")
        endpoint = self._endpoints.get((name, int(port or 0)))
        if endpoint is None:
            unknown = Endpoint(name, int(port or 0))
            raise _refusal(str(self._guard.refused(unknown, Cause.NOT_LISTED, "no recipient names it")))
        self._inside.is_asking = True
        try:
            addresses = self._guard.addresses(endpoint)
            found: list[Any] = []
            for each in addresses:
                self._found[usual_host(each), endpoint.port] = endpoint
                found += self._ask(each, endpoint.port, type=socket.SOCK_STREAM)
        except ColdsealError as fault:
            raise OSError(errno.EHOSTUNREACH, str(fault)) from fault
        finally:
            self._inside.is_asking = False
        return found

    def shaken(self, tls: ssl.SSLSocket) -> None:
        """Hold a verified peer against its endpoint.

        Raises:
            ssl.SSLCertVerificationError: nobody verified it, or pins or CA are not met.
        """
        address = tls.getpeername()
        endpoint = self._of(str(address[0]), int(address[1]))
        if tls.context.verify_mode is not ssl.CERT_REQUIRED or not tls.context.check_hostname:
            why = "its certificate was not verified"
            if endpoint is not None:
                self._guard.refused(endpoint, Cause.CERTIFICATE, why)
            raise ssl.SSLCertVerificationError(why)
        if endpoint is None:
            raise ssl.SSLCertVerificationError("no recipient names it")
        try:
            self._guard.admit_chain(endpoint, verified_chain(tls))
        except ColdsealError as fault:
            raise ssl.SSLCertVerificationError(str(fault)) from fault
        self._guard.passed(endpoint)

    def failed(self, tls: ssl.SSLSocket, fault: ssl.SSLError) -> None:
        """Note a handshake that failed because of who the peer is."""
        address = tls.getpeername()
        endpoint = self._of(str(address[0]), int(address[1]))
        if endpoint is not None:
            note_failure(self._guard, endpoint, fault)

    def _of(self, host: str, port: int) -> Endpoint | None:
        """Give the endpoint that was meant by an address."""
        key = (usual_host(host.partition("%")[0]), port)
        return self._found.get(key) or (self._endpoints.get(key) if is_address(key[0]) else None)

    def raise_(self) -> None:
        """Put the fence up; it stays as long as the process lives."""
        fence = self

        class Fenced(ssl.SSLSocket):
            """A TLS socket whose handshake ends well only with such a peer."""

            @override
            def do_handshake(self, block: bool = False) -> None:
                """Shake hands, then look who it is; a client sends nothing before this has returned."""
                try:
                    super().do_handshake(block)
                except ssl.SSLError as fault:
                    fence.failed(self, fault)
                    raise
                fence.shaken(self)

        ssl.SSLContext.sslsocket_class = Fenced
        socket.getaddrinfo = self.resolve  # type: ignore[assignment] # it answers alike
        sys.addaudithook(self.look)


def _refusal(why: str) -> PermissionError:
    """Make what libraries take for a network that does not let them."""
    return PermissionError(errno.EACCES, why)
