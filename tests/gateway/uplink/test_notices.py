"""A fresh alarm does not wait behind a backlog: it is told ahead, and delivered in its order all the same."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

from coldseal.core.log.delivery.notices import Finder, Request, Told, parse_notices
from coldseal.core.log.delivery.sender import Phase, Terms, begin
from coldseal.core.log.delivery.wire import Answer, Kind, Refused, Unavailable
from coldseal.core.log.record import Chain, parse_entry
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.log import Log as Store
from coldseal.gateway.store.space import Limits
from coldseal.gateway.uplink.https import Channel, NoticeChannel
from coldseal.gateway.uplink.notices import STRETCH, Announcer
from coldseal.gateway.uplink.runner import Bell, Post
from coldseal.service.app import Service
from tests.gateway.uplink.deliveries import RETRY, Delivering, delivering_by, grown
from tests.gateway.uplink.test_faults import port_of, verify_delivered
from tests.gateway.uplink.test_process import configure as write_configuration
from tests.gateway.uplink.test_process import outcome, program, published
from tests.sealed import ORIGIN, SealedLog
from tests.trial import STORE_KEY, Site
from tests.waiting import until

URGENT = ("excursion", "alarm", "gap", "clock")


@dataclass
class Desk:
    """Answers notices as it is told, and keeps them."""

    answers: list[Unavailable] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    async def post(self, body: bytes) -> Told | Unavailable:
        """Take a request down."""
        self.requests.append(request := parse_notices(body))
        if self.answers:
            return self.answers.pop(0)
        return Told(frozenset(seqs(request)) - self.refused.keys(), self.refused)


def seqs(request: Request) -> list[int]:
    """Name the entries of a request in its order."""
    return [parse_entry(each.raw).seq for each in request.notices]


@dataclass
class Gate:
    """A way of batches that can be closed: a link that is too slow for them."""

    way: Post | None = None
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Answer | None = None

    async def post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Let a batch through once the gate is open."""
        if self.answer is not None:
            return self.answer
        await self.is_open.wait()
        assert self.way is not None
        return await self.way(body, left)


@asynccontextmanager
async def announcing(
    site: Site, up: Delivering, post: object, *, batch_entries: int = 100, is_met: bool = True
) -> AsyncIterator[Bell]:
    """Run what tells, beside an uplink that has got a receipt before."""
    bell = Bell()
    up.uplink.is_met |= is_met
    announcer = Announcer(
        up.uplink,
        site.reader(),
        post,  # type: ignore[arg-type] # a way of either kind
        Terms(site.witness, batch_entries, RETRY),
        Finder(URGENT),
        bell=bell,
        chance=lambda: 0.5,
    )
    running = asyncio.ensure_future(announcer.run())
    try:
        yield bell
    finally:
        running.cancel()
        await asyncio.wait([running])


def announced(service: Service) -> list[int]:
    """Name what the service shows as told and not yet come, newest first."""
    return [each.seq for each in service._ledger._store.announced.of(ORIGIN)]


async def test_a_fresh_alarm_overtakes_a_backlog(site: Site, log: SealedLog) -> None:
    """Newest first while readings wait; then all come in order, and each notice is confirmed."""
    grown(log, *[50] * 5)
    log.seal("alarm", {"sensor": "probe-1"})
    await site.store(grown(log, *[50] * 5))
    async with site.running() as service:
        where = f"https://localhost:{port_of(service.address)}"
        async with (
            Channel(where, site.context(), timeout_s=5) as channel,
            NoticeChannel(where, site.context(), timeout_s=5) as side,
        ):
            gate = Gate(channel.post)
            async with delivering_by(site, gate.post) as up, announcing(site, up, side.post) as bell:
                await until(lambda: announced(service) == [251])
                log.seal("excursion", {"sensor": "probe-1"})
                await site.store(grown(log, 3))
                bell.grow()
                await until(lambda: announced(service) == [502, 251])
                assert (up.uplink.delivery.published, service._totals.size) == (0, 0)
                gate.is_open.set()
                up.bell.grow()
                await up.published(506)
                await until(lambda: announced(service) == [])
        metric = ("coldseal_service_notices_total", {"result": "confirmed"})
        assert service._metrics.registry.get_sample_value(*metric) == 2

    await verify_delivered(site, log)


async def test_what_comes_with_the_next_batch_is_not_told(site: Site, log: SealedLog) -> None:
    """Without a backlog there is nothing to overtake."""
    log.grow(20).seal("alarm", {"sensor": "probe-1"})
    await site.store(grown(log, 20))
    desk = Desk()
    async with delivering_by(site, Gate().post) as up, announcing(site, up, desk.post) as bell:
        for _ in range(20):
            bell.grow()
            await asyncio.sleep(0)
        await until(lambda: up.uplink.delivery.phase is Phase.SENDING)
        assert desk.requests == []
        log.seal("alarm", {"sensor": "probe-2"})
        await site.store(grown(log, 100))
        bell.grow()
        log.seal("alarm", {"sensor": "probe-3"})
        await site.store(grown(log, 100))
        bell.grow()
        await until(lambda: any(143 in seqs(each) for each in desk.requests))

    assert {seq for each in desk.requests for seq in seqs(each)} == {143}, "42 comes with the next batch"


async def test_a_long_backlog_is_looked_through_from_its_end(site: Site, log: SealedLog) -> None:
    """A stretch at a time; each urgent entry once, with its proof where a checkpoint covers it."""
    per = STRETCH // 2
    for _ in range(12):
        log.grow(per).seal("alarm", {"sensor": "probe-1"})
        log.checkpoint()
    log.seal("alarm", {"sensor": "tail"})
    log.grow(3).checkpoint()
    await site.store(log)
    desk = Desk()
    async with delivering_by(site, Gate().post) as up, announcing(site, up, desk.post) as bell:
        want = [seq for seq, raw in enumerate(log.entries) if b'"kind":"alarm"' in raw]

        def told() -> bool:
            bell.grow()
            return sum(len(each.notices) for each in desk.requests) == len(want)

        await until(told)

    found = [seq for each in desk.requests for seq in seqs(each)]
    assert found == sorted(want, reverse=True)
    assert all(each.note and notice.proof for each in desk.requests for notice in each.notices)


async def test_an_alarm_behind_the_last_checkpoint_is_told_without_a_proof(
    site: Site, log: SealedLog
) -> None:
    """Its own signature is enough."""
    grown(log, *[50] * 5)
    await site.store(log)
    desk = Desk()
    async with delivering_by(site, Gate().post) as up, announcing(site, up, desk.post) as bell:
        log.seal("alarm", {"sensor": "probe-1"})
        log.notes[log.size] = b""
        await store_without_checkpoint(site, log)
        bell.grow()
        await until(lambda: bool(desk.requests))

    assert desk.requests[0].notices[0].proof is None
    assert desk.requests[0].note


async def store_without_checkpoint(site: Site, log: SealedLog) -> None:
    """Write the newest entries into the gateway's store as they are."""
    new = Chain(log.origin, log.keys.record.kid)
    store = Store.open(site.gateway / "log", STORE_KEY, Limits(), new=new, now_ms=0)
    try:
        await store.commit(Group(entries=log.entries[store.size :], chain=log.chain_at(log.size)))
    finally:
        await store.close()


async def test_a_service_that_cannot_take_notices_is_asked_again_later(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """In silence: the loss of the service is told by delivery, once."""
    log.grow(200).seal("alarm", {"sensor": "probe-1"})
    await site.store(grown(log, 1))
    desk = Desk([Unavailable(Kind.UNREACHABLE, "down")] * 3)
    async with delivering_by(site, Gate().post) as up, announcing(site, up, desk.post):
        await until(lambda: len(desk.requests) == 4)

    assert [seqs(each) for each in desk.requests] == [[201]] * 4
    assert lines.getvalue() == ""


async def test_a_notice_that_is_refused_is_told_once_and_left(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """Such as one by a key that the service does not know yet."""
    log.grow(200).seal("alarm", {"sensor": "probe-1"})
    await site.store(grown(log, 1))
    desk = Desk(refused={201: "wrong-key"})
    async with delivering_by(site, Gate().post) as up, announcing(site, up, desk.post) as bell:
        await until(lambda: bool(desk.requests))
        log.seal("alarm", {"sensor": "probe-2"})
        await site.store(grown(log, 1))
        bell.grow()
        await until(lambda: len(desk.requests) == 2)

    assert [seqs(each) for each in desk.requests] == [[201], [203]]
    assert lines.getvalue().count("notice.not-taken") == 2, "the answer named it twice"


async def test_nothing_is_told_while_delivery_is_held(site: Site, log: SealedLog) -> None:
    """A proof failed: a person looks first."""
    log.grow(200).seal("alarm", {"sensor": "probe-1"})
    await site.store(grown(log, 1))
    desk, gate = Desk(), Gate(answer=Refused("fork", ""))
    async with delivering_by(site, gate.post) as up:
        await until(lambda: up.uplink.delivery.phase is Phase.HELD)
        async with announcing(site, up, desk.post) as bell:
            for _ in range(20):
                bell.grow()
                await asyncio.sleep(0)
    assert desk.requests == []


async def test_nothing_is_told_before_the_first_receipt(site: Site, log: SealedLog) -> None:
    """Until then this may be a disk that was put back: the service knows another log."""
    await site.store(grown(log, 50))
    desk = Desk()
    async with site.running() as service:
        where = f"https://localhost:{port_of(service.address)}"
        async with Channel(where, site.context(), timeout_s=5) as channel:
            gate = Gate(channel.post)
            async with (
                delivering_by(site, gate.post) as up,
                announcing(site, up, desk.post, is_met=False) as bell,
            ):
                log.grow(200).seal("alarm", {"sensor": "probe-1"})
                await site.store(grown(log, 1))
                for _ in range(20):
                    bell.grow()
                    await asyncio.sleep(0)
                assert desk.requests == []
                gate.is_open.set()
                await up.published(log.size)
    assert up.uplink.is_met


async def test_a_log_that_cannot_be_read_now_is_looked_at_later(site: Site, log: SealedLog) -> None:
    """As before the gateway has made it."""
    desk = Desk()
    async with delivering_by(site, Gate().post) as up, announcing(site, up, desk.post) as bell:
        bell.grow()
        log.grow(200).seal("alarm", {"sensor": "probe-1"})
        await site.store(grown(log, 200))
        bell.grow()
        await until(lambda: bool(desk.requests))


async def test_a_backlog_that_is_soon_gone_is_not_looked_through(site: Site, log: SealedLog) -> None:
    """As fast as it goes, each alarm comes in its order before a person has read the notice."""
    grown(log, *[50] * 5)
    log.seal("alarm", {"sensor": "probe-1"})
    await site.store(grown(log, 50))
    async with delivering_by(site, Gate().post) as up:
        with closing(site.reader()) as reader:
            terms = Terms(site.witness, 10, RETRY)
            announcer = Announcer(
                up.uplink, reader, Desk().post, terms, Finder(URGENT), bell=Bell(), chance=lambda: 0.5
            )
            found = [announcer._prepare(begin(size)) for size in (1, 10, 100, 100)]

    assert [bool(each) for each in found] == [True, True, False, True]


async def test_no_urgent_kinds_tell_nothing(site: Site, log: SealedLog) -> None:
    """It is a setting; one that names no kind is refused at the start."""
    await site.store(grown(log, 5))
    async with (
        site.running() as service,
        program(str(write_configuration(site, port_of(service.address))), "uplink.urgent=[]"),
    ):
        await until(lambda: published(site) == 6)
    path = write_configuration(site, 1)
    path.write_text(path.read_text() + 'urgent = ["alarmm"]\n')
    code, said = await outcome(path)
    assert code == 2
    assert "uplink.urgent" in said
