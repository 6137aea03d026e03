"""What a person decides about a product after an excursion, read strictly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERDICTS: Final = ("accept", "reject", "quarantine", "release")
"""What can be decided."""

_WHERE: Final = "disposition entry"
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,300}").fullmatch


def parse_disposition(data: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """Give the excursion that a `disposition` entry closes, and verdict, who and why.

    Raises:
        InputError: it is not of its form.
    """
    expected = {"excursion", "verdict", "who", "why"}
    if data.keys() != expected:
        raise InputError(_WHERE, "keys", ", ".join(sorted(data)), ", ".join(sorted(expected)))
    found: dict[str, str] = {}
    for name in sorted(expected):
        value = data[name]
        if not isinstance(value, str) or _TEXT(value) is None:
            raise InputError(_WHERE, name, value, "1 to 300 characters on one line")
        found[name] = value
    if found["verdict"] not in VERDICTS:
        raise InputError(_WHERE, "verdict", found["verdict"], f"one of {', '.join(VERDICTS)}")
    return found.pop("excursion"), found
