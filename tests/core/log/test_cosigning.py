"""The log's end: a cosignature counts only when it verifies, and a witness that forgot is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.checkpoint import Checkpoint, NoteSignature
from coldseal.core.log.cosigning import (
    Answer,
    Conflict,
    Cosignatures,
    Disproved,
    DisputedError,
    Nothing,
    Standing,
    Step,
    WitnessAheadError,
    WitnessRolledBackError,
    begin,
    parse_answer,
    resume,
    settle,
)
from coldseal.core.log.delivery.sender import RetryPolicy
from coldseal.errors import InputError
from tests.core.log.example_log import COSIGNED_AT, ORIGIN, WITNESS, WITNESS_KEY, cosign, sign_note

SENT = Checkpoint(ORIGIN, 12, bytes(32))
RETRY = RetryPolicy(initial_s=1, max_s=8)


def settled(standing: Standing, answer: Answer, *, log_size: int = 20) -> tuple[Standing, Step]:
    """Settle an answer to `SENT`; the chance is a half."""
    return settle(standing, SENT, answer, WITNESS_KEY, RETRY, log_size=log_size, chance=0.5)


def test_a_verified_cosignature_moves_the_witness_on() -> None:
    """Lines of other keys beside it are ignored; failures are forgotten."""
    line = cosign(SENT.text())
    standing, step = settled(Standing(5, 5, 3, "status 503"), Cosignatures((*sign_note(SENT.text()), line)))

    assert standing == begin(12)
    assert step == Step(line=line, cosigned_s=COSIGNED_AT)


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ((), "signature-missing"),
        ((NoteSignature("witness.example/w2", WITNESS_KEY.id, b"x" * 72),), "signature-missing"),
        ((NoteSignature(WITNESS, WITNESS_KEY.id, b"x" * 72),), "checkpoint-signature"),
        ((cosign(Checkpoint(ORIGIN, 12, b"r" * 32).text()),), "checkpoint-signature"),
    ],
)
def test_a_cosignature_must_verify(lines: tuple[NoteSignature, ...], verdict: str) -> None:
    """Missing, of another witness, made up, or over another root."""
    standing, step = settled(begin(5), Cosignatures(lines))

    assert (standing.cosigned, standing.is_held, standing.fault) == (5, True, verdict)
    assert step.line is None
    assert step.alarm is not None
    assert step.alarm.verdict == verdict


def test_a_witness_that_is_further_on_is_followed_at_once() -> None:
    """As after the loss of what was kept here."""
    standing, step = settled(begin(0), Conflict(9))

    assert (standing.old, standing.cosigned) == (9, 0)
    assert step == Step()


def test_correction_upon_correction_costs_a_wait() -> None:
    """Two writers at one witness do not spin."""
    standing, _ = settled(begin(0), Conflict(9))
    standing, step = settled(standing, Conflict(10))

    assert (standing.old, standing.failures, step.delay_s) == (10, 2, 0.5)


def test_a_witness_that_forgot_is_an_alarm_and_is_brought_forward() -> None:
    """It goes on at once from where the witness is, and the alarm comes once."""
    standing, step = settled(begin(11), Conflict(4))

    assert (standing.old, standing.is_held, step.delay_s) == (4, False, 0)
    assert isinstance(step.alarm, WitnessRolledBackError)
    assert (step.alarm.cosigned, step.alarm.size) == (11, 4)
    again, step = settled(standing, Conflict(4))
    assert (again.old, step.alarm) == (4, None)


def test_a_witness_that_knows_more_than_the_log_has_is_an_alarm() -> None:
    """This log was restored from an old copy, or its keys sign elsewhere."""
    standing, step = settled(begin(11), Conflict(21))

    assert isinstance(step.alarm, WitnessAheadError)
    assert (standing.is_held, standing.old, standing.fault) == (True, 11, "witness-ahead")


def test_a_conflict_at_the_size_itself_is_a_fork() -> None:
    """The witness holds another root there."""
    standing, step = settled(begin(12), Conflict(12))

    assert isinstance(step.alarm, DisputedError)
    assert (standing.is_held, standing.fault) == (True, "fork")


def test_a_disproved_checkpoint_is_a_fork_and_is_not_posted_again() -> None:
    """Until a person has looked."""
    standing, step = settled(begin(5), Disproved("no proof"))

    assert isinstance(step.alarm, DisputedError)
    assert (step.alarm.size, step.alarm.detail, standing.is_held) == (12, "no proof", True)
    assert not resume(standing).is_held


def test_nothing_usable_waits_longer_each_time() -> None:
    """Full jitter below a bound that doubles, up to the longest wait."""
    standing, delays = begin(5), []
    for _ in range(5):
        standing, step = settled(standing, Nothing("status 503"))
        delays.append(step.delay_s)

    assert delays == [0.5, 1, 2, 4, 4]
    assert (standing.failures, standing.fault, standing.cosigned) == (5, "status 503", 5)


def test_every_answer_of_the_wire_is_told_apart() -> None:
    """By its status."""
    line = cosign(SENT.text())
    assert parse_answer(200, line.encode().encode()) == Cosignatures((line,))
    assert parse_answer(409, b"7\n") == Conflict(7)
    assert parse_answer(422, b"why\n") == Disproved("why")
    assert parse_answer(404, b"who\xff\n") == Nothing("status 404: who\N{REPLACEMENT CHARACTER}")
    assert parse_answer(200 + 1, b"") == Nothing("status 201: ")


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (200, b"no line\n"), (200, b"\n\n"), (409, b""), (409, b"x\n")]
)
def test_an_answer_that_makes_no_sense_is_refused(status: int, body: bytes) -> None:
    """A 200 without lines, a 409 without a size."""
    with pytest.raises(InputError):
        parse_answer(status, body)


@given(
    status=st.sampled_from([200, 400, 403, 404, 409, 422, 500]),
    body=st.binary(max_size=80) | st.text("— w1+\n=A09", max_size=80).map(str.encode),
)
def test_arbitrary_answers_are_read_or_refused(status: int, body: bytes) -> None:
    """Nothing but InputError ever comes out, and no arbitrary answer ever moves a witness on."""
    try:
        answer = parse_answer(status, body)
    except InputError:
        return
    standing, step = settled(begin(5), answer)
    assert step.line is None
    assert standing.cosigned <= 5
