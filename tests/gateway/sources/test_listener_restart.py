"""What a client was told is true after a restart, also after one without warning."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coldseal.gateway.sources.sessions import SessionStore
from coldseal.mqtt.packets import (
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    Version,
    Will,
)
from tests.gateway.sources.rig import STORE_KEY, Peer, Rig, Site, running

KEPT = Properties(session_expiry_interval=600)
V311, V5 = Version.V311, Version.V5


def _killed(store: Path) -> Path:
    """Give the disk as a SIGKILL would leave it now."""
    after = store.with_name("after")
    shutil.rmtree(after, ignore_errors=True)
    shutil.copytree(store.parent, after, ignore=shutil.ignore_patterns("after"))
    return after / store.name


async def _back(rig: Rig, client_id: str = "one", version: Version = V5) -> Peer:
    """Come back to a session that must be there."""
    peer, answer = await rig.client(client_id, clean=False, properties=KEPT, version=version)
    assert answer.session_present
    return peer


@pytest.mark.parametrize("version", [V311, V5])
async def test_a_confirmed_subscription_survives(site: Site, tmp_path: Path, version: Version) -> None:
    """MQTT 4.1: SUBACK leaves after the subscription is on disk."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        client = await rig.admitted(clean=False, properties=KEPT, version=version)
        await client.subscribe("TopicA")
        copy = _killed(store)
    async with running(site, store=copy) as rig:
        client = await _back(rig, version=version)
        await client.publish("TopicA", b"still here")
        assert (await client.message()).payload == b"still here"


@pytest.mark.parametrize("qos", [1, 2])
async def test_an_acknowledged_message_for_an_absent_client_survives(
    site: Site, tmp_path: Path, qos: int
) -> None:
    """PUBACK or PUBREC leaves after the message waits on disk; so does a command of the gateway's own."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        client = await rig.admitted(clean=False, properties=KEPT)
        await client.subscribe("TopicA", qos=2)
        await client.drop()
        writer = await rig.admitted("writer")
        for number in range(3):
            await writer.publish("TopicA", b"%d" % number, qos)
        copy = _killed(store)
    async with running(site, store=copy) as rig:
        client = await _back(rig)
        assert [(await client.message()).payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_a_retained_message_survives_its_acknowledgement(site: Site, tmp_path: Path) -> None:
    """And its clearing, too."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        writer = await rig.admitted("writer")
        await writer.publish("TopicA", b"kept", retain=True)
        await writer.publish("TopicA/B", b"cleared", retain=True)
        await writer.publish("TopicA/B", b"", retain=True)
        copy = _killed(store)
    async with running(site, store=copy) as rig:
        client = await rig.admitted()
        await client.subscribe("TopicA/#")
        assert (await client.message()).payload == b"kept"
        await client.expect_nothing()


async def test_qos_2_is_exactly_once_over_a_restart(site: Site, tmp_path: Path) -> None:
    """A received identifier is known, and a released one is released again; neither doubles a message."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        client = await rig.admitted(clean=False, properties=KEPT)
        await client.subscribe("TopicA", qos=2)
        client.send(Publish("TopicA/B", b"in", 2, packet_id=9))
        await client.expect(PubRec)
        await (await rig.admitted("writer")).publish("TopicA", b"out", 2)
        number = (await client.expect(Publish)).packet_id or 0
        client.send(PubRec(number))
        await client.expect(PubRel)
        copy = _killed(store)
    async with running(site, store=copy) as rig:
        client = await _back(rig)
        assert (await client.next()) == PubRel(number)
        client.send(PubComp(number), Publish("TopicA/B", b"in", 2, dup=True, packet_id=9))
        await client.expect(PubRec)
        client.send(PubRel(9))
        assert (await client.expect(PubComp)).reason is ReasonCode.SUCCESS
        assert rig.intake.messages == []
        await client.expect_nothing()


async def test_what_was_under_way_comes_again_with_its_number(site: Site, tmp_path: Path) -> None:
    """MQTT-4.4.0-1, over a restart."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        client = await rig.admitted(clean=False, properties=KEPT)
        await client.subscribe("TopicA", qos=1)
        await (await rig.admitted("writer")).publish("TopicA", b"x", 1)
        first = await client.expect(Publish)
        copy = _killed(store)
    async with running(site, store=copy) as rig:
        client = await _back(rig)
        again = await client.expect(Publish)
        assert (again.packet_id, again.payload, again.dup) == (first.packet_id, b"x", True)


async def test_an_orderly_end_keeps_sessions_and_forgets_the_rest(site: Site, tmp_path: Path) -> None:
    """A session without expiry is gone; a will is not said because we end."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        for name, properties in (("kept", KEPT), ("fleeting", Properties())):
            client = await rig.admitted(
                name, clean=False, properties=properties, will=Will("wills/one", b"x")
            )
            await client.subscribe("TopicA")
    async with running(site, store=store) as rig:
        await _back(rig, "kept")
        _, answer = await rig.client("fleeting", clean=False, properties=KEPT)
        assert not answer.session_present
        rig.pass_s(1_000)
        assert rig.intake.messages == []


async def test_a_clean_publisher_leaves_the_disk_alone(site: Site, tmp_path: Path) -> None:
    """The hot path costs no write beside the log's own."""
    store = tmp_path / "broker.db"
    async with running(site, store=store) as rig:
        log = store.with_name("broker.db-wal")
        before = log.stat().st_size
        client = await rig.admitted()
        for number in range(50):
            await client.publish("TopicA", b"x", number % 3, packet_id=number + 1)
        await client.disconnect()
        assert log.stat().st_size == before


async def test_nothing_is_promised_while_the_disk_refuses(site: Site, tmp_path: Path) -> None:
    """SUBACK waits; other clients go on; once there is room everything is written and answered."""
    store = SessionStore.open(tmp_path / "broker.db", STORE_KEY)
    async with running(site, kept=store) as rig:
        client = await rig.admitted(clean=False, properties=KEPT)
        store._database.pragma("max_page_count", store._database.pragma("page_count"))
        many = tuple(Subscription(f"TopicA/{'x' * 200}/{number}") for number in range(60))
        client.send(Subscribe(1, many))
        await rig.until(lambda: rig.listener._report._is_failing)
        other = await rig.admitted("other")
        await other.publish("TopicA")
        assert not client.has_come()
        rig.listener.tick()
        store._database.pragma("max_page_count", 100_000)
        assert (await client.expect(SubAck)).packet_id == 1
        await rig.until(lambda: not rig.listener._report._is_failing)
        client.send(Publish("TopicA", b"x", 1, packet_id=5))
        await client.expect(PubAck)
    store.close()
