"""Writes events of the catalogue to stderr: JSON lines, or readable lines on a terminal.

A value that looks like a secret is hidden, bytes are never written out. Messages of libraries
pass through as `library.message`. Nothing is shipped; a file of bounded size is `logfile`.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOBase
from typing import Final, TextIO

import msgspec
from typing_extensions import override

from coldseal.observe.events import LIBRARY_MESSAGE, Event, Level

HIDDEN: Final = "(hidden)"

Stream = TextIO | TextIOBase
"""What takes lines: the system's own, or one of ours."""

_SECRET_NAMES: Final = re.compile(
    r"passw|passphrase|secret|token|authorization|private|store_key", re.IGNORECASE
)
_SECRET_VALUES: Final = re.compile(r"PRIVATE KEY-----|\$argon2|\bBearer |[?&](token|password)=")

_LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

_COLOURS: Final[dict[Level, str]] = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_PLAIN: Final = "\x1b[0m"


class Log:
    """The log of one part of a program.

    Args:
        part: which part, such as ``gateway.uplink``; stands in each line.
    """

    def __init__(self, part: str) -> None:
        """Keep the part's name; lines go where :func:`configure` says at the time."""
        self._part = part

    def emit(self, event: Event, **fields: object) -> None:
        """Write one event with exactly its declared fields.

        Raises:
            TypeError: a field is missing or unknown: the call does not agree with the catalogue.
        """
        if fields.keys() != set(event.fields):
            raise TypeError(f"{event.name} has the fields {event.fields}, got {tuple(fields)}")
        _output.write(event, self._part, fields)


@dataclass(slots=True)
class _Output:
    """Where lines go, and how they look.

    Attributes:
        stream: takes them; None stands for what is stderr at the time.
        least: level from which on they are written.
        is_readable: for people instead of JSON.
        now_ns: wall time, nanoseconds since 1970.
    """

    stream: Stream | None = None
    least: int = logging.INFO
    is_readable: bool = False
    now_ns: Callable[[], int] = time.time_ns

    def write(self, event: Event, part: str, fields: Mapping[str, object]) -> None:
        """Write one line, in one call, so that lines of several threads do not mix."""
        if _LEVELS[event.level] < self.least:
            return
        out = sys.stderr if self.stream is None else self.stream
        moment = datetime.fromtimestamp(self.now_ns() / 1e9, UTC).replace(tzinfo=None)
        time_ = f"{moment.isoformat(timespec='microseconds')}Z"
        shown = hide_secrets(fields)
        if self.is_readable:
            line = _render(event, time_, {"part": part, **shown}, has_colours=out.isatty())
        else:
            facts = {"time": time_, "level": event.level, "part": part, "event": event.name, **shown}
            line = msgspec.json.encode(facts, enc_hook=str).decode()  # what JSON does not know is text
        out.write(f"{line}\n")
        out.flush()


_output: Final = _Output()
"""Changed by `configure` alone: logs are made at import, before anybody knows where lines go."""


def configure(
    *,
    stream: Stream | None = None,
    level: Level = "info",
    is_readable: bool | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Set up logging for the program, once at its start.

    Args:
        stream: where lines go; stderr when not given.
        level: the least level that is written.
        is_readable: lines for people instead of JSON; by default when the stream is a terminal.
        now_ns: wall time, nanoseconds since 1970.
    """
    out = sys.stderr if stream is None else stream
    _output.stream = stream
    _output.least = _LEVELS[level]
    _output.is_readable = out.isatty() if is_readable is None else is_readable
    _output.now_ns = now_ns
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(level=logging.WARNING)]
    root.setLevel(logging.WARNING)


@contextmanager
def redirected(stream: Stream) -> Iterator[None]:
    """Write JSON lines to another stream as long as this is open."""
    before = _output.stream, _output.is_readable
    _output.stream, _output.is_readable = stream, False
    try:
        yield
    finally:
        _output.stream, _output.is_readable = before


def hide_secrets(fields: Mapping[str, object]) -> dict[str, object]:
    """Replace values that are secrets by name or by look."""
    return {name: _hide(name, value) for name, value in fields.items()}


def _hide(name: str, value: object) -> object:
    """Give a value, or what stands for it."""
    if _SECRET_NAMES.search(name):
        return HIDDEN
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value)} bytes)"
    if isinstance(value, (int, float, type(None))) or not _SECRET_VALUES.search(str(value)):
        return value
    return HIDDEN


def _render(event: Event, moment: str, facts: Mapping[str, object], *, has_colours: bool) -> str:
    """Write a line for people: time, level, event, then what goes with it."""
    level = f"{event.level:<8}"
    if has_colours:
        level = f"{_COLOURS[event.level]}{level}{_PLAIN}"
    values = (f"{name}={_quote(str(value))}" for name, value in facts.items())
    return f"{moment} {level} {event.name:<24} {' '.join(values)}"


def _quote(text: str) -> str:
    """Put a text in quotes where it would not stand out as one value; control characters are escaped."""
    return text if re.fullmatch(r"[!-~]+", text) else repr(text)


class _LibraryHandler(logging.Handler):
    """Turns what libraries log into events."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Pass one message on, without its traceback's local values."""
        Log("library").emit(LIBRARY_MESSAGE, logger=record.name, message=record.getMessage())


def parse_level(name: str) -> Level:
    """Take a level by its name.

    Raises:
        ValueError: there is no such level.
    """
    for level in _LEVELS:
        if level == name:
            return level
    raise ValueError(f"expected one of {', '.join(_LEVELS)}, got {name!r}")
