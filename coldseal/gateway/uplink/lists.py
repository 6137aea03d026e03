"""Keeps files of revocation lists as new as the enrolment server's: a list that has ended lets nobody in.

Promises that a file is replaced only by lists that CAs of that server have signed, that count now, and that
are not older than what is there. What cannot be had leaves the file, is said once, and is asked for again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from coldseal.errors import InputError, OperatorError
from coldseal.gateway.uplink.est import Lists, Nothing
from coldseal.gateway.uplink.keeping import Desk
from coldseal.identity.files import replace_alike
from coldseal.observe import events
from coldseal.observe.logs import Log

EVERY_S: Final = 3600.0
"""Pause between two looks at the server's lists; they live for days."""

AGAIN_S: Final = 60.0
"""Pause after a failure."""

_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\s*", re.DOTALL)
_WHERE: Final = "revocation lists"
_log = Log("uplink.lists")


class ListFiles:
    """Files that follow the server's lists.

    Args:
        files: all of them.
        desk: whom to ask.
        now_s: Unix seconds.
        changed: is told each file that has changed.
    """

    def __init__(
        self,
        files: Sequence[Path],
        desk: Desk,
        *,
        now_s: Callable[[], float],
        changed: Callable[[Path], None] = lambda _path: None,
    ) -> None:
        """Take the parts; nothing is asked yet."""
        self._files, self._desk, self._now_s, self._changed = files, desk, now_s, changed
        self._is_failing = False

    async def run(self) -> None:
        """Keep them new until cancelled."""
        while self._files:
            is_new = await self.refresh()
            await asyncio.sleep(EVERY_S if is_new else AGAIN_S)

    async def refresh(self) -> bool:
        """Ask once; says whether the files are as new as the server's."""
        now = datetime.fromtimestamp(self._now_s(), UTC)
        answer = await self._desk.lists()
        fault = answer.why if isinstance(answer, Nothing) else self._try(answer, now)
        if fault and not self._is_failing:
            _log.emit(events.REVOCATION_NOT_FETCHED, url=self._desk.url, error=fault)
        elif self._is_failing and not fault:
            _log.emit(events.REVOCATION_FETCHED, url=self._desk.url)
        self._is_failing = bool(fault)
        return not fault

    def _try(self, answer: Lists, now: datetime) -> str:
        """Take the lists; says what is wrong."""
        try:
            self._take(answer, now)
        except (InputError, OperatorError) as error:
            return str(error)
        return ""

    def _take(self, answer: Lists, now: datetime) -> None:
        """Write what is newer.

        Raises:
            InputError: a list cannot be trusted.
            OperatorError: a file cannot be written.
        """
        found = parse_lists(answer.pem)
        for each in found:
            _require_sound(each, answer.authorities, now)
        for path in self._files:
            content = path.read_bytes() if path.exists() else b""
            held = {each.issuer: each.last_update_utc for each in parse_lists(content)}
            if any(each.last_update_utc < held.get(each.issuer, each.last_update_utc) for each in found):
                raise InputError(_WHERE, "last_update", "older than what is here", "newer lists")
            if content != answer.pem:
                replace_alike(path, answer.pem)
                self._changed(path)


def parse_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """Read the lists of a file.

    Raises:
        InputError: one of them is none.
    """
    try:
        return [x509.load_pem_x509_crl(each) for each in _PEM.findall(pem)]
    except ValueError as error:
        raise InputError(_WHERE, "PEM", str(error), "revocation lists") from error


def _require_sound(
    found: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate], now: datetime
) -> None:
    """Insist that a CA of the server has signed a list, and that it counts now.

    Raises:
        InputError: it does not.
    """
    keys = [each.public_key() for each in authorities if each.subject == found.issuer]
    if not any(isinstance(key, ec.EllipticCurvePublicKey) and found.is_signature_valid(key) for key in keys):
        issuer = found.issuer.rfc4514_string()
        raise InputError(_WHERE, "signature", issuer, "made by a CA that the server shows")
    if found.next_update_utc is None or found.next_update_utc <= now:
        raise InputError(_WHERE, "next_update", str(found.next_update_utc), f"later than {now}")
