"""DER is read in its one form, and what was written is read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import der
from coldseal.core.log.der import Der, Fields
from coldseal.errors import InputError

WHAT = "value"


@given(st.integers(0, 30), st.one_of(st.binary(max_size=300), st.just(bytes(65_536)), st.just(bytes(127))))
def test_what_is_written_is_read(tag: int, content: bytes) -> None:
    """Lengths of every form."""
    raw = der.write(tag, content)

    assert der.read(WHAT, raw, tag) == Der(tag, content, raw)
    assert der.split(WHAT, raw * 2) == [Der(tag, content, raw)] * 2


@given(st.binary(max_size=12))
def test_any_bytes_are_read_as_written_or_refused(data: bytes) -> None:
    """There is no second form of anything."""
    try:
        found = der.split(WHAT, data)
    except InputError:
        return
    assert b"".join(der.write(each.tag, each.content) for each in found) == data


@pytest.mark.parametrize(
    "raw",
    [
        "30",  # no length
        "3080",  # indefinite
        "30800000",
        "308100",  # long form of a short length
        "30817f" + "00" * 127,
        "30820081" + "00" * 129,  # leading zero
        "3003020101020101",  # cut inside
        "300201",
        "3082",  # cut in the length
        "308401000000",  # longer than anything we read
        "30ff",
        "1f0100",  # a tag of several bytes
        "bf1f00",
    ],
)
def test_another_form_is_refused(raw: str) -> None:
    """Whoever could write a thing twice could sign it twice."""
    with pytest.raises(InputError):
        der.read(WHAT, bytes.fromhex(raw), der.SEQUENCE)


def test_nothing_longer_is_written_than_is_read() -> None:
    """Sixteen megabytes are no timestamp."""
    with pytest.raises(OverflowError):
        der.write(der.OCTET_STRING, bytes(1 << 24))


def test_fields_are_taken_in_their_order() -> None:
    """An optional one may be missing; nothing may be left."""
    fields = Fields(WHAT, der.write_integer(1) + der.TRUE + der.write(der.NULL))

    assert fields.find(der.BOOLEAN) is None
    assert fields.take(der.INTEGER).content == b"\x01"
    assert fields.find(der.BOOLEAN) is not None
    with pytest.raises(InputError, match="tag is 5"):
        fields.end()
    with pytest.raises(InputError, match="tag is 5"):
        fields.take(der.INTEGER)
    assert [each.tag for each in fields.rest()] == [der.NULL]
    fields.end()
    with pytest.raises(InputError, match="tag is None"):
        fields.take(der.INTEGER)


@given(st.integers(-(2**200), 2**200))
def test_integers_of_every_size(value: int) -> None:
    """Also those whose first bit is the sign."""
    raw = der.write_integer(value)

    assert der.read_integer(WHAT, der.read(WHAT, raw, der.INTEGER)) == value


@pytest.mark.parametrize("raw", ["0200", "02020001", "0202ffff"])
def test_an_integer_has_one_form(raw: str) -> None:
    """No byte too many, and at least one."""
    with pytest.raises(InputError, match="shortest"):
        der.read_integer(WHAT, der.read(WHAT, bytes.fromhex(raw), der.INTEGER))


def test_a_boolean_is_true_or_left_out() -> None:
    """Our booleans are false by default."""
    assert der.read_boolean(WHAT, der.read(WHAT, der.TRUE, der.BOOLEAN))
    for content in (b"\x00", b"\x01", b"", b"\xff\xff"):
        with pytest.raises(InputError):
            der.read_boolean(WHAT, der.read(WHAT, der.write(der.BOOLEAN, content), der.BOOLEAN))


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [("20261122052348Z", 0), ("20261122052348.5Z", 500_000), ("20261122052348.123456789Z", 123_456)],
)
def test_times_are_read(text: str, microsecond: int) -> None:
    """To the microsecond."""
    value = der.read(WHAT, der.write(der.GENERALIZED_TIME, text.encode()), der.GENERALIZED_TIME)

    assert der.read_time(WHAT, value) == datetime(2026, 11, 22, 5, 23, 48, microsecond, UTC)


@pytest.mark.parametrize(
    "text",
    [
        "20261122052348",  # whose time?
        "20261122052348+0100",
        "20261122052348.Z",
        "20261122052348.50Z",
        "20261322052348Z",
        "20261122052360Z",
        "202611220523Z",
        "\N{FULLWIDTH DIGIT TWO}0261122052348Z",
    ],
)
def test_a_time_has_one_form(text: str) -> None:
    """In UTC, to the second, without zeros behind."""
    value = der.read(WHAT, der.write(der.GENERALIZED_TIME, text.encode()), der.GENERALIZED_TIME)

    with pytest.raises(InputError, match="time"):
        der.read_time(WHAT, value)


def test_object_identifiers_are_written_as_the_standard_says() -> None:
    """X.690 8.19, with its own example and SHA-256."""
    assert der.object_id("2.999.3").hex() == "0603883703"
    assert der.object_id("2.16.840.1.101.3.4.2.1").hex() == "0609608648016503040201"
