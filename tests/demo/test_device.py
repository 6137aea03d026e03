"""The simulated sensor loses nothing: whatever happens to its connection, each reading gets its answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import cast

import msgspec
import pytest

from coldseal.demo.device import Answer, Device, Payload, Post
from coldseal.gateway.clock import Clock
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context, server_context
from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Properties,
    PubAck,
    Publish,
    ReasonCode,
    Version,
)
from tests.waiting import until

NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z
PATIENCE_S = 20.0

Judge = Callable[[int, Publish], ReasonCode | None]


def take_all(_connection: int, _packet: Publish) -> ReasonCode | None:
    """Acknowledge everything."""
    return ReasonCode.SUCCESS


class Inlet:
    """A gateway's MQTT side with a will of its own.

    Args:
        judge: the answer to a message, by connection and packet; None cuts the connection instead.
        offered: the limits told in CONNACK.
        refusals: how many connections are refused before one is accepted.
        remembers: whether sessions survive their connection.
    """

    def __init__(
        self,
        judge: Judge = take_all,
        *,
        offered: Properties = Properties(receive_maximum=4),  # noqa: B008 - a frozen value
        refusals: int = 0,
        remembers: bool = True,
    ) -> None:
        """Nobody has connected."""
        self.judge = judge
        self.offered = offered
        self.refusals = refusals
        self.remembers = remembers
        self.connects: list[Connect] = []
        self.received: list[tuple[int, Publish]] = []
        self.others: list[Packet] = []
        self.gone = asyncio.Event()
        self.first_bytes = b""
        self._writers: list[asyncio.StreamWriter] = []

    def hang(self) -> None:
        """Read no more, and so answer nothing."""
        for writer in self._writers:
            cast("asyncio.ReadTransport", writer.transport).pause_reading()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def open(self, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[int]:
        """Listen; yields the port."""
        tasks: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer, context))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(begin, "127.0.0.1", port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for _ in range(3):  # a connection that was just accepted is told to `begin` in a later turn
                await asyncio.sleep(0)
            if tasks:
                await asyncio.wait(tasks, timeout=PATIENCE_S)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext | None
    ) -> None:
        decoder = Decoder(65_536)
        self._writers.append(writer)
        with contextlib.suppress(OSError):
            if context is not None:
                await writer.start_tls(context)
            while data := await reader.read(65_536):
                packets = decoder.feed(data)
                if self.first_bytes:
                    writer.write(self.first_bytes)
                    self.first_bytes = b""
                elif not all(self._answer(packet, writer) for packet in packets):
                    writer.transport.abort()
                    break
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.gone.set()

    def _answer(self, packet: Packet, writer: asyncio.StreamWriter) -> bool:
        if isinstance(packet, Connect):
            self.connects.append(packet)
            is_refused = len(self.connects) <= self.refusals
            reason = ReasonCode.SERVER_BUSY if is_refused else ReasonCode.SUCCESS
            is_present = self.remembers and not packet.clean_start and not is_refused
            writer.write(encode(ConnAck(is_present, reason, self.offered), Version.V5))
        elif isinstance(packet, Publish):
            connection = len(self.connects)
            self.received.append((connection, packet))
            verdict = self.judge(connection, packet)
            if verdict is None:
                return False
            assert packet.packet_id is not None
            writer.write(encode(PubAck(packet.packet_id, verdict), Version.V5))
        else:
            self.others.append(packet)
        return True

    def seqs(self) -> list[int]:
        """Return the sequence numbers in the order received."""
        return [read(packet).seq for _, packet in self.received]


def read(packet: Publish) -> Payload:
    """Read a reading's payload."""
    return msgspec.json.decode(packet.payload, type=Payload, strict=True)


class Reports:
    """Collects a device's answers, and stops the device after some of them."""

    def __init__(self, enough: int) -> None:
        """Expect at least ``enough``."""
        self.answers: list[Answer] = []
        self.enough = enough
        self.device: Device | None = None

    def __call__(self, answer: Answer) -> None:
        """Take an answer."""
        self.answers.append(answer)
        if len(self.answers) >= self.enough and self.device is not None:
            self.device.stop()

    @property
    def seqs(self) -> list[int]:
        """Return the sequence numbers answered."""
        return [answer.seq for answer in self.answers]


def post_at(port: int, *, interval_s: float = 0.002, context: ssl.SSLContext | None = None) -> Post:
    """Stand a sensor on this machine."""
    return Post(
        host="127.0.0.1",
        port=port,
        context=context,
        server_name="localhost",
        site="depot-1",
        device="sensor-1",
        interval_s=interval_s,
    )


def device_at(
    post: Post, enough: int, *, max_waiting: int = 20_000, patience_s: float = 10.0
) -> tuple[Device, Reports]:
    """Make a sensor that stops after so many answers."""
    reports = Reports(enough)
    device = Device(
        post,
        now_ms=lambda: NOON_MS,
        chance=Random(7),
        report=reports,
        window=4,
        max_waiting=max_waiting,
        patience_s=patience_s,
    )
    reports.device = device
    return device, reports


async def run(device: Device) -> None:
    """Run a sensor to its end, but not forever."""
    async with asyncio.timeout(PATIENCE_S):
        await device.run()


async def test_every_reading_is_published_once_and_answered() -> None:
    """In order, at QoS 1, without DUP, to the device's own topic."""
    inlet = Inlet()
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 30)
        await run(device)
        async with asyncio.timeout(PATIENCE_S):
            await inlet.gone.wait()
    assert inlet.seqs() == reports.seqs == list(range(1, device.taken + 1))
    assert device.taken >= 30
    assert device.waiting == device.missed == 0
    packets = [packet for _, packet in inlet.received]
    assert {packet.topic for packet in packets} == {"coldseal/v1/depot-1/sensor-1/reading/air"}
    assert {(packet.qos, packet.dup, packet.retain) for packet in packets} == {(1, False, False)}
    assert all(answer.reason is ReasonCode.SUCCESS and not answer.is_repeated for answer in reports.answers)
    assert all(0 <= answer.latency_s < PATIENCE_S for answer in reports.answers)
    assert inlet.others == [Disconnect()]


async def test_a_payload_is_version_1_as_frozen() -> None:
    """The fields, their names and their order are what gateways of any age read."""
    inlet = Inlet()
    async with inlet.open() as port:
        device, _ = device_at(post_at(port), 1)
        await run(device)
    (_, packet), *_ = inlet.received
    raw = msgspec.json.decode(packet.payload)
    assert list(raw) == ["v", "seq", "boot", "t", "q"]
    assert raw["v"] == raw["seq"] == 1
    assert raw["boot"] == device.boot
    assert len(device.boot) == 8
    assert raw["t"].startswith("2026-11-22T1")
    assert raw["t"].endswith("Z")
    assert [(quantity["n"], quantity["u"]) for quantity in raw["q"]] == [
        ("temperature", "Cel"),
        ("humidity", "%RH"),
    ]


async def test_it_connects_with_mqtt_5_under_its_own_name() -> None:
    """A first connection starts clean, a later one goes on with the session."""
    inlet = Inlet(lambda connection, _: None if connection == 1 else ReasonCode.SUCCESS)
    async with inlet.open() as port:
        device, _ = device_at(post_at(port), 5)
        await run(device)
    assert [connect.clean_start for connect in inlet.connects] == [True, False]
    assert {(connect.client_id, connect.version) for connect in inlet.connects} == {("sensor-1", Version.V5)}
    assert all(connect.properties.session_expiry_interval for connect in inlet.connects)
    assert all(connect.keep_alive for connect in inlet.connects)


async def test_what_was_not_answered_is_repeated_with_dup_under_its_number() -> None:
    """A cut connection costs a repetition, never a reading."""

    def judge(connection: int, packet: Publish) -> ReasonCode | None:
        return None if connection < 4 and read(packet).seq % 10 == 9 else ReasonCode.SUCCESS

    inlet = Inlet(judge)
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 50)
        await run(device)
    assert sorted(reports.seqs) == list(range(1, device.taken + 1))
    assert len(inlet.connects) == 4
    repeated = [packet for _, packet in inlet.received if packet.dup]
    assert repeated
    first = {read(packet).seq: packet for _, packet in reversed(inlet.received)}
    for packet in repeated:
        assert packet.payload == first[read(packet).seq].payload
        assert packet.packet_id == first[read(packet).seq].packet_id
    assert any(answer.is_repeated for answer in reports.answers)


async def test_a_gateway_that_forgot_the_session_gets_new_messages() -> None:
    """Without DUP then, but under the same sequence numbers, so that it can tell."""
    inlet = Inlet(lambda connection, _: None if connection == 1 else ReasonCode.SUCCESS, remembers=False)
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 10)
        await run(device)
    assert not any(packet.dup for _, packet in inlet.received)
    assert sorted(reports.seqs) == list(range(1, device.taken + 1))
    assert inlet.seqs()[0] == inlet.seqs()[1] == 1 or inlet.seqs().count(1) == 2


async def test_readings_are_taken_while_the_gateway_is_away() -> None:
    """Nobody listens at first; what was measured meanwhile arrives later, in order."""
    inlet = Inlet()
    async with Inlet().open() as port:
        pass  # the port is free again
    device, reports = device_at(post_at(port), 40)
    async with asyncio.TaskGroup() as group:
        group.create_task(run(device))
        await until(lambda: device.waiting >= 20)
        assert not device.is_connected
        assert device.last_fault
        await group.create_task(serve_until_done(inlet, port, device, reports))
    assert inlet.seqs() == list(range(1, device.taken + 1))


async def serve_until_done(inlet: Inlet, port: int, device: Device, reports: Reports) -> None:
    """Listen until the device has stopped and has all its answers."""
    async with inlet.open(port=port):
        await until(lambda: len(reports.answers) >= reports.enough and not device.waiting)


async def test_a_refused_connection_is_tried_again() -> None:
    """The reason is kept for people to see; the readings wait."""
    inlet = Inlet(refusals=2)
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 5)
        await run(device)
    assert len(inlet.connects) == 3
    assert device.last_fault == "SERVER_BUSY"
    assert sorted(reports.seqs) == list(range(1, device.taken + 1))


async def test_a_reading_that_the_gateway_cannot_seal_now_is_offered_again() -> None:
    """Quota exceeded is not an answer: the disk is full, and the reading is still the sensor's."""
    full = {1: 2, 2: 1}

    def judge(_connection: int, packet: Publish) -> ReasonCode | None:
        seq = read(packet).seq
        full[seq] = full.get(seq, 0) - 1
        return ReasonCode.QUOTA_EXCEEDED if full[seq] >= 0 else ReasonCode.SUCCESS

    inlet = Inlet(judge)
    async with inlet.open() as port:
        device, reports = device_at(post_at(port, interval_s=0.5), 3)
        await run(device)
    assert set(reports.seqs) == set(range(1, device.taken + 1))
    assert [answer.reason for answer in reports.answers] == [ReasonCode.SUCCESS] * len(reports.answers)
    assert inlet.seqs().count(1) == 3


async def test_a_refused_reading_is_reported_with_the_reason() -> None:
    """What the gateway will never take is not offered again."""
    inlet = Inlet(lambda *_: ReasonCode.PAYLOAD_FORMAT_INVALID)
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 3)
        await run(device)
    assert {answer.reason for answer in reports.answers} == {ReasonCode.PAYLOAD_FORMAT_INVALID}
    assert inlet.seqs() == list(range(1, device.taken + 1))


async def test_a_gateway_that_breaks_the_protocol_is_left_and_tried_again() -> None:
    """The sensor says why it goes, keeps its readings, and comes back."""
    inlet = Inlet()
    inlet.first_bytes = b"\x00\x00"
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 5)
        await run(device)
    assert "packet type is 0" in device.last_fault
    assert sorted(reports.seqs) == list(range(1, device.taken + 1))


async def test_a_gateway_that_says_good_bye_is_tried_again() -> None:
    """Its reason is kept for people to see."""
    inlet = Inlet()
    farewell = Disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
    inlet.first_bytes = encode(ConnAck(), Version.V5) + encode(farewell, Version.V5)
    async with inlet.open() as port:
        device, reports = device_at(post_at(port), 5)
        await run(device)
    assert device.last_fault == "SERVER_SHUTTING_DOWN"
    assert sorted(reports.seqs) == list(range(1, device.taken + 1))


async def test_a_gateway_that_says_nothing_is_given_up() -> None:
    """An open connection is not an accepted one."""
    connections: list[asyncio.StreamWriter] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        device, _ = device_at(post_at(server.sockets[0].getsockname()[1]), 1, patience_s=0.05)
        task = asyncio.create_task(device.run())
        await until(lambda: len(connections) > 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*(writer.wait_closed() for writer in connections), return_exceptions=True)
    assert "MQTT server is unavailable: no answer" in device.last_fault
    assert device.waiting == device.taken


async def test_a_sensor_that_may_keep_no_more_counts_what_it_misses() -> None:
    """Memory is bounded, and a missed reading is never silent."""
    async with Inlet().open() as port:
        pass  # nobody listens there now
    device, _ = device_at(post_at(port), 1, max_waiting=3)
    task = asyncio.create_task(device.run())
    await until(lambda: device.missed > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert device.waiting == device.taken == 3


async def test_a_stopped_sensor_without_readings_ends_at_once() -> None:
    """Nothing was taken, nothing is awaited."""
    device, reports = device_at(post_at(1), 1)
    device.stop()
    await run(device)
    assert device.taken == 0
    assert reports.answers == []


async def test_a_sensor_can_be_ended_while_it_connects(tmp_path: Path) -> None:
    """A TLS handshake that hangs does not hold up the end of the program."""
    connections: list[asyncio.StreamWriter] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read(-1)
        writer.close()

    client, _ = contexts(tmp_path)
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        device, _ = device_at(post_at(server.sockets[0].getsockname()[1], context=client), 1)
        task = asyncio.create_task(device.run())
        await until(lambda: bool(connections))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*(writer.wait_closed() for writer in connections), return_exceptions=True)
    assert not device.is_connected


async def test_a_gateway_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The farewell is short: after a second the connection is cut."""
    client, server = contexts(tmp_path)
    inlet = Inlet()
    async with inlet.open(server) as port:
        device, _ = device_at(post_at(port, interval_s=60.0, context=client), 1)
        task = asyncio.create_task(device.run())
        await until(lambda: device.is_connected)
        inlet.hang()
        async with asyncio.timeout(PATIENCE_S):
            device.stop()
            await task
        inlet.cut()


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a development CA and the contexts of a sensor and its gateway."""
    now = datetime.fromtimestamp(Clock().now().t_ms // 1000, UTC)
    authority = create_authority(folder / "ca", now=now)
    root = folder / "ca" / "root.pem"
    own, gateway = (
        authority.issue(*who, now=now) for who in (("device", "sensor-1"), ("gateway", "localhost"))
    )
    return (
        client_context(own, own.with_suffix(".key"), root),
        server_context(gateway, gateway.with_suffix(".key"), root),
    )


async def test_it_shows_its_certificate_and_checks_the_gateways(tmp_path: Path) -> None:
    """TLS 1.3 both ways with the development CA; another CA's gateway gets no reading."""
    client, good = contexts(tmp_path / "ours")
    _, bad = contexts(tmp_path / "theirs")
    inlet = Inlet()
    async with inlet.open(good) as port:
        device, reports = device_at(post_at(port, context=client), 10)
        await run(device)
    assert sorted(reports.seqs) == list(range(1, device.taken + 1))
    stranger = Inlet()
    async with stranger.open(bad) as port:
        device, _ = device_at(post_at(port, context=client), 1)
        task = asyncio.create_task(device.run())
        await until(lambda: bool(device.last_fault))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "CERTIFICATE_VERIFY_FAILED" in device.last_fault
    assert stranger.received == []
