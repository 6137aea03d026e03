"""OpenSSL's command line alone verifies a checkpoint, a receipt and the root: none of our code takes part."""

import subprocess
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest

LOG = Path(__file__).parents[2] / "vectors" / "log"
ED25519 = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what stands before the raw key
NOTES = ["checkpoint", "checkpoint.5", "receipt"]


def _openssl(*arguments: str | Path) -> str:
    """Run OpenSSL's command line and give what it says."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _keys() -> dict[tuple[str, bytes], tuple[int, bytes]]:
    """Read algorithm and SubjectPublicKeyInfo of each known key."""
    found = {}
    for vkey in (LOG / "keys.vkey").read_text().splitlines():
        name, key_id, encoded = vkey.split("+", 2)
        key = b64decode(encoded)
        found[name, bytes.fromhex(key_id)] = (key[0], key[1:] if key[0] == 2 else ED25519 + key[1:])
    return found


def _verify(algorithm: int, spki: bytes, text: bytes, signature: bytes, folder: Path) -> bool:
    """Let OpenSSL check one signature line."""
    if algorithm == 4:
        text = b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(signature[:8]), text)
        signature = signature[8:]
    (folder / "spki").write_bytes(spki)
    (folder / "text").write_bytes(text)
    (folder / "signature").write_bytes(signature)
    key = folder / "key.pem"
    _openssl("pkey", "-pubin", "-inform", "DER", "-in", folder / "spki", "-out", key)
    if algorithm == 2:
        digest = ("dgst", "-sha256", "-verify", key, "-signature", folder / "signature", folder / "text")
        return _openssl(*digest) == "Verified OK"
    raw = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-sigfile", folder / "signature")
    return _openssl(*raw, "-in", folder / "text") == "Signature Verified Successfully"


@pytest.mark.parametrize("name", NOTES)
def test_openssl_verifies_every_line_of_a_checkpoint(name: str, tmp_path: Path) -> None:
    """Each line holds for its text, and for no other."""
    text, _, tail = (LOG / name).read_bytes().rpartition(b"\n\n")
    keys, signed = _keys(), 0
    for line in tail.decode().splitlines():
        _, who, encoded = line.split(" ")
        payload = b64decode(encoded)
        algorithm, spki = keys[who, payload[:4]]
        assert _verify(algorithm, spki, text + b"\n", payload[4:], tmp_path), line
        assert not _verify(algorithm, spki, text + b" \n", payload[4:], tmp_path), line
        signed += 1
    assert signed == (3 if name == "receipt" else 2)


@pytest.mark.parametrize("name", NOTES)
def test_the_root_follows_from_the_entries(name: str) -> None:
    """RFC 6962, written down once more: the signed root is that of the exported entries."""

    def root(entries: list[bytes]) -> bytes:
        if len(entries) == 1:
            return sha256(b"\x00" + entries[0]).digest()
        split = 1 << (len(entries) - 1).bit_length() - 1
        return sha256(b"\x01" + root(entries[:split]) + root(entries[split:])).digest()

    _, size, encoded = (LOG / name).read_text("utf-8").split("\n")[:3]
    assert root((LOG / "entries.jsonl").read_bytes().splitlines()[: int(size)]) == b64decode(encoded)


def test_the_ids_of_the_keys_are_their_hashes() -> None:
    """SHA-256 over the key, or over name, line feed, algorithm and key: the first four bytes."""
    for (name, key_id), (algorithm, spki) in _keys().items():
        raw = spki.removeprefix(ED25519)
        named = raw if algorithm == 2 else name.encode() + b"\n" + bytes([algorithm]) + raw
        assert sha256(named).digest()[:4] == key_id
