"""Certificates that were let in are kept; whoever cannot keep one lets its holder in all the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from coldseal.gateway import certificates
from coldseal.gateway.certificates import KeptCertificates, read_kept
from coldseal.observe import logs

if TYPE_CHECKING:
    from pathlib import Path


def fingerprint(der: bytes) -> str:
    """Name a certificate as entries do."""
    return hashlib.sha256(der).hexdigest()[:16]


def test_a_certificate_is_kept_once_and_given_back_as_pem(tmp_path: Path) -> None:
    """Readable by its owner alone; a later start knows it."""
    folder = tmp_path / "certificates"
    kept = KeptCertificates(folder)
    kept.keep(b"one", fingerprint(b"one"))
    (file,) = folder.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"{fingerprint(b'one')}.der", 0o600)
    written = file.stat().st_ino
    kept.keep(b"one", fingerprint(b"one"))
    KeptCertificates(folder).keep(b"one", fingerprint(b"one"))
    assert file.stat().st_ino == written
    assert read_kept(folder, fingerprint(b"one")).startswith(b"-----BEGIN CERTIFICATE-----\nb25l\n")


def test_what_a_crash_left_empty_is_written_anew_and_what_is_false_is_not_given(tmp_path: Path) -> None:
    """The name says which bytes there must be."""
    file = tmp_path / f"{fingerprint(b'one')}.der"
    file.touch()
    KeptCertificates(tmp_path).keep(b"one", fingerprint(b"one"))
    assert file.read_bytes() == b"one"
    file.write_bytes(b"other")
    assert read_kept(tmp_path, fingerprint(b"one")) == b""
    assert read_kept(tmp_path, fingerprint(b"none")) == b""


def test_a_failure_is_said_once_until_it_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be, and a folder that is full."""
    logs.configure()
    folder = tmp_path / "certificates"
    folder.write_bytes(b"in the way")
    kept = KeptCertificates(folder)
    kept.keep(b"one", fingerprint(b"one"))
    kept.keep(b"two", fingerprint(b"two"))
    assert capsys.readouterr().err.count("certificate.not-stored") == 1
    folder.unlink()
    kept.keep(b"one", fingerprint(b"one"))
    monkeypatch.setattr(certificates, "MAX_KEPT", 1)
    kept.keep(b"two", fingerprint(b"two"))
    assert "there are 1" in capsys.readouterr().err
    assert [path.stem for path in folder.iterdir()] == [fingerprint(b"one")]
