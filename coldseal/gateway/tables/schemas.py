"""Forms of payloads beyond the project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from coldseal.settings import Count


class Schemas(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Forms of payloads beyond the project's own."""

    directory: Path | None = None
    """Folder with one file for each version of each schema; empty: only the project's own forms are known."""


class MemberTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One member of a payload."""

    name: str
    """Its name; dots between the levels of objects."""
    type: Literal["string", "number", "integer", "boolean"]
    """What it is."""
    required: bool = False
    """It stands in every payload, and so does what it stands in."""
    nullable: bool = False
    """It may be null, which is as if it were left out."""
    minimum: int | float | None = None
    """Least number."""
    maximum: int | float | None = None
    """Largest number."""
    min_length: int = 0
    """Characters of a text at least."""
    max_length: Count | None = None
    """Characters of a text at most."""
    pattern: str = ""
    """Regular expression that is found in a text."""
    enum: tuple[str | int, ...] = ()
    """The only values; left out: any."""
    default: str | int | float | bool | None = None
    """What it means that the member is left out, for people; nothing is put in its place."""


class QuantityTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One quantity of a payload."""

    member: str
    """The member that it stands in."""
    name: str
    """What it is, as in the log, such as `temperature`."""
    unit: str
    """Its unit: a UCUM code of the table of units, such as `Cel`."""


class SequenceTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The device's own sequence number."""

    member: str = ""
    """The member that it stands in; empty: it sends none."""


class TimeTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The device's time."""

    member: str = ""
    """The member that it stands in; empty: it sends none."""
    form: Literal["rfc3339", "unix-s", "unix-ms"] = "rfc3339"
    """How it is written: as RFC 3339, or as seconds or milliseconds since 1970."""


class SchemaFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of a file with one version of a schema."""

    name: str
    """By which payloads and channels refer to it."""
    version: int
    """Counts up from 1."""
    title: str = ""
    """For people."""
    unknown: Literal["refuse", "ignore"] = "refuse"
    """What becomes of a payload with members that are not named here."""
    members: tuple[MemberTable, ...] = ()
    """The members of a payload."""
    quantities: tuple[QuantityTable, ...] = ()
    """What is measured, and where it stands."""
    sequence: SequenceTable = SequenceTable()
    """The device's own sequence number."""
    time: TimeTable = TimeTable()
    """The device's time."""
