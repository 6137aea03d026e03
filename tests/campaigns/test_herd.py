"""Many gateways come back at once: the service puts off whom it cannot take now, and all are served.

500 delivery machines in virtual time against a model of a service that takes so many at one time, and 50 over
real TLS against the real program. COLDSEAL_SEED plays a run again.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import aiohttp
import pytest

from coldseal.core.log.checkpoint import Checkpoint, parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.sender import Delivery, Event, Phase, RetryPolicy, Terms, begin, settle
from coldseal.core.log.delivery.wire import Answer, Kind, Receipt, Unavailable
from coldseal.demo.programs import Program, free_ports
from coldseal.gateway.uplink.https import Channel
from coldseal.identity.contexts import client_context
from coldseal.service.api import RETRY_AFTER_S
from tests.campaigns.figures import say
from tests.sealed import SealedLog, cosigned, new_keys, witness_key
from tests.trial import Site, now

SEED = int(os.environ.get("COLDSEAL_SEED", "1"))
GATEWAYS = 500
BATCHES = 4
MOST = 64
BATCH_S = 0.02
RETRY = RetryPolicy()
TERMS = Terms(witness_key(), batch_entries=10, retry=RETRY)

Chance = Callable[[], float]


@dataclass
class Herd:
    """Gateways with a backlog, and a service that takes one batch after the other and lets so many wait.

    Args:
        chance: gives a number in [0, 1).
        away_s: how long the service was away; 0: all begin in the same instant.
        sent: checkpoints at which batches end, the same for each gateway.
        receipts: for them.
        terms: of every gateway.
    """

    chance: Chance
    away_s: float
    sent: list[Checkpoint]
    receipts: list[Receipt]
    terms: Terms = TERMS
    asked: Counter[int] = field(default_factory=Counter)
    put_off: int = 0
    done: int = 0
    ended_s: float = 0.0

    def play(self) -> None:
        """Let everybody deliver everything; times are virtual seconds from the service's return."""
        order, waiting = count(), list[tuple[float, int, Delivery]]()
        for _ in range(GATEWAYS):
            at, delivery = self._wait_out()
            heapq.heappush(waiting, (at, next(order), delivery))
        inside: list[float] = []
        while waiting:
            at, _, delivery = heapq.heappop(waiting)
            inside = [end for end in inside if end > at]
            self.asked[int(at)] += 1
            answer: Answer
            if len(inside) >= MOST:
                self.put_off += 1
                answer, end = Unavailable(Kind.BUSY, "busy", RETRY_AFTER_S), at
            else:
                end = max(inside, default=at) + BATCH_S
                inside.append(end)
                answer = self.receipts[delivery.published // 10]
            delivery, delay_s = self._settle(delivery, answer)
            self.ended_s = max(self.ended_s, end)
            if delivery.published == BATCHES * 10:
                self.done += 1
            else:
                heapq.heappush(waiting, (end + delay_s, next(order), delivery))

    def tell(self) -> None:
        """Give the figures."""
        say(
            f"away {self.away_s:.0f} s: {max(self.asked.values())} asked in a second, "
            f"{self.put_off} put off, all in {self.ended_s:.0f} s, seed {SEED}"
        )

    def _wait_out(self) -> tuple[float, Delivery]:
        """Give when a gateway asks first once the service is back, and what it has come to until then."""
        delivery, at = begin(0), -self.away_s
        while at < 0:
            delivery, delay_s = self._settle(delivery, Unavailable(Kind.UNREACHABLE, "down"))
            at += delay_s
        return at, delivery

    def _settle(self, delivery: Delivery, answer: Answer) -> tuple[Delivery, float]:
        """Take one answer to the next batch, and wait; gives the wait."""
        after, step = settle(
            delivery.after(Event.CHOSEN),
            self.sent[delivery.published // 10],
            answer,
            self.terms,
            log_size=BATCHES * 10,
            chance=self.chance(),
        )
        assert step.alarm is None
        return (after.after(Event.DUE) if after.phase is Phase.WAITING else after), step.delay_s


def sent_of(note: bytes) -> Checkpoint:
    """Read the checkpoint that was sent."""
    return parse_checkpoint_text(parse_note(note).text)


def herd(chance: Chance, *, away_s: float, terms: Terms = TERMS) -> Herd:
    """Play a return."""
    log = SealedLog()
    notes = []
    for _ in range(BATCHES):
        log.grow(10 - log.size % 10)
        notes.append(log.checkpoint())
    receipts = [Receipt(cosigned(note), sent_of(note).size, 0) for note in notes]
    made = Herd(chance, away_s, [sent_of(note) for note in notes], receipts, terms)
    made.play()
    made.tell()
    return made


IDEAL_S = GATEWAYS * BATCHES * BATCH_S


def judge_return(found: Herd) -> None:
    """All are served, as soon as can be, and few ask in the same second."""
    assert found.done == GATEWAYS
    assert max(found.asked.values()) < GATEWAYS / 5, f"crowded, with seed {SEED}"
    assert found.ended_s < IDEAL_S + 2 * RETRY.max_s


def judge_start(found: Herd) -> None:
    """All are served though they began in the same instant, and they part soon."""
    assert found.done == GATEWAYS
    later = [asked for second, asked in found.asked.items() if second > 10]
    assert max(later) < GATEWAYS / 2, f"crowded, with seed {SEED}"
    assert found.put_off < 6 * GATEWAYS, f"hammered, with seed {SEED}"
    assert found.ended_s < IDEAL_S + 2 * RETRY.max_s


def test_after_an_outage_500_gateways_come_back_spread_out() -> None:
    """Their waits have grown to a minute, and each is drawn: few ask in the same second."""
    judge_return(herd(Random(SEED).random, away_s=1_800))


def test_500_gateways_that_begin_in_the_same_instant_are_all_served() -> None:
    """As after a power cut: who is put off waits as long as it was asked to, and longer each time."""
    judge_start(herd(Random(SEED).random, away_s=0))


def test_without_jitter_the_herd_is_seen() -> None:
    """A seeded fault: waits that are not drawn bring all back in the same second, again and again."""
    found = herd(lambda: 0.999, away_s=1_800)

    assert max(found.asked.values()) >= GATEWAYS
    with pytest.raises(AssertionError, match="crowded"):
        judge_return(found)


def test_waits_that_do_not_grow_are_seen() -> None:
    """A seeded fault: gateways that come back after the same short wait ask again and again."""
    steady = Terms(witness_key(), batch_entries=10, retry=RetryPolicy(max_s=RETRY.initial_s))

    with pytest.raises(AssertionError, match="crowded"):
        judge_return(herd(Random(SEED).random, away_s=10, terms=steady))
    with pytest.raises(AssertionError, match=r"crowded|hammered"):
        judge_start(herd(Random(SEED).random, away_s=0, terms=steady))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_500_gateways_come_back_fifty_times() -> None:
    """After outages of a minute to an hour: longer ones differ no more."""
    chance = Random(SEED)
    busiest = 0
    for _ in range(50):
        found = herd(chance.random, away_s=chance.uniform(60, 3_600))
        assert found.done == GATEWAYS
        busiest = max(busiest, *found.asked.values())
    assert busiest < GATEWAYS / 3, f"seed {SEED}"


@dataclass
class Caller:
    """One gateway over real TLS."""

    log: SealedLog
    context: Path
    put_off: list[int] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    async def deliver(self, site: Site, port: int, chance: Random, ready: asyncio.Barrier) -> None:
        """Deliver two batches, as the machine says."""
        retry = RetryPolicy(initial_s=0.2, max_s=3.0)
        terms = Terms(site.witness, 100, retry)
        delivery = begin(0)
        context = client_context(self.context, self.context.with_suffix(".key"), site.trust)
        async with Channel(f"https://localhost:{port}", context, timeout_s=30) as channel:
            await ready.wait()
            for size in sorted(self.log.notes):
                while delivery.published < size:
                    body = self.log.body(delivery.cursor, size)
                    answer = await channel.post(body, asyncio.Event())
                    if isinstance(answer, Unavailable):
                        self.failed[answer.kind] += 1
                        self.put_off += [answer.after_s] if answer.after_s else []
                    delivery, step = settle(
                        delivery.after(Event.CHOSEN),
                        sent_of(self.log.notes[size]),
                        answer,
                        terms,
                        log_size=self.log.size,
                        chance=chance.random(),
                    )
                    assert step.alarm is None
                    if delivery.phase is Phase.WAITING:
                        await asyncio.sleep(step.delay_s)
                        delivery = delivery.after(Event.DUE)


@pytest.mark.timeout(180)
async def test_50_gateways_at_once_over_tls_are_put_off_and_all_served(tmp_path: Path) -> None:
    """The real service takes four at a time; nobody is cut in the middle of a body."""
    site = Site(tmp_path)
    callers = []
    for number in range(50):
        name = f"gw-{number:04}"
        path = (
            site.certificates["gateway"] if number == 1 else site.authority.issue("gateway", name, now=now())
        )
        log = SealedLog(origin=f"coldseal.example/site-7/{name}", gateway=name, keys=new_keys())
        for _ in range(2):
            log.grow(60).checkpoint()
        site.admit(log)
        callers.append(Caller(log, path))
    port, health = free_ports(2)
    site.config()
    settings = (
        f"service.listen=127.0.0.1:{port}",
        f"http.listen=127.0.0.1:{health}",
        "service.max_requests=4",
    )
    options = [part for setting in settings for part in ("--set", setting)]
    path = site.service / "service.toml"
    ready, chance = asyncio.Barrier(len(callers)), Random(SEED)
    async with (
        aiohttp.ClientSession() as http,
        Program("service", ("service", "run", str(path), *options), tmp_path, health) as service,
    ):
        await service.ready(http, within_s=30)
        async with asyncio.TaskGroup() as tasks:
            for each in callers:
                tasks.create_task(each.deliver(site, port, chance, ready))
    put_off = [after_s for each in callers for after_s in each.put_off]
    failed = sum((each.failed for each in callers), Counter[str]())
    say(f"50 gateways over TLS: {len(put_off)} times put off, seed {SEED}")
    assert put_off
    assert set(put_off) == {RETRY_AFTER_S}
    assert set(failed) == {Kind.BUSY}, "whoever was put off was told so"
    async with site.ledger() as ledger:
        for each in callers:
            assert ledger.entries(each.log.origin, 0, 2**40) == each.log.entries
