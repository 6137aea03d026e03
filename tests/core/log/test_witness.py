"""A witness cosigns only what extends what it cosigned before; every other request has its own answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coldseal.core.log.canonical import MAX_INTEGER, encode_base64
from coldseal.core.log.checkpoint import (
    Checkpoint,
    CheckpointSignatureError,
    MissingSignatureError,
    VerifierKey,
    add_signature,
    checkpoint_note,
    parse_note,
)
from coldseal.core.log.merkle import EMPTY_ROOT, ConsistencyError, MerkleTree, consistency_proof, leaf_hash
from coldseal.core.log.witness import (
    MAX_PROOF,
    MAX_REQUEST,
    SIZE_TYPE,
    Cosigned,
    StaleSizeError,
    TwoRootsError,
    UnknownOriginError,
    answer_cosigned,
    answer_fault,
    encode_request,
    judge,
    parse_request,
    parse_size,
    verify_signed,
)
from coldseal.errors import InputError, UnavailableError
from tests.core.log.example_log import CHECKPOINT_KEY, INTEROP_KEY, ORIGIN, cosign, sign_note

KEYS = (CHECKPOINT_KEY, INTEROP_KEY)
hashes = st.binary(min_size=32, max_size=32)


def tree(size: int, *, text: str = "entry") -> MerkleTree:
    """Give a tree over so many made-up entries."""
    return MerkleTree(leaf_hash(f"{text} {seq}".encode()) for seq in range(size))


def note(found: MerkleTree, size: int) -> bytes:
    """Sign a checkpoint of a tree."""
    checkpoint = Checkpoint(ORIGIN, size, found.root(size))
    return checkpoint_note(checkpoint, sign_note(checkpoint.text()))


def post(found: MerkleTree, old: int, size: int) -> bytes:
    """Write the request of an honest log."""
    return encode_request(old, consistency_proof(old, size, found.nodes), note(found, size))


def held(found: MerkleTree, size: int) -> Cosigned:
    """Give what a witness holds of a tree."""
    return Cosigned(size, found.root(size), note(found, size)) if size else Cosigned()


@given(old=st.integers(0, 5), proof=st.lists(hashes, max_size=MAX_PROOF), size=st.integers(5, MAX_INTEGER))
def test_a_request_comes_back_as_it_was_written(old: int, proof: list[bytes], size: int) -> None:
    """Old size, proof and note survive the wire."""
    checkpoint = Checkpoint(ORIGIN, size, bytes(32))
    signed = checkpoint_note(checkpoint, [*sign_note(checkpoint.text()), cosign(checkpoint.text())])
    request = parse_request(encode_request(old, proof, signed))

    assert (request.old, request.proof, request.checkpoint) == (old, tuple(proof), checkpoint)
    assert request.note.encode() == signed


@given(
    body=st.binary(max_size=120)
    | st.tuples(
        st.text("old 0123456789\n", max_size=12),
        st.text("ABab=+/\n", max_size=50),
        st.sampled_from(["", "\n", "\n\n"]),
        st.just(note(tree(3), 3).decode()) | st.text("a1\n—= ", max_size=20),
    ).map(lambda parts: "".join(parts).encode())
)
def test_arbitrary_bytes_are_a_request_or_refused(body: bytes) -> None:
    """Nothing but InputError ever comes out, and what is accepted is written back byte for byte."""
    try:
        request = parse_request(body)
    except InputError:
        return
    assert encode_request(request.old, request.proof, request.note.encode()) == body


@given(at=st.integers(0, 10_000), found=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_fails_a_proof(at: int, found: int) -> None:
    """Old size, proof, text and signatures: all of it counts, but what other keys signed."""
    entries = tree(7)
    body = bytearray(post(entries, 3, 7))
    at %= len(body)
    if body[at] == found:
        return
    body[at] = found
    with pytest.raises((InputError, CheckpointSignatureError, StaleSizeError, ConsistencyError)):
        judge(parse_request(bytes(body)), held(entries, 3), KEYS)


LINE = encode_base64(bytes(32)).encode()
NOTE = note(tree(3), 3)


@pytest.mark.parametrize(
    ("head", "field"),
    [
        (b"", "old size"),
        (b"old", "old size"),
        (b"old ", "old size"),
        (b"old 01", "old size"),
        (b"old -1", "old size"),
        (b"old  1", "old size"),
        (b"old 1 ", "old size"),
        (b"Old 1", "old size"),
        (b"old 1\r", "old size"),
        (b"old 9007199254740992", "old size"),
        (b"old 4", "old size"),
        (b"size 1", "old size"),
        (b"old 1\nAAAA", "proof"),
        (b"old 1\n" + LINE[:-1], "proof"),
        (b"old 1\n" + LINE[:-2] + b"B=", "proof"),
        (b"old 1\n" + LINE + b" ", "proof"),
        (b"old 1\n\xff", "proof"),
        (b"old 1" + (b"\n" + LINE) * 64, "proof"),
    ],
)
def test_a_malformed_head_is_refused(head: bytes, field: str) -> None:
    """One form each, and the field is named."""
    with pytest.raises(InputError) as fault:
        parse_request(head + b"\n\n" + NOTE)

    assert fault.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        b"old 0\n",
        b"old 0\n" + NOTE[NOTE.index(b"\n") :],
        b"old 0\n\n" + NOTE[:-1],
        b"old 0\n\n" + NOTE + b"\n",
        b"old 0\n\n" + NOTE.replace(b"\n\n", b"\nmore\n\n"),
        b"old 0\n\n" + NOTE + b" " * MAX_REQUEST,
    ],
    ids=["no note", "no origin", "cut", "longer", "extension line", "too long"],
)
def test_a_malformed_rest_is_refused(body: bytes) -> None:
    """An extension line too, which C2SP would allow."""
    with pytest.raises(InputError):
        parse_request(body)


def test_the_longest_request_is_read() -> None:
    """63 hashes and the longest note fit."""
    body = encode_request(0, [bytes(32)] * MAX_PROOF, NOTE)
    assert len(parse_request(body).proof) == MAX_PROOF
    with pytest.raises(InputError):
        encode_request(0, [bytes(32)] * (MAX_PROOF + 1), NOTE)


@given(old=st.integers(0, 40), more=st.integers(0, 40))
def test_what_extends_the_held_tree_is_taken(old: int, more: int) -> None:
    """From nothing, from any size, and the same again."""
    entries = tree(old + more)
    if old + more == 0:
        return
    found = judge(parse_request(post(entries, old, old + more)), held(entries, old), KEYS)

    assert found == held(entries, old + more)


def test_the_empty_tree_can_be_cosigned() -> None:
    """It has the one root that it can have."""
    request = parse_request(post(tree(0), 0, 0))
    assert judge(request, Cosigned(), KEYS).root == EMPTY_ROOT


def test_an_empty_tree_with_a_root_is_refused() -> None:
    """It cannot be extended to anything."""
    checkpoint = Checkpoint(ORIGIN, 0, bytes(32))
    body = encode_request(0, [], checkpoint_note(checkpoint, sign_note(checkpoint.text())))
    with pytest.raises(TwoRootsError):
        judge(parse_request(body), Cosigned(), KEYS)


@pytest.mark.parametrize(("old", "size", "have"), [(0, 9, 5), (4, 9, 5), (6, 9, 5), (3, 4, 5), (3, 9, 0)])
def test_another_old_size_is_told_the_one_held(old: int, size: int, have: int) -> None:
    """Smaller, larger, or for a checkpoint that is older than what is held."""
    entries = tree(9)
    with pytest.raises(StaleSizeError) as fault:
        judge(parse_request(post(entries, old, size)), held(entries, have), KEYS)

    assert fault.value.held == have
    assert answer_fault(fault.value) == (409, SIZE_TYPE, b"%d\n" % have)


@pytest.mark.parametrize(("old", "size"), [(4, 9), (5, 9), (7, 9), (8, 9), (6, 8)])
def test_another_history_has_no_proof(old: int, size: int) -> None:
    """Same keys, same sizes, other entries."""
    with pytest.raises(ConsistencyError) as fault:
        judge(parse_request(post(tree(9, text="other"), old, size)), held(tree(9), old), KEYS)

    assert answer_fault(fault.value).status == 422


def test_a_proof_that_is_cut_long_or_not_needed_does_not_hold() -> None:
    """Exactly the one proof counts."""
    entries = tree(9)
    right = consistency_proof(5, 9, entries.nodes)
    for proof in (right[:-1], [*right, bytes(32)], []):
        with pytest.raises(ConsistencyError):
            judge(parse_request(encode_request(5, proof, note(entries, 9))), held(entries, 5), KEYS)
    with pytest.raises(ConsistencyError):
        judge(parse_request(encode_request(0, [bytes(32)], note(entries, 9))), Cosigned(), KEYS)


@pytest.mark.parametrize("old", [0, 3, 5])
def test_another_root_at_the_held_size_is_a_fork(old: int) -> None:
    """Whatever old size it claims; the log has signed both."""
    with pytest.raises(TwoRootsError) as fault:
        judge(parse_request(post(tree(5, text="other"), old, 5)), held(tree(9), 5), KEYS)

    assert (fault.value.verdict, fault.value.size) == ("fork", 5)
    assert answer_fault(fault.value) == (409, SIZE_TYPE, b"5\n")


def test_another_root_at_an_older_size_that_is_known_is_a_fork() -> None:
    """Where receipts were given at it; with the size that is held now in the answer."""
    request = parse_request(post(tree(4, text="other"), 4, 4))
    with pytest.raises(TwoRootsError) as fault:
        judge(request, held(tree(9), 9), KEYS, known=tree(4).root())

    assert answer_fault(fault.value) == (409, SIZE_TYPE, b"9\n")
    with pytest.raises(StaleSizeError):
        judge(parse_request(post(tree(4), 4, 4)), held(tree(9), 9), KEYS, known=tree(4).root())


def test_every_key_of_the_log_must_have_signed() -> None:
    """Stricter than C2SP, which asks for one."""
    entries = tree(3)
    checkpoint = Checkpoint(ORIGIN, 3, entries.root())
    for line in sign_note(checkpoint.text()):
        request = parse_request(encode_request(0, [], checkpoint_note(checkpoint, [line])))
        with pytest.raises(MissingSignatureError) as fault:
            judge(request, Cosigned(), KEYS)
        assert answer_fault(fault.value).status == 403


def test_a_log_without_keys_is_never_cosigned() -> None:
    """An empty list of keys proves nothing."""
    with pytest.raises(MissingSignatureError):
        judge(parse_request(post(tree(3), 0, 3)), Cosigned(), ())


def test_lines_of_other_keys_are_ignored_and_not_kept() -> None:
    """Also of an unknown key under the log's own name; nobody fills the evidence with variants."""
    entries = tree(3)
    plain = note(entries, 3)
    stranger = VerifierKey(ORIGIN, 1, bytes(32))
    line = parse_note(plain).signatures[1]
    decorated = add_signature(plain, cosign(parse_note(plain).text))
    decorated = add_signature(decorated, type(line)(ORIGIN, stranger.id, b"anything"))

    found = judge(parse_request(encode_request(0, [], decorated)), Cosigned(), KEYS)

    assert found.note == plain
    assert verify_signed(parse_request(encode_request(0, [], decorated)), [INTEROP_KEY]).count(b"\n") == 5


def test_a_wrong_signature_is_forbidden() -> None:
    """One of them is enough."""
    entries = tree(3)
    other = sign_note(Checkpoint(ORIGIN, 4, bytes(32)).text())
    checkpoint = Checkpoint(ORIGIN, 3, entries.root())
    body = encode_request(0, [], checkpoint_note(checkpoint, [sign_note(checkpoint.text())[0], other[1]]))
    with pytest.raises(CheckpointSignatureError) as fault:
        judge(parse_request(body), Cosigned(), KEYS)

    assert answer_fault(fault.value).status == 403


def test_every_other_fault_has_its_status() -> None:
    """As C2SP says, and 503 for what may be tried again."""
    assert answer_fault(UnknownOriginError("example.com/other")).status == 404
    assert answer_fault(InputError("add-checkpoint", "form", b"", "one")).status == 400
    assert answer_fault(UnavailableError("ledger", "full")).status == 503


def test_cosignatures_are_answered_as_lines() -> None:
    """Each begins with an em dash and ends with a line feed."""
    line = cosign(parse_note(NOTE).text)
    status, _, body = answer_cosigned([line, line])

    assert (status, body.decode()) == (200, line.encode() * 2)


@given(size=st.integers(0, MAX_INTEGER))
def test_a_held_size_survives_the_wire(size: int) -> None:
    """Decimal, and a line feed."""
    assert parse_size(answer_fault(StaleSizeError(size)).body) == size


@pytest.mark.parametrize("body", [b"", b"7", b"07\n", b"-7\n", b"7\n\n", b"seven\n", b"9999999999999999\n"])
def test_a_malformed_held_size_is_refused(body: bytes) -> None:
    """It would be where the next proof starts."""
    with pytest.raises(InputError):
        parse_size(body)


class TwoHistories(RuleBasedStateMachine):
    """A log with two histories, which part at entry 6, posts anything to one witness."""

    def __init__(self) -> None:
        """Begin with nothing cosigned."""
        super().__init__()
        same = [leaf_hash(b"entry %d" % seq) for seq in range(6)]
        self.trees = [
            MerkleTree([*same, *(leaf_hash(b"%s %d" % (text, seq)) for seq in range(6, 20))])
            for text in (b"one", b"two")
        ]
        self.held = Cosigned()
        self.cosigned: list[Checkpoint] = []

    @rule(which=st.integers(0, 1), old=st.integers(0, 20), size=st.integers(0, 20))
    def posts(self, which: int, old: int, size: int) -> None:
        """Post a checkpoint of one of them, from any size on."""
        found = self.trees[which]
        if old > size:
            return
        request = parse_request(post(found, old, size))
        try:
            self.held = judge(request, self.held, KEYS)
        except (StaleSizeError, TwoRootsError, ConsistencyError):
            return
        self.cosigned.append(request.checkpoint)

    @rule(which=st.integers(0, 1), size=st.integers(0, 20))
    def posts_from_what_is_held(self, which: int, size: int) -> None:
        """Do what an honest end does after a 409."""
        self.posts(which, self.held.size, size)

    @invariant()
    def one_history_is_cosigned(self) -> None:
        """Never a smaller size after a larger one, never the roots of both."""
        sizes = [each.size for each in self.cosigned]
        assert sizes == sorted(sizes)
        assert any(all(found.root(each.size) == each.root for each in self.cosigned) for found in self.trees)


TestTwoHistories = TwoHistories.TestCase
