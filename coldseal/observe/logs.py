"""Writes events of the catalogue to stderr: JSON lines, or readable lines on a terminal.

A value that looks like a secret is hidden, bytes are never written out. Messages of libraries
pass through as `library.message`. Nothing is rotated, shipped or kept: that is the system's work.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Final, TextIO

import msgspec
import structlog
from typing_extensions import override

from coldseal.observe.events import LIBRARY_MESSAGE, Event, Level

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import FilteringBoundLogger, Processor

HIDDEN: Final = "(hidden)"

_SECRET_NAMES: Final = re.compile(
    r"passw|passphrase|secret|token|authorization|private|store_key", re.IGNORECASE
)
_SECRET_VALUES: Final = re.compile(r"PRIVATE KEY-----|\$argon2|\bBearer |[?&](token|password)=")


class Log:
    """The log of one part of a program.

    Args:
        part: which part, such as ``gateway.uplink``; stands in each line.
    """

    def __init__(self, part: str) -> None:
        """Bind the part's name; lines go where :func:`configure` says at the time."""
        self._logger: FilteringBoundLogger = structlog.get_logger(part=part)

    def emit(self, event: Event, **fields: object) -> None:
        """Write one event with exactly its declared fields.

        Raises:
            TypeError: a field is missing or unknown: the call does not agree with the catalogue.
        """
        if fields.keys() != set(event.fields):
            raise TypeError(f"{event.name} has the fields {event.fields}, got {tuple(fields)}")
        self._logger.log(_LEVELS[event.level], event.name, **fields)


_LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def configure(
    *, stream: TextIO | None = None, level: Level = "info", is_readable: bool | None = None
) -> None:
    """Set up logging for the program, once at its start.

    Args:
        stream: where lines go; stderr when not given.
        level: the least level that is written.
        is_readable: lines for people instead of JSON; by default when the stream is a terminal.
    """
    out = sys.stderr if stream is None else stream
    readable = out.isatty() if is_readable is None else is_readable
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if readable
        else structlog.processors.JSONRenderer(serializer=_encode)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            hide_secrets,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,  # a test or a reload may configure again
    )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(level=logging.WARNING)]
    root.setLevel(logging.WARNING)


def hide_secrets(
    _logger: object, _method: str, fields: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Replace values that are secrets by name or by look; a structlog processor."""
    for name, value in fields.items():
        if _SECRET_NAMES.search(name):
            fields[name] = HIDDEN
        elif isinstance(value, (bytes, bytearray, memoryview)):
            fields[name] = f"({len(value)} bytes)"
        elif not isinstance(value, (int, float, type(None))) and _SECRET_VALUES.search(str(value)):
            fields[name] = HIDDEN
    return fields


class _LibraryHandler(logging.Handler):
    """Turns what libraries log into events."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Pass one message on, without its traceback's local values."""
        Log("library").emit(LIBRARY_MESSAGE, logger=record.name, message=record.getMessage())


def _encode(fields: object, **_options: object) -> str:
    """Encode a line as JSON; what JSON does not know is written as text."""
    return msgspec.json.encode(fields, enc_hook=str).decode()


def parse_level(name: str) -> Level:
    """Take a level by its name.

    Raises:
        ValueError: there is no such level.
    """
    for level in _LEVELS:
        if level == name:
            return level
    raise ValueError(f"expected one of {', '.join(_LEVELS)}, got {name!r}")
