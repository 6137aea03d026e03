"""Keeps the certificate of every device that was let in, so that evidence shows whose readings they were.

A file for each, named by the fingerprint that entries carry, written once. Nobody waits for it or fails for
it: what cannot be kept is said once. Judges no certificate.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from typing import TYPE_CHECKING, Final

from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATES: Final = "certificates"
"""The folder, below a gateway's data."""

MAX_KEPT: Final = 20_000

_SUFFIX: Final = ".der"
_DIGITS: Final = 16
_log = Log("gateway.certificates")


class KeptCertificates:
    """The folder of certificates; one writer."""

    def __init__(self, folder: Path) -> None:
        """Look which ones are there; the folder need not be."""
        self._folder = folder
        found = folder.glob(f"*{_SUFFIX}")
        self._kept = {path.stem for path in found if path.stat().st_size}  # a crash may leave an empty one
        self._is_failing = False

    def keep(self, certificate_der: bytes, fingerprint: str) -> None:
        """Keep a certificate that was let in, unless it is there; the first failure of a row is an event."""
        if fingerprint in self._kept:
            return
        error = (
            f"there are {MAX_KEPT}"
            if len(self._kept) >= MAX_KEPT
            else self._write(certificate_der, fingerprint)
        )
        if not error:
            self._kept.add(fingerprint)
        elif not self._is_failing:
            _log.emit(events.CERTIFICATE_NOT_STORED, fingerprint=fingerprint, error=error)
        self._is_failing = bool(error)

    def _write(self, certificate_der: bytes, fingerprint: str) -> str:
        """Write one file, whole or not at all; says what went wrong."""
        draft = self._folder / f"{fingerprint}.new"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(certificate_der)
            draft.rename(draft.with_suffix(_SUFFIX))
        except OSError as problem:
            return str(problem.strerror)
        return ""


def read_kept(folder: Path, fingerprint: str) -> bytes:
    """Give a certificate that was kept, as PEM; empty if it was not, or cannot be read whole."""
    try:
        found = (folder / f"{fingerprint}{_SUFFIX}").read_bytes()
    except OSError:
        return b""
    if hashlib.sha256(found).hexdigest()[:_DIGITS] != fingerprint:
        return b""
    return ssl.DER_cert_to_PEM_cert(found).encode()
