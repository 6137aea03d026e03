"""A network that plays a random schedule between the real uplink and a service: cuts, doubles, reorders.

Everything random comes from one seed. What happened is counted, so that a campaign can say what it did.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.receiver import GapError, StaleError
from coldseal.core.log.delivery.sender import RetryPolicy, Terms
from coldseal.core.log.delivery.wire import (
    Answer,
    Gap,
    Kind,
    Receipt,
    Refused,
    Stale,
    Unavailable,
    encode_receipt,
    parse_answer,
    parse_batch,
)
from coldseal.errors import TrustError, UnavailableError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.runner import Bell, Uplink
from coldseal.service.ledger import Ledger
from tests.sealed import COSIGNED, ORIGIN, cosigned, witness_key
from tests.service.bench import LEDGER_KEY, Bench
from tests.trial import STORE_KEY, Site

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.service.verification import Verifier

DEADLINE_S = 60.0
TERMS = Terms(witness_key(), batch_entries=8, retry=RetryPolicy(0.0001, 0.001))


class Service(Protocol):
    """Whatever takes batches."""

    async def take(self, body: bytes) -> Answer:
        """Take one."""

    async def restart(self) -> None:
        """End, as a kill does, and begin again."""

    async def entries(self) -> list[bytes]:
        """Give what is held, in order."""

    async def close(self) -> None:
        """End."""


class Real:
    """The real ingestion over a real ledger."""

    def __init__(self, site: Site, folder: Path, verifier: Verifier) -> None:
        """Open it."""
        self._site, self._folder, self._verifier = site, folder, verifier
        self._turn = asyncio.Lock()
        self._open()

    def _open(self) -> None:
        """Open the ledger and what stands over it."""
        self._ledger = Ledger.open(self._folder, LEDGER_KEY, limit_bytes=2**30)
        self._bench = Bench(self._site, self._ledger, self._verifier, is_verified_first=False)

    async def take(self, body: bytes) -> Answer:
        """Answer as the HTTP face does."""
        try:
            return parse_answer(200, encode_receipt(await self._bench.take(body)))
        except GapError as fault:
            return Gap(fault.size)
        except StaleError as fault:
            return Stale(fault.size)
        except TrustError as fault:
            return Refused(fault.verdict, str(fault))
        except UnavailableError as fault:
            return Unavailable(Kind.BUSY, str(fault), 1)
        except RuntimeError:  # its ledger was closed under it
            return Unavailable(Kind.UNREACHABLE, "the service ended")

    async def restart(self) -> None:
        """Begin again with what is on disk."""
        async with self._turn:
            await self._ledger.close()
            self._open()

    async def entries(self) -> list[bytes]:
        """Give what is held."""
        assert await self._ledger.evidence(ORIGIN) == []
        return await self._ledger.entries(ORIGIN, 0, 2**40)

    async def close(self) -> None:
        """Close the ledger."""
        await self._ledger.close()


class Careless:
    """A service double with a fault that a campaign must find.

    Args:
        fault: ``unchecked``: what comes twice is stored twice; ``over``: a batch now and then gets a receipt
            and is not stored.
        chance: decides when.
    """

    def __init__(self, fault: str, chance: Random) -> None:
        """Begin empty."""
        self._fault, self._chance = fault, chance
        self._held: list[bytes] = []

    async def take(self, body: bytes) -> Answer:
        """Cosign whatever comes in its place, or before it."""
        batch = parse_batch(body)
        size = parse_checkpoint_text(parse_note(batch.note).text).size
        if self._fault == "unchecked":
            self._held += batch.entries
        elif batch.first > len(self._held):
            return Gap(len(self._held))
        elif self._chance.random() > 1 / 4:
            self._held += batch.entries[len(self._held) - batch.first :]
        return Receipt(cosigned(batch.note), size, 0)

    async def restart(self) -> None:
        """Keep everything."""

    async def entries(self) -> list[bytes]:
        """Give what is held."""
        return self._held

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Network:
    """Carries batches as the seed says."""

    service: Service
    chance: Random
    did: Counter[str] = field(default_factory=Counter)
    _late: list[bytes] = field(default_factory=list)
    _cut: int = 0

    async def post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Carry one batch, or not, or twice, or later."""
        await asyncio.sleep(0)
        left.set()
        what = "partition" if self._cut else self._draw()
        self.did[what] += 1
        match what:
            case "partition":
                self._cut = self._cut - 1 if self._cut else self.chance.randrange(1, 6)
                return Unavailable(Kind.UNREACHABLE, "partition")
            case "lost request":
                return Unavailable(Kind.TIMEOUT, "lost")
            case "lost answer":
                await self.service.take(body)
                return Unavailable(Kind.UNREACHABLE, "cut")
            case "doubled":
                await self.service.take(body)
            case "late":
                self._late.append(body)
                return Unavailable(Kind.TIMEOUT, "late")
            case "reordered" if self._late:
                await self.service.take(self._late.pop(self.chance.randrange(len(self._late))))
            case "busy":
                return Unavailable(Kind.BUSY, "status 503", 1)
            case "restarted":
                await self.service.restart()
            case _:
                pass
        return await self.service.take(body)

    def _draw(self) -> str:
        """Choose what happens next."""
        weights = {
            "carried": 30,
            "partition": 5,
            "lost request": 10,
            "lost answer": 15,
            "doubled": 10,
            "late": 10,
            "reordered": 10,
            "busy": 5,
            "restarted": 5,
        }
        return self.chance.choices(list(weights), list(weights.values()))[0]


@dataclass
class Played:
    """What a schedule led to."""

    held: list[bytes]
    alarms: list[str]
    did: Counter[str]


async def play(site: Site, folder: Path, service: Service, chance: Random, size: int) -> Played:
    """Deliver a log of ``size`` entries through a schedule; gives what came of it."""
    network = Network(service, chance)
    with (
        closing(LogReader(site.gateway / "log", STORE_KEY)) as reader,
        closing(Receipts(folder, STORE_KEY)) as receipts,
    ):
        uplink = Uplink(
            reader,
            receipts,
            network.post,
            TERMS,
            bell=Bell(),
            chance=chance.random,
            now_ms=lambda: COSIGNED * 1000,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                while uplink.delivery.published < size and uplink.delivery.phase != "held":
                    await uplink.step()
        finally:
            uplink._drop()
            await uplink.close()
            held = await service.entries()
            await service.close()
        alarms = [each.verdict for each in receipts.cosignatures.evidence()]
    return Played(held, alarms, network.did)
