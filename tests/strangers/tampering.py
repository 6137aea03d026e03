"""What somebody may do to a published log. Each writes into a copy of the folder, and changes no more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from coldseal.core.log.checkpoint import Checkpoint, NoteSignature, checkpoint_note
from coldseal.core.log.merkle import HASH_SIZE, MerkleTree, leaf_hash
from coldseal.core.log.tiles import WIDTH, Tile
from tests.sealed import LogKeys, cosigned, new_keys
from tests.strangers.long_log import SIZE, Publication, forked, replace

AT = 9_310
"""The entry that is tampered with; its inclusion is asked for."""

CUT = 100
EDGE = SIZE // WIDTH


def flip_an_entry(made: Publication, folder: Path) -> None:
    """Change one digit of a temperature."""
    path = folder / Tile(-1, AT // WIDTH).path
    bundle = path.read_bytes()
    entry = made.log.entries[AT]
    changed = entry.replace(b'"v":"4.71"', b'"v":"4.11"')
    assert changed != entry
    assert bundle.count(entry) == 1
    replace(path, bundle.replace(entry, changed))


def swap_two_hashes(made: Publication, folder: Path) -> None:
    """Exchange two leaf hashes, and prove by the tiles as they now are."""
    path = folder / Tile(0, AT // WIDTH).path
    tile, at = path.read_bytes(), AT % WIDTH * HASH_SIZE
    ours, theirs = tile[at : at + HASH_SIZE], tile[at + HASH_SIZE : at + 2 * HASH_SIZE]
    replace(path, tile[:at] + theirs + ours + tile[at + 2 * HASH_SIZE :])
    made.ask(folder)


def cut_the_tree(made: Publication, folder: Path) -> None:
    """Drop the newest entries and their hashes, but keep the checkpoint over them."""
    width = SIZE % WIDTH
    hashes = folder / Tile(0, EDGE, width).path
    replace(hashes, hashes.read_bytes()[: (width - CUT) * HASH_SIZE])
    bundle = folder / Tile(-1, EDGE, width).path
    dropped = sum(2 + len(entry) for entry in made.log.entries[-CUT:])
    replace(bundle, bundle.read_bytes()[:-dropped])


def lie_about_the_root(made: Publication, folder: Path) -> None:
    """Sign, with the right keys, a checkpoint whose root is that of one entry less."""
    root = MerkleTree(map(leaf_hash, made.log.entries[:-1])).root()
    _put(made, folder, made.log.sign(Checkpoint(made.log.origin, SIZE, root)))


def sign_with_other_keys(made: Publication, folder: Path) -> None:
    """Sign the checkpoint with keys that the log never had."""
    _sign(made, folder, new_keys())


def sign_with_older_keys(made: Publication, folder: Path) -> None:
    """Sign the checkpoint with the keys that the log had before it changed them."""
    _sign(made, folder, made.log.first_keys)


def forge_signatures(made: Publication, folder: Path) -> None:
    """Sign with other keys, and write the ids of the right ones before the signatures."""
    text = made.checkpoint(SIZE).read_bytes().rpartition(b"\n\n")[0] + b"\n"
    other, origin = new_keys(), made.log.origin
    signatures = other.checkpoint.sign(text), other.interop.sign(text)
    lines = [
        NoteSignature(origin, key.id, signature)
        for key, signature in zip(made.keys[SIZE], signatures, strict=True)
    ]
    checkpoint = Checkpoint(origin, SIZE, made.log.chain.tree.root())
    _put(made, folder, checkpoint_note(checkpoint, lines))


def show_another_history(made: Publication, folder: Path) -> None:
    """Put other entries from a place on, with tiles, signatures and the newest checkpoint to match."""
    other = Publication(forked(made.log), folder)
    shutil.rmtree(folder / "tile")
    (folder / "checkpoint").unlink()
    other.put(SIZE, cosigned(other.log.checkpoint()))
    made.ask(folder)


Tampering = Callable[[Publication, Path], None]


def tampered(made: Publication, folder: Path, how: Tampering) -> Path:
    """Give a copy of what was published, tampered with."""
    shutil.copytree(made.folder, folder, copy_function=os.link)
    how(made, folder)
    return folder


def _sign(made: Publication, folder: Path, keys: LogKeys) -> None:
    """Sign the newest checkpoint with these keys."""
    log = made.log.copy()
    log.keys = keys
    _put(made, folder, log.sign(Checkpoint(log.origin, SIZE, log.chain.tree.root())))


def _put(made: Publication, folder: Path, note: bytes) -> None:
    """Put a newest checkpoint in place of the published one, cosigned as that was."""
    for path in (folder / "checkpoint", folder / made.checkpoint(SIZE).relative_to(made.folder)):
        replace(path, cosigned(note))
