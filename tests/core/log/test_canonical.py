"""Canonical bytes: one form for each value, with and without the fast library."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.errors import InputError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "canonical.json").read_text("utf-8"))


class Codec(Protocol):
    """What both ways of the module offer."""

    HAS_ORJSON: bool

    def encode(self, value: object) -> bytes:
        """Give the canonical bytes."""

    def parse(self, data: bytes, *, where: str) -> dict[str, canonical.Value]:
        """Read canonical bytes."""


@contextmanager
def _without_orjson() -> Iterator[None]:
    """Let ``import orjson`` fail, as in a bare install."""
    kept = sys.modules.get("orjson")
    sys.modules["orjson"] = None  # type: ignore[assignment] # how Python marks a module as not to be had
    try:
        yield
    finally:
        del sys.modules["orjson"]
        if kept is not None:
            sys.modules["orjson"] = kept


def _bare() -> Codec:
    """Load the module a second time, as a bare install has it."""
    spec = importlib.util.spec_from_file_location("canonical_in_a_bare_install", canonical.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _without_orjson():
        spec.loader.exec_module(module)
    return cast("Codec", module)


FAST = cast("Codec", canonical)
BARE = _bare()
BOTH = pytest.mark.parametrize("codec", [FAST, BARE], ids=["orjson", "bare"])

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=6)
anything = st.recursive(
    scalars
    | st.floats()
    | st.integers()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.tuples(st.integers()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def _outcome(codec: Codec, data: bytes) -> object:
    """Give what a codec makes of ``data``: the value, or what its refusal says."""
    try:
        return codec.parse(data, where="test")
    except InputError as refusal:
        return str(refusal)


def test_both_codecs_are_what_they_claim_to_be() -> None:
    """The environment of the tests has the fast library; the second module lacks it."""
    assert FAST.HAS_ORJSON
    assert not BARE.HAS_ORJSON


@BOTH
@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda v: v["name"])
def test_a_vector_has_its_canonical_form(codec: Codec, vector: dict[str, str]) -> None:
    """Any JSON text of a value leads to the same bytes, and those read back as the value."""
    value = json.loads(vector["json"])
    data = vector["canonical"].encode()
    assert codec.encode(value) == data
    assert codec.parse(data, where="vector") == value


@BOTH
@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_a_refused_vector_is_refused_by_name(codec: Codec, vector: dict[str, str]) -> None:
    """Each departure from the form is refused, and the error names the field."""
    data = bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode()
    with pytest.raises(InputError) as caught:
        codec.parse(data, where="vector")
    assert caught.value.where == "vector"
    assert caught.value.field == vector.get("field", caught.value.field)
    assert caught.value.expected


@BOTH
@given(value=objects)
def test_encoding_agrees_with_an_independent_library(codec: Codec, value: dict[str, canonical.Value]) -> None:
    """The rfc8785 package, written by others, gives the same bytes."""
    assert codec.encode(value) == rfc8785.dumps(value)


@BOTH
@given(value=objects)
def test_a_value_survives_the_round_trip(codec: Codec, value: dict[str, canonical.Value]) -> None:
    """What was encoded is read back as it was, also by the other codec."""
    data = codec.encode(value)
    assert codec.parse(data, where="test") == value == canonical.parse(data, where="test")


@given(value=st.dictionaries(st.text(max_size=4), anything, max_size=4))
def test_the_fast_encoder_says_yes_only_to_what_the_pure_one_gives(value: dict[str, Any]) -> None:
    """Whatever is put in, there is one answer: the same bytes, or the same refusal."""
    outcomes: list[object] = []
    for codec in (FAST, BARE):
        try:
            outcomes.append(codec.encode(value))
        except InputError as refusal:
            outcomes.append(str(refusal))
    assert outcomes[0] == outcomes[1]


@given(
    data=st.binary(max_size=64)
    | st.text(alphabet='{}[]":,\\u0123456789abcdefn.-+eE truslaé\U0001f600', max_size=40).map(str.encode)
)
def test_arbitrary_bytes_are_read_or_refused_alike(data: bytes) -> None:
    """Nothing but InputError ever comes out, and both codecs agree."""
    assert _outcome(FAST, data) == _outcome(BARE, data)


@given(value=objects, at=st.integers(0), put=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_means_another_value(
    value: dict[str, canonical.Value], at: int, put: int
) -> None:
    """No two byte strings are read as one value."""
    data = bytearray(canonical.encode(value))
    data[at % len(data)] = put
    found = _outcome(FAST, bytes(data))
    assert found == _outcome(BARE, bytes(data))
    if isinstance(found, dict):
        assert canonical.encode(found) == bytes(data)


@BOTH
@given(value=objects)
def test_truncation_at_each_byte_is_refused(codec: Codec, value: dict[str, canonical.Value]) -> None:
    """No beginning of a document is a document."""
    data = codec.encode(value)
    for end in range(len(data)):
        with pytest.raises(InputError):
            codec.parse(data[:end], where="test")


@BOTH
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a":['])
def test_a_pit_of_brackets_does_not_break_the_reader(codec: Codec, opening: bytes) -> None:
    """Depth costs the sender a refusal, not the reader its stack."""
    with pytest.raises(InputError):
        codec.parse(opening * 20_000, where="test")
    closing = {b"[": b"]", b'{"a":': b"}", b'{"a":[': b"]}"}[opening]
    with pytest.raises(InputError, match="at most 16 levels"):
        codec.parse(b'{"a":' + opening * 20_000 + b"1" + closing * 20_000 + b"}", where="test")


@BOTH
def test_thousands_of_digits_are_refused(codec: Codec) -> None:
    """The interpreter's own limit on digits surfaces as a refusal too."""
    with pytest.raises(InputError, match="at most 9007199254740991"):
        codec.parse(b'{"a":' + b"1" * 5_000 + b"}", where="test")


class _Word(StrEnum):
    """A word of a fixed set."""

    SYNCHRONISED = "synchronised"


class _Number(IntEnum):
    """A number with a name."""

    ONE = 1


@BOTH
def test_names_for_words_and_numbers_are_written_as_what_they_name(codec: Codec) -> None:
    """Enumerations that are strings or integers need no conversion."""
    assert codec.encode({"n": _Number.ONE, "s": _Word.SYNCHRONISED}) == b'{"n":1,"s":"synchronised"}'


@BOTH
@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": 1.5}, "a"),
        ({"a": {"b": [0, float("nan")]}}, "a.b[1]"),
        ({"a": 2**53}, "a"),
        ({"a": -(2**53)}, "a"),
        ({"a": b"bytes"}, "a"),
        ({"a": (1, 2)}, "a"),
        ({"a": {1, 2}}, "a"),
        ({1: "a"}, "key of document"),
        ({"a": {None: "a"}}, "key of a"),
        ({"a": "\ud800"}, "text"),
        ({"\udfff": 1}, "text"),
        ([], "document"),
    ],
)
def test_what_has_no_canonical_form_is_refused_by_its_path(codec: Codec, value: object, field: str) -> None:
    """The error tells which member of which object it was."""
    with pytest.raises(InputError) as caught:
        codec.encode(value)
    assert (caught.value.where, caught.value.field) == ("canonical form", field)


@given(data=st.binary(min_size=1))
def test_base64_survives_the_round_trip(data: bytes) -> None:
    """What was encoded is read back as it was."""
    assert canonical.parse_base64(canonical.encode_base64(data), where="test", field="f") == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AA",
        "AA=",
        "AB==",
        "AAB=",
        "AA==\n",
        " AA==",
        "A A==",
        "AA==AA==",
        "AA-_",
        "QUJD=",
        "====",
        "é===",
    ],
)
def test_base64_has_one_form_only(text: str) -> None:
    """Missing padding, stray bits, spaces, other alphabets: each is refused with its field."""
    with pytest.raises(InputError) as caught:
        canonical.parse_base64(text, where="note", field="signature")
    assert (caught.value.where, caught.value.field, caught.value.value) == ("note", "signature", text)


@given(text=st.text(max_size=16) | st.text("AQgw=+/\n", max_size=9))
def test_arbitrary_text_is_canonical_base64_or_refused(text: str) -> None:
    """Whatever is accepted encodes back to itself."""
    try:
        data = canonical.parse_base64(text, where="test", field="f")
    except InputError:
        return
    assert canonical.encode_base64(data) == text
