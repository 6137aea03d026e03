"""Before anything is sent, the two logs are compared; only what is proven counts."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.checkpoint import Checkpoint, CheckpointSignatureError
from coldseal.core.log.delivery.wire import Answer, Gap, Kind, Receipt, Refused, Unavailable
from coldseal.errors import UnavailableError
from coldseal.gateway.refusal import read_refusal
from coldseal.gateway.uplink.contact import RECEIPTS, Contact, ask_note, disagreement
from tests.sealed import ORIGIN, SealedLog, cosigned, new_keys, witness_key
from tests.trial import Site, url

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 6


class Line:
    """A way to a service that takes everything, and says what it is told to."""

    def __init__(self, site: Site, ask: Callable[[], bytes | None]) -> None:
        """Begin with nothing sent."""
        self.sent: list[bytes] = []
        self.asked = 0
        self.answer: Answer = Receipt(b"", 0, 0)
        self._ask = ask
        self.contact = Contact(
            self._post,
            self._asked,
            site.reader,
            origin=ORIGIN,
            witness=witness_key(),
            data=site.gateway,
            now_ms=lambda: 1,
        )

    def _asked(self) -> bytes | None:
        """Count, and answer."""
        self.asked += 1
        return self._ask()

    async def _post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Take a batch."""
        self.sent.append(body)
        left.set()
        return self.answer

    async def post(self) -> Answer:
        """Send a batch."""
        return await self.contact.post(b"batch", asyncio.Event())


async def ask(address: str, origin: str, context: ssl.SSLContext, timeout_s: float = 5) -> bytes | None:
    """Ask beside the loop, as the programs do."""
    return await asyncio.to_thread(ask_note, address, origin, context, timeout_s=timeout_s)


@pytest.fixture
async def held(site: Site, log: SealedLog) -> SealedLog:
    """Give the log on disk: six entries, with a checkpoint."""
    log.grow(SIZE - 1).checkpoint()
    await site.store(log)
    return log


def away() -> bytes:
    """Be a service that is not there."""
    raise UnavailableError("the service", "no answer in time")


async def test_a_known_state_opens_the_way_once(site: Site, held: SealedLog) -> None:
    """The next batch needs no question; after a broken line there is one again."""
    line = Line(site, lambda: cosigned(held.notes[SIZE]))
    assert isinstance(await line.post(), Receipt)
    assert isinstance(await line.post(), Receipt)
    assert (line.asked, len(line.sent)) == (1, 2)
    line.answer = Unavailable(Kind.TIMEOUT, "")
    await line.post()
    await line.post()
    assert line.asked == 2


async def test_a_service_without_a_receipt_may_be_sent_to(site: Site, held: SealedLog) -> None:
    """It has nothing to compare with."""
    assert held.size == SIZE
    line = Line(site, lambda: None)
    assert isinstance(await line.post(), Receipt)


async def test_a_service_that_is_away_is_asked_again(site: Site, held: SealedLog) -> None:
    """The batch fails by itself, or does not."""
    assert held.size == SIZE
    line = Line(site, away)
    await line.post()
    await line.post()
    assert line.asked == 2
    assert read_refusal(site.gateway) is None


async def test_a_longer_log_at_the_service_stops_everything(site: Site, held: SealedLog) -> None:
    """Nothing is sent, and the proof is on disk."""
    longer = held.copy().grow(4)
    line = Line(site, lambda: cosigned(longer.checkpoint()))
    answer = await line.post()
    assert isinstance(answer, Refused)
    assert answer.verdict == "rolled-back"
    assert line.sent == []
    found = read_refusal(site.gateway)
    assert found is not None
    assert (found.held, found.known, found.source) == (SIZE, SIZE + 4, "service")
    assert found.note.encode() == cosigned(longer.notes[SIZE + 4])


@pytest.mark.parametrize("answer", [Refused("fork", ""), Gap(3)])
async def test_an_answer_that_surprises_has_the_logs_compared_again(
    site: Site, held: SealedLog, answer: Answer
) -> None:
    """The disk may have been put back beneath a running gateway."""
    notes = [cosigned(held.notes[SIZE])]
    longer = held.copy().grow(4)
    line = Line(site, lambda: notes[-1])
    await line.post()
    notes.append(cosigned(longer.checkpoint()))
    line.answer = answer
    assert await line.post() == answer
    assert read_refusal(site.gateway) is not None


async def test_a_claim_without_proof_does_not_stop_a_gateway(site: Site, held: SealedLog) -> None:
    """Delivery is held, and readings go on being taken in."""
    longer = held.copy().grow(4)
    longer.checkpoint()
    line = Line(site, lambda: longer.notes[SIZE + 4])  # nobody cosigned it
    answer = await line.post()
    assert isinstance(answer, Refused)
    assert answer.verdict == CheckpointSignatureError.verdict or "signature" in answer.verdict
    forged = held.sign(Checkpoint(ORIGIN, 99, bytes(32))).replace(b"\n99\n", b"\n98\n")
    line = Line(site, lambda: cosigned(forged))
    assert isinstance(await line.post(), Refused)
    line = Line(site, lambda: b"no note")
    assert isinstance(await line.post(), Receipt)
    assert read_refusal(site.gateway) is None


async def test_keys_that_the_old_state_does_not_know_prove_as_well(site: Site, held: SealedLog) -> None:
    """The log may have changed its keys since the image was made; the witness has cosigned it."""
    changed = SealedLog(keys=new_keys()).grow(20)
    with closing(site.reader()) as reader:
        judge = partial(disagreement, reader, ORIGIN, source=RECEIPTS, now_ms=1)
        found = judge(note=cosigned(changed.checkpoint()), witness=witness_key())
        assert found is not None
        assert found.known == 21
        foreign = SealedLog(origin=f"{ORIGIN}/2").grow(9)
        assert judge(note=cosigned(foreign.checkpoint()), witness=None) is None
        assert judge(note=held.notes[SIZE], witness=None) is None


async def test_the_question_reaches_only_a_service(site: Site, log: SealedLog) -> None:
    """By its certificate's role, within bounded time; what it does not say is None."""
    site.admit(log)
    async with site.running() as service:
        assert await ask(url(service), ORIGIN, site.context()) is None
        with pytest.raises(UnavailableError, match="status 403"):
            await ask(url(service), "another/log", site.context())
        with pytest.raises(UnavailableError, match="status 403"):
            await ask(url(service), ORIGIN, site.context("operator"))
    with pytest.raises(UnavailableError):
        await ask("https://localhost:1", ORIGIN, site.context())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://localhost:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="in time"):
            await ask(address, ORIGIN, site.context(), timeout_s=0.1)
