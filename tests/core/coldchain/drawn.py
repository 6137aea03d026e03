"""Forms of payloads, documents that fit them, and documents that nearly do, drawn by Hypothesis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from coldseal.core.coldchain.forms import Form
from coldseal.core.coldchain.schema import Meaning, Member, Schema, Source, make_schema

NAMES = ("a", "b", "c", "d e")
PATTERNS = ("^[a-c]{1,3}(?![\\s\\S])", "b", "^x")
_TEXTS = st.text("abcx \n\u00e9", max_size=5)
_NUMBERS = st.one_of(
    st.integers(-9, 9),
    st.integers(-(10**18), 10**18),
    st.floats(-9, 9, allow_nan=False, width=32),
    st.sampled_from([0.5, -0.0, 1e30]),
)
_BOUNDS = st.one_of(st.none(), st.integers(-6, 6))


@st.composite
def leaves(draw: st.DrawFn) -> Form:
    """Draw the form of a number, text, truth value or choice."""
    kind = draw(st.sampled_from(["number", "integer", "string", "string", "boolean", "choice"]))
    if kind == "choice":
        return Form(frozenset({"string"}), choices=tuple(draw(st.sets(_TEXTS, min_size=1, max_size=3))))
    return draw(bounded(frozenset({kind, "null"} if draw(st.booleans()) else {kind})))


@st.composite
def bounded(draw: st.DrawFn, kinds: frozenset[str]) -> Form:
    """Draw bounds for values of some types."""
    if "string" in kinds:
        least = draw(st.integers(0, 2))
        most = draw(st.one_of(st.none(), st.integers(least, 5)))
        pattern = draw(st.sampled_from(("", "", *PATTERNS)))
        return Form(kinds, min_length=least, max_length=most, pattern=pattern)
    if "boolean" in kinds:
        return Form(kinds)
    low, high = draw(_BOUNDS), draw(_BOUNDS)
    if low is not None and high is not None and high < low:
        low, high = high, low
    return Form(kinds, minimum=low, maximum=high)


@st.composite
def members(draw: st.DrawFn) -> list[Member]:
    """Draw members, some of them within an object."""
    return [
        Member(f"{draw(st.sampled_from(['', 'inner.']))}{name}", draw(leaves()), draw(st.booleans()))
        for name in sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    ]


def written(found: list[Member], version: int, *, is_open: bool) -> Schema:
    """Make a schema with one quantity that is always there, and members besides."""
    temp = Member("temp", Form(frozenset({"number"}), minimum=-9, maximum=9), is_required=True)
    meaning = Meaning((Source("temp", "temperature", "Cel"),))
    return make_schema("v.l", version, (temp, *found), meaning, source="drawn", is_open=is_open)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Draw a site's schema."""
    return written(draw(members()), 1, is_open=draw(st.booleans()))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """Draw a schema and its next version, in which a member or two are changed, added or taken away."""
    before, is_open = draw(members()), draw(st.booleans())
    after = list(before)
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()) and after:
            place = draw(st.integers(0, len(after) - 1))
            name, form, is_required = after.pop(place)
            how = draw(st.sampled_from(["drop", "require", "bounds", "bounds", "bounds", "null", "another"]))
            if how == "require":
                after.append(Member(name, form, not is_required))
            elif how == "bounds" and form.choices is None:
                after.append(Member(name, draw(bounded(form.kinds)), is_required))
            elif how == "null" and form.choices is None:
                after.append(Member(name, replace(form, kinds=form.kinds ^ {"null"}), is_required))
            elif how == "another":
                after.append(Member(name, draw(leaves()), is_required))
        else:
            taken = {each.name.rpartition(".")[2] for each in after}
            free = [name for name in NAMES if name not in taken]
            if free:
                after.append(Member(draw(st.sampled_from(free)), draw(leaves()), draw(st.booleans())))
    will_be_open = draw(st.sampled_from([is_open, is_open, not is_open]))
    old, new = written(before, 1, is_open=is_open), written(after, 2, is_open=will_be_open)
    is_turned = draw(st.booleans())
    return (replace(new, version=1), replace(old, version=2)) if is_turned else (old, new)


def documents(form: Form) -> st.SearchStrategy[Any]:
    """Draw what is meant to fit a form; a pattern may still be missed."""
    found = []
    if form.choices is not None:
        return st.sampled_from(form.choices)
    for kind in sorted(form.kinds):
        if kind == "object":
            found.append(_objects(form))
        elif kind == "string":
            texts = st.text("abcx", min_size=form.min_length, max_size=form.max_length or 6)
            found.append(st.from_regex(form.pattern) | texts if form.pattern else texts)
        elif kind == "boolean":
            found.append(st.booleans())
        elif kind == "null":
            found.append(st.none())
        else:
            low = -9 if form.minimum is None else int(form.minimum)
            high = 9 if form.maximum is None else int(form.maximum)
            whole = st.integers(min(low, high), max(low, high))
            found.append(whole if kind == "integer" else whole | whole.map(float))
    return st.one_of(found)


def _objects(form: Form) -> st.SearchStrategy[Any]:
    """Draw an object."""
    required = {name: documents(each) for name, each in form.members.items() if name in form.required}
    optional = {name: documents(each) for name, each in form.members.items() if name not in form.required}
    return st.fixed_dictionaries(required, optional=optional)


@st.composite
def near(draw: st.DrawFn, form: Form) -> Any:  # noqa: ANN401 # any JSON
    """Draw what fits a form, or is changed in a place or two so that it may not."""
    found = draw(documents(form))
    for _ in range(draw(st.integers(0, 2))):
        found = _changed(draw, found)
    return found


def _changed(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401 # any JSON
    """Change one place of a document."""
    other = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS, st.just([]), st.just({}), st.just([1]))
    if not isinstance(value, dict):
        return draw(other)
    how = draw(st.sampled_from(["drop", "add", "change", "replace"]))
    names = sorted(value)
    if how == "replace" or (how in {"drop", "change"} and not names):
        return draw(other) if draw(st.integers(0, 5)) == 0 else value
    if how == "add":
        return {**value, draw(st.sampled_from((*NAMES, "temp", "schema", "z"))): draw(other)}
    name = draw(st.sampled_from(names))
    if how == "drop":
        return {key: each for key, each in value.items() if key != name}
    return {**value, name: _changed(draw, value[name])}
