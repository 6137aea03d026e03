"""A certificate and its private key, in two files that are changed together.

Guarantees that whoever opens them by `steady` finds a pair that belongs together, also after a crash at any
moment of a change: `KEY.next` waits for its certificate, `CERTIFICATE.next` says that both are to come into
force, and `settle` finishes that. Knows nobody who issues; judges no certificate.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from coldseal.core.renewal import Life
from coldseal.errors import OperatorError
from coldseal.identity.files import make_alike, replace_private_file
from coldseal.signing.holders import make_transport, open_transport
from coldseal.signing.private_files import read_private_file, sync_directory
from coldseal.signing.uris import TpmUri

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SUFFIX = ".next"


def read_life(path: Path) -> Life:
    """Read from when to when the first certificate of a PEM file counts.

    Raises:
        OperatorError: the file is missing or holds no certificate.
    """
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise OperatorError(
            f"{path} cannot be read as a certificate", "Name a PEM chain, leaf first"
        ) from error
    return Life(found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())


class Pair:
    """Two files.

    Args:
        certificate: chain, PEM, leaf first.
        key: its transport key, PEM, mode 0600; P-256 where it is made here. Or one that a TPM has wrapped:
            then those to come are made there too.

    Attributes:
        key: the key's file.
        place: the key, for whoever shows the certificate.
    """

    def __init__(self, certificate: Path, key: Path | TpmUri) -> None:
        """Name the files; nothing is opened."""
        self.certificate, self.place = certificate, key
        self.key = key if isinstance(key, Path) else key.file
        self._next_certificate = certificate.with_name(certificate.name + _SUFFIX)
        self._next_key = self.key.with_name(self.key.name + _SUFFIX)

    def key_in_force(self) -> ec.EllipticCurvePrivateKey:
        """Read the key in force.

        Raises:
            OperatorError: it cannot be read, or is of another kind.
        """
        return self._read(self.key)

    def next_key(self) -> ec.EllipticCurvePrivateKey:
        """Give the key that is to come: the one that waits already, else a new one, which waits from now on.

        A request that is sent again must be for the same key (RFC 7030 4.2.3), also after a restart.

        Raises:
            OperatorError: it cannot be read or written.
            UnavailableError: it is to be made in a TPM, which is away.
        """
        if self._next_key.exists():
            return self._read(self._next_key)
        if isinstance(self.place, TpmUri):
            return make_transport(replace(self.place, file=self._next_key))
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_private_file(self._next_key, pem)
        return key

    def drop_next_key(self) -> None:
        """Forget a key whose request was refused: the next request is for another one."""
        self._next_key.unlink(missing_ok=True)

    def install(self, chain: Sequence[x509.Certificate]) -> None:
        """Put a chain into force, with the key that waits if the chain is that key's.

        Raises:
            OperatorError: the chain belongs to neither key, or a file cannot be written.
        """
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
        with self._alone():
            self._settle()
            if not self._is_of(self._next_key, chain[0]) and not self._is_of(self.key, chain[0]):
                what = f"the certificate that came belongs neither to {self.key} nor to the key that waits"
                raise OperatorError(what, "Ask again; if that lasts, look at the enrolment server")
            replace_private_file(self._next_certificate, pem)  # from here on, whatever happens, it will be so
            self._settle()

    def settle(self) -> None:
        """Finish what a crash interrupted; nothing to do is the usual case, and needs no right to write.

        Raises:
            OperatorError: a file cannot be moved.
        """
        if self._next_certificate.exists():
            with self._alone():
                self._settle()

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Settle, and let nobody change the files within the block, as while both are opened.

        Who may not look into the folder opens them without that: such a program changes nothing there either.

        Raises:
            OperatorError: a file cannot be moved.
        """
        self.settle()
        with self._alone(must=False):
            yield

    def _settle(self) -> None:
        """Move the key first: a certificate in force never stands beside a key that is still to come."""
        if not self._next_certificate.exists():
            return
        leaf = _read_leaf(self._next_certificate)
        try:
            if leaf is not None and self._is_of(self._next_key, leaf):
                make_alike(self._next_key, self.key)
                self._next_key.replace(self.key)
                sync_directory(self.key.parent)
            if leaf is not None and self._is_of(self.key, leaf):
                make_alike(self._next_certificate, self.certificate)
                self._next_certificate.replace(self.certificate)
            else:  # no change of ours left it so
                self._next_certificate.unlink()
            sync_directory(self.certificate.parent)
        except OSError as error:
            what = f"{self._next_certificate} cannot take the place of {self.certificate}: {error.strerror}"
            raise OperatorError(what, f"Let this program write to {self.certificate.parent}") from error

    def _is_of(self, path: Path, leaf: x509.Certificate) -> bool:
        """Whether the key in a file is the certificate's."""
        return path.exists() and self._read(path).public_key() == leaf.public_key()

    def _read(self, path: Path) -> ec.EllipticCurvePrivateKey:
        """Read the key of a file, of the kind that this pair has."""
        if isinstance(self.place, TpmUri):
            return open_transport(replace(self.place, file=path))
        return _read_key(path)

    @contextmanager
    def _alone(self, *, must: bool = True) -> Iterator[None]:
        """Keep every other program out that changes or opens pairs of this folder."""
        folder = self.key.parent
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if not must:
                yield
                return
            what = f"{folder} cannot be opened: {error.strerror}"
            raise OperatorError(what, "Name a folder that is there") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # which ends the lock


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a key of a file."""
    hint = "Restore it, or enrol again: coldseal identity enrol"
    try:
        key = load_pem_private_key(read_private_file(path), None)
    except (ValueError, TypeError) as error:
        raise OperatorError(f"{path} holds no private key that can be read", hint) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise OperatorError(f"{path} is no elliptic-curve key", hint)
    return key


def _read_leaf(path: Path) -> x509.Certificate | None:
    """Read the first certificate of a file; None where there is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
