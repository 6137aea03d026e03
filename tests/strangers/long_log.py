"""A log as a gateway makes it in some days, with restarts and key changes, and the folder it is published in.

Sealed by the real core, published by the real command's function, checkpoint after checkpoint, so that each
tile was partial before it was full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from typing_extensions import override

from coldseal.cli.tiles import publish
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import VerifierKey
from coldseal.core.log.merkle import consistency_proof, inclusion_proof
from coldseal.core.log.record import parse_entry
from coldseal.core.log.tiles import tile_nodes
from tests.sealed import SealedLog, checkpoint_keys, cosigned, new_keys, witness_key

SIZE = 10_600
SIZES = (1, 255, 256, 257, 1_000, 2_601, 5_200, 5_201, 8_192, 10_000, SIZE)
"""Where checkpoints are published: around a full tile, and on both sides of a change of their keys."""

ROLL_OVERS = {2_600: "record", 5_200: "checkpoint", 7_800: "record"}
RESTARTS = range(1_500, SIZE, 1_500)
SEGMENTS = range(4_095, SIZE, 4_096)
FORKED_AT = 9_000

PLACES = (0, 1, 254, 255, 256, 2_600, 2_601, 5_200, 7_801, 9_310, 9_999, 10_590)
"""Entries whose inclusion is asked for, in the log of each size that is large enough to be asked about."""

_START = datetime(2026, 3, 4, 5, tzinfo=UTC)


class LongLog(SealedLog):
    """A log whose clock goes on, a second for each entry; each restart has a boot id of its own.

    Attributes:
        signed_with: the keys that each checkpoint was signed with.
    """

    boots = 1

    @override
    def seal(self, kind: str, data: dict[str, canonical.Value]) -> bytes:
        return self._append(kind, data, self.keys.record.sign)

    @override
    def seal_key(self, data: Mapping[str, canonical.Value]) -> bytes:
        return self._append("key", data, self.keys.record.sign)

    def _append(
        self, kind: str, data: Mapping[str, canonical.Value], sign: Callable[[bytes], bytes]
    ) -> bytes:
        """Append one entry at its time."""
        time = (_START + timedelta(seconds=self.size)).isoformat(timespec="milliseconds")
        tq = b'{"boot":"%08x","err":3,"mono":%d,"off":0,"s":"synchronised"}' % (self.boots, 1_000 * self.size)
        entry = self.chain.seal(kind, time.replace("+00:00", "Z"), tq, b"", canonical.encode(data), sign)
        self.entries.append(entry)
        return entry

    def live(self, size: int, temperature: str = "4.71") -> None:
        """Grow to a size as a running gateway does."""
        while self.size < size:
            seq = self.size
            if seq in ROLL_OVERS:
                self.roll_over(ROLL_OVERS[seq])
            elif seq in RESTARTS:
                self.seal("shutdown", {"reason": "SIGTERM"})
                self.boots += 1
                self.seal("boot", {"last": self.chain.head, "software": "coldseal 0.1.0"})
            elif seq in SEGMENTS:
                self.seal("segment", {"first": seq - 4_095, "last": seq, "reason": "entries"})
            elif seq % 60 == 0:
                self.seal("heartbeat", {"accepted": seq, "backlog": 0, "rejected": 0})
            else:
                quantity: dict[str, canonical.Value] = {"n": "temperature", "u": "Cel", "v": temperature}
                self.seal("reading", {"q": [quantity], "sensor": "probe-1"})


class Publication:
    """A log and what of it was published: signed with which keys, at which sizes."""

    def __init__(self, log: LongLog, folder: Path) -> None:
        """Begin with an empty folder."""
        self.log = log
        self.folder = folder
        self.keys: dict[int, tuple[VerifierKey, ...]] = {}

    def publish(self, size: int) -> None:
        """Let the log grow, sign a checkpoint, have it cosigned, and publish."""
        self.log.live(size)
        self.put(size, cosigned(self.log.checkpoint()))
        self.keys[size] = checkpoint_keys(self.log.keys, self.log.origin)

    def put(self, size: int, note: bytes) -> None:
        """Publish up to a checkpoint, and keep the checkpoint for those who ask for older ones."""
        publish(self.folder, note, lambda first, count: self.log.entries[first : first + count])
        replace(self.checkpoint(size), note)

    def checkpoint(self, size: int) -> Path:
        """Name the file of a kept checkpoint."""
        return self.folder / "checkpoints" / f"{size:06}"

    def ask(self, folder: Path) -> None:
        """Write what is to be checked, with our proofs, made from the folder's own tiles."""
        nodes = tile_nodes(SIZE, lambda tile: (folder / tile.path).read_bytes())
        pairs = [*pairwise(SIZES), (255, SIZE), (256, 8_192), (5_201, SIZE)]
        question: dict[str, canonical.Value] = {
            "origin": self.log.origin,
            "witness": witness_key().encode(),
            "checkpoints": [
                {
                    "size": size,
                    "file": f"checkpoints/{size:06}",
                    "keys": [key.encode() for key in self.keys[size]],
                }
                for size in SIZES
            ],
            "inclusion": [
                {"index": place, "size": size, "proof": _texts(inclusion_proof(place, size, nodes))}
                for size in (257, 8_192, SIZE)
                for place in PLACES
                if place < size
            ],
            "consistency": [
                {"old": old, "new": new, "proof": _texts(consistency_proof(old, new, nodes))}
                for old, new in pairs
            ],
        }
        replace(folder / "question.json", canonical.encode(question))


def make(folder: Path) -> Publication:
    """Make the long log and publish it."""
    made = Publication(LongLog(keys=new_keys()), folder)
    for size in SIZES:
        made.publish(size)
    made.ask(folder)
    return made


def forked(log: LongLog) -> LongLog:
    """Give another history of the same log: the same keys, other readings from a place on."""
    made = log.copy()
    made.chain = made.chain_at(FORKED_AT)
    made.chain.kid = log.keys.record.kid
    made.entries = made.entries[:FORKED_AT]
    made.live(SIZE, temperature="8.13")
    return made


def kinds(log: LongLog) -> dict[str, int]:
    """Count the entries of each kind."""
    counted: dict[str, int] = {}
    for entry in map(parse_entry, log.entries):
        counted[entry.kind] = counted.get(entry.kind, 0) + 1
    return counted


def replace(path: Path, content: bytes) -> None:
    """Write a file anew; another name of the same file keeps the old content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _texts(hashes: list[bytes]) -> list[canonical.Value]:
    """Write hashes as base64."""
    return [canonical.encode_base64(found) for found in hashes]
