"""Both ends of delivery joined by a bad network, crashing at any step: nothing is lost, nothing is doubled.

The network loses, duplicates, reorders, delays, cuts and mixes up; either end may die at any moment and
comes back with what it had stored; the service may even be restored from a backup.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from coldseal.core.log.checkpoint import Checkpoint, parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.receiver import Accepted, GapError, Head, StaleError, accept
from coldseal.core.log.delivery.sender import (
    Event,
    Phase,
    RetryPolicy,
    RolledBackError,
    Terms,
    begin,
    choose,
    reach,
    settle,
)
from coldseal.core.log.delivery.wire import (
    Answer,
    Kind,
    Receipt,
    Unavailable,
    encode_batch,
    encode_receipt,
    encode_refusal,
    origin_of,
    parse_answer,
    parse_batch,
)
from coldseal.core.log.record import frame, parse_frames
from coldseal.errors import InputError
from tests.sealed import SealedLog, cosigned, witness_key

TERMS = Terms(witness_key(), batch_entries=6, retry=RetryPolicy(1.0, 60.0))


class Outgoing(NamedTuple):
    """A batch on its way, and the number of its request."""

    number: int
    checkpoint: Checkpoint
    log_size: int


class Response(NamedTuple):
    """An answer on its way back."""

    number: int
    status: int
    body: bytes


@dataclass
class Service:
    """The service's stored state; it has no other."""

    log: SealedLog
    head: Head = field(default_factory=Head)
    entries: list[bytes] = field(default_factory=list)
    receipts: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    heads: dict[int, Head] = field(default_factory=dict)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Take a request as the real one does, and answer it."""
        try:
            batch = parse_batch(body)
            assert origin_of(batch) == self.log.origin
            end = batch.first + len(batch.entries)
            known = self.receipts.get(end) if end <= self.head.size else None
            accepted = accept(
                self.log.admitted,
                self.head,
                batch,
                held=self.entries[batch.first : min(end, self.head.size)],
                held_root=known[1] if known else None,
            )
        except InputError as fault:
            return 400, encode_refusal("malformed", detail=str(fault))
        except (StaleError, GapError) as fault:
            return 409, encode_refusal(fault.error, size=fault.size)
        if accepted.count:
            self._store(accepted, cosigned(batch.note))
        note, _ = self.receipts[accepted.checkpoint.size]
        return 200, encode_receipt(Receipt(note, accepted.checkpoint.size, 0))

    def _store(self, accepted: Accepted, note: bytes) -> None:
        """Make entries, receipt and head one step."""
        self.entries += parse_frames(accepted.frames)
        self.head = accepted.head
        self.receipts[self.head.size] = note, self.head.root
        self.heads[self.head.size] = self.head

    def restore(self, size: int) -> None:
        """Go back to a backup that was made at ``size``."""
        self.head = self.heads[size]
        del self.entries[size:]
        self.receipts = {at: kept for at, kept in self.receipts.items() if at <= size}
        self.heads = {at: kept for at, kept in self.heads.items() if at <= size}


class DeliveryMachine(RuleBasedStateMachine):
    """One gateway, one service, and everything that can happen between them."""

    def __init__(self) -> None:
        """Begin with a log of one entry and its checkpoint."""
        super().__init__()
        self.log = SealedLog()
        self.log.checkpoint()
        self.service = Service(self.log)
        self.stored = 0
        self.delivery = begin(0)
        self.out: Outgoing | None = None
        self.numbers = 0
        self.requests: list[tuple[int, bytes]] = []
        self.responses: list[Response] = []
        self.was_restored = False

    # ---- the gateway

    @rule(count=st.integers(1, 9), is_fixed=st.booleans())
    def grow(self, count: int, *, is_fixed: bool) -> None:
        """Readings are sealed, with or without a checkpoint over them."""
        self.log.grow(count)
        if is_fixed:
            self.log.checkpoint()

    @precondition(lambda self: self.delivery.phase is Phase.IDLE)
    @rule()
    def send(self) -> None:
        """The next batch goes out, if there is one."""
        self.transmit()

    def transmit(self) -> None:
        """Choose a batch and give it to the network."""
        end = choose(self.delivery, sorted(self.log.notes), reach(self.delivery, TERMS))
        if end is None:
            return
        self.delivery = self.delivery.after(Event.CHOSEN)
        self.numbers += 1
        note, first = self.log.notes[end], self.delivery.cursor
        checkpoint = parse_checkpoint_text(parse_note(note).text)
        self.out = Outgoing(self.numbers, checkpoint, self.log.size)
        self.requests.append((self.numbers, encode_batch(note, first, frame(self.log.entries[first:end]))))

    @precondition(lambda self: self.delivery.phase is Phase.WAITING)
    @rule()
    def retry(self) -> None:
        """The wait is over."""
        self.delivery = self.delivery.after(Event.DUE)

    @precondition(lambda self: self.out is not None)
    @rule(kind=st.sampled_from(Kind))
    def give_up(self, kind: Kind) -> None:
        """No answer comes in time, or the connection breaks."""
        self.settle(Unavailable(kind, "gone"))

    @rule()
    def kill_gateway(self) -> None:
        """It comes back with its newest stored receipt; what was under way stays in the network."""
        self.delivery = begin(self.stored)
        self.out = None

    def settle(self, answer: Answer, *, is_stored: bool = True) -> None:
        """Do what follows from an answer."""
        assert self.out is not None
        after, step = settle(
            self.delivery, self.out.checkpoint, answer, TERMS, log_size=self.out.log_size, chance=0.5
        )
        self.out = None
        assert step.alarm is None or (self.was_restored and isinstance(step.alarm, RolledBackError))
        if step.receipt is not None:
            if not is_stored:
                self.kill_gateway()
                return
            self.stored = max(self.stored, step.receipt.size)
        self.delivery = after

    # ---- the network

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), is_kept=st.booleans(), is_answered=st.booleans())
    def pass_request(self, data: st.DataObject, *, is_kept: bool, is_answered: bool) -> None:
        """Any request arrives, perhaps again later; the service may die before it has answered."""
        request = data.draw(st.sampled_from(self.requests))
        if not is_kept:
            self.requests.remove(request)
        number, body = request
        status, answer = self.service.answer(body)
        if is_answered:
            self.responses.append(Response(number, status, answer))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cut_request(self, data: st.DataObject) -> None:
        """Only a part of a request arrives, and is taken for the whole."""
        number, body = data.draw(st.sampled_from(self.requests))
        status, answer = self.service.answer(body[: data.draw(st.integers(0, len(body) - 1))])
        assert status == 400
        self.responses.append(Response(number, status, answer))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def lose_request(self, data: st.DataObject) -> None:
        """A request never arrives."""
        self.requests.remove(data.draw(st.sampled_from(self.requests)))

    @precondition(lambda self: self.responses and self.out is not None)
    @rule(data=st.data(), is_kept=st.booleans(), is_mixed_up=st.booleans(), is_stored=st.booleans())
    def pass_response(
        self, data: st.DataObject, *, is_kept: bool, is_mixed_up: bool, is_stored: bool
    ) -> None:
        """An answer arrives, perhaps the one to another request; the gateway may die before it is stored."""
        assert self.out is not None
        number = self.out.number
        fitting = [each for each in self.responses if is_mixed_up or each.number == number]
        if not fitting:
            return
        response = data.draw(st.sampled_from(fitting))
        if not is_kept:
            self.responses.remove(response)
        try:
            answer = parse_answer(response.status, response.body)
        except InputError as fault:
            answer = Unavailable(Kind.REFUSED, str(fault))
        self.settle(answer, is_stored=is_stored)

    @precondition(lambda self: self.out is not None)
    @rule(status=st.sampled_from([200, 302, 409, 500, 503]), body=st.binary(max_size=40))
    def pass_garbage(self, status: int, body: bytes) -> None:
        """Something else answers in the service's place."""
        try:
            answer = parse_answer(status, body)
        except InputError as fault:
            answer = Unavailable(Kind.REFUSED, str(fault))
        self.settle(answer)

    # ---- the service

    @precondition(lambda self: len(self.service.heads) > 1)
    @rule(data=st.data())
    def restore_backup(self, data: st.DataObject) -> None:
        """The service forgets what it gave receipts for, and what it said before still travels."""
        self.service.restore(data.draw(st.sampled_from(sorted(self.service.heads))))
        self.was_restored = True

    # ---- what always holds

    @invariant()
    def nothing_is_doubled_or_out_of_order(self) -> None:
        """What the service holds is a prefix of the log."""
        held = self.service.entries
        assert held == self.log.entries[: len(held)]
        assert len(held) == self.service.head.size

    @invariant()
    def nothing_is_published_that_is_not_held(self) -> None:
        """A receipt that is stored covers stored entries only."""
        assert self.was_restored or self.delivery.published <= self.service.head.size
        assert self.stored == self.delivery.published

    @invariant()
    def honest_ends_never_hold(self) -> None:
        """No network makes one end accuse the other."""
        assert self.delivery.phase is not Phase.HELD

    @override
    def teardown(self) -> None:
        """Once the network is good, everything that a checkpoint covers is delivered."""
        fixed = max(self.log.notes)
        for _ in range(len(self.log.notes) + 10):
            if self.out is not None:
                self.give_up(Kind.UNREACHABLE)
            if self.delivery.phase is Phase.WAITING:
                self.retry()
            self.transmit()
            if self.out is None:
                break
            _, body = self.requests[-1]
            self.settle(parse_answer(*self.service.answer(body)))
        assert self.delivery.published == fixed
        assert self.was_restored or self.service.entries[:fixed] == self.log.entries[:fixed]


class ForgetfulGateway(DeliveryMachine):
    """A seeded fault: what was sent counts as published before its receipt."""

    @override
    def transmit(self) -> None:
        """Send, and believe."""
        super().transmit()
        if self.out is not None:
            self.delivery = replace(self.delivery, published=self.out.checkpoint.size)
            self.stored = self.delivery.published


class DoublingService(Service):
    """A seeded fault: a batch that is held already is stored again."""

    @override
    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Append whatever came."""
        status, found = super().answer(body)
        if status == HTTPStatus.OK and self.seen == body:
            self.entries += parse_batch(body).entries
        self.seen = body
        return status, found

    seen = b""


class DoubledDelivery(DeliveryMachine):
    """Runs against that service."""

    def __init__(self) -> None:
        """Take the faulty service."""
        super().__init__()
        self.service = DoublingService(self.log)


@pytest.mark.parametrize("faulty", [ForgetfulGateway, DoubledDelivery])
def test_a_seeded_fault_is_found(faulty: type[DeliveryMachine]) -> None:
    """A campaign that finds nothing in a faulty program proves nothing."""
    quick = settings(
        max_examples=100, stateful_step_count=40, deadline=None, derandomize=True, phases=[Stage.generate]
    )

    with pytest.raises(AssertionError):
        run_state_machine_as_test(faulty, settings=quick)


DeliveryMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestDelivery = DeliveryMachine.TestCase
