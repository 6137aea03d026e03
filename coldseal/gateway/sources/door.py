"""A listening socket that counts before it greets: who may come in, and how many may be half-way in.

Connections are accepted by ourselves, so that a limit is applied before a handshake costs anything,
and a full house leaves callers in the system's queue for a moment. It knows neither MQTT nor who a
caller is.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from coldseal.settings import Address

_BACKLOG: Final = 1_024
_ACCEPTED_AT_ONCE: Final = 32
_SHUTDOWN_S: Final = 2.0


class DoorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many callers are let in."""

    max_connections: int = 2_000
    """Connections at one time, half-open ones among them."""
    max_connections_per_address: int = 1_000
    """Connections of one network address; devices behind one translating router share theirs."""
    max_half_open: int = 512
    """Connections at one time that are not admitted yet."""
    max_half_open_per_address: int = 256
    """The same for one network address."""
    connect_timeout_s: float = 10
    """Time for the TLS handshake; what is left of it is for CONNECT."""


class House:
    """Counts who is in, over all doors.

    Args:
        limits: the bounds.
        turned_away: called with the name of the bound that is reached.

    Attributes:
        is_closed: nobody is let in for now: memory is short.
    """

    def __init__(self, limits: DoorLimits, turned_away: Callable[[str], None]) -> None:
        """Start empty."""
        self.limits = limits
        self._turned_away = turned_away
        self._inside: Counter[str] = Counter()
        self._half_open: Counter[str] = Counter()
        self.is_closed = False

    @property
    def count(self) -> int:
        """Connections, half-open ones among them."""
        return self._inside.total()

    def enter(self, address: str) -> bool:
        """Count a caller in, half-open at first; False when a bound is reached."""
        limits = self.limits
        for bound, found, allowed in (
            ("budget.memory_mb", int(self.is_closed), 1),
            ("max_connections", self._inside.total(), limits.max_connections),
            ("max_connections_per_address", self._inside[address], limits.max_connections_per_address),
            ("max_half_open", self._half_open.total(), limits.max_half_open),
            ("max_half_open_per_address", self._half_open[address], limits.max_half_open_per_address),
        ):
            if found >= allowed:
                self._turned_away(bound)
                return False
        self._inside[address] += 1
        self._half_open[address] += 1
        return True

    def admit(self, address: str) -> None:
        """A caller has been admitted: it is half-open no longer."""
        _less(self._half_open, address)

    def leave(self, address: str, *, was_admitted: bool) -> None:
        """A caller has gone."""
        _less(self._inside, address)
        if not was_admitted:
            _less(self._half_open, address)


class Door:
    """One listening socket.

    Args:
        house: counts callers.
        context: makes it a TLS door: gives the context of each handshake; None leaves it plain.
        protocol: makes the protocol for a caller's address.
        failed: called with the address and the error when a handshake fails.
    """

    def __init__(
        self,
        house: House,
        context: Callable[[], ssl.SSLContext] | None,
        protocol: Callable[[str], asyncio.BaseProtocol],
        failed: Callable[[str, Exception], None],
    ) -> None:
        """Keep the parts; nothing listens yet."""
        self._house = house
        self._context = context
        self._protocol = protocol
        self._failed = failed
        self._socket: socket.socket | None = None
        self._is_resting = True
        self._greetings: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 while it does not."""
        return self._socket.getsockname()[1] if self._socket is not None else 0

    def open(self, address: Address) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
        listener.setblocking(False)
        self._socket = listener
        self.resume()

    def resume(self) -> None:
        """Take callers in again after the system had no more sockets to give."""
        if self._socket is not None and self._is_resting:
            self._is_resting = False
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    async def close(self) -> None:
        """Stop listening, and give up on those who are still at the handshake."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for greeting in self._greetings:
            greeting.cancel()
        if self._greetings:
            await asyncio.wait(self._greetings)

    def _accept(self, listener: socket.socket) -> None:
        """Take in whoever waits, as far as the house has room."""
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                caller, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file descriptors left: the owner calls `resume` later
                self._is_resting = True
                loop.remove_reader(listener)
                return
            if not self._house.enter(peer[0]):
                caller.close()
                continue
            caller.setblocking(False)
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greeting = loop.create_task(self._greet(caller, peer[0]))
            self._greetings.add(greeting)  # owned here: ended by itself, or by `close`
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, caller: socket.socket, address: str) -> None:
        """Hand the socket to a protocol, after the TLS handshake where there is one."""
        limits = self._house.limits
        is_tls = self._context is not None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(address),
                caller,
                ssl=self._context() if self._context is not None else None,
                ssl_handshake_timeout=limits.connect_timeout_s if is_tls else None,
                ssl_shutdown_timeout=_SHUTDOWN_S if is_tls else None,
            )
        except OSError as error:  # ssl.SSLError and every time-out among them
            self._house.leave(address, was_admitted=False)
            self._failed(address, error)
        except asyncio.CancelledError:
            self._house.leave(address, was_admitted=False)
            raise


def _less(counter: Counter[str], address: str) -> None:
    """Count one down; an address that is no longer there is forgotten."""
    counter[address] -= 1
    if counter[address] <= 0:
        del counter[address]
