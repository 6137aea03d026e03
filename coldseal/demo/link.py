"""One connection of a client over asyncio: carries bytes between a transport and the client's machine.

It opens and keeps nothing: whoever made it connects it, calls ``tick`` at the machine's deadline,
and makes another one when this is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from typing_extensions import override

from coldseal.errors import UnavailableError
from coldseal.mqtt.client import Client, State
from coldseal.mqtt.client_events import Event
from coldseal.mqtt.packets import ProtocolError

_FAREWELL_S: Final = 1.0


class Link(asyncio.Protocol):
    """One connection: carries bytes between the transport and the client's machine."""

    def __init__(
        self,
        client: Client,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None],
        on_lost: Callable[[Link, str], None],
    ) -> None:
        """Wait for the transport."""
        self.client = client
        self._loop = loop
        self._on_event = on_event
        self._on_lost = on_lost
        self._transport: asyncio.WriteTransport | None = None
        self._fault = ""
        self._is_lost = asyncio.Event()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so
        self.client.start(self._loop.time())
        self.flush()

    @override
    def data_received(self, data: bytes) -> None:
        """Pass bytes in and events on."""
        try:
            events = self.client.receive(data)
        except ProtocolError as error:
            self._fault = str(error)
            events = self.client.take_events()
        for event in events:
            self._on_event(event)
        self.flush()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, once."""
        self._is_lost.set()
        self._on_lost(self, self._fault or str(exc or ""))

    def tick(self) -> None:
        """Let the machine look at the time."""
        try:
            self.client.tick(self._loop.time())
        except UnavailableError as error:
            self._fault = str(error)
            if self._transport is not None:
                self._transport.abort()
        self.flush()

    def flush(self) -> None:
        """Send what the machine has to say; close when it is done."""
        if self._transport is None:
            return
        if output := self.client.take_output(self._loop.time()):
            self._transport.write(output)
        if self.client.state is State.CLOSED:
            self._transport.close()

    async def leave(self) -> None:
        """Disconnect in good order, and wait a moment for the other side to do the same."""
        if self._transport is None:
            return
        if self.client.state is State.CONNECTED:
            self.client.disconnect()
        self.flush()
        self._transport.close()
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._is_lost.wait()
        except TimeoutError:
            self._transport.abort()
