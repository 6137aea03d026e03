"""The quick way to an entry's signature: it says what the strict parser says, or leaves it to it."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import utils
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical, signed
from coldseal.core.log.record import MAX_ENTRY, Chain, Entry, key_id, parse_entry
from coldseal.core.log.signature import _ORDER
from coldseal.core.log.signed import Signed, parse_signed, parse_usual
from coldseal.errors import InputError
from tests.core.log.example_log import FOLDER, ORIGIN, RECORD_SPKI, sign, time_quality

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "entries.json").read_text("utf-8"))
ENTRIES = (FOLDER / "entries.jsonl").read_bytes().splitlines()
KID = key_id(RECORD_SPKI)
TIME = "2026-03-04T05:06:07.089Z"
DATA = b'{"q":[{"n":"temperature","u":"Cel","v":"4.71"},{"n":"humidity","u":"%RH","v":"41.2"}],"sensor":"t1"}'
SRC = b'{"boot":"5f3a9c01","dev":"sensor-001","fp":"6be2e62d35cf9311","seq":7,"sha256":"AA==","t":"x"}'

texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.text(st.characters(max_codepoint=0x7F))
integers = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | st.integers(-9, 9)
quantities = st.fixed_dictionaries(
    {"n": texts, "u": texts, "v": texts}, optional=dict.fromkeys(("c", "d", "i", "iu", "t"), texts)
)
contents = st.fixed_dictionaries(
    {"q": st.lists(quantities, max_size=3), "sensor": texts},
    optional={"flags": st.lists(texts, max_size=2), "more": texts},
)
sources = st.fixed_dictionaries(
    {"dev": texts, "sha256": texts},
    optional={
        **dict.fromkeys(("boot", "fp", "schema", "t"), texts),
        **dict.fromkeys(("pid", "seq", "z"), integers),
    },
)


def _seal(data: bytes = DATA, src: bytes = SRC, *, is_signed: bool = True) -> bytes:
    """Seal one entry."""
    chain = Chain(ORIGIN, KID)
    return chain.seal("reading", TIME, time_quality(1), src, data, sign if is_signed else None)


def _strict(raw: bytes) -> Signed | str:
    """Give what the strict parser says of an entry."""
    try:
        entry: Entry = parse_entry(raw)
    except InputError as refusal:
        return str(refusal)
    return Signed(entry.kid, entry.sig, entry.body)


def _quick(raw: bytes) -> Signed | str:
    """Give what the quick way says of it."""
    try:
        return parse_signed(raw)
    except InputError as refusal:
        return str(refusal)


@pytest.mark.parametrize(
    ("data", "src"),
    [
        (DATA, SRC),
        (b'{"flags":["implausible","sequence"],%b' % DATA[1:], SRC),
        (b'{"q":[{"n":"a","t":"b","u":"c","v":"d"}],"sensor":""}', b'{"dev":"d","pid":1,"sha256":"s"}'),
        (b'{"q":[{"n":"","u":"","v":""}],"sensor":"t1"}', b'{"dev":"d","sha256":"s"}'),
        (
            (
                b'{"q":[{"c":"1","i":"40.1","iu":"[degF]","n":"a","u":"Cel","v":"4.5"},'
                b'{"d":"a,b","n":"dew-point","u":"Cel","v":"1"}],"sensor":"t1"}'
            ),
            b'{"dev":"d","pid":1,"schema":"site/2","seq":7,"sha256":"s"}',
        ),
    ],
)
@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_a_reading_needs_no_other_parser(
    data: bytes, src: bytes, is_signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the quick way would be none; what it gives is what the strict parser gives."""
    raw = _seal(data, src, is_signed=is_signed)
    expected = _strict(raw)
    monkeypatch.delattr(signed, "parse_entry")
    assert parse_signed(raw) == expected


@pytest.mark.parametrize("vector", [*VECTORS["accepted"], *VECTORS["refused"]], ids=lambda v: v["name"])
def test_a_vector_is_read_or_refused_as_by_the_strict_parser(vector: dict[str, Any]) -> None:
    """Word for word."""
    old, new = vector["replace"]
    text = str(VECTORS["base"]).replace(old, new, 1)
    raw = text.replace("%s", "x" * (vector.get("fill", 0) - len(text.encode()) + 2)).encode()
    assert _quick(raw) == _strict(raw)


@given(data=contents, src=sources, is_signed=st.booleans())
def test_whatever_stands_in_a_reading_both_agree(
    data: dict[str, canonical.Value], src: dict[str, canonical.Value], is_signed: bool
) -> None:
    """Texts that need escaping, large numbers, members that nobody knows: there is one answer."""
    raw = _seal(canonical.encode(data), canonical.encode(src), is_signed=is_signed)
    assert _quick(raw) == _strict(raw)


@given(
    raw=st.sampled_from([_seal(), _seal(is_signed=False), *ENTRIES[1:]]),
    at=st.integers(0),
    put=st.binary(max_size=3) | st.text('{}[]",:\\0123456789-.eE+/=AZaz \x7f', max_size=3).map(str.encode),
    cut=st.integers(0, 3),
)
def test_whatever_is_changed_both_agree(raw: bytes, at: int, put: bytes, cut: int) -> None:
    """Flipped, inserted or taken out, at any place: the same values or the same refusal."""
    at %= len(raw)
    changed = raw[:at] + put + raw[at + cut :]
    assert _quick(changed) == _strict(changed)


@pytest.mark.parametrize("year", [1, 1900, 2000, 2025, 2028, 9999])
def test_each_day_that_may_be_written_is_judged_alike(year: int) -> None:
    """Days from 00 to 32 in months from 00 to 13: those that exist are read, the others are refused."""
    raw = _seal(is_signed=False)
    days = {date(year, 1, 1) + timedelta(number) for number in range(365)}
    days |= {date(year, 12, 31)}
    accepted = set()
    for month in range(14):
        for day in range(33):
            text = f"{year:04}-{month:02}-{day:02}"
            dated = raw.replace(TIME[:10].encode(), text.encode(), 1)
            assert _quick(dated) == _strict(dated)
            if isinstance(_quick(dated), Signed):
                accepted.add(text)
    assert accepted == {day.isoformat() for day in days}


@pytest.mark.parametrize("text", ["0000-03-04", "2026-03-04T24", "2026-03-04T05:60", "2026-03-04T05:06:60"])
def test_a_time_that_does_not_exist_is_refused(text: str) -> None:
    """The year 0, hour 24, minute 60, and a leap second."""
    raw = _seal(is_signed=False).replace(TIME[: len(text)].encode(), text.encode(), 1)
    assert _quick(raw) == _strict(raw)
    assert isinstance(_quick(raw), str)


@pytest.mark.parametrize(
    "number", ["0", "-0", "-1", "07", "999999999999999", "9007199254740991", "9007199254740992", "1.0", "1e3"]
)
def test_each_form_of_a_number_is_judged_alike(number: str) -> None:
    """Wherever a number stands."""
    raw = _seal(is_signed=False)
    for field in (b'"seq":7', b'"seq":0', b'"err":12', b'"mono":1', b'"off":-3'):
        assert field in raw
        changed = raw.replace(field, field[: field.index(b":") + 1] + number.encode(), 1)
        assert _quick(changed) == _strict(changed)


@pytest.mark.parametrize(
    "der",
    [bytes(70), bytes(71), b"\x30\x45\x02\x20" + b"\x01" * 32 + b"\x02\x21\x00" + b"\x80" * 32],
    ids=["70 zeros", "71 zeros", "the higher s"],
)
def test_what_only_looks_like_a_signature_is_refused(der: bytes) -> None:
    """Good base64 of no DER, or of the twin that anybody can make: both say the same."""
    raw = b'%b,"sig":"%b"}' % (_seal(is_signed=False)[:-1], b64encode(der))
    assert _quick(raw) == _strict(raw)
    assert isinstance(_quick(raw), str)


def test_the_largest_entry_is_read_and_one_byte_more_is_not() -> None:
    """Also where all else is usual."""
    fill = b"x" * (MAX_ENTRY - len(_seal(b'{"q":[{"n":"","u":"","v":""}],"sensor":""}')))
    largest = _seal(b'{"q":[{"n":"","u":"","v":""}],"sensor":"%b"}' % fill)
    assert len(largest) == MAX_ENTRY
    assert parse_signed(largest).kid == KID
    longer = largest.replace(b'"sensor":"', b'"sensor":"x', 1)
    assert _quick(longer) == _strict(longer)
    assert isinstance(_quick(longer), str)


def _parts(entry: Entry) -> list[object]:
    """Give the fields that the strict parser and `parse_usual` share."""
    return [entry.body, entry.kid, entry.kind, entry.log, entry.prev, entry.seq, entry.t, entry.sig]


@given(contents | st.just(json.loads(DATA)), sources | st.just(json.loads(SRC)), st.booleans())
def test_the_parts_of_a_usual_entry_are_what_the_strict_parser_reads(
    data: dict[str, Any], src: dict[str, Any], is_signed: bool
) -> None:
    """Or it is left to that parser."""
    raw = _seal(canonical.encode(data), canonical.encode(src), is_signed=is_signed)
    found, entry = parse_usual(raw), parse_entry(raw)
    if found is None:
        return
    assert [
        found.body,
        found.kid,
        found.kind,
        found.log,
        found.prev,
        found.seq,
        found.t,
        found.sig,
    ] == _parts(entry)
    assert (found.boot, found.mono, found.state) == (entry.tq["boot"], entry.tq["mono"], entry.tq["s"])
    assert json.loads(found.q) == entry.data["q"]
    assert json.loads(found.flags or "null") == entry.data.get("flags")
    assert (found.sensor, found.dev) == (entry.data["sensor"], entry.src["dev"])


def test_a_reading_is_usual_and_what_is_refused_is_not() -> None:
    """Neither is an entry whose signature has the higher s, is no DER, or that is too long."""
    raw = _seal()
    assert parse_usual(raw) is not None
    body, _, _ = raw.rpartition(b',"sig":"')
    higher = _encode_high(parse_entry(raw).sig or b"")
    for sig in (b64encode(higher), b64encode(bytes(70))):
        assert parse_usual(b'%b,"sig":"%b"}' % (body, sig)) is None
    assert parse_usual(raw.replace(b"sensor-001", b"x" * MAX_ENTRY)) is None
    assert parse_usual(raw.replace(b"sensor-001", "é".encode())) is None


def _encode_high(der: bytes) -> bytes:
    """Give the twin with the higher s."""
    r, s = utils.decode_dss_signature(der)
    return utils.encode_dss_signature(r, _ORDER - s)
