"""Factory certificates: which CA made them, and which device or gateway each of them stands for.

Promises that a certificate counts only if a certificate in the configured file has signed it, and maps to at
most one line. Both files are looked at again when they change. Decides nothing about what is not mapped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from msgspec import Struct

from coldseal import settings
from coldseal.errors import InputError, OperatorError
from coldseal.identity.authority_folder import read_certificates
from coldseal.identity.peer import Role
from coldseal.identity.profiles import alternative_names
from coldseal.identity.register import parse_serial, render_serial
from coldseal.identity.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable


class Line(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One holder of a factory certificate; what is given must be so."""

    role: Role
    """What it becomes."""
    name: str
    """Under which name."""
    hosts: tuple[str, ...] = ()
    """Names and addresses it is reached by, beside loopback."""
    serial: str = ""
    """Serial number of its factory certificate, hex."""
    subject: str = ""
    """Subject of its factory certificate, as RFC 4514 writes it: CN=…,O=…."""


class FactoryMap(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of the file: `[[holder]]` tables."""

    holder: tuple[Line, ...] = ()


class _Loaded(NamedTuple):
    """What both files say."""

    issuers: list[x509.Certificate]
    lines: tuple[Line, ...]


class Factory:
    """The factory CA and the map of its certificates.

    Args:
        ca: certificates of the CA that signs factory certificates, PEM; the one that signs leaves among them.
        lines: the map; None: nothing is mapped.
        now_s: seconds that only go forward.
    """

    def __init__(self, ca: Path, lines: Path | None, *, now_s: Callable[[], float]) -> None:
        """Read both.

        Raises:
            OperatorError: a file is wrong.
        """
        self._ca, self._lines = ca, lines
        self._files = Watched(str(lines or ca), (ca, lines), self._load, now_s=now_s)

    def refresh(self) -> None:
        """Look whether a file changed."""
        self._files.refresh()

    def is_of(self, certificate: x509.Certificate) -> bool:
        """Answer whether the factory CA has signed a certificate."""
        return any(_has_signed(issuer, certificate) for issuer in self._files.value.issuers)

    def find(self, certificate: x509.Certificate) -> Line | None:
        """Give what a factory certificate is mapped to.

        Raises:
            InputError: more than one line fits it.
        """
        serial, subject = render_serial(certificate.serial_number), certificate.subject.rfc4514_string()
        found = [
            line
            for line in self._files.value.lines
            if (not line.serial or parse_serial(line.serial) == serial)
            and (not line.subject or line.subject == subject)
        ]
        if len(found) > 1:
            raise InputError("factory map", "holder", [line.name for line in found], f"one line for {serial}")
        return found[0] if found else None

    def _load(self) -> _Loaded:
        """Read both files."""
        issuers = read_certificates(self._ca)
        lines = settings.load(self._lines, FactoryMap).holder if self._lines is not None else ()
        for line in lines:
            try:
                alternative_names(line.role, line.name, line.hosts)
            except InputError as error:
                raise OperatorError(f"{self._lines}: {error}", "Correct that line") from error
            if not line.serial and not line.subject:
                what = f"{self._lines}: {line.name} has neither serial nor subject"
                raise OperatorError(what, "Say which factory certificate it has")
            if line.serial:
                parse_serial(line.serial)
        return _Loaded(issuers, lines)


_SHOWN: Final = 300
"""Characters of a description."""


def describe(certificate: x509.Certificate) -> str:
    """Name a factory certificate, for the queue and the history."""
    serial = render_serial(certificate.serial_number)
    text = (
        f"{certificate.subject.rfc4514_string()}, serial {serial}, by {certificate.issuer.rfc4514_string()}"
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Answer whether a CA's key has signed a certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
