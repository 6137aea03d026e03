"""Holds: ranges of entries that must stay here, whatever else says that they may go.

A hold is set and lifted by an entry of kind `config`, so the log itself says who held what, when and why.
Nothing else keeps them: they are read from the log each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from coldseal.core.log.canonical import MAX_INTEGER
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.gateway.store.reader import LogReader

Seq = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,300}$")]


class Change(Struct, forbid_unknown_fields=True, frozen=True):
    """A hold that is set or lifted."""

    action: Literal["add", "remove"]
    first: Seq
    last: Seq


class HoldEntry(Struct, forbid_unknown_fields=True, frozen=True):
    """What a `config` entry says that sets or lifts a hold."""

    hold: Change
    who: Text
    why: Text


class Hold(NamedTuple):
    """A range of entries that must stay, as somebody has said in the entry `seq`."""

    first: int
    last: int
    who: str
    why: str
    seq: int


def holds_of(reader: LogReader) -> list[Hold]:
    """Give the holds that are in force."""
    found: list[Hold] = []
    for raw in reader.settings():
        entry = parse_entry(raw)
        if entry.kind == "config" and "hold" in entry.data:
            said = msgspec.convert(entry.data, HoldEntry)
            change = said.hold
            found = [hold for hold in found if hold[:2] != (change.first, change.last)]
            if change.action == "add":
                found.append(Hold(change.first, change.last, said.who, said.why, entry.seq))
    return found


def require_free(reader: LogReader, first: int, last: int) -> None:
    """Refuse to touch what somebody holds.

    Raises:
        OperatorError: a hold is on a part of the range.
    """
    for hold in holds_of(reader):
        if hold.first <= last and first <= hold.last:
            what = (
                f"entries {hold.first} to {hold.last} are on hold: {hold.why} ({hold.who}, entry {hold.seq})"
            )
            raise OperatorError(what, "See: coldseal gateway hold CONFIG --list")


def require_meaningful(reader: LogReader, change: Change) -> None:
    """Refuse a change of holds that changes nothing.

    Raises:
        OperatorError: the range is turned round, or there is no such hold to lift.
    """
    if change.last < change.first:
        raise OperatorError(f"the range {change.first}-{change.last} is empty", "Write it as FIRST-LAST")
    spans = [hold[:2] for hold in holds_of(reader)]
    if change.action == "remove" and (change.first, change.last) not in spans:
        known = ", ".join(f"{first}-{last}" for first, last in spans) or "none"
        raise OperatorError(f"there is no hold {change.first}-{change.last}", f"There are: {known}")
