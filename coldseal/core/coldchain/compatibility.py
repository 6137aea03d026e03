"""Whether a new version of a schema may take the place of an old one: a verdict for each rule.

Promise: `backward` holds only if every payload of the old version is one of the new version and means the
same; `forward` only if a gateway that knows the old version takes every payload of the new one as a newer
version, and takes no member for something else. In doubt the verdict is against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.forms import Form, Scalar, fits
from coldseal.core.coldchain.schema import member_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coldseal.core.coldchain.schema import Schema


class Direction(StrEnum):
    """What is asked."""

    BACKWARD = "backward"
    FORWARD = "forward"


class Mode(StrEnum):
    """Which directions must hold."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"


ASKED: Final[Mapping[Mode, tuple[Direction, ...]]] = {
    Mode.BACKWARD: (Direction.BACKWARD,),
    Mode.FORWARD: (Direction.FORWARD,),
    Mode.FULL: (Direction.BACKWARD, Direction.FORWARD),
}

RULES: Final[Mapping[str, str]] = {
    "name": "both are versions of one schema, and the new one has the higher number",
    "type": "every type that is sent is taken",
    "enum": "every value that is sent is taken",
    "minimum": "no number that is sent is too small",
    "maximum": "no number that is sent is too large",
    "length": "no text that is sent is too short or too long",
    "pattern": "texts that are sent have the pattern that is asked for",
    "items": "no array that is sent is too short, too long or of other items",
    "required": "what must be there is always sent",
    "member-unknown": "no member is sent that is refused as unknown",
    "member-open": "a member that was anything before has got no form of its own",
    "member-names": "names of members that are sent have the pattern that is asked for",
    "default": "what a member means that is left out stays as it was",
    "unit": "a quantity keeps its unit",
    "mapping": "a quantity stays in its member, and a member stays the same quantity",
    "quantity-lost": "no quantity that is sent is passed over in silence",
    "sequence": "the device's sequence number stays in its member",
    "time": "the device's time stays in its member and form",
}
"""Every rule, with what it demands."""


class Fault(NamedTuple):
    """Where a rule does not hold.

    Attributes:
        rule: a key of `RULES`.
        direction: the direction that it breaks.
        place: the member, dots between levels; empty for the whole.
        what: what is found.
    """

    rule: str
    direction: Direction
    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of two versions.

    Args:
        old: reference of the old one.
        new: reference of the new one.
        faults: where rules do not hold, in both directions.
    """

    old: str
    new: str
    faults: tuple[Fault, ...]

    def of(self, rule: str, direction: Direction) -> Sequence[Fault]:
        """Give where one rule does not hold in one direction."""
        return [each for each in self.faults if each.rule == rule and each.direction is direction]

    def is_compatible(self, mode: Mode) -> bool:
        """Whether every rule holds in what is asked."""
        return not any(each.direction in ASKED[mode] for each in self.faults)


def compare(old: Schema, new: Schema) -> Verdict:
    """Hold a new version against an old one, by every rule and in both directions."""
    faults: list[Fault] = []
    version_member = old.meaning.version_member
    old_form, new_form = (_without(each.form, version_member) for each in (old, new))
    for direction in Direction:
        if old.name != new.name or old.version >= new.version:
            faults.append(Fault("name", direction, "", f"{old} and {new}"))
        sent, taken = (old_form, new_form) if direction is Direction.BACKWARD else (new_form, old_form)
        is_lenient = direction is Direction.FORWARD
        found = _holds(sent, taken, "", is_lenient=is_lenient)
        faults += [Fault(rule, direction, place, what) for rule, place, what in found]
        faults += [Fault(*each) for each in _meanings(old, new, direction)]
    return Verdict(str(old), str(new), tuple(dict.fromkeys(faults)))


_Found = tuple[str, str, str]


def _without(form: Form, name: str) -> Form:
    """Leave out the member that says the version: it differs, as it should."""
    members = {key: each for key, each in form.members.items() if key != name}
    return replace(form, members=members, required=form.required - {name}, is_open=form.is_open)


def _holds(sent: Form, taken: Form, place: str, *, is_lenient: bool) -> Iterator[_Found]:
    """Find why not every value of one form is one of the other; nothing found: every one is."""
    if sent.choices is not None:
        wrong = [each for each in sent.choices if not fits(taken, each)]
        if wrong:
            yield "enum", place, f"{_shown(wrong)} is sent and not taken"
        return
    if taken.choices is not None:
        yield "enum", place, f"any value is sent, only {_shown(taken.choices)} is taken"
        return
    taken_kinds = taken.kinds | ({"integer"} if "number" in taken.kinds else set())
    if more := sorted(sent.kinds - taken_kinds):
        yield "type", place, f"{', '.join(more)} is sent, {', '.join(sorted(taken.kinds))} is taken"
    kinds = sent.kinds & taken_kinds
    if kinds & {"number", "integer"}:
        yield from _bounds(sent, taken, place)
    if "string" in kinds:
        yield from _texts(sent, taken, place)
    if "array" in kinds:
        yield from _arrays(sent, taken, place, is_lenient=is_lenient)
    if "object" in kinds:
        yield from _objects(sent, taken, place, is_lenient=is_lenient)


def _bounds(sent: Form, taken: Form, place: str) -> Iterator[_Found]:
    """Find numbers that are sent and not taken."""
    if taken.minimum is not None and (sent.minimum is None or sent.minimum < taken.minimum):
        yield "minimum", place, f"{_bound(sent.minimum)} is sent, {taken.minimum} is taken"
    if taken.maximum is not None and (sent.maximum is None or sent.maximum > taken.maximum):
        yield "maximum", place, f"{_bound(sent.maximum)} is sent, {taken.maximum} is taken"


def _texts(sent: Form, taken: Form, place: str) -> Iterator[_Found]:
    """Find texts that are sent and not taken."""
    if sent.min_length < taken.min_length or _is_more(sent.max_length, taken.max_length):
        lengths = [f"{each.min_length} to {_bound(each.max_length)}" for each in (sent, taken)]
        yield "length", place, f"{lengths[0]} characters are sent, {lengths[1]} are taken"
    if taken.pattern and taken.pattern != sent.pattern:
        yield "pattern", place, f"{sent.pattern or 'any text'} is sent, {taken.pattern} is taken"


def _arrays(sent: Form, taken: Form, place: str, *, is_lenient: bool) -> Iterator[_Found]:
    """Find arrays that are sent and not taken."""
    if sent.min_items < taken.min_items or _is_more(sent.max_items, taken.max_items):
        counts = [f"{each.min_items} to {_bound(each.max_items)}" for each in (sent, taken)]
        yield "items", place, f"{counts[0]} items are sent, {counts[1]} are taken"
    if taken.items is not None and sent.items is None and sent.max_items != 0:
        yield "items", place, "any items are sent, a form of them is taken"
    if taken.items is not None and sent.items is not None:
        yield from _holds(sent.items, taken.items, f"{place}[]", is_lenient=is_lenient)


def _objects(sent: Form, taken: Form, place: str, *, is_lenient: bool) -> Iterator[_Found]:
    """Find objects that are sent and not taken."""
    for name in sorted(taken.required - sent.required):
        yield "required", _below(place, name), "it is not always sent"
    if taken.names and taken.names != sent.names:
        yield "member-names", place, f"{sent.names or 'any name'} is sent, {taken.names} is taken"
    for name, form in sorted(sent.members.items()):
        inner = taken.members.get(name)
        if inner is not None:
            yield from _holds(form, inner, _below(place, name), is_lenient=is_lenient)
            yield from _defaults(form, inner, _below(place, name))
        elif not taken.is_open and not is_lenient:
            yield "member-unknown", _below(place, name), "it is sent and refused"
    if sent.is_open:
        if not taken.is_open and not is_lenient:
            yield "member-unknown", place, "any member may be sent, unknown ones are refused"
        for name in sorted(set(taken.members) - set(sent.members)):
            yield "member-open", _below(place, name), "anything may be sent in it, a form of it is taken"


def _defaults(sent: Form, taken: Form, place: str) -> Iterator[_Found]:
    """Find a member that means something else where it is left out."""
    if sent.default != taken.default or isinstance(sent.default, bool) != isinstance(taken.default, bool):
        yield "default", place, f"left out it means {sent.default!r} here and {taken.default!r} there"


def _meanings(old: Schema, new: Schema, direction: Direction) -> Iterator[tuple[str, Direction, str, str]]:
    """Find what means something else in the new version, or is no longer read."""
    before = {each.name: each for each in old.meaning.quantities}
    after = {each.name: each for each in new.meaning.quantities}
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            if direction is Direction.BACKWARD:
                yield "quantity-lost", direction, was.member, f"{name} is sent and no longer read"
            continue
        if was.unit != now.unit:
            yield "unit", direction, now.member, f"{name} was in {was.unit}, and is in {now.unit}"
        if was.member != now.member:
            yield "mapping", direction, now.member, f"{name} was in {was.member}, and is in {now.member}"
    held = {each.member: each.name for each in old.meaning.quantities}
    for each in new.meaning.quantities:
        if held.get(each.member, each.name) != each.name:
            was_there = held[each.member]
            yield "mapping", direction, each.member, f"it was {was_there}, and is {each.name}"
    if _has_moved(old, old.meaning.seq, new.meaning.seq):
        what = f"it was in {old.meaning.seq or 'no member'}, and is in {new.meaning.seq or 'none'}"
        yield "sequence", direction, new.meaning.seq or old.meaning.seq, what
    told, tells = old.meaning, new.meaning
    if _has_moved(old, told.time, tells.time) or (
        told.time and tells.time and told.time_form != tells.time_form
    ):
        said = [f"{each.time} as {each.time_form}" if each.time else "no member" for each in (told, tells)]
        yield "time", direction, tells.time or told.time, f"it was in {said[0]}, and is in {said[1]}"


def _has_moved(old: Schema, was: str, now: str) -> bool:
    """Whether what stood in one member stands in another; in one that was not there before, it is new."""
    if was:
        return was != now
    return bool(now) and member_of(old.form, now) is not None


def _is_more(sent: int | None, taken: int | None) -> bool:
    """Whether an upper bound lets more through than another."""
    return taken is not None and (sent is None or sent > taken)


def _bound(value: float | None) -> str:
    """Write a bound for people."""
    return "any" if value is None else f"{value}"


def _below(place: str, name: str) -> str:
    """Name a member's place."""
    return f"{place}.{name}" if place else name


def _shown(values: Sequence[Scalar]) -> str:
    """Write values for people."""
    return ", ".join(repr(each) for each in values)
