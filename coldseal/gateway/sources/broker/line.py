"""One connection to the broker: bytes between asyncio and the client machine, with its time-outs.

Answers of one turn of the loop leave in one write. It judges no message and does not connect again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

from coldseal.errors import UnavailableError
from coldseal.mqtt.client_events import Disconnected, Event, Refused
from coldseal.mqtt.packets import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.mqtt.client import Client

WHAT: Final = "the broker"
_TICK_S: Final = 1.0


class Line(asyncio.Protocol):
    """One connection.

    Args:
        client: its machine.
        clock: gives the moment.
        happened: takes each event of the machine, with the moment when its bytes came.
        is_full: whether reading should stop for now.

    Attributes:
        ended: why it ended, once it has.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        happened: Callable[[Event, Stamp], None],
        is_full: Callable[[], bool],
    ) -> None:
        """Wait for the transport."""
        self._client, self._clock = client, clock
        self._happened, self._is_full = happened, is_full
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exception] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._is_woken = False
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can still be said."""
        return not self.ended.done()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands: greet, unless it was given up meanwhile."""
        if not self.is_open:
            transport.close()
            return
        self._transport = cast("asyncio.Transport", transport)
        self._client.start(self._now())
        self._write()
        self._ticking = self._loop.call_later(_TICK_S, self._tick)

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the machine, and see to what came of it."""
        stamp = self._clock.now()
        fault: ProtocolError | None = None
        try:
            events = self._client.receive(data)
        except ProtocolError as error:
            events, fault = self._client.take_events(), error
        for event in events:
            if isinstance(event, Refused | Disconnected):
                self.end(UnavailableError(WHAT, event.reason.name.lower().replace("_", " ")))
            elif self.is_open:
                self._happened(event, stamp)
        self.wake()
        if fault is not None:
            self.end(fault)
        elif self._is_full():
            self._pause()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self._ticking is not None:
            self._ticking.cancel()
        self.end(UnavailableError(WHAT, str(exc) if exc is not None else "it closed the connection"))

    def wake(self) -> None:
        """There may be something to send: in the next turn of the loop, all of it together."""
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._flush)

    def look(self) -> None:
        """Read on, if there is room again."""
        if self._is_paused and not self._is_full():
            self._is_paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def stop_reading(self) -> None:
        """Read no more, for good."""
        self._is_full = lambda: True
        self._pause()

    def _pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _flush(self) -> None:
        """Write what is to be said."""
        self._is_woken = False
        self._write()
        self.look()

    def _write(self) -> None:
        """Give the socket what the machine has for it."""
        if self._transport is None or self._transport.is_closing():
            return
        data = self._client.take_output(self._now())
        if data:
            self._transport.write(data)

    def end(self, error: Exception) -> None:
        """End it for this reason, the first one counts, behind what is still to be said."""
        if self.is_open:
            self.ended.set_result(error)
            self._write()
            if self._transport is not None:
                self._transport.close()

    def _tick(self) -> None:
        """Come back in a second; ping, or give up a broker that does not answer."""
        self._ticking = self._loop.call_later(_TICK_S, self._tick)
        try:
            self._client.tick(self._now())
        except UnavailableError as error:
            self.end(error)
            if self._transport is not None:
                self._transport.abort()
            return
        self.wake()

    def _now(self) -> float:
        """Seconds of the clock that never steps."""
        return self._clock.now().mono_ms / 1000
