"""The network between uplink and service: it delays, drops, doubles, puts out of order, cuts and parts.

Passes requests to whatever service there is, and never changes a byte of one; what makes no sense comes from
somebody who answers in the service's place. Every wait has an end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from coldseal.core.log.delivery.wire import (
    Answer,
    Kind,
    Unavailable,
    encode_receipt,
    encode_refusal,
    parse_answer,
    parse_batch,
)
from coldseal.core.log.delivery.wire import Receipt as WireReceipt
from coldseal.demo.chance import happens
from coldseal.errors import InputError

if TYPE_CHECKING:
    from random import Random

    from coldseal.demo.world.observer import Observer
    from coldseal.demo.world.trace import Trace

TIMEOUT_S: Final = 4.0
"""Time for a batch and its answer."""


class Reply(NamedTuple):
    """What comes over the wire."""

    status: int
    body: bytes


class Serves(Protocol):
    """Who is at the other end."""

    async def answer(self, body: bytes) -> Reply:
        """Answer a batch; ConnectionError if nobody is there, or is there no longer."""


class Network:
    """The way to the service.

    Args:
        chance: draws what becomes of each request.
        trace: where it is noted.
        observer: sees the checkpoints that go by.
        service: who is at the other end.

    Attributes:
        parted: how many partitions there are: with any, nothing gets through.
        roughness: the chance of each kind of harm, for each request.
        is_mad: somebody else answers.
    """

    def __init__(self, chance: Random, trace: Trace, observer: Observer, service: Serves) -> None:
        """Begin in good order."""
        self._chance, self._trace, self._observer, self._service = chance, trace, observer, service
        self.parted = 0
        self.is_mad = False
        self.roughness = 0.0
        self._answered: Reply | None = None
        self._under_way: set[asyncio.Task[Reply]] = set()

    async def post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Send a batch, as the uplink's own channel does, and give what comes back."""
        batch = parse_batch(body)
        self._observer.saw(batch.note)
        self._trace.note("batch", batch.first, len(batch.entries))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, found = await self._carry(body, left)
            answer = parse_answer(status, found)
        except TimeoutError:
            answer = Unavailable(Kind.TIMEOUT, "no answer in time")
        except InputError as fault:
            answer = Unavailable(Kind.REFUSED, str(fault))
        except ConnectionError as fault:
            answer = Unavailable(Kind.UNREACHABLE, str(fault))
        self._trace.note("answer", type(answer).__name__, getattr(answer, "size", ""))
        return answer

    async def _carry(self, body: bytes, left: asyncio.Event) -> Reply:
        """Carry a request there and the answer back, if both get through."""
        await self._pass(there=True)
        left.set()
        if self.is_mad:
            return self._nonsense(body)
        task = self._serve(body)
        if self._strikes():  # a proxy sends it once more, whenever that arrives
            self._trace.note("doubled")
            asyncio.get_running_loop().call_later(self._delay(), self._serve, body)
        reply = await asyncio.shield(task)
        await self._pass(there=False)
        if self._strikes():
            self._trace.note("halved")
            reply = Reply(reply.status, reply.body[: len(reply.body) // 2])
        if self._strikes() and self._answered is not None:
            self._trace.note("mixed-up")
            reply, self._answered = self._answered, reply
        else:
            self._answered = reply
        return reply

    async def _pass(self, *, there: bool) -> None:
        """Take one way, or get lost on it."""
        await asyncio.sleep(self._delay())
        if self.parted or self._strikes():
            self._trace.note("lost", "request" if there else "answer")
            if happens(self._chance, 0.5):  # silence before the cut
                await asyncio.sleep(2 * TIMEOUT_S)
            raise ConnectionResetError("the connection was cut")

    def _serve(self, body: bytes) -> asyncio.Task[Reply]:
        """Let the service answer; whoever asked may be gone by then."""
        task = asyncio.ensure_future(self._service.answer(body))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Reply]) -> None:
        """Forget a request that was answered."""
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()

    def _strikes(self) -> bool:
        """Draw whether a kind of harm strikes."""
        return happens(self._chance, self.roughness)

    def _delay(self) -> float:
        """Draw how long one way takes: when it is rough, sometimes longer than anybody waits."""
        longest = 0.02 if not self._strikes() else 2 * TIMEOUT_S
        return self._chance.random() * longest

    def _nonsense(self, body: bytes) -> Reply:
        """Answer what no service would."""
        first = parse_batch(body).first
        replies = (
            Reply(500, b"Internal Server Error"),
            Reply(200, b"<html>Log in to the hotel's network</html>"),
            Reply(200, encode_receipt(WireReceipt(b"no note", 7, 0))),
            Reply(200, self._answered.body if self._answered else b"{}"),
            Reply(409, b"{}"),
            Reply(409, encode_refusal("stale", size=first)),
            Reply(409, encode_refusal("gap", size=first // 2)),
            Reply(409, encode_refusal("gap", size=10**9)),
            Reply(422, encode_refusal("fork", detail="or so it says")),
            Reply(403, encode_refusal("not-admitted")),
            Reply(503, b""),
        )
        chosen = self._chance.choice(replies)
        self._trace.note("nonsense", chosen.status)
        return chosen
