"""The form of a JSON value, in that part of JSON Schema that a schema of payloads may use.

Promise: a keyword that is not known here is refused, never passed over: what a form says is all that its
JSON Schema says. Decides for a value whether it fits. Knows nothing of readings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from coldseal.errors import InputError

_NUMBERS: Final = (int, float, Decimal)

TYPE_NAMES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
OBJECT: Final = frozenset({"object"})
MAX_DEPTH: Final = 8

Scalar = str | int | float | bool | None
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Form:
    """What values are taken.

    Args:
        kinds: types of JSON Schema.
        minimum: least number.
        maximum: largest number.
        min_length: characters of a text at least.
        max_length: characters of a text at most.
        pattern: found in a text; empty: any.
        choices: the only values; None: any.
        members: of an object, by name.
        required: names of those that must be there.
        is_open: an object may have further members.
        names: pattern of each member's name; empty: any.
        items: of an array; None: any.
        min_items: of an array at least.
        max_items: of an array at most.
        default: what a member means that is left out; None: nothing.
    """

    kinds: frozenset[str]
    minimum: float | None = None
    maximum: float | None = None
    min_length: int = 0
    max_length: int | None = None
    pattern: str = ""
    choices: tuple[Scalar, ...] | None = None
    members: Mapping[str, Form] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    is_open: bool = True
    names: str = ""
    items: Form | None = None
    min_items: int = 0
    max_items: int | None = None
    default: Scalar = None


_PLAIN_REPEATS: Final = "no group that is repeated while it holds a repeat or alternatives"
_PARTS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[0-9,]*\}|.", re.DOTALL).findall
_REPEAT: Final = re.compile(r"[*+?]|\{[0-9,]*\}").fullmatch
_FIXED: Final = re.compile(r"\{[0-9]+\}").fullmatch


class _Document(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """One level of a JSON Schema."""

    type: str | tuple[str, ...]
    title: str = ""
    description: str = ""
    minimum: int | float | None = None
    maximum: int | float | None = None
    min_length: Count = 0
    max_length: Count | None = None
    pattern: str = ""
    enum: tuple[Scalar, ...] | None = None
    properties: dict[str, dict[str, Any]] = {}
    required: tuple[str, ...] = ()
    additional_properties: bool = True
    property_names: dict[str, str] = {}
    items: dict[str, Any] | None = None
    min_items: Count = 0
    max_items: Count | None = None
    default: Scalar = None


def parse_form(document: Mapping[str, object], source: str, place: str = "", depth: int = 0) -> Form:
    """Read a form.

    Args:
        document: a JSON Schema.
        source: where it was read from.
        place: where in it, for messages; ends in a dot.
        depth: levels above it.

    Raises:
        InputError: a keyword that is not ours, or a value that it cannot have; names place and value.
    """
    try:
        found = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`") or "keyword"
        value = document.get(key, ", ".join(document))
        raise InputError(source, f"{place}{key}", value, f"what a form can say: {what}") from error
    require(depth <= MAX_DEPTH, source, f"{place}type", found.type, f"at most {MAX_DEPTH} levels")
    names = found.property_names
    require(set(names) <= {"pattern"}, source, f"{place}propertyNames", names, "a pattern alone")
    members = {
        name: parse_form(each, source, f"{place}properties.{name}.", depth + 1)
        for name, each in found.properties.items()
    }
    items = found.items
    form = Form(
        frozenset((found.type,) if isinstance(found.type, str) else found.type),
        found.minimum,
        found.maximum,
        found.min_length,
        found.max_length,
        found.pattern,
        found.enum,
        members,
        frozenset(found.required),
        found.additional_properties,
        names.get("pattern", ""),
        None if items is None else parse_form(items, source, f"{place}items.", depth + 1),
        found.min_items,
        found.max_items,
        found.default,
    )
    check_form(form, source, place)
    return form


def check_form(form: Form, source: str, place: str = "") -> None:
    """Refuse one level of a form that contradicts itself, or that nothing could fit.

    Raises:
        InputError: names place, value and what was expected.
    """
    unknown = form.kinds - set(TYPE_NAMES)
    is_type = bool(form.kinds) and not unknown
    require(is_type, source, f"{place}type", sorted(form.kinds), f"of {', '.join(TYPE_NAMES)}")
    for key, low, high in (
        ("maximum", form.minimum, form.maximum),
        ("maxLength", form.min_length, form.max_length),
        ("maxItems", form.min_items, form.max_items),
    ):
        is_range = low is None or high is None or low <= high
        require(is_range, source, f"{place}{key}", high, f"at least {low}, which is its other bound")
    for key, pattern in (("pattern", form.pattern), ("propertyNames", form.names)):
        require(_is_pattern(pattern), source, f"{place}{key}", pattern, "a regular expression")
        require(not _is_endless(pattern), source, f"{place}{key}", pattern, _PLAIN_REPEATS)
    missing = sorted(form.required - set(form.members))
    require(not missing, source, f"{place}required", missing, "names of properties")
    is_said = form.choices is None or bool(form.choices)
    require(is_said, source, f"{place}enum", form.choices, "one value at least")
    unbound = replace(form, choices=None)
    for each in form.choices or ():
        is_choice = each is None or (isinstance(each, (str, int)) and not isinstance(each, bool))
        require(is_choice, source, f"{place}enum", each, "texts, whole numbers or null")
        require(fits(unbound, each), source, f"{place}enum", each, "values that the rest of the form takes")
    if form.default is not None:
        require(fits(form, form.default), source, f"{place}default", form.default, "a value that it takes")


def document_of_form(form: Form) -> dict[str, object]:
    """Write a form as JSON Schema, its keywords in one order."""
    kinds = [each for each in TYPE_NAMES if each in form.kinds]
    found: dict[str, object] = {
        "type": kinds[0] if len(kinds) == 1 else kinds,
        "enum": None if form.choices is None else list(form.choices),
        "minimum": form.minimum,
        "maximum": form.maximum,
        "minLength": form.min_length or None,
        "maxLength": form.max_length,
        "pattern": form.pattern or None,
        "minItems": form.min_items or None,
        "maxItems": form.max_items,
        "items": None if form.items is None else document_of_form(form.items),
        "properties": {name: document_of_form(each) for name, each in sorted(form.members.items())} or None,
        "required": sorted(form.required) or None,
        "propertyNames": {"pattern": form.names} if form.names else None,
        "additionalProperties": None if form.is_open else False,
        "default": form.default,
    }
    return {key: value for key, value in found.items() if value is not None}


def fits(form: Form, value: object) -> bool:
    """Whether a value of JSON has this form; numbers may be of any kind of Python's."""
    is_choice = form.choices is None or any(_same(value, each) for each in form.choices)
    if not is_choice or not form.kinds.intersection(_kinds_of(value)):
        return False
    if isinstance(value, str):
        return _fits_text(form, value)
    if isinstance(value, Mapping):
        return _fits_members(form, value)
    if isinstance(value, (list, tuple)):
        return _fits_items(form, value)
    return isinstance(value, bool) or not isinstance(value, _NUMBERS) or _fits_bounds(form, value)


def _fits_bounds(form: Form, value: float | Decimal) -> bool:
    """Whether a number fits."""
    low, high = form.minimum, form.maximum
    return (low is None or value >= low) and (high is None or value <= high)


def _fits_items(form: Form, value: Sequence[object]) -> bool:
    """Whether an array fits."""
    if len(value) < form.min_items or (form.max_items is not None and len(value) > form.max_items):
        return False
    items = form.items
    return items is None or all(fits(items, each) for each in value)


def _fits_text(form: Form, value: str) -> bool:
    """Whether a text fits."""
    is_length = form.min_length <= len(value) and (form.max_length is None or len(value) <= form.max_length)
    return is_length and (not form.pattern or re.search(form.pattern, value) is not None)


def _fits_members(form: Form, value: Mapping[str, object]) -> bool:
    """Whether an object's members fit."""
    for name, each in value.items():
        inner = form.members.get(name)
        if inner is None and not form.is_open:
            return False
        if inner is not None and not fits(inner, each):
            return False
        if form.names and re.search(form.names, name) is None:
            return False
    return form.required <= set(value)


def _kinds_of(value: object) -> tuple[str, ...]:
    """Name the types that a value is of."""
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, _NUMBERS):
        is_whole = isinstance(value, int) or value == value // 1
        return ("integer", "number") if is_whole else ("number",)
    if isinstance(value, str):
        return ("string",)
    return ("object",) if isinstance(value, Mapping) else ("array",)


def _same(value: object, choice: Scalar) -> bool:
    """Whether two values are one in JSON, where true is not 1."""
    return value == choice and isinstance(value, bool) == isinstance(choice, bool)


@lru_cache(maxsize=256)
def _is_pattern(pattern: str) -> bool:
    """Whether this is a regular expression."""
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@lru_cache(maxsize=256)
def _is_endless(pattern: str) -> bool:
    """Whether a text may take it time without end: something repeated is repeated, or one of several is."""
    is_free = [False]  # whether each open group may match a text in more than one way
    was_free, before = False, ""
    for part in _PARTS(pattern):
        closed = False
        if part == "(":
            is_free.append(False)
        elif part == ")" and len(is_free) > 1:
            closed = is_free.pop()
            is_free[-1] = is_free[-1] or closed
        elif _REPEAT(part) and before != "(":  # there a question mark says what kind of group it is
            if was_free and part != "?":
                return True
            is_free[-1] = is_free[-1] or not _FIXED(part)
        elif part == "|":
            is_free[-1] = True
        was_free, before = closed, part
    return False


def require(is_sound: bool, where: str, key: str, value: object, expected: str) -> None:  # noqa: FBT001 # the claim itself
    """Refuse a document that is not as it must be.

    Raises:
        InputError: naming where, key, value and what was expected.
    """
    if not is_sound:
        raise InputError(where, key, value, expected)
