"""Claim: OpenSSL's command line alone verifies entries, checkpoints and key changes of the long log.

Each line and each key change holds for its own text and key, and for no other.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from coldseal.core.log.record import parse_frames
from tests.sealed import witness_key
from tests.strangers import tampering
from tests.strangers.long_log import PLACES, ROLL_OVERS, SIZE, SIZES, Publication
from tests.strangers.tampering import Tampering, tampered

ED25519 = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what stands before the raw key


class OpenSsl:
    """OpenSSL with a folder for its files."""

    def __init__(self, folder: Path) -> None:
        """Use an empty folder."""
        self.folder = folder

    def verifies(self, vkey: str, text: bytes, signature: bytes) -> bool:
        """Ask whether a key signed a text; ``vkey`` as C2SP signed-note writes it."""
        raw = b64decode(vkey.split("+", 2)[2])
        algorithm, spki = raw[0], raw[1:] if raw[0] == 2 else ED25519 + raw[1:]
        if algorithm == 4:
            text = b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(signature[:8]), text)
            signature = signature[8:]
        (self.folder / "text").write_bytes(text)
        (self.folder / "signature").write_bytes(signature)
        (self.folder / "key").write_bytes(spki)
        key = "-pubin", "-keyform", "DER", "-inkey", "key", "-sigfile", "signature"
        if algorithm == 2:
            return self._run("pkeyutl", "-verify", "-rawin", "-digest", "sha256", *key, "-in", "text")
        return self._run("pkeyutl", "-verify", "-rawin", *key, "-in", "text")

    def _run(self, *arguments: str) -> bool:
        """Run it; anything but the one right answer is a no."""
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        return (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully")


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    """Give OpenSSL."""
    folder = tmp_path / "openssl"
    folder.mkdir()
    return OpenSsl(folder)


def _parts(entry: bytes) -> tuple[bytes, bytes]:
    """Cut the signed bytes and the signature out of an entry; nothing is parsed."""
    body, _, rest = entry.removeprefix(b'{"body":').rpartition(b',"sig":"')
    return body, b64decode(rest.removesuffix(b'"}'))


def _lines(note: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Cut a note into its text and its signatures by key id in hex."""
    text, _, tail = note.rpartition(b"\n\n")
    payloads = [b64decode(line.rsplit(b" ", 1)[1]) for line in tail.splitlines()]
    return text + b"\n", {payload[:4].hex(): payload[4:] for payload in payloads}


def _as_vkey(spki: bytes) -> str:
    """Write a P-256 key as a verifier key; name and id are not looked at here."""
    return f"name+00000000+{b64encode(bytes([2]) + spki).decode()}"


def _record_keys(published: Publication) -> dict[int, str]:
    """Give each record key with the first entry that it signs, as admission and `key` entries have them."""
    keys = {0: _as_vkey(published.log.admitted.record_key)}
    for seq, use in ROLL_OVERS.items():
        if use == "record":
            spki = published.log.entries[seq].split(b'"key":"')[1].split(b'"')[0]
            keys[seq + 1] = _as_vkey(b64decode(spki))
    return keys


def test_each_entry_is_signed_by_the_key_active_there_and_by_no_other(
    published: Publication, openssl: OpenSsl
) -> None:
    """The signed bytes are a literal part of the entry."""
    keys = _record_keys(published)
    assert len(keys) == 3
    for place in (*PLACES, 2_599, 7_800):
        text, signature = _parts(published.log.entries[place])
        active = max(first for first in keys if first <= place)
        signed_by = [first for first, key in keys.items() if openssl.verifies(key, text, signature)]
        assert signed_by == [active], place
        assert not openssl.verifies(keys[active], text + b" ", signature)


@pytest.mark.parametrize("size", SIZES)
def test_every_line_of_a_checkpoint_holds(size: int, published: Publication, openssl: OpenSsl) -> None:
    """P-256, Ed25519, and the witness's cosignature; for this text alone."""
    text, lines = _lines((published.folder / "checkpoints" / f"{size:06}").read_bytes())
    vkeys = [key.encode() for key in (*published.keys[size], witness_key())]
    assert [vkey.split("+")[1] for vkey in vkeys] == list(lines)
    for vkey in vkeys:
        signature = lines[vkey.split("+")[1]]
        assert openssl.verifies(vkey, text, signature)
        assert not openssl.verifies(vkey, text + b"more\n", signature)


def test_each_new_key_proves_that_it_is_there(published: Publication, openssl: OpenSsl) -> None:
    """Its signature over log, place, old and new key, written out here as docs/specs/records.md has it."""
    log, proven = published.log, 0
    for seq, use in ROLL_OVERS.items():
        data = json.loads(log.entries[seq])["body"]["data"]
        if use == "record":
            old, new = data["old"], sha256(b64decode(data["key"])).hexdigest()[:16]
            pairs = [(_as_vkey(b64decode(data["key"])), data["proof"])]
        else:
            old, new = "+".join(data["old"]), "+".join(key.split("+")[1] for key in data["keys"])
            pairs = list(zip(data["keys"], data["proofs"], strict=True))
        for place in (seq, seq + 1):
            message = f"coldseal key v1\n{log.origin}\n{place}\n{old}\n{new}\n".encode()
            for vkey, proof in pairs:
                assert openssl.verifies(vkey, message, b64decode(proof)) == (place == seq)
                proven += place == seq
    assert proven == 4


def test_it_refuses_the_entry_that_was_changed(
    published: Publication, openssl: OpenSsl, tmp_path: Path
) -> None:
    """One digit of a temperature."""
    folder = tampered(published, tmp_path / "tampered", tampering.flip_an_entry)
    bundle = (folder / "tile" / "entries" / f"{tampering.AT // 256:03}").read_bytes()
    found = [entry for entry in parse_frames(bundle) if b'"seq":%d,' % tampering.AT in entry]
    assert len(found) == 1
    keys = _record_keys(published)
    assert not any(openssl.verifies(key, *_parts(found[0])) for key in keys.values())


@pytest.mark.parametrize(
    "how", [tampering.sign_with_other_keys, tampering.sign_with_older_keys, tampering.forge_signatures]
)
def test_it_refuses_the_checkpoint_that_others_signed(
    how: Tampering, published: Publication, openssl: OpenSsl, tmp_path: Path
) -> None:
    """There is no line of the right key, or one that does not hold."""
    folder = tampered(published, tmp_path / "tampered", how)
    text, lines = _lines((folder / "checkpoint").read_bytes())
    for key in published.keys[SIZE]:
        signature = lines.get(key.id.hex())
        assert signature is None or not openssl.verifies(key.encode(), text, signature)
