"""Who comes through Mosquitto's door with the generated configuration, and what a renewal does inside."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.gateway.brokering import ACCESS, files_of
from coldseal.gateway.sources.broker.signalling import Signalling
from coldseal.identity.authority import create_authority
from coldseal.identity.authority_folder import read_certificate
from coldseal.identity.contexts import client_context
from coldseal.mqtt.codec import encode
from coldseal.mqtt.packets import Connect, PubAck, Publish, ReasonCode, Version
from tests.gateway.parts import Hands, open_parts, payload
from tests.gateway.sources.rig import Peer
from tests.mosquitto import (
    GATEWAY,
    LASTING,
    BrokerSite,
    Mosquitto,
    client,
    now,
    require_mosquitto,
    running,
    sourcing,
    topic,
)
from tests.waiting import until

CONFIG = "coldseal/v1/lab/dev-1/config"


@pytest.fixture
def site(tmp_path: Path) -> BrokerSite:
    """Give a site of this test alone: its files are renewed."""
    require_mosquitto()
    return BrokerSite(tmp_path)


@pytest.fixture
async def broker(site: BrokerSite) -> AsyncIterator[Mosquitto]:
    """Give a running broker."""
    async with running(site) as found:
        yield found


async def is_let_in(site: BrokerSite, context: ssl.SSLContext) -> bool:
    """Whether a client with this context gets an answer to its greeting."""
    try:
        streams = asyncio.open_connection("127.0.0.1", site.port, ssl=context, server_hostname="localhost")
        reader, writer = await streams
        writer.write(encode(Connect("x", Version.V5, True, 60), Version.V5))
        answer = await reader.read(100)
    except OSError:
        return False
    writer.transport.abort()
    return bool(answer)


def without_certificate(site: BrokerSite) -> ssl.SSLContext:
    """Make the context of a client that shows none."""
    return ssl.create_default_context(cafile=site.trust)


def shown(peer: Peer) -> int:
    """Give the serial number of the certificate that the broker showed."""
    return x509.load_der_x509_certificate(peer.server_certificate()).serial_number


@pytest.mark.usefixtures("broker")
async def test_only_who_has_a_good_certificate_comes_in_and_only_by_tls_1_3(
    site: BrokerSite, tmp_path: Path
) -> None:
    """No certificate, one of another CA, one that has ended, one that is revoked, and the protocol before."""
    assert await is_let_in(site, site.context("dev-1"))
    assert not await is_let_in(site, without_certificate(site))
    other = create_authority(tmp_path / "other", now=now()).issue("device", "dev-1", now=now())
    assert not await is_let_in(site, client_context(other, other.with_suffix(".key"), site.trust))
    past = site.authority.issue("device", "dev-2", now=now() - timedelta(days=30), days=7)
    assert not await is_let_in(site, client_context(past, past.with_suffix(".key"), site.trust))
    older = site.context("dev-1")
    older.minimum_version = ssl.TLSVersion.TLSv1_2
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    assert not await is_let_in(site, older)


@pytest.mark.usefixtures("broker")
async def test_a_session_is_resumed_by_nobody_but_its_own_name(site: BrokerSite) -> None:
    """Whatever client id and user name a device gives, the broker takes the name in its certificate."""
    async with client(site, "dev-1", properties=LASTING) as peer:
        await peer.subscribe(CONFIG, qos=1)
        await peer.disconnect()
    thief = await Peer.open(site.port, Version.V5, site.context("dev-2"))
    answer = await thief.connect(Connect("dev-1", Version.V5, False, 60, None, "dev-1", b"x", LASTING))
    assert (answer.reason, answer.session_present) == (ReasonCode.SUCCESS, False)
    thief.send(Publish(topic("dev-1"), payload(1), 1, packet_id=1))
    assert (await thief.expect(PubAck)).reason is ReasonCode.NOT_AUTHORIZED
    await thief.drop()
    owner = await Peer.open(site.port, Version.V5, site.context("dev-1"))
    answer = await owner.connect(Connect("anything", Version.V5, False, 60, properties=LASTING))
    assert answer.session_present
    await owner.drop()


async def test_what_is_beyond_the_broker_s_limits_is_refused(site: BrokerSite) -> None:
    """Too large a packet ends its connection; a connection too many gets no answer; the rest goes on."""
    limits = ("broker.mosquitto.max_packet_bytes=512", "broker.mosquitto.max_connections=2")
    async with running(site, *limits), client(site, "dev-1") as inside:
        async with client(site, "dev-2") as other:
            assert not await is_let_in(site, site.context("dev-3"))
            other.send(Publish(topic("dev-2"), b"x" * 600, 1, packet_id=1))
            said = await other.expect_end()
            assert not any(isinstance(packet, PubAck) for packet in said)

        async def is_let_in_again() -> bool:
            """Whether there is a place again."""
            return await is_let_in(site, site.context("dev-3"))

        await until(is_let_in_again)
        inside.send(Publish(topic("dev-1"), payload(1), 1, packet_id=1))
        assert (await inside.expect(PubAck)).reason is not ReasonCode.NOT_AUTHORIZED


async def test_a_renewed_certificate_is_shown_to_new_callers_and_subscribers_stay(
    site: BrokerSite, broker: Mosquitto
) -> None:
    """SIGHUP: the subscriber's connection lives on, and hears what is published behind it."""
    async with client(site, "dev-1") as inside, client(site, GATEWAY, role="gateway") as gateway:
        await inside.subscribe(CONFIG, qos=1)
        before = shown(inside)
        site.authority.renew(site.broker, now=now())
        broker.hang_up()

        async def shows_the_new_one() -> bool:
            """Whether a new caller sees another certificate."""
            async with client(site, "dev-2") as caller:
                return shown(caller) != before

        await until(shows_the_new_one)
        await gateway.publish(CONFIG, b"{}")
        assert (await inside.message()).payload == b"{}"


async def test_a_revoked_device_is_refused_after_a_signal_and_cut_by_a_restart_alone(
    site: BrokerSite, broker: Mosquitto
) -> None:
    """That is what Mosquitto does; the gateway's own listener cuts it at once."""
    async with client(site, "dev-1") as inside:
        site.revoke("dev-1", "dev-3")
        broker.hang_up()

        async def is_refused(name: str = "dev-3") -> bool:
            """Whether a new connection is."""
            return not await is_let_in(site, site.context(name))

        await until(is_refused)
        await inside.expect_nothing()
        assert await is_let_in(site, site.context("dev-2"))
        broker.stop()
        await inside.expect_end()
        await broker.start()
        assert await is_refused("dev-1")


async def test_a_new_right_is_there_after_a_signal(site: BrokerSite, broker: Mosquitto) -> None:
    """Also for a device that is connected: the access list is asked for each message."""
    registry = site.folder / "registry.toml"
    async with client(site, "dev-1") as inside:
        inside.send(Publish(topic(sensor="roof"), payload(1), 1, packet_id=1))
        assert (await inside.expect(PubAck)).reason is ReasonCode.NOT_AUTHORIZED
        registry.write_text(registry.read_text().replace('["door", "core"]', '["door", "core", "roof"]'))
        site.write()
        broker.hang_up()

        async def is_granted() -> bool:
            """Whether the broker has read the list."""
            inside.send(Publish(topic(sensor="roof"), payload(1), 1, packet_id=1))
            return (await inside.expect(PubAck)).reason is not ReasonCode.NOT_AUTHORIZED

        await until(is_granted)


@pytest.mark.parametrize("crl", ["with a list", "without a list"])
async def test_a_new_ca_takes_a_restart_which_loses_nothing(
    site: BrokerSite, tmp_path: Path, crl: str
) -> None:
    """SIGHUP is not enough; over the restart, the gateway's session and what waits in it are kept.

    Mosquitto 2.0.11 does read the bundle on SIGHUP where a revocation list is set, and does not where none
    is: nobody should build on that.
    """
    overrides = () if crl == "with a list" else ('broker.mosquitto.crl=""',)
    async with running(site, *overrides) as broker:
        await _change_ca(site, broker, tmp_path, is_read_on_a_signal=not overrides)


async def _change_ca(
    site: BrokerSite, broker: Mosquitto, tmp_path: Path, *, is_read_on_a_signal: bool
) -> None:
    """Add a CA while messages wait for the gateway."""
    other = create_authority(tmp_path / "other", now=now())
    newer = other.issue("device", "dev-3", now=now())
    stranger = client_context(newer, newer.with_suffix(".key"), site.trust)
    async with open_parts(tmp_path / "log", Hands()) as parts:
        run = asyncio.ensure_future(parts.pipeline.run())
        async with sourcing(site, parts.pipeline) as (_, report):
            await until(lambda: report.is_up)
        async with client(site, "dev-1") as peer:
            for number in range(10):
                await peer.publish(topic(), payload(number), packet_id=number + 1)
        site.trust.write_bytes(site.trust.read_bytes() + (tmp_path / "other" / "root.pem").read_bytes())
        site.crl.write_bytes(site.crl.read_bytes() + (tmp_path / "other" / "crl.pem").read_bytes())
        site.authority.renew(site.broker, now=now())
        broker.hang_up()

        async def is_reloaded() -> bool:
            """Whether the broker shows its newest certificate."""
            async with client(site, "dev-2") as caller:
                return shown(caller) == read_certificate(site.broker).serial_number

        await until(is_reloaded)
        assert await is_let_in(site, stranger) == is_read_on_a_signal
        broker.stop()
        await broker.start()
        assert await is_let_in(site, stranger)
        async with sourcing(site, parts.pipeline) as (_, report):
            await until(lambda: len(parts.entries("reading")) == 10)
            assert report.times_forgotten == 0
        parts.pipeline.stop()
        await run
        assert [entry.src["seq"] for entry in parts.entries("reading")] == list(range(10))


async def test_the_broker_is_signalled_once_its_files_are_at_rest(
    site: BrokerSite, broker: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    """A change is told one look later, once; of a CA bundle a person is told; without a change nobody is."""
    told = Signalling(site.pid_file, *files_of(site.config().broker))
    async with client(site, "dev-1") as inside:
        before = shown(inside)
        for _ in range(3):
            told.tick()
        site.authority.renew(site.broker, now=now())
        site.trust.write_bytes(site.trust.read_bytes() + b"\n")
        for _ in range(4):
            told.tick()

        async def shows_the_new_one() -> bool:
            """Whether a new caller sees another certificate."""
            async with client(site, "dev-2") as caller:
                return shown(caller) != before

        await until(shows_the_new_one)
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in said] == ["broker.needs-restart", "broker.signalled"]
    assert said[0]["file"] == str(site.trust)
    broker.stop()
    (site.files / ACCESS).touch()
    for _ in range(3):
        told.tick()
    assert capsys.readouterr().err == ""


def test_nobody_but_a_mosquitto_is_signalled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pid file is stale, and its number belongs to this test; said once, and tried until it goes well."""
    watched, pid_file = tmp_path / "certificate.pem", tmp_path / "broker.pid"
    watched.write_text("one")
    pid_file.write_text(f"{os.getpid()}\n")
    told = Signalling(pid_file, [watched], [])
    watched.write_text("another")
    for _ in range(4):
        told.tick()
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert line["event"] == "broker.not-signalled"
    assert f"names process {os.getpid()}" in line["error"]
    pid_file.write_text("none")
    told.tick()
    pid_file.unlink()
    told.tick()
    assert capsys.readouterr().err == ""
    watched.unlink()
    told.tick()
    told.tick()
    assert capsys.readouterr().err == ""
