"""The load generator: one process that publishes at QoS 1 over many connections and counts PUBACKs.

Closed loop (each connection fills its window again once half of it is acknowledged) or at an offered
rate, in ticks of a millisecond, whatever comes back. Bounded in count and time; prints one JSON line when
all connections stand and one at the end. It does not reconnect: a broken connection ends the run.
"""

from __future__ import annotations

import asyncio
import math
import resource
import secrets
import ssl
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import cyclopts
import msgspec
import uvloop
from typing_extensions import override

from bench.traffic import BLOCK, LoadError, PubackCounter, Sensor, Traffic, encode_connect, parse_connack

_HANDSHAKES = 16  # at once: a listener takes a few hundred a second
_DRAIN_S = 20.0


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Plan:
    """What to publish, where, how much and for how long.

    Args:
        port: the listener's port on ``host``.
        host: a loopback address.
        version: 4 for MQTT 3.1.1, 5 for MQTT 5.
        connections: one sensor on each.
        window: messages in flight on each connection; with ``rate`` it is not used.
        messages: at most so many in all; 0: no bound but time.
        seconds: at most so long.
        warm_up: seconds left out of the rate at the start.
        rate: messages offered each second over all connections; 0: closed loop.
        site: the site in the topic.
        devices: names of the sensors, with ``{}`` where the number goes; they count from 1.
        credentials: folder with ``{device}.pem`` and ``{device}.key``; none: plain TCP.
        ca: PEM file that the listener's certificate is checked against.
        server_name: the name that certificate must carry.
    """

    port: int
    host: str = "127.0.0.1"
    version: int = 4
    connections: int = 50
    window: int = 20
    messages: int = 0
    seconds: float = 5.0
    warm_up: float = 0.5
    rate: float = 0.0
    site: str = "bench"
    devices: str = "sensor-{:03d}"
    credentials: Path | None = None
    ca: Path | None = None
    server_name: str = "localhost"


class Result(msgspec.Struct, frozen=True):
    """What was measured; latencies in microseconds, 0 where they were not taken."""

    acknowledged: int
    refused: int
    unacknowledged: int
    seconds: float
    per_second: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us_per_message: float
    connect_s: float
    message_bytes: int


@dataclass(slots=True)
class Gauge:
    """What all connections share: the counters, the bound and the latencies."""

    left: int
    timed: bool
    sent: int = 0
    acknowledged: int = 0
    broken: str = ""
    latencies: list[float] = field(default_factory=list)

    def grant(self, count: int) -> int:
        """Answer how many of ``count`` further messages may be sent."""
        granted = min(count, self.left)
        self.left -= granted
        self.sent += granted
        return granted


class Publisher(asyncio.Protocol):
    """One connection: sends what it is granted, and as many again as were acknowledged."""

    def __init__(self, sensor: Sensor, version: int, gauge: Gauge, window: int) -> None:
        """Encode the traffic; nothing is sent before ``start``."""
        self.traffic = Traffic(sensor, version)
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hello = encode_connect(sensor.device, version)
        self._acks = PubackCounter()
        self._gauge = gauge
        self._sent_at: deque[float] = deque()
        self._window = window  # 0: at an offered rate
        self._refill_at = max(1, window // 2)
        self._owed = 0
        self._ending = False

    @property
    def refused(self) -> int:
        """PUBACKs that carried a failure."""
        return self._acks.refused

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(self._hello)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            if not self.connected.done():
                data = data[parse_connack(data) :]
                self.connected.set_result(None)
            if data:
                self._acknowledged(self._acks.feed(data))
        except LoadError as error:
            self._break(str(error))

    def _acknowledged(self, count: int) -> None:
        self._gauge.acknowledged += count
        if self._gauge.timed:
            now = time.perf_counter()
            self._gauge.latencies.extend(now - self._sent_at.popleft() for _ in range(count))
        if self._window:
            self._owed += count
            if self._owed >= self._refill_at:
                self.send(self._owed)
                self._owed = 0

    def send(self, count: int) -> None:
        """Send up to ``count`` messages: in a closed loop once, to fill the window."""
        granted = self._gauge.grant(count)
        if granted:
            if self._gauge.timed:
                self._sent_at.extend([time.perf_counter()] * granted)
            self._transport.write(self.traffic.take(granted))

    def close(self) -> None:
        """Say DISCONNECT and close."""
        self._ending = True
        self._transport.write(b"\xe0\x00")
        self._transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ending:
            self._break(f"connection lost: {exc}")

    def _break(self, why: str) -> None:
        self._gauge.broken = self._gauge.broken or why
        self._gauge.left = 0
        if not self.connected.done():
            self.connected.set_exception(LoadError(why))


async def run(plan: Plan) -> Result:
    """Connect, load, drain, and count.

    Raises:
        LoadError: a connection was refused or broke; a message stayed without acknowledgement.
    """
    gauge = Gauge(left=plan.messages or sys.maxsize, timed=bool(plan.rate) or plan.window == 1)
    started = time.perf_counter()
    publishers = await _connect_all(plan, gauge)
    connect_s = time.perf_counter() - started
    _say({"connected": len(publishers), "seconds": round(connect_s, 3)})
    cpu = _cpu_s()
    seconds, counted = await _load(plan, gauge, publishers)
    cpu = _cpu_s() - cpu
    for publisher in publishers:
        publisher.close()
    await asyncio.sleep(0)
    if gauge.broken:
        raise LoadError(gauge.broken)
    taken = sorted(gauge.latencies) or [0.0]
    return Result(
        acknowledged=gauge.acknowledged,
        refused=sum(publisher.refused for publisher in publishers),
        unacknowledged=gauge.sent - gauge.acknowledged,
        seconds=seconds,
        per_second=counted / seconds,
        p50_us=quantile(taken, 0.5) * 1e6,
        p99_us=quantile(taken, 0.99) * 1e6,
        max_us=taken[-1] * 1e6,
        cpu_us_per_message=cpu / max(gauge.acknowledged, 1) * 1e6,
        connect_s=connect_s,
        message_bytes=publishers[0].traffic.message_bytes,
    )


def quantile(ordered: list[float], share: float) -> float:
    """Take the smallest value that at least ``share`` of the ``ordered`` ones do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


async def _connect_all(plan: Plan, gauge: Gauge) -> list[Publisher]:
    """Open all connections, a few handshakes at once, and wait for each CONNACK."""
    boot = secrets.token_hex(4)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    turn = asyncio.Semaphore(_HANDSHAKES)

    async def connect(device: str) -> Publisher:
        sensor = Sensor(plan.site, device, boot, moment)
        async with turn:
            _, publisher = await asyncio.get_running_loop().create_connection(
                lambda: Publisher(sensor, plan.version, gauge, 0 if plan.rate else plan.window),
                plan.host,
                plan.port,
                ssl=client_context(plan, device),
                server_hostname=plan.server_name if plan.ca else None,
            )
            await asyncio.wait_for(publisher.connected, 30)
            return publisher

    return list(
        await asyncio.gather(
            *(connect(plan.devices.format(number)) for number in range(1, plan.connections + 1))
        )
    )


def client_context(plan: Plan, device: str) -> ssl.SSLContext | None:
    """Make the TLS 1.3 context of one sensor, or nothing for plain TCP."""
    if plan.ca is None:
        return None
    context = ssl.create_default_context(cafile=plan.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if plan.credentials is not None:
        context.load_cert_chain(plan.credentials / f"{device}.pem", plan.credentials / f"{device}.key")
    return context


async def _load(plan: Plan, gauge: Gauge, publishers: list[Publisher]) -> tuple[float, int]:
    """Send until the bound is met; answer the seconds measured and what was acknowledged in them."""
    if plan.rate:
        offering = asyncio.ensure_future(_offer(plan, gauge, publishers))
    else:
        offering = None
        for publisher in publishers:
            publisher.send(plan.window)
    begun = time.perf_counter()
    deadline = begun + plan.seconds + plan.warm_up
    await _until(gauge, begun + plan.warm_up)
    first, since = gauge.acknowledged, time.perf_counter()
    if plan.warm_up:
        gauge.latencies.clear()
    await _until(gauge, deadline)
    counted, seconds = gauge.acknowledged - first, time.perf_counter() - since
    if gauge.left == 0 and counted == 0:  # a bounded count went within the warm-up
        counted, seconds = gauge.acknowledged, time.perf_counter() - begun
    gauge.left = 0
    if offering is not None:
        await offering
    await _until(gauge, time.perf_counter() + _DRAIN_S)
    return seconds, counted


async def _until(gauge: Gauge, moment: float) -> None:
    """Wait for a moment, or for the last acknowledgement once nothing more will be sent."""
    while (now := time.perf_counter()) < moment and not gauge.broken:
        if gauge.left == 0 and gauge.acknowledged == gauge.sent:
            return
        await asyncio.sleep(min(0.005, moment - now))


async def _offer(plan: Plan, gauge: Gauge, publishers: list[Publisher]) -> None:
    """Offer messages at a fixed rate, over all connections in turn."""
    begun, offered = time.perf_counter(), 0
    while gauge.left:
        due = int((time.perf_counter() - begun) * plan.rate)
        for number in range(offered, due):
            publishers[number % len(publishers)].send(1)
        offered = due
        await asyncio.sleep(0.001)  # the loop's timers know no less


def _cpu_s() -> float:
    """Read the processor time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _say(value: object) -> None:
    """Print one JSON line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


app = cyclopts.App(name="load", help=__doc__)


@app.default
def main(plan: Annotated[Plan, cyclopts.Parameter(name="*")]) -> int:
    """Run one measurement and print its result as JSON."""
    if not 1 <= plan.window <= BLOCK:
        sys.stderr.write(f"window is {plan.window}, expected 1 to {BLOCK}\n")
        return 2
    try:
        _say(uvloop.run(run(plan)))
    except (LoadError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(app())
