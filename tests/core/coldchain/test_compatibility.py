"""Verdicts on versions of schemas: by cases, and held against documents that are drawn."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coldseal.core.coldchain.compatibility import ASKED, RULES, Direction, Mode, compare
from coldseal.core.coldchain.forms import Form, fits
from coldseal.core.coldchain.schema import MEANING, Schema, parse_schema
from tests.core.coldchain.drawn import documents, pairs, schemas

CASES = tomllib.loads(Path(__file__).with_name("compatibility.toml").read_text())["cases"]
SPEC = Path(__file__).parents[3] / "docs" / "specs" / "schemas.md"
TEMPERATURE = {"quantities": [{"member": "temp", "name": "temperature", "unit": "Cel"}]}


def version(case: dict[str, Any], which: str) -> Schema:
    """Make one of the two versions of a case."""
    members = case.get(which, {})
    said = {**TEMPERATURE, **(case.get("said_before", {}) if which == "old" else case.get("said", {}))}
    name = "other" if which == "new" and case.get("other") else "v.l"
    number = 1 if which == "old" else case.get("version", 2)
    document = {
        MEANING: {"name": name, "version": number, **said},
        "type": "object",
        "properties": {"temp": {"type": "number"}, **members},
        "required": ["temp", *(members if which in case.get("must", ()) else ())],
        "additionalProperties": which in case.get("open", ()),
    }
    return parse_schema(document, source=which)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_each_change_breaks_the_rules_that_it_should_and_no_others(case: dict[str, Any]) -> None:
    """In each direction."""
    verdict = compare(version(case, "old"), version(case, "new"))
    for direction in Direction:
        broken = sorted(rule for rule in RULES if verdict.of(rule, direction))
        assert broken == sorted(case.get(direction.value, [])), verdict.faults
    for mode in Mode:
        is_good = not any(case.get(direction.value) for direction in ASKED[mode])
        assert verdict.is_compatible(mode) is is_good


def test_every_rule_has_a_case_and_stands_in_the_specification() -> None:
    """With the words that people are shown."""
    shown = {rule for case in CASES for each in Direction for rule in case.get(each.value, ())}
    assert shown == set(RULES)
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", SPEC.read_text(), re.MULTILINE))
    assert {rule: rows.get(rule) for rule in RULES} == dict(RULES)
    assert len(CASES) >= 40


def lenient(form: Form) -> Form:
    """Give the form as a gateway has it that meets a newer version: what is not known is passed over."""
    members = {name: lenient(each) for name, each in form.members.items()}
    return Form(
        form.kinds,
        form.minimum,
        form.maximum,
        form.min_length,
        form.max_length,
        form.pattern,
        form.choices,
        members,
        form.required,
    )


@given(st.data(), pairs())
def test_backward_compatible_means_that_no_old_document_is_refused(
    data: st.DataObject, pair: tuple[Schema, Schema]
) -> None:
    """Every document of the old version that is drawn is one of the new version."""
    old, new = pair
    assume(compare(old, new).is_compatible(Mode.BACKWARD))
    more = st.dictionaries(st.sampled_from("abcz"), st.integers() | st.text(), max_size=2)
    for document in data.draw(st.lists(documents(old.form), min_size=2, max_size=6)):
        whole = {**data.draw(more), **document} if old.form.is_open else document
        if fits(old.form, whole):
            assert fits(new.form, whole)


@given(st.data(), pairs())
def test_forward_compatible_means_that_no_new_document_is_refused(
    data: st.DataObject, pair: tuple[Schema, Schema]
) -> None:
    """Every document of the new version that is drawn is taken by a gateway that knows the old one."""
    old, new = pair
    assume(compare(old, new).is_compatible(Mode.FORWARD))
    for document in data.draw(st.lists(documents(new.form), min_size=2, max_size=6)):
        if fits(new.form, document):
            assert fits(lenient(old.form), document)


@given(schemas())
def test_a_version_that_changes_nothing_is_compatible_with_the_one_before(schema: Schema) -> None:
    """In both directions, whatever it is."""
    again = Schema(schema.name, 2, schema.form, schema.meaning)
    assert compare(schema, again).is_compatible(Mode.FULL)


def test_what_breaks_is_said_with_its_place() -> None:
    """So that a person finds it."""
    case = next(each for each in CASES if each["name"] == "inner-bound-tightened")
    (fault,) = compare(version(case, "old"), version(case, "new")).faults
    assert (fault.place, fault.what) == ("x.y", "any is sent, 3 is taken")
