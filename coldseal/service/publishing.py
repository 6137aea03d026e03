"""The logs as files in the static layout (C2SP tlog-tiles), for those who may read them.

Promises that no file is given before the receipt over what is in it, and that a gateway sees its own logs
only. No file lies anywhere: each is made from the ledger when it is asked for, and is the same every time,
but for the checkpoint. Speaks no HTTP: that is `api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.record import frame
from coldseal.core.log.tiles import ENTRIES, Tile, is_in, parse_tile
from coldseal.errors import InputError, UnavailableError
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.callers import NotAdmittedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from coldseal.identity.peer import Peer
    from coldseal.service.admission import Admission
    from coldseal.service.ledger import Ledger

CHECKPOINT: Final = "checkpoint"
"""Name of the one file that changes."""

_log = Log("service.publishing")


class File(NamedTuple):
    """One file of the layout: the newest checkpoint, a bundle of entries, or a tile of hashes."""

    content: bytes
    tile: Tile | None = None
    """Which one it is; None for the checkpoint."""


class Publishing:
    """Gives the files of all admitted logs.

    Args:
        admission: the logs, and whose they are.
        ledger: what is held of them.
        readers: the roles that may read.
    """

    def __init__(self, admission: Admission, ledger: Ledger, readers: Collection[str]) -> None:
        """Take the parts."""
        self._admission = admission
        self._ledger = ledger
        self._readers = readers

    async def file(self, reader: Peer, path: str) -> File | None:
        """Give one file; None where there is none, or not yet.

        Args:
            reader: who asks, as TLS verified it.
            path: the log's origin, and behind it the file's name in the layout.

        Raises:
            NotAdmittedError: the reader may not see it.
            UnavailableError: the ledger cannot be read now.
        """
        origin, tile = _split(path)
        self._verify_right(reader, origin)
        receipt = await self._ledger.receipt(origin)
        if self._admission.find(origin) is None or receipt is None:
            return None
        if tile is None:
            return File(receipt.note)
        if not is_in(tile, receipt.size):
            return None
        return File(await self._content(origin, tile), tile)

    async def _content(self, origin: str, tile: Tile) -> bytes:
        """Make the content of a bundle or tile that the log has."""
        first, count = tile.first, tile.width
        if tile.level == ENTRIES:
            return frame(await self._ledger.entries(origin, first, first + count))
        hashes = await self._ledger.hashes(origin, tile.tree_level, first, count)
        if len(hashes) != count:  # a ledger from before they were kept
            raise UnavailableError("the ledger", f"it has {len(hashes)} of the {count} hashes of {tile.path}")
        return b"".join(hashes)

    def _verify_right(self, reader: Peer, origin: str) -> None:
        """Insist on a role that may read; a gateway is told nothing of logs that are not its own."""
        log = self._admission.find(origin)
        if reader.role not in self._readers:
            reason = f"{reader.name} is a {reader.role}, which service.readers does not name"
        elif reader.role == "gateway" and (log is None or log.gateway != reader.name):
            reason = f"{origin} is not admitted from {reader.name}"
        else:
            return
        _log.emit(events.PEER_REFUSED, peer=reader.name, cause=NotAdmittedError.verdict, reason=reason)
        raise NotAdmittedError(reason)


def _split(path: str) -> tuple[str, Tile | None]:
    """Tell origin and file apart; a name that the layout does not have belongs to no log."""
    origin, _, name = path.rpartition("/")
    if name == CHECKPOINT:
        return origin, None
    origin, _, name = path.rpartition("/tile/")
    try:
        return origin, parse_tile(f"tile/{name}")
    except InputError:
        return "", None
