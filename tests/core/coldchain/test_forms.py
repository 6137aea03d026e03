"""Forms: what JSON Schema may say here, and which values it takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from coldseal.core.coldchain.forms import Form, document_of_form, fits, parse_form
from coldseal.errors import InputError


def nested(levels: int) -> dict[str, Any]:
    """Write arrays within arrays."""
    return {"type": "array", "items": nested(levels - 1)} if levels else {"type": "number"}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no type": ({}, "type"),
    "a type that is none": ({"type": "float"}, "type is \\['float'\\], expected of object"),
    "no type at all": ({"type": []}, "type"),
    "a keyword of others": ({"type": "number", "multipleOf": 2}, "multipleOf"),
    "a combined form": ({"type": "number", "anyOf": []}, "anyOf"),
    "a minimum that is no number": ({"type": "number", "minimum": "3"}, "minimum is '3'"),
    "a length below 0": ({"type": "string", "minLength": -1}, "minLength is -1"),
    "bounds the wrong way round": ({"type": "number", "minimum": 3, "maximum": 2}, "maximum is 2"),
    "lengths the wrong way round": ({"type": "string", "minLength": 3, "maxLength": 2}, "maxLength is 2"),
    "counts the wrong way round": ({"type": "array", "minItems": 3, "maxItems": 2}, "maxItems is 2"),
    "a pattern that is none": ({"type": "string", "pattern": "("}, "pattern is '\\('"),
    "a repeat of a repeat": (
        {"type": "string", "pattern": "^(a+)+$"},
        "pattern is .* expected no group that",
    ),
    "a counted repeat of a repeat": ({"type": "string", "pattern": "(b(a{2,})c){4}"}, "expected no group"),
    "a repeat of alternatives": ({"type": "string", "pattern": "((a|a))*"}, "expected no group that"),
    "a repeat of a name's repeat": (
        {"type": "object", "propertyNames": {"pattern": "(?:[a-z]*-)+"}},
        "propertyNames is .* expected no group that",
    ),
    "a pattern of names that is none": (
        {"type": "object", "propertyNames": {"pattern": "["}},
        "propertyNames",
    ),
    "names by something else": ({"type": "object", "propertyNames": {"maxLength": "3"}}, "propertyNames"),
    "a name required that nobody knows": ({"type": "object", "required": ["a"]}, "required is \\['a'\\]"),
    "no choice": ({"type": "string", "enum": []}, "enum is \\(\\)"),
    "a choice of another type": ({"type": "string", "enum": [1]}, "enum is 1"),
    "a choice that is a fraction": ({"type": "number", "enum": [1.5]}, "enum is 1.5"),
    "a choice that is a truth value": ({"type": "boolean", "enum": [True]}, "enum is True"),
    "a default that does not fit": ({"type": "string", "default": 1}, "default is 1"),
    "an inner fault": (
        {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "x"}}}}},
        "properties.a.properties.b.type",
    ),
    "a fault of items": ({"type": "array", "items": {"type": "x"}}, "items.type"),
    "too deep": (nested(9), "at most 8 levels"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_cannot_be_said_here_is_refused_with_its_place(name: str) -> None:
    """Nothing is passed over: a gate made of it would not do what the schema says."""
    document, said = BAD[name]
    with pytest.raises(InputError, match=said):
        parse_form(document, "here")


TAKEN: list[tuple[dict[str, Any], object, bool]] = [
    ({"type": "number"}, 1, True),
    ({"type": "number"}, Decimal("1.5"), True),
    ({"type": "number"}, True, False),
    ({"type": "integer"}, 2.0, True),
    ({"type": "integer"}, 2.5, False),
    ({"type": "boolean"}, False, True),
    ({"type": "boolean"}, 0, False),
    ({"type": "null"}, None, True),
    ({"type": ["number", "null"]}, None, True),
    ({"type": "number", "minimum": 0}, -0.5, False),
    ({"type": "number", "maximum": 1}, 1.5, False),
    ({"type": "integer", "enum": [1]}, True, False),
    ({"type": "number", "enum": [1]}, 1.0, True),
    ({"type": ["string", "null"], "enum": ["a", None]}, None, True),
    ({"type": "string", "minLength": 2}, "a", False),
    ({"type": "string", "maxLength": 1}, "ab", False),
    ({"type": "string", "pattern": "^a"}, "ba", False),
    ({"type": "string", "pattern": "^(?:[0-9]{2}[(+|]){3}(a|b+)?\\)*?$"}, "12(34+56|bb))", True),
    ({"type": "array", "minItems": 1}, [], False),
    ({"type": "array", "maxItems": 1}, [1, 2], False),
    ({"type": "array", "items": {"type": "number"}}, [1, "a"], False),
    ({"type": "array", "items": {"type": "number"}}, (1, 2), True),
    ({"type": "array"}, ["a", None], True),
    ({"type": "object"}, {"a": 1}, True),
    ({"type": "object", "additionalProperties": False}, {"a": 1}, False),
    ({"type": "object", "propertyNames": {"pattern": "^b"}}, {"a": 1}, False),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1}, False),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {}, False),
]


@pytest.mark.parametrize(("document", "value", "is_taken"), TAKEN, ids=map(str, range(len(TAKEN))))
def test_a_form_takes_what_it_says(document: dict[str, Any], value: object, is_taken: bool) -> None:
    """And nothing else; and it reads back as it is written."""
    form = parse_form(document, "here")
    assert fits(form, value) is is_taken
    assert parse_form(document_of_form(form), "again") == form


def test_what_is_for_people_alone_does_not_count() -> None:
    """A description changes nothing."""
    said = {"type": "number", "description": "warmth", "title": "t"}
    assert parse_form(said, "here") == Form(frozenset({"number"}))
