"""Under which origin a gateway goes on once its log could not: ``continued.json`` in its data folder.

Promise: whoever loads the configuration, a command or the uplink's process, sees the origin that is in force
and the receipt that its log cites; the operator's file is never written. Takes effect for logs of one
succession only: a configuration that names another log, or a later one, is left alone.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log.succession import first_origin, next_origin
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.signing.private_files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.tables.identity import Gateway

NAME: Final = "continued.json"
RECEIPT: Final = "continued.receipt"
"""The receipt that the log cites, beside that file."""

LAST: Final = "last.receipt"
"""Beside a log that another one continues: its last receipt. Nothing is sealed onto such a log."""

_DRAFT: Final = ".new"


class Continued(msgspec.Struct, frozen=True):
    """What is in force.

    Args:
        origin: of the log that is written.
        after: file with the last receipt of the log before, below the data folder; empty if there is none.
    """

    origin: str
    after: str


def read_continued(data: Path) -> Continued | None:
    """Read what is in force; None if the configuration alone counts.

    Raises:
        OperatorError: the file is there and cannot be read.
    """
    path = data / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Continued)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(
            f"{path} cannot be read: {error}", "Restore it: it says which log goes on"
        ) from error


def write_continued(data: Path, origin: str, note: bytes) -> Continued:
    """Have the gateway go on under another origin, citing a receipt, if there is one; durable on return.

    Raises:
        UnavailableError: it cannot be written; nothing has changed then.
    """
    found = Continued(origin, RECEIPT if note else "")
    try:
        if note:
            _write(data / RECEIPT, note)
        _write(data / NAME, msgspec.json.encode(found))
        sync_directory(data)
    except OSError as error:
        raise UnavailableError(str(data / NAME), str(error.strerror)) from error
    return found


def in_force(gateway: Gateway) -> Gateway:
    """Give the table ``[gateway]`` as it counts, with what its data folder says.

    Raises:
        OperatorError: that cannot be read, or names a file elsewhere.
    """
    found = read_continued(gateway.data)
    if found is None or not _is_later(found.origin, gateway.origin):
        return gateway
    if PurePath(found.after).name != found.after:
        raise OperatorError(f"{gateway.data / NAME} names {found.after!r}", "Restore it as it was written")
    after = f"file:{gateway.data / found.after}" if found.after else None
    return msgspec.structs.replace(gateway, origin=found.origin, after=after)


def _is_later(origin: str, configured: str) -> bool:
    """Whether a log continues the configured one, directly or over others; the same is not later."""
    while first_origin(configured) == first_origin(origin):
        try:
            configured = next_origin(configured)
        except InputError:
            return False
        if configured == origin:
            return True
        if len(configured) > len(origin) + 1:
            return False
    return False


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place, whole or not at all."""
    draft = path.with_name(f"{path.name}{_DRAFT}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
