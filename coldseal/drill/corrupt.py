"""The drill in which bits of the store flip: in an image of the log's end, in a folder of its own.

Promise: the log itself is only read. After each flip all of the damaged segment is read again: what comes out
is what was there before, or the damage is noticed; then as much as possible is saved from below the database.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.keys import history_of
from coldseal.core.log.merkle import leaf_hash
from coldseal.drill.course import Check
from coldseal.errors import ColdsealError, OperatorError
from coldseal.gateway.records import open_reader
from coldseal.gateway.store.image import take_image
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.salvage import Found
from coldseal.gateway.store.segments import list_segments, segment_path
from coldseal.gateway.writer import LOG_FOLDER
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coldseal.core.log.record import Entry
    from coldseal.drill.course import Stage

SEGMENTS: Final = 2
"""Segments that are copied: the one that is written, and the one before it."""

MOST_LOST: Final = 512
"""Entries that one flipped bit may cost: a row of a packed segment has 256, and may have a neighbour."""

_BITS: Final = 8


class Outcome(NamedTuple):
    """What one flipped bit did: whether it was noticed, whether anything wrong came out, and what it cost."""

    is_noticed: bool
    is_wrong: bool
    lost: int


class Image:
    """A copy of the log's end, and what it holds.

    Args:
        folder: where it lies.
        key: the store key.
        origin: the log's name.
        is_authentic: whether an entry holds by itself.
    """

    def __init__(self, folder: Path, key: bytes, origin: str, is_authentic: Callable[[Entry], bool]) -> None:
        """Read all of it."""
        self.folder, self._key, self._origin, self._is_authentic = folder, key, origin, is_authentic
        starts = list_segments(folder)
        with closing(LogReader(folder, key)) as reader:
            ends = [*starts[1:], reader.size()]
            self._leaves: Mapping[int, list[bytes]] = {
                first: _leaves(reader, first, end) for first, end in zip(starts, ends, strict=True)
            }

    @property
    def entries(self) -> int:
        """How many entries it holds."""
        return sum(map(len, self._leaves.values()))

    def flip(self, chance: SystemRandom) -> Outcome:
        """Flip one bit somewhere, look what becomes of it, and flip it back."""
        files = [path for path in self.folder.iterdir() if path.stat().st_size]
        path = chance.choices(files, [file.stat().st_size for file in files])[0]
        at, bit = chance.randrange(path.stat().st_size), 1 << chance.randrange(_BITS)
        _turn(path, at, bit)
        try:
            return self._look(path)
        finally:
            _turn(path, at, bit)

    def _look(self, damaged: Path) -> Outcome:
        """Read what the damaged file concerns; a damaged head concerns the last segment."""
        first = next(
            (
                start
                for start in self._leaves
                if damaged.name.startswith(segment_path(self.folder, start).name)
            ),
            max(self._leaves),
        )
        held = self._leaves[first]
        try:
            with closing(LogReader(self.folder, self._key)) as reader:
                found = _leaves(reader, first, first + len(held))
                is_short = len(found) < len(held) or reader.size() < first + len(held)
        except ColdsealError:
            return Outcome(is_noticed=True, is_wrong=False, lost=self._lost(first))
        is_wrong = any(one != other for one, other in zip(found, held, strict=False))
        return Outcome(is_short, is_wrong, self._lost(first) if is_short else 0)

    def _lost(self, first: int) -> int:
        """Count the entries of a segment that cannot be saved."""
        held = self._leaves[first]
        with Found(self.folder.parent / "found.db", self._key, self._origin) as found:
            found.gather(segment_path(self.folder, first))
            found.choose({}, self._is_authentic)
            saved = {leaf_hash(raw) for _, raw in found.entries(first, first + len(held))}
        return sum(leaf not in saved for leaf in held)


def corrupt(stage: Stage, *, flips: int = 20) -> list[Check]:
    """Flip bits in an image of the log's end, one at a time.

    Args:
        stage: where.
        flips: how many.

    Raises:
        OperatorError: none is asked for.
        UnavailableError: the image cannot be made.
    """
    if flips < 1:
        raise OperatorError(f"--flips is {flips}", "Give 1 or more")
    stage.status()
    config, key = stage.config, read_symmetric_key(stage.config.store.key, Path())
    with closing(open_reader(config)) as reader:
        history = history_of(config.gateway.origin, reader.settings())
    mode, chance = config.gateway.signature, SystemRandom()

    def is_authentic(entry: Entry) -> bool:
        return verify_entry(history.at(entry.seq).record, mode, entry) is None

    with tempfile.TemporaryDirectory(prefix="drill-", dir=config.gateway.data) as folder:
        target = Path(folder) / "image"
        target.mkdir()
        copied = take_image(config.gateway.data / LOG_FOLDER, target, key, newest=SEGMENTS)
        image = Image(target, key, config.gateway.origin, is_authentic)
        stage.say(f"flipping {flips} bits in a copy of {image.entries} entries, {copied} bytes")
        outcomes = [image.flip(chance) for _ in range(flips)]
    wrong, noticed = sum(each.is_wrong for each in outcomes), sum(each.is_noticed for each in outcomes)
    most = max(each.lost for each in outcomes)
    idle = flips - wrong - noticed
    return [
        Check("bits flipped", str(flips), str(flips), ok=True),
        Check("of them noticed", str(noticed), "all that changed what is read", ok=not wrong),
        Check("of them without any effect", str(idle), "any", ok=True),
        Check("wrong values read", str(wrong), "0", not wrong),
        Check("entries that one flip cost for good, at most", str(most), f"≤ {MOST_LOST}", most <= MOST_LOST),
    ]


def _leaves(reader: LogReader, first: int, end: int) -> list[bytes]:
    """Give the leaf hashes of a range, as far as its entries are there."""
    found: list[bytes] = []
    while first + len(found) < end:
        part = reader.read(first + len(found), max_entries=min(4096, end - first - len(found)))
        if not part:
            break
        found += map(leaf_hash, part)
    return found


def _turn(path: Path, at: int, bit: int) -> None:
    """Flip a bit of a file."""
    with path.open("r+b") as stream:
        stream.seek(at)
        (value,) = stream.read(1)
        stream.seek(at)
        stream.write(bytes([value ^ bit]))
