"""A simulated sensor that loses nothing: MQTT 5 at QoS 1, over TLS with its own certificate.

A reading is kept until the gateway has acknowledged it, over any number of connections, and is
repeated with DUP under the same sequence number. Kept in memory only: it dies with the process.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from coldseal.demo.curve import ColdRoom
from coldseal.demo.link import Link
from coldseal.gateway.clock import render_time
from coldseal.mqtt.client import Client, State
from coldseal.mqtt.client_events import Acknowledged, Connected, Disconnected, Event, Refused
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.packets import Connect, Properties, Publish, ReasonCode, Version

SENSOR: Final = "air"
"""Name of a device's sensor in topics."""

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_LAST_S: Final = 5.0
_AGAIN_S: Final = 1.0
_KEEP_ALIVE_S: Final = 30
_SESSION_EXPIRY_S: Final = 3_600
_MAX_PACKET: Final = 65_536


class Quantity(msgspec.Struct, frozen=True):
    """One measured value: name, unit (UCUM-like, as in SenML), value."""

    n: str
    u: str
    v: float


class Payload(msgspec.Struct, frozen=True):
    """Version 1 of the reading payload; sequence, boot and time are the device's own."""

    v: int
    seq: int
    boot: str
    t: str
    q: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Where a sensor stands and whom it reports to.

    Args:
        host: the gateway's address.
        port: its MQTT port.
        context: TLS with the device's certificate; None for plain TCP.
        server_name: the name the gateway's certificate must have.
        site: the site's name in topics.
        device: the device's name, as in its certificate.
        sensor: the sensor's name in topics.
        interval_s: seconds between readings.
    """

    host: str
    port: int
    context: ssl.SSLContext | None
    server_name: str
    site: str
    device: str
    sensor: str = SENSOR
    interval_s: float = 1.0

    @property
    def topic(self) -> str:
        """Where its readings are published."""
        return f"coldseal/v1/{self.site}/{self.device}/reading/{self.sensor}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The gateway's answer for one reading.

    Args:
        seq: the device's sequence number.
        reason: success, or why the reading was refused.
        latency_s: from taking the reading to the answer.
        is_repeated: whether the connection that it was taken on was lost before the answer came.
    """

    seq: int
    reason: ReasonCode
    latency_s: float
    is_repeated: bool


@dataclass(slots=True)
class _Waiting:
    """A reading without an answer."""

    seq: int
    payload: bytes
    taken_at: float
    connections: int


class Device:
    """One sensor with its connection.

    Args:
        post: where and to whom.
        now_ms: the wall clock, UTC milliseconds.
        chance: the source of everything random: curve, boot identifier, jitter.
        report: called with each answer.
        window: readings under way at a time.
        max_waiting: readings kept; beyond it no more are taken, and ``missed`` counts.
        patience_s: how long a connection and each answer of the protocol may take.
    """

    def __init__(
        self,
        post: Post,
        *,
        now_ms: Callable[[], int],
        chance: Random,
        report: Callable[[Answer], None],
        window: int = 16,
        max_waiting: int = 20_000,
        patience_s: float = 10.0,
    ) -> None:
        """Take no reading and open no connection yet."""
        self.post = post
        self.boot = f"{chance.getrandbits(32):08x}"
        self.taken = 0
        self.missed = 0
        self.connections = 0
        self.last_fault = ""
        self._now_ms = now_ms
        self._chance = chance
        self._report = report
        self._window = window
        self._max_waiting = max_waiting
        self._patience_s = patience_s
        self._room = ColdRoom(chance)
        self._session = Session()
        self._waiting: dict[int, _Waiting] = {}
        self._again: list[_Waiting] = []
        self._again_at = 0.0
        self._link: Link | None = None
        self._failures = 0
        self._connect_at = 0.0
        self._reading_at = 0.0
        self._wake = asyncio.Event()
        self._is_stopping = False

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has accepted the connection."""
        return self._link is not None and self._link.client.state is State.CONNECTED

    @property
    def waiting(self) -> int:
        """How many readings have no answer yet."""
        return len(self._waiting) + len(self._again)

    def leave_open(self, *, is_open: bool) -> None:
        """Leave the door of its room open, or close it."""
        self._room.is_left_open = is_open

    def stop(self) -> None:
        """Take no more readings; ``run`` ends when every one taken has its answer."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Measure, publish and keep connected until stopped; a cancellation gives up what waits."""
        loop = asyncio.get_running_loop()
        self._reading_at = loop.time() + self._chance.uniform(0.0, self.post.interval_s)
        try:
            while not self._is_stopping or self.waiting:
                now = loop.time()
                self._take_due(now)
                self._publish_again(now)
                if self._link is None and now >= self._connect_at:
                    await self._connect(loop)
                elif self._link is not None:
                    self._link.tick()
                await self._sleep(loop)
        finally:
            if self._link is not None:
                await self._link.leave()

    def _take_due(self, now: float) -> None:
        """Take the readings whose time has come, also those that fell into a connection attempt."""
        while not self._is_stopping and self._reading_at <= now:
            age_s = now - self._reading_at
            self._reading_at += self.post.interval_s
            if self.waiting >= self._max_waiting:
                self.missed += 1
            else:
                self._take(now, round(age_s * 1000))

    def _take(self, now: float, age_ms: int) -> None:
        temperature, humidity = self._room.step(self.post.interval_s)
        self.taken += 1
        quantities = Quantity("temperature", "Cel", temperature), Quantity("humidity", "%RH", humidity)
        taken_at = render_time(self._now_ms() - age_ms)
        payload = msgspec.json.encode(Payload(1, self.taken, self.boot, taken_at, quantities))
        self._publish(_Waiting(self.taken, payload, now - age_ms / 1000, 0))

    def _publish(self, reading: _Waiting) -> None:
        """Hand a reading to the session, which sends it now or on the next connection."""
        message = Publish(self.post.topic, reading.payload, 1)
        reading.connections = self.connections + (not self.is_connected)
        if self._link is not None:
            packet_id = self._link.client.publish(message)
            self._link.flush()
        else:
            packet_id = self._session.offer(message)
        if packet_id is not None:
            self._waiting[packet_id] = reading

    def _publish_again(self, now: float) -> None:
        """Offer once more what the gateway had no room for."""
        if self._again and now >= self._again_at:
            again, self._again = self._again, []
            for reading in again:
                self._publish(reading)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        post = self.post
        properties = Properties(
            session_expiry_interval=_SESSION_EXPIRY_S,
            receive_maximum=self._window,
            maximum_packet_size=_MAX_PACKET,
        )
        connect = Connect(
            post.device,
            Version.V5,
            clean_start=not self._session.is_established,
            keep_alive=_KEEP_ALIVE_S,
            properties=properties,
        )
        client = Client(connect, self._session, max_in_flight=self._window, answer_timeout_s=self._patience_s)
        link = Link(client, loop, self._on_event, self._on_lost)
        self._link = link
        try:
            async with asyncio.timeout(self._patience_s):
                await loop.create_connection(
                    lambda: link,
                    post.host,
                    post.port,
                    ssl=post.context,
                    server_hostname=post.server_name if post.context else None,
                )
        except (OSError, TimeoutError) as error:
            self._on_lost(link, str(error) or "no connection in time")

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Connected):
            self.connections += 1
            self._failures = 0
        elif isinstance(event, Acknowledged):
            self._on_acknowledged(event)
        elif isinstance(event, Refused | Disconnected):
            self.last_fault = event.reason.name

    def _on_acknowledged(self, event: Acknowledged) -> None:
        reading = self._waiting.pop(event.packet_id)
        now = asyncio.get_running_loop().time()
        if event.reason is ReasonCode.QUOTA_EXCEEDED:  # not sealed: the gateway's disk is full
            self._again.append(reading)
            self._again_at = now + _AGAIN_S
            self._wake.set()
            return
        is_repeated = reading.connections < self.connections
        self._report(Answer(reading.seq, event.reason, now - reading.taken_at, is_repeated))
        if self._is_stopping and not self.waiting:
            self._wake.set()

    def _on_lost(self, link: Link, fault: str) -> None:
        """Plan the next attempt: full jitter, so that a restarted gateway is not met by all at once."""
        if link is not self._link:
            return
        self._link = None
        self.last_fault = fault or self.last_fault
        ceiling = min(_BACKOFF_LAST_S, _BACKOFF_FIRST_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._connect_at = asyncio.get_running_loop().time() + self._chance.uniform(0.0, ceiling)
        self._wake.set()

    async def _sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the next reading, attempt or ping, or until something happens."""
        until = [] if self._is_stopping else [self._reading_at]
        if self._again:
            until.append(self._again_at)
        if self._link is None:
            until.append(self._connect_at)
        elif self._link.client.deadline is not None:
            until.append(self._link.client.deadline)
        self._wake.clear()
        if self._is_stopping and not self.waiting:
            return
        try:
            async with asyncio.timeout_at(min(until, default=loop.time() + _KEEP_ALIVE_S)):
                await self._wake.wait()
        except TimeoutError:
            return
