"""What entries will say, before they have a place: what the intake and the sealing process hand each other.

Sealing itself is one loop. Imports nothing that the sealing process does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldseal.core.log.record import Chain


class Draft(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What an entry will say, but for its place in the log.

    Args:
        kind: one of the kinds of the record format.
        t: time of acceptance, RFC 3339 with milliseconds and ``Z``.
        tq: how far ``t`` may be trusted, canonical JSON.
        src: where it came from, canonical JSON.
        data: what the kind defines, canonical JSON.
    """

    kind: str
    t: str
    tq: bytes
    src: bytes
    data: bytes


class Task(msgspec.Struct, frozen=True, array_like=True):
    """What goes to the process beside; without a chain, it seals onto what it sealed last."""

    chain: dict[str, object] | None
    drafts: list[Draft]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What comes back from it, in the order of the tasks."""

    chain: dict[str, object]
    entries: list[bytes]


def seal_drafts(
    chain: Chain, drafts: Sequence[Draft], sign: Callable[[bytes], bytes], *, is_each_signed: bool
) -> list[bytes]:
    """Seal drafts onto ``chain``, in order; where not each is signed, only a change of keys is."""
    return [
        chain.seal(
            draft.kind,
            draft.t,
            draft.tq,
            draft.src,
            draft.data,
            sign if is_each_signed or draft.kind == "key" else None,
        )
        for draft in drafts
    ]
