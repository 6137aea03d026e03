"""The gateway's end: published moves only with a verified receipt, and every answer has one next move."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.checkpoint import (
    Checkpoint,
    CheckpointSignatureError,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.delivery.sender import (
    TRANSITIONS,
    Delivery,
    Event,
    OverAcknowledgedError,
    Phase,
    RefusedError,
    RetryPolicy,
    RolledBackError,
    Step,
    Terms,
    WrongRootError,
    begin,
    choose,
    reach,
    settle,
    verify_receipt,
)
from coldseal.core.log.delivery.wire import Answer, Gap, Kind, Receipt, Refused, Stale, Unavailable
from coldseal.errors import InputError
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from tests.sealed import ORIGIN, SealedLog, cosigned, witness_key

TERMS = Terms(witness_key(), batch_entries=100, retry=RetryPolicy(initial_s=1.0, max_s=8.0))


def checkpoint_of(note: bytes) -> Checkpoint:
    """Read the checkpoint of a note."""
    return parse_checkpoint_text(parse_note(note).text)


def sending(*, published: int = 0, cursor: int | None = None, failures: int = 0) -> Delivery:
    """Give a state with one batch out."""
    start = published if cursor is None else cursor
    return Delivery(published=published, cursor=start, failures=failures).after(Event.CHOSEN)


def answered(
    delivery: Delivery, log: SealedLog, answer: Answer, *, size: int | None = None, chance: float = 0.5
) -> tuple[Delivery, Step]:
    """Settle a batch that ended at a checkpoint of the log, by default at its end."""
    note = log.checkpoint() if size is None else log.notes[size]
    return settle(delivery, checkpoint_of(note), answer, TERMS, log_size=log.size, chance=chance)


def receipt_for(note: bytes, *, size: int | None = None) -> Receipt:
    """Give the usual witness's receipt over a checkpoint."""
    return Receipt(cosigned(note), checkpoint_of(note).size if size is None else size, 0)


def test_phases_change_only_as_the_table_says() -> None:
    """Every pair outside of the table is a fault of the program."""
    for phase, event in product(Phase, Event):
        state = Delivery(phase=phase)
        if (phase, event) in TRANSITIONS:
            assert state.after(event).phase is TRANSITIONS[phase, event]
        else:
            with pytest.raises(KeyError):
                state.after(event)


def test_every_phase_can_be_reached_and_left() -> None:
    """No phase is a dead end: a held delivery can be resumed."""
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) == set(TRANSITIONS.values())


def test_a_start_goes_on_from_the_newest_receipt() -> None:
    """Published and cursor are the one number that is stored."""
    assert begin(42) == Delivery(published=42, cursor=42)


def test_a_receipt_moves_the_published_size_and_clears_faults() -> None:
    """The next batch begins where this one ended, at once."""
    log = SealedLog().grow(4)

    after, step = answered(sending(failures=3), log, receipt_for(log.checkpoint()))

    assert after == Delivery(published=5, cursor=5)
    assert step.receipt is not None
    assert (step.delay_s, step.alarm) == (0.0, None)


def test_a_receipt_for_more_than_was_sent_is_caught() -> None:
    """A service cannot acknowledge what it never got, even with its true signature."""
    log = SealedLog().grow(4)
    log.checkpoint()
    later = log.grow(1).checkpoint()

    after, step = answered(sending(), log, receipt_for(later), size=5)

    assert isinstance(step.alarm, OverAcknowledgedError)
    assert (step.alarm.claimed, step.alarm.sent) == (6, 5)
    assert (after.phase, after.published, after.fault) == (Phase.HELD, 0, "over-acknowledged")


def test_a_size_beside_the_receipt_that_claims_more_is_caught() -> None:
    """The plain number is no way around the signed one."""
    log = SealedLog()

    _, step = answered(sending(), log, receipt_for(log.checkpoint(), size=9))

    assert isinstance(step.alarm, OverAcknowledgedError)


def test_a_receipt_over_another_root_is_caught() -> None:
    """The witness cosigned a tree that is not ours."""
    log = SealedLog()
    ours = checkpoint_of(log.checkpoint())
    other = log.sign(replace(ours, root=bytes(32)))

    after, step = answered(sending(), log, receipt_for(other))

    assert isinstance(step.alarm, WrongRootError)
    assert step.alarm.found.root == bytes(32)
    assert after.phase is Phase.HELD


def test_a_receipt_for_another_log_is_caught() -> None:
    """Same size, another origin."""
    other = SealedLog(origin=f"{ORIGIN}/2")

    _, step = answered(sending(), SealedLog(), receipt_for(other.checkpoint()))

    assert isinstance(step.alarm, WrongRootError)


def test_a_receipt_signed_by_somebody_else_is_caught() -> None:
    """Only the configured witness makes a receipt."""
    log = SealedLog()
    forged = cosigned(log.checkpoint(), signer=Ed25519Signer(generate_interop_key()))

    after, step = answered(sending(), log, Receipt(forged, 1, 0))

    assert isinstance(step.alarm, CheckpointSignatureError)
    assert after.phase is Phase.HELD


def test_a_receipt_without_a_cosignature_is_caught() -> None:
    """Our own signatures on it prove nothing."""
    log = SealedLog()

    _, step = answered(sending(), log, Receipt(log.checkpoint(), 1, 0))

    assert isinstance(step.alarm, CheckpointSignatureError)


def test_a_receipt_of_an_earlier_batch_is_no_progress_and_no_alarm() -> None:
    """An answer that came twice is harmless: the batch is sent again."""
    log = SealedLog()
    early = log.checkpoint()
    log.grow(3)

    after, step = answered(sending(published=1), log, receipt_for(early))

    assert (after.phase, after.published, step.alarm) == (Phase.WAITING, 1, None)
    assert "size" in after.fault


@pytest.mark.parametrize("note", [b"", b"garbage", b"\xe2\x80\x94"])
def test_a_receipt_that_cannot_be_read_is_waited_out(note: bytes) -> None:
    """Garbage is a fault of the way, not a proof against the service."""
    after, step = answered(sending(), SealedLog(), Receipt(note, 1, 0))

    assert after.phase is Phase.WAITING
    assert step.alarm is None


def test_a_receipt_that_contradicts_its_own_size_is_not_taken() -> None:
    """The plain number says less than the signed one."""
    log = SealedLog().grow(1)

    with pytest.raises(InputError, match="cosigned size"):
        verify_receipt(receipt_for(log.checkpoint(), size=1), checkpoint_of(log.checkpoint()), witness_key())


def test_a_refused_batch_is_held_and_never_retried() -> None:
    """The service's verdict becomes ours, and waits for a person."""
    after, step = answered(sending(), SealedLog(), Refused("fork", "at seq 3"))

    assert isinstance(step.alarm, RefusedError)
    assert step.alarm.verdict == after.fault == "fork"
    assert after.phase is Phase.HELD
    assert after.after(Event.RESUMED).phase is Phase.IDLE


def test_a_stale_answer_skips_what_the_service_has_at_once() -> None:
    """The lost receipt is fetched by what comes next; published waits for it."""
    log = SealedLog().grow(9)

    after, step = answered(sending(), log, Stale(8))

    assert (after.phase, after.cursor, after.published) == (Phase.WAITING, 8, 0)
    assert (step.delay_s, step.alarm) == (0.0, None)


def test_a_gap_answer_goes_back_to_what_the_service_has() -> None:
    """What lies between is sent again."""
    log = SealedLog().grow(9)

    after, step = answered(sending(published=2, cursor=8), log, Gap(4))

    assert (after.cursor, after.published, step.alarm) == (4, 2, None)


def test_a_service_that_lost_receipted_entries_is_alarmed_and_served_again() -> None:
    """A witness rolled back from a backup is caught, and nothing is lost by it."""
    log = SealedLog().grow(9)

    after, step = answered(sending(published=8), log, Gap(3))

    assert isinstance(step.alarm, RolledBackError)
    assert (step.alarm.published, step.alarm.size) == (8, 3)
    assert (after.phase, after.cursor, after.published) == (Phase.WAITING, 3, 8)


@pytest.mark.parametrize("answer", [Stale(11), Gap(11)])
def test_a_service_that_claims_more_than_the_log_has_is_caught(answer: Answer) -> None:
    """Either it lies, or this log was restored from an old copy: a person must look."""
    log = SealedLog().grow(9)

    after, step = answered(sending(), log, answer)

    assert isinstance(step.alarm, OverAcknowledgedError)
    assert after.phase is Phase.HELD


def test_a_correction_after_an_outage_costs_no_wait() -> None:
    """The service is back: the failures before it count no more."""
    log = SealedLog().grow(9)
    down, _ = answered(sending(failures=11), log, Unavailable(Kind.UNREACHABLE, "no route"))

    after, step = answered(down.after(Event.DUE).after(Event.CHOSEN), log, Stale(8))

    assert (after.failures, step.delay_s) == (1, 0.0)


def test_corrections_that_lead_nowhere_are_spaced_out() -> None:
    """Two ends that never agree do not spin."""
    log = SealedLog().grow(9)

    first, _ = answered(sending(), log, Stale(8))
    again = first.after(Event.DUE).after(Event.CHOSEN)
    second, step = answered(again, log, Gap(2), chance=0.5)

    assert second.failures == 2
    assert step.delay_s == 0.5


@pytest.mark.parametrize("kind", Kind)
def test_whatever_does_not_come_back_is_waited_out(kind: Kind) -> None:
    """Published and cursor stay where they were."""
    after, step = answered(sending(published=3), SealedLog().grow(9), Unavailable(kind, "no route"))

    assert (after.phase, after.published, after.cursor) == (Phase.WAITING, 3, 3)
    assert (after.failures, after.fault) == (1, "no route")
    assert step.delay_s == 0.5


def test_waits_double_up_to_their_limit_with_full_jitter() -> None:
    """Each is drawn between nothing and a bound that doubles."""
    retry = RetryPolicy(initial_s=0.5, max_s=10.0)

    assert [retry.delay(n, 1.0) for n in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert retry.delay(3, 0.25) == 0.5
    assert retry.delay(10_000, 1.0) == 10.0
    assert retry.delay(5, 0.0) == 0.0


def test_a_slow_link_gets_smaller_batches_and_a_good_one_full_ones_again() -> None:
    """A batch that never fits into the time-out would stall the queue."""
    log = SealedLog().grow(9)
    state = sending()
    for expected in (1, 2, 3):
        state, _ = answered(state, log, Unavailable(Kind.TIMEOUT, "slow"))
        assert state.halvings == expected
        state = state.after(Event.DUE).after(Event.CHOSEN)
    assert reach(state, TERMS) == 12

    state, _ = answered(state, log, receipt_for(log.checkpoint()))

    assert state.halvings == 2
    busy, _ = answered(state.after(Event.CHOSEN), log, Unavailable(Kind.BUSY, "503"))
    assert busy.halvings == 2


def test_a_batch_never_shrinks_to_nothing() -> None:
    """However often the link was too slow."""
    state = Delivery(halvings=16)

    assert reach(state, TERMS) == 1
    log = SealedLog()
    after, _ = answered(replace(state, phase=Phase.SENDING), log, Unavailable(Kind.TIMEOUT, "slow"))
    assert after.halvings == 16


def test_small_checkpoints_are_merged_into_one_batch() -> None:
    """It ends at the furthest checkpoint within its limit."""
    assert choose(Delivery(), [10, 20, 90, 120], 100) == 90


def test_a_checkpoint_that_covers_more_than_a_batch_is_sent_whole() -> None:
    """A batch must end at a checkpoint, so the nearest one decides."""
    assert choose(Delivery(published=5, cursor=5), [5, 250, 300], 105) == 250


def test_nothing_new_is_nothing_to_send() -> None:
    """What has a receipt is not sent again."""
    assert choose(Delivery(published=20, cursor=20), [10, 20], 120) is None
    assert choose(Delivery(), [], 100) is None


def test_what_the_service_has_without_a_receipt_is_asked_for_without_entries() -> None:
    """After a stale answer a batch may end where it begins."""
    corrected = Delivery(published=0, cursor=20)

    assert choose(corrected, [20], reach(corrected, TERMS)) == 20


def test_what_the_service_lost_is_sent_although_it_has_receipts() -> None:
    """After a roll-back the cursor is below the published size."""
    rolled_back = Delivery(published=20, cursor=10)

    assert choose(rolled_back, [10, 20], reach(rolled_back, TERMS)) == 20


@given(
    published=st.integers(0, 50),
    cursor=st.integers(0, 50),
    sizes=st.lists(st.integers(1, 200), unique=True).map(sorted),
    limit=st.integers(1, 100),
)
def test_the_nearest_and_the_furthest_checkpoint_are_enough_to_choose(
    published: int, cursor: int, sizes: list[int], limit: int
) -> None:
    """The runner looks up two checkpoints instead of all; the choice is the same."""
    state = Delivery(published=published, cursor=cursor)
    beyond = [size for size in sizes if size > state.floor]
    within = [size for size in sizes if size <= cursor + limit]
    two = sorted({*beyond[:1], *within[-1:]})

    chosen = choose(state, sizes, cursor + limit)

    assert chosen == choose(state, two, cursor + limit)
    if chosen is not None:
        assert chosen >= cursor
        assert chosen > min(published, cursor)


def test_what_the_service_asks_for_comes_before_the_drawn_wait() -> None:
    """So those who were asked the same do not come back together; nobody is sent away for ever."""
    policy = RetryPolicy(initial_s=1.0, max_s=60.0)
    assert [policy.delay(2, chance, 5) for chance in (0.0, 0.5)] == [5.0, 6.0]
    assert policy.delay(1, 0.0, 10**9) == 60.0
