"""The proof of one entry: C2SP tlog-proof, to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.checkpoint import parse_checkpoint_text
from coldseal.core.log.merkle import MerkleTree, inclusion_proof, leaf_hash, verify_inclusion
from coldseal.core.log.note import parse_note
from coldseal.core.log.proof import Proof, encode_proof, parse_proof
from coldseal.errors import InputError
from tests.core.log.example_log import FOLDER

NOTE = (FOLDER / "receipt").read_bytes()
ENTRIES = (FOLDER / "entries.jsonl").read_bytes().splitlines()
HASH = "A" * 43 + "="


def test_the_form_is_that_of_the_specification() -> None:
    """First line, extra data, index, hashes, an empty line, the checkpoint as it is."""
    made = encode_proof(3, [b"\0" * 32], NOTE, b"entry")
    assert made == b"c2sp.org/tlog-proof@v1\nextra ZW50cnk=\nindex 3\n%b\n\n" % HASH.encode() + NOTE
    assert encode_proof(0, [], NOTE) == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + NOTE


@pytest.mark.parametrize("seq", range(len(ENTRIES)))
def test_a_proof_holds_with_nothing_but_the_file(seq: int) -> None:
    """The entry is in it, and leads to the cosigned root."""
    tree, size = MerkleTree(map(leaf_hash, ENTRIES)), len(ENTRIES)
    found = parse_proof(encode_proof(seq, inclusion_proof(seq, size, tree.nodes), NOTE, ENTRIES[seq]))
    checkpoint = parse_checkpoint_text(parse_note(found.note).text)
    verify_inclusion(leaf_hash(found.extra), found.seq, checkpoint.size, found.hashes, checkpoint.root)


@given(
    st.integers(0, 2**53 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=8),
    st.binary(max_size=20),
    st.binary(max_size=20),
)
def test_what_was_written_is_read(seq: int, hashes: list[bytes], note: bytes, extra: bytes) -> None:
    """Whatever is in it."""
    assert parse_proof(encode_proof(seq, hashes, note, extra)) == Proof(seq, tuple(hashes), note, extra)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("c2sp.org/tlog-proof@v2\nindex 0\n\n", "first line"),
        ("é\n\n", "byte 0"),
        ("c2sp.org/tlog-proof@v1\n\n", "index"),
        ("c2sp.org/tlog-proof@v1\nindex 01\n\n", "index"),
        ("c2sp.org/tlog-proof@v1\nindex -1\n\n", "index"),
        ("c2sp.org/tlog-proof@v1\nindex 9007199254740992\n\n", "index"),
        ("c2sp.org/tlog-proof@v1\nextra ?\nindex 0\n\n", "extra"),
        ("c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n", "hashes"),
        ("c2sp.org/tlog-proof@v1\nindex 0\n?\n\n", "hash"),
        ("c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 65 + "\n", "hashes"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_what_is_wrong(text: str, field: str) -> None:
    """As input; nothing was verified."""
    with pytest.raises(InputError, match=field):
        parse_proof(text.encode())
