"""The static layout of a log (C2SP tlog-tiles): names and contents of the files that any tool reads it from.

A log's hashes stand in tiles, 256 of a level and one level in eight, beside its entries in bundles of the
same places. Promises that a tile has one name, and that its content follows from the entries alone: a
larger log has more files, or wider ones at its right edge, never others. Opens no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.layout import subtrees
from coldseal.core.log.merkle import HASH_SIZE, CompactRange
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coldseal.core.log.merkle import Nodes

HEIGHT: Final = 8
"""Levels of the tree from one level of tiles to the next."""

WIDTH: Final = 1 << HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""

ENTRIES: Final = -1
"""The level of entry bundles."""

MAX_LEVEL: Final = 63

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})"
    r"/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(?P<width>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One file of the layout.

    Attributes:
        level: of tiles, from 0 for leaf hashes; `ENTRIES` for an entry bundle.
        index: its place among those of its level.
        width: how many hashes or entries it holds; below `WIDTH` only at the right edge of a log.
    """

    level: int
    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        """Refuse what the layout does not have."""
        if not ENTRIES <= self.level <= MAX_LEVEL:
            raise InputError("tile", "level", self.level, f"entries, or 0 to {MAX_LEVEL}")
        if self.index < 0:
            raise InputError("tile", "index", self.index, "a number from 0")
        if not 0 < self.width <= WIDTH:
            raise InputError("tile", "width", self.width, f"1 to {WIDTH}")

    @property
    def path(self) -> str:
        """Its name below the log's folder or address."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        folders = "".join(f"x{digits[at : at + 3]}/" for at in range(0, len(digits) - 3, 3))
        level = "entries" if self.level == ENTRIES else self.level
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{folders}{digits[-3:]}{partial}"

    @property
    def tree_level(self) -> int:
        """Level of the tree whose hashes it holds."""
        return HEIGHT * self.level

    @property
    def first(self) -> int:
        """Place of the first hash on its level of the tree; for a bundle, seq of the first entry."""
        return self.index * WIDTH


class Full(NamedTuple):
    """The hash over a full tile: what stands for it in the tile above.

    Attributes:
        level: of the tree, as `Nodes` has it: 8, 16, 24 …
        n: its place on that level.
        root: the hash.
    """

    level: int
    n: int
    root: bytes


def parse_tile(path: str) -> Tile:
    """Read a tile from its name.

    Raises:
        InputError: it is none, or not spelt in the one way.
    """
    match = _PATH.fullmatch(path)
    if match is not None:
        level = ENTRIES if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("/", "").replace("x", ""))
        found = Tile(level, index, int(match["width"] or WIDTH))
        if found.path == path:
            return found
    raise InputError("tile", "path", path, "tile/LEVEL/INDEX[.p/WIDTH] of C2SP tlog-tiles")


def width_at(level: int, index: int, size: int) -> int:
    """Give how much of a tile a log of ``size`` fills: 0 to `WIDTH`."""
    held = size >> HEIGHT * max(level, 0)
    return max(0, min(WIDTH, held - index * WIDTH))


def is_in(tile: Tile, size: int) -> bool:
    """Whether a log of ``size`` can give this tile: all that it holds, or held when the log was smaller."""
    return tile.width <= width_at(tile.level, tile.index, size)


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """Give the tiles of a log, entry bundles first, then level by level.

    Args:
        size: of the log.
        since: a smaller size: only what a log of that size has not, or not as wide.
    """
    level = ENTRIES
    while held := size >> HEIGHT * max(level, 0):
        known = since >> HEIGHT * max(level, 0)
        for index in range(known // WIDTH, -(-held // WIDTH)):
            width = min(WIDTH, held - index * WIDTH)
            if index * WIDTH + width > known:
                yield Tile(level, index, width)
        level += 1


def hash_tile(tile: Tile, nodes: Nodes) -> bytes:
    """Give the content of a tile of hashes, from the tree's complete subtrees."""
    places = range(tile.first, tile.first + tile.width)
    return b"".join(nodes(HEIGHT * tile.level, place) for place in places)


def tile_nodes(size: int, read: Callable[[Tile], bytes]) -> Nodes:
    """Look hashes up in the tiles of a log: proofs for any size up to ``size`` can be made of them.

    A hash that begins a level of tiles is made from the tile below, so the tiles of one level give
    those of the next. Nothing is verified: compare a root.

    Args:
        size: of the log that the tiles were written for; decides how wide the last ones are.
        read: gives a tile's content.
    """

    def nodes(level: int, index: int) -> bytes:
        tile_level = max(level - 1, 0) // HEIGHT
        count = 1 << level - HEIGHT * tile_level
        tile_index, offset = divmod(index * count, WIDTH)
        width = width_at(tile_level, tile_index, size)
        if offset + count > width:
            raise InputError("tiles", "node", (level, index), f"a complete subtree of {size} leaves")
        tile = Tile(tile_level, tile_index, width)
        content = read(tile)
        if len(content) != width * HASH_SIZE:
            raise InputError(tile.path, "length", len(content), f"{width * HASH_SIZE} bytes")
        hashes = (content[HASH_SIZE * at :][:HASH_SIZE] for at in range(offset, offset + count))
        found = CompactRange()
        found.extend(list(hashes))
        return found.root()

    return nodes


def root_at(size: int, nodes: Nodes) -> bytes:
    """Give the root over the first ``size`` entries of a log."""
    return CompactRange.from_hashes(size, [nodes(*place) for place in subtrees(0, size)]).root()


def extend(tree: CompactRange, leaves: Sequence[bytes]) -> list[Full]:
    """Add leaf hashes at the end of a tree, tile by tile; give the hash of every tile that is full by it.

    The tree comes out as `CompactRange.extend` leaves it, with as much work: on each level of tiles its
    hashes are those of the one tile that is not full.
    """
    found: list[Full] = []
    ends: list[list[bytes]] = []
    above, size, level, added = tree.hashes, tree.size, 0, leaves
    while added:
        index, held = divmod(size >> level, WIDTH)
        cut = len(above) - held.bit_count()
        above, tile = above[:cut], CompactRange.from_hashes(held, above[cut:])
        level += HEIGHT
        full: list[Full] = []
        starts = range(WIDTH - held, len(added), WIDTH)
        for part in (added[: WIDTH - held], *(added[start : start + WIDTH] for start in starts)):
            tile.extend(part)
            if tile.size == WIDTH:
                full.append(Full(level, index + len(full), tile.root()))
                tile = CompactRange()
        ends.append(tile.hashes)
        found += full
        added = [each.root for each in full]
    tree.size = size + len(leaves)
    tree.hashes = [*above, *chain.from_iterable(reversed(ends))]
    return found
