"""A key file is changed by one rename, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.errors import OperatorError
from coldseal.signing.keys import EcdsaSigner, generate_record_key, open_ecdsa, write_private_key
from coldseal.signing.rotation import KeyFile

if TYPE_CHECKING:
    from pathlib import Path

URI = "file:record.pem?passphrase=file:secret"


def test_the_prepared_key_takes_the_old_one_s_place_and_keeps_its_passphrase(tmp_path: Path) -> None:
    """Preparing again replaces what was prepared and never came."""
    (tmp_path / "secret").write_bytes(b"open sesame")
    (tmp_path / "secret").chmod(0o600)
    write_private_key(tmp_path / "record.pem", generate_record_key(), passphrase=b"open sesame")
    file, key = KeyFile(URI, tmp_path), generate_record_key()
    file.prepare(generate_record_key())
    file.prepare(key)
    file.adopt()
    assert open_ecdsa(URI, base=tmp_path).kid == EcdsaSigner(key).kid
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.pem", "secret"]
    assert (tmp_path / "record.pem").stat().st_mode & 0o777 == 0o600


def test_without_a_prepared_key_nothing_can_be_adopted(tmp_path: Path) -> None:
    """And what is there stays."""
    write_private_key(tmp_path / "record.pem", generate_record_key())
    with pytest.raises(OperatorError, match="cannot take the place of"):
        KeyFile("file:record.pem", tmp_path).adopt()
    assert open_ecdsa("file:record.pem", base=tmp_path).kid


def test_settling_without_anything_prepared_does_nothing(tmp_path: Path) -> None:
    """The usual start."""
    KeyFile("file:record.pem", tmp_path).settle(lambda _: True, lambda uri: uri)
    assert list(tmp_path.iterdir()) == []
