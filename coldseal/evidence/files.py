"""The names of a bundle's files, and which entries each of them holds: it follows from the runs alone.

A run that begins at a tile and ends with the log goes into tiles as C2SP names them, 256 entries each; all
other entries, run after run, into files of 4096. Every file is full but the last of its sort.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.tiles import ENTRIES, WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coldseal.core.log.layout import Run

MANIFEST: Final = "manifest.json"
PROOF: Final = "proof"
TABLE: Final = "readings.csv"
POLICY: Final = "policy.json"
RECORD_KEY: Final = "keys/record.pem"
INSTRUCTIONS: Final = "READ-ME.txt"
PAGE: Final = "verify.html"
CHECKPOINTS: Final = "checkpoints/"
CERTIFICATES: Final = "certificates/"
TIMESTAMPS: Final = "timestamps/"
TIMESTAMP_CA: Final = "timestamps/ca.pem"
COUNTER: Final = "counter/"
STATED: Final = ".attest"
SIGNED: Final = ".sig"

_PLAIN: Final = frozenset({PROOF, TABLE, POLICY, RECORD_KEY, INSTRUCTIONS, PAGE, TIMESTAMP_CA})
_NUMBERED: Final = re.compile(
    r"checkpoints/[0-9]{6}|certificates/[a-z0-9][a-z0-9.-]*\.pem|timestamps/[1-9][0-9]{0,14}\.tsr"
    r"|counter/[1-9][0-9]{0,14}\.(?:attest|sig)"
)

LOOSE: Final = 4096
"""Entries in a file that is no tile."""


class EntryFile(NamedTuple):
    """One file of framed entries, and the pieces of runs that stand in it."""

    name: str
    pieces: tuple[Run, ...]

    @property
    def length(self) -> int:
        """How many entries it holds."""
        return sum(end - first for first, end in self.pieces)


def is_known(name: str) -> bool:
    """Whether a bundle may hold a file of that name, beside the manifest and the files of entries."""
    return name in _PLAIN or _NUMBERED.fullmatch(name) is not None


def entry_files(size: int, runs: Sequence[Run]) -> list[EntryFile]:
    """Give the files of entries, in order."""
    first, end = runs[-1]
    is_tiled = first % WIDTH == 0 and end == size
    found = list(_loose(runs[:-1] if is_tiled else runs))
    for start in range(first, end if is_tiled else first, WIDTH):
        width = min(WIDTH, end - start)
        found.append(EntryFile(Tile(ENTRIES, start // WIDTH, width).path, ((start, start + width),)))
    return found


def _loose(runs: Sequence[Run]) -> Iterator[EntryFile]:
    """Fill files with runs, cut where one is full."""
    pieces: list[Run] = []
    number, room = 0, LOOSE
    for run in runs:
        first, end = run
        while first < end:
            stop = min(end, first + room)
            pieces.append((first, stop))
            room -= stop - first
            first = stop
            if not room:
                yield EntryFile(f"entries/{number:06d}", tuple(pieces))
                pieces, number, room = [], number + 1, LOOSE
    if pieces:
        yield EntryFile(f"entries/{number:06d}", tuple(pieces))
