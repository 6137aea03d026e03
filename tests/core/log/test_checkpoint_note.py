"""Notes, keys and cosignatures as values: whatever can be made can be written and read back."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from coldseal.core.log.canonical import MAX_INTEGER
from coldseal.core.log.checkpoint import (
    MAX_NOTE,
    MAX_SIGNATURES,
    Algorithm,
    Checkpoint,
    Note,
    NoteSignature,
    VerifierKey,
    checkpoint_note,
    cosignature_message,
    encode_cosignature,
    open_checkpoint,
    parse_checkpoint_text,
    parse_cosignature,
    parse_note,
    parse_vkey,
)
from coldseal.core.log.note import is_key_name
from coldseal.errors import InputError
from tests.core.log.example_log import KEYS, ORIGIN, cosign, sign_note

CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(32))

origins = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"+\\'), min_size=1, max_size=255
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(is_key_name)
lines = st.builds(NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))
checkpoints = st.builds(Checkpoint, origins, st.integers(0, MAX_INTEGER), st.binary(min_size=32, max_size=32))
note_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30).map(
    lambda text: text.replace(" ", "\n").encode() + b"\n"
)


def _unique(found: list[NoteSignature]) -> list[NoteSignature]:
    """Keep one line for each key."""
    return list({(line.name, line.key_id): line for line in found}.values())


@given(checkpoint=checkpoints)
@example(checkpoint=Checkpoint("!", 0, bytes(32)))
@example(checkpoint=Checkpoint("~" * 255, MAX_INTEGER, bytes(32)))
def test_a_checkpoint_survives_the_round_trip(checkpoint: Checkpoint) -> None:
    """Text and back, and signed and opened again."""
    assert parse_checkpoint_text(checkpoint.text()) == checkpoint
    note = checkpoint_note(checkpoint, [*sign_note(checkpoint.text()), cosign(checkpoint.text())])
    assert open_checkpoint(note, KEYS)[0] == checkpoint


@given(text=note_texts, found=st.lists(lines, min_size=1, max_size=MAX_SIGNATURES).map(_unique))
def test_a_note_survives_the_round_trip(text: bytes, found: list[NoteSignature]) -> None:
    """Text, names, ids and signatures come back as they were, also where the text has empty lines."""
    note = Note(text, tuple(found))
    assert parse_note(note.encode()) == note


@given(data=st.binary(max_size=200) | st.text("—ab \n+=A", max_size=60).map(str.encode))
def test_arbitrary_bytes_are_a_note_or_refused(data: bytes) -> None:
    """Nothing but InputError ever comes out, and what is accepted encodes back to itself."""
    try:
        note = parse_note(data)
    except InputError:
        return
    assert note.encode() == data


@given(data=st.binary(max_size=60) | st.text("a1\n0+=A/ ", max_size=60).map(str.encode))
def test_arbitrary_bytes_are_a_checkpoint_or_refused(data: bytes) -> None:
    """What is accepted is written back byte for byte."""
    try:
        checkpoint = parse_checkpoint_text(data)
    except InputError:
        return
    assert checkpoint.text() == data


@given(text=st.text(max_size=60) | st.text("a+0Bf=", max_size=60))
def test_arbitrary_text_is_no_verifier_key(text: str) -> None:
    """Nothing but InputError ever comes out."""
    with pytest.raises(InputError):
        parse_vkey(text)


@given(name=names, public=st.binary(min_size=32, max_size=32), algorithm=st.sampled_from([1, 4]))
def test_a_verifier_key_survives_the_round_trip(name: str, public: bytes, algorithm: int) -> None:
    """Text and back; the same bytes as another algorithm are another key."""
    key = VerifierKey(name, algorithm, public)
    assert parse_vkey(key.encode()) == key
    assert key.id != VerifierKey(name, 5 - algorithm, public).id


@given(time=st.integers(0, 2**63 - 1), signature=st.binary(min_size=64, max_size=64))
def test_a_cosignature_survives_the_round_trip(time: int, signature: bytes) -> None:
    """Eight bytes of time, 64 of signature."""
    assert parse_cosignature(encode_cosignature(time, signature)) == (time, signature)


def test_a_witness_signs_the_text_of_the_specification() -> None:
    """Header, time, and the note text with its last line feed (C2SP tlog-cosignature)."""
    text = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosignature_message(text, 1_679_315_147) == b"cosignature/v1\ntime 1679315147\n" + text


@pytest.mark.parametrize("time", [-1, 2**63])
def test_a_witness_signs_no_time_outside_of_63_bits(time: int) -> None:
    """The specification's limit holds for writing too."""
    with pytest.raises(InputError, match="cosignature: time"):
        cosignature_message(CHECKPOINT.text(), time)


@pytest.mark.parametrize(
    ("time", "signature"),
    [(2**63, bytes(64)), (2**64, bytes(64)), (-1, bytes(64)), (0, bytes(63)), (0, bytes(65))],
)
def test_no_cosignature_is_written_that_could_not_be_read(time: int, signature: bytes) -> None:
    """A time outside of 63 bits or a signature of another length is refused."""
    with pytest.raises(InputError, match=r"cosignature: (time|length)"):
        encode_cosignature(time, signature)


@pytest.mark.parametrize(
    ("origin", "size", "root", "field"),
    [
        ("", 0, bytes(32), "origin"),
        ("a b", 0, bytes(32), "origin"),
        ("a\nb", 0, bytes(32), "origin"),
        ("a" * 256, 0, bytes(32), "origin"),
        ("ä", 0, bytes(32), "origin"),
        ("a", -1, bytes(32), "size"),
        ("a", 2**53, bytes(32), "size"),
        ("a", 0, bytes(31), "root"),
    ],
)
def test_no_checkpoint_is_made_that_could_not_be_read(
    origin: str, size: int, root: bytes, field: str
) -> None:
    """The value refuses what its text could not carry."""
    with pytest.raises(InputError) as caught:
        Checkpoint(origin, size, root)
    assert (caught.value.where, caught.value.field) == ("checkpoint", field)


@pytest.mark.parametrize(
    ("name", "key_id", "signature", "field"),
    [
        ("", b"abcd", b"x", "key name"),
        ("a b", b"abcd", b"x", "key name"),
        ("a+b", b"abcd", b"x", "key name"),
        ("a\u2003b", b"abcd", b"x", "key name"),
        ("a\x1bb", b"abcd", b"x", "key name"),
        ("a\ud800b", b"abcd", b"x", "key name"),
        ("a", b"abc", b"x", "key id"),
        ("a", b"abcd", b"", "signature"),
    ],
)
def test_no_line_is_made_that_could_not_be_read(
    name: str, key_id: bytes, signature: bytes, field: str
) -> None:
    """The value refuses what its line could not carry."""
    with pytest.raises(InputError) as caught:
        NoteSignature(name, key_id, signature)
    assert (caught.value.where, caught.value.field) == ("note", field)


def test_no_checkpoint_is_written_without_signatures_or_with_two_of_one_key() -> None:
    """A note has 1 to 16 lines, one for each key."""
    line = cosign(CHECKPOINT.text())
    for found in ([], [line, line]):
        with pytest.raises(InputError, match="note: "):
            checkpoint_note(CHECKPOINT, found)


def test_a_note_of_the_largest_size_is_read() -> None:
    """65,535 bytes fit the frame in which a checkpoint travels."""
    note = Note(b"x\n" * 20_000, (NoteSignature("a", b"abcd", b"x" * 18_000),))
    fill = MAX_NOTE - len(note.encode())
    data = Note(note.text + b"y" * (fill - 1) + b"\n", note.signatures).encode()
    assert len(data) == MAX_NOTE
    assert parse_note(data).encode() == data


@pytest.mark.parametrize(
    ("curve", "form"),
    [
        (ec.SECP384R1(), PublicFormat.SubjectPublicKeyInfo),
        (ec.SECP256K1(), PublicFormat.SubjectPublicKeyInfo),
        (ec.SECP256R1(), PublicFormat.UncompressedPoint),
    ],
    ids=["P-384", "secp256k1", "bare point"],
)
def test_only_a_p256_key_in_plain_der_is_taken(curve: ec.EllipticCurve, form: PublicFormat) -> None:
    """Another curve or form would be a key of another id."""
    public = ec.derive_private_key(5, curve).public_key()
    encoding = Encoding.X962 if form is PublicFormat.UncompressedPoint else Encoding.DER
    with pytest.raises(InputError, match="SubjectPublicKeyInfo of a P-256 key"):
        VerifierKey("a", Algorithm.ECDSA, public.public_bytes(encoding, form))


def test_a_compressed_point_is_not_taken() -> None:
    """The same key in another form would have another id."""
    point = (
        ec.derive_private_key(5, ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    )
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    with pytest.raises(InputError, match="uncompressed point"):
        VerifierKey("a", Algorithm.ECDSA, spki)


@pytest.mark.parametrize(
    ("name", "algorithm", "public", "field"),
    [("a b", 1, bytes(32), "name"), ("a", 3, bytes(32), "algorithm"), ("a", 1, bytes(31), "public key")],
)
def test_no_key_is_made_that_could_verify_nothing(
    name: str, algorithm: int, public: bytes, field: str
) -> None:
    """The value refuses a name, algorithm or length of no key."""
    with pytest.raises(InputError) as caught:
        VerifierKey(name, algorithm, public)
    assert (caught.value.where, caught.value.field) == ("verifier key", field)
