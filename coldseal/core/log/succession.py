"""How a log that was lost goes on: under the next origin, with a genesis that cites what was witnessed last.

Promise: a link holds only between a log and its direct successor, over a checkpoint that the keys of the log
before signed at that size and enough witnesses cosigned. What nobody had witnessed is not covered by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.core.log.checkpoint import (
    ORIGIN,
    ORIGIN_EXPECTED,
    Algorithm,
    Checkpoint,
    CheckpointSignatureError,
    VerifierKey,
    cosigned_at,
    open_checkpoint,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.rules import Verdict
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.evidence import Report
    from coldseal.core.log.keys import KeyHistory
    from coldseal.core.log.record import Entry
    from coldseal.core.log.rules import Policy

MAX_CITED_NOTE: Final = 16_384
"""Bytes of a cited note at most: the genesis entry has room for more than that."""

_FIELDS: Final = ["note", "origin", "root", "size"]
_NUMBERED: Final = re.compile(r"(?P<first>.+)/(?P<number>[2-9]|[1-9][0-9]{1,8})")
_WHERE: Final = "genesis"


class BrokenLinkError(TrustError):
    """A log does not continue the one that it cites."""

    verdict = "broken-link"

    def __init__(self, origin: str, why: str) -> None:
        """Keep the name of the later log, and the reason."""
        self.seq = 0  # of the genesis entry, which cites
        self.origin = origin
        self.why = why
        super().__init__(f"{origin} continues no log: {why}")


@dataclass(frozen=True, slots=True)
class After:
    """What a genesis entry cites of the log before.

    Attributes:
        cited: name, size and root of that log.
        note: the checkpoint that says so, with the lines of its log and of witnesses.
    """

    cited: Checkpoint
    note: bytes

    def data(self) -> dict[str, Value]:
        """Give the field ``after`` of the genesis entry."""
        return {
            "note": self.note.decode(),
            "origin": self.cited.origin,
            "root": encode_base64(self.cited.root),
            "size": self.cited.size,
        }


def next_origin(origin: str) -> str:
    """Name the log that continues another one: ``…/gw-0001``, ``…/gw-0001/2``, ``…/gw-0001/3``.

    Raises:
        InputError: the name is no origin, or would become too long.
    """
    found = _NUMBERED.fullmatch(origin)
    made = f"{origin}/2" if found is None else f"{found['first']}/{int(found['number']) + 1}"
    if not origin or ORIGIN.fullmatch(made) is None:
        raise InputError("succession", "origin", made, ORIGIN_EXPECTED)
    return made


def first_origin(origin: str) -> str:
    """Name the log that began a succession: the origin without its number."""
    found = _NUMBERED.fullmatch(origin)
    return origin if found is None else found["first"]


def after_of(note: bytes) -> After:
    """Make the citation of a cosigned checkpoint; none of its signatures is verified.

    Raises:
        InputError: it is no signed checkpoint, covers no entry, or is longer than a genesis entry takes.
    """
    cited = parse_checkpoint_text(parse_note(note).text)
    if not cited.size:
        raise InputError("checkpoint", "size", cited.size, "at least one entry to continue from")
    if len(note) > MAX_CITED_NOTE:
        raise InputError("checkpoint", "length", len(note), f"at most {MAX_CITED_NOTE} bytes")
    return After(cited, note)


def parse_after(value: Value) -> After:
    """Read the field ``after`` of a genesis entry; none of its signatures is verified.

    Raises:
        InputError: a field is missing, malformed or too many, or they are not those of the note.
    """
    if not isinstance(value, dict) or sorted(value) != _FIELDS:
        raise InputError(_WHERE, "after", value, f"an object of {', '.join(_FIELDS)}")
    note, origin, root, size = (value[field] for field in _FIELDS)
    if not isinstance(note, str) or not isinstance(origin, str) or not isinstance(root, str):
        raise InputError(_WHERE, "after", value, "note, origin and root as texts")
    if not isinstance(size, int) or isinstance(size, bool):
        raise InputError(_WHERE, "after size", size, "a whole number")
    found = after_of(note.encode())
    stated = Checkpoint(origin, size, parse_base64(root, where=_WHERE, field="after root"))
    if stated != found.cited:
        raise InputError(_WHERE, "after", stated, f"what its note says: {found.cited}")
    return found


def link_of(genesis: Entry) -> After | None:
    """Give what a genesis entry cites, None if it continues no log; no signature is verified.

    Raises:
        BrokenLinkError: what it cites is malformed, or not of the log directly before.
    """
    value = genesis.data.get("after")
    if value is None and "after" not in genesis.data:
        return None
    try:
        found = parse_after(value)
    except InputError as error:
        raise BrokenLinkError(genesis.log, str(error)) from error
    require_successor(genesis.log, found)
    return found


def require_successor(origin: str, after: After) -> None:
    """Insist that an origin is the one directly behind the log that is cited.

    Raises:
        BrokenLinkError: it is another one.
    """
    try:
        expected = next_origin(after.cited.origin)
    except InputError as error:
        raise BrokenLinkError(origin, str(error)) from error
    if origin != expected:
        why = f"it cites {after.cited.origin}, which goes on as {expected}"
        raise BrokenLinkError(origin, why)


def verify_link(
    origin: str,
    after: After,
    history: KeyHistory,
    witnesses: tuple[VerifierKey, ...],
    *,
    quorum: int,
    mode: str,
) -> int:
    """Check a citation with the keys of the log before.

    Args:
        origin: name of the log that cites.
        after: what it cites.
        history: the keys of the log before.
        witnesses: cosigner keys.
        quorum: how many of them must have cosigned.
        mode: sealing mode of the log before.

    Returns:
        When the quorum was reached, seconds since 1970.

    Raises:
        BrokenLinkError: it is not the direct successor, or a signature is missing or wrong.
    """
    require_successor(origin, after)
    if history.origin != after.cited.origin:
        raise BrokenLinkError(
            origin, f"it cites {after.cited.origin}, these are the keys of {history.origin}"
        )
    keys = history.at(after.cited.size)
    record = VerifierKey(history.origin, Algorithm.ECDSA, keys.record)
    needed = (*keys.checkpoint, record) if mode == "checkpoint" else keys.checkpoint
    try:
        open_checkpoint(after.note, (*keys.checkpoint, record, *witnesses), needed)
    except CheckpointSignatureError as error:
        raise BrokenLinkError(origin, f"the cited checkpoint does not hold: {error}") from error
    times = witnessed(after, witnesses)
    if len(times) < max(1, quorum):
        why = f"{len(times)} of {max(1, quorum)} known witnesses cosigned the cited checkpoint"
        raise BrokenLinkError(origin, why)
    return times[max(1, quorum) - 1]


def witnessed(after: After, witnesses: Iterable[VerifierKey]) -> list[int]:
    """Give the times at which known witnesses cosigned what is cited, rising; a line that fails is none."""
    note, times = parse_note(after.note), list[int]()
    for key in witnesses:
        try:
            times.append(cosigned_at(note, key))
        except CheckpointSignatureError:
            continue
    return sorted(times)


def follow(origin: str, after: After, old: Report, history: KeyHistory, policy: Policy) -> int:
    """Check a citation with evidence of the log before; entries of it that have no receipt are let pass.

    Args:
        origin: name of the log that cites.
        after: what it cites.
        old: what was found in the evidence of the log before.
        history: the keys of that log, as the evidence shows them.
        policy: whom the evidence was held against.

    Returns:
        When enough witnesses had cosigned, seconds since 1970.

    Raises:
        BrokenLinkError: the evidence does not prove what is cited.
    """
    size = after.cited.size
    t = verify_link(origin, after, history, policy.witnesses, quorum=policy.quorum, mode=policy.mode)
    for fault in old.faults:
        if fault.verdict is not Verdict.TAIL:
            why = f"the log before is not good: {fault.verdict.value} at entry {fault.seq}"
            raise BrokenLinkError(origin, why)
    root = old.roots.get(size)
    if root is None:
        why = f"the evidence of the log before, of size {old.size}, proves no root at size {size}"
        raise BrokenLinkError(origin, why)
    if root != after.cited.root:
        raise BrokenLinkError(origin, f"at size {size} the log before has another root: a fork")
    return t
