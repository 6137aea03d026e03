"""Brings a pruned segment back into the log, from the archive.

Promise: the bundle holds in every check and matches the hashes that the log kept, a hold on the range is on
record before it is back, and it is back whole or not at all. Only where no gateway runs. The newest pruned
segment comes first, so that what is pruned stays the beginning of the log.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.access import Action
from coldseal.core.log import canonical
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.archives import archive_folder, examine
from coldseal.gateway.persons import Asked
from coldseal.gateway.store.database import translated
from coldseal.gateway.store.restoring import write_restored
from coldseal.gateway.store.segments import replace_segment
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from coldseal.gateway.archiving import Tools
    from coldseal.gateway.config import GatewayConfig

_HERE: Final = Path()


def restore(config: GatewayConfig, tools: Tools, first: int, *, who: str, why: str) -> tuple[int, int]:
    """Bring every pruned segment back from the one that begins with ``first`` on, and hold it there.

    Returns:
        The range that is back.

    Raises:
        OperatorError: a gateway runs, or no pruned segment begins there, or there is no room.
        UnavailableError: the archive is away.
        TrustError: a bundle does not hold, or is not what was pruned; that segment stays pruned.
    """
    return asyncio.run(_restore(config, tools, first, who, why))


async def _restore(config: GatewayConfig, tools: Tools, first: int, who: str, why: str) -> tuple[int, int]:
    """Do it in a run of its own, newest first."""
    folder, key = archive_folder(config), read_symmetric_key(config.store.key, _HERE)
    directory = config.gateway.data / LOG_FOLDER
    asked = Asked(Action.PRUNE, why, {"do": "restore", "first": first})
    async with Run.open(config, asked) as run:
        gone = [
            (at, end, about) for at, end, about in run.log.reader.closed_segments() if about and at >= first
        ]
        if not gone or gone[0][0] != first:
            raise OperatorError(
                f"no pruned segment begins with entry {first}", "See: coldseal gateway archive CONFIG list"
            )
        change: dict[str, canonical.Value] = {"action": "add", "first": first, "last": gone[-1][1] - 1}
        hold: dict[str, canonical.Value] = {"hold": change, "who": who, "why": why}
        await run.append([run.journal.draft("config", canonical.encode(hold), run.clock.now())])
        for at, end, about in reversed(gone):
            path = folder / about.archive
            if not path.is_file():
                raise UnavailableError(str(path), "it is not in the archive now")
            with tools.verified(path) as archive:
                examine(run.log.reader, archive, at, end - 1)
                _require_room(config, run.log.used_bytes(), sum(map(len, archive.entries(at, end - 1))))
                draft = write_restored(directory, key, at, end, archive.entries(at, end - 1))
            with translated(str(draft)):
                replace_segment(draft)
            run.log.make_room()
    return first, gone[-1][1] - 1


def _require_room(config: GatewayConfig, used: int, wanted: int) -> None:
    """Refuse what would leave no room for readings.

    Raises:
        OperatorError: it would.
    """
    if used + wanted > (config.store.limit_mb - config.store.reserve_mb) << 20:
        raise OperatorError(
            f"{wanted >> 20} MiB do not fit into store.limit_mb",
            "Raise it for the while, or take the bundle itself with --output FOLDER",
        )
