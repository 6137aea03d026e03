"""Three payload formats in, checked quantities out; everything else is refused with its reason."""

import contextlib
import struct
from decimal import Decimal

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import InputError
from coldseal.gateway.sources.decode import decode, sensor_of

NOW_MS = 1_800_000_000_000
ITEM = '{"n":"temperature","u":"Cel","v":4.71}'


def test_the_projects_own_format_keeps_sequence_run_time_and_digits() -> None:
    """All that a device may say in version 1."""
    payload = (
        b'{"v":1,"seq":17,"boot":"a1b2c3d4","t":"2026-11-22T05:00:00.000Z",'
        b'"q":[{"n":"temperature","u":"Cel","v":4.70},{"n":"humidity","u":"%RH","v":"41.2"}]}'
    )
    found = decode(payload, received_ms=NOW_MS)
    assert (found.seq, found.boot, found.taken_at) == (17, "a1b2c3d4", "2026-11-22T05:00:00.000Z")
    assert [quantity[:3] for quantity in found.quantities] == [
        ("temperature", "Cel", "4.70"),
        ("humidity", "%RH", "41.2"),
    ]


def test_a_payload_may_leave_out_all_but_version_and_quantities() -> None:
    """White space is the sender's business."""
    found = decode(b'{ "v" : 1 , "q" : [ { "n" : "a:b" , "u" : "K" , "v" : 1 } ] }', received_ms=NOW_MS)
    assert (found.seq, found.boot, found.taken_at) == (None, "", "")
    assert found.quantities[0].name == "a:b"


@pytest.mark.parametrize(
    "payload",
    [
        f'{{"v":1,"v":1,"q":[{ITEM}]}}',
        f'{{"v":1,"q":[{ITEM}],"q":[{ITEM}]}}',
        '{"v":1,"q":[{"n":"a","n":"b","u":"Cel","v":1}]}',
        '{"v":1,"q":[{"n":"a","u":"Cel","v":1,"v":2}]}',
        f'{{"v":1,"t":"2026-01-01T00:00:00Z","t":"2026-01-01T00:00:00Z","q":[{ITEM}]}}',
    ],
)
def test_a_name_given_twice_is_refused(payload: str) -> None:
    """Readers disagree on which one counts, so the payload has no one meaning."""
    with pytest.raises(InputError, match="given twice"):
        decode(payload.encode(), received_ms=NOW_MS)


def test_an_escaped_name_is_understood() -> None:
    """The count of colons differs, the strict parser finds nothing wrong."""
    found = decode(b'{"v":1,"q":[{"n":"a\\u003ab","u":"Cel","v":1}]}', received_ms=NOW_MS)
    assert found.quantities[0].name == "a:b"


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "null",
        "{",
        "{}",
        '{"v":2,"q":[]}',
        '{"v":1,"q":[]}',
        f'{{"v":1,"q":[{ITEM}],"x":1}}',
        f'{{"v":1,"q":[{",".join([ITEM] * 17)}]}}',
        f'{{"v":1,"seq":-1,"q":[{ITEM}]}}',
        f'{{"v":1,"seq":9007199254740992,"q":[{ITEM}]}}',
        f'{{"v":1,"seq":1.5,"q":[{ITEM}]}}',
        f'{{"v":1,"boot":"a b","q":[{ITEM}]}}',
        f'{{"v":1,"boot":"ab\\n","q":[{ITEM}]}}',
        f'{{"v":1,"boot":"","q":[{ITEM}]}}',
        f'{{"v":1,"boot":null,"q":[{ITEM}]}}',
        f'{{"v":1,"boot":"\u00e9","q":[{ITEM}]}}',
        f'{{"v":1,"boot":"{"a" * 17}","q":[{ITEM}]}}',
        f'{{"v":1,"t":"yesterday","q":[{ITEM}]}}',
        f'{{"v":1,"t":"2026-02-30T00:00:00Z","q":[{ITEM}]}}',
        f'{{"v":1,"t":"2026-01-01T00:00:00","q":[{ITEM}]}}',
        '{"v":1,"q":[{"n":"a","u":"Cel","v":NaN}]}',
        '{"v":1,"q":[{"n":"a","u":"Cel","v":null}]}',
        '{"v":1,"q":[{"n":"a","u":"Cel","v":"warm"}]}',
        '{"v":1,"q":[{"n":"a","u":"Cel","v":[1]}]}',
        '{"v":1,"q":[{"n":"a","u":"\\ud800","v":1}]}',
        "[]",
        "[1]",
        '[{"n":"a","u":"Cel","v":NaN}]',
        '[{"n":"a","u":"Cel","v":true}]',
        '[{"n":"a","n":"b","u":"Cel","v":1}]',
        "[" * 5000,
    ],
)
def test_what_cannot_be_understood_is_refused(payload: str) -> None:
    """One InputError, whatever is wrong; nothing else escapes."""
    with pytest.raises(InputError):
        decode(payload.encode(), received_ms=NOW_MS)


def test_an_empty_label_of_senml_is_one_that_is_not_known() -> None:
    """RFC 8428 4.4: it is passed over; it once ended the intake."""
    found = decode(b'[{"":1,"n":"a","u":"Cel","v":1}]', received_ms=NOW_MS)
    assert [quantity.name for quantity in found.quantities] == ["a"]


def test_senml_json_is_resolved_with_exact_decimals() -> None:
    """Numbers never pass through binary floats."""
    found = decode(
        b'[{"bn":"s:","n":"t","u":"Cel","v":0.1},{"n":"h","u":"%RH","bv":0.2,"v":0.1}]', received_ms=NOW_MS
    )
    assert [quantity[:3] for quantity in found.quantities] == [("s:t", "Cel", "0.1"), ("s:h", "%RH", "0.3")]


def test_senml_cbor_takes_integer_labels_floats_of_each_width_and_decimal_fractions() -> None:
    """A 32-bit 4.71 is 4.71, not 4.710000038146973."""
    single = b"\x81\xa3\x00\x61a\x01\x63Cel\x02\xfa" + struct.pack(">f", 4.71)
    assert decode(single, received_ms=NOW_MS).quantities[0].value == "4.71"
    pack = [
        {-2: "s:", 0: "a", 1: "Cel", 2: 4.71},
        {"n": "b", "u": "Cel", "v": 5},
        {0: "c", 1: "Cel", 2: cbor2.CBORTag(4, [-2, 471])},
        {0: "d", 1: "lx", 2: 0.1 + 0.2},
        {0: "e", 1: "ppm", 2: 1e39},
    ]
    found = decode(cbor2.dumps(pack[:4]), received_ms=NOW_MS)
    assert [quantity.value for quantity in found.quantities] == ["4.71", "5", "4.71", "0.30000000000000004"]
    with pytest.raises(InputError, match="v is"):
        decode(cbor2.dumps(pack[4:]), received_ms=NOW_MS)


@pytest.mark.parametrize(
    "pack",
    [
        {0: "a"},
        [{0: "a", 1: "Cel", 2: float("nan")}],
        [{0: "a", 1: "Cel", 2: float("inf")}],
        [{0: "a", 1: "Cel", 2: True}],
        [{0: "a", 1: "Cel", 2: b"x"}],
        [{0: "a", 1: "Cel", 99: 1}],
        [{0: "a", 1: "Cel", 2: Decimal("NaN")}],
        [cbor2.CBORTag(0, "2026-01-01T00:00:00Z")],
        [cbor2.CBORTag(28, [])],
        [cbor2.CBORTag(35, "(a+)+$")],
        [cbor2.CBORTag(4, [2**31, 1])],
        [{0: "a", 1: "Cel", 2: cbor2.CBORTag(4, [999_999, 1])}],
        [[[[[[]]]]]],
    ],
)
def test_cbor_beyond_a_flat_pack_is_refused(pack: object) -> None:
    """Tags could make objects of other kinds or cost time; only decimal fractions are taken."""
    with pytest.raises(InputError):
        decode(cbor2.dumps([pack] if isinstance(pack, dict) and 2 not in pack else pack), received_ms=NOW_MS)


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda head, tail: head + tail,
        st.sampled_from([b"{", b"[", b"\x81", b"\x9f"]),
        st.binary(max_size=100),
    )
)
def test_arbitrary_bytes_raise_input_errors_only(payload: bytes) -> None:
    """A device can send anything."""
    with contextlib.suppress(InputError):
        decode(payload, received_ms=NOW_MS)


@given(st.integers(-(10**7), 10**7).map(lambda n: struct.unpack("f", struct.pack("f", n / 1000))[0]))
def test_a_single_precision_value_comes_back_as_itself(value: float) -> None:
    """The shortest text in 32 bits still names the same number."""
    text = decode(cbor2.dumps([{0: "a", 1: "lx", 2: value}]), received_ms=NOW_MS).quantities[0].value
    assert struct.pack("f", float(text)) == struct.pack("f", value)


@pytest.mark.parametrize(
    ("topic", "sensor"),
    [
        ("coldseal/v1/site-7/truck-1/reading/door", "door"),
        ("coldseal/v1/site-7/truck-1/status", None),
        ("coldseal/v1/site-7/truck-1/reading", None),
        ("elsewhere", None),
    ],
)
def test_only_the_reading_channel_names_a_sensor(topic: str, sensor: str | None) -> None:
    """What else a device may publish is passed on and not sealed."""
    assert sensor_of(topic) == sensor
