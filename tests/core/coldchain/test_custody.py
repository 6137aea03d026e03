"""Claims about custody files: only what the log has stated, signed and proven is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.coldchain.custody import (
    FalseLegError,
    carried_data,
    claim_data,
    open_claim,
    open_leg,
    parse_carried,
    require_statement,
)
from coldseal.core.log.checkpoint import Checkpoint
from coldseal.core.log.keys import KeyHistory, Keys
from coldseal.core.log.merkle import MerkleTree, inclusion_proof, leaf_hash
from coldseal.core.log.proof import encode_proof
from coldseal.core.log.record import parse_entry
from coldseal.errors import InputError
from tests.sealed import ORIGIN, SealedLog, new_keys

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value
    from coldseal.core.log.merkle import Nodes

SAID: dict[str, Value] = {"asset": "lot-1", "figures": {"totals": {}}}
CARRIED: dict[str, object] = {
    "asset": "lot-1",
    "figures": {},
    "source": {"asset": "lot-7", "leaf": "ab" * 32, "log": ORIGIN, "seq": 7, "t": "2026-01-01T00:00:00.000Z"},
    "to": "example.com/here",
}


def history_of(log: SealedLog) -> KeyHistory:
    """Give the keys that the log began with."""
    return KeyHistory(log.origin, Keys(log.admitted.record_key, log.admitted.checkpoint_keys))


def tree_of(log: SealedLog) -> Nodes:
    """Give the hashes over a log's entries."""
    return MerkleTree([leaf_hash(raw) for raw in log.entries]).nodes


def stated(log: SealedLog, at: int, **changes: object) -> bytes:
    """Give a custody file of an entry, or one that is changed."""
    size = log.size
    parts: dict[str, Any] = {
        "seq": at,
        "hashes": inclusion_proof(at, size, tree_of(log)),
        "note": log.notes[size],
        "extra": log.entries[at],
    }
    return encode_proof(**(parts | changes))


@pytest.fixture
def log() -> SealedLog:
    """A log that states what an asset has used up, under a checkpoint."""
    found = SealedLog().grow(5)
    found.seal("export", {"custody": SAID, "who": "ann", "why": "x"})
    found.grow(6)
    found.checkpoint()
    return found


def place_of(log: SealedLog) -> int:
    """Find the statement."""
    return next(seq for seq, raw in enumerate(log.entries) if b'"kind":"export"' in raw)


def test_a_statement_is_believed_with_the_keys_of_its_log(log: SealedLog) -> None:
    """It names log, entry and asset; what is taken over names that entry."""
    seq = place_of(log)
    leg = open_leg(stated(log, seq), history_of(log), "record")
    assert (leg.origin, leg.seq, leg.asset, leg.size) == (ORIGIN, seq, "lot-1", log.size)
    assert leg.said == SAID
    assert leg.signers == (ORIGIN,)
    carried = parse_carried(carried_data(leg, "pallet-2", "example.com/here"))
    there, here = f"{ORIGIN} lot-1", "example.com/here pallet-2"
    assert carried == ("pallet-2", f"{ORIGIN}:{seq}", SAID["figures"], there, here)


def test_what_does_not_hold_is_refused(log: SealedLog) -> None:
    """Another place, another root, another key, another signature; and an entry that states nothing."""
    seq = place_of(log)
    hashes = inclusion_proof(seq, log.size, tree_of(log))
    false = {
        "place": stated(log, seq, seq=seq + 1),
        "hash": stated(log, seq, hashes=[bytes(32), *hashes[1:]]),
        "figures": stated(log, seq, extra=log.entries[seq].replace(b'"lot-1"', b'"lot-2"')),
    }
    text = Checkpoint("example.com/other", log.size, log.chain.tree.root())
    false["log"] = stated(log, seq, note=log.sign(text))
    for data in false.values():
        with pytest.raises(FalseLegError, match=r"proves nothing"):
            open_leg(data, history_of(log), "record")
    stranger = KeyHistory(ORIGIN, Keys(new_keys().record.spki, log.admitted.checkpoint_keys))
    with pytest.raises(FalseLegError, match="wrong-key"):
        open_leg(stated(log, seq), stranger, "record")
    with pytest.raises(InputError, match="whose keys were given"):
        open_leg(stated(log, seq), KeyHistory("example.com/other", history_of(log).at(0)), "record")
    with pytest.raises(InputError, match="an export entry"):
        require_statement(parse_entry(log.entries[1]))


def test_what_is_taken_over_comes_from_the_file_and_from_nothing_else(log: SealedLog) -> None:
    """Figures, place and log; the one word of whoever asks is how the asset is called here."""
    seq, here = place_of(log), "example.com/here"
    claim = claim_data(stated(log, seq), history_of(log), "record", "pallet-2")
    found = open_claim(claim, here)
    assert found["figures"] == SAID["figures"]
    source: Any = found["source"]
    assert (source["seq"], source["log"], source["kid"]) == (seq, ORIGIN, history_of(log).at(0).kid)
    assert parse_carried(found).here == f"{here} pallet-2"
    with pytest.raises(InputError, match="another log's statement"):
        open_claim(claim, ORIGIN)
    other = KeyHistory(ORIGIN, Keys(new_keys().record.spki, log.admitted.checkpoint_keys))
    with pytest.raises(FalseLegError, match="wrong-key"):
        open_claim(claim_data(stated(log, seq), other, "record", "pallet-2"), here)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"figures": {}}, "figures come from the file"),
        ({"file": 7}, "the text of a custody file"),
        ({"file": "\ud800"}, "expected"),
        ({"file": "none"}, "expected"),
        ({"keys": []}, "checkpoint, mode and record"),
        ({"keys": {"checkpoint": [7], "mode": "record", "record": ""}}, "verifier keys"),
        ({"keys": {"checkpoint": "x", "mode": "record", "record": ""}}, "verifier keys"),
        ({"keys": {"checkpoint": [], "mode": ["record"], "record": ""}}, "record or checkpoint"),
        ({"keys": {"checkpoint": [], "mode": "record", "record": 7}}, "custody.keys.record"),
        ({"keys": {"checkpoint": ["x"], "mode": "record", "record": "AAAA"}}, "verifier key"),
        ({"keys": {"checkpoint": [], "mode": "record", "record": "AAAA"}}, "key"),
    ],
    ids=range(11),
)
def test_what_asks_for_it_is_read_strictly(log: SealedLog, change: dict[str, object], said: str) -> None:
    """Whoever may ask for it may be anybody's program."""
    claim = claim_data(stated(log, place_of(log)), history_of(log), "record", "pallet-2")
    with pytest.raises((InputError, FalseLegError), match=said):
        open_claim({**claim, **change}, "example.com/here")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "asset, figures, source and to"),
        ({"more": 1}, "asset, figures, source and to"),
        ({"asset": "a b"}, "name of an asset"),
        ({"figures": []}, "an object"),
        ({"source": {}}, "leaf, log, seq and t"),
        ({"source": {"asset": "a", "leaf": "x", "log": ORIGIN, "seq": 7, "t": ""}}, "leaf hash"),
        ({"source": {"asset": "a", "leaf": "ab" * 32, "log": ORIGIN, "seq": -1, "t": ""}}, "place"),
        ({"source": {"asset": "a b", "leaf": "ab" * 32, "log": ORIGIN, "seq": 7, "t": ""}}, "source.asset"),
        ({"source": {"asset": "a", "leaf": "ab" * 32, "log": "a b", "seq": 7, "t": ""}}, "source.log"),
        ({"to": 7}, "custody.to"),
    ],
    ids=["none", "more", "asset", "figures", "source", "leaf", "seq", "name", "log", "to"],
)
def test_what_is_taken_over_is_read_strictly(change: dict[str, object] | None, said: str) -> None:
    """What is wrong is named, with what was expected."""
    with pytest.raises(InputError, match=said):
        parse_carried(None if change is None else {**CARRIED, **change})
    assert parse_carried(CARRIED).source == f"{ORIGIN}:7"
