"""Whatever comes over the wire is either read exactly or refused with field, value and expectation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import CheckpointSignatureError, MissingSignatureError, UnknownKeyError
from coldseal.core.log.delivery.wire import (
    MAX_REFUTED,
    Gap,
    Kind,
    Receipt,
    Refused,
    Stale,
    Unavailable,
    encode_batch,
    encode_receipt,
    encode_refusal,
    origin_of,
    parse_answer,
    parse_batch,
)
from coldseal.core.log.record import frame
from coldseal.errors import InputError
from tests.sealed import ORIGIN, SealedLog

sizes = st.integers(0, canonical.MAX_INTEGER)
notes = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200)


@given(
    note=st.binary(max_size=300),
    first=st.integers(0, 2**64 - 1),
    entries=st.lists(st.binary(min_size=1, max_size=300), max_size=5),
)
def test_a_batch_comes_back_as_it_was_sent(note: bytes, first: int, entries: list[bytes]) -> None:
    """Note, first seq and entries survive the wire."""
    batch = parse_batch(encode_batch(note, first, frame(entries)))

    assert (batch.note, batch.first, batch.entries) == (note, first, entries)
    assert batch.frames == frame(entries)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_batch_or_an_input_error(body: bytes) -> None:
    """Nothing else is ever raised, and what is accepted is what was meant."""
    try:
        batch = parse_batch(body)
    except InputError:
        return
    assert encode_batch(batch.note, batch.first, batch.frames) == body


def test_a_batch_cut_anywhere_inside_its_head_or_an_entry_is_refused() -> None:
    """A cut is told from an end at every byte but those between entries."""
    whole = encode_batch(b"note", 7, frame([b"one", b"two"]))
    ends = {len(whole), len(whole) - 5, len(whole) - 10}

    for length in range(len(whole) + 1):
        if length in ends:
            parse_batch(whole[:length])
        else:
            with pytest.raises(InputError):
                parse_batch(whole[:length])


def test_the_origin_of_a_batch_is_read_from_its_note() -> None:
    """It is what the gateway claims; the signatures are checked later."""
    log = SealedLog()

    assert origin_of(log.batch()) == ORIGIN


def test_a_note_that_is_no_checkpoint_has_no_origin() -> None:
    """A batch for no log at all is malformed."""
    with pytest.raises(InputError, match="note"):
        origin_of(parse_batch(encode_batch(b"hello", 0, b"")))


@given(notes, sizes, sizes, st.lists(sizes, max_size=MAX_REFUTED))
def test_a_receipt_comes_back_as_it_was_given(
    note: str, size: int, verified: int, refuted: list[int]
) -> None:
    """Note, size, verified size and refuted seqs survive the wire."""
    receipt = Receipt(note.encode(), size, verified, tuple(refuted))

    assert parse_answer(200, encode_receipt(receipt)) == receipt


@given(sizes)
def test_stale_and_gap_carry_the_size_that_the_service_holds(size: int) -> None:
    """Both are answered by 409."""
    assert parse_answer(409, encode_refusal("stale", size=size)) == Stale(size)
    assert parse_answer(409, encode_refusal("gap", size=size)) == Gap(size)


@pytest.mark.parametrize("verdict", ["fork", "broken-chain", "root-mismatch", "anything"])
def test_an_unprocessable_batch_is_refused_by_its_verdict(verdict: str) -> None:
    """422 means that a proof failed, whichever it was."""
    assert parse_answer(422, encode_refusal(verdict, detail="why")) == Refused(verdict, "why")


@pytest.mark.parametrize("kind", [CheckpointSignatureError, MissingSignatureError, UnknownKeyError])
def test_a_bad_checkpoint_signature_is_refused_although_the_status_is_403(
    kind: type[CheckpointSignatureError],
) -> None:
    """It is a failed proof, not a missing right."""
    assert parse_answer(403, encode_refusal(kind.verdict)) == Refused(kind.verdict, "")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, Kind.REFUSED),
        (404, Kind.REFUSED),
        (413, Kind.REFUSED),
        (408, Kind.BUSY),
        (429, Kind.BUSY),
        (500, Kind.BUSY),
        (503, Kind.BUSY),
        (302, Kind.REFUSED),
    ],
)
def test_any_other_status_means_try_again_later(status: int, kind: Kind) -> None:
    """With or without a body that makes sense, and the kind tells "not now" from "not this"."""
    named = parse_answer(status, encode_refusal("not-admitted", detail="ask the operator"))
    silent = parse_answer(status, b"<html>Bad Gateway</html>")
    odd = parse_answer(status, canonical.encode({"error": 7}))

    assert named == Unavailable(kind, f"status {status}: not-admitted ask the operator")
    assert silent == odd == Unavailable(kind, f"status {status}")


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (200, {}, "receipt"),
        (200, {"receipt": 7, "refuted": [], "signatures_verified": 0, "size": 0}, "receipt"),
        (200, {"receipt": "", "refuted": "none", "signatures_verified": 0, "size": 0}, "refuted"),
        (200, {"receipt": "", "refuted": [1] * 101, "signatures_verified": 0, "size": 0}, "refuted"),
        (200, {"receipt": "", "refuted": ["1"], "signatures_verified": 0, "size": 0}, "refuted"),
        (200, {"receipt": "", "refuted": [], "signatures_verified": -1, "size": 0}, "signatures_verified"),
        (200, {"receipt": "", "refuted": [], "signatures_verified": 0, "size": True}, "size"),
        (200, {"receipt": "", "refuted": [], "signatures_verified": 0}, "size"),
        (409, {"error": "stale"}, "size"),
        (409, {"error": "gap", "size": "7"}, "size"),
        (409, {"error": "late", "size": 7}, "error"),
    ],
)
def test_an_answer_that_makes_no_sense_names_the_field(
    status: int, body: dict[str, canonical.Value], field: str
) -> None:
    """A receipt or a size is not guessed."""
    with pytest.raises(InputError) as caught:
        parse_answer(status, canonical.encode(body))

    assert caught.value.field == field


@pytest.mark.parametrize("status", [200, 409])
@pytest.mark.parametrize("body", [b"", b"{}x", b"<html>", b"\xff", b'{"size": 1}', b"[]"])
def test_garbage_with_a_good_status_is_an_input_error(status: int, body: bytes) -> None:
    """Not even the status of a proxy in between is believed without its body."""
    with pytest.raises(InputError):
        parse_answer(status, body)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("", 0), ("-1", 0), ("1.5", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("9" * 12, 0)],
)
@pytest.mark.parametrize("body", [b'{"detail":"","error":"busy"}', b"late", b"{}"])
def test_a_busy_service_may_say_until_when(header: str, seconds: int, body: bytes) -> None:
    """Whole seconds; whatever else stands there counts for nothing."""
    answer = parse_answer(503, body, header)

    assert isinstance(answer, Unavailable)
    assert (answer.kind, answer.after_s) == (Kind.BUSY, seconds)
