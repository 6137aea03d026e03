"""What a schema of payloads is: the form of the JSON, and which member is which quantity in which unit.

Promise: a schema that passes here says the same to whoever reads its JSON Schema and to the gate that is made
of it; what cannot be said in both is refused with member, value and what was expected. Decodes no payload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

from coldseal.core.coldchain.forms import (
    OBJECT,
    TYPE_NAMES,
    Form,
    check_form,
    document_of_form,
    parse_form,
    require,
)
from coldseal.core.coldchain.reading import MAX_QUANTITIES, parse_quantity
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MEANING: Final = "x-coldseal"
"""Member of a published JSON Schema that holds what JSON Schema has no word for."""

OWN: Final = "coldseal-reading"
SENML: Final = "senml"
RESERVED: Final = frozenset({OWN, SENML})
"""Names of the project's own schemas."""

NAMING: Final = "schema"
"""Member by which a payload names its schema, as NAME/VERSION."""

MAX_VERSION: Final = 999_999
MAX_SEQ: Final = 2**53 - 1
LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last that RFC 3339 can write."""

RFC3339: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}"
    r"(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])(?![\s\S])"
)
TIME_FORMS: Final = ("rfc3339", "unix-s", "unix-ms")

_match_name: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,47}", re.ASCII).fullmatch
_match_reference: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{0,47})(?:/([1-9][0-9]{0,5}))?", re.ASCII)


class Reference(NamedTuple):
    """A schema by its name; version 0: whichever there is."""

    name: str
    version: int = 0

    @override
    def __str__(self) -> str:
        """Write it as a payload does."""
        return f"{self.name}/{self.version}" if self.version else self.name


def parse_reference(text: str) -> Reference | None:
    """Read ``NAME/VERSION`` or ``NAME``; None where the text is neither."""
    found = _match_reference.fullmatch(text)
    return None if found is None else Reference(found[1], int(found[2] or 0))


class Source(NamedTuple):
    """Where a quantity stands in a payload.

    Attributes:
        member: its member, dots between levels.
        name: what it is, as in an entry.
        unit: of its number: a key of `UNITS`.
    """

    member: str
    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """Which member is what.

    Args:
        quantities: at least one.
        seq: the device's own sequence number; empty: it has none.
        time: the device's time; empty: it tells none.
        time_form: one of `TIME_FORMS`.
        version_member: in the project's own form, the member that says the version.
    """

    quantities: tuple[Source, ...] = ()
    seq: str = ""
    time: str = ""
    time_form: str = TIME_FORMS[0]
    version_member: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of a schema.

    Args:
        name: by which payloads and channels refer to it.
        version: counts up from 1.
        form: of the payload.
        meaning: of its members.
        title: for people.
        source: where it was read from, for messages.
    """

    name: str
    version: int
    form: Form
    meaning: Meaning = field(default_factory=Meaning)
    title: str = ""
    source: str = field(default="schema", compare=False)

    @override
    def __str__(self) -> str:
        """Write its reference."""
        return f"{self.name}/{self.version}"


class Member(NamedTuple):
    """A member as a person writes it down.

    Attributes:
        name: dots between levels.
        form: its values.
        is_required: it stands in every payload, and so does what it stands in.
    """

    name: str
    form: Form
    is_required: bool


def make_schema(
    name: str, version: int, members: tuple[Member, ...], meaning: Meaning, *, source: str, **more: object
) -> Schema:
    """Make a site's schema of what a person wrote down, complete and checked.

    Args:
        name: its name.
        version: its version.
        members: of the payload, each once.
        meaning: of the members.
        source: where it was read from.
        more: ``title``, and ``is_open``: unknown members are passed over.

    Raises:
        InputError: it contradicts itself, or means nothing; names member, value and what was expected.
    """
    require(_match_name(name) is not None, source, "name", name, "1 to 48 of A-Z a-z 0-9 . _ + -")
    require(name not in RESERVED, source, "name", name, f"another name: {name} is the project's own")
    require(1 <= version <= MAX_VERSION, source, "version", version, f"1 to {MAX_VERSION}")
    require(
        meaning.time_form in TIME_FORMS, source, "time.form", meaning.time_form, f"one of {_list(TIME_FORMS)}"
    )
    is_open = bool(more.get("is_open"))
    root = Form(OBJECT, is_open=is_open)
    naming = Form(frozenset({"string"}), pattern=_naming(name), max_length=64)
    for member in (Member(NAMING, naming, is_required=False), *members):
        root = _add(root, _bounded(member, meaning), member.name.split("."), source, is_open=is_open)
    found = Schema(name, version, root, meaning, str(more.get("title", "")), source)
    _check_meaning(found)
    return found


def parse_schema(document: Mapping[str, object], *, source: str) -> Schema:
    """Read a published JSON Schema back.

    Raises:
        InputError: a keyword, type or value that is none of ours; names it.
    """
    said = document.get(MEANING)
    require(isinstance(said, dict), source, MEANING, said, "an object with name and version")
    facts: dict[str, object] = dict(said) if isinstance(said, dict) else {}
    name, version = facts.get("name"), facts.get("version")
    require(isinstance(name, str), source, f"{MEANING}.name", name, "a text")
    is_version = isinstance(version, int) and not isinstance(version, bool) and version >= 1
    require(is_version, source, f"{MEANING}.version", version, "an integer from 1")
    schema = Schema(
        str(name),
        version if isinstance(version, int) else 0,
        parse_form({key: value for key, value in document.items() if key not in _ABOVE}, source),
        _parse_meaning(facts, source),
        str(document.get("title", "")),
        source,
    )
    if schema.name not in RESERVED:
        _check_meaning(schema)
    return schema


def document_of(schema: Schema) -> dict[str, object]:
    """Write a schema as the JSON Schema that is published."""
    meaning = schema.meaning
    said: dict[str, object] = {"name": schema.name, "version": schema.version}
    if meaning.quantities:
        said["quantities"] = [each._asdict() for each in meaning.quantities]
    if meaning.seq:
        said["seq"] = meaning.seq
    if meaning.time:
        said["time"] = {"member": meaning.time, "form": meaning.time_form}
    if meaning.version_member:
        said["version_member"] = meaning.version_member
    return {
        "$schema": DIALECT,
        "$id": f"urn:coldseal:schema:{schema.name}:{schema.version}",
        **({"title": schema.title} if schema.title else {}),
        MEANING: said,
        **document_of_form(schema.form),
    }


def member_of(form: Form, name: str) -> Form | None:
    """Give the form of a member, dots between levels; None where there is none."""
    found: Form | None = form
    for level in name.split("."):
        found = None if found is None else found.members.get(level)
    return found


def is_always_there(form: Form, name: str) -> bool:
    """Whether every payload has this member, and a value in it."""
    found: Form = form
    for level in name.split("."):
        if level not in found.required or "null" in found.members[level].kinds:
            return False
        found = found.members[level]
    return True


_ABOVE: Final = frozenset({"$schema", "$id", MEANING, "title"})


def _naming(name: str) -> str:
    """Give the pattern of the member that names the schema: this one, any version."""
    return rf"^{re.escape(name)}/[1-9][0-9]{{0,5}}(?![\s\S])"


def _list(names: tuple[str, ...]) -> str:
    """Write names for a message."""
    return ", ".join(names)


def _bounded(member: Member, meaning: Meaning) -> Member:
    """Give sequence and time the bounds that entries have, so that JSON Schema says them, too."""
    form = member.form
    if member.name == meaning.seq:
        low, high = form.minimum, form.maximum
        form = replace(form, minimum=0 if low is None else low, maximum=MAX_SEQ if high is None else high)
    elif member.name == meaning.time and meaning.time_form == "rfc3339":
        form = replace(form, pattern=form.pattern or RFC3339, max_length=form.max_length or 35)
    elif member.name == meaning.time:
        last = LAST_SECOND * (1000 if meaning.time_form == "unix-ms" else 1)
        low, high = form.minimum, form.maximum
        form = replace(form, minimum=0 if low is None else low, maximum=last if high is None else high)
    return member._replace(form=form)


def _add(root: Form, member: Member, levels: list[str], source: str, *, is_open: bool) -> Form:
    """Put a member in its place below a form, making the objects on the way."""
    first, *rest = levels
    require(bool(first), source, "members.name", member.name, "names with dots between levels")
    there = root.members.get(first)
    if rest:
        inner = there or Form(OBJECT, is_open=is_open)
        require(inner.kinds == OBJECT, source, "members.name", member.name, f"{first} to be no value itself")
        form = _add(inner, member, rest, source, is_open=is_open)
    else:
        hint = "each member once" if first != NAMING else "another name: by it a payload names its schema"
        require(there is None, source, "members.name", member.name, hint)
        check_form(member.form, source, f"members {member.name!r}: ")
        form = member.form
    required = root.required | {first} if member.is_required else root.required
    return replace(root, members={**root.members, first: form}, required=required)


def _parse_meaning(said: Mapping[str, object], source: str) -> Meaning:
    """Read what JSON Schema has no word for."""
    known = ("name", "version", "quantities", "seq", "time", "version_member")
    for key in said:
        require(key in known, source, f"{MEANING}.{key}", said[key], f"one of {_list(known)}")
    rows, time = said.get("quantities", []), said.get("time", {})
    require(isinstance(rows, list), source, f"{MEANING}.quantities", rows, "a list")
    require(isinstance(time, dict), source, f"{MEANING}.time", time, "an object with member and form")
    moment: dict[str, object] = dict(time) if isinstance(time, dict) else {}
    return Meaning(
        tuple(_parse_source(each, source) for each in (rows if isinstance(rows, list) else [])),
        _text(said, "seq", source),
        _text(moment, "member", source),
        _text(moment, "form", source) or TIME_FORMS[0],
        _text(said, "version_member", source),
    )


def _parse_source(row: object, source: str) -> Source:
    """Read where a quantity stands."""
    require(
        isinstance(row, dict) and set(row) == set(Source._fields),
        source,
        f"{MEANING}.quantities",
        row,
        "objects of member, name and unit",
    )
    found: dict[str, object] = dict(row) if isinstance(row, dict) else {}
    return Source(*(_text(found, name, source) for name in Source._fields))


def _text(said: Mapping[str, object], key: str, source: str) -> str:
    """Give a text; empty where there is none."""
    found = said.get(key, "")
    require(isinstance(found, str), source, f"{MEANING}.{key}", found, "a text")
    return str(found)


def _check_meaning(schema: Schema) -> None:
    """Refuse a meaning that the form does not bear."""
    form, meaning, source = schema.form, schema.meaning, schema.source
    rows = meaning.quantities
    require(
        0 < len(rows) <= MAX_QUANTITIES, source, "quantities", len(rows), f"1 to {MAX_QUANTITIES} of them"
    )
    require(meaning.time_form in TIME_FORMS, source, "time.form", meaning.time_form, _list(TIME_FORMS))
    for row in rows:
        _check_source(form, row, source)
    for key, values in (("member", [row.member for row in rows]), ("name", [row.name for row in rows])):
        twice = next((each for each in values if values.count(each) > 1), None)
        require(twice is None, source, f"quantities.{key}", twice, "each once")
    require(
        any(is_always_there(form, row.member) for row in rows),
        source,
        "quantities",
        [row.member for row in rows],
        "one at least whose member is required and not nullable",
    )
    if meaning.seq:
        found = _member(form, meaning.seq, "sequence.member", source, frozenset({"integer"}))
        low, high = found.minimum, found.maximum
        is_sound = low is not None and high is not None and low >= 0 and high <= MAX_SEQ
        require(is_sound, source, f"members {meaning.seq!r}: bounds", (low, high), f"within 0 to {MAX_SEQ}")
    if meaning.time:
        _check_time(form, meaning, source)


def _check_source(form: Form, row: Source, source: str) -> None:
    """Refuse a quantity that is none."""
    found = _member(form, row.member, "quantities.member", source, frozenset({"number", "integer"}))
    require(
        found.default is None,
        source,
        f"members {row.member!r}: default",
        found.default,
        "none: it is measured",
    )
    require(
        found.choices is None, source, f"members {row.member!r}: enum", found.choices, "none: it is measured"
    )
    parse_quantity(row.name, row.unit, "0", where=f"{source}: quantities")


def _check_time(form: Form, meaning: Meaning, source: str) -> None:
    """Refuse a time that could not be one."""
    if meaning.time_form == "rfc3339":
        found = _member(form, meaning.time, "time.member", source, frozenset({"string"}))
        is_sound = found.pattern == RFC3339
        require(is_sound, source, f"members {meaning.time!r}: pattern", found.pattern, "none: it is a time")
        return
    found = _member(form, meaning.time, "time.member", source, frozenset({"number", "integer"}))
    last = LAST_SECOND * (1000 if meaning.time_form == "unix-ms" else 1)
    low, high = found.minimum, found.maximum
    is_sound = low is not None and high is not None and low >= 0 and high <= last
    require(is_sound, source, f"members {meaning.time!r}: bounds", (low, high), f"within 0 to {last}")


def _member(form: Form, name: str, key: str, source: str, kinds: frozenset[str]) -> Form:
    """Give a member that must be there, and be of a kind."""
    found = member_of(form, name)
    if found is None:
        raise InputError(source, key, name, "the name of one of the members")
    words = " or ".join(each for each in TYPE_NAMES if each in kinds)
    require(bool(found.kinds - {"null"} <= kinds), source, f"members {name!r}: type", _kinds(found), words)
    return found


def _kinds(form: Form) -> str:
    """Write a form's types for a message."""
    return ", ".join(sorted(form.kinds))
