"""Every error of coldseal descends from one of four roots, by whose fault it is and what comes next.

Errors carry fields, not prose: the message is made from them. They are raised where the
fault is found and caught by type where someone can decide. This module imports nothing.
"""

from __future__ import annotations


class ColdsealError(Exception):
    """The root of the four roots; caught as such only by a program's supervisor."""


class InputError(ColdsealError):
    """A device or a sender handed over something malformed. Refuse it; the program is unharmed.

    Args:
        where: what was being read, such as ``"payload"``, ``"checkpoint"`` or a file's name.
        field: the name of the offending field, as the sender would write it.
        value: what was found; long values are cut in the message.
        expected: what would have been right.
    """

    def __init__(self, where: str, field: str, value: object, expected: str) -> None:
        """Keep the four facts as attributes; the message is made from them."""
        self.where = where
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{where}: {field} is {_short(value)}, expected {expected}")


class TrustError(ColdsealError):
    """A proof fails. Never retried: kept as evidence and raised as an alarm.

    Subclasses set ``verdict``, the stable word under which tools and people know the fault.
    """

    verdict = "untrusted"


class UnavailableError(ColdsealError):
    """Something needed is away for now (network, service, disk space): retry later.

    Args:
        what: the part that is away.
        cause: why, in the words of whoever noticed.
    """

    def __init__(self, what: str, cause: str) -> None:
        """Keep both facts as attributes."""
        self.what = what
        self.cause = cause
        super().__init__(f"{what} is unavailable: {cause}")


class OperatorError(ColdsealError):
    """Configuration or usage is wrong; a person must act, and ``hint`` says how.

    Args:
        what: what is wrong, naming file, key, value and what was expected.
        hint: the next move, as a command or an edit.
    """

    def __init__(self, what: str, hint: str) -> None:
        """Keep both facts as attributes; the message shows both."""
        self.what = what
        self.hint = hint
        super().__init__(f"{what}. {hint}")


_SHOWN = 80


def _short(value: object) -> str:
    """Render a value for a message, cut so that a hostile sender cannot flood a log."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
