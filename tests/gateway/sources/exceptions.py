"""What a gate refuses and JSON Schema has no word for: the whole list; the tests let nothing else pass.

There is no list for the other way: what a gate takes, its JSON Schema takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date

from coldseal.errors import InputError

Applies = Callable[[bytes, str], bool]
"""Given the payload and the error's words: whether this exception explains that the gate refuses it."""


def _has_fraction(payload: bytes, error: str) -> bool:
    """A number that is whole and written with a fraction or exponent."""
    is_written = re.search(rb"[0-9](\.|[eE])[0-9+-]", payload) is not None
    return is_written and (
        "Expected `int" in error or "Literal" in error or "Invalid enum" in error or "`int" in error
    )


def _is_long(_payload: bytes, error: str) -> bool:
    """A number that an entry cannot hold, or no double."""
    return (
        "characters when written without exponent" in error
        or "a finite decimal number" in error
        or ("Number out of range" in error)
    )


def _is_no_day(payload: bytes, error: str) -> bool:
    """A time on a day that the calendar has not."""
    if "RFC 3339" not in error:
        return False
    return any(not _is_day(found.decode()) for found in re.findall(rb"\d{4}-\d\d-\d\d", payload))


def _is_day(text: str) -> bool:
    """Whether the calendar has a day."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


EXCEPTIONS: Mapping[str, Applies] = {
    "given twice": lambda _payload, error: "given twice" in error,
    "whole number with a fraction": _has_fraction,
    "escaped number": lambda payload, error: b"\\u" in payload and ": v is" in error,
    "digits": _is_long,
    "day of the calendar": _is_no_day,
    "half a character": lambda payload, error: b"\\ud" in payload.lower() and "JSON is" in error,
}
"""For each schema, by the name that docs/specs/schemas.md has for it."""

SENML_EXCEPTIONS: Mapping[str, Applies] = {
    **EXCEPTIONS,
    "composed name": lambda _payload, error: "pack: n is" in error,
    "unit in force": lambda _payload, error: "pack: u is" in error,
    "sum of values": lambda _payload, error: "pack: v is" in error,
    "time in force": lambda _payload, error: "pack: t is" in error,
    "number of values": lambda _payload, error: "records is" in error,
    "labels of others": lambda _payload, error: "a text or a finite number" in error,
}
"""For SenML, whose records depend on those before them."""


def explained(payload: bytes, error: InputError, exceptions: Mapping[str, Applies] = EXCEPTIONS) -> str:
    """Name the exception that explains a refusal; empty where none does."""
    return next((name for name, applies in exceptions.items() if applies(payload, str(error))), "")
