"""What an adversary with a gateway's certificate and all its keys sends to the service behind what it holds.

Each forgery is one batch in which one thing is wrong, sealed, linked and signed so that nothing else is. Like
`adversary`, catches nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import Checkpoint, Note, NoteSignature
from coldseal.core.log.delivery.wire import encode_batch
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import MAX_ENTRY, Chain, Entry, parse_entry
from coldseal.gateway.clock import render_time
from coldseal.gateway.writer import open_keys
from coldseal.signing.keys import Ed25519Signer, generate_interop_key

if TYPE_CHECKING:
    from coldseal.demo.adversary import Loot
    from coldseal.gateway.store.sealing import Keys

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (FIPS 186-5)."""

_MARK: Final = b'{"why":"MARK"}'
_MAX_LINES: Final = 16
_SECOND_MS: Final = 1000
_CREEP_MS, _CREEPS = 240, 1000
"""A step of the wall clock that is none yet, and how many of them lead well beyond two minutes."""


@dataclass(slots=True)
class Forger:
    """A log's end in an adversary's hands, and the batch that it makes of it.

    Attributes:
        loot: the gateway's files.
        first: seq of the first entry that is sent.
        keys: of the log; others may be put in their place.
        chain: the log's end, to seal honest entries on.
        model: the newest reading, whose likes are sealed.
        sent: the entries of the batch.
        leaves: leaf hashes of the whole log with them.
        text: makes the checkpoint's text of the honest one, before it is signed.
        note: makes the bytes of the signed checkpoint of the honest one.
        passed_ms: time since the newest entry that the gateway sealed.
        ahead_ms: how far the wall clock is ahead of where it should be.
    """

    loot: Loot
    first: int
    keys: Keys
    chain: Chain
    model: Entry
    sent: list[bytes]
    leaves: list[bytes]
    text: Callable[[bytes], bytes] = field(default=lambda text: text)
    note: Callable[[Note], bytes] = Note.encode
    passed_ms: int = 0
    ahead_ms: int = 0

    @classmethod
    def of(cls, loot: Loot, held: int) -> Forger:
        """Stand at the end of a log of which the service holds some entries."""
        entries = loot.entries()
        keys = open_keys(loot.config)
        leaves = [leaf_hash(raw) for raw in entries]
        model = next(found for found in map(parse_entry, reversed(entries)) if found.kind == "reading")
        chain = Chain(loot.config.gateway.origin, keys.record.kid)
        chain.tree.extend(leaves)
        chain.head = leaves[-1].hex()
        newest = parse_entry(entries[-1])
        model = model._replace(t=newest.t, tq=newest.tq)
        return cls(loot, held, keys, chain, model, entries[held:], leaves)

    def seal(self, kind: str = "reading", data: bytes = b"", *, is_signed: bool = True) -> bytes:
        """Seal an entry a second behind the last one; it is not sent yet."""
        self.passed_ms += _SECOND_MS
        wall = datetime.fromisoformat(self.model.t) + timedelta(milliseconds=self.passed_ms + self.ahead_ms)
        mono = int(str(self.model.tq["mono"])) + self.passed_ms
        tq = canonical.encode({**self.model.tq, "mono": mono})
        src = canonical.encode({**self.model.src}) if kind == "reading" else b""
        sign = self.keys.record.sign if is_signed else None
        t = render_time(round(wall.timestamp() * 1000))
        return self.chain.seal(kind, t, tq, src, data or canonical.encode({**self.model.data}), sign)

    def send(self, *entries: bytes) -> None:
        """Put entries into the batch, whatever they are."""
        self.sent += entries
        self.leaves += map(leaf_hash, entries)

    def forge(self, change: Callable[[bytes], bytes], sign: Callable[[bytes], bytes] | None = None) -> None:
        """Send an entry whose body was changed before the record key signed it."""
        body = change(parse_entry(self.seal("correction", _MARK)).body)
        sig = canonical.encode_base64((sign or self.keys.record.sign)(body))
        self.send(b'{"body":%b,"sig":"%b"}' % (body, sig.encode()))

    def body(self) -> bytes:
        """Give the batch, under a checkpoint over all that was sent."""
        tree = Chain(self.chain.log, self.chain.kid).tree
        tree.extend(self.leaves)
        text = self.text(Checkpoint(self.chain.log, tree.size, tree.root()).text())
        signers = (self.keys.checkpoint, self.keys.interop)
        lines = tuple(key.note_signature(self.chain.log, text) for key in signers)
        frames = b"".join((len(raw) & 0xFFFF).to_bytes(2) + raw for raw in self.sent)
        return encode_batch(self.note(Note(text, lines)), self.first, frames)


class Forgery(NamedTuple):
    """One thing that is wrong.

    Attributes:
        title: what is done, in a few words.
        verdict: what the service should call it.
        make: does it.
    """

    title: str
    verdict: str
    make: Callable[[Forger], None]


def insert(forger: Forger) -> None:
    """Seal two readings for one place, and send both."""
    twin = replace(forger, chain=forger.chain.copy())
    forger.send(forger.seal(), twin.seal(), forger.seal())


def delete(forger: Forger) -> None:
    """Leave out the second of three."""
    first, _, third = (forger.seal() for _ in range(3))
    forger.send(first, third)


def swap(forger: Forger) -> None:
    """Send the second of two first."""
    first, second = forger.seal(), forger.seal()
    forger.send(second, first)


def double(forger: Forger) -> None:
    """Send one twice."""
    only = forger.seal()
    forger.send(only, only)


def unsigned(forger: Forger) -> None:
    """Close a segment with an entry that nobody signed."""
    data: dict[str, canonical.Value] = {"first": 0, "last": forger.chain.size - 1, "reason": "day"}
    forger.send(forger.seal("segment", canonical.encode(data), is_signed=False))


def of_body(data: bytes) -> Callable[[Forger], None]:
    """Have the real key sign an entry with such data."""

    def make(forger: Forger) -> None:
        forger.forge(lambda body: body.replace(_MARK, data))

    return make


def higher_s(forger: Forger) -> None:
    """Send an entry with the twin of its signature, which anybody can make."""

    def sign(body: bytes) -> bytes:
        r, s = decode_dss_signature(forger.keys.record.sign(body))
        return encode_dss_signature(r, max(s, _ORDER - s))

    forger.forge(lambda body: body, sign)


def too_long(forger: Forger) -> None:
    """Send an entry of one byte more than its frame can say: there the length wraps to 0."""
    probe = replace(forger, chain=forger.chain.copy(), sent=[], leaves=[])
    probe.forge(lambda body: body.replace(b"MARK", b""))
    size = MAX_ENTRY + 1 - len(probe.sent[0])
    forger.forge(lambda body: body.replace(b"MARK", b"x" * size))


def extension(forger: Forger) -> None:
    """Write a fourth line into the checkpoint, and sign it."""
    forger.send(forger.seal())
    forger.text = lambda text: text + b"more\n"


def zero(forger: Forger) -> None:
    """Write the checkpoint's size with a zero in front, and sign it."""
    forger.send(forger.seal())
    forger.text = lambda text: text.replace(b"\n", b"\n0", 1)


def seventeen(forger: Forger) -> None:
    """Put more lines below the checkpoint than a note may have."""
    forger.send(forger.seal())
    many = tuple(NoteSignature(f"stranger{n}.example", bytes([n] * 4), bytes(64)) for n in range(_MAX_LINES))
    forger.note = lambda note: replace(note, signatures=(*note.signatures, *many)[: _MAX_LINES + 1]).encode()


def stray_bits(forger: Forger) -> None:
    """Write a signature's base64 with stray bits at its end, which lenient readers pass over."""
    forger.send(forger.seal())

    def exchange(note: Note) -> bytes:
        head, _, _ = note.encode().rpartition(b"=\n")
        return head[:-1] + bytes([head[-1] + 1]) + b"=\n"

    forger.note = exchange


def stranger(forger: Forger) -> None:
    """Sign the checkpoint with one key of the log, and one of one's own under the log's name."""
    forger.send(forger.seal())
    other = Ed25519Signer(generate_interop_key())

    def exchange(note: Note) -> bytes:
        line = other.note_signature(forger.chain.log, note.text)
        return replace(note, signatures=(note.signatures[0], line)).encode()

    forger.note = exchange


def silence(forger: Forger) -> None:
    """Promise a heartbeat each ten seconds, and give none for a minute."""
    forger.send(forger.seal("config", canonical.encode({"heartbeat": 10})))
    forger.passed_ms += 60 * _SECOND_MS
    forger.send(forger.seal())


def drift(forger: Forger) -> None:
    """Have the wall clock run ahead, each step too small to be one, until it is minutes ahead."""
    for _ in range(_CREEPS):
        forger.ahead_ms += _CREEP_MS
        forger.send(forger.seal())


def prune(forger: Forger) -> None:
    """Say that entries were pruned, and name no archive that has them."""
    forger.send(forger.seal("prune", canonical.encode({"first": 0, "last": 9})))


SENT: Final = {
    "insert": Forgery("an entry is inserted", "broken-chain", insert),
    "delete": Forgery("an entry is left out", "broken-chain", delete),
    "swap": Forgery("two entries change places", "broken-chain", swap),
    "duplicate": Forgery("an entry is sent twice", "broken-chain", double),
    "unsigned": Forgery("a segment is closed without a signature", "unsigned", unsigned),
    "high-s": Forgery("a signature is exchanged for its twin", "malformed", higher_s),
    "doubled-key": Forgery(
        "the real key signs a JSON key twice", "malformed", of_body(b'{"why":"a","why":"a"}')
    ),
    "big-number": Forgery("the real key signs 2^53+1", "malformed", of_body(b'{"why":9007199254740993}')),
    "surrogate": Forgery("the real key signs half a character", "malformed", of_body(b'{"why":"\\ud800"}')),
    "nan": Forgery("the real key signs NaN", "malformed", of_body(b'{"why":NaN}')),
    "too-long": Forgery("the real key signs 65,536 bytes", "malformed", too_long),
    "extension": Forgery("a checkpoint says more than three lines", "malformed", extension),
    "zero": Forgery("a checkpoint's size begins with a zero", "malformed", zero),
    "stray-bits": Forgery("a signature's base64 has stray bits", "malformed", stray_bits),
    "seventeen": Forgery("a checkpoint has 17 signatures", "malformed", seventeen),
    "stranger": Forgery("a strange key signs in the log's name", "unknown-key", stranger),
}
"""What the service notices, by name."""

SHOWN: Final = {
    "silence": Forgery("no heartbeat comes that was promised", "silence", silence),
    "drift": Forgery("the clock creeps ahead", "clock-drift", drift),
    "prune": Forgery("entries are pruned without an archive", "pruned-unproven", prune),
}
"""What the verifier notices in what the service took, by name."""
