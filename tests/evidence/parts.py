"""A log in memory that evidence can be made from, and bundles to change."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.log.layout import make_layout
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import Chain, key_id, parse_entry
from coldseal.evidence.selection import render_moment
from coldseal.evidence.source import SETTINGS, Blocks, Count, Stamped, size_of
from coldseal.evidence.writer import Contents, write_bundle
from tests.core.log.test_evidence import ORIGIN, make_note, sign, signers, spki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from coldseal.core.log.evidence import Policy
    from coldseal.core.log.layout import Run

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TQ = b'{"boot":"%b","err":3,"mono":%d,"off":0,"s":"synchronised"}'
SENSORS = (("truck-1", "t1"), ("truck-1", "t2"), ("truck-2", "t1"), ("truck-3", "door"))


class MemorySource:
    """A log in memory; the parts of its reads are short, as those of a store may be."""

    def __init__(
        self, entries: Sequence[bytes], notes: Sequence[bytes], policy: Policy | None = None
    ) -> None:
        """Take the entries and the signed checkpoints over them."""
        self.policy = policy or signers().policy
        self.size = len(entries)
        self.begin = 0
        self.reads = 0
        self._entries = list(entries)
        self._tree = MerkleTree(map(leaf_hash, entries))
        self._notes = list(notes)
        self.stamps: list[Stamped] = []
        self.counted: list[Count] = []

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries, at most 700."""
        self.reads += 1
        assert first >= self.begin, "these were pruned"
        return self._entries[first : first + min(700, count)]

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over a complete subtree."""
        return self._tree.nodes(level, index)

    def settings(self) -> list[bytes]:
        """Look for them."""
        kinds = [b'"kind":"%b"' % kind.encode() for kind in SETTINGS]
        likely = (raw for raw in self._entries if any(kind in raw for kind in kinds))
        return [raw for raw in likely if parse_entry(raw).kind in SETTINGS]

    def notes(self) -> Iterator[bytes]:
        """Give the checkpoints."""
        yield from self._notes

    def timestamps(self, size: int) -> list[Stamped]:
        """Give the timestamps up to a size."""
        return [each for each in self.stamps if each.size <= size]

    def counts(self, size: int) -> list[Count]:
        """Give the counter's certifications up to a size."""
        return [each for each in self.counted if each.size <= size]

    def certificates(self) -> dict[str, bytes]:
        """Give none."""
        return {}

    def device_certificate(self, fingerprint: str) -> bytes:
        """Give none."""
        del fingerprint
        return b""

    def timestamp_ca(self) -> bytes:
        """Give none."""
        return b""

    def close(self) -> None:
        """Nothing is open."""


def seal_log(count: int, *, mode: str = "record", second_s: int = 1) -> list[bytes]:
    """Seal a genesis and readings of several sensors in turn; every fiftieth entry is a heartbeat."""
    key = signers().record
    chain = Chain(ORIGIN, key_id(spki(key)))
    signer = (lambda data: sign(key, data)) if mode == "record" else None
    entries = []
    for seq in range(count):
        moment, mono = BEGIN + timedelta(seconds=seq * second_s), seq * second_s * 1000
        entries.append(
            chain.seal(*contents(seq, render_moment(moment), TQ % (b"0badcafe", mono), mode), signer)
        )
    return entries


def contents(seq: int, t: str, tq: bytes, mode: str) -> tuple[str, str, bytes, bytes, bytes]:
    """Give what the entry of a place says."""
    if seq == 0:
        data: dict[str, canonical.Value] = {
            "checkpoint_keys": [key.encode() for key in signers().policy.checkpoint_keys],
            "heartbeat": 600,
            "mode": mode,
            "record_key": canonical.encode_base64(spki(signers().record)),
        }
        return "genesis", t, tq, b"", canonical.encode(data)
    if seq % 50 == 0:
        return "heartbeat", t, tq, b"", b'{"accepted":1,"backlog":0,"rejected":0}'
    device, sensor = SENSORS[seq % len(SENSORS)]
    q = b'[{"n":"temperature","u":"Cel","v":"4.%d"},{"n":"humidity","u":"%%RH","v":"41.2"}]' % (seq % 10)
    src = b'{"dev":"%b","fp":"0123456789abcdef","seq":%d,"sha256":"%b"}' % (
        device.encode(),
        seq,
        b"A" * 43 + b"=",
    )
    return "reading", t, tq, src, b'{"q":%b,"sensor":"%b"}' % (q, sensor.encode())


class Story:
    """A log that is told entry by entry, with whatever is wrong in it."""

    def __init__(self, count: int = 3) -> None:
        """Begin with so many good entries."""
        self.entries = seal_log(count)
        self.chain = Chain(ORIGIN, key_id(spki(signers().record)))
        for raw in self.entries:
            self.chain.tree.append(leaf_hash(raw))
        self.chain.head = leaf_hash(self.entries[-1]).hex()
        self.wall_ms = self.mono_ms = (count - 1) * 1000
        self.boot = b"0badcafe"

    @property
    def size(self) -> int:
        """How many entries there are: the seq of the next one."""
        return len(self.entries)

    def tell(
        self,
        kind: str = "reading",
        data: dict[str, canonical.Value] | None = None,
        *,
        wall_ms: int = 1000,
        mono_ms: int = 1000,
        signer: Callable[[bytes], bytes] | None = lambda data: sign(signers().record, data),
    ) -> Story:
        """Seal the next entry, so much later by each clock."""
        self.wall_ms, self.mono_ms = self.wall_ms + wall_ms, self.mono_ms + mono_ms
        t = render_moment(BEGIN + timedelta(milliseconds=self.wall_ms))
        usual: dict[str, canonical.Value] = {"q": [], "sensor": "s"}
        content = usual if data is None else data
        tq = TQ % (self.boot, self.mono_ms)
        self.entries.append(self.chain.seal(kind, t, tq, b"", canonical.encode(content), signer))
        return self


def make_bundle(
    path: Path,
    entries: Sequence[bytes],
    notes: Sequence[bytes] | None = None,
    *,
    runs: Sequence[Run] = (),
    policy: Policy | None = None,
) -> Path:
    """Write a bundle with all entries, or some of them, and a cosigned checkpoint over all."""
    notes = [make_note(list(entries))] if notes is None else notes
    source = MemorySource(entries, notes, policy)
    size = max(map(size_of, notes), default=source.size)
    blocks = Blocks(source)
    layout = make_layout(size, runs or [(0, size)], blocks.nodes)
    write_bundle(path, Contents(source.policy, layout, blocks.entries, notes))
    return path


def rewrite(path: Path, edit: Callable[[dict[str, bytes]], None], *, is_mended: bool = False) -> Path:
    """Change files of a bundle; with ``is_mended`` the manifest's sums are made to fit."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    edit(files)
    if is_mended:
        manifest = canonical.parse(files["manifest.json"], where="test")
        manifest["files"] = {
            name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "manifest.json"
        }
        files["manifest.json"] = canonical.encode(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def seqs_of(entries: Sequence[bytes]) -> list[int]:
    """Give the places that entries say they have."""
    return [parse_entry(raw).seq for raw in entries]
