"""What an issuing CA keeps in its folder: every certificate it issued, and every serial number it denies.

Two files of one JSON object a line, only ever added to; a line is on disk when its call returns. The running
service and commands use them side by side, and each sees at once what the other wrote. Signs nothing.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, TypeVar

import msgspec
from cryptography import x509

from coldseal.errors import InputError, OperatorError
from coldseal.identity.peer import Role
from coldseal.signing.private_files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ISSUED: Final = "issued.jsonl"
DENIED: Final = "denied.jsonl"
REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
}
"""Why a certificate counts no more (RFC 5280 5.3.1), as an operator writes it."""
_LOCK: Final = ".lock"
_LONGEST: Final = 4_096
_SERIAL_BITS: Final = 160  # RFC 5280 4.1.2.2: 20 octets
"""Bytes of a line, at most."""


class Issued(msgspec.Struct, frozen=True):
    """A certificate that was issued.

    Args:
        serial: its serial number, hex.
        role: what it makes its holder.
        name: the holder's name.
        issuer: key identifier of the CA that signed it, hex.
        t: when it was issued, Unix seconds.
        not_after: its end, Unix seconds.
    """

    serial: str
    role: Role
    name: str
    issuer: str
    t: int
    not_after: int

    @classmethod
    def of(cls, certificate: x509.Certificate, role: Role, name: str, *, t: int) -> Issued:
        """Describe a certificate."""
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        return cls(
            serial=render_serial(certificate.serial_number),
            role=role,
            name=name,
            issuer=(issuer.key_identifier or b"").hex(),
            t=t,
            not_after=int(certificate.not_valid_after_utc.timestamp()),
        )


class Denied(msgspec.Struct, frozen=True):
    """A serial number that counts no more.

    Args:
        serial: the number, hex.
        t: since when, Unix seconds.
        reason: one of `REASONS`.
        who: who denied it.
        note: why, in words.
    """

    serial: str
    t: int
    reason: str
    who: str
    note: str

    def revoked(self) -> x509.RevokedCertificate:
        """Write it as an entry of a revocation list."""
        entry = x509.RevokedCertificateBuilder().serial_number(int(self.serial, 16))
        entry = entry.revocation_date(datetime.fromtimestamp(self.t, UTC))
        if self.reason != "unspecified":  # RFC 5280 5.3.1: then the extension should be absent
            entry = entry.add_extension(x509.CRLReason(REASONS[self.reason]), critical=False)
        return entry.build()


Line = TypeVar("Line", Issued, Denied)


class _File(Generic[Line]):
    """A file of lines that is read again only as far as it grew."""

    def __init__(self, path: Path, kind: type[Line]) -> None:
        """Take its place; it may be missing."""
        self._path = path
        self._kind: type[Line] = kind
        self._inode = 0
        self._read = 0
        self._lines: list[Line] = []
        self._turn = Lock()

    def lines(self) -> list[Line]:
        """Give all lines.

        Raises:
            OperatorError: the file cannot be read, or holds something else.
        """
        with self._turn:
            whole = self._grown()
            try:
                found = [msgspec.json.decode(line, type=self._kind) for line in whole.splitlines()]
            except msgspec.DecodeError as error:
                hint = "Restore it from a backup: without it a denied certificate might count again"
                raise OperatorError(f"{self._path}: {error}", hint) from error
            self._lines += found
            self._read += len(whole)
            return list(self._lines)

    def _grown(self) -> bytes:
        """Read the whole lines that are new."""
        try:
            with self._path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode or status.st_size < self._read:
                    self._inode, self._read, self._lines = status.st_ino, 0, []
                stream.seek(self._read)
                found = stream.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise OperatorError(f"{self._path}: {error.strerror}", "Make it readable") from error
        return found[: found.rfind(b"\n") + 1]  # a line that is being written is not there yet

    def append(self, lines: Sequence[Line]) -> None:
        """Add lines, durably; what a power cut tore at the end makes room, as it never counted.

        Raises:
            OperatorError: the disk refuses.
        """
        content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        try:
            is_new = not self._path.exists()
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "r+b") as stream:
                _cut_torn(stream)
                stream.write(content)
                stream.flush()
                os.fsync(handle)
            if is_new:
                sync_directory(self._path.parent)
        except OSError as error:
            raise OperatorError(f"{self._path} cannot be written: {error.strerror}", "Make room") from error


def _cut_torn(stream: BinaryIO) -> None:
    """Cut a last line that has no end."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _LONGEST))
    tail = stream.read()
    if tail and not tail.endswith(b"\n"):
        stream.truncate(size - len(tail) + tail.rfind(b"\n") + 1)


class Register:
    """The register of one CA's folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; nothing is read yet."""
        self._folder = folder
        self._issued = _File(folder / ISSUED, Issued)
        self._denied = _File(folder / DENIED, Denied)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs from changing the folder meanwhile.

        Raises:
            OperatorError: the folder is not there, or may not be written.
        """
        try:
            handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"{self._folder} cannot be written: {error.strerror}"
            raise OperatorError(what, "Name the folder of a CA that this user may write") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def issued(self) -> list[Issued]:
        """Give all certificates that were issued, oldest first."""
        return self._issued.lines()

    def denied(self) -> dict[str, Denied]:
        """Give what is denied, by serial number."""
        return {each.serial: each for each in reversed(self._denied.lines())}

    def is_denied(self, serial: int) -> bool:
        """Answer whether a serial number counts no more, as of now."""
        return render_serial(serial) in self.denied()

    def require_one_role(self, role: Role, name: str, *, now: int) -> None:
        """Insist that a name is in force for no other role; to be called while `locked`.

        Raises:
            InputError: it is.
        """
        others = [each for each in self.issued() if each.name == name and each.role != role]
        denied = self.denied() if others else {}
        for each in others:
            if each.not_after > now and each.serial not in denied:
                end = datetime.fromtimestamp(each.not_after, UTC).isoformat(timespec="seconds")
                held = f"the role {each.role} has it until {end} (serial {each.serial}); deny that first"
                raise InputError("certificate", "name", name, f"a name of one role alone: {held}")

    def add(self, issued: Issued) -> None:
        """Note a certificate before it is given away; to be called while `locked`."""
        self._issued.append([issued])

    def deny(self, denied: Sequence[Denied]) -> None:
        """Deny serial numbers from now on; to be called while `locked`."""
        self._denied.append(denied)


def render_serial(serial: int) -> str:
    """Write a serial number as the register has it: hex digits in pairs."""
    text = f"{serial:x}"
    return text if len(text) % 2 == 0 else f"0{text}"


def parse_serial(text: str) -> str:
    """Read a serial number as people write it: hex, with colons or without.

    Raises:
        OperatorError: it is none.
    """
    try:
        serial = int(text.replace(":", "").strip(), 16)
    except ValueError:
        serial = 0
    if serial <= 0 or serial.bit_length() > _SERIAL_BITS:
        hint = "Write it in hex, as `openssl x509 -noout -serial` shows it"
        raise OperatorError(f"{text!r} is no serial number of a certificate", hint)
    return render_serial(serial)
