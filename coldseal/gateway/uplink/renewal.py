"""The identity that the uplink shows: certificate, key and CA, taken anew when their files change.

Promises that files which cannot be used leave the ones before in use, and are said once. A context in use is
never changed: a connection made after a renewal has a new one, and what is under way ends with the old one.
Who writes the files, a person or an enrolment, is no matter here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from coldseal.errors import InputError, OperatorError
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import read_peer
from coldseal.observe import events
from coldseal.observe.logs import Log

_DAY_S = 86_400
_log = Log("uplink.renewal")


class Renewal:
    """The files of one way out, and the context made from them.

    Args:
        certificate: chain, PEM, leaf first.
        key: its transport key, PEM, mode 0600.
        ca: CA certificates that the other side must descend from.
        now_ms: wall time, Unix milliseconds.
    """

    def __init__(self, certificate: Path, key: Path, ca: Path, *, now_ms: Callable[[], int]) -> None:
        """Load them.

        Raises:
            OperatorError: a file cannot be used.
        """
        self._certificate, self._key, self._ca = certificate, key, ca
        self._now_ms = now_ms
        self._seen = self._look()
        self._context = client_context(certificate, key, ca)

    def context(self) -> ssl.SSLContext:
        """Give the context for the next connection; looks at the files first."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._load()
        return self._context

    def _load(self) -> None:
        """Make a context of the files as they are now."""
        name = str(self._certificate)
        try:
            self._context = client_context(self._certificate, self._key, self._ca)
            ends = read_peer(self._certificate).not_after
        except (OperatorError, InputError) as error:
            _log.emit(events.CERTIFICATE_KEPT, certificate=name, error=str(error))
            return
        now = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
        days = round((ends - now).total_seconds() / _DAY_S)
        _log.emit(events.CERTIFICATE_RELOADED, certificate=name, days=days)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        """Note what identifies the files' content; one that is missing counts as empty."""
        found = []
        for path in (self._certificate, self._key, self._ca):
            try:
                status = path.stat()
            except OSError:
                found.append((0, 0, 0))
                continue
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)
