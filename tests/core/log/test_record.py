"""Entries: what is sealed is read back, byte for byte, and nothing else is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.merkle import EMPTY_ROOT, MerkleTree, leaf_hash
from coldseal.core.log.record import (
    CLOCK_STATES,
    KINDS,
    MAX_ENTRY,
    Chain,
    body_bytes,
    frame,
    key_id,
    parse_entry,
    parse_frames,
)
from coldseal.errors import InputError
from tests.core.log import example_log
from tests.core.log.example_log import FOLDER, ORIGIN, RECORD_SPKI, sign, time_quality

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "entries.json").read_text("utf-8"))
ENTRIES = (FOLDER / "entries.jsonl").read_bytes().splitlines()
KID = key_id(RECORD_SPKI)
TIME = "2026-03-04T05:06:07.089Z"
TQ = time_quality(1)

texts = st.text(st.characters(codec="utf-8"), max_size=8)
leaves = st.none() | st.booleans() | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | texts
objects = st.dictionaries(
    texts, leaves | st.lists(leaves, max_size=3) | st.dictionaries(texts, leaves, max_size=3)
)
origins = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"+\\'), min_size=1, max_size=255
)
hexes = st.integers(0, 2**64 - 1).map("{:016x}".format)
times = st.datetimes().map(lambda t: f"{t.replace(microsecond=0).isoformat()}.{t.microsecond // 1000:03}Z")
counters = st.integers(0, canonical.MAX_INTEGER)
time_qualities = st.fixed_dictionaries(
    {
        "boot": hexes.map(lambda text: text[:8]),
        "err": counters,
        "mono": counters,
        "off": st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER),
        "s": st.sampled_from(sorted(CLOCK_STATES)),
    }
)


def _made(vector: dict[str, Any]) -> bytes:
    """Make a vector's entry from the base that all of them vary."""
    old, new = vector["replace"]
    text = str(VECTORS["base"]).replace(old, new, 1)
    return text.replace("%s", "x" * (vector.get("fill", 0) - len(text.encode()) + 2)).encode()


def _chain(size: int = 0) -> Chain:
    """Give a chain with some entries in it."""
    chain = Chain(ORIGIN, KID)
    for _ in range(size):
        chain.seal("heartbeat", TIME, TQ, b"", b"{}", None)
    return chain


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda v: v["name"])
def test_a_vector_is_read(vector: dict[str, Any]) -> None:
    """Its body is a slice of its bytes, and the members are those of the JSON document."""
    raw = _made(vector)
    entry = parse_entry(raw)
    document = json.loads(raw)
    assert entry.raw == raw
    assert entry.body in raw
    assert json.loads(entry.body) == document["body"]
    assert {name: getattr(entry, name) for name in document["body"]} == document["body"]
    assert (entry.sig is None) == ("sig" not in document)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_a_refused_vector_is_refused_by_name(vector: dict[str, Any]) -> None:
    """Each attack on the format meets an error that names field, value and what was expected."""
    with pytest.raises(InputError) as caught:
        parse_entry(_made(vector))
    assert caught.value.field == vector["field"]
    assert caught.value.expected


def test_the_vectors_of_the_log_are_what_is_sealed_today() -> None:
    """Sealing the example again gives every file byte for byte: the format has not moved."""
    for name, content in example_log.files().items():
        assert (FOLDER / name).read_bytes() == content, name


def test_each_entry_of_the_log_names_the_one_before() -> None:
    """Seq counts up from 0, prev is the leaf hash before, and the genesis follows the empty root."""
    prev = EMPTY_ROOT
    for seq, raw in enumerate(ENTRIES):
        entry = parse_entry(raw)
        assert (entry.seq, entry.prev, entry.log, entry.kid) == (seq, prev.hex(), ORIGIN, KID)
        assert entry.is_known_kind
        assert entry.leaf_hash == leaf_hash(raw)
        prev = entry.leaf_hash


def test_an_unknown_kind_is_kept_and_flagged() -> None:
    """A later version may add kinds; an older reader says so and drops nothing."""
    vector = next(v for v in VECTORS["accepted"] if "does not know" in v["name"])
    entry = parse_entry(_made(vector))
    assert not entry.is_known_kind
    assert entry.kind not in KINDS


@given(
    log=origins, seq=counters, prev=hexes, kid=hexes, kind=st.sampled_from(sorted(KINDS)), t=times,
    tq=time_qualities, src=objects, data=objects,
)  # fmt: skip
def test_the_joined_body_is_the_canonical_one(
    log: str, seq: int, prev: str, kid: str, kind: str, t: str,
    tq: dict[str, canonical.Value], src: dict[str, canonical.Value], data: dict[str, canonical.Value],
) -> None:  # fmt: skip
    """The fast path gives the bytes that canonicalising the whole body would give."""
    body: dict[str, canonical.Value] = {
        "v": 1, "log": log, "seq": seq, "prev": prev * 4, "kid": kid, "kind": kind, "t": t,
        "tq": tq, "src": src, "data": data,
    }  # fmt: skip
    parts = {
        "tq": canonical.encode(tq),
        "src": canonical.encode(src) if src else b"",
        "data": canonical.encode(data),
    }
    joined = body_bytes(log=log, seq=seq, prev=prev * 4, kid=kid, kind=kind, t=t, **parts)
    assert joined == canonical.encode(body)


@given(
    log=origins, kid=hexes, kind=st.sampled_from(sorted(KINDS)), t=times,
    tq=time_qualities, src=objects, data=objects, signer=st.sampled_from([sign, None]),
)  # fmt: skip
def test_what_is_sealed_is_read_back(
    log: str, kid: str, kind: str, t: str, tq: dict[str, canonical.Value],
    src: dict[str, canonical.Value], data: dict[str, canonical.Value],
    signer: Callable[[bytes], bytes] | None,
) -> None:  # fmt: skip
    """Every member survives, the signature covers the slice, and the chain stands behind the entry."""
    chain = Chain(log, kid)
    parts = canonical.encode(tq), canonical.encode(src), canonical.encode(data)
    raw = chain.seal(kind, t, *parts, signer)
    entry = parse_entry(raw)
    assert (entry.v, entry.log, entry.seq, entry.kid, entry.kind, entry.t) == (1, log, 0, kid, kind, t)
    assert (entry.tq, entry.src, entry.data) == (tq, src, data)
    assert entry.sig == (None if signer is None else signer(entry.body))
    assert (chain.size, chain.head) == (1, entry.leaf_hash.hex())


@given(data=st.binary(max_size=80))
def test_arbitrary_bytes_are_no_entry(data: bytes) -> None:
    """Whatever arrives, the answer is a refusal."""
    with pytest.raises(InputError):
        parse_entry(data)


@given(
    number=st.integers(0, len(ENTRIES) - 1),
    at=st.integers(0),
    put=st.binary(max_size=3),
    cut=st.integers(0, 3),
)
def test_a_changed_entry_is_refused_or_has_another_hash(number: int, at: int, put: bytes, cut: int) -> None:
    """No two byte strings are one entry, whatever was flipped, inserted or taken out."""
    raw = ENTRIES[number]
    at %= len(raw)
    changed = raw[:at] + put + raw[at + cut :]
    try:
        entry = parse_entry(changed)
    except InputError:
        return
    assert entry.raw == changed
    assert (entry.leaf_hash == leaf_hash(raw)) == (changed == raw)


@pytest.mark.parametrize("raw", [ENTRIES[0], ENTRIES[5]], ids=["genesis", "rejected"])
def test_truncation_at_each_byte_is_refused(raw: bytes) -> None:
    """No beginning of an entry is an entry."""
    for end in range(len(raw)):
        with pytest.raises(InputError):
            parse_entry(raw[:end])


def test_the_largest_entry_is_sealed_and_one_byte_more_is_not() -> None:
    """65,535 bytes fit the framing; beyond, nothing is sealed and the chain stays where it was."""
    chain = _chain(1)
    small = len(_chain(1).seal("import", TIME, TQ, b"", b'{"x":""}', None))
    fill = b"x" * (MAX_ENTRY - small)
    before = chain.state()
    with pytest.raises(InputError, match="entry: length is 65536"):
        chain.seal("import", TIME, TQ, b"", b'{"x":"%bx"}' % fill, None)
    assert chain.state() == before
    raw = chain.seal("import", TIME, TQ, b"", b'{"x":"%b"}' % fill, None)
    assert len(raw) == MAX_ENTRY
    assert parse_entry(raw).seq == 1


@pytest.mark.parametrize(
    ("kind", "t", "field"),
    [
        ("telepathy", TIME, "kind"),
        ("", TIME, "kind"),
        ("reading", "2026-03-04T05:06:07Z", "t"),
        ("reading", "2026-02-29T05:06:07.089Z", "t"),
        ("reading", "0000-01-01T00:00:00.000Z", "t"),
    ],
)
def test_a_chain_seals_nothing_that_could_not_be_read_back(kind: str, t: str, field: str) -> None:
    """An unknown kind or a time that does not exist would spoil the log for good."""
    chain = _chain(1)
    before = chain.state()
    with pytest.raises(InputError) as caught:
        chain.seal(kind, t, TQ, b"", b"{}", None)
    assert caught.value.field == field
    assert chain.state() == before


def test_a_failed_signature_leaves_the_chain_where_it_was() -> None:
    """A signer that fails, or gives no DER, makes no entry."""

    def fails(_body: bytes) -> bytes:
        raise OSError(5, "the token was pulled out")

    chain = _chain(2)
    before = chain.state()
    with pytest.raises(OSError, match="pulled out"):
        chain.seal("reading", TIME, TQ, b"", b"{}", fails)
    with pytest.raises(InputError, match="signature: DER"):
        chain.seal("reading", TIME, TQ, b"", b"{}", lambda _: b"\x30\x00")
    assert chain.state() == before


@pytest.mark.parametrize(
    ("log", "kid"),
    [
        ("", KID),
        ("a b", KID),
        ("a+b", KID),
        ('a"b', KID),
        ("a" * 256, KID),
        (ORIGIN, ""),
        (ORIGIN, KID.upper()),
    ],
)
def test_a_chain_needs_an_origin_and_a_key(log: str, kid: str) -> None:
    """What needs escaping or names no key is refused before the first entry."""
    with pytest.raises(InputError, match=r"chain: (log|kid)"):
        Chain(log, kid)


@given(size=st.integers(0, 70), more=st.integers(0, 5))
def test_a_restored_chain_goes_on_like_the_first(size: int, more: int) -> None:
    """State as JSON and back, or a copy: the next entries and the root are the same."""
    first = _chain(size)
    restored = Chain.from_state(canonical.parse(canonical.encode(first.state()), where="state"))
    copied = first.copy()
    hashes: list[list[bytes]] = []
    for chain in (first, restored, copied):
        entries = [chain.seal("heartbeat", TIME, TQ, b"", b"{}", sign) for _ in range(more)]
        hashes.append([*map(leaf_hash, entries), chain.tree.root()])
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_copied_chain_goes_its_own_way() -> None:
    """Sealing on a copy leaves the first one as it was."""
    chain = _chain(3)
    before = chain.state()
    chain.copy().seal("reading", TIME, TQ, b"", b"{}", None)
    assert chain.state() == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"log": None}, "log, kid"),
        ({"kid": 7}, "log, kid"),
        ({"log": "a b"}, "log"),
        ({"size": "3"}, "size"),
        ({"size": True}, "size"),
        ({"size": 2}, "hashes"),
        ({"size": -1, "hashes": []}, "hashes"),
        ({"hashes": None}, "hashes"),
        ({"hashes": ["00"]}, "hashes"),
        ({"hashes": [7, 7]}, "hashes"),
        ({"hashes": []}, "hashes"),
        ({"head": None}, "head"),
        ({"head": "00"}, "head"),
        ({"head": "0" * 64}, "head"),
        ({"size": 0, "hashes": []}, "head"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(changes: dict[str, object], field: str) -> None:
    """A missing, malformed or contradicting member is named; nothing is guessed."""
    state: dict[str, object] = {**_chain(3).state(), **changes}
    with pytest.raises(InputError) as caught:
        Chain.from_state(state)
    assert caught.value.field == field


@given(entries=st.lists(st.binary(min_size=1, max_size=40)))
def test_framed_entries_come_back(entries: list[bytes]) -> None:
    """Framing is the tile format's: length as uint16, then the entry."""
    assert parse_frames(frame(entries)) == entries


def test_the_bundle_of_the_log_is_its_entries() -> None:
    """The entry bundle holds the entries, the tile their leaf hashes, and the tree follows."""
    bundle = (FOLDER / "tile" / "entries" / "000.p" / str(len(ENTRIES))).read_bytes()
    tile = (FOLDER / "tile" / "0" / "000.p" / str(len(ENTRIES))).read_bytes()
    assert parse_frames(bundle) == ENTRIES
    assert b"".join(map(leaf_hash, ENTRIES)) == tile
    assert example_log.build()[0].tree.root() == MerkleTree(map(leaf_hash, ENTRIES)).root()


@given(data=st.binary(max_size=40))
def test_arbitrary_bytes_are_frames_or_refused(data: bytes) -> None:
    """What is accepted frames back to itself."""
    try:
        entries = parse_frames(data)
    except InputError:
        return
    assert frame(entries) == data


def test_a_bundle_that_ends_inside_an_entry_is_refused() -> None:
    """Cut at any byte but between two entries."""
    bundle = frame(ENTRIES[:2])
    whole = {0, 2 + len(ENTRIES[0])}
    for end in set(range(len(bundle))) - whole:
        with pytest.raises(InputError, match="a whole entry"):
            parse_frames(bundle[:end])


@pytest.mark.parametrize("entry", [b"", b"x" * (MAX_ENTRY + 1)], ids=["empty", "65,536 bytes"])
def test_what_does_not_fit_a_frame_is_not_framed(entry: bytes) -> None:
    """An entry has 1 to 65,535 bytes."""
    with pytest.raises(InputError, match="bundle: length"):
        frame([ENTRIES[0], entry])


def test_an_empty_frame_is_refused() -> None:
    """No entry has no bytes."""
    with pytest.raises(InputError, match="bundle: entry 1"):
        parse_frames(frame(ENTRIES[:1]) + b"\x00\x00")
