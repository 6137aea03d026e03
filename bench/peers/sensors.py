"""Sensors that do not give up: each publishes at QoS 1, and after a lost connection sends again what is open.

A process of its own. Prints a line when all are connected and begin, and one of JSON at the end: which
messages of which sensor were acknowledged, and how long that took. In a closed loop a sensor has a window in
flight; at a rate, messages go out in turn, and one that falls behind has at most `_MOST_OPEN` in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import msgspec

from bench.load import quantile
from bench.peers.counting import spans
from bench.traffic import FIRST_SEQ, Sensor, encode_connect, encode_publish

_MOST_OPEN = 2_000
_RETRY_S = 0.2
_TICK_S = 0.002
_DUP = 0x08
_V311 = 4


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Plan:
    """What to publish.

    Args:
        port: the listener's, on loopback.
        credentials: folder with ``{device}.pem`` and ``{device}.key``.
        ca: what the listener's certificate is checked against.
        sensors: how many.
        messages: of all of them together.
        rate: messages a second together; 0: a closed loop.
        window: in flight for each sensor in the closed loop.
        patience: seconds to wait for the last acknowledgements.
        first: number of the first message of each sensor, for a second run.
    """

    port: int
    credentials: Path
    ca: Path
    sensors: int = 20
    messages: int = 10_000
    rate: float = 0.0
    window: int = 20
    patience: float = 60.0
    first: int = FIRST_SEQ


class Report(msgspec.Struct, frozen=True):
    """What the sensors saw; latencies in milliseconds."""

    acknowledged: dict[str, list[tuple[int, int]]]
    unacknowledged: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    reconnects: int
    cpu_s: float


class Source:
    """One sensor, over all its connections."""

    def __init__(self, plan: Plan, device: str, boot: str, count: int) -> None:
        """Take a number of messages to send."""
        self._plan = plan
        self._sensor = Sensor("bench", device, boot, time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()))
        self._end = plan.first + count
        self._next = plan.first
        self._granted = 0
        self.open: dict[int, tuple[int, float]] = {}
        self.acknowledged: set[int] = set()
        self.taken: list[float] = []
        self.connections = 0
        self.is_connected = asyncio.Event()
        self._awake = asyncio.Event()

    @property
    def is_done(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return self._next == self._end and not self.open

    def grant(self, count: int) -> None:
        """Allow so many further messages."""
        self._granted += count
        self._awake.set()

    async def run(self) -> None:
        """Connect, send and listen until everything is acknowledged; connect again after a loss."""
        while not self.is_done:
            with contextlib.suppress(OSError, EOFError, asyncio.TimeoutError, ValueError):
                await self._connected()
            if not self.is_done:
                await asyncio.sleep(_RETRY_S)

    async def _connected(self) -> None:
        """Use one connection as long as it lasts."""
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                "127.0.0.1",
                self._plan.port,
                ssl=_context(self._plan, self._sensor.device),
                server_hostname="localhost",
            ),
            10,
        )
        sending = None
        try:
            writer.write(encode_connect(self._sensor.device, _V311))
            answer = await asyncio.wait_for(reader.readexactly(4), 10)
            if answer[0] != 0x20 or answer[3]:
                raise ValueError(answer.hex())
            self.connections += 1
            self.is_connected.set()
            sending = asyncio.ensure_future(self._send(writer))
            while not self.is_done:
                kind, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                if kind == 0x40:
                    self._acknowledge(int.from_bytes(body[:2], "big"))
            writer.write(b"\xe0\x00")
        finally:
            if sending is not None:
                sending.cancel()
            writer.transport.abort()

    def _acknowledge(self, packet_id: int) -> None:
        """Note a PUBACK."""
        found = self.open.pop(packet_id, None)
        if found is not None:
            self.acknowledged.add(found[0])
            self.taken.append(time.perf_counter() - found[1])
            self._awake.set()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        """Send what is open once more, then what may be sent."""
        for packet_id, (seq, _) in self.open.items():
            writer.write(self._packet(seq, packet_id, _DUP))
        while self._next < self._end:
            self._awake.clear()
            for seq in self._allowed():
                packet_id = seq % 65_535 + 1
                self.open[packet_id] = (seq, time.perf_counter())
                self._next = seq + 1
                writer.write(self._packet(seq, packet_id, 0))
            await writer.drain()
            await self._awake.wait()

    def _allowed(self) -> Iterator[int]:
        """Give the sequence numbers that may be sent now."""
        most = _MOST_OPEN if self._plan.rate else self._plan.window
        while self._next < self._end and self._granted and len(self.open) < most:
            self._granted -= 1
            yield self._next

    def _packet(self, seq: int, packet_id: int, flags: int) -> bytes:
        """Encode one message."""
        packet = bytearray(encode_publish(self._sensor, seq, packet_id, _V311))
        packet[0] |= flags
        return bytes(packet)


def _context(plan: Plan, device: str) -> ssl.SSLContext:
    """Make the TLS context of one sensor."""
    context = ssl.create_default_context(cafile=plan.ca)
    context.load_cert_chain(plan.credentials / f"{device}.pem", plan.credentials / f"{device}.key")
    return context


async def run(plan: Plan) -> Report:
    """Let all sensors send what they have to."""
    boot = secrets.token_hex(4)
    share = plan.messages // plan.sensors
    names = [f"sensor-{number:03d}" for number in range(1, plan.sensors + 1)]
    sources = {name: Source(plan, name, boot, share) for name in names}
    tasks = [asyncio.ensure_future(source.run()) for source in sources.values()]
    await asyncio.wait_for(asyncio.gather(*(source.is_connected.wait() for source in sources.values())), 60)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    begun = time.perf_counter()
    if plan.rate:
        await _offer(plan.rate, share * plan.sensors, list(sources.values()))
    else:
        for source in sources.values():
            source.grant(share)
    await asyncio.wait(tasks, timeout=plan.patience + (0 if plan.rate else plan.messages / 500))
    seconds = time.perf_counter() - begun
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    taken = sorted(each for source in sources.values() for each in source.taken) or [0.0]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Report(
        acknowledged={name: spans(source.acknowledged) for name, source in sources.items()},
        unacknowledged=share * plan.sensors - sum(len(each.acknowledged) for each in sources.values()),
        seconds=seconds,
        p50_ms=quantile(taken, 0.5) * 1000,
        p99_ms=quantile(taken, 0.99) * 1000,
        max_ms=taken[-1] * 1000,
        reconnects=sum(source.connections for source in sources.values()) - len(sources),
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


async def _offer(rate: float, total: int, sources: list[Source]) -> None:
    """Grant messages at a rate, in turn."""
    begun, granted = time.perf_counter(), 0
    while granted < total:
        due = min(total, int((time.perf_counter() - begun) * rate))
        for number in range(granted, due):
            sources[number % len(sources)].grant(1)
        granted = due
        await asyncio.sleep(_TICK_S)


app = cyclopts.App(name="sensors", help=__doc__)


@app.default
def main(plan: Annotated[Plan, cyclopts.Parameter(name="*")]) -> int:
    """Run, and print what the sensors saw."""
    sys.stdout.write(msgspec.json.encode(asyncio.run(run(plan))).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(app())
