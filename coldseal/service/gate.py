"""The service's listening socket: counts who is half-way in, and says of each failed handshake why.

Promises that a handshake has an end, that few are under way at one time, and that a flood of bad callers
makes one line a minute for each address and reason. It knows neither HTTP nor who may do what.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.identity.handshakes import Reason, detail_of, reason_of
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from coldseal.observe.metrics import ServiceMetrics

HANDSHAKE_S: Final = 10.0
"""Time for a TLS handshake."""
SHUTDOWN_S: Final = 2.0
"""Time for a TLS connection to end in order."""
_ACCEPTED_AT_ONCE: Final = 32
_REST_S: Final = 0.5
_QUIET_S: Final = 60.0
_REMEMBERED: Final = 1_024

_log = Log("service.server")


class GateLimits(NamedTuple):
    """How many handshakes may be under way."""

    half_open: int = 512
    half_open_per_address: int = 128
    handshake_s: float = HANDSHAKE_S


class Gate:
    """One listening socket.

    Args:
        listener: bound and listening.
        context: of every handshake.
        protocol: makes what serves a caller who has passed.
        listens: what is said of it in logs and metrics, such as ``api``.
        metrics: counts refusals.
        limits: of what is half-open.
        now_s: seconds that only go forward.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        listens: str,
        metrics: ServiceMetrics,
        limits: GateLimits | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the parts; `open` takes callers in."""
        self._listener, self._context, self._protocol = listener, context, protocol
        self._listens, self._metrics, self._now_s = listens, metrics, now_s
        self.limits = limits or GateLimits()
        self._half_open: Counter[str] = Counter()
        self._greetings: set[asyncio.Task[None]] = set()
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._resting: asyncio.TimerHandle | None = None
        self._is_open = False

    @property
    def half_open(self) -> int:
        """Callers who are at the handshake."""
        return len(self._greetings)

    def open(self) -> None:
        """Take callers in from now on."""
        self._listener.setblocking(False)
        self._is_open = True
        self._resume()

    def close(self) -> None:
        """Take nobody in any more, and give up on those who are at the handshake."""
        if not self._is_open:
            return
        self._is_open = False
        if self._resting is not None:
            self._resting.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for greeting in self._greetings:
            greeting.cancel()

    async def wait_closed(self) -> None:
        """Wait until they are gone."""
        if self._greetings:
            await asyncio.wait(self._greetings)

    def _resume(self) -> None:
        """Watch the socket."""
        self._resting = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Take in whoever waits, as far as there is room."""
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                caller, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file descriptors left: those who wait, wait in the system's queue
                loop.remove_reader(self._listener)
                self._resting = loop.call_later(_REST_S, self._resume)
                return
            address = peer[0]
            limits = self.limits
            is_full = len(self._greetings) >= limits.half_open
            if is_full or self._half_open[address] >= limits.half_open_per_address:
                caller.close()
                self._refused(address, "limit", "too many handshakes at one time")
                continue
            caller.setblocking(False)
            self._half_open[address] += 1
            greeting = loop.create_task(self._greet(caller, address))
            self._greetings.add(greeting)  # owned here: ended by itself, or by `close`
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, caller: socket.socket, address: str) -> None:
        """Shake hands, and leave who passes to its protocol."""
        try:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                caller,
                ssl=self._context,
                ssl_handshake_timeout=self.limits.handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as error:  # ssl.SSLError and every time-out among them
            self._refused(address, reason_of(error), detail_of(error))
        finally:
            self._half_open[address] -= 1
            if self._half_open[address] <= 0:
                del self._half_open[address]

    def broken(self, address: str, error: Exception) -> None:
        """A caller that had passed broke TLS: count it, and say it once a minute."""
        reason = reason_of(error)
        self._metrics.tls_broken.labels(reason).inc()
        if self._is_new(address, f"broken {reason}"):
            _log.emit(
                events.TLS_BROKEN,
                listener=self._listens,
                address=address,
                reason=str(reason),
                detail=detail_of(error),
            )

    def _refused(self, address: str, reason: Reason | str, detail: str) -> None:
        """Count who is turned away, and say it once a minute."""
        self._metrics.handshakes_refused.labels(str(reason)).inc()
        if self._is_new(address, str(reason)):
            _log.emit(
                events.HANDSHAKE_REFUSED,
                listener=self._listens,
                address=address,
                reason=str(reason),
                detail=detail,
            )

    def _is_new(self, address: str, what: str) -> bool:
        """Whether this was not said within the last minute; it is from now on."""
        key, now = (address, what), self._now_s()
        last = self._said.get(key)
        if last is not None and now - last < _QUIET_S:
            return False
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return True
