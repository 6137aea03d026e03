"""``coldseal evidence tiles``: writes a log as static files that any C2SP tlog-tiles tool reads.

Each run adds what came since the one before; the checkpoint comes last, so a reader never finds one without
its tiles. Promises that what is in the folder leads to the root of the checkpoint beside it, and to that of
the one that was there before. Verifies no signature: that is for whoever reads it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.cli.output import print_json, print_lines
from coldseal.cli.sources import open_source
from coldseal.core.log.checkpoint import Checkpoint, parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import EMPTY_ROOT, ConsistencyError, leaf_hash
from coldseal.core.log.record import frame, parse_frames
from coldseal.core.log.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    hash_tile,
    root_at,
    tile_nodes,
    tiles_of,
)
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.evidence.source import Source, is_cosigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.core.log.merkle import Nodes

CHECKPOINT: Final = "checkpoint"


class Published(NamedTuple):
    """What a run did: which log, its size in the folder before and after, and how many files it wrote."""

    origin: str
    since: int
    size: int
    files: int


def tiles(config: Path, folder: Path, *, origin: str = "", json: bool = False) -> int:
    """Write a log as static files for other tools (C2SP tlog-tiles), or bring them up to date.

    The newest checkpoint with a witness's cosignature decides how far; without a witness, the newest.

    Args:
        config: gateway.toml or service.toml; the program may be running.
        folder: where to; made if it is not there.
        origin: which log of a service; may be left out where it keeps one.
        json: print one JSON object.
    """
    source = open_source(config, origin)
    try:
        note = newest_note(source)
        if note is None:
            raise OperatorError(f"{config} has no checkpoint to publish", "Wait for the next one")
        try:
            made = publish(folder, note, source.read, begin=source.begin)
        except OSError as error:
            raise OperatorError(
                f"{error.filename} cannot be used: {error.strerror}", "Name another folder, or a new one"
            ) from error
    finally:
        source.close()
    if json:
        print_json({"folder": folder, **made._asdict()})
    else:
        print_lines(f"{folder}: {made.origin}, {made.size} entries; {made.files} files written")
    return 0


def newest_note(source: Source) -> bytes | None:
    """Give the newest receipt, else the newest checkpoint; None where there is neither."""
    newest = cosigned = None
    for newest in source.notes():
        if is_cosigned(newest, source.policy):
            cosigned = newest
    return cosigned or newest


def publish(
    folder: Path, note: bytes, read: Callable[[int, int], list[bytes]], *, begin: int = 0
) -> Published:
    """Write the tiles that a checkpoint covers and the folder has not, then the checkpoint.

    Args:
        folder: what was published so far, or nothing.
        note: the signed checkpoint.
        read: gives entries: the first, and how many.
        begin: least seq of the entries that it has; those before were pruned.

    Raises:
        OperatorError: the folder holds another log, a larger one, or what is no checkpoint; or it has not
            what was pruned.
        UnavailableError: the log has fewer entries than its checkpoint says.
        ConsistencyError: entries and folder do not lead to the checkpoint's root, or not to the one before.
    """
    now = parse_checkpoint_text(parse_note(note).text)
    before = _published(folder, now)
    nodes = tile_nodes(now.size, lambda tile: (folder / tile.path).read_bytes())
    files = 0
    for tile in tiles_of(now.size, before.size):
        if tile.level == ENTRIES:
            entries = _kept(folder, tile, before.size) if tile.first < begin else []
            at = tile.first + len(entries)
            if at < begin:
                raise OperatorError(
                    f"entry {at} was pruned; the log begins at {begin}",
                    "Name the folder that was published before, or publish at the service",
                )
            entries += read(at, tile.width - len(entries))
            if len(entries) != tile.width:
                raise UnavailableError("the log", f"it ends before entry {tile.first + tile.width - 1}")
            _write(folder / tile.path, frame(entries))
            _write(folder / replace(tile, level=0).path, b"".join(map(leaf_hash, entries)))
            files += 2
        elif tile.level:
            _write(folder / tile.path, hash_tile(tile, nodes))
            files += 1
    _verify(before, now, nodes)
    _write(folder / CHECKPOINT, note)
    for tile in tiles_of(now.size, before.size):
        if tile.width == WIDTH:  # the same, but only a part of it: nobody needs that any longer
            shutil.rmtree(folder / f"{tile.path}.p", ignore_errors=True)
    return Published(now.origin, before.size, now.size, files + 1)


def _published(folder: Path, now: Checkpoint) -> Checkpoint:
    """Read the checkpoint that the folder has; of an empty log where it has none."""
    try:
        note = (folder / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return Checkpoint(now.origin, 0, EMPTY_ROOT)
    try:
        found = parse_checkpoint_text(parse_note(note).text)
    except InputError as error:
        raise OperatorError(
            f"{folder / CHECKPOINT} is no checkpoint: {error}", "Name a new folder"
        ) from error
    if found.origin != now.origin:
        raise OperatorError(f"{folder} holds the log {found.origin}", f"Name a folder for {now.origin}")
    if found.size > now.size:
        raise OperatorError(
            f"{folder} has {found.size} entries, the log's newest checkpoint {now.size}",
            "Keep the folder: the log may have been set back to an older state",
        )
    return found


def _kept(folder: Path, tile: Tile, size: int) -> list[bytes]:
    """Read the entries of a bundle that the folder has, at its size, as the last and partial one."""
    width = max(0, size - tile.first)
    return parse_frames((folder / replace(tile, width=width).path).read_bytes()) if width else []


def _verify(before: Checkpoint, now: Checkpoint, nodes: Nodes) -> None:
    """Check that the tiles lead to the roots of both checkpoints, the one before and this one."""
    for checkpoint in (before, now):
        found = root_at(checkpoint.size, nodes)
        if found != checkpoint.root:
            why = f"at {checkpoint.size} the tiles lead to root {found.hex()}, not {checkpoint.root.hex()}"
            raise ConsistencyError(before.size, now.size, why)


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)
