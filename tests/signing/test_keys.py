"""Claims about signers: what they sign verifies with what they show, and wrong keys are refused early."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note, cosigned_at, open_checkpoint, parse_vkey
from coldseal.core.log.record import Chain, key_id, parse_entry
from coldseal.core.log.signature import is_low_s
from coldseal.errors import OperatorError
from coldseal.signing.keys import (
    EcdsaSigner,
    Ed25519Signer,
    generate_interop_key,
    generate_record_key,
    open_ecdsa,
    open_ed25519,
    write_private_key,
)
from coldseal.signing.private_files import write_private_file

NAME = "coldseal.example/site-7/gw-0001"
CHECKPOINT = Checkpoint(NAME, 7, bytes(range(32)))
TQ = b'{"boot":"00000000","err":1,"mono":1,"off":0,"s":"synchronised"}'
SIGNER = EcdsaSigner(generate_record_key())
INTEROP = Ed25519Signer(generate_interop_key())


@given(st.binary(max_size=2000))
def test_every_ecdsa_signature_is_low_s_and_verifies(data: bytes) -> None:
    """Of the two valid forms only one is ever written, so that nobody can make a twin unnoticed."""
    signature = SIGNER.sign(data)
    assert is_low_s(signature)
    public = load_der_public_key(SIGNER.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, data + b"!", ec.ECDSA(hashes.SHA256()))


def test_an_entry_sealed_with_a_signer_verifies_over_its_literal_body() -> None:
    """The signed bytes are a slice of the entry; no canonicaliser is needed to check them."""
    raw = Chain(NAME, SIGNER.kid).seal("boot", "2026-01-01T00:00:00.000Z", TQ, b"", b"{}", SIGNER.sign)
    entry = parse_entry(raw)
    assert entry.sig is not None
    assert entry.kid == SIGNER.kid == key_id(SIGNER.spki)
    public = load_der_public_key(SIGNER.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(entry.sig, entry.body, ec.ECDSA(hashes.SHA256()))


def test_openssl_alone_verifies_a_signature(tmp_path: Path) -> None:
    """An auditor needs none of our code."""
    write_private_key(tmp_path / "key.pem", generate_record_key())
    signer = open_ecdsa("file:key.pem", base=tmp_path)
    (tmp_path / "body").write_bytes(b"the signed bytes")
    (tmp_path / "sig").write_bytes(signer.sign(b"the signed bytes"))
    (tmp_path / "pub.der").write_bytes(signer.spki)
    command = [
        "openssl",
        "dgst",
        "-sha256",
        "-keyform",
        "DER",
        "-verify",
        "pub.der",
        "-signature",
        "sig",
        "body",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout == "Verified OK\n", run.stderr


def test_a_checkpoint_signed_by_both_kinds_opens_with_their_vkeys() -> None:
    """The text form of the public key is all that a policy needs."""
    text = CHECKPOINT.text()
    lines = [SIGNER.note_signature(NAME, text), INTEROP.note_signature(NAME, text)]
    keys = [parse_vkey(SIGNER.vkey(NAME)), parse_vkey(INTEROP.vkey(NAME))]
    found, note = open_checkpoint(checkpoint_note(CHECKPOINT, lines), keys)
    assert found == CHECKPOINT
    assert len(note.signatures) == 2


def test_a_cosignature_verifies_and_carries_its_time() -> None:
    """The witness states when it saw the checkpoint."""
    line = INTEROP.cosign("witness.example", CHECKPOINT.text(), 1_767_225_600)
    key = parse_vkey(INTEROP.vkey("witness.example", cosigner=True))
    _, note = open_checkpoint(checkpoint_note(CHECKPOINT, [line]), [key])
    assert cosigned_at(note, key) == 1_767_225_600


def test_log_key_and_witness_key_have_different_ids() -> None:
    """A cosignature must never pass for the log's own line."""
    assert INTEROP.verifier_key(NAME).id != INTEROP.verifier_key(NAME, cosigner=True).id
    assert INTEROP.vkey(NAME) != INTEROP.vkey(NAME, cosigner=True)


def test_a_signer_shows_one_verifier_key_for_each_name() -> None:
    """It is made once and kept."""
    assert SIGNER.verifier_key(NAME) is SIGNER.verifier_key(NAME)
    assert SIGNER.verifier_key("another").name == "another"


def test_keys_survive_the_file(tmp_path: Path) -> None:
    """What was written is what is opened, with mode 0600."""
    record, interop = generate_record_key(), generate_interop_key()
    write_private_key(tmp_path / "record.pem", record)
    write_private_key(tmp_path / "interop.pem", interop)
    assert open_ecdsa("file:record.pem", base=tmp_path).spki == EcdsaSigner(record).spki
    assert open_ed25519("file:interop.pem", base=tmp_path).public == Ed25519Signer(interop).public
    assert stat.S_IMODE((tmp_path / "record.pem").stat().st_mode) == 0o600


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase comes by reference, from a file beside the key or the environment."""
    key = generate_record_key()
    write_private_key(tmp_path / "record.pem", key, passphrase=b"open sesame")
    assert b"ENCRYPTED" in (tmp_path / "record.pem").read_bytes()
    write_private_file(tmp_path / "pass", b"open sesame\n")
    monkeypatch.setenv("RECORD_PASS", "open sesame")
    for reference in ("file:pass", "env:RECORD_PASS"):
        signer = open_ecdsa(f"file:record.pem?passphrase={reference}", base=tmp_path)
        assert signer.spki == EcdsaSigner(key).spki
    with pytest.raises(OperatorError, match="passphrase=file:PATH"):
        open_ecdsa("file:record.pem", base=tmp_path)


def test_a_wrong_passphrase_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the key nor the passphrase is shown."""
    write_private_key(tmp_path / "record.pem", generate_record_key(), passphrase=b"open sesame")
    monkeypatch.setenv("RECORD_PASS", "hunter2")
    with pytest.raises(OperatorError, match="no private key that can be read") as caught:
        open_ecdsa("file:record.pem?passphrase=env:RECORD_PASS", base=tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_passphrase_for_a_plain_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator believes it encrypted; it is not."""
    write_private_key(tmp_path / "record.pem", generate_record_key())
    monkeypatch.setenv("RECORD_PASS", "open sesame")
    with pytest.raises(OperatorError, match="for an encrypted key only"):
        open_ecdsa("file:record.pem?passphrase=env:RECORD_PASS", base=tmp_path)


@pytest.mark.parametrize("uri", ["record.pem", "kms:record", "file:", "", "file:?passphrase=env:X"])
def test_a_uri_that_names_no_key_is_refused(tmp_path: Path, uri: str) -> None:
    """There is no silent default."""
    with pytest.raises(OperatorError, match="names no key that can be opened"):
        open_ecdsa(uri, base=tmp_path)


@pytest.mark.parametrize("query", ["pin=env:X", "passphrase=env:X&passphrase=env:Y", "passphrase", "x"])
def test_an_unknown_option_is_refused(tmp_path: Path, query: str) -> None:
    """A typing error must not become a key without passphrase."""
    write_private_key(tmp_path / "record.pem", generate_record_key())
    with pytest.raises(OperatorError, match="unknown option"):
        open_ecdsa(f"file:record.pem?{query}", base=tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A record key is P-256 and an interop key Ed25519; the two are not mixed up."""
    write_private_key(tmp_path / "p256.pem", generate_record_key())
    write_private_key(tmp_path / "ed25519.pem", generate_interop_key())
    write_private_key(tmp_path / "p384.pem", ec.generate_private_key(ec.SECP384R1()))
    rsa_key = rsa.generate_private_key(65537, 2048)
    pem = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private_file(tmp_path / "rsa.pem", pem)
    for name in ("ed25519", "p384", "rsa"):
        with pytest.raises(OperatorError, match="not a P-256 key"):
            open_ecdsa(f"file:{name}.pem", base=tmp_path)
    for name in ("p256", "p384", "rsa"):
        with pytest.raises(OperatorError, match="not an Ed25519 key"):
            open_ed25519(f"file:{name}.pem", base=tmp_path)


@pytest.mark.parametrize(
    "content", [b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever is in it, the message names the file and no byte of it."""
    write_private_file(tmp_path / "record.pem", content)
    with pytest.raises(OperatorError, match="no private key that can be read"):
        open_ecdsa("file:record.pem", base=tmp_path)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """It may have been copied already."""
    write_private_key(tmp_path / "record.pem", generate_record_key())
    (tmp_path / "record.pem").chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600"):
        open_ecdsa("file:record.pem", base=tmp_path)


def test_a_signer_does_not_show_its_private_key() -> None:
    """Neither in its text form nor as a public attribute."""
    for signer in (SIGNER, INTEROP):
        shown = [name for name in vars(signer) if not name.startswith("_")]
        assert shown in (["spki", "kid"], ["public"])
        assert "PRIVATE" not in repr(signer)


def test_generated_keys_are_of_their_kind_and_new_each_time() -> None:
    """P-256 for entries and checkpoints, Ed25519 beside it."""
    assert isinstance(generate_record_key().curve, ec.SECP256R1)
    assert isinstance(generate_interop_key(), ed25519.Ed25519PrivateKey)
    assert EcdsaSigner(generate_record_key()).spki != EcdsaSigner(generate_record_key()).spki
