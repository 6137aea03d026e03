"""The drill in which the newest entries are fetched back from the service, as new hardware would.

Promise: nothing is written but the drill's own entry. Every entry that comes is held against the
cosigned tree and, by its leaf hash, against the log.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Final

from coldseal.core.log.merkle import leaf_hash
from coldseal.drill.course import Check
from coldseal.errors import OperatorError, TrustError
from coldseal.gateway.copying import ServiceCopy
from coldseal.gateway.records import open_reader
from coldseal.gateway.store.pruned import PrunedError

if TYPE_CHECKING:
    from coldseal.drill.course import Stage
    from coldseal.gateway.store.reader import LogReader

SHOWN_EVERY: Final = 10_000
"""Entries after which a person is told how far it is."""


def restore(stage: Stage, *, entries: int = 50_000) -> list[Check]:
    """Fetch the newest entries from the service and hold them against the log.

    Args:
        stage: where.
        entries: how many.

    Raises:
        OperatorError: no service is configured, or no entry is asked for.
        UnavailableError: the service cannot be reached, or has nothing yet.
    """
    if entries < 1:
        raise OperatorError(f"--entries is {entries}", "Give 1 or more")
    stage.status()
    return asyncio.run(_restore(stage, entries))


async def _restore(stage: Stage, entries: int) -> list[Check]:
    """Do it."""
    async with ServiceCopy(stage.config) as copy:
        try:
            return await _compare(stage, copy, entries)
        except TrustError as fault:
            return [
                Check(
                    "what the service gave",
                    f"{fault.verdict}: {fault}"[:300],
                    "in the cosigned tree",
                    ok=False,
                )
            ]


async def _compare(stage: Stage, copy: ServiceCopy, entries: int) -> list[Check]:
    """Hold part after part against the log."""
    size = await copy.size()
    first = max(0, size - entries)
    stage.say(f"fetching the entries {first} to {size - 1} back from the service")
    began, at, same = stage.clock.now().mono_ms, first, 0
    with closing(open_reader(stage.config)) as reader:
        root = reader.root(size) if reader.size() >= size else b""
        async for part in copy.stream(first, size):
            here = _leaves(reader, at, len(part))
            same += sum(leaf_hash(raw) == leaf for raw, leaf in zip(part, here, strict=False))
            if (at - first) // SHOWN_EVERY != (at + len(part) - first) // SHOWN_EVERY:
                stage.say(f"{at + len(part) - first} of {size - first}")
            at += len(part)
    seconds = max(1, stage.clock.now().mono_ms - began) / 1000
    fetched = at - first
    rate = fetched / seconds
    is_same_tree = root == await copy.root()
    return [
        Check("entries fetched", str(fetched), str(size - first), fetched == size - first),
        Check("of them byte-equal to the log's", str(same), str(fetched), same == fetched),
        Check(
            f"the tree over {size} entries",
            "the same" if is_same_tree else "another",
            "the same",
            is_same_tree,
        ),
        Check("entries a second", f"{rate:.0f}", "any", ok=True),
        Check("minutes to restore all of the log at that rate", f"{size / rate / 60:.1f}", "any", ok=True),
    ]


def _leaves(reader: LogReader, first: int, count: int) -> list[bytes]:
    """Give the leaf hashes that the log has at these places, as far as it has any."""
    count = max(0, min(count, reader.size() - first))
    found: list[bytes] = []
    try:
        while len(found) < count:
            found += map(leaf_hash, reader.read(first + len(found), max_entries=count - len(found)))
    except PrunedError:
        found += (reader.nodes(0, seq) for seq in range(first + len(found), first + count))
    return found
