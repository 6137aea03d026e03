"""A small log with fixed keys, times and signatures: its bytes are the vectors in tests/vectors/log.

``python -m tests.core.log.example_log`` writes them again; a test holds them equal. The keys
are public knowledge and sign nothing else.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coldseal.core.log import canonical
from coldseal.core.log.canonical import Value
from coldseal.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    NoteSignature,
    VerifierKey,
    add_signature,
    checkpoint_note,
    cosignature_message,
    encode_cosignature,
)
from coldseal.core.log.merkle import MerkleTree, consistency_proof, inclusion_proof, leaf_hash
from coldseal.core.log.record import Chain, frame, key_id
from coldseal.core.log.signature import low_s

FOLDER = Path(__file__).parents[2] / "vectors" / "log"
ORIGIN = "coldseal.example/site-7/gw-0001"
WITNESS = "witness.example/w1"
COSIGNED_AT = 1_772_600_500
EARLIER = 5

_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979
_RECORD_KEY = ec.derive_private_key(0x0C01D5EA1, ec.SECP256R1())
_CHECKPOINT_KEY = ec.derive_private_key(0x0C01D5EA2, ec.SECP256R1())
_INTEROP_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(sha256(b"coldseal interop").digest())
_WITNESS_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(sha256(b"coldseal witness").digest())


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Give the DER of a public key."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


RECORD_SPKI = _spki(_RECORD_KEY)
CHECKPOINT_KEY = VerifierKey(ORIGIN, Algorithm.ECDSA, _spki(_CHECKPOINT_KEY))
INTEROP_KEY = VerifierKey(ORIGIN, Algorithm.ED25519, _INTEROP_KEY.public_key().public_bytes_raw())
WITNESS_KEY = VerifierKey(WITNESS, Algorithm.COSIGNATURE, _WITNESS_KEY.public_key().public_bytes_raw())
KEYS = [CHECKPOINT_KEY, INTEROP_KEY, WITNESS_KEY]


def sign(body: bytes) -> bytes:
    """Sign a body with the record key."""
    return low_s(_RECORD_KEY.sign(body, _ECDSA))


def sign_note(text: bytes) -> list[NoteSignature]:
    """Sign a checkpoint's text as the log does: P-256, then Ed25519."""
    return [
        NoteSignature(ORIGIN, CHECKPOINT_KEY.id, low_s(_CHECKPOINT_KEY.sign(text, _ECDSA))),
        NoteSignature(ORIGIN, INTEROP_KEY.id, _INTEROP_KEY.sign(text)),
    ]


def cosign(text: bytes, time: int = COSIGNED_AT) -> NoteSignature:
    """Cosign a checkpoint's text as the witness does."""
    signature = _WITNESS_KEY.sign(cosignature_message(text, time))
    return NoteSignature(WITNESS, WITNESS_KEY.id, encode_cosignature(time, signature))


def time_quality(mono: int, state: str = "synchronised") -> bytes:
    """Give a ``tq`` at some point of the monotonic clock, in ms."""
    return canonical.encode({"boot": "5f3a9c01", "err": 12, "mono": mono, "off": -3, "s": state})


def _digest(payload: bytes) -> str:
    """Give the hash of a payload as entries have it."""
    return canonical.encode_base64(sha256(payload).digest())


def _device(payload: bytes, **rest: Value) -> dict[str, Value]:
    """Give the ``src`` of a message from the one device of this log."""
    fingerprint = sha256(b"certificate of truck-12-a").hexdigest()[:16]
    return {"dev": "truck-12-a", "fp": fingerprint, "sha256": _digest(payload), **rest}


def _contents() -> list[tuple[str, dict[str, Value], dict[str, Value]]]:
    """Give kind, ``src`` and ``data`` of every entry in order."""
    quantity: list[Value] = [{"n": "temperature", "u": "Cel", "v": "4.71"}]
    both: list[Value] = [*quantity, {"n": "humidity", "u": "%RH", "v": "45.3"}]
    since: dict[str, Value] = {"boot": "00c0ffee", "t": "2026-03-04T05:00:02.000Z"}
    genesis: dict[str, Value] = {
        "mode": "record",
        "record_key": canonical.encode_base64(RECORD_SPKI),
        "checkpoint_keys": [CHECKPOINT_KEY.encode(), INTEROP_KEY.encode()],
        "site": "site-7",
        "software": "coldseal 0.1.0",
    }
    topic = "coldseal/v1/site-7/truck-12-a/reading/"
    garbage = {
        **_device(b"\xff{"),
        "pid": 8,
        "topic": topic + "t1",
        "payload": canonical.encode_base64(b"\xff{"),
    }
    forbidden = {**_device(b"x" * 300), "topic": "coldseal/v1/site-7/truck-99/reading/t1"}
    counted: dict[str, Value] = {"dev": "truck-12-a", "sha256": _digest(b"the payloads' hashes")}
    return [
        ("genesis", {}, genesis),
        ("boot", {}, {"last": "", "software": "coldseal 0.1.0"}),
        ("reading", _device(b"one", seq=1, **since), {"sensor": "t1", "q": quantity}),
        ("reading", _device(b"two", seq=2, **since), {"sensor": "t1", "q": both, "flags": ["implausible"]}),
        (
            "reading",
            {"dev": "probe-3", "pid": 7, "sha256": _digest(b"p")},
            {"sensor": "t1", "q": both},
        ),
        ("rejected", garbage, {"reason": "payload", "detail": "byte 0 is b'\\xff', expected UTF-8 («7 °C»)"}),
        ("rejected", forbidden, {"reason": "not-authorised", "detail": "the topic is not granted"}),
        ("rejected", counted, {"reason": "rate", "detail": "more than the rate allows", "count": 41}),
        ("heartbeat", {}, {"accepted": 3, "rejected": 43, "backlog": 8}),
        ("segment", {}, {"first": 0, "last": 9, "reason": "day"}),
        ("shutdown", {}, {"reason": "SIGTERM"}),
        ("boot", {}, {"last": "", "software": "coldseal 0.1.0"}),
    ]


def build() -> tuple[Chain, list[bytes]]:
    """Seal the whole log again."""
    chain = Chain(ORIGIN, key_id(RECORD_SPKI))
    entries: list[bytes] = []
    for number, (kind, src, data) in enumerate(_contents()):
        if kind == "boot":
            data["last"] = chain.head
        time = f"2026-03-04T05:00:{number:02d}.250Z"
        tq = time_quality(1_000 * number, "holdover" if number == 0 else "synchronised")
        entries.append(
            chain.seal(kind, time, tq, canonical.encode(src) if src else b"", canonical.encode(data), sign)
        )
    return chain, entries


def checkpoint_at(entries: list[bytes], size: int) -> Checkpoint:
    """Give the checkpoint over the first entries."""
    return Checkpoint(ORIGIN, size, MerkleTree(map(leaf_hash, entries)).root(size))


def files() -> dict[str, bytes]:
    """Give every vector file of the log by its name."""
    _, entries = build()
    size, tree = len(entries), MerkleTree(map(leaf_hash, entries))
    now, before = checkpoint_at(entries, size), checkpoint_at(entries, EARLIER)
    note = checkpoint_note(now, sign_note(now.text()))
    proofs: dict[str, Value] = {
        "about": "Proofs over the log in this folder, in hex.",
        "size": size,
        "inclusion": [[step.hex() for step in inclusion_proof(at, size, tree.nodes)] for at in range(size)],
        "earlier": EARLIER,
        "consistency": [step.hex() for step in consistency_proof(EARLIER, size, tree.nodes)],
    }
    return {
        "record.spki": RECORD_SPKI,
        "keys.vkey": "".join(f"{key.encode()}\n" for key in KEYS).encode(),
        "entries.jsonl": b"".join(entry + b"\n" for entry in entries),
        f"tile/entries/000.p/{size}": frame(entries),
        f"tile/0/000.p/{size}": b"".join(map(leaf_hash, entries)),
        f"checkpoint.{EARLIER}": checkpoint_note(before, sign_note(before.text())),
        "checkpoint": note,
        "receipt": add_signature(note, cosign(now.text())),
        "proofs.json": canonical.encode(proofs) + b"\n",
    }


if __name__ == "__main__":
    for name, content in files().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
