"""The quick look at a batch: what it passes over is a reading in its place, whatever else came with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.delivery.receiver import Head, accept
from coldseal.core.log.delivery.sight import Seen, is_in_place, look
from coldseal.core.log.delivery.wire import Batch
from coldseal.core.log.merkle import EMPTY_ROOT, leaf_hash
from coldseal.core.log.record import frame, parse_entry
from coldseal.errors import InputError
from tests.sealed import ORIGIN, SealedLog


def batch_of(entries: list[bytes], first: int = 0) -> Batch:
    """Make a batch of entries as they are; its note is nobody's matter here."""
    return Batch(b"", first, entries, frame(entries))


def seen(entries: list[bytes], origin: str = ORIGIN) -> Seen:
    """Look at entries of which none is held."""
    return look(origin, 0, EMPTY_ROOT, batch_of(entries))


def test_a_reading_in_its_place_is_passed_over_however_long_it_is() -> None:
    """Only the genesis entry is odd; all leaf hashes are there."""
    log = SealedLog().grow(3).grow(2, text="a sensor with a longer name").grow(2)

    found = seen(log.entries)

    assert found.odd == [0]
    assert found.leaves == [leaf_hash(raw) for raw in log.entries]
    assert list(found.oddities()) == [(0, log.entries[0])]


def test_an_entry_of_another_kind_is_odd() -> None:
    """`receiver` asks it what it says of the log."""
    log = SealedLog().grow(2)
    log.seal("config", {"text": "x"})
    log.grow(1)

    assert seen(log.entries).odd == [0, 3]


def test_readings_of_another_log_or_place_are_odd() -> None:
    """Each, and so is whatever stands behind one that is missing or changed."""
    log = SealedLog().grow(4)

    assert seen(log.entries, f"{ORIGIN}/2").odd == [0, 1, 2, 3, 4]
    assert seen([*log.entries[:2], *log.entries[3:]]).odd == [0, 2, 3]
    changed = log.entries[2].replace(b"probe-1", b"probe-2")
    assert seen([*log.entries[:2], changed, *log.entries[3:]]).odd == [0, 3]


@pytest.mark.parametrize("kind", ["key", "reading"])
def test_a_decoy_inside_data_makes_an_entry_odd(kind: str) -> None:
    """It may hide another kind, and another place."""
    log = SealedLog().grow(1)
    link: dict[str, canonical.Value] = {"kind": "reading", "log": ORIGIN, "prev": log.chain.head, "seq": 2}
    log.seal(kind, {"a": {"kid": "0" * 16, **link, "src": {}}})
    log.grow(1)

    assert b',"kind":"reading","log":"' in log.entries[2]
    assert seen(log.entries).odd == [0, 2]


def test_a_decoy_is_odd_too_where_another_entry_has_nothing_that_looks_so() -> None:
    """As many places as entries are not one in each."""
    log = SealedLog().grow(1)
    nothing = b"{}"
    link: dict[str, canonical.Value] = {"kind": "reading", "log": ORIGIN, "seq": 3}
    link["prev"] = leaf_hash(nothing).hex()
    log.seal("reading", {"a": {"kid": "0" * 16, **link, "src": {}}})

    assert seen([*log.entries[:2], nothing, log.entries[2]]).odd == [0, 2, 3]


def test_only_what_is_new_is_looked_at() -> None:
    """What is held is compared elsewhere; what begins behind it, or ends before, shows nothing."""
    log = SealedLog().grow(5)
    last = leaf_hash(log.entries[3])

    found = look(ORIGIN, 4, last, batch_of(log.entries[2:], 2))

    assert (found.entries, found.frames, found.odd) == (log.entries[4:], frame(log.entries[4:]), [])
    assert look(ORIGIN, 4, last, batch_of(log.entries[5:], 5)) == Seen(4)
    assert look(ORIGIN, 4, last, batch_of(log.entries[:4])) == Seen(4)


@given(st.data())
def test_whatever_is_changed_what_is_passed_over_is_a_reading_in_its_place(data: st.DataObject) -> None:
    """Bytes are put in, taken out and replaced, among them pieces of the entries themselves."""
    entries = list(SealedLog().grow(3).entries)
    place = data.draw(st.integers(1, 3))
    raw = entries[place]
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    cut = data.draw(st.integers(0, len(raw)))
    piece = data.draw(st.one_of(st.binary(max_size=9), st.just(raw[cut:]), st.just(raw[:cut])))
    entries[place] = raw[:start] + piece + raw[end:] or b"x"

    found = seen(entries)

    prev = EMPTY_ROOT
    for seq, each in enumerate(entries):
        if seq not in found.odd:
            try:
                entry = parse_entry(each)
            except InputError:  # a matter of `signatures`
                pass
            else:
                assert (entry.kind, entry.log, entry.seq, entry.prev) == ("reading", ORIGIN, seq, prev.hex())
                assert is_in_place(ORIGIN, seq, prev, each)
        prev = leaf_hash(each)
    assert found.leaves == [leaf_hash(each) for each in entries]


def test_an_entry_of_any_kind_may_be_in_its_place() -> None:
    """By log, seq and predecessor, unless it has something else that looks so."""
    log = SealedLog().grow(1)
    log.seal("config", {"text": "x"})
    prev, raw = leaf_hash(log.entries[1]), log.entries[2]
    decoy = raw.replace(b'"text":"x"', b'"a":1,"prev":"x"')

    assert is_in_place(ORIGIN, 2, prev, raw)
    assert not is_in_place(ORIGIN, 3, prev, raw)
    assert not is_in_place(ORIGIN, 2, EMPTY_ROOT, raw)
    assert not is_in_place(ORIGIN, 2, prev, decoy)


def test_an_entry_that_only_mentions_a_setting_says_nothing_of_the_log() -> None:
    """What counts is the body's own kind."""
    log = SealedLog()
    log.seal("boot", {"a": {"b": 1, "kind": "config", "x": 1}})
    log.seal("config", {"text": "x"})

    found = accept(log.admitted, Head(), log.batch())

    assert found.settings == (log.entries[0], log.entries[2])
