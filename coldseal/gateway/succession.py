"""What a new log cites of the one that it continues: the last receipt of that log, as a file.

Promises that a log begins with a citation only under the next origin, and only of what the configured
witness cosigned; and that a log which is there is not taken for the successor of another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import parse_note, parse_vkey
from coldseal.core.log.succession import (
    BrokenLinkError,
    after_of,
    link_of,
    require_successor,
    witnessed,
)
from coldseal.errors import InputError, OperatorError
from coldseal.gateway.continued import RECEIPT

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry
    from coldseal.core.log.succession import After
    from coldseal.gateway.config import GatewayConfig

_FILE: Final = "file:"
_HINT: Final = "Name the last receipt of the log before: coldseal service receipt SERVICE.toml ORIGIN"


def read_receipt(path: Path, *, is_cosigned: bool = True) -> After:
    """Read the last receipt of a log that is to be continued.

    Args:
        path: the file.
        is_cosigned: a note that only the log itself signed is none.

    Raises:
        OperatorError: it cannot be read, or is no receipt that can be cited.
    """
    try:
        after = after_of(path.read_bytes())
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", _HINT) from error
    except InputError as error:
        raise OperatorError(f"{path} is no receipt: {error}", _HINT) from error
    if is_cosigned and all(line.name == after.cited.origin for line in parse_note(after.note).signatures):
        raise OperatorError(f"{path} carries no cosignature", _HINT)
    return after


def cite(config: GatewayConfig) -> dict[str, Value]:
    """Give what a genesis entry says of the log before: nothing where `gateway.after` is empty.

    Raises:
        OperatorError: the receipt cannot be cited under this origin, or by this witness.
    """
    path = _path(config)
    if path is None:
        return {}
    origin, witness = config.gateway.origin, config.uplink.witness
    after = read_receipt(path, is_cosigned=not _is_own(config, path))
    try:
        require_successor(origin, after)
        key = parse_vkey(witness) if witness else None
    except BrokenLinkError as error:
        hint = "Set it so, or empty gateway.after to continue no log"
        raise OperatorError(f"gateway.origin is {origin!r}: {error.why}", hint) from error
    except InputError as error:
        raise OperatorError(f"uplink.witness: {error}", "Take it from `coldseal service init`") from error
    if key is not None and not witnessed(after, (key,)):
        raise OperatorError(f"{path} is not cosigned by uplink.witness, {key.name}", _HINT)
    return {"after": after.data()}


def require_same_predecessor(config: GatewayConfig, genesis: Entry) -> None:
    """Refuse to go on with a log that began behind another one than `gateway.after` names.

    Raises:
        OperatorError: the receipt is still there, and not the one that the log cites.
    """
    path = _path(config)
    if path is None or not path.exists():
        return
    wanted = read_receipt(path, is_cosigned=not _is_own(config, path)).cited
    found = link_of(genesis)
    if found is None or found.cited != wanted:
        there = f"{found.cited.origin} at size {found.cited.size}" if found else "no log"
        what = f"gateway.after is of {wanted.origin} at size {wanted.size}, but the log began behind {there}"
        raise OperatorError(what, "Set it back, or begin a new log under a new gateway.origin and data")


def _is_own(config: GatewayConfig, path: Path) -> bool:
    """Whether a recovery wrote what is cited, where no witness is: then nobody could have cosigned it."""
    return path == config.gateway.data / RECEIPT and not config.uplink.witness


def _path(config: GatewayConfig) -> Path | None:
    """Give the file that `gateway.after` names."""
    after = config.gateway.after
    if after is None:
        return None
    if not after.startswith(_FILE):
        raise OperatorError("gateway.after names no file, expected file:…", _HINT)
    return Path(after.removeprefix(_FILE))
