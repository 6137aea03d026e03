"""A certificate and its key belong together whenever they are opened, also after a crash at any moment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coldseal.core.renewal import Life
from coldseal.errors import OperatorError
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.pair import Pair, read_life
from coldseal.identity.profiles import subject
from tests.identity.conftest import this_moment

CRASHING = """
import os, sys
from pathlib import Path
folder, until = Path(sys.argv[1]), int(sys.argv[2])
from cryptography import x509
from coldseal.identity.pair import Pair
pair = Pair(folder / "gateway" / "gw-1.pem", folder / "gateway" / "gw-1.key")
chain = x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes())
steps = [0]
def watch(event, arguments):
    if event in ("open", "os.rename", "os.remove", "os.link") and str(folder) in str(arguments[0]):
        steps[0] += 1
        if steps[0] == until:
            os._exit(9)
sys.addaudithook(watch)
pair.install(chain)
"""
"""Ends itself before an operation on a file of the folder, the so manyth one, as SIGKILL would."""

KILLED = 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a CA with one gateway."""
    authority = create_authority(tmp_path / "ca", now=this_moment())
    authority.issue("gateway", "gw-1", now=this_moment())
    return tmp_path / "ca"


def pair_of(folder: Path) -> Pair:
    """Name the gateway's two files."""
    return Pair(folder / "gateway" / "gw-1.pem", folder / "gateway" / "gw-1.key")


def issued_for(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Have a certificate made for a key, by somebody."""
    now, issuing = this_moment(), ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=subject("somebody"),
        subject_name=subject("gw-1"),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now,
        not_valid_after=now + timedelta(days=7),
    )
    return builder.sign(issuing, hashes.SHA256())


def opened(folder: Path, pair: Pair) -> bytes:
    """Open the pair as a program does at its start; gives the certificate."""
    with pair.steady():
        client_context(pair.certificate, pair.key, folder / "root.pem")
        return pair.certificate.read_bytes()


def test_a_new_key_and_its_chain_come_into_force_together(folder: Path) -> None:
    """And nothing of the change is left beside them."""
    pair = pair_of(folder)
    leaf = issued_for(pair.next_key())
    pair.install([leaf])
    assert opened(folder, pair) == leaf.public_bytes(Encoding.PEM)
    assert sorted(path.name for path in pair.key.parent.iterdir()) == ["gw-1.key", "gw-1.pem"]
    assert pair.key.stat().st_mode & 0o777 == 0o600
    assert read_life(pair.certificate) == Life(
        leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    )


def test_a_new_chain_for_the_same_key_is_taken_and_leaves_a_key_that_waits(folder: Path) -> None:
    """Where keys are not changed at each renewal, or a person renews by hand meanwhile."""
    pair = pair_of(folder)
    waiting = pair.next_key()
    leaf = issued_for(pair.key_in_force())
    pair.install([leaf])
    assert opened(folder, pair) == leaf.public_bytes(Encoding.PEM)
    assert pair.next_key().public_key() == waiting.public_key()
    pair.drop_next_key()
    assert pair.next_key().public_key() != waiting.public_key()


def test_a_crash_at_any_step_leaves_a_pair_that_belongs_together(folder: Path) -> None:
    """The old one or the new one; what began to come into force does, and the rest asks again."""
    leaf = issued_for(pair_of(folder).next_key())
    new = leaf.public_bytes(Encoding.PEM)
    old = pair_of(folder).certificate.read_bytes()
    (folder / "chain.pem").write_bytes(new)
    found = []
    for step in count(1):
        copy = folder.parent / f"copy-{step}"
        shutil.copytree(folder, copy)
        command = [sys.executable, "-c", CRASHING, str(copy), str(step)]
        ended = subprocess.run(command, capture_output=True, check=False)
        assert ended.returncode in {0, KILLED}, ended.stderr
        found.append(opened(copy, pair_of(copy)))
        if not ended.returncode:
            break
    assert len(found) > 8
    assert found == sorted(found, key=[old, new].index), "once it was in force it stays so"
    assert {old, new} == set(found)


def test_what_belongs_to_neither_key_is_refused(folder: Path) -> None:
    """Nothing is changed by it; and what no change of ours left is cleared away."""
    pair = pair_of(folder)
    before = opened(folder, pair)
    stranger = issued_for(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(OperatorError, match="belongs neither"):
        pair.install([stranger])
    beside = pair.certificate.with_name("gw-1.pem.next")
    for content in (stranger.public_bytes(Encoding.PEM), b"rubbish"):
        beside.write_bytes(content)
        assert opened(folder, pair) == before
        assert not beside.exists()


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path) -> None:
    """A key of another kind, a protected one, a file that is away, a folder that is none."""
    pair = pair_of(folder)
    key = rsa.generate_private_key(65537, 2048)
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(OperatorError, match="no elliptic-curve key"):
        pair.key_in_force()
    pair.key.write_bytes(b"-----BEGIN")
    with pytest.raises(OperatorError, match="no private key"):
        pair.key_in_force()
    with pytest.raises(OperatorError, match="cannot be read as a certificate"):
        read_life(tmp_path / "away.pem")
    away = Pair(tmp_path / "away" / "x.pem", tmp_path / "away" / "x.key")
    with pytest.raises(OperatorError, match="cannot be opened"):
        away.install([issued_for(ec.generate_private_key(ec.SECP256R1()))])
    with away.steady():
        assert not away.key.exists(), "who opens the files says what is missing"


def test_a_change_that_cannot_be_finished_is_said(folder: Path) -> None:
    """A folder stands where the certificate should."""
    pair = pair_of(folder)
    leaf = issued_for(pair.next_key())
    pair.certificate.unlink()
    pair.certificate.mkdir()
    with pytest.raises(OperatorError, match="cannot take the place"):
        pair.install([leaf])
    pair.certificate.rmdir()
    assert opened(folder, pair) == leaf.public_bytes(Encoding.PEM)
