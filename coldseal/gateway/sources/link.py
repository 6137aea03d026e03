"""One client's socket: bytes between asyncio and the connection machine, with back-pressure both ways.

It stops reading while too much of this client is under way, tells the machine when the client reads
slowly, and cuts it off when that lasts or piles up. What the bytes mean is the machine's business.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

from coldseal.mqtt.packets import ReasonCode

if TYPE_CHECKING:
    from coldseal.gateway.sources.admission import Holder
    from coldseal.gateway.sources.mqtt import MqttListener
    from coldseal.mqtt.connection import Connection

HIGH_WATER: Final = 65_536
"""Unsent bytes from which on a client counts as slow."""
_LOOK_S: Final = 0.1


class Link(asyncio.Protocol):
    """One accepted socket.

    Attributes:
        accepted_at: when it was accepted, in the listener's time.
        connection: the machine behind it.
        holder: who proved itself with a certificate, if anybody did.
        device: the name of the device, once it is admitted.
        client_id: which of the device's sessions this is, once it is admitted.
        cut: why we ended it, if we did.
    """

    __slots__ = ("_full_since", "_is_paused", "_listener", "_looking", "_slow_since", "_transport",
                 "accepted_at", "address", "client_id", "connection", "cut", "device", "holder")  # fmt: skip

    def __init__(self, listener: MqttListener, address: str) -> None:
        """Wait for the transport."""
        self.address = address
        self.accepted_at = listener.now()
        self.connection: Connection
        self.holder: Holder | None = None
        self.device = ""
        self.client_id = ""
        self.cut = ""
        self._listener = listener
        self._transport: asyncio.Transport
        self._is_paused = False
        self._slow_since: float | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._full_since: float | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there, and a TLS handshake is over."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self.connection = self._listener.arrived(self)
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            self._listener.identify(self, secured.getpeercert(binary_form=True))

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the machine, hand over what came of it, and stop reading if that is enough for now."""
        listener, connection = self._listener, self.connection
        listener.receive(connection, data)
        if connection.is_loaded or listener.is_full:
            self.pause()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        broken = exc if isinstance(exc, ssl.SSLError) else None
        if broken is not None:
            self.cut = self.cut or "tls"
        self._look_no_more()
        self.connection.lost(self._listener.now())
        self._listener.left(self, broken)

    @override
    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._slow_since = self._listener.now()
        self.connection.congest(is_congested=True, now=self._slow_since)
        self._look()

    @override
    def resume_writing(self) -> None:
        """The client has caught up."""
        self._slow_since = None
        self._look_no_more()
        self.connection.congest(is_congested=False, now=self._listener.now())

    def write(self) -> None:
        """Write what the machine has for the client; close behind its last words."""
        data = self.connection.take()
        if data and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > self._listener.max_buffered_bytes:
                self.cut_off("slow")
                return
        if self.connection.is_closed and not self.connection.is_held:
            self._transport.close()
            return
        self.connection.move_up()
        if self.connection.is_loaded:
            self.pause()

    def pause(self) -> None:
        """Read no more for now."""
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()
            self._listener.paused.add(self)

    def resume(self) -> None:
        """Read again, if what was under way has been settled."""
        if self.connection.is_loaded or self._listener.is_full:
            return
        self._is_paused = False
        self._listener.paused.discard(self)
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def tick(self, now: float) -> None:
        """Cut off a client that has been slow for too long."""
        if self._slow_since is not None and now - self._slow_since > self._listener.max_slow_s:
            self.cut_off("slow")

    def _look(self) -> None:
        """Cut off a client that piles up what TLS itself answers, such as key updates, and reads nothing."""
        if self._transport.get_write_buffer_size() > self._listener.max_buffered_bytes:
            self.cut_off("slow")
        else:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look_no_more(self) -> None:
        """It reads again, or is gone."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def waits_for_room_s(self, now: float) -> float:
        """Give for how long messages of this client have found no room, in seconds."""
        dialogue = self.connection.dialogue
        if dialogue is None or not dialogue.inbound.load:
            self._full_since = None
        elif dialogue.inbound.retry and self._full_since is None:
            self._full_since = now
        return 0.0 if self._full_since is None else now - self._full_since

    def end(self, reason: ReasonCode, text: str) -> None:
        """End the connection with a reason that the client is told."""
        self.connection.end(reason, text)

    def cut_off(self, why: str) -> None:
        """End the connection without a word: the client would not read it."""
        self.cut = why
        self._transport.abort()
