"""The gate of a site's schema: built once of the same form as its JSON Schema, then asked for each payload.

Promise: a payload passes if and only if its JSON Schema takes it and its numbers can be written in an entry;
everything else is one InputError that names member and value. As a newer version, members that are not known
are passed over. Knows no folder and no channel.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from coldseal.core.coldchain.reading import FLAG_SCHEMA_NEWER, Quantity, parse_quantity
from coldseal.core.coldchain.schema import Schema
from coldseal.errors import InputError
from coldseal.gateway.sources.decode import Decoded, check_moment, parse_strictly

if TYPE_CHECKING:
    from coldseal.core.coldchain.forms import Form

WHERE: Final = "payload"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Gate:
    """Takes payloads of one version of a schema.

    Args:
        schema: the version.
    """

    def __init__(self, schema: Schema) -> None:
        """Build the decoders."""
        self.schema = schema
        self._exact = msgspec.json.Decoder(_type(schema.form, is_newer=False, name=str(schema)))
        self._known = msgspec.json.Decoder(_type(schema.form, is_newer=True, name=str(schema)))

    def read(self, payload: bytes, *, newer: int = 0) -> Decoded:
        """Read a payload.

        Args:
            payload: the bytes as published.
            newer: its version, where that is a later one than this.

        Raises:
            InputError: it is not of this schema, or a number or time cannot be written in an entry.
        """
        schema = self.schema
        try:
            (self._known if newer else self._exact).decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(WHERE, "JSON", str(error), f"a payload of schema {schema}") from error
        document = parse_strictly(payload)
        meaning = schema.meaning
        found: list[Quantity] = []
        for member, name, unit in meaning.quantities:
            value = _at(document, member)
            if value is not None:
                found.append(parse_quantity(name, unit, str(value), where=f"{WHERE} member {member!r}"))
        seq, moment = _at(document, meaning.seq), _at(document, meaning.time)
        return Decoded(
            found,
            None if seq is None else int(seq),
            "",
            "" if moment is None else _time(moment, meaning.time_form),
            (FLAG_SCHEMA_NEWER,) if newer else (),
            f"{schema.name}/{newer or schema.version}",
        )


def _at(document: object, member: str) -> Any:  # noqa: ANN401 # what the gate has let through
    """Give what stands in a member, dots between levels; None where nothing does."""
    found = document if member else None
    for level in member.split("."):
        found = found.get(level) if isinstance(found, dict) else None
    return found


def _time(moment: str | Decimal, form: str) -> str:
    """Write a device's time as RFC 3339."""
    if isinstance(moment, str):
        check_moment(moment)
        return moment
    milliseconds = int(moment * 1000) if form == "unix-s" else int(moment)
    found = _EPOCH + timedelta(milliseconds=milliseconds)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _type(form: Form, *, is_newer: bool, name: str) -> Any:  # noqa: ANN401 # types are made here
    """Make the type that msgspec holds a payload against."""
    if form.choices is not None:
        return Literal[form.choices]
    kinds = {"number": _number, "integer": _integer, "string": _string}
    found: Any = None  # null
    for kind in sorted(form.kinds - {"null"}):
        if kind == "object":
            inner: Any = _object(form, is_newer=is_newer, name=name)
        else:
            inner = bool if kind == "boolean" else kinds[kind](form)
        found = inner if found is None and "null" not in form.kinds else found | inner
    return found


def _number(form: Form) -> Any:  # noqa: ANN401 # a type
    """Make the type of a number."""
    return Annotated[float, msgspec.Meta(ge=form.minimum, le=form.maximum)]


def _integer(form: Form) -> Any:  # noqa: ANN401 # a type
    """Make the type of a whole number."""
    return Annotated[int, msgspec.Meta(ge=form.minimum, le=form.maximum)]


def _string(form: Form) -> Any:  # noqa: ANN401 # a type
    """Make the type of a text."""
    return Annotated[
        str,
        msgspec.Meta(
            min_length=form.min_length or None, max_length=form.max_length, pattern=form.pattern or None
        ),
    ]


def _object(form: Form, *, is_newer: bool, name: str) -> type[msgspec.Struct]:
    """Make the type of an object."""
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for index, (member, inner) in enumerate(sorted(form.members.items())):
        kind, key = _type(inner, is_newer=is_newer, name=f"{name} {member}"), f"member_{index}"
        names[key] = member
        if member in form.required:
            fields.append((key, kind, msgspec.NODEFAULT))
        else:
            fields.append((key, kind | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(
        name,
        fields,
        rename=names,
        kw_only=True,
        forbid_unknown_fields=not form.is_open and not is_newer,
        gc=False,
    )
