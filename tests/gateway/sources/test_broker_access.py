"""Mosquitto with the generated configuration alone answers every cell of the policy as the listener does.

Where it can only filter what it delivers, that is what is looked at. What it cannot tell apart is held here,
too: it has no rule for retained messages, and for a will that of its topic alone. One client more may read
and write everything, to see what became of a message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from coldseal.gateway.brokering import ACCESS
from coldseal.mqtt.packets import (
    Connect,
    Properties,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    Version,
    Will,
)
from tests import access
from tests.access import Cell, Word, matches
from tests.gateway.sources.rig import Peer
from tests.mosquitto import BrokerSite, Mosquitto, client, require_mosquitto

AUDITOR = "auditor"
CELLS = list(access.cells(is_strict=True))
WHOLE = [topic for topic in access.topics() if not topic.startswith("$")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> BrokerSite:
    """Give a site with the registry of the cells."""
    require_mosquitto()
    return BrokerSite(tmp_path_factory.mktemp("access"), registry=access.REGISTRY)


@pytest.fixture
async def broker(site: BrokerSite) -> AsyncIterator[Mosquitto]:
    """Give a running broker, whose access list has the auditor behind what was generated."""
    site.write()
    for path in (site.folder / "persistence").iterdir():
        path.unlink()
    with (site.files / ACCESS).open("a") as file:
        file.write(f"user {AUDITOR}\ntopic readwrite #\n")
    found = Mosquitto(site)
    await found.start()
    yield found
    found.stop()


def asked(action: str, identity: str) -> list[Cell]:
    """Give the cells of one action and identity."""
    return [cell for cell in CELLS if cell.action == action and cell.identity == identity]


def test_there_are_cells_enough_of_both_answers() -> None:
    """At least two thousand, for registered devices and for a stranger."""
    assert len(CELLS) >= 2_000
    counts = Counter((cell.action, cell.is_allowed) for cell in CELLS)
    assert len(counts) == 10
    assert min(counts.values()) >= 2


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("identity", access.IDENTITIES)
async def test_a_publication_is_taken_exactly_where_the_policy_says(site: BrokerSite, identity: str) -> None:
    """Refused by 0x87, and in nobody's hands; retained or not is the same to Mosquitto."""
    word = access.word_of(identity, is_strict=True)
    async with client(site, identity) as peer, client(site, AUDITOR, role="operator") as auditor:
        await auditor.subscribe("#", qos=0)
        cells = asked("publish", identity) + asked("retain", identity)
        for cell in cells:
            peer.send(Publish(cell.topic, b"x", 1, retain=cell.action == "retain", packet_id=1))
            answer = await peer.expect(PubAck)
            is_taken = answer.reason is not ReasonCode.NOT_AUTHORIZED
            assert is_taken == (cell.topic in word.publish), cell
            assert is_taken or not cell.is_allowed
        seen = {packet.topic for packet in await auditor.until_pong() if isinstance(packet, Publish)}
        assert seen == set(word.publish)


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("identity", access.IDENTITIES)
async def test_a_will_is_published_only_where_its_owner_may_publish(site: BrokerSite, identity: str) -> None:
    """It is refused when it is due: its connection has ended without a farewell."""
    word = access.word_of(identity, is_strict=True)
    context = site.context(identity)
    async with client(site, AUDITOR, role="operator") as auditor:
        await auditor.subscribe("#", qos=1)
        for cell in asked("will", identity):
            peer = await Peer.open(site.port, Version.V5, context)
            answer = await peer.connect(Connect("x", Version.V5, True, 60, Will(cell.topic, b"x", 1)))
            assert answer.reason is ReasonCode.SUCCESS
            await peer.drop()
        async with client(site, identity):  # the same name takes over: the last will is due before this
            pass
        seen = {packet.topic for packet in await auditor.until_pong() if isinstance(packet, Publish)}
    assert seen == set(word.publish)
    assert seen >= {cell.topic for cell in asked("will", identity) if cell.is_allowed}


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("identity", access.IDENTITIES)
async def test_what_is_delivered_is_what_the_policy_lets_an_identity_hear(
    site: BrokerSite, identity: str
) -> None:
    """Every SUBSCRIBE is granted; each subscription, shared or not, is then given what both filters match."""
    word = access.word_of(identity, is_strict=True)
    cells = asked("subscribe", identity) + asked("shared", identity)
    async with client(site, identity) as peer, client(site, AUDITOR, role="operator") as auditor:
        for number, cell in enumerate(cells, 1):
            peer.send(Subscribe(1, (Subscription(_alone(cell, number)),), _marked(number)))
            granted = await peer.expect(SubAck)
            assert granted.reasons == (ReasonCode.GRANTED_QOS_0,), cell
        for topic in WHOLE:
            auditor.send(Publish(topic, b"x", 1, packet_id=1))
            await auditor.expect(PubAck)
        heard: dict[int, set[str]] = {number: set() for number in range(1, len(cells) + 1)}
        for packet in await peer.until_pong():
            assert isinstance(packet, Publish)
            for number in packet.properties.subscription_identifiers:
                heard[number].add(packet.topic)
    for number, cell in enumerate(cells, 1):
        assert heard[number] == _due(cell, word), cell
        assert not cell.is_allowed or heard[number] == _matched(cell), cell


def _alone(cell: Cell, number: int) -> str:
    """Give a cell's filter, with a group of its own where it is shared."""
    return cell.topic.replace("$share/group/", f"$share/group-{number}/")


def _marked(number: int) -> Properties:
    """Mark a subscription, so that it can be told which one a message came by."""
    return Properties(subscription_identifiers=(number,))


def _matched(cell: Cell) -> set[str]:
    """Give the topics that a cell's filter means."""
    return {topic for topic in WHOLE if matches(cell.topic.removeprefix("$share/group/"), topic)}


def _due(cell: Cell, word: Word) -> set[str]:
    """Give those of them that the identity may hear."""
    return {topic for topic in _matched(cell) if any(matches(granted, topic) for granted in word.hear)}
