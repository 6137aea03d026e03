"""The gate and the published JSON Schema of a schema take the same payloads, and refuse the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain.forms import Form, fits
from coldseal.core.coldchain.schema import (
    RESERVED,
    TIME_FORMS,
    Meaning,
    Member,
    Schema,
    Source,
    document_of,
    make_schema,
    parse_schema,
)
from coldseal.errors import InputError
from coldseal.gateway.schemas import read_published
from coldseal.gateway.sources.decode import decode
from coldseal.gateway.sources.gates import Gate
from tests.core.coldchain.drawn import documents, near, schemas
from tests.gateway.sources.exceptions import EXCEPTIONS, SENML_EXCEPTIONS, explained

NUMBER = Form(frozenset({"number"}))
SPEC = Path(__file__).parents[3] / "docs" / "specs" / "schemas.md"
OWN, SENML = (
    {str(each): each for each in read_published()}[name] for name in ("coldseal-reading/1", "senml/1")
)


def validator(schema: Schema) -> jsonschema.Draft202012Validator:
    """Open a published schema with a validator that nobody here wrote."""
    document = json.loads(msgspec.json.encode(document_of(schema)))
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def refusal(schema: Schema, payload: bytes) -> InputError | None:
    """Have the run-time gate decide; None: it takes the payload."""
    try:
        if schema.name in RESERVED:
            decode(payload, received_ms=1_800_000_000_000)
        else:
            Gate(schema).read(payload)
    except InputError as error:
        return error
    return None


def require_equal(schema: Schema, payload: bytes) -> bool:
    """Hold gate, JSON Schema and our own judgement of a payload against each other; gives what they say."""
    document = json.loads(payload)
    is_valid = validator(schema).is_valid(document)
    assert fits(schema.form, document) is is_valid, payload
    error = refusal(schema, payload)
    if error is None:
        assert is_valid, f"the gate takes {payload!r}, its JSON Schema does not"
    elif is_valid:
        exceptions = SENML_EXCEPTIONS if schema == SENML else EXCEPTIONS
        assert explained(payload, error, exceptions), f"{payload!r}: {error}"
    return error is None


@given(st.data())
def test_a_sites_gate_and_its_json_schema_decide_alike(data: st.DataObject) -> None:
    """Documents that fit and documents that are changed in a place or two."""
    schema = data.draw(schemas())
    for _ in range(3):
        require_equal(schema, msgspec.json.encode(data.draw(near(schema.form))))


@given(st.data())
def test_the_projects_own_gate_and_its_json_schema_decide_alike(data: st.DataObject) -> None:
    """Version 1, as it is published."""
    value = st.sampled_from(["4.70", "1e5", "4.", "warm", "", "1e999", None, 5, -3])
    item = st.fixed_dictionaries(
        {
            "n": st.sampled_from(["temperature", "a:b", "", "-", "x" * 65, "a\n"]) | st.text(max_size=3),
            "u": st.sampled_from(["Cel", "%RH", "K", "C", "", "lx"]),
            "v": st.floats(-99, 99) | value,
        }
    )
    time = st.sampled_from(["2026-11-22T05:00:00.000Z", "", "2026-02-30T00:00:00Z", "soon", "2026-01-01\n"])
    whole = st.fixed_dictionaries(
        {"v": st.sampled_from([1, 1, 1, 1.0, 2, "1"]), "q": st.lists(item, min_size=1, max_size=17)},
        optional={
            "seq": st.integers(-1, 5) | st.sampled_from([2**53 - 1, 2**53, None, 1.0, 1.5, "1"]),
            "boot": st.sampled_from(["a1", "", "a b", "\u00e9", "x" * 17, "ab\n"]),
            "t": time,
            "x": st.none(),
        },
    )
    document: Any = data.draw(whole)
    if data.draw(st.booleans()):
        document = data.draw(
            st.sampled_from([document, {}, {"v": 1}, {**document, "q": [*document["q"], {}]}])
        )
    require_equal(OWN, msgspec.json.encode(document))


@given(st.data())
def test_the_gate_of_senml_and_its_json_schema_decide_alike(data: st.DataObject) -> None:
    """As far as a record can be judged without those before it."""
    names = ["n", "u", "v", "t", "bn", "bu", "bv", "bt", "bver", "ut", "vs", "vb", "x_", "x", "_", ""]
    value = st.sampled_from(["temperature", "Cel", "", 4.7, 10, 0, -1, True, None, 3e30])
    other = st.dictionaries(st.sampled_from(names), value, max_size=3)
    good = st.fixed_dictionaries({"n": st.just("t"), "u": st.just("Cel"), "v": st.floats(-9, 9, width=16)})
    record = good | other | st.tuples(good, other).map(lambda both: {**both[0], **both[1]})
    require_equal(SENML, msgspec.json.encode(data.draw(st.lists(record, max_size=3))))


@given(st.data())
def test_what_is_known_of_a_newer_version_is_taken_whatever_is_new(data: st.DataObject) -> None:
    """Members that nobody knows do not matter; those that are known do."""
    schema = data.draw(schemas())
    document = data.draw(documents(schema.form))
    gate = Gate(schema)
    newer = {**document, "new": data.draw(st.sampled_from([None, 1, "x", {"y": []}]))}
    newer.pop("schema", None)
    payload = msgspec.json.encode(newer)
    if fits(schema.form, {key: each for key, each in document.items() if key != "schema"}):
        reasons: list[str] = []
        try:
            found = gate.read(payload, newer=7)
        except InputError as error:
            reasons.append(explained(payload, error))
        else:
            assert (found.flags, found.schema) == (("schema-newer",), "v.l/7")
        assert "" not in reasons
    elif schema.form.is_open:
        with pytest.raises(InputError):
            gate.read(payload, newer=7)


@given(schemas())
def test_a_published_schema_reads_back_as_it_was(schema: Schema) -> None:
    """Whoever holds the JSON Schema holds all of it."""
    document = json.loads(msgspec.json.encode(document_of(schema)))
    assert parse_schema(document, source="elsewhere") == schema
    assert document_of(parse_schema(document, source="elsewhere")) == document


def logger(*members: Member, **meaning: Any) -> Schema:  # noqa: ANN401 # fields of a Meaning
    """Make a schema with a temperature."""
    said = Meaning((Source("temp", "temperature", "Cel"),), **meaning)
    return make_schema("v.l", 1, (Member("temp", NUMBER, is_required=True), *members), said, source="here")


EXAMPLES: dict[str, tuple[Schema, bytes]] = {
    "given twice": (logger(), b'{"temp":1,"temp":2}'),
    "whole number with a fraction": (
        logger(Member("n", Form(frozenset({"integer"})), is_required=False)),
        b'{"temp":1,"n":2.0}',
    ),
    "digits": (logger(), b'{"temp":0.123456789012345678901234567890123456789}'),
    "day of the calendar": (
        logger(Member("at", Form(frozenset({"string"})), is_required=False), time="at"),
        b'{"temp":1,"at":"2026-02-30T00:00:00Z"}',
    ),
    "escaped number": (OWN, b'{"v":1,"q":[{"n":"a","u":"Cel","v":"4\\u002e7"}]}'),
    "half a character": (
        logger(Member("s", Form(frozenset({"string"})), is_required=False)),
        b'{"temp":1,"s":"\\ud800"}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXCEPTIONS))
def test_each_exception_is_one_and_is_documented(name: str) -> None:
    """The JSON Schema takes the example, the gate does not; people are told so."""
    schema, payload = EXAMPLES[name]
    assert validator(schema).is_valid(json.loads(payload))
    error = refusal(schema, payload)
    assert error is not None
    assert explained(payload, error) == name
    assert f"| {name} |" in SPEC.read_text()


def test_the_exceptions_of_senml_are_documented() -> None:
    """All of them, beside those that every schema has."""
    text = SPEC.read_text()
    assert [name for name in SENML_EXCEPTIONS if f"| {name} |" not in text] == []


@pytest.mark.parametrize(
    ("form", "written", "taken"),
    [
        (TIME_FORMS[0], '"2026-11-22T05:00:00+01:00"', "2026-11-22T05:00:00+01:00"),
        (TIME_FORMS[1], "1700000000", "2023-11-14T22:13:20.000Z"),
        (TIME_FORMS[1], "1700000000.25", "2023-11-14T22:13:20.250Z"),
        (TIME_FORMS[2], "1700000000250", "2023-11-14T22:13:20.250Z"),
    ],
    ids=["rfc3339", "seconds", "fraction", "milliseconds"],
)
def test_a_devices_time_is_written_as_entries_have_it(form: str, written: str, taken: str) -> None:
    """In whichever form it comes."""
    kind = "string" if form == TIME_FORMS[0] else "number"
    schema = logger(Member("at", Form(frozenset({kind})), is_required=False), time="at", time_form=form)
    found = Gate(schema).read(b'{"temp":4.70,"at":%b}' % written.encode())
    assert (found.taken_at, found.quantities[0].value, found.schema) == (taken, "4.70", "v.l/1")


def test_a_quantity_that_is_null_or_left_out_is_none() -> None:
    """The others are taken; nothing is put in its place."""
    nullable = Form(frozenset({"number", "null"}))
    said = Meaning((Source("temp", "temperature", "Cel"), Source("air.rh", "humidity", "%RH")), seq="n")
    members = (
        Member("temp", NUMBER, is_required=True),
        Member("air.rh", nullable, is_required=False),
        Member("n", Form(frozenset({"integer"})), is_required=False),
    )
    gate = Gate(make_schema("v.l", 1, members, said, source="here"))
    for rest in (b"", b',"air":{"rh":null}', b',"air":{}'):
        assert [each.name for each in gate.read(b'{"temp":1%b}' % rest).quantities] == ["temperature"]
    found = gate.read(b'{"temp":1,"air":{"rh":40.0},"n":7}')
    assert [each[:3] for each in found.quantities][1] == ("humidity", "%RH", "40.0")
    assert found.seq == 7
