"""Urgent entries told ahead of their order: the bytes, what is told next, and what holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.canonical import Value
from coldseal.core.log.checkpoint import Checkpoint
from coldseal.core.log.delivery.notices import (
    MAX_ENTRY,
    MAX_NOTICES,
    Finder,
    Notice,
    Outbox,
    Request,
    Told,
    encode_notices,
    encode_told,
    judge,
    origin_of,
    parse_notices,
    parse_told,
)
from coldseal.core.log.delivery.wire import Kind, Unavailable, encode_refusal
from coldseal.core.log.merkle import inclusion_proof, leaf_hash, node_hash
from coldseal.core.log.record import frame
from coldseal.errors import InputError
from tests.sealed import ORIGIN, SealedLog, new_keys

hashes = st.binary(min_size=32, max_size=32)
proofs = st.none() | st.lists(hashes, max_size=63).map(tuple)
notices = st.builds(Notice, st.binary(max_size=200), proofs)


def nodes_of(log: SealedLog, level: int, index: int) -> bytes:
    """Hash a complete subtree of a log."""
    if level == 0:
        return leaf_hash(log.entries[index])
    return node_hash(nodes_of(log, level - 1, 2 * index), nodes_of(log, level - 1, 2 * index + 1))


def proof_of(log: SealedLog, seq: int, size: int) -> tuple[bytes, ...]:
    """Prove an entry's place."""
    return tuple(inclusion_proof(seq, size, lambda level, index: nodes_of(log, level, index)))


def alarmed(mode: str = "record", *, after: int = 5) -> SealedLog:
    """Give a log whose last entry is an alarm."""
    log = SealedLog(mode=mode).grow(after)
    log.seal("alarm", {"sensor": "probe-1"})
    return log


def reasons(log: SealedLog, *told: Notice, note: bytes = b"", settings: tuple[bytes, ...] = ()) -> list[str]:
    """Say what is against each notice."""
    return [each.reason for each in judge(log.admitted, settings, Request(note, told))]


@given(note=st.binary(max_size=300), told=st.lists(notices, min_size=1, max_size=4).map(tuple))
def test_a_request_comes_back_as_it_was_sent(note: bytes, told: tuple[Notice, ...]) -> None:
    """Checkpoint, entries, proofs, and which have none."""
    assert parse_notices(encode_notices(Request(note, told))) == Request(note, told)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    """Nothing else happens."""
    try:
        found = parse_notices(body)
    except InputError:
        return
    assert encode_notices(found) == body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "note"),
        (b"\x00\x05abc", "note"),
        (b"\x00\x00", "count"),
        (b"\x00\x00\x40" + bytes(64 * 32) + b"\x00\x01x", "proof"),
        (b"\x00\x00\x01" + bytes(31), "entry"),
        (b"\x00\x00\xff\x00\x05abc", "entry"),
        (encode_notices(Request(b"", (Notice(bytes(MAX_ENTRY + 1)),))), "entry"),
        (encode_notices(Request(b"", (Notice(b"x"),) * (MAX_NOTICES + 1))), "count"),
    ],
)
def test_a_request_that_is_cut_or_too_large_is_refused(body: bytes, field: str) -> None:
    """Before anything in it is looked at."""
    with pytest.raises(InputError) as caught:
        parse_notices(body)
    assert caught.value.field == field


def test_an_answer_comes_back_as_it_was_given() -> None:
    """What is on the list, and what is refused, with reasons."""
    told = Told(frozenset({7, 3}), {9: "wrong-key"})
    assert parse_told(200, encode_told(told)) == told


@pytest.mark.parametrize(
    ("status", "body", "kind", "after_s"),
    [
        (503, encode_refusal("unavailable"), Kind.BUSY, 4),
        (404, b"Not Found", Kind.REFUSED, 4),
        (403, encode_refusal("not-admitted"), Kind.REFUSED, 4),
        (422, encode_refusal("fork"), Kind.REFUSED, 0),
        (409, encode_refusal("gap", size=3), Kind.REFUSED, 0),
    ],
)
def test_whatever_is_no_answer_is_waited_out(status: int, body: bytes, kind: Kind, after_s: int) -> None:
    """Also from a service that does not know notices."""
    found = parse_told(status, body, "4")
    assert isinstance(found, Unavailable)
    assert (found.kind, found.after_s) == (kind, after_s)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"announced": 3, "refused": []},
        {"announced": [], "refused": {}},
        {"announced": ["3"], "refused": []},
        {"announced": [True], "refused": []},
        {"announced": [-1], "refused": []},
        {"announced": [], "refused": [3]},
        {"announced": [], "refused": [{"seq": 3}]},
        {"announced": [], "refused": [{"reason": "x"}]},
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(answer: dict[str, Value]) -> None:
    """It moves nothing."""
    with pytest.raises(InputError):
        parse_told(200, canonical.encode(answer))


def test_urgent_entries_are_found_by_their_own_kind() -> None:
    """Not by what stands in them, and not those that are too long to be told."""
    log = alarmed()
    log.seal("reading", {"kind": "alarm", "z": 1})
    log.seal("alarm", {"text": "x" * MAX_ENTRY})
    log.seal("gap", {"from": 1})
    log.forge_entry(b'no entry,"kind":"gap",')

    found = Finder(["alarm", "gap"]).find(0, frame(log.entries))

    assert [seq for seq, _ in found] == [6, 9]
    assert [raw for _, raw in found] == [log.entries[6], log.entries[9]]
    assert Finder(["clock"]).find(0, frame(log.entries)) == []
    assert Finder([]).find(0, frame(log.entries)) == []


def test_a_kind_that_there_is_not_is_no_setting() -> None:
    """A slip would silently tell nothing."""
    with pytest.raises(InputError, match="alarmm"):
        Finder(["alarmm"])


def test_the_newest_are_told_first_and_the_oldest_give_way() -> None:
    """What gives way, or is refused, comes in its order."""
    outbox = Outbox()
    outbox.add((seq, b"%d" % seq) for seq in range(300))
    assert len(outbox) == 256
    newest = outbox.newest()
    assert [seq for seq, _ in newest] == list(range(299, 299 - MAX_NOTICES, -1))
    outbox.settle(Told(frozenset(range(290, 300)), {289: "wrong-key", 1_000: "wrong-key"}))
    assert outbox.newest()[0] == (288, b"288")
    outbox.forget(below=288)
    assert outbox.newest() == [(288, b"288")]
    outbox.forget(below=289)
    assert len(outbox) == 0


def test_a_signed_entry_holds_by_itself() -> None:
    """Whether or not a checkpoint covers it already."""
    log = alarmed()
    raw, note = log.entries[6], log.checkpoint()
    proof = proof_of(log, 6, 7)
    assert origin_of(Request(b"", (Notice(raw),))) == ORIGIN
    assert reasons(log, Notice(raw)) == [""]
    assert reasons(log, Notice(raw), Notice(raw, proof), note=note) == ["", ""]


def test_an_entry_that_is_not_in_the_tree_does_not_hold() -> None:
    """Though a key of the log signed it."""
    log = alarmed()
    note, wrong = log.checkpoint(), proof_of(log, 5, 7)
    assert reasons(log, Notice(log.entries[6], wrong), note=note) == ["not-included"]


def test_an_entry_by_another_key_does_not_hold() -> None:
    """Nor does one whose signature was changed; a roll-over that is known moves the key."""
    log = alarmed()
    forged = log.copy().forge_signature()
    assert reasons(log, Notice(forged)) == ["wrong-key"] or reasons(log, Notice(forged)) == ["bad-signature"]
    key = log.roll_over()
    log.seal("alarm", {"sensor": "probe-1"})
    assert reasons(log, Notice(log.entries[-1])) == ["wrong-key"]
    assert reasons(log, Notice(log.entries[-1]), settings=(log.entries[0], key)) == [""]


def test_an_unsigned_entry_needs_a_checkpoint_of_the_record_key() -> None:
    """That is what stands for its signature in mode `checkpoint`."""
    log = alarmed("checkpoint")
    raw, note, proof = log.entries[6], log.checkpoint(), proof_of(log, 6, 7)
    covered = Notice(raw, proof)
    log.mode = "record"
    bare = log.checkpoint()
    assert reasons(log, covered, note=note) == [""]
    assert reasons(log, covered, note=bare) == ["unsigned"]
    assert reasons(log, covered) == ["unsigned"]
    assert reasons(log, Notice(raw), note=note) == ["unsigned"]
    assert reasons(log, Notice(raw, proof[:-1]), note=note) == ["not-included"]


def test_a_checkpoint_by_others_counts_for_nothing() -> None:
    """By unknown keys, or of another log."""
    log, other = alarmed("checkpoint"), SealedLog(keys=new_keys(), mode="checkpoint").grow(9)
    proof = proof_of(log, 6, 7)
    assert reasons(log, Notice(log.entries[6], proof), note=other.checkpoint()) == ["unsigned"]
    elsewhere = SealedLog(origin="coldseal.example/site-7/gw-0002", mode="checkpoint").grow(9)
    assert reasons(log, Notice(log.entries[6], proof), note=elsewhere.checkpoint()) == ["unsigned"]
    renamed = log.sign(Checkpoint(elsewhere.origin, 7, log.chain.tree.root()))
    assert reasons(log, Notice(log.entries[6], proof), note=renamed) == ["unsigned"]


@pytest.mark.parametrize("raw", [b"", b"no entry", alarmed().entries[6][:-3]])
def test_what_is_no_entry_is_refused(raw: bytes) -> None:
    """As a whole: a gateway never sends such a thing."""
    with pytest.raises(InputError):
        origin_of(Request(b"", (Notice(raw),)))
    with pytest.raises(InputError):
        reasons(alarmed(), Notice(raw))


def test_an_entry_of_another_log_is_refused() -> None:
    """One request is about one log."""
    other = SealedLog(origin="coldseal.example/site-7/gw-0002")
    with pytest.raises(InputError, match="log"):
        reasons(alarmed(), Notice(other.seal("alarm", {})))
