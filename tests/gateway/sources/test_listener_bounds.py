"""Slow, silent, greedy and broken clients: each is bounded, and none touches the others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import socket

import pytest

from coldseal.gateway.message import Outcome
from coldseal.gateway.sources.door import DoorLimits
from coldseal.gateway.sources.link import HIGH_WATER
from coldseal.gateway.sources.report import Seldom
from coldseal.mqtt.codec import encode
from coldseal.mqtt.connection import Connection
from coldseal.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    PubAck,
    Publish,
    ReasonCode,
    Version,
)
from tests.gateway.sources.rig import PASSWORD, Intake, Peer, Rig, Site, running

V311, V5 = Version.V311, Version.V5


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a second."""
    monkeypatch.setattr("coldseal.gateway.sources.mqtt._TICK_S", 0.1)


class TestDoor:
    """Who is let in at all."""

    @pytest.mark.parametrize(
        "doors",
        [
            DoorLimits(max_connections=2),
            DoorLimits(max_connections_per_address=2),
            DoorLimits(max_half_open=2),
            DoorLimits(max_half_open_per_address=2),
        ],
    )
    async def test_each_bound_turns_the_next_caller_away(self, site: Site, doors: DoorLimits) -> None:
        """Without a word, before any handshake; who is in goes on, and there is room when one leaves."""
        async with running(site, doors=doors) as rig:
            first, second = await rig.peer(), await rig.peer()
            await rig.until(lambda: len(rig.listener.broker.connections) == 2)
            third = await rig.peer()
            assert await third.expect_end() == []
            assert rig.shown("connections_refused_total", reason="limit") == 1
            await first.drop()
            await rig.until(lambda: len(rig.listener.broker.connections) == 1)
            rig.listener.tick()
            fourth = await rig.peer()
            for peer in (second, fourth):
                answer = await peer.connect(Connect("x", username="device-1", password=PASSWORD))
                assert answer.reason is ReasonCode.SUCCESS
            await second.drop()

    async def test_short_memory_turns_newcomers_away_and_serves_who_is_in(self, rig: Rig) -> None:
        """Until there is some again."""
        inside = await rig.admitted()
        rig.listener.close_doors(True)
        outside = await rig.peer()
        assert await outside.expect_end() == []
        rig.listener.tick()
        await inside.publish("TopicA", b"x", 1, packet_id=1)
        assert rig.shown("connections_refused_total", reason="limit") == 1
        rig.listener.close_doors(False)
        rig.listener.tick()
        await rig.admitted("client-2")

    async def test_who_is_admitted_is_half_open_no_more(self, site: Site) -> None:
        """The bound on half-open connections does not count the others."""
        async with running(site, doors=DoorLimits(max_half_open=1)) as rig:
            for number in range(4):
                await rig.admitted(f"client-{number}")
            await rig.peer()
            refused = await rig.peer()
            assert await refused.expect_end() == []

    async def test_a_silent_caller_is_sent_away(self, rig: Rig) -> None:
        """A socket without CONNECT, or with half of one, lives as long as the connect timeout."""
        silent, slow = await rig.peer(), await rig.peer()
        slow.send_bytes(b"\x10\x40\x00\x04MQ")
        await rig.until(lambda: any(each.buffered for each in rig.listener.broker.connections))
        rig.pass_s(11)
        assert await silent.expect_end() == []
        assert await slow.expect_end() == []
        assert rig.listener.broker.connections == set()

    async def test_a_caller_who_never_shakes_hands_is_sent_away(self, site: Site) -> None:
        """TLS: the time for the handshake is bounded, and its place is free again."""
        doors = DoorLimits(max_half_open=1, connect_timeout_s=0.3)
        async with running(site, doors=doors) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.listener.port)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            await rig.until(lambda: rig.shown("connections_refused_total", reason="timeout") == 1)
            peer = await rig.tls_peer(site.device("gauge"))
            assert (await peer.connect(Connect("x"))).reason is ReasonCode.SUCCESS

    async def test_no_tls_at_the_tls_door_is_nothing(self, rig: Rig) -> None:
        """MQTT without TLS, where TLS is spoken."""
        peer = await Peer.open(rig.listener.port)
        peer.send(Connect("x", username="device-1", password=PASSWORD))
        with contextlib.suppress(Exception):
            await peer.expect_end()
        await peer.drop()
        await rig.until(lambda: rig.shown("connections_refused_total", reason="identity") == 1)

    async def test_stopping_does_not_wait_for_a_handshake(self, site: Site) -> None:
        """A caller that is half-way in is given up."""
        async with running(site) as rig:
            with socket.create_connection(("127.0.0.1", rig.listener.port)):
                await rig.until(lambda: rig.listener._house.count == 1)
                await rig.listener.stop()
                assert rig.listener._house.count == 0


class TestPressure:
    """More than can be taken: reading stops, and goes on."""

    @pytest.mark.parametrize("version", [V311, V5])
    async def test_reading_stops_while_too_much_waits(self, site: Site, version: Version) -> None:
        """3.1.1 at every QoS, MQTT 5 at QoS 0: what was sent beyond stays in the sockets, and comes later."""
        async with running(site, receive_maximum=8) as rig:
            rig.intake.is_holding = True
            client = await rig.admitted(version=version)
            qos = 1 if version is V311 else 0
            for number in range(5_000):
                client.send(Publish("TopicA", bytes(1_000), qos, packet_id=number + 1 if qos else None))
            await rig.until(lambda: bool(rig.listener.paused))
            read = len(rig.intake.messages)
            assert read < 2_000
            rig.intake.is_holding = False
            rig.intake.release()
            await rig.intake.count(5_000)
            await rig.until(lambda: rig.listener.broker.held_bytes == 0)

    async def test_reading_stops_while_the_pipeline_is_full(self, rig: Rig) -> None:
        """Its own bound, over all clients."""
        client = await rig.admitted()
        rig.intake.is_full = True
        client.send(Publish("TopicA", b"first", 1, packet_id=1))
        await client.expect(PubAck)
        client.send(Publish("TopicA", b"second", 1, packet_id=2))
        rig.listener.tick()
        assert len(rig.intake.messages) == 1
        rig.intake.is_full = False
        rig.listener.tick()
        await client.expect(PubAck)

    @pytest.mark.parametrize("version", [V311, V5])
    async def test_a_client_waits_while_the_disk_is_full(self, rig: Rig, version: Version) -> None:
        """No acknowledgement, no more reading; the same message is handed over again until it is taken."""
        client = await rig.admitted(version=version)
        rig.intake.outcome = Outcome.BUSY
        client.send(Publish("TopicA", b"x", 1, packet_id=1))
        await rig.intake.count(1)
        await rig.until(lambda: _is_waiting(rig))
        assert bool(rig.listener.paused) is (version is V311)
        for number in (2, 3):
            rig.listener.tick()
            await rig.intake.count(number)
        rig.intake.outcome = Outcome.SEALED
        rig.listener.tick()
        assert (await client.expect(PubAck)).packet_id == 1
        await client.expect_nothing()
        assert {message.payload for message in rig.intake.messages} == {b"x"}

    @pytest.mark.parametrize("version", [V311, V5])
    async def test_only_who_can_be_told_is_told_that_the_disk_is_full(
        self, site: Site, version: Version
    ) -> None:
        """MQTT 5 leaves with 0x97 after a while, and its message is unacknowledged: it sends it again."""
        async with running(site, max_full_s=60) as rig:
            client = await rig.admitted(version=version)
            rig.intake.outcome = Outcome.BUSY
            client.send(Publish("TopicA", b"x", 1, packet_id=1))
            await rig.until(lambda: _is_waiting(rig))
            for number in range(2, 7):
                rig.pass_s(10)
                await rig.intake.count(number)
            assert len(rig.listener.broker.connections) == 1
            rig.pass_s(20)
            if version is V311:
                await rig.intake.count(7)
                await client.expect_nothing()
                return
            farewell = await client.expect(Disconnect)
            assert farewell.reason is ReasonCode.QUOTA_EXCEEDED
            assert farewell.properties.reason_string == "the store is full: keep what was not acknowledged"
            rig.intake.outcome = Outcome.SEALED
            again = await rig.admitted(version=version)
            again.send(Publish("TopicA", b"x", 1, packet_id=1, dup=True))
            assert (await again.expect(PubAck)).reason is ReasonCode.SUCCESS

    async def test_a_client_that_never_reads_is_cut_off(self, site: Site) -> None:
        """QoS 0 is dropped once it is slow, what it must get waits, and too many unsent bytes end it."""
        async with running(site, max_buffered_bytes=HIGH_WATER * 2, max_queued=10) as rig:
            reader = await rig.admitted("reader", device="display")
            await reader.subscribe("TopicA")
            reader.stop_reading()
            writer = await rig.admitted("writer")
            for number in range(400):
                await writer.publish("TopicA", bytes(60_000), number % 2, packet_id=number + 1)
            await rig.until(lambda: rig.shown("dropped_total", reason="queue-full") > 0)
            await writer.expect_nothing()
            rig.pass_s(61)
            await rig.until(lambda: len(rig.listener.broker.connections) == 1)

    async def test_a_client_that_sends_and_never_reads_is_cut_off(self, site: Site) -> None:
        """Its own answers pile up: beyond the bound the connection ends."""
        async with running(site, max_buffered_bytes=HIGH_WATER, receive_maximum=60_000) as rig:
            client = await rig.admitted()
            client.stop_reading()
            rig.intake.outcome, rig.intake.reason = Outcome.REJECTED, "words " * 100
            messages = b"".join(
                encode(Publish("TopicA", b"", 1, packet_id=each), V5) for each in range(1, 65)
            )

            def is_cut() -> bool:
                client.send_bytes(messages)
                return not rig.listener.broker.connections

            await rig.until(is_cut)
            await rig.until(lambda: rig.shown("connections_refused_total", reason="slow") == 1)

    async def test_a_client_that_catches_up_gets_what_waited(self, site: Site) -> None:
        """Everything of QoS 1, in order, however much more than the sockets hold."""
        async with running(site, max_queued_bytes=100_000_000) as rig:
            reader = await rig.admitted("reader", properties=Properties(receive_maximum=1_000))
            await reader.subscribe("TopicA", qos=1)
            reader.stop_reading()
            writer = await rig.admitted("writer")
            for number in range(400):
                await writer.publish("TopicA", b"%05d" % number + bytes(60_000), 1)
            (slow,) = [each for each in rig.listener._links.values() if each.client_id == "reader"]
            await rig.until(lambda: slow._slow_since is not None)
            reader.start_reading()
            found = [(await reader.message()).payload[:5] for _ in range(400)]
            assert found == [b"%05d" % number for number in range(400)]
            await rig.until(lambda: slow._slow_since is None)


def _is_waiting(rig: Rig) -> bool:
    """Whether a message has found no room."""
    dialogues = (link.connection.dialogue for link in rig.listener._links.values())
    return any(dialogue is not None and dialogue.inbound.retry for dialogue in dialogues)


class TestBrokenClients:
    """Malformed packets over the socket."""

    BAD = (
        b"\x00\x00",
        b"\x10\x00",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x30\x00",
        b"\x36\x05\x00\x01a\x00\x01",
        b"\x33\x04\x00\x01a\x00",
        b"\x60\x02\x00\x01",
        b"\x82\x02\x00\x01",
        b"\x82\x06\x00\x00\x00\x01a\x00",
        b"\xa2\x02\x00\x01",
        b"\xc0\x01\x00",
        b"\xf0\x05abcde",
        b"\x30\x05\x00\x03a\x00b",
        b"\x30\x05\x00\x02\xff\xfe\x00",
        b"\x32\x06\x00\x01a\x00\x00\x00",
    )

    @pytest.mark.parametrize("version", [V311, V5])
    async def test_each_ends_its_own_connection_with_a_reason(self, rig: Rig, version: Version) -> None:
        """5: DISCONNECT with 0x81, 0x82 or 0x95; 3.1.1 just closes. Others do not notice."""
        witness = await rig.admitted("witness", device="device-2")
        for number, data in enumerate(self.BAD):
            client = await rig.admitted(f"client-{number}", version=version)
            client.send_bytes(data)
            packets = await client.expect_end()
            if version is V5:
                (farewell,) = packets
                assert isinstance(farewell, Disconnect), data
                assert farewell.reason in {
                    ReasonCode.MALFORMED_PACKET,
                    ReasonCode.PROTOCOL_ERROR,
                    ReasonCode.PACKET_TOO_LARGE,
                }
            else:
                assert packets == []
            await witness.expect_nothing()
        assert rig.shown("connections_refused_total", reason="protocol") == len(self.BAD)
        assert len(rig.listener.broker.connections) == 1

    @pytest.mark.parametrize("data", BAD)
    async def test_before_connect_there_is_hardly_an_answer(self, rig: Rig, data: bytes) -> None:
        """Nothing is said to a stranger, but to one who named a version."""
        peer = await rig.peer()
        peer.send_bytes(data)
        with contextlib.suppress(ConnectionError):
            assert await peer.expect_end() == []
        assert rig.listener.broker.connections == set()

    async def test_the_announced_size_is_not_waited_for(self, rig: Rig) -> None:
        """A packet that is too large is refused from its first bytes: nothing of it is kept."""
        client = await rig.admitted()
        client.send_bytes(b"\x30\xff\xff\x7f")
        (farewell,) = await client.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.PACKET_TOO_LARGE

    async def test_a_packet_may_come_byte_by_byte(self, rig: Rig) -> None:
        """However it is cut."""
        peer = await rig.peer()
        data = encode(Connect("x", username="device-1", password=PASSWORD), V5) + encode(
            Publish("TopicA", b"slow", 1, packet_id=1), V5
        )
        for byte in data:
            peer.send_bytes(bytes((byte,)))
            await asyncio.sleep(0)
        await peer.expect(ConnAck)
        await peer.expect(PubAck)

    async def test_nothing_is_kept_of_who_has_gone(self, rig: Rig) -> None:
        """Hundreds of clients that come, misbehave and go: no connection, session or message stays."""
        for round_ in range(20):
            peers = [await rig.admitted(f"c{number}") for number in range(10)]
            for number, peer in enumerate(peers):
                peer.send(Publish("TopicA", bytes(100), number % 3, packet_id=1 if number % 3 else None))
                if number % 2:
                    peer.send_bytes(b"\xff" * (round_ + 1))
                await peer.drop()
        await rig.until(lambda: not rig.listener.broker.connections)
        broker, listener = rig.listener.broker, rig.listener
        await rig.until(lambda: broker.held_bytes == 0 and not listener._links)
        assert (broker._sessions, broker._owned, listener._links, listener.paused) == ({}, {}, {}, set())
        assert listener._house.count == 0
        rig.intake.messages.clear()
        gc.collect()
        left = [each for each in gc.get_objects() if isinstance(each, Connection) and each.broker is broker]
        assert left == []


async def test_bytes_waiting_on_all_connections_are_bounded(site: Site) -> None:
    """Many clients with a message each: beyond the sum nobody is read."""
    intake = Intake()
    intake.is_holding = True
    async with running(site, intake=intake, max_packet_bytes=1_000_000) as rig:
        peers = [await rig.admitted(f"client-{number}") for number in range(10)]
        for peer in peers:
            for number in range(20):
                peer.send(Publish("TopicA", bytes(900_000), 1, packet_id=number + 1))
        limit = rig.listener.broker.limits.max_held_bytes
        await rig.until(lambda: rig.listener.broker.held_bytes > limit)
        await rig.until(lambda: len(rig.listener.paused) == 10)
        assert rig.listener.broker.held_bytes < limit + 10 * 2_000_000
        intake.is_holding = False
        intake.release()
        await intake.count(200)


def test_a_flood_makes_one_line_a_minute() -> None:
    """For each key; the oldest are forgotten first."""
    seldom = Seldom()
    assert [seldom("a", now) for now in (0.0, 30.0, 59.9, 60.0, 61.0)] == [True, False, False, True, False]
    for number in range(2_000):
        assert seldom(f"key {number}", 61.0)
    assert seldom("a", 62.0)


async def test_refused_callers_are_told_apart_from_lost_ones(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who came, who left and who was cut off stands in the log."""
    client = await rig.admitted()
    await client.disconnect()
    cut = await rig.admitted("two")
    cut.send_bytes(b"\xff")
    await cut.expect_end()
    await rig.until(lambda: not rig.listener._links)
    out = capsys.readouterr()
    text = out.out + out.err
    for event in ("device.connected", "device.left", "device.cut", "device.refused"):
        assert event in text


async def test_running_out_of_file_descriptors_only_delays_callers(rig: Rig) -> None:
    """They wait in the system's queue until there are descriptors again."""
    callers = [socket.create_connection(("127.0.0.1", rig.listener.plain_port)) for _ in range(8)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [socket.socket() for _ in range(50)]  # no gap is left below the highest
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(each.fileno() for each in held) + 1, hard))
    try:
        await rig.until(lambda: rig.listener._doors["plain"]._is_resting)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in held:
            each.close()
    rig.listener.tick()
    await rig.until(lambda: len(rig.listener.broker.connections) == 8)
    for caller in callers:
        caller.close()


async def test_a_silent_device_is_counted(rig: Rig) -> None:
    """The metric tells why connections were cut."""
    client = await rig.admitted(keep_alive=10)
    rig.pass_s(16)
    await client.expect_end()
    await rig.until(lambda: rig.shown("connections_refused_total", reason="timeout") == 1)
