"""The quick way through a stretch finds what the thorough one finds: nothing but time depends on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical, stretch
from coldseal.core.log.authorship import are_signed
from coldseal.core.log.pace import Mark, between, follow, millis
from coldseal.core.log.record import Chain, key_id, parse_entry
from coldseal.core.log.rules import Policy, Rules, Verdict
from coldseal.core.log.signed import parse_parts, parse_usual
from coldseal.core.log.stretch import Stretch, examine_entries
from coldseal.core.log.table import HEADER, HEADER_BEFORE, rows_before, table_rows
from tests.core.log.example_log import CHECKPOINT_KEY, ORIGIN, RECORD_SPKI, sign

START_MS = 1_767_225_600_000
KID = key_id(RECORD_SPKI)
RULES = Rules(Policy(ORIGIN, RECORD_SPKI, (), ()), ((0, RECORD_SPKI),), ((0, 60),))
DATA = b'{"q":[{"n":"temperature","u":"Cel","v":"4.71"},{"n":"humidity","u":"%RH","v":"41.2"}],"sensor":"t1"}'
FLAGGED = b'{"flags":["a","b"],"q":[{"n":"x","t":"y","u":"Cel","v":"4,71"}],"sensor":"t1"}'


class Seal:
    """One entry to be sealed: whatever is not said is as in a reading that follows soon."""

    def __init__(self, **said: Any) -> None:  # noqa: ANN401 # fields of several types
        """Take what is said."""
        self.kind: str = said.get("kind", "reading")
        self.passed: int = said.get("passed", 1000)
        self.stepped: int = said.get("stepped", 0)
        self.boot: str = said.get("boot", "5f3a9c01")
        self.state: str = said.get("state", "synchronised")
        self.data: bytes = said.get("data", DATA)
        self.is_signed: bool = said.get("is_signed", True)
        self.spoilt: tuple[bytes, bytes] = said.get("spoilt", (b"", b""))


def seal(*wishes: Seal) -> list[bytes]:
    """Seal entries from the first on, which need not be a genesis."""
    chain, t, mono, entries = Chain(ORIGIN, KID), START_MS, 0, []
    for wish in wishes:
        t, mono = t + wish.passed + wish.stepped, mono + wish.passed
        moment = datetime.fromtimestamp(t / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        quality: dict[str, canonical.Value] = {
            "boot": wish.boot,
            "err": 1,
            "mono": max(0, mono),
            "off": 0,
            "s": wish.state,
        }
        src = b'{"dev":"d","seq":1,"sha256":"s"}'
        signer = sign if wish.is_signed else None
        raw = chain.seal(wish.kind, moment, canonical.encode(quality), src, wish.data, signer)
        entries.append(raw.replace(*wish.spoilt) if wish.spoilt[0] else raw)
    return entries


def both(
    rules: Rules, first: int, entries: list[bytes], *, header: str = HEADER
) -> tuple[Stretch, Stretch, int]:
    """Examine by the quick way and by the thorough one, and count what the thorough one saw in the first."""
    seen: list[bytes] = []

    def counted(raw: bytes) -> object:
        seen.append(raw)
        return parse_usual(raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretch, "parse_usual", counted)
        quick = examine_entries(rules, first, entries, header=header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretch, "signer_of", lambda _kid, _log: "nobody")
        return quick, examine_entries(rules, first, entries, header=header), len(seen)


ENTRIES = seal(*(Seal() for _ in range(5)))


@pytest.mark.parametrize("header", [HEADER, HEADER_BEFORE, ""])
@pytest.mark.parametrize("passed", [0, 1000, 30_000])
def test_readings_that_follow_each_other_are_looked_at_once(passed: int, header: str) -> None:
    """All but the first, which nothing is known of; whether they come often or, as promised, seldom."""
    entries = seal(*(Seal(passed=passed, data=data) for data in (DATA, FLAGGED, DATA, FLAGGED)))
    quick, thorough, slow = both(RULES, 0, entries, header=header)
    assert quick == thorough
    assert slow == 1
    rows = "".join(map(table_rows, entries))
    table = {HEADER: rows, HEADER_BEFORE: rows_before(rows), "": ""}[header].encode()
    assert (quick.table_size, quick.table_sum) == (len(table), sha256(table).digest() if table else b"")
    assert quick.kinds["reading"] == 4
    assert [fault.verdict for fault in quick.faults] == [Verdict.GENESIS]  # the log began with a reading


@pytest.mark.parametrize(
    ("wish", "verdict"),
    [
        (Seal(spoilt=(b"4.71", b"4.72")), Verdict.BAD_SIGNATURE),
        (Seal(is_signed=False), Verdict.UNSIGNED),
        (Seal(spoilt=(KID.encode(), b"0123456789abcdef")), Verdict.WRONG_KEY),
        (Seal(spoilt=(b'"seq":2,"src"', b'"seq":3,"src"')), Verdict.BAD_SIGNATURE),
        (Seal(spoilt=(b'"prev":"', b'"prev":"f')), Verdict.MALFORMED),
        (Seal(spoilt=(b"site-7", b"site-8")), Verdict.BAD_SIGNATURE),
        (Seal(stepped=3_600_000), Verdict.CLOCK_STEP),
        (Seal(stepped=-2_000), Verdict.CLOCK_STEP),
        (Seal(boot="0badcafe"), Verdict.CLOCK_STEP),
        (Seal(passed=400_000), Verdict.SILENCE),
        (Seal(kind="import"), None),
        (Seal(kind="heartbeat", data=b'{"accepted":1}'), None),
        (Seal(state="holdover"), None),
        (Seal(state="unsynchronised"), None),
        (Seal(spoilt=(b'"v":1}', b'"v":2}')), Verdict.MALFORMED),
        (Seal(spoilt=(b"d", "é".encode())), Verdict.MALFORMED),
        (Seal(data=b'{"q":[],"sensor":"%b"}' % (b"x" * 60_000)), None),
    ],
)
@pytest.mark.parametrize("is_checked", [True, False])
def test_whatever_is_odd_about_an_entry_is_found_by_both(
    wish: Seal, verdict: Verdict | None, is_checked: bool
) -> None:
    """The same faults with the same words, and the same of everything else."""
    entries = seal(Seal(), Seal(), wish, Seal(), Seal())
    rules = replace(RULES, is_signature_checked=is_checked)
    quick, thorough, _ = both(rules, 0, entries)
    assert quick == thorough
    about = [fault.verdict for fault in quick.faults if fault.seq == 2]
    if is_checked:
        assert about[:1] == ([] if verdict is None else [verdict])


@given(
    at=st.integers(1, 3),
    place=st.integers(0),
    put=st.binary(max_size=2) | st.text('{}[]",:\\0123456789-.eE+/=AZaz', max_size=2).map(str.encode),
    cut=st.integers(0, 2),
    is_checked=st.booleans(),
)
def test_whatever_is_changed_in_an_entry_both_find_the_same(
    at: int, place: int, put: bytes, cut: int, is_checked: bool
) -> None:
    """Flipped, inserted or taken out, at any place."""
    entries = list(ENTRIES)
    raw = entries[at]
    place %= len(raw)
    entries[at] = raw[:place] + put + raw[place + cut :]
    quick, thorough, _ = both(replace(RULES, is_signature_checked=is_checked), 0, entries)
    assert quick == thorough


def test_entries_that_are_moved_are_found_by_both() -> None:
    """Left out, doubled, or swapped."""
    first, second, third, fourth, fifth = ENTRIES
    for moved in (
        [first, third, fourth],
        [first, second, second, third],
        [first, third, second, fourth, fifth],
    ):
        quick, thorough, _ = both(RULES, 0, moved)
        assert quick == thorough
        assert Verdict.GAP in {fault.verdict for fault in quick.faults}


def test_the_key_changes_within_a_stretch() -> None:
    """What it signed before the change is good, what it signs after is not."""
    rules = replace(RULES, record_keys=((0, RECORD_SPKI), (3, RECORD_SPKI)))
    quick, thorough, slow = both(rules, 0, ENTRIES)
    assert (quick, slow) == (thorough, 1)
    later = replace(RULES, record_keys=((0, RECORD_SPKI), (3, CHECKPOINT_KEY.public)))
    quick, thorough, _ = both(later, 0, ENTRIES)
    assert quick == thorough
    assert {fault.seq for fault in quick.faults if fault.verdict is Verdict.WRONG_KEY} == {3, 4}


def test_a_forgery_under_one_of_two_keys_is_found_where_it_is() -> None:
    """Whatever else is signed well: nothing that was taken for signed stays so."""
    forged = [*ENTRIES[:1], ENTRIES[1].replace(b"4.71", b"4.72"), *ENTRIES[2:]]
    rules = replace(RULES, record_keys=((0, RECORD_SPKI), (3, CHECKPOINT_KEY.public)))
    quick, thorough, _ = both(rules, 0, forged)
    assert quick == thorough
    assert [fault.seq for fault in quick.faults if fault.verdict is Verdict.BAD_SIGNATURE] == [1]


def test_a_time_behind_the_cosignature_is_found_by_both() -> None:
    """The bound may change within a stretch."""
    begun = START_MS // 1000
    rules = replace(RULES, anchors=((2, begun + 10_000), (4, begun - 10_000)))
    quick, thorough, _ = both(rules, 0, ENTRIES)
    assert quick == thorough
    assert {fault.seq for fault in quick.faults if fault.verdict is Verdict.CLOCK_DRIFT} == {2, 3}


def test_in_checkpoint_mode_a_reading_needs_no_signature() -> None:
    """And is looked at once all the same."""
    entries = seal(*(Seal(is_signed=False) for _ in range(4)))
    rules = replace(RULES, policy=replace(RULES.policy, mode="checkpoint"))
    quick, thorough, slow = both(rules, 0, entries)
    assert (quick, slow) == (thorough, 1)


def test_a_log_whose_name_would_need_quotes_is_never_expected() -> None:
    """Else a name could bring members of an entry with it."""
    rules = replace(RULES, policy=replace(RULES.policy, origin='a","prev":"'))
    quick, thorough, slow = both(rules, 0, ENTRIES)
    assert (quick, slow) == (thorough, len(ENTRIES))


@pytest.mark.parametrize(
    "odd", [b"", b"\n", ENTRIES[3] + b"\n" + ENTRIES[3], ENTRIES[3] + b" " * 65_535, "é".encode()]
)
def test_an_odd_one_among_them_takes_nothing_from_its_neighbours(odd: bytes) -> None:
    """Whatever it does to lines, lengths and letters: each part stays with its entry, or none is given."""
    entries = [*ENTRIES[:3], odd, *ENTRIES[4:]]
    quick, thorough, _ = both(RULES, 0, entries)
    assert quick == thorough
    assert [fault.seq for fault in quick.faults if fault.verdict is Verdict.MALFORMED] == [3]
    for raw, parts in zip(entries, parse_parts(entries), strict=True):
        assert parts in {parse_parts([raw])[0], ("",) * 12}


@pytest.mark.parametrize("count", [255, 256, 257, 513])
def test_many_readings_are_read_in_parts_that_join(count: int) -> None:
    """Only the first of all is looked at alone; a fault is found on both sides of a part's end."""
    entries = seal(*(Seal() for _ in range(count)))
    quick, thorough, slow = both(RULES, 0, entries)
    assert (quick, slow) == (thorough, 1)
    for at in {count - 2, count - 1, min(256, count - 1)}:
        spoilt = [*entries[:at], entries[at].replace(b"4.71", b"4.72"), *entries[at + 1 :]]
        quick, thorough, _ = both(RULES, 0, spoilt)
        assert quick == thorough
        assert Verdict.BAD_SIGNATURE in {fault.verdict for fault in quick.faults if fault.seq == at}


def test_no_entries_are_a_stretch_without_faults() -> None:
    """There is nothing to be said of them."""
    assert examine_entries(RULES, 7, []) == Stretch(7)


def test_a_key_of_another_kind_has_signed_nothing() -> None:
    """An Ed25519 key is no record key."""
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert not are_signed(spki, [(b"", b"")])


@pytest.mark.parametrize(
    "t",
    [
        "2026-02-30T00:00:00.000Z",
        "2026-02-29T00:00:00.000Z",
        "0000-01-01T00:00:00.000Z",
        "2026-01-01 00:00:00.000Z",
        "2026-01-01T24:00:00.000Z",
        "2026-W01-1T00:00:00.000Z",
        ",000Z",
        ". 00Z",
        ".+00Z",
        ".0_0Z",
        ".000z",
    ],
)
def test_a_time_that_is_none_is_found_among_many(t: str) -> None:
    """Where readings are read at once, nobody has looked at its form before."""
    good = parse_entry(ENTRIES[-1]).t
    t = good[: len(good) - len(t)] + t
    entries = [
        *ENTRIES[:-1],
        ENTRIES[-1].replace(b'"t":"%b","tq"' % good.encode(), b'"t":"%b","tq"' % t.encode()),
    ]
    rules = replace(RULES, is_signature_checked=False)
    quick, thorough, slow = both(rules, 0, entries)
    assert quick == thorough
    assert (slow, quick.faults[0].verdict) == (len(entries), Verdict.MALFORMED)
    before = Mark(millis(good), 0, "5f3a9c01", "reading")
    assert follow(before, [t], ["0"], heartbeat_s=0, latest_ms=10**15) is None
    assert follow(before, [good], ["0"], heartbeat_s=0, latest_ms=10**15) is not None


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 100, 5_000, 5_001, 155_000, 155_001, 900_000]),
            st.sampled_from([0, 1, 125, 126, 250, 251, -1, -125, -250, -251, 1_100]),
        ),
        min_size=1,
        max_size=8,
    ),
    heartbeat_s=st.sampled_from([0, 60]),
    ahead_ms=st.integers(-2, 2),
)
def test_many_readings_follow_each_other_if_each_follows_the_one_before(
    steps: list[tuple[int, int]], heartbeat_s: int, ahead_ms: int
) -> None:
    """However far the clocks part, together or little by little, and however long nothing comes."""
    marks = [Mark(START_MS, 0, "5f3a9c01", "reading")]
    for passed, parted in steps:
        t_ms, mono_ms, boot, kind = marks[-1]
        marks.append(Mark(t_ms + passed + parted, mono_ms + passed, boot, kind))
    times = [
        datetime.fromtimestamp(mark.t_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        for mark in marks[1:]
    ]
    latest_ms = max(mark.t_ms for mark in marks[1:]) + ahead_ms
    found = follow(
        marks[0],
        times,
        [str(mark.mono_ms) for mark in marks[1:]],
        heartbeat_s=heartbeat_s,
        latest_ms=latest_ms,
    )
    is_good = ahead_ms >= 0 and not any(between(*pair, heartbeat_s) for pair in pairwise(marks))
    assert found == (marks[-1] if is_good else None)


def der(r_size: int, s_size: int) -> str:
    """Give the base64 of some strict DER of two integers so many bytes long, the last of them zero."""
    made = bytes((0x30, r_size + s_size + 4, 2, r_size)) + b"\x01" * r_size
    return canonical.encode_base64(made + bytes((2, s_size)) + b"\x01" * (s_size - 1) + b"\0")


ODD_TEXTS = {
    "a letter that base64 does not have": "!" + der(32, 32)[1:],
    "one that ASCII does not have": "\xe9" + der(32, 32)[1:],
    "padding in front": "=" + der(32, 32)[1:],
    "letters between those that count": "!!!" + der(32, 31) + "=",
    "stray bits before two signs": der(32, 32)[:-3] + "B==",
    "stray bits before one sign": der(32, 32 + 1)[:-2] + "B=",
    "stray bits in a short one": der(31, 31)[:-2] + "B=",
}


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_a_signature_that_base64_would_write_otherwise_is_found_among_many(name: str) -> None:
    """Even where signatures are not verified; one in the right form is none the worse."""
    begin, _, _ = ENTRIES[-1].rpartition(b'"sig":"')
    rules = replace(RULES, is_signature_checked=False)
    for text, is_odd in ((ODD_TEXTS[name], True), (der(32, 32), False), (der(31, 31), False)):
        raw = b'%b"sig":"%b"}' % (begin, text.encode("latin-1"))
        quick, thorough, _ = both(rules, 0, [*ENTRIES[:-1], raw])
        assert quick == thorough
        assert (quick.faults[0].verdict is Verdict.MALFORMED) is is_odd


@pytest.mark.parametrize("middle", [b"\n", b"x\n", b"\nx"])
def test_an_entry_does_not_go_on_in_the_next_one(middle: bytes) -> None:
    """Two that would be one if a line could end in its middle are none, and take no place."""
    raw, found = ENTRIES[3], parse_entry(ENTRIES[3])
    begin, _, end = raw.partition(found.prev.encode())
    halves = (begin + b"a" * 30 + middle + b"b" * (64 - 30 - len(middle)) + end).split(b"\n")
    entries = [*ENTRIES[:3], *halves, *ENTRIES[4:]]
    assert parse_parts(entries) == [("",) * 12] * len(entries)
    quick, thorough, _ = both(RULES, 0, entries)
    assert quick == thorough
    held = [begin + b"a" * 30 + middle + b"b" * (64 - 30 - len(middle)) + end, *ENTRIES[:2]]
    assert parse_parts([*held, *halves]) == [("",) * 12] * 5
    assert parse_parts(held)[0] == ("",) * 12
