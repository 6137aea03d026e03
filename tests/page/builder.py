"""Makes evidence bundles (format 2) with real keys and the real core: an honest log and its bundle.

`Story` is a log that lives: two sensors, restarts, roll-overs of both kinds of keys, heartbeats, two
witnesses. Whoever wants to tamper changes what a story holds before `bundle` packs it, with sums that fit;
`damage` changes the packed files after the sums were taken.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple, Self

from coldseal.core.log import canonical
from coldseal.core.log.canonical import Value, encode_base64
from coldseal.core.log.checkpoint import Checkpoint, Note, VerifierKey, parse_note
from coldseal.core.log.keys import CHECKPOINT, RECORD, key_message
from coldseal.core.log.keys import checkpoint_roll_over as checkpoint_change
from coldseal.core.log.keys import record_roll_over as record_change
from coldseal.core.log.layout import Layout, Run, join_runs, make_layout
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import Chain, frame, parse_entry
from coldseal.errors import InputError
from coldseal.evidence.files import entry_files
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer, generate_interop_key, generate_record_key
from tests.sealed import SteadySigner

BEFORE = "coldseal.example/site-7/gw-0001"
ORIGIN = f"{BEFORE}/2"
WITNESSES = ("witness.example/w1", "carrier.example/w2")
SENSORS = ("cold-room", "ramp")
START_MS = 1_772_600_400_000
HEARTBEAT_S = 60
SETTINGS = {"genesis", "key", "config"}
COLUMNS = (
    *("seq", "time", "device", "sensor", "quantity", "value", "unit", "flags"),
    *("indication", "calibration"),
)
Files = dict[str, bytes]


class CheckpointKeys(NamedTuple):
    """The two keys that sign checkpoints."""

    ecdsa: EcdsaSigner
    ed25519: Ed25519Signer

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """Their public halves."""
        return self.ecdsa.verifier_key(ORIGIN), self.ed25519.verifier_key(ORIGIN)

    @property
    def ids(self) -> str:
        """Their ids as key entries name them."""
        return "+".join(key.id.hex() for key in self.verifiers)


def new_record() -> EcdsaSigner:
    """Make a record key."""
    return SteadySigner(generate_record_key())


def new_checkpoint() -> CheckpointKeys:
    """Make a pair of checkpoint keys."""
    return CheckpointKeys(new_record(), Ed25519Signer(generate_interop_key()))


class Story:
    """A log that grows when told to, and the bundle of it.

    Attributes:
        entries: what the bundle will hold; may be tampered with.
        notes: the signed checkpoints that it will hold.
        anchors: size and time (s) of each that was cosigned.
        offset_ms: how wrong the gateway's wall clock is.
        state: how far it says that this clock may be trusted.
        size: what the manifest will say; None for the truth.
        manifest: members of it that replace the true ones.
        table: readings.csv in place of the true one.
        extra: files to add, with their sums.
        reframe: what happens to the files of entries before the sums are taken.
        damage: what happens to all files afterwards.
    """

    def __init__(self, *, mode: str = "record", quorum: int = 2, continues: str = "") -> None:
        """Seal the genesis entry, which may cite 7 entries of a log that this one continues."""
        self.mode, self.quorum = mode, quorum
        self.first_record = self.record = new_record()
        self.first_checkpoint = self.checkpoint = new_checkpoint()
        self.witnesses = tuple(Ed25519Signer(generate_interop_key()) for _ in WITNESSES)
        self.chain = Chain(ORIGIN, self.record.kid)
        self.now_ms, self.offset_ms, self.mono_ms, self.boot = START_MS, 0, 5_000, 1
        self.state = "synchronised"
        self.sealed: list[bytes] = []
        self.entries: list[bytes] = []
        self.notes: list[bytes] = []
        self.anchors: list[tuple[int, int]] = []
        self.size: int | None = None
        self.manifest: dict[str, Value] = {}
        self.table: bytes | None = None
        self.extra: Files = {}
        self.reframe: list[Callable[[Files], None]] = []
        self.damage: list[Callable[[Files], None]] = []
        genesis: dict[str, Value] = {
            "checkpoint_keys": [key.encode() for key in self.checkpoint.verifiers],
            "heartbeat": HEARTBEAT_S,
            "mode": mode,
            "record_key": encode_base64(self.record.spki),
            "site": "site-7",
            "software": "coldseal 0.1.0",
        }
        self.seal("genesis", {**genesis, "after": self.cite(continues)} if continues else genesis)

    def cite(self, origin: str) -> dict[str, Value]:
        """Cite a checkpoint of another log, with the lines of the witnesses."""
        root = hashlib.sha256(origin.encode()).digest()
        text = Checkpoint(origin, 7, root).text()
        t = START_MS // 1000 - 60
        lines = (s.cosign(name, text, t) for name, s in zip(WITNESSES, self.witnesses, strict=True))
        note = Note(text, tuple(lines)).encode().decode()
        return {"note": note, "origin": origin, "root": encode_base64(root), "size": 7}

    def copy(self) -> Self:
        """Give the same story in another hand."""
        made = copy.copy(self)
        made.chain = self.chain.copy()
        made.manifest, made.extra = self.manifest.copy(), self.extra.copy()
        for name in ("sealed", "entries", "notes", "anchors", "reframe", "damage"):
            setattr(made, name, getattr(self, name).copy())
        return made

    @property
    def time(self) -> str:
        """What the gateway's wall clock says."""
        moment = datetime.fromtimestamp((self.now_ms + self.offset_ms) / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(1000 * seconds)
        self.mono_ms += round(1000 * seconds)

    def restart(self) -> None:
        """Start the machine anew."""
        self.boot, self.mono_ms = self.boot + 1, 4_000

    def seal(
        self,
        kind: str,
        data: Mapping[str, Value],
        *,
        src: Mapping[str, Value] | None = None,
        sign: Callable[[bytes], bytes] | None = None,
    ) -> int:
        """Append an entry; gives its seq."""
        is_signed = self.mode == "record" or kind == "key"
        tq: dict[str, Value] = {
            "boot": f"{self.boot:08x}",
            "err": 12,
            "mono": self.mono_ms,
            "off": -3,
            "s": self.state,
        }
        raw = self.chain.seal(
            kind,
            self.time,
            canonical.encode(tq),
            canonical.encode(src) if src else b"",
            canonical.encode(data),
            sign or (self.record.sign if is_signed else None),
        )
        self.sealed.append(raw)
        self.entries.append(raw)
        return len(self.sealed) - 1

    def forge(self, raw: bytes) -> int:
        """Append bytes as they are; what follows chains to them. Gives their place."""
        leaf = leaf_hash(raw)
        self.chain.head = leaf.hex()
        self.chain.tree.append(leaf)
        self.sealed.append(raw)
        self.entries.append(raw)
        return len(self.sealed) - 1

    def read(self, sensor: str, value: str, *flags: str) -> int:
        """Append a reading of two quantities, 10 s after what was before."""
        self.pass_time(10)
        quantities: list[Value] = [
            {"n": "temperature", "u": "Cel", "v": value},
            {"n": "humidity", "u": "%RH", "v": "45.3"},
        ]
        src: dict[str, Value] = {
            "dev": f'probe "{sensor}", left',
            "sha256": encode_base64(hashlib.sha256(value.encode()).digest()),
        }
        data: dict[str, Value] = {"q": quantities, "sensor": sensor}
        return self.seal("reading", {**data, "flags": [*flags]} if flags else data, src=src)

    def read_calibrated(self) -> int:
        """Append a reading that was converted, corrected and derived from."""
        self.pass_time(10)
        quantities: list[Value] = [
            {"c": "1a2b3c4d", "i": "40.1", "iu": "[degF]", "n": "temperature", "u": "Cel", "v": "4.55"},
            {"c": "5e6f7a8b", "i": "46.8", "n": "humidity", "u": "%RH", "v": "45.3"},
            {"d": "temperature,humidity", "n": "dew-point", "u": "Cel", "v": "-6.3"},
            {"iu": "a,b", "n": "odd", "u": "Cel", "v": "1"},
        ]
        src: dict[str, Value] = {"dev": "probe", "sha256": encode_base64(hashlib.sha256(b"").digest())}
        return self.seal("reading", {"q": quantities, "sensor": SENSORS[0]}, src=src)

    def grow(self, count: int) -> Self:
        """Append readings of both sensors, and heartbeats between them."""
        for _ in range(count):
            at = len(self.sealed)
            if at % 12 == 0:
                self.pass_time(1)
                self.seal("heartbeat", {"accepted": at, "rejected": 0, "backlog": 0})
            else:
                self.read(SENSORS[at % 2], f"{4 + at % 2 * 3 + at % 7 / 10:.2f}")
            if at % 32 == 0:
                self.note()
        return self

    def note(
        self,
        *,
        text: bytes | None = None,
        cosigners: int = 2,
        root: bytes | None = None,
        size: int | None = None,
        keys: CheckpointKeys | None = None,
    ) -> bytes:
        """Sign a checkpoint over everything so far, and let witnesses cosign it two seconds later."""
        if text is None:
            found = self.chain.tree.root() if root is None else root
            text = Checkpoint(ORIGIN, size or self.chain.size, found).text()
        signers = keys or self.checkpoint
        lines = [signers.ecdsa.note_signature(ORIGIN, text), signers.ed25519.note_signature(ORIGIN, text)]
        if self.mode == "checkpoint":
            lines.append(self.record.note_signature(ORIGIN, text))
        cosigned_at = self.now_ms // 1000 + 2
        named = list(zip(WITNESSES, self.witnesses, strict=True))[:cosigners]
        lines += [signer.cosign(name, text, cosigned_at) for name, signer in named]
        note = Note(text, tuple(lines)).encode()
        self.notes.append(note)
        if cosigners == len(WITNESSES):
            self.anchors.append((size or self.chain.size, cosigned_at))
        return note

    def roll_record(self, *, proof: bytes | None = None) -> int:
        """Change the record key; gives the seq of the entry."""
        made, seq = new_record(), self.chain.size
        message = key_message(ORIGIN, seq, self.record.kid, made.kid)
        data = record_change(
            made.spki,
            made.sign(message) if proof is None else proof,
            old=self.record.kid,
            not_before=self.time,
            reason="yearly",
        )
        self.seal("key", data)
        self.record = made
        self.chain.kid = made.kid
        return seq

    def roll_checkpoint(self) -> int:
        """Change the checkpoint keys; gives the seq of the entry."""
        old, made, seq = self.checkpoint, new_checkpoint(), self.chain.size
        message = key_message(ORIGIN, seq, old.ids, made.ids)
        proofs = [made.ecdsa.sign(message), made.ed25519.sign(message)]
        data = checkpoint_change(
            made.verifiers, proofs, old=old.verifiers, not_before=self.time, reason="yearly"
        )
        self.seal("key", data)
        self.checkpoint = made
        return seq

    def bundle(self, wanted: Iterable[Run] | None = None, *, compression: int = zipfile.ZIP_STORED) -> bytes:
        """Pack everything, or the entries that are wanted with what must always be there."""
        if wanted is None:
            size = len(self.sealed) if self.size is None else self.size
            return self._pack(self.entries, Layout(size, ((0, size),), ()), compression)
        always = [(seq, seq + 1) for seq, raw in enumerate(self.sealed) if _kind(raw) in SETTINGS]
        runs = join_runs([*wanted, *always])
        chosen = [raw for first, end in runs for raw in self.entries[first:end]]
        nodes = MerkleTree(map(leaf_hash, self.sealed)).nodes
        return self._pack(chosen, make_layout(len(self.sealed), runs, nodes), compression)

    def _pack(self, held: list[bytes], layout: Layout, compression: int) -> bytes:
        """Write the ZIP with a manifest that fits, then let the damage be done."""
        frames, at = Files(), 0
        for file in entry_files(layout.size, layout.runs):
            end = at + sum(stop - first for first, stop in file.pieces)
            frames[file.name] = frame(held[at:end])
            at = end
        frames[file.name] += frame(held[at:])  # more than there should be
        for change in self.reframe:
            change(frames)
        files = {
            **frames,
            **{f"checkpoints/{number:06d}": note for number, note in enumerate(self.notes)},
            "readings.csv": table_of(held) if self.table is None else self.table,
            "READ-ME.txt": b"How to check this file.\n",
            "proof": b"".join(layout.hashes),
            **self.extra,
        }
        sums: dict[str, Value] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        witnesses: list[Value] = [
            signer.vkey(name, cosigner=True) for name, signer in zip(WITNESSES, self.witnesses, strict=True)
        ]
        manifest: dict[str, Value] = {
            "checkpoint_keys": [key.encode() for key in self.first_checkpoint.verifiers],
            "entries": list(frames),
            "files": sums,
            "format": 2,
            "mode": self.mode,
            "origin": ORIGIN,
            "quorum": self.quorum,
            "record_key": encode_base64(self.first_record.spki),
            "runs": [[first, end - first] for first, end in layout.runs],
            "selection": {},
            "size": layout.size,
            "witnesses": witnesses,
            **self.manifest,
        }
        files["manifest.json"] = canonical.encode(manifest)
        for change in self.damage:
            change(files)
        return zipped(files, compression)


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Pack files as a ZIP."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compression)
    return whole.getvalue()


def table_of(entries: Iterable[bytes]) -> bytes:
    """Write readings.csv; what cannot be read as an entry has no row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for raw in entries:
        try:
            entry = parse_entry(raw)
        except InputError:
            continue
        quantities = entry.data.get("q")
        for found in quantities if isinstance(quantities, list) else []:
            assert isinstance(found, dict)
            place = (entry.seq, entry.t, entry.src["dev"], entry.data["sensor"])
            flags = entry.data.get("flags", [])
            assert isinstance(flags, list)
            shown = [str(found[name]) for name in ("i", "iu") if name in found]
            said = (found["n"], found["v"], found["u"], " ".join(map(str, flags)))
            writer.writerow((*place, *said, " ".join(shown), found.get("c", "")))
    return text.getvalue().encode()


def without_calibrations(table: bytes) -> bytes:
    """Give a table as bundles had it before calibration was known: without its last two columns."""
    out = io.StringIO()
    rows = csv.reader(io.StringIO(table.decode(), newline=""))
    csv.writer(out, lineterminator="\n").writerows(row[:-2] for row in rows)
    return out.getvalue().encode()


def with_lines(note: bytes, change: Callable[[Note], Note]) -> bytes:
    """Give a note with other lines, and the same text."""
    return change(parse_note(note)).encode()


def _kind(raw: bytes) -> str:
    """Tell the kind of an entry; empty for what is none."""
    try:
        return parse_entry(raw).kind
    except InputError:
        return ""


@cache
def _honest() -> Story:
    """Live through it once."""
    story = Story(continues=BEFORE)
    story.grow(60)
    story.seal("shutdown", {"reason": "SIGTERM"})
    story.pass_time(600)
    story.restart()
    story.seal("boot", {"last": story.chain.head, "software": "coldseal 0.1.0"})
    story.grow(60)
    story.roll_record()
    story.grow(60)
    story.roll_checkpoint()
    story.grow(60)
    since = story.time
    story.pass_time(300)
    story.restart()
    story.seal("boot", {"last": story.chain.head, "software": "coldseal 0.1.0"})
    story.seal("gap", {"cause": "stopped", "from": since, "noticed": story.time, "to": story.time})
    story.grow(40)
    story.seal("config", {"heartbeat": 2 * HEARTBEAT_S})
    story.pass_time(4 * HEARTBEAT_S)
    story.read("ramp", "99.0", "implausible", "sequence")
    last = story.chain.size
    story.seal("segment", {"first": 0, "last": last, "reason": "day"})
    story.note()
    return story


def honest() -> Story:
    """Give a story with nothing wrong: some 290 entries, with everything in it that lawfully happens."""
    return _honest().copy()


__all__ = ["CHECKPOINT", "RECORD", "Story", "honest", "table_of", "with_lines", "zipped"]
