"""The service's copy of a log, read back: the newest cosigned checkpoint, and entries that are in its tree.

Promises that no entry comes out which the cosigned tree does not hold at its place: whoever serves the copy
may be slow or away, but cannot make one up, change, drop or move one. Everything is of one checkpoint, the
newest when it was first asked for. Writes nothing; knows no store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from coldseal.core.log.checkpoint import Checkpoint, open_checkpoint
from coldseal.core.log.merkle import HASH_SIZE, CompactRange, leaf_hash
from coldseal.core.log.record import parse_frames
from coldseal.core.log.tiles import ENTRIES, HEIGHT, WIDTH, Tile
from coldseal.errors import InputError, OperatorError, TrustError, UnavailableError
from coldseal.gateway.uplink.contact import open_key, verify_own_lines
from coldseal.gateway.uplink.copy_http import CONNECTIONS, CopyChannel
from coldseal.gateway.uplink.names import guard_of
from coldseal.identity.contexts import client_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from types import TracebackType

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.gateway.config import GatewayConfig

CHECKPOINT: Final = "checkpoint"
AHEAD: Final = 2 * CONNECTIONS
"""Bundles that are asked for ahead of the one that is wanted next."""

_WHAT: Final = "the service's copy"


class FalseCopyError(TrustError):
    """What the service serves is not what the cosigned checkpoint covers."""

    verdict = "false-copy"

    def __init__(self, path: str, why: str) -> None:
        """Keep the file and what is wrong with it."""
        self.path = path
        self.why = why
        super().__init__(f"the service's {path} is not what its witness cosigned: {why}")


class NoCopyError(UnavailableError):
    """The service is there, and has no receipt for anything of this log."""

    def __init__(self, origin: str) -> None:
        """Keep the log's name."""
        self.origin = origin
        super().__init__(_WHAT, f"it has no checkpoint of {origin}, or does not know that log")


class ServiceCopy:
    """The copy of one log; used as ``async with ServiceCopy(config) as copy:``.

    Args:
        config: of the gateway: names service, certificate and witness.
        origin: the log; empty for the configuration's own.
        keys: verifier keys of the log that are known: a line of theirs must hold.
        is_packed: bundles come in gzip: for a slow line.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        origin: str = "",
        keys: Sequence[VerifierKey] = (),
        is_packed: bool = False,
    ) -> None:
        """Prepare it; nothing is connected yet.

        Raises:
            OperatorError: no service is configured, or its certificate or key cannot be used.
        """
        uplink = config.uplink
        if not uplink.url or uplink.certificate is None or uplink.key is None or uplink.ca is None:
            raise OperatorError(
                "no service is configured", "Set uplink.url, certificate, key, ca and witness"
            )
        self.origin = origin or config.gateway.origin
        self.witness = open_key("uplink.witness", uplink.witness)
        self._keys = tuple(keys)
        context = client_context(uplink.certificate, uplink.transport, uplink.ca)
        self._channel = CopyChannel(
            uplink.url,
            self.origin,
            context,
            timeout_s=uplink.timeout_s,
            is_packed=is_packed,
            guard=guard_of(config),
        )
        self._note = b""
        self._found: Checkpoint | None = None
        self._edges: list[bytes] = []
        self._tiles: dict[tuple[int, int], bytes] = {}

    async def __aenter__(self) -> Self:
        """Open the session; nothing is asked yet."""
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._channel.__aexit__(kind, error, trace)

    async def checkpoint(self) -> bytes:
        """Give the newest cosigned checkpoint, a signed note; later calls give the same.

        Raises:
            NoCopyError: the service has nothing of this log.
            UnavailableError: it cannot be reached, or does not let us read.
            TrustError: the witness did not cosign it, it is of another log, or a known key's line fails.
        """
        await self._opened()
        return self._note

    async def size(self) -> int:
        """Give how many entries that checkpoint covers; errors as `checkpoint`."""
        return (await self._opened()).size

    async def root(self) -> bytes:
        """Give the root hash of that checkpoint; errors as `checkpoint`."""
        return (await self._opened()).root

    async def entries(self, first: int, end: int) -> list[bytes]:
        """Give the entries from seq ``first`` to ``end``, which is behind the last; all in memory.

        Raises:
            FalseCopyError: what came is not in the cosigned tree.
            InputError: the checkpoint does not cover that range.
            UnavailableError, TrustError: as `checkpoint`.
        """
        return [entry async for part in self.stream(first, end) for entry in part]

    async def stream(self, first: int, end: int) -> AsyncGenerator[list[bytes], None]:
        """Give the same part by part, in order, a few of them asked for ahead; errors as `entries`."""
        size = (await self._opened()).size
        if not 0 <= first <= end <= size:
            raise InputError(_WHAT, "range", (first, end), f"places of the {size} entries that are covered")
        places = iter(range(first // WIDTH, -(-end // WIDTH)) if first < end else ())
        at = first // WIDTH
        under_way: deque[asyncio.Task[list[bytes]]] = deque()
        try:
            while True:
                while len(under_way) < AHEAD and (place := next(places, None)) is not None:
                    under_way.append(asyncio.ensure_future(self._bundle(place)))
                if not under_way:
                    return
                found = await under_way[0]
                start = at * WIDTH
                del under_way[0]
                at += 1
                yield found[max(0, first - start) : end - start]
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def leaves(self, index: int) -> bytes:
        """Give the leaf hashes of entries ``256 * index`` on, up to 256, one behind the other.

        They are held against the tree as entries are; errors as `entries`.
        """
        await self._opened()
        return await self._tile(0, index)

    async def _opened(self) -> Checkpoint:
        """Fetch the newest checkpoint and the tree's right edge, once."""
        if self._found is None:
            note = await self._channel.get(CHECKPOINT)
            if note is None:
                raise NoCopyError(self.origin)
            found = self._verified(note)
            await self._open_edge(found)
            self._note, self._found = note, found
        return self._found

    def _verified(self, note: bytes) -> Checkpoint:
        """Check a note: the witness cosigned it, it is of this log, and the log's known keys signed it."""
        try:
            checkpoint, _ = open_checkpoint(note, [self.witness], [self.witness])
        except InputError as fault:
            raise FalseCopyError(CHECKPOINT, str(fault)) from fault
        verify_own_lines(note, self._keys)
        if checkpoint.origin != self.origin or not checkpoint.size:
            raise FalseCopyError(CHECKPOINT, f"it is of {checkpoint.origin}, size {checkpoint.size}")
        return checkpoint

    async def _open_edge(self, checkpoint: Checkpoint) -> None:
        """Fetch the tiles at the tree's right edge, which together are its root."""
        size = checkpoint.size
        edge: dict[tuple[int, int], bytes] = {}
        hashes: list[bytes] = []
        for level in reversed(range(-(-size.bit_length() // HEIGHT))):
            index, width = divmod(size >> HEIGHT * level, WIDTH)
            if not width:
                continue
            content = await self._file(Tile(level, index, width))
            edge[level, index] = content
            hashes += _range_of(content).hashes
        found = CompactRange.from_hashes(size, hashes).root()
        if found != checkpoint.root:
            why = f"its tiles lead to the root {found.hex()}, not {checkpoint.root.hex()}"
            raise FalseCopyError(f"tree of size {size}", why)
        self._tiles = edge

    async def _tile(self, level: int, index: int) -> bytes:
        """Give a tile of hashes that is in the tree; those above the leaves are kept."""
        held = self._tiles.get((level, index))
        if held is not None:
            return held
        tile = Tile(level, index)
        content = await self._file(tile)
        await self._require(tile, _range_of(content).root())
        if level:
            self._tiles[level, index] = content
        return content

    async def _bundle(self, index: int) -> list[bytes]:
        """Give the entries of one bundle, held against the tree."""
        edge = self._tiles.get((0, index))
        width = WIDTH if edge is None else len(edge) // HASH_SIZE
        tile = Tile(ENTRIES, index, width)
        frames = await self._channel.get(tile.path)
        if frames is None:
            raise UnavailableError(_WHAT, f"{tile.path} is missing")
        try:
            entries = parse_frames(frames)
        except InputError as fault:
            raise FalseCopyError(tile.path, str(fault)) from fault
        if len(entries) != width:
            raise FalseCopyError(tile.path, f"{len(entries)} entries, expected {width}")
        leaves = [leaf_hash(entry) for entry in entries]
        if edge is None:
            found = CompactRange()
            found.extend(leaves)
            await self._require(Tile(0, index), found.root())
        elif b"".join(leaves) != edge:
            raise FalseCopyError(tile.path, "entries are not those of the tree")
        return entries

    async def _require(self, tile: Tile, root: bytes) -> None:
        """Insist that a full tile stands in the tile above."""
        above = await self._tile(tile.level + 1, tile.index // WIDTH)
        at = tile.index % WIDTH * HASH_SIZE
        if above[at : at + HASH_SIZE] != root:
            raise FalseCopyError(tile.path, "it is not in the tree")

    async def _file(self, tile: Tile) -> bytes:
        """Fetch a tile of hashes; nothing of it is held against the tree yet."""
        content = await self._channel.get(tile.path)
        if content is None:
            raise UnavailableError(_WHAT, f"{tile.path} is missing")
        if len(content) != tile.width * HASH_SIZE:
            raise FalseCopyError(tile.path, f"{len(content)} bytes, expected {tile.width * HASH_SIZE}")
        return content


def _range_of(content: bytes) -> CompactRange:
    """Hash the content of a tile as a tree of its own."""
    found = CompactRange()
    found.extend([content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE)])
    return found
