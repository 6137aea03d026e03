"""Readings through a real Mosquitto: acknowledged once they are sealed, in order, over any interruption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from coldseal.gateway.brokering import ACCESS
from coldseal.gateway.message import Message, Outcome
from coldseal.gateway.sources.broker.report import DROPPED, Report
from coldseal.identity.contexts import server_context
from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Version,
)
from coldseal.observe.metrics import GatewayMetrics
from tests.gateway.parts import Hands, Parts, open_parts, payload
from tests.gateway.sources.rig import Intake, Peer
from tests.mosquitto import (
    GATEWAY,
    LASTING,
    BrokerSite,
    Mosquitto,
    client,
    require_mosquitto,
    running,
    sourcing,
    topic,
)
from tests.waiting import until


class Deaf:
    """A pipeline whose acknowledgements never arrive."""

    is_full = False

    def __init__(self, parts: Parts) -> None:
        """Take the real one."""
        self._parts = parts

    def submit(self, message: Message) -> None:
        """Seal it, and let nobody know."""
        self._parts.pipeline.submit(structs.replace(message, acknowledge=lambda _outcome, _why: None))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> BrokerSite:
    """Give a site whose files are made once."""
    require_mosquitto()
    return BrokerSite(tmp_path_factory.mktemp("broker"))


@pytest.fixture
async def broker(shared: BrokerSite) -> AsyncIterator[Mosquitto]:
    """Give a running broker without a past."""
    for path in (shared.folder / "persistence").iterdir():
        path.unlink()
    (shared.folder / "generation").unlink(missing_ok=True)
    async with running(shared) as found:
        yield found


@asynccontextmanager
async def sealing(folder: Path) -> AsyncIterator[Parts]:
    """Run a real pipeline on a real log."""
    async with open_parts(folder, Hands()) as parts:
        run = asyncio.ensure_future(parts.pipeline.run())
        try:
            yield parts
        finally:
            parts.pipeline.stop()
            await run


@asynccontextmanager
async def foreign(site: BrokerSite, answer: ReasonCode | None, behind: bytes = b"") -> AsyncIterator[int]:
    """Run a broker of another make, that answers a SUBSCRIBE so, or nothing at all; gives its port.

    Args:
        site: whose certificate it shows.
        answer: to each filter; None for a broker that answers nothing.
        behind: what it sends after that.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        decoder = Decoder()
        while data := await reader.read(65_536):
            for packet in decoder.feed(data):
                if answer is not None and isinstance(packet, Connect):
                    writer.write(encode(ConnAck(session_present=False), Version.V5))
                elif answer is not None and isinstance(packet, Subscribe):
                    reasons = (answer,) * len(packet.subscriptions)
                    writer.write(encode(SubAck(packet.packet_id, reasons), Version.V5) + behind)
        writer.close()

    context = server_context(site.broker, site.broker.with_suffix(".key"), site.trust)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def send(peer: Peer, *numbers: int, device: str = "dev-1", qos: int = 1) -> None:
    """Publish numbered readings, each acknowledged by the broker."""
    for number in numbers:
        await peer.publish(topic(device), payload(number), qos, packet_id=number + 1)


def sequences(parts: Parts) -> list[object]:
    """Give the devices' numbers in the order of the log."""
    return [entry.src.get("seq") for entry in parts.entries("reading")]


@pytest.mark.usefixtures("broker")
async def test_a_reading_is_sealed_under_the_device_that_its_topic_names(
    shared: BrokerSite, tmp_path: Path
) -> None:
    """The device is known, its certificate is not: the broker saw that one, and the entry has none."""
    async with sealing(tmp_path) as parts, sourcing(shared, parts.pipeline) as (source, report):
        await until(lambda: report.is_up)
        async with client(shared, "dev-2") as peer:
            await send(peer, 5, device="dev-2")
        await until(lambda: bool(parts.entries("reading")))
        (entry,) = parts.entries("reading")
        assert (entry.src["dev"], entry.src["seq"]) == ("dev-2", 5)
        assert "fp" not in entry.src
        assert entry.data["sensor"] == "door"
        await until(lambda: source.status()["software"] == "mosquitto version 2.0.11")


@pytest.mark.usefixtures("broker")
async def test_the_broker_gets_its_puback_after_the_commit_and_not_before(shared: BrokerSite) -> None:
    """What the intake has not acknowledged comes again on the next connection, marked as a repetition."""
    held = Intake()
    held.is_holding = True
    async with client(shared, "dev-1") as peer:
        async with sourcing(shared, held, is_cut=True) as (source, report):
            await until(lambda: report.is_up)
            await send(peer, 1, 2)
            first = list(await held.count(2))
            assert source.status()["unanswered"] == 2
            held.release(lambda messages: messages[:1])
        again = Intake()
        async with sourcing(shared, again):
            (second,) = await again.count(1)
        assert [message.redelivered for message in (*first, second)] == [False, False, True]
        assert (second.payload, second.packet_id) == (first[1].payload, first[1].packet_id)


@pytest.mark.usefixtures("broker")
async def test_what_is_sealed_but_not_acknowledged_is_not_sealed_again(
    shared: BrokerSite, tmp_path: Path
) -> None:
    """The crash comes between commit and PUBACK: the repetition is known, with and without a number."""
    async with sealing(tmp_path) as parts:
        async with client(shared, "dev-1") as peer:
            deaf = Deaf(parts)
            async with sourcing(shared, deaf, is_cut=True) as (_, report):
                await until(lambda: report.is_up)
                await send(peer, 1, 2, 3)
                await peer.publish(topic(), payload(None), packet_id=9)
                await until(lambda: len(parts.entries("reading")) == 4)
            await send(peer, 4)
            async with sourcing(shared, parts.pipeline) as (source, _):
                await until(lambda: 4 in sequences(parts))
                await until(lambda: not source.status()["unanswered"])
        assert [entry.src.get("seq") for entry in parts.entries("reading")] == [1, 2, 3, None, 4]
        async with sourcing(shared, parts.pipeline) as (_, report):
            await until(lambda: report.is_up)
        assert len(parts.entries("reading", "rejected")) == 5


@pytest.mark.usefixtures("broker")
async def test_messages_keep_their_order_when_there_was_no_room(shared: BrokerSite) -> None:
    """What found no room is handed over again before what came later, and only then acknowledged."""
    intake = Intake()
    async with client(shared, "dev-1") as peer, sourcing(shared, intake) as (source, report):
        await until(lambda: report.is_up)
        intake.is_holding, intake.outcome = True, Outcome.BUSY
        await send(peer, 1, 2)
        await intake.count(2)
        intake.release()
        assert source.status()["waits_for_room"]
        await send(peer, 3)
        intake.outcome = Outcome.SEALED
        intake.is_holding = False
        source.tick()
        handed = await intake.count(5)
        assert [message.payload for message in handed[2:]] == [payload(number) for number in (1, 2, 3)]
        await until(lambda: not source.status()["waits_for_room"] and not source.status()["unanswered"])


@pytest.mark.usefixtures("broker")
async def test_no_more_is_sent_ahead_than_the_receive_maximum(shared: BrokerSite) -> None:
    """The rest waits at the broker until something is acknowledged."""
    intake = Intake()
    intake.is_holding = True
    async with (
        client(shared, "dev-1") as peer,
        sourcing(shared, intake, "broker.receive_maximum=3") as (source, report),
    ):
        await until(lambda: report.is_up)
        await send(peer, *range(8))
        await intake.count(3)
        await peer.expect_nothing()
        assert source.status()["unanswered"] == 3
        intake.is_holding = False
        intake.release()
        assert [message.payload for message in await intake.count(8)] == [payload(each) for each in range(8)]


@pytest.mark.usefixtures("broker")
async def test_reading_stops_while_the_intake_is_full_and_goes_on_after(shared: BrokerSite) -> None:
    """Messages of QoS 0, which no receive maximum holds back, wait in the socket."""
    intake = Intake()
    async with client(shared, "dev-1") as peer, sourcing(shared, intake) as (source, report):
        await until(lambda: report.is_up)
        intake.is_full = True
        await send(peer, 1)
        await intake.count(1)
        peer.send(Publish(topic(), payload(2), 0))
        await peer.expect_nothing()
        assert len(intake.messages) == 1
        intake.is_full = False
        source.tick()
        second = (await intake.count(2))[1]
        assert (second.payload, second.qos, second.packet_id) == (payload(2), 0, None)


@pytest.mark.usefixtures("broker")
async def test_a_message_of_qos_2_comes_once_at_qos_1(shared: BrokerSite, tmp_path: Path) -> None:
    """The subscription asks for QoS 1: the log, not the protocol, tells repetitions."""
    async with sealing(tmp_path) as parts, sourcing(shared, parts.pipeline) as (_, report):
        await until(lambda: report.is_up)
        async with client(shared, "dev-1") as peer:
            await send(peer, 7, qos=2)
        await until(lambda: sequences(parts) == [7])


@pytest.mark.usefixtures("broker")
async def test_a_retained_reading_is_not_taken_in_again_with_a_new_session(
    shared: BrokerSite, tmp_path: Path
) -> None:
    """It came when it was published; the broker shows it to whoever subscribes, and we ask it not to."""
    async with sealing(tmp_path) as parts:
        async with client(shared, "dev-1") as peer, sourcing(shared, parts.pipeline) as (_, report):
            await until(lambda: report.is_up)
            await peer.publish(topic(), payload(None), retain=True)
            await until(lambda: len(parts.entries("reading")) == 1)
        async with client(shared, GATEWAY, role="gateway"):
            pass  # a clean start ends the session
        async with sourcing(shared, parts.pipeline) as (_, report):
            await until(lambda: report.is_up)
            assert report.times_forgotten == 1
        assert len(parts.entries("reading")) == 1


async def test_a_restart_of_the_broker_loses_nothing_and_the_session_goes_on(
    shared: BrokerSite, broker: Mosquitto, tmp_path: Path
) -> None:
    """It is asked to end while messages wait in the session, and writes its database."""
    async with sealing(tmp_path) as parts:
        async with sourcing(shared, parts.pipeline) as (_, report):
            await until(lambda: report.is_up)
        async with client(shared, "dev-1") as peer:
            await send(peer, *range(20))
        async with sourcing(shared, parts.pipeline) as (_, report):
            await until(lambda: len(sequences(parts)) == 20)
            broker.stop()
            await until(lambda: bool(report.losses))
            assert not report.is_up
            await broker.start()
            await until(lambda: report.is_up)
            async with client(shared, "dev-1") as peer:
                await send(peer, 20)
            await until(lambda: len(sequences(parts)) == 21)
            assert report.times_forgotten == 0
        assert sequences(parts) == list(range(21))


@pytest.mark.usefixtures("broker")
async def test_what_waits_at_the_broker_while_the_gateway_is_away_comes_in_order(
    shared: BrokerSite, tmp_path: Path
) -> None:
    """More than Mosquitto keeps by its own default, and more than may be under way at once."""
    async with sealing(tmp_path) as parts:
        async with sourcing(shared, parts.pipeline) as (_, report):
            await until(lambda: report.is_up)
        async with client(shared, "dev-1") as peer:
            for first in range(0, 2_000, 50):
                peer.send(
                    *(
                        Publish(topic(), payload(each), 1, packet_id=each + 1)
                        for each in range(first, first + 50)
                    )
                )
                for _ in range(50):
                    await peer.expect(PubAck)
        async with sourcing(shared, parts.pipeline):
            await until(lambda: len(sequences(parts)) == 2_000)
        assert sequences(parts) == list(range(2_000))


async def test_what_the_broker_should_not_have_let_through_is_sealed_as_rejected(
    shared: BrokerSite, broker: Mosquitto, tmp_path: Path
) -> None:
    """An access list that somebody widened: the registry's word counts, and the attempt is on record."""
    access = shared.files / ACCESS
    strange = ("coldseal/v1/lab/stranger/reading/door", topic(sensor="roof"), "coldseal/v1/lab/a b/reading/x")
    with access.open("a") as file:
        file.write("user dev-3\n" + "".join(f"topic write {each}\n" for each in strange))
    broker.hang_up()
    async with sealing(tmp_path) as parts, sourcing(shared, parts.pipeline) as (source, report):
        await until(lambda: report.is_up)
        async with client(shared, "dev-3") as peer:
            for number, each in enumerate(strange):
                await peer.publish(each, payload(number), packet_id=number + 1)
            await peer.publish(topic("dev-3"), b"no reading", packet_id=9)
        await until(lambda: len(parts.entries("rejected")) == 4 and not source.status()["unanswered"])
        found = [(entry.src["dev"], entry.src["topic"], entry.data["reason"]) for entry in parts.entries()]
        assert found == [
            ("stranger", strange[0], "not-authorised"),
            ("dev-1", strange[1], "not-authorised"),
            ("-", strange[2], "not-authorised"),
            ("dev-3", topic("dev-3"), "payload"),
        ]


async def test_a_broker_that_does_not_let_us_subscribe_is_no_broker(shared: BrokerSite) -> None:
    """It may filter what it delivers, but a refusal is an outage that people are told of."""
    async with (
        foreign(shared, ReasonCode.NOT_AUTHORIZED) as port,
        sourcing(shared, Intake(), f"broker.address=localhost:{port}") as (_, report),
    ):
        await until(lambda: bool(report.losses))
    assert "it does not let us subscribe at QoS 1: NOT_AUTHORIZED" in report.losses[0]


async def test_a_broker_that_breaks_the_protocol_or_sends_us_away_is_left(shared: BrokerSite) -> None:
    """It is told why, and tried again."""
    greeting = encode(ConnAck(session_present=False), Version.V5)
    farewell = encode(Disconnect(ReasonCode.SERVER_BUSY), Version.V5)
    for behind, said in ((greeting, "ConnAck"), (farewell, "server busy")):
        async with (
            foreign(shared, ReasonCode.GRANTED_QOS_1, behind) as port,
            sourcing(shared, Intake(), f"broker.address=localhost:{port}") as (_, report),
        ):
            await until(lambda: bool(report.losses))
        assert said in report.losses[0]


async def test_what_the_broker_does_not_take_from_us_is_said_once(
    shared: BrokerSite, broker: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    """The access list was not renewed when receipts were switched on."""
    async with sourcing(shared, Intake()) as (source, report):
        await until(lambda: report.is_up)
        for _ in range(2):
            assert source.publish("coldseal/v1/lab/dev-1/receipt", b"{}")
        said: list[str] = []

        def has_said() -> bool:
            """Whether the refusal was said."""
            said.extend(capsys.readouterr().err.splitlines())
            return any('"broker.refused"' in line for line in said)

        await until(has_said)
        assert not source.publish("x" * 70_000, b"")
    said += capsys.readouterr().err.splitlines()
    assert sum('"broker.refused"' in line for line in said) == 1
    assert broker.log.exists()


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    "properties", ["080003612f2b", "08000123", "080000", "0102"], ids=["plus", "hash", "empty", "format"]
)
async def test_a_device_cannot_keep_the_gateway_out_by_what_mosquitto_passes_on(
    shared: BrokerSite, tmp_path: Path, properties: str
) -> None:
    """Mosquitto 2.0.11 takes a response topic with a wildcard and a format of 2, which MQTT forbids.

    A strict receiver would end the connection, be sent the same again, and take nothing in for ever.
    """
    found = bytes.fromhex(properties)
    name, text = topic().encode(), payload(1)
    body = len(name).to_bytes(2, "big") + name + b"\0\x05" + bytes([len(found)]) + found + text
    async with sealing(tmp_path) as parts, sourcing(shared, parts.pipeline) as (_, report):
        await until(lambda: report.is_up)
        async with client(shared, "dev-1") as rogue, client(shared, "dev-2") as peer:
            rogue.send_bytes(bytes([0x32, len(body)]) + body)
            assert (await rogue.expect(PubAck)).reason is ReasonCode.SUCCESS
            await send(peer, 2, device="dev-2")
        await until(lambda: sequences(parts) == [1, 2])
        assert report.losses == []


async def test_a_broker_that_falls_silent_is_given_up(shared: BrokerSite) -> None:
    """It answers neither the greeting nor a ping."""
    async with (
        foreign(shared, None) as port,
        sourcing(shared, Intake(), f"broker.address=localhost:{port}", "broker.timeout_s=0.2") as (_, report),
    ):
        await until(lambda: bool(report.losses))
    assert "no answer for" in report.losses[0]


@pytest.mark.usefixtures("broker")
async def test_another_client_with_our_name_ends_the_connection_and_that_is_said(
    shared: BrokerSite,
) -> None:
    """Only who holds the gateway's certificate can."""
    async with sourcing(shared, Intake()) as (_, report):
        await until(lambda: report.is_up)
        async with client(shared, GATEWAY, role="gateway", clean=False, properties=LASTING):
            await until(lambda: bool(report.losses))
        await until(lambda: report.is_up)
        assert report.times_forgotten == 0


async def test_a_broker_that_is_away_is_said_once_until_it_is_back(
    shared: BrokerSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is tried again and again; only the first failure is an event."""
    shared.write()
    async with sourcing(shared, Intake()) as (source, report):
        await until(lambda: len(report.losses) >= 3)
        assert not source.status()["up"]
        assert not source.publish("t", b"")
    said = [line for line in capsys.readouterr().err.splitlines() if '"broker.lost"' in line]
    assert len(said) == 1
    assert report.metrics.registry.get_sample_value("coldseal_gateway_broker_failures_total") == len(
        report.losses
    )


def test_more_messages_dropped_by_the_broker_than_before_wake_a_person(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The count begins anew with the broker; what is no count is not taken for one."""
    report = Report("broker:8883", GatewayMetrics())
    for told in (b"0", b"3", b"3", b"0", b"2", b"many"):
        report.told(DROPPED, told)
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["more"], line["total"]) for line in said] == [
        ("broker.dropped", 3, 3),
        ("broker.dropped", 2, 2),
    ]
    report.told("$SYS/broker/uptime", b"9")
    assert report.status()["dropped_by_it"] == 2
