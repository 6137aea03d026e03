"""Whether each entry of a stored bundle is well-formed and signed by its log's record key.

An entry that is not is refuted: named with its reason, never dropped, and nothing behind it waits.
Works on undecoded bundles so that worker processes can do it; knows no chain and no tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_frames
from coldseal.core.log.signed import parse_signed
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Refutation:
    """One entry that a signed checkpoint covers but that fails by itself.

    Attributes:
        seq: its place.
        leaf: its leaf hash.
        reason: ``malformed``, ``unsigned``, ``wrong-key`` or ``bad-signature``.
        detail: what was found, for people.
    """

    seq: int
    leaf: bytes
    reason: str
    detail: str = ""


def refute(keys: Sequence[tuple[int, bytes]], mode: str, first: int, bundle: bytes) -> list[Refutation]:
    """Check every entry of a bundle by itself.

    Args:
        keys: each record key, SubjectPublicKeyInfo DER, with the first seq that it signs, in order.
        mode: the log's sealing mode; in ``checkpoint`` an entry may be unsigned.
        first: seq of the first entry.
        bundle: framed entries.
    """
    found = []
    place, spki = -1, b""
    for seq, raw in enumerate(parse_frames(bundle), first):
        while place + 1 < len(keys) and keys[place + 1][0] <= seq:
            place += 1
            spki = keys[place][1]
        try:
            entry = parse_signed(raw)
        except InputError as fault:
            found.append(Refutation(seq, leaf_hash(raw), "malformed", str(fault)))
            continue
        if (reason := verify_entry(spki, mode, entry)) is not None:
            found.append(Refutation(seq, leaf_hash(raw), reason))
    return found
