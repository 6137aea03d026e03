"""Reads the whole log again while the gateway runs, slowly, so that damage is found while others have a copy.

Promise: every entry, tree hash and checkpoint is read once in each round and held against the others; the
first seq that is not what was written is told once. Nothing waits for it, and it repairs nothing: readings
go on being acknowledged, because the end of the log is sound; the next start recovers the rest.
"""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.errors import ColdsealError, UnavailableError
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.inspection import Inspection, prev_of
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import PrunedError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import is_settled, segment_path
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

PART: Final = 512
"""Entries that are read at a time."""

PAUSE_S: Final = 0.1
"""Pause between two parts: so this takes a few hundredths of a processor core."""

FIRST_S: Final = 60.0
"""Pause between the start and the first round."""

_log = Log("gateway.scrub")


def scrub(folder: Path, key: bytes) -> Generator[int, None, None]:
    """Read a log from its first entry to its last; gives the seq behind each part.

    Raises:
        StoreDamagedError: something is not what was written; names the first seq concerned.
        UnavailableError: the log cannot be read now.
    """
    with closing(LogReader(folder, key)) as reader:
        inspection, first = Inspection(), 0
        for end in reader.segment_ends():
            path = segment_path(folder, first)
            if not is_settled(path):  # it has just ended: it is read as what is being written
                break
            yield from _closed(inspection, path, key, first, end)
            first = end
        yield from _written(reader, inspection, first)


def _closed(inspection: Inspection, path: Path, key: bytes, first: int, end: int) -> Iterator[int]:
    """Look at a closed segment; one with holes that the log states passes, and so does one just replaced."""
    number = path.stat().st_ino
    try:
        yield from inspection.examine(path, key, first, end)
    except StoreDamagedError:
        if path.stat().st_ino == number and not inspection.is_stated:
            raise
        inspection.skip()


def _written(reader: LogReader, inspection: Inspection, first: int) -> Iterator[int]:
    """Look at the segment that is being written, up to where it is now."""
    tree = CompactRange() if first == 0 else inspection.tree
    before, size = inspection.leaf, reader.size()
    at = first
    while at < size:
        try:
            entries = reader.read(at, max_entries=PART)
        except (LostError, PrunedError):
            return
        notes = dict(reader.checkpoints(at, at + len(entries)))
        for raw in entries:
            if before is not None and prev_of(raw) != before:
                raise StoreDamagedError("the log", "the entry does not continue the chain", at)
            before = leaf_hash(raw)
            at += 1
            if tree is not None:
                tree.append(before)
                if at in notes and parse_checkpoint_text(parse_note(notes[at]).text).root != tree.root():
                    raise StoreDamagedError("the log", f"the checkpoint over {at} has another root", at - 1)
        yield at


async def _step(parts: Iterator[int]) -> int | None:
    """Read the next part in a thread; whoever is cancelled meanwhile still waits for its end."""
    reading = asyncio.get_running_loop().run_in_executor(None, next, parts, None)
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})
        with suppress(ColdsealError):
            reading.result()
        raise


class Scrubbing:
    """Reads the log again, round after round.

    Args:
        folder: the log's folder.
        key: the store key.
        interval_s: from one round to the next.
        damaged: is told the first seq that is damaged, where it is known.
        done: is told how many entries a round has read.
    """

    def __init__(
        self,
        folder: Path,
        key: bytes,
        interval_s: float,
        *,
        damaged: Callable[[int | None], None],
        done: Callable[[int], None],
    ) -> None:
        """Take the parts."""
        self._folder, self._key, self._interval_s = folder, key, interval_s
        self._damaged, self._done = damaged, done

    async def run(self, *, first_s: float = FIRST_S, pause_s: float = PAUSE_S) -> None:
        """Read round after round, until damage is found or it is cancelled."""
        await asyncio.sleep(first_s)
        is_sound = True
        while is_sound:
            is_sound = await self.round(pause_s)
            await asyncio.sleep(self._interval_s)

    async def round(self, pause_s: float) -> bool:
        """Read everything once; gives whether it is sound, as far as it could be read."""
        loop = asyncio.get_running_loop()
        began, size, parts = loop.time(), 0, scrub(self._folder, self._key)
        try:
            while (at := await _step(parts)) is not None:
                size = at
                await asyncio.sleep(pause_s)
        except StoreDamagedError as error:
            _log.emit(events.ENTRY_DAMAGED, seq=error.seq, error=error.why)
            self._damaged(error.seq)
            return False
        except UnavailableError:  # a segment was replaced under it, or the disk is busy: the next round comes
            return True
        finally:
            await asyncio.to_thread(parts.close)
        self._done(size)
        _log.emit(events.STORE_SCRUBBED, entries=size, seconds=round(loop.time() - began, 1))
        return True
