"""The catalogue of events, held against every place in the source that emits one."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import coldseal
from coldseal.observe import events
from coldseal.observe.events import CATALOGUE, Event
from coldseal.observe.logs import hide_secrets

SOURCE = Path(coldseal.__file__).parent


class Call(NamedTuple):
    """One place that emits an event."""

    place: str
    event: str
    fields: frozenset[str]


def calls() -> Iterator[Call]:
    """Find every ``….emit(events.NAME, field=…)`` in the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="emit"), args=[ast.Attribute(attr=name)], keywords=keywords
                ):
                    fields = frozenset(keyword.arg or "**" for keyword in keywords)
                    yield Call(f"{path.relative_to(SOURCE)}:{node.lineno}", name, fields)


def test_every_emitted_event_is_in_the_catalogue_with_exactly_its_fields() -> None:
    """So that no call can fail when it is needed most."""
    wrong = []
    for call in calls():
        event = getattr(events, call.event, None)
        if not isinstance(event, Event) or call.fields != set(event.fields):
            wrong.append(call)
    assert wrong == []


def test_every_event_s_name_is_its_own() -> None:
    """And is written like the others: part.what-happened."""
    names = Counter(event.name for event in CATALOGUE)
    assert [name for name, count in names.items() if count > 1] == []
    assert [name for name in names if not re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", name)] == []


def test_every_event_of_the_module_is_in_the_catalogue() -> None:
    """In the order of the page."""
    declared = [value for value in vars(events).values() if isinstance(value, Event)]
    assert list(CATALOGUE) == declared


def test_every_meaning_is_a_sentence_for_a_person() -> None:
    """It begins with a capital letter and ends with a full stop."""
    assert [event.name for event in CATALOGUE if not re.fullmatch(r"[A-Z`].*\.", event.meaning)] == []


def test_no_field_is_hidden_by_its_name() -> None:
    """A field that the secret filter replaces would be useless."""
    for event in CATALOGUE:
        fields: dict[str, object] = dict.fromkeys(event.fields, "x")
        assert hide_secrets(fields) == dict.fromkeys(event.fields, "x")


def test_fields_do_not_collide_with_those_of_every_line() -> None:
    """`time`, `level`, `part` and `event` stand in each line."""
    taken = {"time", "level", "part", "event"}
    assert [event.name for event in CATALOGUE if taken & set(event.fields)] == []
