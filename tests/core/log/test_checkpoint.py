"""Checkpoints: those of others are opened, and every attack on the format has its refusal."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.checkpoint import (
    MAX_SIGNATURES,
    Algorithm,
    Checkpoint,
    CheckpointSignatureError,
    MissingSignatureError,
    Note,
    NoteSignature,
    UnknownKeyError,
    VerifierKey,
    add_signature,
    cosigned_at,
    encode_cosignature,
    open_checkpoint,
    parse_note,
    parse_vkey,
)
from coldseal.errors import InputError, TrustError
from tests.core.log.example_log import (
    CHECKPOINT_KEY,
    COSIGNED_AT,
    FOLDER,
    INTEROP_KEY,
    KEYS,
    ORIGIN,
    WITNESS_KEY,
    cosign,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "notes.json").read_text("utf-8"))
RECEIPT = (FOLDER / "receipt").read_bytes()


def _made(vector: dict[str, Any]) -> bytes:
    """Make a vector's note from the base that all of them vary."""
    text = str(VECTORS["base"])
    if "append" in vector:
        return (text + "".join(vector["append"] % number for number in range(vector["times"]))).encode()
    old, new = vector["replace"]
    text = text.replace(old, new, 1)
    return text.replace("%s", "A" * (vector.get("fill", 0) - len(text.encode()) + 2)).encode()


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda v: v["name"])
def test_the_ids_of_known_keys_are_right(vector: dict[str, Any]) -> None:
    """Keys of other implementations and public logs: name, id, algorithm, and the same text again."""
    key = parse_vkey(vector["vkey"])
    assert (key.name, key.id.hex(), key.algorithm) == (vector["name"], vector["id"], vector["algorithm"])
    assert key.encode() == vector["vkey"]


@pytest.mark.parametrize("vector", VECTORS["refused_keys"], ids=lambda v: v["name"])
def test_a_malformed_key_is_refused_by_name(vector: dict[str, str]) -> None:
    """The error names the part that is wrong."""
    with pytest.raises(InputError) as caught:
        parse_vkey(vector["vkey"])
    assert (caught.value.where, caught.value.field) == ("verifier key", vector["field"])


@pytest.mark.parametrize("vector", VECTORS["verified"], ids=lambda v: v["name"])
def test_notes_of_others_verify(vector: dict[str, Any]) -> None:
    """Every line of a known key holds, fails for another text, and the note encodes back to itself."""
    note = parse_note(vector["note"].encode())
    assert note.encode() == vector["note"].encode()
    for key in map(parse_vkey, vector["keys"]):
        line = next(line for line in note.signatures if (line.name, line.key_id) == (key.name, key.id))
        key.verify(note.text, line)
        with pytest.raises(CheckpointSignatureError, match="does not fit"):
            key.verify(note.text + b"x\n", line)


@pytest.mark.parametrize("vector", VECTORS["opened"], ids=lambda v: v["name"])
def test_checkpoints_of_others_are_opened(vector: dict[str, Any]) -> None:
    """Public logs' checkpoints give origin, size and root, and a public witness its time."""
    keys = [parse_vkey(key) for key in vector["keys"]]
    checkpoint, note = open_checkpoint(vector["note"].encode(), keys)
    assert checkpoint == Checkpoint(vector["origin"], vector["size"], bytes.fromhex(vector["root"]))
    if "cosigned_at" in vector:
        assert cosigned_at(note, keys[0]) == vector["cosigned_at"]


def test_the_higher_twin_of_a_genuine_signature_is_refused() -> None:
    """A public log signed it, yet two signatures must not stand for one checkpoint."""
    note = parse_note(VECTORS["high_s"]["note"].encode())
    with pytest.raises(CheckpointSignatureError, match="the lower of its two values"):
        parse_vkey(VECTORS["high_s"]["key"]).verify(note.text, note.signatures[0])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_a_malformed_checkpoint_is_refused_by_name(vector: dict[str, Any]) -> None:
    """Each attack on the format meets an error that names field, value and what was expected."""
    with pytest.raises(InputError) as caught:
        open_checkpoint(_made(vector), KEYS)
    assert caught.value.field == vector["field"]
    assert caught.value.expected


@pytest.mark.parametrize("vector", VECTORS["untrusted"], ids=lambda v: v["name"])
def test_a_checkpoint_that_does_not_hold_has_its_verdict(vector: dict[str, Any]) -> None:
    """Well-formed, but not signed as it must be: a matter of trust, with a word for it."""
    with pytest.raises(TrustError) as caught:
        open_checkpoint(_made(vector), KEYS)
    assert caught.value.verdict == vector["verdict"]


def test_the_receipt_of_the_log_is_opened() -> None:
    """Both keys of the log and the witness have signed; the witness says when."""
    checkpoint, note = open_checkpoint(RECEIPT, KEYS)
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, 12)
    assert cosigned_at(note, WITNESS_KEY) == COSIGNED_AT
    assert [(line.name, line.key_id) for line in note.signatures] == [(key.name, key.id) for key in KEYS]


def test_all_keys_are_needed_unless_fewer_are_named() -> None:
    """A line that nobody needs may be missing; if it is there, it must verify."""
    plain = (FOLDER / "checkpoint").read_bytes()
    with pytest.raises(MissingSignatureError, match=r"witness\.example"):
        open_checkpoint(plain, KEYS)
    assert open_checkpoint(plain, KEYS, [CHECKPOINT_KEY, INTEROP_KEY])[0].size == 12
    assert open_checkpoint(plain, KEYS, [])[0].size == 12
    spoiled = NoteSignature(WITNESS_KEY.name, WITNESS_KEY.id, encode_cosignature(1, bytes(64)))
    with pytest.raises(CheckpointSignatureError, match="does not fit"):
        open_checkpoint(add_signature(plain, spoiled), KEYS, [CHECKPOINT_KEY])


def test_a_checkpoint_without_a_known_signature_is_never_opened() -> None:
    """Not even when nothing was said to be needed."""
    with pytest.raises(MissingSignatureError, match="no known key has signed"):
        open_checkpoint(RECEIPT, [], [])
    stranger = VerifierKey("stranger.example/w", Algorithm.COSIGNATURE, bytes(32))
    with pytest.raises(MissingSignatureError, match="no known key has signed"):
        open_checkpoint(RECEIPT, [stranger], [])
    with pytest.raises(MissingSignatureError, match="a required key has not signed"):
        open_checkpoint(RECEIPT, KEYS, [stranger])


def test_strangers_may_sign_too() -> None:
    """Lines of unknown names are passed over, up to 16 lines in all."""
    note = RECEIPT
    for number in range(MAX_SIGNATURES - 3):
        note = add_signature(note, NoteSignature(f"stranger.example/w{number}", b"abcd", b"nonsense"))
    assert len(open_checkpoint(note, KEYS)[1].signatures) == MAX_SIGNATURES
    with pytest.raises(InputError, match="note: signatures is 17"):
        add_signature(note, NoteSignature("stranger.example/one-more", b"abcd", b"nonsense"))


def test_an_unknown_key_under_a_known_name_is_told_apart() -> None:
    """Whoever knows one of the log's two keys must be told of the other one."""
    with pytest.raises(UnknownKeyError) as caught:
        open_checkpoint(RECEIPT, [CHECKPOINT_KEY])
    assert (caught.value.name, caught.value.key_id) == (ORIGIN, INTEROP_KEY.id)
    assert caught.value.verdict == "unknown-key"


def test_a_later_cosignature_takes_the_place_of_the_earlier_one() -> None:
    """One line for each key, in the order in which they were added."""
    text = parse_note(RECEIPT).text
    note = parse_note(add_signature(RECEIPT, cosign(text, COSIGNED_AT + 60)))
    assert cosigned_at(note, WITNESS_KEY) == COSIGNED_AT + 60
    assert len(note.signatures) == 3


def test_a_time_is_taken_only_from_a_cosignature_that_holds() -> None:
    """Another kind of key has no time, a missing line none, and a false line none either."""
    _, note = open_checkpoint(RECEIPT, KEYS)
    with pytest.raises(InputError, match="cosignature: key"):
        cosigned_at(note, INTEROP_KEY)
    with pytest.raises(MissingSignatureError, match="this witness has not signed"):
        cosigned_at(note, VerifierKey("stranger.example/w", Algorithm.COSIGNATURE, bytes(32)))
    with pytest.raises(CheckpointSignatureError, match="does not fit"):
        cosigned_at(Note(note.text.replace(b"12", b"13"), note.signatures), WITNESS_KEY)


def test_a_key_verifies_only_its_own_line() -> None:
    """A line of another name or id is refused before its signature is looked at."""
    line = cosign(parse_note(RECEIPT).text)
    WITNESS_KEY.verify(parse_note(RECEIPT).text, line)
    for other in (
        NoteSignature("other", line.key_id, line.signature),
        NoteSignature(line.name, b"abcd", line.signature),
    ):
        with pytest.raises(CheckpointSignatureError, match="not a line of"):
            WITNESS_KEY.verify(parse_note(RECEIPT).text, other)


@given(at=st.integers(0), put=st.binary(max_size=3), cut=st.integers(0, 3))
def test_a_changed_receipt_is_refused(at: int, put: bytes, cut: int) -> None:
    """Whatever is flipped, inserted or taken out: no byte of a receipt can be another one."""
    at %= len(RECEIPT)
    changed = RECEIPT[:at] + put + RECEIPT[at + cut :]
    try:
        open_checkpoint(changed, KEYS)
    except (InputError, TrustError):
        return
    assert changed == RECEIPT


def test_truncation_at_each_byte_is_refused() -> None:
    """No beginning of a receipt is a receipt."""
    for end in range(len(RECEIPT)):
        with pytest.raises((InputError, MissingSignatureError)):
            open_checkpoint(RECEIPT[:end], KEYS)
