"""A gateway's log in memory, sealed with real keys, and the keys that go with it.

For tests of everything that takes a log in. Each `SealedLog` is honest; methods that begin with
``forge_`` make what a broken or hostile gateway would send.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typing_extensions import override

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import Checkpoint, VerifierKey, add_signature, checkpoint_note
from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.core.log.delivery.wire import Batch, encode_batch
from coldseal.core.log.keys import checkpoint_roll_over, key_message, record_roll_over
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import Chain, frame
from coldseal.core.log.signature import low_s
from coldseal.signing.keys import (
    EcdsaSigner,
    Ed25519Signer,
    PrivateKey,
    generate_interop_key,
    generate_record_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ORIGIN = "coldseal.example/site-7/gw-0001"
GATEWAY = "gw-0001"
WITNESS = "witness.example"
COSIGNED = 1_800_000_000
TIME = "2026-11-22T05:23:48.123Z"
TQ = canonical.encode({"boot": "0123abcd", "err": 3, "mono": 42, "off": 0, "s": "synchronised"})

_STEADY = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class SteadySigner(EcdsaSigner):
    """Signs the same bytes the same way (RFC 6979), so that Hypothesis can repeat what it found."""

    @override
    def sign(self, data: bytes) -> bytes:
        key = key_of(self)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return low_s(key.sign(data, _STEADY))


def key_of(signer: EcdsaSigner | Ed25519Signer) -> PrivateKey:
    """Give the private key of a signer that has it in memory."""
    key = signer._key
    assert isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey))
    return key


class LogKeys(NamedTuple):
    """The signing keys of one log."""

    record: EcdsaSigner
    checkpoint: EcdsaSigner
    interop: Ed25519Signer


def new_keys() -> LogKeys:
    """Make fresh keys."""
    return LogKeys(
        SteadySigner(generate_record_key()),
        SteadySigner(generate_record_key()),
        Ed25519Signer(generate_interop_key()),
    )


@cache
def log_keys() -> LogKeys:
    """Give the keys of the usual log."""
    return new_keys()


@cache
def witness() -> Ed25519Signer:
    """Give the usual witness's signer."""
    return Ed25519Signer(generate_interop_key())


def witness_key() -> VerifierKey:
    """Give the key that verifies the usual witness's receipts."""
    return witness().verifier_key(WITNESS, cosigner=True)


def cosigned(note: bytes, *, t: int = COSIGNED, signer: Ed25519Signer | None = None) -> bytes:
    """Add the witness's cosignature to a checkpoint."""
    text = note[: note.rindex(b"\n\n") + 1]
    return add_signature(note, (signer or witness()).cosign(WITNESS, text, t))


def checkpoint_keys(keys: LogKeys, origin: str) -> tuple[VerifierKey, ...]:
    """Give the keys that verify a log's checkpoints."""
    return keys.checkpoint.verifier_key(origin), keys.interop.verifier_key(origin)


def ids_of(keys: Iterable[VerifierKey]) -> str:
    """Name keys as a `key` entry's proof does."""
    return "+".join(key.id.hex() for key in keys)


class SealedLog:
    """A log that grows when told to; begins with its genesis entry."""

    def __init__(
        self,
        *,
        origin: str = ORIGIN,
        gateway: str = GATEWAY,
        mode: str = "record",
        keys: LogKeys | None = None,
        after: canonical.Value = None,
    ) -> None:
        """Seal the genesis entry; ``after`` is what it cites of the log before."""
        self.origin = origin
        self.gateway = gateway
        self.mode = mode
        self.keys = self.first_keys = keys or log_keys()
        self.chain = Chain(origin, self.keys.record.kid)
        self.entries: list[bytes] = []
        self.notes: dict[int, bytes] = {}
        self.seal(
            "genesis",
            {
                **({} if after is None else {"after": after}),
                "checkpoint_keys": [key.encode() for key in self.admitted.checkpoint_keys],
                "mode": mode,
                "record_key": canonical.encode_base64(self.keys.record.spki),
                "site": "site-7",
                "software": "coldseal 0.1.0",
            },
        )

    @property
    def admitted(self) -> AdmittedLog:
        """The log as an operator admits it: with the keys that it began with."""
        keys = checkpoint_keys(self.first_keys, self.origin)
        return AdmittedLog(self.origin, self.gateway, self.first_keys.record.spki, keys, "site-7")

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    def copy(self) -> Self:
        """Give the same log in another hand, as a copied disk does."""
        made = copy.copy(self)
        made.chain = self.chain.copy()
        made.entries = self.entries.copy()
        made.notes = self.notes.copy()
        return made

    def chain_at(self, size: int) -> Chain:
        """Give the chain as it was behind the first ``size`` entries."""
        chain = Chain(self.origin, self.keys.record.kid)
        for entry in self.entries[:size]:
            leaf = leaf_hash(entry)
            chain.head = leaf.hex()
            chain.tree.append(leaf)
        return chain

    def seal(self, kind: str, data: dict[str, canonical.Value]) -> bytes:
        """Append one entry."""
        sign = self.keys.record.sign if self.mode == "record" else None
        entry = self.chain.seal(kind, TIME, TQ, b"", canonical.encode(data), sign)
        self.entries.append(entry)
        return entry

    def roll_over(self, use: str = "record", *, keys: LogKeys | None = None) -> bytes:
        """Change the record key, or the checkpoint keys, by a `key` entry; gives the entry."""
        new, old, seq = keys or new_keys(), self.keys, self.size
        if use == "record":
            proof = new.record.sign(key_message(self.origin, seq, old.record.kid, new.record.kid))
            data = record_roll_over(new.record.spki, proof, old=old.record.kid, not_before=TIME, reason="due")
            changed = LogKeys(new.record, old.checkpoint, old.interop)
        else:
            before, after = checkpoint_keys(old, self.origin), checkpoint_keys(new, self.origin)
            message = key_message(self.origin, seq, ids_of(before), ids_of(after))
            proofs = [new.checkpoint.sign(message), new.interop.sign(message)]
            data = checkpoint_roll_over(after, proofs, old=before, not_before=TIME, reason="due")
            changed = LogKeys(old.record, new.checkpoint, new.interop)
        entry = self.seal_key(data)
        self.keys, self.chain.kid = changed, changed.record.kid
        return entry

    def seal_key(self, data: Mapping[str, canonical.Value]) -> bytes:
        """Append a `key` entry, which is signed in every mode."""
        entry = self.chain.seal("key", TIME, TQ, b"", canonical.encode(data), self.keys.record.sign)
        self.entries.append(entry)
        return entry

    def grow(self, count: int, *, text: str = "probe-1") -> Self:
        """Append readings."""
        for _ in range(count):
            self.seal("reading", {"q": [{"n": "temperature", "u": "Cel", "v": "4.71"}], "sensor": text})
        return self

    def checkpoint(self) -> bytes:
        """Sign a checkpoint over everything so far."""
        found = Checkpoint(self.origin, self.size, self.chain.tree.root())
        self.notes[self.size] = self.sign(found)
        return self.notes[self.size]

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """Sign any checkpoint with the log's keys."""
        text = checkpoint.text()
        lines = [
            self.keys.checkpoint.note_signature(self.origin, text),
            self.keys.interop.note_signature(self.origin, text),
        ]
        if self.mode == "checkpoint":
            lines.append(self.keys.record.note_signature(self.origin, text))
        return checkpoint_note(checkpoint, lines)

    def batch(self, first: int = 0, size: int | None = None) -> Batch:
        """Give the entries from ``first`` to a checkpoint, by default a new one over everything."""
        note = self.checkpoint() if size is None else self.notes[size]
        entries = self.entries[first:size]
        return Batch(note, first, entries, frame(entries))

    def body(self, first: int = 0, size: int | None = None) -> bytes:
        """Give such a batch as it goes over the wire."""
        found = self.batch(first, size)
        return encode_batch(found.note, found.first, found.frames)

    def forge_entry(self, raw: bytes) -> bytes:
        """Append bytes that are no entry at all; the following ones chain to them."""
        leaf = leaf_hash(raw)
        self.chain.head = leaf.hex()
        self.chain.tree.append(leaf)
        self.entries.append(raw)
        return raw

    def forge_signature(self) -> bytes:
        """Append a reading that another key signed."""
        data = canonical.encode({"q": [], "sensor": "probe-1"})
        entry = self.chain.seal("reading", TIME, TQ, b"", data, self.keys.checkpoint.sign)
        self.entries.append(entry)
        return entry


def rolled_over(sizes: Sequence[int], at: int) -> SealedLog:
    """Give a log with a checkpoint at each of these sizes, whose record key changed on the way, at a size."""
    made = SealedLog()
    for size in sizes:
        while made.size < size:
            if made.size == at:
                made.roll_over()
            made.grow(1)
        made.checkpoint()
    return made
