"""How long a segment stays on the gateway once it is archived: by the classes of what it holds.

Promise: the longest window of all kinds of entries in a segment counts, and a segment with a kind that no
class names stays for good. Pure rules: whether it is archived, witnessed or on hold is looked up elsewhere.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from coldseal.core.log.record import KINDS
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coldseal.gateway.tables.keeping import Retention

DAY_MS: Final = 86_400_000

_KIND: Final = re.compile(rb'"kind":"([^"]*)"')


def kinds_in(raw: bytes) -> Iterable[str]:
    """Name the kind of an entry; what else looks like one is named too, and can only keep it longer."""
    return (found.decode(errors="replace") for found in _KIND.findall(raw))


def class_of(kinds: Iterable[str], classes: Sequence[Retention]) -> Retention | None:
    """Give the class of a segment that holds entries of these kinds: the one with the longest window.

    Returns:
        None where a kind is in no class: then nobody has said that the segment may go.
    """
    rest = next((each for each in classes if not each.kinds), None)
    found: list[Retention] = []
    for kind in kinds:
        one = next((each for each in classes if kind in each.kinds), rest)
        if one is None:
            return None
        found.append(one)
    return max(found, key=lambda each: each.days, default=None)


def ends_at(ended: str, kept: Retention) -> int:
    """Give the moment from which a segment of a class may go, in ms since 1970.

    Args:
        ended: when its last entry was accepted, RFC 3339.
        kept: its class.
    """
    return round(datetime.fromisoformat(ended).timestamp() * 1000) + kept.days * DAY_MS


def require_sound(classes: Sequence[Retention], where: str) -> None:
    """Refuse classes of which nobody could say what they mean.

    Raises:
        OperatorError: two have one name, a kind is in two, two are for the rest, or a kind is unknown.
    """
    names = [each.name for each in classes]
    if len(set(names)) != len(names):
        raise OperatorError(f"{where}: two retention classes have one name: {names}", "Name each differently")
    kinds = [kind for each in classes for kind in each.kinds]
    if len(set(kinds)) != len(kinds) or sum(not each.kinds for each in classes) > 1:
        what = f"{where}: a kind is in two retention classes, or two classes have no kinds"
        raise OperatorError(what, "Put each kind into one class; one class without kinds is for all others")
    if odd := set(kinds) - KINDS:
        raise OperatorError(
            f"{where}: no entry is of the kind {min(odd)!r}", f"Kinds are: {', '.join(sorted(KINDS))}"
        )
