"""One note carries all cosignatures, in whatever order they came; evidence stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from coldseal.core.log.checkpoint import VerifierKey, add_signature, open_checkpoint, parse_note
from coldseal.errors import UnavailableError
from coldseal.gateway.store.database import open_database
from coldseal.gateway.uplink import cosignatures as module
from coldseal.gateway.uplink.cosignatures import StoredCosignature, UplinkEvidence, WitnessStatus
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from tests.sealed import COSIGNED, SealedLog, cosigned, witness_key

KEY = bytes(range(32))
SIGNERS = {name: Ed25519Signer(generate_interop_key()) for name in ("w1.example", "w2.example")}
KEYS = {name: signer.verifier_key(name, cosigner=True) for name, signer in SIGNERS.items()}


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[Receipts]:
    """Give an empty file of a gateway that needs three witnesses."""
    with closing(Receipts(tmp_path, KEY, quorum=3)) as found:
        yield found


def cosignature(note: bytes, name: str, *, t: int = COSIGNED) -> StoredCosignature:
    """Let a further witness cosign."""
    parsed = parse_note(note)
    line = SIGNERS[name].cosign(name, parsed.text, t)
    size = int(parsed.text.split(b"\n")[1])
    return StoredCosignature(size, name, t, t * 1000, add_signature(note, line))


def receipt(note: bytes, size: int) -> StoredReceipt:
    """Let the service cosign."""
    return StoredReceipt(size, COSIGNED, COSIGNED * 1000, cosigned(note))


def all_keys(log: SealedLog) -> list[VerifierKey]:
    """Name everybody who signs."""
    return [*log.admitted.checkpoint_keys, witness_key(), *KEYS.values()]


@pytest.mark.parametrize("order", [*permutations(["service", *SIGNERS])], ids="-".join)
def test_a_receipt_carries_every_cosignature_in_whatever_order_they_came(
    receipts: Receipts, order: tuple[str, ...]
) -> None:
    """And the quorum is reached with the last of them, not before."""
    log = SealedLog().grow(4)
    note = log.checkpoint()
    for name in order:
        assert receipts.cosignatures.witnessed(3) == 0
        if name == "service":
            receipts.keep(receipt(note, 5), UplinkStatus())
        else:
            receipts.cosignatures.keep(cosignature(note, name))

    (kept,) = receipts.all()
    open_checkpoint(kept.note, all_keys(log))
    assert receipts.cosignatures.witnessed(3) == 5


def test_what_has_no_receipt_is_one_note_with_all_its_cosignatures(receipts: Receipts) -> None:
    """It can be shown though the service was away; once the receipt is there, that has them."""
    log = SealedLog()
    first, second = log.grow(4).checkpoint(), log.grow(4).checkpoint()
    for note in (second, first):
        for name in SIGNERS:
            receipts.cosignatures.keep(cosignature(note, name))

    alone = receipts.cosignatures.alone()
    assert list(alone) == [5, 9]
    for note in alone.values():
        open_checkpoint(note, [*log.admitted.checkpoint_keys, *KEYS.values()])
    receipts.keep(receipt(first, 5), UplinkStatus())
    assert list(receipts.cosignatures.alone()) == [9]


def test_cosignatures_at_different_sizes_make_no_quorum(receipts: Receipts) -> None:
    """A quorum counts on one note."""
    log = SealedLog()
    first, second = log.grow(4).checkpoint(), log.grow(4).checkpoint()
    receipts.keep(receipt(first, 5), UplinkStatus())
    receipts.keep(receipt(second, 9), UplinkStatus())
    receipts.cosignatures.keep(cosignature(first, "w1.example"))
    receipts.cosignatures.keep(cosignature(second, "w2.example"))
    assert receipts.cosignatures.witnessed(3) == 0

    receipts.cosignatures.keep(cosignature(second, "w1.example"))
    assert receipts.cosignatures.witnessed(3) == 9
    receipts.cosignatures.keep(cosignature(first, "w2.example"))
    assert receipts.cosignatures.witnessed(3) == 9


def test_only_who_is_asked_now_counts_for_the_quorum(tmp_path: Path) -> None:
    """A witness with a new key is not two, and one that was taken out of the configuration is none."""
    log = SealedLog()
    notes = {size: log.grow(size - log.size).checkpoint() for size in (4, 8)}
    old, new, other = "w1.example+00", "w1.example+01", "w2.example+00"
    with closing(Receipts(tmp_path, KEY, quorum=3, witnesses=[new, other])) as receipts:
        for size, note in notes.items():
            receipts.keep(receipt(note, size), UplinkStatus())
            for name in (old, new):
                found = cosignature(note, "w1.example")
                receipts.cosignatures.keep(msgspec.structs.replace(found, witness=name))
        assert receipts.cosignatures.witnessed(3) == 0
        receipts.cosignatures.keep(
            msgspec.structs.replace(cosignature(notes[4], "w2.example"), witness=other)
        )
        assert receipts.cosignatures.witnessed(3) == 4
    with closing(Receipts(tmp_path, KEY, quorum=2, witnesses=[other])) as receipts:
        assert receipts.cosignatures.witnessed(2) == 4
    with closing(Receipts(tmp_path, KEY, quorum=2, witnesses=[])) as receipts:
        receipts.keep(receipt(log.grow(1).checkpoint(), 9), UplinkStatus())
        receipts.cosignatures.keep(cosignature(log.notes[9], "w1.example"))
        assert receipts.cosignatures.witnessed(2) == 4


def test_the_first_cosignature_at_a_size_stays(receipts: Receipts) -> None:
    """Given again, it proves no earlier time."""
    note = SealedLog().grow(4).checkpoint()
    first = cosignature(note, "w1.example")
    receipts.keep(receipt(note, 5), UplinkStatus())
    receipts.cosignatures.keep(first)
    joined = receipts.all()
    receipts.cosignatures.keep(cosignature(note, "w1.example", t=COSIGNED + 9))

    assert receipts.cosignatures.all() == [first]
    assert receipts.cosignatures.newest("w1.example") == first
    assert receipts.cosignatures.newest("w2.example") is None
    assert receipts.all() == joined


def test_the_state_of_each_witness_is_there_for_another_process(receipts: Receipts, tmp_path: Path) -> None:
    """As the gateway shows it."""
    receipts.cosignatures.note("w1", WitnessStatus(cosigned=5))
    receipts.cosignatures.note("w2", WitnessStatus(failures=2, fault="no route"))
    receipts.cosignatures.note("w2", WitnessStatus(failures=3, fault="fork", is_held=True))

    with closing(Receipts(tmp_path, KEY, readonly=True)) as reader:
        shown = {name: each.describe() for name, each in reader.cosignatures.statuses().items()}
    assert shown == {"w1": "cosigns, up to 5", "w2": "held (fork), up to 0"}
    assert WitnessStatus(fault="no route").describe() == "no route, up to 0"


def test_evidence_is_kept_once_and_not_without_limit(
    receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest proofs tell most."""
    monkeypatch.setattr(module, "MAX_EVIDENCE", 3)
    found = [
        UplinkEvidence(
            t_ms=number, witness="w1", verdict="fork", size=number, detail="why", note=b"n", held=b"h"
        )
        for number in range(5)
    ]
    for each in (*found, found[0]):
        receipts.cosignatures.keep_evidence(each)

    assert receipts.cosignatures.evidence() == found[:3]
    assert receipts.cosignatures.evidence_counts() == {"fork": 3}


def test_an_older_file_gets_what_it_lacks_from_its_writer(tmp_path: Path) -> None:
    """A reader that comes first finds receipts, and nothing of witnesses yet."""
    with closing(Receipts(tmp_path, KEY)) as receipts:
        receipts.keep(receipt(SealedLog().checkpoint(), 1), UplinkStatus())
    old = open_database(tmp_path / "uplink.db", KEY)
    for table in ("cosignatures", "witnesses", "witnessed", "evidence"):
        old.execute(f"DROP TABLE {table}")
    old.close()

    with closing(Receipts(tmp_path, KEY, readonly=True)) as reader:
        assert len(reader.all()) == 1
        with pytest.raises(UnavailableError):
            reader.cosignatures.witnessed(1)
    with closing(Receipts(tmp_path, KEY)) as receipts:
        assert receipts.cosignatures.witnessed(1) == 1


def test_another_quorum_is_counted_anew(receipts: Receipts, tmp_path: Path) -> None:
    """As after a change of the configuration."""
    log = SealedLog()
    first, second = log.grow(4).checkpoint(), log.grow(4).checkpoint()
    receipts.keep(receipt(first, 5), UplinkStatus())
    receipts.keep(receipt(second, 9), UplinkStatus())
    receipts.cosignatures.keep(cosignature(first, "w1.example"))

    for quorum, size in ((1, 9), (2, 5), (3, 0), (4, 0)):
        with closing(Receipts(tmp_path, KEY, quorum=quorum)) as again:
            assert again.cosignatures.witnessed(quorum) == size
