"""What stands beside the source of an external broker: order, session numbers, receipts, all together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coldseal.core.log.merkle import leaf_hash
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.brokering import ExternalBroker
from coldseal.gateway.clock import Clock
from coldseal.gateway.governance import open_policy
from coldseal.gateway.message import Message, Outcome
from coldseal.gateway.sources.broker import receipts as module
from coldseal.gateway.sources.broker.generation import Generation
from coldseal.gateway.sources.broker.order import InOrder
from coldseal.gateway.sources.broker.receipts import Receipts
from tests.gateway.parts import Answers, Hands, Parts, digest, open_parts, payload
from tests.gateway.sources.rig import Peer
from tests.mosquitto import SITE, BrokerSite, client, require_mosquitto, running, topic
from tests.waiting import until

RECEIPT = f"coldseal/v1/{SITE}/dev-1/receipt"


class Slow:
    """An intake that settles messages when it is told to."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.taken: list[Message] = []

    def settle(self, *outcomes: Outcome) -> None:
        """Settle the oldest messages so."""
        for outcome in outcomes:
            self.taken.pop(0).acknowledge(outcome, "")


@pytest.fixture
def answers() -> Answers:
    """Give what collects answers."""
    return Answers()


def offer(order: InOrder, answers: Answers, *names: str, qos: int = 1) -> None:
    """Offer messages by name."""
    for name in names:
        order.offer(answers.to(name, name.encode(), hands=Hands(), qos=qos))


def names(slow: Slow) -> list[bytes]:
    """Name what the intake has."""
    return [message.payload for message in slow.taken]


def test_no_more_go_in_than_may_be_under_way(answers: Answers) -> None:
    """The next goes in when one is settled, and the line says when it is long."""
    slow = Slow()
    order = InOrder(slow.taken.append, 2)
    offer(order, answers, "a", "b", "c")
    assert (names(slow), order.under_way, order.is_long) == ([b"a", b"b"], 2, False)
    offer(order, answers, "d")
    assert order.is_long
    slow.settle(Outcome.SEALED)
    assert (names(slow), order.is_long) == ([b"b", b"c"], False)
    assert answers.outcomes == [("a", Outcome.SEALED)]


def test_what_found_no_room_goes_before_what_came_later(answers: Answers) -> None:
    """While the line is blocked nothing goes in, and nobody is told BUSY."""
    slow = Slow()
    order = InOrder(slow.taken.append, 4)
    offer(order, answers, "a", "b")
    slow.settle(Outcome.BUSY, Outcome.BUSY)
    offer(order, answers, "c", "d", "e", "f", "g")
    assert (slow.taken, order.is_blocked, order.is_long, answers.given) == ([], True, False, [])
    order.try_again()
    assert names(slow) == [b"a", b"b", b"c", b"d"]
    slow.settle(Outcome.SEALED, Outcome.DUPLICATE)
    assert names(slow) == [b"c", b"d", b"e", b"f"]
    assert not order.is_blocked


def test_a_message_that_nobody_waits_for_is_not_kept_without_room(answers: Answers) -> None:
    """QoS 0; and behind a lost connection no message is."""
    slow = Slow()
    order = InOrder(slow.taken.append, 4)
    offer(order, answers, "a", qos=0)
    slow.settle(Outcome.BUSY)
    assert not order.is_blocked
    offer(order, answers, "b")
    order.close()
    slow.settle(Outcome.BUSY)
    order.try_again()
    assert slow.taken == []


def test_messages_that_are_settled_at_once_do_not_pile_up_on_the_stack(answers: Answers) -> None:
    """The intake answers from within its own call: ten thousand in a row."""
    order = InOrder(lambda message: message.acknowledge(Outcome.REJECTED, ""), 1)
    slow = Slow()
    blocked = InOrder(slow.taken.append, 1)
    offer(order, answers, *map(str, range(10_000)))
    assert len(answers.given) == 10_000
    offer(blocked, answers, *map(str, range(10_000)))
    assert blocked.under_way == 1


def test_each_session_numbers_its_messages_apart(tmp_path: Path) -> None:
    """Also over a restart; a file that is none begins the count anew."""
    path = tmp_path / "broker-session"
    first = Generation(path)
    assert (first.count, first.number(7)) == (0, 7)
    first.begin()
    again = Generation(path)
    assert (again.count, again.number(7)) == (1, 65_536 + 7)
    again.begin()
    assert Generation(path).number(65_535) == 3 * 65_536 - 1
    path.write_text("many")
    assert Generation(path).count == 0


def test_a_session_that_cannot_be_written_down_is_not_begun(tmp_path: Path) -> None:
    """Its numbers could be those of the one before."""
    generation = Generation(tmp_path / "gone" / "broker-session")
    with pytest.raises(UnavailableError, match="broker-session"):
        generation.begin()
    assert generation.count == 0


@asynccontextmanager
async def behind_a_broker(folder: Path) -> AsyncIterator[tuple[BrokerSite, Parts, ExternalBroker]]:
    """Run a broker, and all of what takes readings from it, in front of a real log."""
    require_mosquitto()
    site = BrokerSite(folder)
    config = site.config("broker.receipts=true")
    address = config.broker.address
    assert address is not None
    config.gateway.data.mkdir()
    async with running(site, "broker.receipts=true"), open_parts(folder / "log", Hands()) as parts:
        external = ExternalBroker(
            config,
            address,
            policy=open_policy(config),
            intake=parts.pipeline,
            clock=Clock(),
            metrics=parts.metrics,
            log=parts.log,
        )
        tasks = [asyncio.ensure_future(each) for each in (parts.pipeline.run(), *external.tasks())]
        try:
            await until(lambda: bool(external.status()["up"]))
            yield site, parts, external
        finally:
            await external.stop()
            parts.pipeline.stop()
            await tasks[0]
            for task in tasks[1:]:
                task.cancel()
            await asyncio.wait(tasks)


async def receipt(peer: Peer) -> dict[str, object]:
    """Wait for the next receipt."""
    message = await peer.message()
    assert message.topic == RECEIPT
    found: dict[str, object] = json.loads(message.payload)
    return found


async def test_a_device_gets_a_receipt_once_its_reading_is_sealed_and_again_when_it_asks_again(
    tmp_path: Path,
) -> None:
    """It names the device's own number and the leaf hash of the entry, so that both can be checked later."""
    async with behind_a_broker(tmp_path) as (site, parts, external), client(site, "dev-1") as peer:
        external.tick()
        await peer.subscribe(RECEIPT, qos=1)
        for _ in range(2):
            await peer.publish(topic(), payload(41, boot="b1"))
            found = await receipt(peer)
            (entry,) = parts.entries("reading")
            assert found == {
                "boot": "b1",
                "entry": entry.seq,
                "leaf": leaf_hash(entry.raw).hex(),
                "log": entry.log,
                "seq": 41,
                "sha256": digest(payload(41, boot="b1")),
                "taken": True,
                "v": 1,
            }
        await peer.publish(topic(), b"no reading")
        refused = await receipt(peer)
        assert (refused["taken"], refused["sha256"]) == (False, digest(b"no reading"))


async def test_receipts_of_the_run_before_are_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device asks after a restart; more than is remembered is forgotten, and no failure stops it."""
    monkeypatch.setattr(module, "REMEMBERED", 4)
    given: list[tuple[str, bytes]] = []
    async with open_parts(tmp_path, Hands()) as parts:
        run = asyncio.ensure_future(parts.pipeline.run())
        answers = Answers()
        for number in range(6):
            parts.pipeline.submit(answers.to(str(number), payload(number), hands=Hands()))
        await answers.reach(6)
        fails = [True]

        def read(first: int, most: int) -> list[bytes]:
            """Read the log, but not at first."""
            if fails:
                fails.clear()
                raise UnavailableError("the log", "it is pruned there")
            return parts.log.reader.read(first, max_entries=most)

        def publish(to: str, text: bytes) -> bool:
            """Take down what is published."""
            given.append((to, text))
            return True

        late = Receipts(SITE, read=read, size=lambda: 0, publish=publish)
        early = Receipts(SITE, read=read, size=lambda: parts.log.size, publish=publish)
        tasks = [asyncio.ensure_future(each.run()) for each in (early, late)]
        early.settled("dev-1", payload(5), Outcome.DUPLICATE)
        await until(lambda: not fails)
        parts.pipeline.submit(answers.to("6", payload(6), hands=Hands()))
        await answers.reach(7)
        for number in (0, 1, 2, 3, 4, 6):
            early.settled("dev-1", payload(number), Outcome.SEALED)
        await until(lambda: bool(given))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        parts.pipeline.stop()
        await run
    assert [json.loads(text)["seq"] for _, text in given] == [6]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('broker.key=""', r"broker\.key is missing"),
        ("broker.retry_max_s=0.01", r"broker\.retry_max_s is 0\.01"),
        ('broker.address=""', "mqtt has no listener"),
        ("broker.receive_maximum=0", r"broker\.receive_maximum"),
    ],
)
def test_a_broker_that_could_not_be_used_is_refused_at_the_start(
    tmp_path: Path, override: str, message: str
) -> None:
    """With the key and the cure."""
    with pytest.raises(OperatorError, match=message):
        BrokerSite(tmp_path).config(override)


def test_the_broker_is_an_endpoint_like_every_other_way_out(tmp_path: Path) -> None:
    """Where there is a list of endpoints, it must stand in it."""
    site = BrokerSite(tmp_path)
    with site.config_file.open("a") as file:
        file.write('[[egress.allow]]\nhost = "elsewhere"\n')
    with pytest.raises(OperatorError, match=r"broker\.address is .* not in egress\.allow"):
        site.config()


async def test_a_broker_whose_key_is_not_pinned_is_told_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The handshake ends before the greeting; the refusal is an event, and it is tried again."""
    require_mosquitto()
    site = BrokerSite(tmp_path)
    with site.config_file.open("a") as file:
        file.write(f'[[egress.allow]]\nhost = "localhost"\nport = {site.port}\npins = ["{"A" * 43}="]\n')
    config = site.config()
    address = config.broker.address
    assert address is not None
    config.gateway.data.mkdir()
    async with running(site) as broker, open_parts(tmp_path / "log", Hands()) as parts:
        external = ExternalBroker(
            config,
            address,
            policy=open_policy(config),
            intake=parts.pipeline,
            clock=Clock(),
            metrics=parts.metrics,
            log=parts.log,
        )
        (run,) = [asyncio.ensure_future(each) for each in external.tasks()]
        name = "coldseal_gateway_broker_failures_total"
        await until(lambda: (parts.metrics.registry.get_sample_value(name) or 0) >= 2)
        await external.stop()
        await run
        assert b"gw-1" not in broker.log.read_bytes()
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["cause"] for line in said if line["event"] == "egress.refused"] == ["pin"]
