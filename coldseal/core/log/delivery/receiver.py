"""The service's end of delivery: whether a batch extends the log that is held.

Promises that what `accept` lets through is chained without a gap to what is stored, and hashes to
the root that both checkpoint keys of the log signed. Stores nothing, and leaves every entry's own
signature to `signatures`: one bad entry is named, and the log goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.canonical import Value, encode_base64
from coldseal.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    MissingSignatureError,
    VerifierKey,
    open_checkpoint,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.delivery.sight import is_in_place, look
from coldseal.core.log.delivery.signatures import Refutation
from coldseal.core.log.keys import KeyChangeError, KeyHistory, Keys
from coldseal.core.log.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.core.log.succession import After, link_of
from coldseal.core.log.tiles import Full, extend
from coldseal.errors import ColdsealError, InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.checkpoint import Note
    from coldseal.core.log.delivery.sight import Seen
    from coldseal.core.log.delivery.wire import Batch
    from coldseal.core.log.record import Entry

MODES = frozenset({"record", "checkpoint"})
"""``record``: a signature for each entry; ``checkpoint``: one for each commit."""

SETTINGS = frozenset({"genesis", "key", "config", "profile", "calibration"})
"""Kinds of entries that say what the log is, and how readings in it are judged."""

_MARKS = tuple(b',"kind":"%b",' % kind.encode() for kind in sorted(SETTINGS))


class StaleError(ColdsealError):
    """The checkpoint is older than what is held, and no receipt was given at its size."""

    error = "stale"

    def __init__(self, size: int) -> None:
        """Keep the size that is held."""
        self.size = size
        super().__init__(f"already {size} entries are held")


class GapError(ColdsealError):
    """The batch begins behind the end of what is held."""

    error = "gap"

    def __init__(self, size: int) -> None:
        """Keep the size that is held."""
        self.size = size
        super().__init__(f"only {size} entries are held")


class ForkError(TrustError):
    """Two histories of one log: another entry or another root at a place that is held."""

    verdict = "fork"

    def __init__(self, seq: int, held: bytes, found: bytes) -> None:
        """Keep the first seq at which the histories differ and both hashes there."""
        self.seq = seq
        self.held = held
        self.found = found
        super().__init__(f"at seq {seq} the log held has {held.hex()}, the batch has {found.hex()}")


class BrokenChainError(TrustError):
    """An entry names another log, seq or predecessor than its place demands."""

    verdict = "broken-chain"

    def __init__(self, seq: int, field: str, expected: object, found: object) -> None:
        """Keep the place, the field and both values."""
        self.seq = seq
        self.field = field
        self.expected = expected
        self.found = found
        super().__init__(f"entry {seq}: {field} is {found!r}, expected {expected!r}")


class RootMismatchError(TrustError):
    """The entries do not hash to the root that the checkpoint signs."""

    verdict = "root-mismatch"

    def __init__(self, size: int, signed: bytes, found: bytes) -> None:
        """Keep the size and both roots."""
        self.size = size
        self.signed = signed
        self.found = found
        super().__init__(f"at size {size} the signed root is {signed.hex()}, the entries give {found.hex()}")


class GenesisError(TrustError):
    """The first entry does not begin the log that was admitted."""

    verdict = "genesis-mismatch"


@dataclass(frozen=True, slots=True)
class AdmittedLog:
    """One log that the service takes, and the keys it is held to.

    Attributes:
        origin: the log's name.
        gateway: name in the certificate of the gateway that may send it.
        record_key: SubjectPublicKeyInfo DER of the key that signs entries; later ones are in the log.
        checkpoint_keys: all of them must sign each checkpoint; likewise.
        site: where the gateway stands.
    """

    origin: str
    gateway: str
    record_key: bytes
    checkpoint_keys: tuple[VerifierKey, ...]
    site: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log that is held.

    Attributes:
        size: number of entries.
        last: leaf hash of the last one; the empty root if there is none.
        hashes: compact range over all of them.
        root: root hash at that size.
        mode: sealing mode that the genesis entry declares.
        settings: the entries that say what the log is: its genesis, changes of keys, configuration.
    """

    size: int = 0
    last: bytes = EMPTY_ROOT
    hashes: tuple[bytes, ...] = ()
    root: bytes = EMPTY_ROOT
    mode: str = ""
    settings: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch that may be stored.

    Attributes:
        checkpoint: the checkpoint that covers it.
        first: seq of the first entry that is new.
        count: how many are new; 0 if all were held before.
        frames: the new entries, framed.
        head: the end of the log once they are stored.
        refuted: new entries that the checkpoint covers but that cannot be parsed, or prove nothing.
        settings: those of the new entries that say what the log is.
        after: what a new genesis entry cites of the log before; whether that is so was not looked at.
        tiles: those of the log's hash tiles that are full by it.
    """

    checkpoint: Checkpoint
    first: int
    count: int
    frames: bytes
    head: Head
    refuted: tuple[Refutation, ...] = ()
    settings: tuple[bytes, ...] = ()
    after: After | None = None
    tiles: tuple[Full, ...] = ()


class _Learnt(NamedTuple):
    """What the entries of a batch say of the log's keys and settings."""

    history: KeyHistory
    settings: tuple[bytes, ...]
    refuted: tuple[Refutation, ...]


def accept(
    log: AdmittedLog, head: Head, batch: Batch, *, held: Sequence[bytes] = (), held_root: bytes | None = None
) -> Accepted:
    """Decide whether a batch extends, or repeats, the log that is held.

    Args:
        log: the admitted log.
        head: the end of what is held of it.
        batch: what came.
        held: the entries held at the places of the batch, all that there are.
        held_root: the root at the batch's end, if a receipt was given there.

    Raises:
        CheckpointSignatureError: a checkpoint key that is active at the checkpoint's size did not sign.
        InputError: the note is malformed, or the number of entries is not what it says.
        GapError, StaleError: the sender must begin elsewhere.
        ForkError, BrokenChainError, RootMismatchError, GenesisError, BrokenLinkError: refused for good.
    """
    seen = look(log.origin, head.size, head.last, batch)
    learnt = _learn(log, head, seen)
    keys = learnt.history.at(parse_checkpoint_text(parse_note(batch.note).text).size)
    record = VerifierKey(log.origin, Algorithm.ECDSA, keys.record)
    checkpoint, note = open_checkpoint(batch.note, (*keys.checkpoint, record), keys.checkpoint)
    if checkpoint.origin != log.origin:
        raise InputError("batch", "origin", checkpoint.origin, log.origin)
    end = batch.first + len(batch.entries)
    if end != checkpoint.size:
        raise InputError("batch", "entries", end, f"to end at the checkpoint's size {checkpoint.size}")
    if batch.first > head.size:
        raise GapError(head.size)
    _compare(batch, held, min(head.size, end) - batch.first)
    if end > head.size:
        accepted = _extend(log, head, checkpoint, seen, learnt)
        if accepted.head.mode == "checkpoint":
            _require_record_key(record, note)
        return accepted
    if held_root is None:
        raise StaleError(head.size)
    if held_root != checkpoint.root:
        raise ForkError(end - 1, held_root, checkpoint.root)
    return Accepted(checkpoint, head.size, 0, b"", head)


def _compare(batch: Batch, held: Sequence[bytes], overlap: int) -> None:
    """Hold what is sent again against what is held: equal, or a fork."""
    for seq, (old, new) in enumerate(zip(held, batch.entries[:overlap], strict=True), batch.first):
        if old != new:
            raise ForkError(seq, leaf_hash(old), leaf_hash(new))


@lru_cache(maxsize=256)
def history_at(log: AdmittedLog, settings: tuple[bytes, ...]) -> KeyHistory:
    """Give a log's keys by what is held of it; not to be changed.

    Args:
        log: the admitted log.
        settings: of its head.
    """
    history = KeyHistory(log.origin, Keys(log.record_key, log.checkpoint_keys))
    for raw in settings:
        if (entry := parse_entry(raw)).kind == "key":
            history.apply(entry)
    return history


def _learn(log: AdmittedLog, head: Head, seen: Seen) -> _Learnt:
    """Take from the new entries what they say of the log; a change of keys that proves nothing is refuted."""
    history = history_at(log, head.settings)
    telling = [raw for _, raw in seen.oddities() if any(mark in raw for mark in _MARKS)]
    if not telling:
        return _Learnt(history, (), ())
    history = history.copy()
    settings: list[bytes] = []
    refuted: list[Refutation] = []
    for raw in telling:
        try:
            entry = parse_entry(raw)
            if entry.kind == "key":
                history.apply(entry)
        except InputError:  # refuted where its place is known
            continue
        except KeyChangeError as fault:
            refuted.append(Refutation(fault.seq, leaf_hash(raw), fault.verdict, fault.why))
            continue
        if entry.kind in SETTINGS:
            settings.append(raw)
    return _Learnt(history, tuple(settings), tuple(refuted))


def _extend(log: AdmittedLog, head: Head, checkpoint: Checkpoint, seen: Seen, learnt: _Learnt) -> Accepted:
    """Append the new entries to the chain and the tree, and compare the root."""
    entries, leaves = seen.entries, seen.leaves
    mode = head.mode or _verify_genesis(log, entries[0])
    refuted = _follow(log, head, seen)
    tree = CompactRange.from_hashes(head.size, head.hashes)
    tiles = tuple(extend(tree, leaves))
    root = tree.root()
    if root != checkpoint.root:
        raise RootMismatchError(checkpoint.size, checkpoint.root, root)
    grown = Head(
        checkpoint.size,
        leaves[-1],
        tuple(tree.hashes),
        root,
        mode,
        head.settings + learnt.settings,
    )
    refuted += learnt.refuted
    after = None if head.size else link_of(parse_entry(entries[0]))
    return Accepted(
        checkpoint, head.size, len(entries), seen.frames, grown, tuple(refuted), learnt.settings, after, tiles
    )


def _follow(log: AdmittedLog, head: Head, seen: Seen) -> list[Refutation]:
    """Follow seq and prev through the entries that are no usual reading; the look has settled the others."""
    refuted: list[Refutation] = []
    for seq, raw in seen.oddities():
        prev = seen.leaves[seq - head.size - 1] if seq > head.size else head.last
        if not is_in_place(log.origin, seq, prev, raw):
            refuted += _examine(log, head, seq, prev, raw)
    return refuted


def _examine(log: AdmittedLog, head: Head, seq: int, prev: bytes, raw: bytes) -> list[Refutation]:
    """Parse an entry that the quick look did not settle."""
    try:
        entry = parse_entry(raw)
    except InputError as fault:
        return [Refutation(seq, leaf_hash(raw), "malformed", str(fault))]
    if entry.log != log.origin:
        raise BrokenChainError(seq, "log", log.origin, entry.log)
    if entry.seq != seq:
        raise BrokenChainError(seq, "seq", seq, entry.seq)
    if entry.prev != prev.hex():
        if seq == head.size and seq:
            raise ForkError(seq - 1, prev, bytes.fromhex(entry.prev))
        raise BrokenChainError(seq, "prev", prev.hex(), entry.prev)
    return []


def _verify_genesis(log: AdmittedLog, raw: bytes) -> str:
    """Check that the log begins as it was admitted; return its sealing mode."""
    try:
        entry = parse_entry(raw)
    except InputError as fault:
        raise GenesisError(f"the first entry cannot be read: {fault}") from fault
    mode = entry.data.get("mode")
    if entry.kind != "genesis" or not isinstance(mode, str) or mode not in MODES:
        raise GenesisError(f"the first entry is {entry.kind} of mode {mode!r}, no genesis of a known mode")
    _match_keys(log, entry)
    if (flaw := verify_entry(log.record_key, mode, entry)) is not None:
        raise GenesisError(f"the genesis entry is refuted: {flaw}")
    return mode


def _require_record_key(key: VerifierKey, note: Note) -> None:
    """Insist on the record key's line, which stands for the entries' own signatures."""
    if all((line.name, line.key_id) != (key.name, key.id) for line in note.signatures):
        raise MissingSignatureError(key.name, key.id, "entries are unsigned, so the record key must sign")


def _match_keys(log: AdmittedLog, genesis: Entry) -> None:
    """Compare the keys that the genesis entry declares with those that were admitted."""
    admitted: dict[str, Value] = {
        "record_key": encode_base64(log.record_key),
        "checkpoint_keys": [key.encode() for key in log.checkpoint_keys],
    }
    for field, expected in admitted.items():
        if genesis.data.get(field) != expected:
            raise GenesisError(f"the genesis entry's {field} are not the admitted ones")
