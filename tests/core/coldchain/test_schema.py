"""A site's schema: completed where it can be, refused where it contradicts itself or means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from coldseal.core.coldchain.forms import Form, fits
from coldseal.core.coldchain.schema import (
    MEANING,
    Meaning,
    Member,
    Reference,
    Source,
    document_of,
    is_always_there,
    make_schema,
    member_of,
    parse_reference,
    parse_schema,
)
from coldseal.errors import InputError

NUMBER, TEXT, WHOLE = (Form(frozenset({kind})) for kind in ("number", "string", "integer"))
TEMP = Member("temp", NUMBER, is_required=True)
CELSIUS = (Source("temp", "temperature", "Cel"),)


def make(*members: Member, name: str = "v.l", version: int = 1, **meaning: Any) -> Any:  # noqa: ANN401 # a schema
    """Make a schema with what is usual, or something else in its place."""
    said = Meaning(**{"quantities": CELSIUS, **meaning})
    return make_schema(name, version, (TEMP, *members), said, source="f.toml")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": ""}, "name is ''"),
    "a name with a slash": ({"name": "a/b"}, "name is 'a/b'"),
    "a name of the project's own": ({"name": "senml"}, "the project's own"),
    "version 0": ({"version": 0}, "version is 0"),
    "a version too high": ({"version": 1_000_000}, "version is 1000000"),
    "no quantity": ({"quantities": ()}, "quantities is 0"),
    "a quantity of no member": ({"quantities": (Source("t", "a", "Cel"),)}, "quantities.member is 't'"),
    "an unknown unit": ({"quantities": (Source("temp", "a", "C"),)}, "u is 'C'"),
    "a name that is none": ({"quantities": (Source("temp", "-", "Cel"),)}, "n is '-'"),
    "one member for two quantities": (
        {"quantities": (*CELSIUS, Source("temp", "b", "Cel"))},
        "quantities.member is 'temp', expected each once",
    ),
    "one name for two quantities": (
        {
            "members": [Member("x", NUMBER, is_required=False)],
            "quantities": (*CELSIUS, Source("x", "temperature", "Cel")),
        },
        "quantities.name is 'temperature', expected each once",
    ),
    "no quantity that is always there": (
        {"members": [Member("x", NUMBER, is_required=False)], "quantities": (Source("x", "a", "Cel"),)},
        "one at least whose member is required",
    ),
    "a quantity that may be null": (
        {
            "members": [Member("x", Form(frozenset({"number", "null"})), is_required=True)],
            "quantities": (Source("x", "a", "Cel"),),
        },
        "one at least whose member is required",
    ),
    "a quantity that is a text": (
        {"members": [Member("x", TEXT, is_required=True)], "quantities": (Source("x", "a", "Cel"),)},
        "members 'x': type is 'string', expected number or integer",
    ),
    "a quantity with a default": (
        {
            "members": [Member("x", Form(frozenset({"number"}), default=1), is_required=True)],
            "quantities": (Source("x", "a", "Cel"),),
        },
        "default is 1",
    ),
    "a quantity of choices": (
        {
            "members": [Member("x", Form(frozenset({"integer"}), choices=(1,)), is_required=True)],
            "quantities": (Source("x", "a", "Cel"),),
        },
        "enum is",
    ),
    "a sequence of no member": ({"seq": "n"}, "sequence.member is 'n'"),
    "a sequence that is no integer": ({"seq": "temp"}, "members 'temp': type is 'number'"),
    "a sequence below 0": (
        {"members": [Member("n", Form(frozenset({"integer"}), minimum=-1), is_required=False)], "seq": "n"},
        "members 'n': bounds is \\(-1",
    ),
    "a time of no member": ({"time": "at"}, "time.member is 'at'"),
    "a time in no form": ({"time_form": "soon"}, "time.form is 'soon'"),
    "a time with a pattern of its own": (
        {
            "members": [Member("at", Form(frozenset({"string"}), pattern="a"), is_required=False)],
            "time": "at",
        },
        "members 'at': pattern is 'a'",
    ),
    "a time beyond the calendar": (
        {
            "members": [Member("at", Form(frozenset({"integer"}), maximum=10**15), is_required=False)],
            "time": "at",
            "time_form": "unix-ms",
        },
        "members 'at': bounds",
    ),
    "a member without a name": ({"members": [Member("", NUMBER, is_required=False)]}, "members.name is ''"),
    "a member with an empty level": (
        {"members": [Member("a..b", NUMBER, is_required=False)]},
        "members.name",
    ),
    "a member twice": ({"members": [TEMP]}, "members.name is 'temp', expected each member once"),
    "a member within a value": (
        {"members": [Member("temp.x", NUMBER, is_required=False)]},
        "expected temp to be no value itself",
    ),
    "a member that names the schema": (
        {"members": [Member("schema", TEXT, is_required=False)]},
        "by it a payload names its schema",
    ),
    "a member that nothing could fit": (
        {"members": [Member("x", Form(frozenset({"number"}), minimum=2, maximum=1), is_required=False)]},
        "members 'x': maximum is 1",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_contradicts_itself_is_refused_with_member_value_and_cure(name: str) -> None:
    """Before any payload comes."""
    given = dict(BAD[name][0])
    members = given.pop("members", [])
    with pytest.raises(InputError, match=BAD[name][1]):
        make(*members, **given)


PUBLISHED: dict[str, tuple[dict[str, Any], str]] = {
    "no meaning": ({MEANING: None}, "x-coldseal is None"),
    "no name": ({MEANING: {"version": 1}}, "x-coldseal.name is None"),
    "no version": ({MEANING: {"name": "a"}}, "x-coldseal.version is None"),
    "a version that is none": ({MEANING: {"name": "a", "version": True}}, "x-coldseal.version is True"),
    "an unknown word": ({MEANING: {"name": "a", "version": 1, "unit": "K"}}, "x-coldseal.unit"),
    "quantities that are no list": ({MEANING: {"name": "a", "version": 1, "quantities": 3}}, "a list"),
    "a quantity without a unit": (
        {MEANING: {"name": "a", "version": 1, "quantities": [{"member": "temp", "name": "t"}]}},
        "objects of member, name and unit",
    ),
    "a quantity that is no object": ({MEANING: {"name": "a", "version": 1, "quantities": [3]}}, "objects of"),
    "a sequence that is no text": ({MEANING: {"name": "a", "version": 1, "seq": 3}}, "x-coldseal.seq is 3"),
    "a time that is no object": ({MEANING: {"name": "a", "version": 1, "time": "at"}}, "member and form"),
    "no quantity at all": ({MEANING: {"name": "a", "version": 1}}, "quantities is 0"),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_schema_is_checked_as_strictly(name: str) -> None:
    """It may come from anywhere."""
    change, said = PUBLISHED[name]
    with pytest.raises(InputError, match=said):
        parse_schema({**document_of(make()), **change}, source="f.json")


def test_sequence_and_time_get_the_bounds_that_entries_have() -> None:
    """So that the JSON Schema says them, too; narrower ones of the site stay."""
    narrow = Form(frozenset({"integer"}), minimum=5, maximum=9)
    for form, low, high in ((WHOLE, 0, 2**53 - 1), (narrow, 5, 9)):
        found = member_of(make(Member("n", form, is_required=False), seq="n").form, "n")
        assert found is not None
        assert (found.minimum, found.maximum) == (low, high)
    schema = make(Member("at", TEXT, is_required=False), time="at")
    assert fits(schema.form, {"temp": 1, "at": "2026-11-22T05:00:00.5+01:00"})
    assert not fits(schema.form, {"temp": 1, "at": "2026-11-22T05:00:00.5+01:00\n"})
    seconds = member_of(
        make(Member("at", NUMBER, is_required=False), time="at", time_form="unix-s").form, "at"
    )
    assert seconds is not None
    assert seconds.maximum == 253_402_300_799


def test_dots_make_objects_that_are_required_with_what_is_in_them() -> None:
    """A required member requires its way."""
    schema = make(Member("a.b.c", NUMBER, is_required=True), Member("a.d", TEXT, is_required=False))
    assert is_always_there(schema.form, "a.b.c")
    assert not is_always_there(schema.form, "a.d")
    assert not fits(schema.form, {"temp": 1})
    assert fits(schema.form, {"temp": 1, "a": {"b": {"c": 2}}, "schema": "v.l/12"})
    assert not fits(schema.form, {"temp": 1, "a": {"b": {"c": 2, "x": 1}}})
    assert not fits(schema.form, {"temp": 1, "a": {"b": {"c": 2}}, "schema": "vxl/12"})
    assert member_of(schema.form, "a.x.y") is None


def test_a_reference_is_a_name_with_or_without_a_version() -> None:
    """Anything else is none."""
    assert parse_reference("v.l/12") == Reference("v.l", 12)
    assert parse_reference("v.l") == Reference("v.l")
    assert (str(Reference("v.l", 12)), str(Reference("v.l"))) == ("v.l/12", "v.l")
    assert [parse_reference(each) for each in ("", "/1", "a/0", "a/01", "a/b", "a/1/2", "a/1\n")] == [
        None
    ] * 7


def test_a_published_schema_with_sequence_and_time_reads_back() -> None:
    """Where they stand, and the time's form."""
    members = (Member("n", WHOLE, is_required=False), Member("at", WHOLE, is_required=False))
    schema = make(*members, seq="n", time="at", time_form="unix-s")
    assert parse_schema(document_of(schema), source="again") == schema
    own = {**document_of(schema), MEANING: {"name": "senml", "version": 1, "version_member": "v"}}
    assert document_of(parse_schema(own, source="own"))[MEANING] == own[MEANING]


def test_a_title_is_published_and_whether_more_is_passed_over() -> None:
    """For those who make devices."""
    meaning = Meaning(CELSIUS)
    schema = make_schema("v.l", 3, (TEMP,), meaning, source="f", title="Logger", is_open=True)
    document = document_of(schema)
    assert (document["title"], "additionalProperties" in document) == ("Logger", False)
    assert str(schema) == "v.l/3"
