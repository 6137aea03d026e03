"""The service's end: only what extends the held log and is signed for gets in, each fault by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    Checkpoint,
    CheckpointSignatureError,
    MissingSignatureError,
    UnknownKeyError,
    checkpoint_note,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.delivery.receiver import (
    Accepted,
    BrokenChainError,
    ForkError,
    GapError,
    GenesisError,
    Head,
    RootMismatchError,
    StaleError,
    accept,
)
from coldseal.core.log.delivery.wire import Batch
from coldseal.core.log.merkle import CompactRange, MerkleTree, leaf_hash
from coldseal.core.log.record import Chain, frame, parse_frames
from coldseal.errors import InputError
from tests.sealed import ORIGIN, TIME, TQ, SealedLog, log_keys, new_keys


class Holder:
    """What a service does with accepted batches, in memory."""

    def __init__(self, log: SealedLog) -> None:
        """Hold nothing yet."""
        self.admitted = log.admitted
        self.head = Head()
        self.entries: list[bytes] = []
        self.roots: dict[int, bytes] = {}

    def take(self, batch: Batch) -> Accepted:
        """Accept a batch and hold what is new."""
        end = batch.first + len(batch.entries)
        accepted = accept(
            self.admitted,
            self.head,
            batch,
            held=self.entries[batch.first : min(end, self.head.size)],
            held_root=self.roots.get(end) if end <= self.head.size else None,
        )
        self.entries += parse_frames(accepted.frames)
        self.head = accepted.head
        self.roots[accepted.checkpoint.size] = accepted.checkpoint.root
        return accepted


def holding(log: SealedLog, *counts: int) -> Holder:
    """Give a holder that has taken one batch for each count of readings."""
    holder = Holder(log)
    for count in counts or (0,):
        holder.take(log.grow(count).batch(holder.head.size))
    return holder


def with_entries(batch: Batch, entries: list[bytes]) -> Batch:
    """Give a batch with other entries under the same checkpoint."""
    return Batch(batch.note, batch.first, entries, frame(entries))


def signed_over(log: SealedLog, entries: list[bytes], *, first: int = 0) -> Batch:
    """Give a batch of any entries under a checkpoint that the log's keys sign over just these."""
    tree = MerkleTree(leaf_hash(entry) for entry in entries)
    note = log.sign(Checkpoint(log.origin, tree.size, tree.root()))
    return Batch(note, first, entries[first:], frame(entries[first:]))


def test_the_first_batch_begins_with_the_genesis_entry() -> None:
    """Head, mode and compact range follow from it."""
    log = SealedLog().grow(5)

    accepted = Holder(log).take(log.batch())

    assert (accepted.first, accepted.count, accepted.refuted) == (0, 6, ())
    assert accepted.head == Head(
        6,
        leaf_hash(log.entries[-1]),
        tuple(log.chain.tree.hashes),
        log.chain.tree.root(),
        "record",
        tuple(log.entries[:1]),
    )


def test_batches_extend_one_another() -> None:
    """Each goes on where the last one ended."""
    log = SealedLog()
    holder = holding(log, 3, 1, 7)

    assert holder.entries == log.entries
    assert holder.head.root == log.chain.tree.root()


def test_the_same_batch_again_changes_nothing() -> None:
    """It is answered by the receipt that it got before."""
    log = SealedLog().grow(3)
    holder = holding(log, 0)
    before = holder.head

    accepted = holder.take(log.batch(0))

    assert (accepted.count, accepted.frames, accepted.head) == (0, b"", before)


def test_an_older_batch_with_a_receipt_changes_nothing() -> None:
    """A delayed duplicate is no fault."""
    log = SealedLog()
    old = log.grow(3).batch()
    holder = Holder(log)
    holder.take(old)
    holder.take(log.grow(3).batch(4))

    assert holder.take(old).count == 0


def test_an_older_batch_without_a_receipt_is_stale() -> None:
    """A witness does not cosign an older tree than its newest."""
    log = SealedLog()
    early = log.grow(1).batch()
    holder = Holder(log)
    holder.take(log.grow(3).batch())

    with pytest.raises(StaleError) as caught:
        holder.take(early)
    assert caught.value.size == 5


def test_a_batch_that_overlaps_adds_only_what_is_new() -> None:
    """Begun again from an earlier place, after a lost answer."""
    log = SealedLog()
    holder = holding(log, 4)

    accepted = holder.take(log.grow(3).batch(2))

    assert (accepted.first, accepted.count) == (5, 3)
    assert holder.entries == log.entries


def test_a_batch_without_entries_gets_the_receipt_of_its_checkpoint() -> None:
    """What a gateway asks for when it has lost an answer."""
    log = SealedLog()
    holder = holding(log, 4)

    assert holder.take(log.batch(5)).checkpoint.size == 5


def test_an_empty_log_has_no_receipt() -> None:
    """A checkpoint of size 0 over nothing is stale, not accepted."""
    log = SealedLog()
    nothing = Batch(log.sign(Checkpoint(ORIGIN, 0, CompactRange().root())), 0, [], b"")

    with pytest.raises(StaleError):
        Holder(log).take(nothing)


def test_a_gap_names_what_is_held() -> None:
    """The sender must go back there."""
    log = SealedLog()
    holder = holding(log, 2)

    with pytest.raises(GapError) as caught:
        holder.take(log.grow(5).batch(4))
    assert caught.value.size == 3


def test_another_entry_at_a_held_place_is_a_fork() -> None:
    """Two histories: the seq and both leaf hashes are the evidence."""
    log = SealedLog()
    copied = log.copy()
    holder = holding(log, 4)
    copied.grow(6, text="probe-2")

    with pytest.raises(ForkError) as caught:
        holder.take(copied.batch())
    assert caught.value.seq == 1
    assert caught.value.held == leaf_hash(log.entries[1])
    assert caught.value.found == leaf_hash(copied.entries[1])


def test_a_shorter_second_history_is_a_fork_too() -> None:
    """It need not be longer than what is held."""
    log = SealedLog()
    copied = log.copy()
    holder = holding(log, 4)

    with pytest.raises(ForkError):
        holder.take(copied.grow(1, text="probe-2").batch())


def test_a_second_history_that_begins_behind_what_is_held_is_a_fork() -> None:
    """Its first entry names another predecessor, and is signed."""
    log = SealedLog()
    copied = log.copy()
    holder = holding(log, 4)
    copied.grow(6, text="probe-2")

    with pytest.raises(ForkError) as caught:
        holder.take(copied.batch(5))
    assert caught.value.seq == 4


def test_another_root_at_a_receipted_size_is_a_fork() -> None:
    """The keys have signed two trees of one size, even without any entry to show."""
    log = SealedLog()
    holder = holding(log, 4)
    other = log.sign(Checkpoint(ORIGIN, 5, bytes(32)))

    with pytest.raises(ForkError) as caught:
        holder.take(Batch(other, 5, [], b""))
    assert (caught.value.seq, caught.value.found) == (4, bytes(32))


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_missing_entry_breaks_the_chain(place: int) -> None:
    """Even if the log's own keys signed the tree without it."""
    log = SealedLog().grow(5)
    cut = [*log.entries[:place], *log.entries[place + 1 :]]

    with pytest.raises(BrokenChainError) as caught:
        Holder(log).take(signed_over(log, cut))
    assert (caught.value.seq, caught.value.field) == (place, "seq")


def test_a_swapped_pair_breaks_the_chain() -> None:
    """Order is part of what is signed."""
    log = SealedLog().grow(5)
    swapped = [*log.entries[:2], log.entries[3], log.entries[2], *log.entries[4:]]

    with pytest.raises(BrokenChainError):
        Holder(log).take(signed_over(log, swapped))


def test_an_entry_that_names_another_predecessor_breaks_the_chain() -> None:
    """Seq is right, prev is not."""
    log = SealedLog().grow(3)
    chain = Chain(ORIGIN, log.keys.record.kid)
    chain.tree = CompactRange.from_hashes(2, [bytes(32)])
    odd = chain.seal("boot", TIME, TQ, b"", b"{}", log.keys.record.sign)

    with pytest.raises(BrokenChainError) as caught:
        Holder(log).take(signed_over(log, [*log.entries[:2], odd]))
    assert (caught.value.seq, caught.value.field) == (2, "prev")


def test_an_entry_of_another_log_breaks_the_chain() -> None:
    """Entries of a second gateway cannot be slipped in."""
    log = SealedLog().grow(3)
    other = SealedLog(origin=f"{ORIGIN}/2").grow(3)

    with pytest.raises(BrokenChainError) as caught:
        Holder(log).take(signed_over(log, [*log.entries[:2], other.entries[2]]))
    assert caught.value.field == "log"


def test_entries_that_do_not_hash_to_the_signed_root_are_refused() -> None:
    """An honest chain under a checkpoint of another tree."""
    log = SealedLog().grow(3)
    batch = log.batch()
    other = log.sign(Checkpoint(ORIGIN, 4, bytes(32)))

    with pytest.raises(RootMismatchError) as caught:
        Holder(log).take(replace(batch, note=other))
    assert (caught.value.size, caught.value.signed) == (4, bytes(32))


def test_a_changed_entry_is_refused() -> None:
    """One bit on the way, or on the gateway's disk."""
    log = SealedLog().grow(3)
    batch = log.batch()
    flipped = bytearray(batch.entries[2])
    flipped[200] ^= 1

    with pytest.raises((BrokenChainError, RootMismatchError)):
        Holder(log).take(with_entries(batch, [*batch.entries[:2], bytes(flipped), batch.entries[3]]))


@given(st.data())
def test_no_changed_bit_gets_through(data: st.DataObject) -> None:
    """Wherever it is in entries that are new: refused, or the chain and root would have to agree."""
    log = SealedLog().grow(3)
    batch = log.batch()
    place = data.draw(st.integers(0, 3))
    flipped = bytearray(batch.entries[place])
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entries = [*batch.entries[:place], bytes(flipped), *batch.entries[place + 1 :]]

    with pytest.raises((BrokenChainError, RootMismatchError, GenesisError)):
        Holder(log).take(with_entries(batch, entries))


@pytest.mark.parametrize("count", [-1, 1])
def test_as_many_entries_must_come_as_the_checkpoint_says(count: int) -> None:
    """A batch ends exactly at its checkpoint."""
    log = SealedLog().grow(3)
    batch = log.batch()
    entries = list(batch.entries[:count]) if count < 0 else [*batch.entries, b"x"]

    with pytest.raises(InputError, match="entries"):
        Holder(log).take(with_entries(batch, entries))


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """The keys are right, the origin is not."""
    log = SealedLog()
    text = Checkpoint(f"{ORIGIN}/2", 1, log.chain.tree.root()).text()
    keys = log.keys
    lines = [keys.checkpoint.note_signature(ORIGIN, text), keys.interop.note_signature(ORIGIN, text)]
    note = checkpoint_note(parse_checkpoint_text(text), lines)

    with pytest.raises(InputError, match="origin"):
        Holder(log).take(replace(log.batch(), note=note))


def test_both_checkpoint_keys_must_have_signed() -> None:
    """One of two is not enough."""
    log = SealedLog()
    batch = log.batch()
    note = parse_note(batch.note)
    half = replace(note, signatures=note.signatures[:1]).encode()

    with pytest.raises(MissingSignatureError):
        Holder(log).take(replace(batch, note=half))


def test_a_checkpoint_by_a_stranger_is_refused() -> None:
    """Another key under the log's name."""
    log = SealedLog()
    stranger = SealedLog(keys=new_keys())

    with pytest.raises(UnknownKeyError):
        Holder(log).take(stranger.batch())


def test_a_checkpoint_with_a_broken_signature_is_refused() -> None:
    """A signature over another text."""
    log = SealedLog()
    old = parse_note(log.batch().note)
    batch = log.grow(1).batch()
    mixed = replace(parse_note(batch.note), signatures=old.signatures).encode()

    with pytest.raises(CheckpointSignatureError):
        Holder(log).take(replace(batch, note=mixed))


def test_the_signatures_are_looked_at_before_anything_else() -> None:
    """Whoever cannot sign learns nothing and costs nothing: not even the size that is held."""
    log = SealedLog()
    holder = holding(log, 4)
    stranger = SealedLog(keys=new_keys()).grow(20)

    with pytest.raises(CheckpointSignatureError):
        holder.take(stranger.batch(15))


def test_in_checkpoint_mode_unsigned_entries_are_covered_by_the_record_key() -> None:
    """It signs the checkpoint instead of each entry."""
    log = SealedLog(mode="checkpoint").grow(4)

    accepted = Holder(log).take(log.batch())

    assert accepted.head.mode == "checkpoint"
    assert accepted.count == 5


def test_in_checkpoint_mode_a_checkpoint_without_the_record_key_is_refused() -> None:
    """Then nobody would have signed the entries."""
    log = SealedLog(mode="checkpoint").grow(4)
    batch = log.batch()
    note = parse_note(batch.note)
    less = replace(note, signatures=note.signatures[:2]).encode()

    with pytest.raises(MissingSignatureError, match="record key"):
        Holder(log).take(replace(batch, note=less))


def test_an_entry_that_cannot_be_parsed_is_named_and_the_log_goes_on() -> None:
    """It is covered by the signed checkpoint, so it is kept as it is; nothing behind it waits."""
    log = SealedLog().grow(2)
    log.forge_entry(b'{"body":nonsense}')
    log.grow(2)

    accepted = Holder(log).take(log.batch())

    assert accepted.count == 6
    assert [(each.seq, each.reason) for each in accepted.refuted] == [(3, "malformed")]
    assert accepted.refuted[0].leaf == leaf_hash(log.entries[3])


@pytest.mark.parametrize("garbage", [b"", b"has no link"], ids=["alone", "beside an entry without"])
def test_a_decoy_inside_data_does_not_hide_a_broken_chain(garbage: bytes) -> None:
    """Fields that count are the body's own, not look-alikes nested deeper; nor do the counts even out."""
    log = SealedLog().grow(1)
    if garbage:
        log.forge_entry(garbage)
    prev = leaf_hash(log.entries[-1]).hex()
    chain = log.chain.copy()
    chain.head = "0" * 64
    decoy = canonical.encode({"x": {"log": ORIGIN, "prev": prev, "seq": log.size, "src": {}}})
    raw = chain.seal("boot", TIME, TQ, b"", decoy, log.keys.record.sign)

    with pytest.raises(BrokenChainError) as caught:
        Holder(log).take(signed_over(log, [*log.entries, raw]))
    assert caught.value.field == "prev"


def test_an_entry_with_a_nested_look_alike_is_accepted_when_it_is_right() -> None:
    """The quick look gives way to the parser, which finds nothing wrong."""
    log = SealedLog()
    log.seal("boot", {"x": {"a": 1, "prev": "b"}})

    assert Holder(log).take(log.batch()).refuted == ()


def test_a_device_cannot_break_the_chain_by_the_text_it_sends() -> None:
    """Quotes inside strings are escaped, so no text looks like a field."""
    log = SealedLog()
    log.seal("reading", {"note": '","prev":"x","seq":9,"src":{', "a": ',"prev":"'})

    assert Holder(log).take(log.batch()).count == 2


@pytest.mark.parametrize(
    "data",
    [
        {"mode": "none"},
        {"mode": 7},
        {},
        {"mode": "record", "record_key": "AAAA", "checkpoint_keys": []},
        {
            "mode": "record",
            "record_key": canonical.encode_base64(log_keys().record.spki),
            "checkpoint_keys": [],
        },
    ],
)
def test_a_genesis_entry_that_declares_something_else_is_refused(data: dict[str, canonical.Value]) -> None:
    """Mode and keys must be those that an operator admitted."""
    log = SealedLog()
    chain = Chain(ORIGIN, log.keys.record.kid)
    raw = chain.seal("genesis", TIME, TQ, b"", canonical.encode(data), log.keys.record.sign)

    with pytest.raises(GenesisError):
        Holder(log).take(signed_over(log, [raw]))


def test_a_log_that_does_not_begin_with_a_genesis_entry_is_refused() -> None:
    """Its mode would be unknown."""
    log = SealedLog()
    raw = Chain(ORIGIN, log.keys.record.kid).seal("boot", TIME, TQ, b"", b"{}", log.keys.record.sign)

    with pytest.raises(GenesisError, match="boot"):
        Holder(log).take(signed_over(log, [raw]))


def test_a_genesis_entry_that_cannot_be_read_is_refused() -> None:
    """The one entry that must be good before the log can be held."""
    log = SealedLog()

    with pytest.raises(GenesisError, match="cannot be read"):
        Holder(log).take(signed_over(log, [b"nonsense"]))


def test_a_genesis_entry_signed_by_another_key_is_refused() -> None:
    """The record key that it declares must have signed it."""
    log = SealedLog()
    honest = log.entries[0]
    other = SealedLog(keys=log.keys._replace(record=new_keys().record))
    body, _, _ = honest.partition(b',"sig":')
    _, _, sig = other.entries[0].partition(b',"sig":')

    with pytest.raises(GenesisError, match="bad-signature"):
        Holder(log).take(signed_over(log, [body + b',"sig":' + sig]))


def test_held_entries_that_are_not_all_given_are_a_fault_of_the_program() -> None:
    """The comparison is never skipped by mistake."""
    log = SealedLog()
    holder = holding(log, 4)

    with pytest.raises(ValueError, match="zip"):
        accept(holder.admitted, holder.head, log.grow(2).batch(1), held=log.entries[1:3])
