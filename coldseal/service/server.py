"""The TLS server under the API: mutual TLS 1.3, and the caller's certificate in each request's scope.

Promises that no request reaches the API without a certificate of the trusted CA, and that a caller who
sends no request, or endless headers, is cut. Stops when told so; installs no signal handlers.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from typing_extensions import override
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from coldseal.core.renewal import Life
from coldseal.errors import OperatorError
from coldseal.identity import contexts
from coldseal.identity.pair import Pair, read_life
from coldseal.identity.watched import Watched
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.gate import Gate

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from coldseal.service.config import Tls
    from coldseal.settings import Address

MAX_HEAD_BYTES: Final = 16_384
"""Bytes of a request line with all headers."""
HEAD_TIMEOUT_S: Final = 10.0
"""Time for a request's head to arrive once a connection is open."""
IDLE_TIMEOUT_S: Final = 75
"""Time that a connection may stay open between requests."""
MAX_PILED_BYTES: Final = 1_048_576
"""Bytes by which what is unsent may grow while the application waits: TLS itself answers key updates."""
_LOOK_S: Final = 0.1
DRAIN_S: Final = 5
"""Time for running requests to end when the server stops."""

_log = Log("service.server")


class PeerProtocol(HttpToolsProtocol):
    """HTTP/1.1 over TLS that names the caller and bounds a request's head."""

    _certificate: bytes | None = None
    _head_bytes = 0
    _is_in_head = True
    _overdue: asyncio.TimerHandle | None = None
    _looking: asyncio.TimerHandle | None = None
    broken: Callable[[str, Exception], None] | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in the base
        """Keep the certificate that TLS has verified, and wait for a request."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._overdue = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline; tell of a caller that broke TLS."""
        self._end_deadline()
        self._look_no_more()
        if isinstance(exc, ssl.SSLError):
            self._tell(exc)
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        """The caller reads slower than we write: the application waits, but TLS may go on answering."""
        super().pause_writing()
        self._look(None)

    @override
    def resume_writing(self) -> None:
        """The caller has caught up."""
        self._look_no_more()
        super().resume_writing()

    @override
    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is whole."""
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    @override
    def on_message_begin(self) -> None:
        """Put the caller into the new request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {"coldseal.certificate": self._certificate}  # type: ignore[dict-item] # our own
        self._is_in_head = True
        self._head_bytes = 0
        self._end_deadline()
        self._overdue = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    @override
    def on_headers_complete(self) -> None:
        """The head is whole: its limits no longer apply."""
        self._is_in_head = False
        self._end_deadline()
        super().on_headers_complete()

    def _look(self, first: int | None) -> None:
        """Cut off a caller for whom more and more is piled up, by TLS alone, and who reads nothing."""
        unsent = self.transport.get_write_buffer_size()
        if first is not None and unsent - first > MAX_PILED_BYTES:
            self._tell(TimeoutError("it reads nothing of what it asks for"))
            self.transport.abort()
            return
        self._looking = self.loop.call_later(_LOOK_S, self._look, unsent if first is None else first)

    def _look_no_more(self) -> None:
        """It reads again, or is gone."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _tell(self, error: Exception) -> None:
        """Tell that this caller broke TLS."""
        if self.broken is not None:
            self.broken(self.client[0] if self.client else "", error)

    def _end_deadline(self) -> None:
        """Stop the clock that runs for a head."""
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


class ApiServer(Server):
    """The server of one application; used by the program's task group."""

    def __init__(
        self,
        app: Starlette,
        context: ssl.SSLContext,
        *,
        max_connections: int,
        metrics: ServiceMetrics | None = None,
        listens: str = "api",
    ) -> None:
        """Configure it; nothing listens yet.

        Args:
            app: answers the requests.
            context: of every handshake.
            max_connections: at one time.
            metrics: counts those who are turned away at the handshake.
            listens: what this listener is called in logs.
        """
        super().__init__(
            Config(
                app,
                http=PeerProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=max_connections + 1,  # the server counts the newest one too
                timeout_keep_alive=IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=DRAIN_S,
                ssl_context_factory=lambda _config, _default: context,
            )
        )
        self._socket: socket.socket | None = None
        self._context, self._listens = context, listens
        self._metrics = metrics or ServiceMetrics()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen by a gate of our own: the library's tells nobody of a handshake that fails."""
        self.servers = []
        for each in sockets or ():
            gate = Gate(each, self._context, self._protocol, listens=self._listens, metrics=self._metrics)
            gate.open()
            self.servers.append(gate)  # type: ignore[arg-type] # closes and waits as the library's own
        self.started = True

    def _protocol(self) -> PeerProtocol:
        """Make what serves a caller who has passed."""
        protocol = PeerProtocol(self.config, self.server_state, self.lifespan.state)
        protocol.broken = self._told_of_broken
        return protocol

    def _told_of_broken(self, address: str, error: Exception) -> None:
        """A caller broke TLS: the gate says so."""
        for gate in self.servers[:1]:
            gate.broken(address, error)  # type: ignore[attr-defined] # a gate

    def bind(self, address: Address) -> str:
        """Take the address; connections wait until `serve`. Returns host:port as really bound.

        Raises:
            OperatorError: it cannot be listened on.
        """
        try:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            self._socket = socket.create_server((address.host, address.port), family=family, backlog=512)
        except OSError as error:
            hint = "Stop what listens there, or set another service.listen"
            raise OperatorError(f"{address} cannot be listened on: {error.strerror}", hint) from error
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def serve_bound(self) -> None:
        """Serve until `stop`; cancelled, it cuts what is open."""
        try:
            await self.serve(sockets=[self._socket] if self._socket else None)
        finally:
            if self.started:
                for server in self.servers:
                    server.close()
            for connection in list(self.server_state.connections):
                connection.transport.abort()

    def stop(self) -> None:
        """Take no more connections, let running requests end, then end."""
        self.should_exit = True

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self.server_state.connections)

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


class Certificate:
    """The transport identity, taken anew when its files change."""

    def __init__(
        self, tls: Tls, *, require: bool = True, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Finish what a crash left of a renewal, and load it.

        Args:
            tls: names the files.
            require: False lets a caller come without a certificate; one that it shows is verified.
            now_s: seconds that only go forward.

        Raises:
            OperatorError: a file is wrong.
        """
        self._tls, self._require = tls, require
        files = (tls.certificate, tls.key, tls.client_ca, tls.crl)
        with Pair(tls.certificate, tls.key).steady():
            self._files = Watched(str(tls.certificate), files, self._make, now_s=now_s)
            self.context = contexts.following(lambda: self._files.value[0], self._make()[0])

    def seconds_left(self) -> float:
        """How long the certificate lives."""
        return self._files.value[1].ends_s - time.time_ns() / 10**9

    def refresh(self) -> None:
        """Use changed files for new handshakes; what is wrong with them leaves the old ones in force."""
        if self._files.refresh():
            days = round(self.seconds_left() / 86_400)
            _log.emit(events.CERTIFICATE_RELOADED, certificate=str(self._tls.certificate), days=days)

    def _make(self) -> tuple[ssl.SSLContext, Life]:
        """Make a fresh context: a CA that was taken out is gone from it."""
        tls = self._tls
        context = contexts.server_context(
            tls.certificate, tls.key, tls.client_ca, require=self._require, crl=tls.crl
        )
        return context, read_life(tls.certificate)
