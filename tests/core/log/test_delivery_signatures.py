"""Each entry's own form and signature: what fails is named by seq and reason, the rest passes beside it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.delivery.signatures import Refutation, refute
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import frame, key_id, parse_entry
from coldseal.core.log.signature import low_s
from coldseal.errors import InputError
from tests.sealed import SealedLog, log_keys, new_keys

SPKI = log_keys().record.spki
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def refuted(log: SealedLog, *, spki: bytes = SPKI, first: int = 0) -> list[tuple[int, str]]:
    """Check a whole log; give seqs and reasons."""
    return [(each.seq, each.reason) for each in refute([(0, spki)], log.mode, first, frame(log.entries))]


def test_an_honest_log_has_nothing_refuted() -> None:
    """Genesis and readings pass."""
    assert refuted(SealedLog().grow(5)) == []


def test_seqs_are_counted_from_the_bundle_s_first() -> None:
    """A worker sees only a part."""
    log = SealedLog().grow(1)
    log.forge_entry(b"x")

    assert refuted(log, first=100) == [(102, "malformed")]


def test_each_bad_entry_is_named_and_the_others_pass() -> None:
    """One bad entry stops nothing."""
    log = SealedLog().grow(2)
    log.forge_signature()
    log.grow(1)
    log.forge_entry(b"{}")
    log.grow(1)

    assert refuted(log) == [(3, "bad-signature"), (5, "malformed")]


def test_a_refutation_carries_the_leaf_hash_that_the_tree_has() -> None:
    """So that it can be proven which bytes are meant."""
    log = SealedLog()
    log.forge_entry(b"{}")

    (found,) = refute([(0, SPKI)], "record", 0, frame(log.entries))

    assert found == Refutation(1, leaf_hash(b"{}"), "malformed", found.detail)
    assert "body" in found.detail


def test_an_entry_of_another_record_key_is_refuted() -> None:
    """Its kid says so; nothing is verified with the wrong key."""
    other = SealedLog(keys=new_keys())

    assert refuted(other) == [(0, "wrong-key")]


def test_an_unsigned_entry_passes_only_where_the_mode_says_so() -> None:
    """In record mode each entry must be signed."""
    log = SealedLog(mode="checkpoint")

    assert refuted(log) == []
    log.mode = "record"
    assert refuted(log) == [(0, "unsigned")]


def test_a_signed_entry_is_verified_in_checkpoint_mode_too() -> None:
    """A signature that is there must hold."""
    log = SealedLog(mode="checkpoint")
    log.forge_signature()

    assert refuted(log) == [(1, "bad-signature")]


@given(st.data())
def test_no_changed_bit_of_a_signed_entry_passes(data: st.DataObject) -> None:
    """Body, signature or frame: it is refuted, whatever it has become."""
    raw = bytearray(SealedLog().entries[0])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert len(refute([(0, SPKI)], "record", 0, frame([bytes(raw)]))) == 1


def test_the_high_s_twin_of_a_signature_is_refuted() -> None:
    """It would verify, but an entry has one form only."""
    raw = SealedLog().entries[0]
    signature = parse_entry(raw).sig
    assert signature is not None
    r_end = 4 + signature[3]
    s = ORDER - int.from_bytes(signature[r_end + 2 :])
    body = s.to_bytes(s.bit_length() // 8 + 1)
    twin = bytes([0x30, r_end + len(body)]) + signature[2:r_end] + bytes([2, len(body)]) + body
    assert low_s(twin) == signature

    text = canonical.encode_base64(twin).encode()
    high = raw[: raw.index(b'"sig":"') + 7] + text + b'"}'

    assert [each.reason for each in refute([(0, SPKI)], "record", 0, frame([high]))] == ["malformed"]


def test_verify_entry_says_nothing_where_all_is_well() -> None:
    """The same check for one entry that is parsed already."""
    assert verify_entry(SPKI, "record", parse_entry(SealedLog().entries[0])) is None


def test_a_record_key_on_another_curve_is_refused() -> None:
    """Nothing is verified with it."""
    spki = (
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    entry = parse_entry(SealedLog().entries[0])
    assert key_id(spki) != entry.kid

    with pytest.raises(InputError, match="P-256"):
        verify_entry(spki, "record", entry)


@pytest.mark.parametrize("first", [0, 3, 5])
def test_each_entry_is_held_against_the_key_that_is_active_at_its_place(first: int) -> None:
    """Also in a bundle that begins behind the change."""
    log = SealedLog().grow(2)
    old = log.keys.record.spki
    log.roll_over()
    log.grow(3)
    keys = [(0, old), (4, log.keys.record.spki)]

    assert refute(keys, "record", first, frame(log.entries[first:])) == []
    late = refute([(0, old), (6, log.keys.record.spki)], "record", first, frame(log.entries[first:]))
    assert [(each.seq, each.reason) for each in late] == [
        (seq, "wrong-key") for seq in (4, 5) if seq >= first
    ]
